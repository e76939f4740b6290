// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package script

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A form says how a command of the language is written and what it does.
type form struct {
	values []string // arguments without a name, in this order
	named  []string // name=value
	blocks []string // name={commands}
	block  bool     // commands in braces come first
	least  int      // how many of the values there must be
	rest   bool     // the first value is a word that is not quoted, such as a variable's name
	run    func(f *frame, in inputs, bracketed bool) (Value, error)
}

// inputs are what a command of the language was given.
type inputs struct {
	values []expr
	named  map[string]expr
	blocks map[string]*block
	words  []string
}

// forms are the commands of the language. It is a function, as they run what is parsed with it.
func builtin(name string) (form, bool) {
	f, ok := map[string]form{
		"put":     {values: []string{"message"}, least: 1, run: runPut},
		"error":   {values: []string{"message"}, least: 1, run: runError},
		"return":  {values: []string{"value"}, run: runReturn},
		"local":   {rest: true, values: []string{"value"}, run: runLocal},
		"global":  {rest: true, values: []string{"value"}, run: runGlobal},
		"set":     {rest: true, values: []string{"value"}, run: runSet},
		"if":      {values: []string{"condition"}, least: 1, blocks: []string{"do", "else"}, run: runIf},
		"foreach": {rest: true, named: []string{"in"}, blocks: []string{"do"}, run: runForeach},
		"for":     {rest: true, named: []string{"from", "to", "step"}, blocks: []string{"do"}, run: runFor},
		"while":   {values: []string{"condition"}, least: 1, blocks: []string{"do"}, run: runWhile},
		"do":      {block: true, named: []string{"while"}, blocks: []string{"on-error"}, run: runDo},
		"onerror": {rest: true, blocks: []string{"in", "do"}, run: runOnError},
		"len":     {values: []string{"value"}, least: 1, run: runLen},
		"pick":    {values: []string{"value", "from", "to"}, least: 2, run: runPick},
		"find":    {values: []string{"in", "what"}, least: 2, run: runFind},
		"tostr":   {values: []string{"value"}, least: 1, run: runToStr},
		"tonum":   {values: []string{"value"}, least: 1, run: runToNum},
		"typeof":  {values: []string{"value"}, least: 1, run: runTypeOf},
		"delay":   {values: []string{"time"}, least: 1, run: runDelay},
		"nothing": {run: func(*frame, inputs, bool) (Value, error) { return Nothing{}, nil }},
		"log":     {rest: true, values: []string{"message"}, least: 1, run: runLog},
	}[name]
	return f, ok
}

// A command is a command of the language with its inputs.
type command struct {
	form form
	in   inputs
}

func (c *command) run(f *frame, bracketed bool) (Value, error) { return c.form.run(f, c.in, bracketed) }

// builtin reads the inputs of a command of the language.
func (p *parser) builtin(fo form) (statement, error) {
	in := inputs{named: map[string]expr{}, blocks: map[string]*block{}}
	p.spaces()
	if fo.block {
		b, err := p.braces()
		if err != nil {
			return nil, err
		}
		in.blocks["do"] = b
	}
	if fo.rest {
		name, err := p.variableName()
		if err != nil {
			return nil, err
		}
		in.words = append(in.words, name)
	}
	for {
		p.spaces()
		if p.ended() {
			if len(in.values) < fo.least {
				return nil, p.errorAt(p.at, "syntax error")
			}
			return &command{fo, in}, nil
		}
		if err := p.input(fo, &in); err != nil {
			return nil, err
		}
	}
}

// variableName reads a name that stands where it is given, quoted or not.
func (p *parser) variableName() (string, error) {
	at := p.at
	if p.peek() == '"' {
		e, err := p.quoted()
		if err != nil {
			return "", err
		}
		if l, ok := e.(literal); ok {
			return l.value.String(), nil
		}
		return "", p.errorAt(at, "syntax error")
	}
	name := p.while(isVar)
	if name == "" {
		return "", p.syntax()
	}
	return name, nil
}

// input reads one input.
func (p *parser) input(fo form, in *inputs) error {
	at := p.at
	word := p.while(isName)
	if word != "" && p.accept("=") {
		switch {
		case slices.Contains(fo.blocks, word):
			b, err := p.braces()
			in.blocks[word] = b
			return err
		case slices.Contains(fo.named, word) && p.peek() == '{':
			e, err := p.array()
			in.named[word] = e
			return err
		case slices.Contains(fo.named, word):
			e, err := p.value()
			in.named[word] = e
			return err
		}
	}
	p.at = at
	if len(in.values) >= len(fo.values) {
		return p.errorAt(at, "expected end of command")
	}
	read := p.value
	if p.peek() == '{' {
		read = p.array
	}
	e, err := read()
	if l, ok := e.(literal); ok && word != "" {
		e = literal{wordValue(l.value)}
	}
	in.values = append(in.values, e)
	return err
}

// wordValue is the value of a word that is not quoted.
func wordValue(v Value) Value { return word(v.String()) }

// value evaluates an input without a name; Nothing, if it was not given.
func (in inputs) value(f *frame, n int) (Value, error) {
	if n >= len(in.values) {
		return Nothing{}, nil
	}
	return in.values[n].eval(f)
}

func runPut(f *frame, in inputs, _ bool) (Value, error) {
	v, err := in.value(f, 0)
	if err == nil {
		_, err = io.WriteString(f.out, v.String()+"\n")
	}
	return Nothing{}, err
}

func runError(f *frame, in inputs, _ bool) (Value, error) {
	v, err := in.value(f, 0)
	if err != nil {
		return nil, err
	}
	return nil, &Failure{Message: v.String()}
}

func runReturn(f *frame, in inputs, _ bool) (Value, error) {
	v, err := in.value(f, 0)
	if err != nil {
		return nil, err
	}
	return nil, &returned{v}
}

func runLocal(f *frame, in inputs, _ bool) (Value, error) {
	v, err := in.value(f, 0)
	if err == nil {
		f.declare(in.words[0], v)
	}
	return Nothing{}, err
}

func runGlobal(f *frame, in inputs, _ bool) (Value, error) {
	globals := f.console.globals
	v, err := in.value(f, 0)
	if err != nil {
		return nil, err
	}
	if globals[in.words[0]] == nil || len(in.values) > 0 {
		if len(globals) >= maxGlobals && globals[in.words[0]] == nil {
			return nil, fail("too many global variables")
		}
		globals[in.words[0]] = &v
	}
	if f.vars == nil {
		f.vars = map[string]*Value{}
	}
	f.vars[in.words[0]] = globals[in.words[0]]
	return Nothing{}, nil
}

// maxGlobals is how many global variables a console keeps.
const maxGlobals = 256

func runSet(f *frame, in inputs, _ bool) (Value, error) {
	to := f.lookup(in.words[0])
	if to == nil {
		return nil, fail("no such variable %s", in.words[0])
	}
	v, err := in.value(f, 0)
	if err == nil {
		*to = v
	}
	return Nothing{}, err
}

func runLen(f *frame, in inputs, _ bool) (Value, error) {
	v, err := in.value(f, 0)
	if err != nil {
		return nil, err
	}
	return Number(length(v)), nil
}

// runPick carries out :pick value from to, of which to is not included; without it, one is picked.
func runPick(f *frame, in inputs, _ bool) (Value, error) {
	v, err := in.value(f, 0)
	if err != nil {
		return nil, err
	}
	first, err := in.value(f, 1)
	if err != nil {
		return nil, err
	}
	last, err := in.value(f, 2)
	if err != nil {
		return nil, err
	}
	n := int64(length(v))
	from, ok := number(first)
	if !ok {
		return nil, fail("invalid argument from")
	}
	to, ok := number(last)
	if !ok {
		to = from + 1
	}
	from = min(max(from, 0), n)
	to = min(max(to, from), n)
	switch v := v.(type) {
	case List:
		if len(in.values) < 3 && from < to {
			return v[from], nil
		}
		return slices.Clone(v[from:to]), nil
	case Row:
		return slices.Clone(v[from:to]), nil
	}
	return Text(v.String()[from:to]), nil
}

func runFind(f *frame, in inputs, _ bool) (Value, error) {
	v, err := in.value(f, 0)
	if err != nil {
		return nil, err
	}
	what, err := in.value(f, 1)
	if err != nil {
		return nil, err
	}
	at := strings.Index(v.String(), what.String())
	if list, ok := v.(List); ok {
		at = slices.IndexFunc(list, func(v Value) bool { return equal(v, what) })
	}
	if at < 0 {
		return Nothing{}, nil
	}
	return Number(at), nil
}

func runToStr(f *frame, in inputs, _ bool) (Value, error) {
	v, err := in.value(f, 0)
	if err != nil {
		return nil, err
	}
	return Text(v.String()), nil
}

func runToNum(f *frame, in inputs, _ bool) (Value, error) {
	v, err := in.value(f, 0)
	if err != nil {
		return nil, err
	}
	if n, ok := number(v); ok {
		return Number(n), nil
	}
	return Nothing{}, nil
}

func runTypeOf(f *frame, in inputs, _ bool) (Value, error) {
	v, err := in.value(f, 0)
	if err != nil {
		return nil, err
	}
	return Text(kind(v)), nil
}

func runLog(f *frame, in inputs, _ bool) (Value, error) {
	_, err := in.value(f, 0)
	return Nothing{}, err
}

// maxDelay is the longest :delay.
const maxDelay = time.Minute

// runDelay carries out :delay, of seconds or of a time such as 200ms.
func runDelay(f *frame, in inputs, _ bool) (Value, error) {
	v, err := in.value(f, 0)
	if err != nil {
		return nil, err
	}
	d, err := time.ParseDuration(v.String())
	if n, errN := strconv.Atoi(v.String()); errN == nil {
		d, err = time.Duration(min(n, 3600))*time.Second, nil
	}
	if err != nil || d < 0 || d > maxDelay {
		return nil, fail("invalid value for argument delay-time")
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return Nothing{}, nil
	case <-f.ctx.Done():
		return nil, fmt.Errorf("wait: %w", f.ctx.Err())
	}
}

// handled reports whether a script may handle an error.
func handled(err error) (*Failure, bool) {
	var f *Failure
	ok := errors.As(err, &f)
	return f, ok
}
