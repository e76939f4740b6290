// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package routeros

import (
	"errors"
	"fmt"
)

// Every error of a command wraps exactly one of ErrNotSent, ErrUnanswered and *Trap: what the caller
// must know is whether the router may have run the command.
var (
	// ErrNotSent: no byte of the command left this process.
	ErrNotSent = errors.New("command was not sent")
	// ErrUnanswered: the command, or a part of it, was sent and its answer did not come, or could not
	// be kept. It may have run, may still run, or may never run.
	ErrUnanswered = errors.New("command was sent and not answered")
)

var (
	// ErrClosed says that the client was closed by its owner.
	ErrClosed = errors.New("client is closed")
	// ErrOverflow says that a listener did not keep up, or a reply was larger than MaxReply.
	ErrOverflow = errors.New("more replies than there is room for")
	// ErrLogin says that the router refused the user name or the password.
	ErrLogin = errors.New("login refused")
)

// The categories of a trap, by the manual's table under "API". A router leaves the category out of
// some traps.
const (
	CategoryNone        = -1 // the trap names none
	CategoryMissing     = 0  // missing item or command
	CategoryArgument    = 1  // argument value failure
	CategoryInterrupted = 2  // execution of the command was interrupted
	CategoryScripting   = 3  // scripting related failure
	CategoryGeneral     = 4  // general failure
	CategoryAPI         = 5  // API related failure
	CategoryTTY         = 6  // TTY related failure
	CategoryReturn      = 7  // value made with the :return command
)

// A Trap is the router's refusal of a command.
type Trap struct {
	Category int    // one of the Category constants
	Message  string // the router's text
}

// Error returns the router's text and the category.
func (t *Trap) Error() string {
	if t.Category == CategoryNone {
		return fmt.Sprintf("router refused: %.300q", t.Message)
	}
	return fmt.Sprintf("router refused: %.300q (category %d)", t.Message, t.Category)
}

// A Fatal is the router's word before it closes a connection. It wraps nothing: each command that
// was pending fails with ErrNotSent or ErrUnanswered, and this beside it.
type Fatal struct {
	Message string // the router's text
}

// Error returns the router's text.
func (f *Fatal) Error() string { return fmt.Sprintf("router closed the session: %.300q", f.Message) }
