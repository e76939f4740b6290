// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package rds

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/rds-csi/rds-csi/actors"
	"github.com/rds-csi/rds-csi/rds/routeros"
)

// A row is a file disk that holds a volume. Listings share it, so it does not change.
type row struct {
	holds     actors.VolumeID
	id        string // .id, valid until the box's next start
	slot      string
	path      string // of the file, with a leading slash
	file      string // the same, as the box shows it
	size      int64  // bytes
	export    bool
	disabled  bool
	nqn       string
	port      uint16
	allowHost string
	comment   string
	ledger    actors.Ledger
	ours      bool  // the comment is a ledger, if perhaps a damaged one
	err       error // why the row must be left alone: actors.ErrPrecondition
}

// idForm is what RouterOS numbers items with.
var idForm = regexp.MustCompile(`^\*[0-9A-F]{1,16}$`)

// volumeFile returns the volume that a file holds, and false if it is none of ours.
func volumeFile(file string) (actors.VolumeID, bool) {
	name, ok := strings.CutSuffix(path.Base(file), ".img")
	id := actors.VolumeID(name)
	return id, ok && id.Check() == nil
}

// absolute gives a file-path its leading slash, which RouterOS shows and /file does not.
func absolute(file string) string {
	if strings.HasPrefix(file, "/") {
		return file
	}
	return "/" + file
}

// parseRow reads the row of a file disk. It returns nil for a disk that holds no volume.
func parseRow(re routeros.Row) *row {
	r := row{
		id: re.Get(".id"), slot: re.Get("slot"), path: absolute(re.Get("file-path")), file: re.Get("file-path"),
		nqn: re.Get("nvme-tcp-server-nqn"), allowHost: re.Get("nvme-tcp-server-allow-host-name"), comment: re.Get("comment"),
	}
	var ok bool
	if r.holds, ok = volumeFile(r.path); !ok {
		return nil
	}
	if err := r.parse(re); err != nil {
		r.err = fmt.Errorf("disk %q holds the volume and cannot be used: %w: %w", r.slot, err, actors.ErrPrecondition)
		r.ledger = actors.Ledger{}
	}
	return &r
}

func (r *row) parse(re routeros.Row) (err error) {
	// First, since a row that is unreadable otherwise is somebody's all the same.
	if r.ledger, r.ours, err = actors.ParseLedger(r.comment); err != nil {
		return err
	}
	if !idForm.MatchString(r.id) {
		return fmt.Errorf("its .id %.32q is none", r.id)
	}
	if r.size, err = parseSize(re.Get("file-size")); err != nil {
		return fmt.Errorf("its file-size: %w", err)
	}
	if r.export, err = parseBool(re.Get("nvme-tcp-export")); err != nil {
		return fmt.Errorf("its nvme-tcp-export: %w", err)
	}
	if r.disabled, err = parseBool(re.Get("disabled")); err != nil {
		return fmt.Errorf("its disabled: %w", err)
	}
	if s := re.Get("nvme-tcp-server-port"); s != "" {
		n, err := strconv.ParseUint(s, 10, 16)
		if err != nil {
			return fmt.Errorf("its nvme-tcp-server-port %.32q is no port", s)
		}
		r.port = uint16(n)
	}
	return nil
}

// volume returns the row as the domain sees it, in a copy that is the caller's. The ledger knows what a
// box may hide.
func (r row) volume() actors.Volume {
	if r.err != nil {
		return actors.Volume{ID: r.holds, Exists: true, Ours: r.ours}
	}
	l := r.ledger
	l.Grants = slices.Clone(l.Grants)
	nqn, port := r.nqn, r.port
	if r.ours && r.hidden() {
		nqn, port = l.NQN(r.holds), l.Port
	}
	return actors.Volume{
		ID: r.holds, Exists: true, Size: r.size, Export: r.export && !r.disabled, NQN: nqn, Port: port,
		AllowHost: r.allowHost, Ledger: l, Ours: r.ours,
	}
}

// parseSize reads an exact number of bytes. The console's forms, "1024.0GiB" and "1 099 511 627 776",
// are none: the first is not exact, and the API does not write the other.
func parseSize(s string) (int64, error) {
	n, err := strconv.ParseUint(s, 10, 63)
	if err != nil {
		return 0, fmt.Errorf("%.40q is not a number of bytes", s)
	}
	return int64(n), nil
}

// parseBool reads a truth value. RouterOS leaves out what is not set.
func parseBool(s string) (bool, error) {
	switch s {
	case "true", "yes":
		return true, nil
	case "", "false", "no":
		return false, nil
	}
	return false, fmt.Errorf("%.40q is neither true nor false", s)
}
