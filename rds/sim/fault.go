// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"context"
	"errors"
	"time"

	"github.com/rds-csi/rds-csi/nvme/target"
	"github.com/rds-csi/rds-csi/nvme/tcp"
)

// A Fault is what goes wrong with a command. The zero Fault is nothing. Hold and Delay come first,
// in that order, and let the commands behind it overtake; then one of DropBefore, Late and Trap; then
// the command is carried out; then AnswerDelay; then one of DropAfter, FailAfter and Truncate.
type Fault struct {
	// Hold makes the command wait until it is closed, or the power goes off. Nil: no wait.
	Hold <-chan struct{}
	// Delay is waited for after Hold.
	Delay time.Duration
	// DropBefore ends the connection; the command is not carried out, nor is the rest of its script.
	DropBefore bool
	// Late ends the connection at once and carries the command out so long after.
	Late time.Duration
	// Trap, if not empty, is the message of the trap that answers the command, which is not carried
	// out.
	Trap string
	// AnswerDelay is waited for when the command has been carried out, before it is answered.
	AnswerDelay time.Duration
	// DropAfter carries the command out and ends the connection instead of answering.
	DropAfter bool
	// FailAfter, if not empty, is the message of the trap that answers the command, which was carried
	// out.
	FailAfter string
	// Truncate ends the connection in the middle of the answer: of the API, of this command's; of SSH,
	// of what the script prints.
	Truncate bool

	// The rest is for commands of NVMe hosts, and of what is above Hold and Delay alone are for these, too.

	// Status is what the command fails with, which is not carried out. Zero: it is.
	Status tcp.Status
	// Blank makes a read answer zeroes.
	Blank bool
	// Size is how many bytes the disk is said to have. Zero: what it has.
	Size int64
	// Stale tells the size that the disk had when the host connected.
	Stale bool
}

// errDropped is what becomes of a command whose connection a fault ended: nobody is answered.
var errDropped = errors.New("connection dropped")

// host is the fault as a host's command meets it.
func (f Fault) host() target.Fault {
	return target.Fault{Hold: f.Hold, Delay: f.Delay, Status: f.Status, Blank: f.Blank, Size: f.Size, Stale: f.Stale}
}

// forHosts reports whether a fault is one that commands of NVMe hosts alone may meet, and forSessions whether it is one
// of those of the API and SSH. One that only waits is neither.
func (f Fault) forHosts() bool { return f.Status != 0 || f.Blank || f.Size != 0 || f.Stale }

func (f Fault) forSessions() bool {
	return f.DropBefore || f.DropAfter || f.Late > 0 || f.Trap != "" || f.AnswerDelay > 0 || f.FailAfter != "" || f.Truncate
}

// zero reports whether nothing goes wrong.
func (f Fault) zero() bool { return f == Fault{} }

// waits reports whether the fault makes a command wait.
func (f Fault) waits() bool { return f.Hold != nil || f.Delay > 0 || f.Late > 0 }

// do does a command's work with what the fault does to it. drop ends the connection.
func (f Fault) do(ctx context.Context, drop func(), work func() error) error {
	if f.Hold != nil {
		select {
		case <-f.Hold:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err := sleep(ctx, f.Delay); err != nil {
		return err
	}
	switch {
	case f.DropBefore:
		drop()
		return errDropped
	case f.Late > 0:
		drop()
		if err := sleep(ctx, f.Late); err != nil {
			return err
		}
	case f.Trap != "":
		return &trap{uncategorized, f.Trap}
	}
	err := work()
	if waited := sleep(ctx, f.AnswerDelay); f.AnswerDelay > 0 && waited != nil {
		return waited
	}
	switch {
	case f.DropAfter:
		drop()
		return errDropped
	case f.Late > 0:
		return errDropped
	case f.FailAfter != "" && err == nil:
		return &trap{uncategorized, f.FailAfter}
	}
	return err
}
