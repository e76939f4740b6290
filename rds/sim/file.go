// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"maps"
	"path"
	"strings"
	"unicode/utf8"
)

// A file is an entry of the pool's directory tree.
type file struct {
	dir  bool
	size int64
	// made is the disk that made or emptied the file, so that a file that is emptied differs from
	// the one before.
	made diskID
}

// files is the directory tree of the pool, by name without a leading slash. The pool's own directory
// is in it. It is copied before it is changed.
type files map[string]file

// cleanFile returns the name of a file from a file-path, which may have one leading slash, and false
// unless it is the path of something in the pool.
func cleanFile(filePath, pool string) (string, bool) {
	name := strings.TrimPrefix(filePath, "/")
	if len(name) > maxFilePath || !utf8.ValidString(name) || name != path.Clean(name) || !strings.HasPrefix(name, pool+"/") {
		return "", false
	}
	for _, part := range strings.Split(name, "/") {
		if len(part) > 255 || strings.ContainsFunc(part, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\\' }) {
			return "", false
		}
	}
	return name, true
}

// with returns a copy in which name is f.
func (fs files) with(name string, f file) files {
	next := maps.Clone(fs)
	next[name] = f
	return next
}

// withParents returns a copy in which every directory above name is there, and false where one of
// them is a file, or is missing while strict.
func (fs files) withParents(name string, strict bool) (files, bool) {
	next := fs
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		f, ok := fs[dir]
		switch {
		case ok && f.dir:
			return next, true
		case ok || strict:
			return fs, false
		}
		next = next.with(dir, file{dir: true})
	}
	return next, true
}

// without returns a copy in which name is not there, and false where it was not or is a directory
// that holds something.
func (fs files) without(name string) (files, bool) {
	f, ok := fs[name]
	if !ok {
		return fs, false
	}
	if f.dir {
		for other := range fs {
			if strings.HasPrefix(other, name+"/") {
				return fs, false
			}
		}
	}
	next := maps.Clone(fs)
	delete(next, name)
	return next, true
}

// used is the room that the files take, in bytes. A file takes all of its size, though it is sparse
// on the host.
func (fs files) used() (n int64) {
	for _, f := range fs {
		n += f.size
	}
	return n
}
