// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package script

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
)

// A Box is what scripts work on.
type Box interface {
	// Run carries out one command of a menu. An error that is a *Failure is the script's to handle;
	// any other ends it at once.
	Run(ctx context.Context, c Call) (Value, error)
}

// A Call is one command of a menu that a script carries out.
type Call struct {
	Path  string   // such as "/disk/set"
	Args  []Arg    // in the order in which they stand
	Flags []string // words without a value, such as "detail"
	// Filter is what stands behind where. Nil: every row.
	Filter func(Row) (bool, error)
	// Bracketed is true where the script wants the value: [/disk print count-only].
	Bracketed bool
	Out       io.Writer // of what the command prints
}

// An Arg is an argument of a call.
type Arg struct {
	Name  string
	Value Value
}

// Arg returns the value of an argument, or Nothing.
func (c Call) Arg(name string) Value {
	for _, a := range c.Args {
		if a.Name == name {
			return a.Value
		}
	}
	return Nothing{}
}

// Has reports whether a flag was given.
func (c Call) Has(flag string) bool { return slices.Contains(c.Flags, flag) }

// A Command says what a command takes.
type Command struct {
	Params  []string // names of arguments: name=value
	Unnamed []string // names of the arguments that may stand without their name, in this order
	Flags   []string
	Where   bool // where and a condition
	// Implicit is for a find, whose condition may stand without where.
	Implicit bool
}

// Commands are the commands of a box by their path, such as "/disk/set". What is above a command is a
// menu.
type Commands map[string]Command

// menu reports whether a path, without a slash at its end, is a menu. The root is "".
func (c Commands) menu(path string) bool {
	for name := range c {
		if strings.HasPrefix(name, path+"/") {
			return true
		}
	}
	return false
}

// A Failure is an error in the words of RouterOS, which a script may handle with on-error.
type Failure struct{ Message string }

// Error returns the message.
func (f *Failure) Error() string { return f.Message }

// fail makes a failure.
func fail(format string, args ...any) error { return &Failure{Message: fmt.Sprintf(format, args...)} }

// A SyntaxError is a script of which nothing was carried out.
type SyntaxError struct {
	Message      string
	Line, Column int // from 1
}

// Error returns the message as RouterOS writes it.
func (e *SyntaxError) Error() string {
	return fmt.Sprintf("%s (line %d column %d)", e.Message, e.Line, e.Column)
}
