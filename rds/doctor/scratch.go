// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"path"
	"regexp"
	"strings"

	"github.com/google/uuid"

	"github.com/rds-csi/rds-csi/rds/routeros"
)

// The names of what an experiment makes. The tag is the last 12 hex digits of its UUID, so that name and
// mark must agree; with two digits more a slot has 29 bytes.
const (
	namePrefix = "rdscsi-doctor-"
	markPrefix = "rdscsi-doctor/"
)

var (
	nameForm = regexp.MustCompile(`^` + namePrefix + `([0-9a-f]{12})-[0-9a-z-]{2,}$`)
	markForm = regexp.MustCompile(`^` + markPrefix + `([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})(?:/[a-z0-9]*)?$`)
)

// tagOf is how the names of a run are told from those of others.
func tagOf(run uuid.UUID) string { return run.String()[24:] }

// markOf is what the comment of every row of a run begins with.
func markOf(run uuid.UUID) string { return markPrefix + run.String() }

// nameTag returns the tag in a name, or "".
func nameTag(name string) string {
	if m := nameForm.FindStringSubmatch(name); m != nil {
		return m[1]
	}
	return ""
}

// A scratchRow is a row that an experiment made: its slot, the mark in its comment and its file's name
// agree.
type scratchRow struct {
	id, slot, file string // file as in file-path, with a leading slash
	tag, mark      string
}

// scratchOf reads a row of /disk, and reports false for one that no experiment made.
func scratchOf(r routeros.Row, volumePaths []string) (scratchRow, bool) {
	s := scratchRow{id: r.Get(".id"), slot: r.Get("slot"), file: "/" + strings.TrimPrefix(r.Get("file-path"), "/")}
	m := markForm.FindStringSubmatch(r.Get("comment"))
	if r.Get("type") != "file" || m == nil {
		return s, false
	}
	s.mark, s.tag = markPrefix+m[1], m[1][24:]
	return s, nameTag(s.slot) == s.tag && scratchFile(s.file, s.tag, volumePaths)
}

// scratchFile reports whether a file is one that a run may remove: it has its name, and lies in a volume
// path or in a directory there that has its name, too.
func scratchFile(file, tag string, volumePaths []string) bool {
	name, ok := strings.CutSuffix(path.Base(file), ".img")
	if !ok || nameTag(name) != tag || path.Clean(file) != file {
		return false
	}
	return within(file, volumePaths) || scratchDirectory(path.Dir(file), tag, volumePaths)
}

// scratchDirectory is scratchFile of a directory.
func scratchDirectory(dir, tag string, volumePaths []string) bool {
	return nameTag(path.Base(dir)) == tag && within(dir, volumePaths)
}

// scratchRows returns the rows that experiments made.
func scratchRows(rows []routeros.Row, volumePaths []string) (list []scratchRow) {
	for _, r := range rows {
		if s, ok := scratchOf(r, volumePaths); ok {
			list = append(list, s)
		}
	}
	return list
}
