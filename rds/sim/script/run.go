// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package script

import (
	"context"
	"errors"
	"io"
	"maps"
)

// Limits of a script that runs.
const (
	maxSteps = 4 << 20
	maxText  = 1 << 20  // bytes
	maxList  = 64 << 10 // items
)

// A Console runs scripts, one at a time, and keeps their global variables.
type Console struct {
	box     Box
	globals map[string]*Value
}

// NewConsole returns a console of a box without variables.
func NewConsole(box Box) *Console { return &Console{box: box, globals: map[string]*Value{}} }

// errLimit ends a script that does not end of its own.
var errLimit = errors.New("script takes too many steps")

// Run carries out a script; what it prints goes to out. The error is a *Failure for what the script
// did not handle, or else the box's own, the context's, or one of writing.
func (c *Console) Run(ctx context.Context, s *Script, out io.Writer) error {
	steps := maxSteps
	f := &frame{ctx: ctx, console: c, out: out, steps: &steps, vars: maps.Clone(c.globals)}
	_, err := s.body.run(f, false)
	var r *returned
	if errors.As(err, &r) {
		return nil
	}
	if errors.Is(err, errLimit) {
		return &Failure{Message: errLimit.Error()}
	}
	return err
}

// A frame is a scope while a script runs.
type frame struct {
	ctx     context.Context // of the script
	console *Console
	out     io.Writer
	steps   *int // that are left
	row     Row  // that where looks at
	vars    map[string]*Value
	outer   *frame
}

// inner returns a scope in this one.
func (f *frame) inner() *frame {
	return &frame{ctx: f.ctx, console: f.console, out: f.out, steps: f.steps, row: f.row, outer: f}
}

// lookup returns the variable of a name, or nil.
func (f *frame) lookup(name string) *Value {
	for ; f != nil; f = f.outer {
		if v := f.vars[name]; v != nil {
			return v
		}
	}
	return nil
}

// declare makes a variable in this scope.
func (f *frame) declare(name string, v Value) {
	if f.vars == nil {
		f.vars = map[string]*Value{}
	}
	f.vars[name] = &v
}

// step counts what the script does.
func (f *frame) step() error {
	if *f.steps--; *f.steps < 0 {
		return errLimit
	}
	return f.ctx.Err()
}

// returned carries the value of :return out of blocks.
type returned struct{ value Value }

func (*returned) Error() string { return "return outside of a script" }

// A statement is what a script is made of. bracketed is true for what stands in brackets.
type statement interface {
	run(f *frame, bracketed bool) (Value, error)
}

// A block is a list of statements; its value is the last one's.
type block struct{ statements []statement }

func (b *block) run(f *frame, bracketed bool) (Value, error) {
	inner := f.inner()
	var value Value = Nothing{}
	for _, s := range b.statements {
		if err := f.step(); err != nil {
			return nil, err
		}
		v, err := s.run(inner, bracketed)
		if err != nil {
			var r *returned
			if bracketed && errors.As(err, &r) {
				return r.value, nil
			}
			return nil, err
		}
		value = v
	}
	return value, nil
}

// A call is a command of a menu.
type call struct {
	path  string
	args  []argument
	flags []string
	where expr
}

type argument struct {
	name  string
	value expr
}

func (c *call) run(f *frame, bracketed bool) (Value, error) {
	box := Call{Path: c.path, Flags: c.flags, Bracketed: bracketed, Out: f.out}
	for _, a := range c.args {
		v, err := a.value.eval(f)
		if err != nil {
			return nil, err
		}
		box.Args = append(box.Args, Arg{a.name, v})
	}
	if c.where != nil {
		box.Filter = func(r Row) (bool, error) {
			inner := f.inner()
			inner.row = r
			v, err := c.where.eval(inner)
			if err != nil {
				return false, err
			}
			return holds(v), nil
		}
	}
	return f.console.box.Run(f.ctx, box)
}
