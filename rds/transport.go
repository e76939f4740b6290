// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package rds

import (
	"context"

	"github.com/rds-csi/rds-csi/rds/routeros"
)

// A session is one logged-in connection with the box, whatever the transport. Its methods may be called
// from any goroutine; how many commands it takes at a time is the pool's affair.
//
// Every error of Read and of an answer wraps exactly one of routeros.ErrNotSent, routeros.ErrUnanswered
// and *routeros.Trap: what must be known of a command is whether it may have run.
type session interface {
	// Read returns rows, with the values exact, as the API gives them.
	Read(ctx context.Context, what reading) ([]routeros.Row, error)
	// Change carries out changes in their order, sent together. A refused one does not keep those after
	// it from running. There is one answer for each.
	Change(ctx context.Context, changes ...change) []answer
	// Done is closed when the session has ended, Err says why, and is nil while it lives.
	Done() <-chan struct{}
	Err() error
	// Close ends the session and what is under way on it, without waiting for the box.
	Close()
}

// A reading is what is read.
type reading int

const (
	disks  reading = iota // the file disks and, in the same answer, the disks that are mounted
	uptime                // one row, with "uptime"
)

// An answer is what became of a change.
type answer struct {
	made  string // .id of the row that an addDisk made
	first error  // of two rows that are written, what became of the first
	err   error  // what became of the change, or of the last of its rows
}

// all gives n changes the same answer.
func all(n int, err error) []answer {
	answers := make([]answer, n)
	for i := range answers {
		answers[i] = answer{first: err, err: err}
	}
	return answers
}

// properties are what a listing asks for.
const properties = ".id,type,slot,disabled,comment,file-path,file-size,size,free,mount-point,state," +
	"nvme-tcp-export,nvme-tcp-server-port,nvme-tcp-server-nqn,nvme-tcp-server-allow-host-name"

// A change is a command that changes the box: one of the types below. Its values are checked before
// they get here.
type change interface{ isChange() }

// addDisk makes a file disk that is not exported and that the box does not mount.
type addDisk struct {
	slot    string
	file    string // with a leading slash
	size    int64  // bytes
	port    uint16
	nqn     string
	comment string
}

// A guard is what a row showed when it was listed. A transport that can compare it on the box changes
// nothing where it does not hold any more: an earlier write has landed late, or the rows are numbered
// anew.
type guard struct {
	file    string // as the box shows it
	comment string
	ours    bool // the comment is a ledger
}

func guardOf(r row) guard { return guard{r.file, r.comment, r.ours} }

// setRows writes what grants and revokes write, whole: once, or twice with nothing in between.
type setRows struct {
	id    string // .id
	guard guard
	rows  []rowValues // 1 or 2
}

// rowValues are the values of a row that grants and revokes write.
type rowValues struct {
	export    bool
	nqn       string
	allowHost string // empty: any host
	comment   string
}

// setSize changes the size of a disk.
type setSize struct {
	id    string // .id
	guard guard
	size  int64 // bytes
}

// endExport turns the export of a disk off and leaves all else as it is.
type endExport struct {
	id    string // .id
	guard guard
}

// removeDisk removes a row; the file stays.
type removeDisk struct {
	id    string // .id
	guard guard
}

// removeFile removes a file.
type removeFile struct{ name string } // without a leading slash

func (addDisk) isChange()    {}
func (setRows) isChange()    {}
func (setSize) isChange()    {}
func (endExport) isChange()  {}
func (removeDisk) isChange() {}
func (removeFile) isChange() {}
