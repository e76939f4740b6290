// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/rds-csi/rds-csi/rds"
	"github.com/rds-csi/rds-csi/rds/console"
	"github.com/rds-csi/rds-csi/rds/routeros"
)

// A Reader is a session that changes nothing.
type Reader interface {
	// Print returns the rows of a menu, such as "/disk", with some of their properties.
	Print(ctx context.Context, menu string, properties ...string) ([]routeros.Row, error)
	// Get returns a property of a menu that is one row, such as "/system/resource".
	Get(ctx context.Context, menu, property string) (string, error)
}

// A Session may change things, too. The errors of all its methods are those of package routeros.
type Session interface {
	Reader
	// Do carries out commands, sent together. There is one outcome for each. What was sent is waited for, also
	// when ctx ends: a change that comes late could come after what cleans up.
	Do(ctx context.Context, commands ...Command) []Outcome
	Close()
}

// A Verb is what a command does.
type Verb string

// The verbs.
const (
	Add    Verb = "add"
	Set    Verb = "set"
	Remove Verb = "remove"
)

// A Command changes the box.
type Command struct {
	Menu string // "/disk" or "/file"
	Verb Verb
	Item string // an .id, or the name of a file; of an Add nothing
	Mark string // what the comment of the row must begin with, where the transport can make sure
	With []console.Property
}

// An Outcome is what became of a command.
type Outcome struct {
	ID  string // of an Add
	Err error
}

// String is the command as it is reported. A password is left out.
func (c Command) String() string {
	words := []string{c.Menu + "/" + string(c.Verb)}
	if c.Item != "" {
		words = append(words, c.Item)
	}
	for _, p := range c.With {
		value := p.Value
		switch {
		case strings.Contains(p.Name, "password"):
			value = "***"
		case len(value) > 80:
			value = fmt.Sprintf("%.40s...(%d bytes)", value, len(value))
		}
		words = append(words, p.Name+"="+value)
	}
	return strings.Join(words, " ")
}

// refusal returns the box's no, or nil: what was cut short may have been done.
func refusal(err error) *routeros.Trap {
	var t *routeros.Trap
	if errors.As(err, &t) && t.Category != routeros.CategoryInterrupted {
		return t
	}
	return nil
}

// refusedOr returns the box's no alone, or what else went wrong.
func refusedOr(err error) (*routeros.Trap, error) {
	if t := refusal(err); t != nil {
		return t, nil
	}
	return nil, err
}

// dial opens a session over the transport of cfg.
func dial(ctx context.Context, cfg rds.Config) (Session, error) {
	if cfg.Transport == rds.SSH {
		c, err := rds.DialSSH(ctx, cfg)
		if err != nil {
			return nil, err //nolint:wrapcheck // says what was tried
		}
		return sshSession{c}, nil
	}
	c, err := rds.DialAPI(ctx, cfg)
	if err != nil {
		return nil, err //nolint:wrapcheck // says what was tried
	}
	return apiSession{c, cfg}, nil
}

// An apiSession is a session over the API.
type apiSession struct {
	*routeros.Client
	cfg rds.Config
}

// Print implements Reader.
func (s apiSession) Print(ctx context.Context, menu string, properties ...string) ([]routeros.Row, error) {
	ctx, cancel := bounded(ctx, s.cfg)
	defer cancel()
	r, err := s.Run(ctx, menu+"/print", "=.proplist="+strings.Join(properties, ","))
	return r.Re, err
}

// Get implements Reader.
func (s apiSession) Get(ctx context.Context, menu, property string) (string, error) {
	rows, err := s.Print(ctx, menu, property)
	if err != nil || len(rows) == 0 {
		return "", err
	}
	return rows[0].Get(property), nil
}

// Do implements Session.
func (s apiSession) Do(ctx context.Context, commands ...Command) []Outcome {
	if ctx.Err() != nil {
		return unsent(ctx, commands)
	}
	ctx, cancel := bounded(context.WithoutCancel(ctx), s.cfg)
	defer cancel()
	sentences := make([][]string, len(commands))
	for i, c := range commands {
		words := []string{c.Menu + "/" + string(c.Verb)}
		switch {
		case c.Item == "":
		case c.Menu == "/file":
			words = append(words, "=numbers="+c.Item)
		default:
			words = append(words, "=.id="+c.Item)
		}
		for _, p := range c.With {
			words = append(words, "="+p.Name+"="+p.Value)
		}
		sentences[i] = words
	}
	outcomes := make([]Outcome, len(commands))
	for i, r := range s.RunAll(ctx, sentences...) {
		outcomes[i] = Outcome{r.Reply.Done.Get("ret"), r.Err}
	}
	return outcomes
}

// unsent gives each command the outcome of one that never left.
func unsent(ctx context.Context, commands []Command) []Outcome {
	outcomes := make([]Outcome, len(commands))
	for i := range outcomes {
		outcomes[i].Err = fmt.Errorf("%w: %w", routeros.ErrNotSent, context.Cause(ctx))
	}
	return outcomes
}

func bounded(ctx context.Context, cfg rds.Config) (context.Context, context.CancelFunc) {
	d := cfg.CommandTimeout
	if d == 0 {
		d = rds.DefaultCommandTimeout
	}
	return context.WithTimeout(ctx, d)
}

// An sshSession is a session over SSH. The box compares the mark of a row before it changes it.
type sshSession struct{ *console.Client }

// Print implements Reader.
func (s sshSession) Print(ctx context.Context, menu string, properties ...string) ([]routeros.Row, error) {
	return s.Client.Print(ctx, console.List{Menu: menu, Properties: properties})
}

// Get implements Reader.
func (s sshSession) Get(ctx context.Context, menu, property string) (string, error) {
	out, err := s.Run(ctx, ":put ["+menu+" get value-name="+property+"]")
	return strings.TrimSpace(out), err
}

// Do implements Session.
func (s sshSession) Do(ctx context.Context, commands ...Command) []Outcome {
	if ctx.Err() != nil {
		return unsent(ctx, commands)
	}
	ctx = context.WithoutCancel(ctx) // the client has a deadline for each
	outcomes := make([]Outcome, len(commands))
	if len(commands) == 1 && listed(commands[0]) {
		outcomes[0].Err = s.list(ctx, commands[0])
		return outcomes
	}
	statements := make([]console.Statement, len(commands))
	for i, c := range commands {
		statements[i] = c.statement()
	}
	for i, r := range s.Batch(ctx, statements...) {
		outcomes[i] = Outcome{r.Value, r.Err}
	}
	return outcomes
}

func (c Command) statement() console.Statement {
	var guards []console.Condition
	if c.Mark != "" {
		guards = []console.Condition{{Property: "comment", Op: console.BeginsWith, Value: c.Mark}}
	}
	switch {
	case c.Verb == Add:
		return console.Add{Menu: c.Menu, Properties: c.With}
	case c.Verb == Set:
		return console.Set{Menu: c.Menu, ID: c.Item, Guards: guards, Changes: [][]console.Property{c.With}}
	case c.Menu == "/file":
		return console.RemoveFile{Name: c.Item}
	}
	return console.Remove{Menu: c.Menu, ID: c.Item, Guards: guards}
}

// listed reports whether a value is a list, whose commas no statement takes.
func listed(c Command) bool {
	return c.Verb == Set && len(c.With) == 1 && strings.Contains(c.With[0].Value, ",")
}

// list sets a property to a list. Within quotes the console does not interpret a comma.
func (s sshSession) list(ctx context.Context, c Command) error {
	p := c.With[0]
	for _, word := range append(strings.Split(p.Value, ","), c.Mark) {
		if err := console.CheckWord(word); err != nil {
			return fmt.Errorf("%w: %w", routeros.ErrNotSent, err)
		}
	}
	guard := fmt.Sprintf(`[:tostr [:pick [:tostr [%s get %s value-name=comment]] 0 %d]]="%s"`, c.Menu, c.Item, len(c.Mark), c.Mark)
	_, err := s.Run(ctx, fmt.Sprintf(`:if (%s) do={%s set %s %s="%s"} else={:error "failure: the row is not as it was"}`, guard, c.Menu, c.Item, p.Name, p.Value))
	return err
}
