// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package csi

import "github.com/rds-csi/rds-csi/nvme"

// filesystem is what is to be mounted at the staging path. That one is begun is recorded before it is: who finds half of
// one later, as after a crash or a failure of the box, must know whose it is.
func (n *Node) filesystem(rec *record, s staging) nvme.Filesystem {
	begun := *rec
	begun.Formatting = true
	fs := s.access.filesystem()
	fs.Unfinished = rec.Formatting
	fs.Begin = func() error { return n.records.save(&begun) }
	return fs
}

// unfinished reports whether a filesystem that an earlier staging began may be finished by this one: nobody else can
// have had the volume in between. An NQN that outlives its attachment does not say so.
func unfinished(old, rec *record) bool {
	return old.Formatting && !old.Staged && old.NQN == rec.NQN && old.Access.FS == rec.Access.FS && !rec.Target.Unfenced
}
