// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package rds

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/rds-csi/rds-csi/actors"
	"github.com/rds-csi/rds-csi/rds/console"
	"github.com/rds-csi/rds-csi/rds/routeros"
)

// An sshSession is a session over SSH. It takes one command at a time. What it writes is guarded: the box
// compares the row with what the listing showed before it changes anything.
type sshSession struct {
	*console.Client
}

var _ session = sshSession{}

// dialSSH connects and logs in.
func dialSSH(ctx context.Context, cfg Config) (session, error) {
	settings, err := cfg.console()
	if err != nil {
		return nil, err
	}
	client, err := console.Dial(ctx, settings)
	if err != nil {
		return nil, err
	}
	return sshSession{client}, nil
}

// console returns the settings of the SSH client.
func (cfg Config) console() (console.Config, error) {
	password, err := cfg.password()
	if err != nil {
		return console.Config{}, err
	}
	key, err := cfg.key()
	if err != nil {
		return console.Config{}, err
	}
	return console.Config{
		Address: cfg.Address, Username: cfg.Username, Password: password, Signer: key,
		HostKey: cfg.SSH.HostKey, KnownHosts: cfg.SSH.KnownHosts,
		DialTimeout: cfg.CommandTimeout, CommandTimeout: cfg.CommandTimeout,
		DialContext: cfg.DialContext, Logger: cfg.Logger,
	}, nil
}

// checkSSH reports actors.ErrInvalid for settings of SSH that cannot be used. The client tells before it
// connects, and here it never does.
func (cfg Config) checkSSH() error {
	if cfg.ReadPassword != nil {
		cfg.ReadPassword, cfg.Password = nil, "asked for at each login" // what is wrong with it then is then said
	}
	settings, err := cfg.console()
	if err != nil {
		return fmt.Errorf("%w: %w", err, actors.ErrInvalid)
	}
	nowhere := errors.New("the settings can be used")
	settings.DialContext = func(context.Context, string, string) (net.Conn, error) { return nil, nowhere }
	client, err := console.Dial(context.Background(), settings)
	switch {
	case err == nil:
		client.Close() // cannot be
	case errors.Is(err, console.ErrConfig):
		return fmt.Errorf("%w: %w", explainConnect(err, cfg), actors.ErrInvalid)
	}
	return nil
}

// Read implements session.
func (s sshSession) Read(ctx context.Context, what reading) ([]routeros.Row, error) {
	if what == uptime {
		out, err := s.Run(ctx, ":put [/system/resource get value-name=uptime]")
		return []routeros.Row{{"=uptime=" + strings.TrimSpace(out)}}, err
	}
	return s.Print(ctx, console.List{
		Menu: "/disk", Properties: strings.Split(properties, ","),
		Any: []console.Condition{{Property: "type", Value: "file"}, {Property: "mount-point", Op: console.Present}},
	})
}

// Change implements session.
func (s sshSession) Change(ctx context.Context, changes ...change) []answer {
	statements := make([]console.Statement, len(changes))
	for i, c := range changes {
		st, err := statement(c)
		if err != nil {
			return all(len(changes), err)
		}
		statements[i] = st
	}
	answers := make([]answer, len(changes))
	for i, r := range s.Batch(ctx, statements...) {
		answers[i] = answer{made: r.Value, err: r.Err}
		if rows, ok := changes[i].(setRows); ok && len(rows.rows) > 1 && r.Steps == 0 {
			answers[i].first = r.Err
		}
	}
	return answers
}

// statement returns a change as a statement. Of two rows the second is not written where the first was
// refused.
func statement(c change) (console.Statement, error) {
	set := func(id string, g guard, name, value string) console.Set {
		return console.Set{Menu: "/disk", ID: id, Guards: g.conditions(), Changes: [][]console.Property{{{Name: name, Value: value}}}}
	}
	switch c := c.(type) {
	case addDisk:
		return addStatement(c), nil
	case setRows:
		st := console.Set{Menu: "/disk", ID: c.id, Guards: c.guard.conditions()}
		for _, r := range c.rows {
			st.Changes = append(st.Changes, rowProperties(r))
		}
		return st, nil
	case setSize:
		return set(c.id, c.guard, "file-size", strconv.FormatInt(c.size, 10)), nil
	case endExport:
		return set(c.id, c.guard, "nvme-tcp-export", "no"), nil
	case removeDisk:
		return console.Remove{Menu: "/disk", ID: c.id, Guards: c.guard.conditions()}, nil
	case removeFile:
		return console.RemoveFile{Name: c.name}, nil
	}
	return nil, fmt.Errorf("%w: a change of type %T is none that the console knows", routeros.ErrNotSent, c)
}

func rowProperties(r rowValues) []console.Property {
	return []console.Property{
		{Name: "nvme-tcp-export", Value: yesNo(r.export)},
		{Name: "nvme-tcp-server-nqn", Value: r.nqn},
		{Name: "nvme-tcp-server-allow-host-name", Value: r.allowHost},
		{Name: "comment", Value: r.comment},
	}
}

// addStatement makes a disk, unless there is a row of its file: an add that comes late must not make
// another.
func addStatement(c addDisk) console.Add {
	return console.Add{
		Menu: "/disk",
		Properties: []console.Property{
			{Name: "type", Value: "file"},
			{Name: "slot", Value: c.slot},
			{Name: "file-path", Value: c.file},
			{Name: "file-size", Value: strconv.FormatInt(c.size, 10)},
			{Name: "mount-filesystem", Value: "no"},
			{Name: "nvme-tcp-export", Value: "no"},
			{Name: "nvme-tcp-server-port", Value: strconv.Itoa(int(c.port))},
			{Name: "nvme-tcp-server-nqn", Value: c.nqn},
			{Name: "comment", Value: c.comment},
		},
		Unless: []console.Condition{{Property: "file-path", Value: c.file}},
	}
}

// conditions returns the guard as the console compares it. A comment that is no ledger may hold what no
// script may; that it still is none is what matters.
func (g guard) conditions() []console.Condition {
	comment := console.Condition{Property: "comment", Op: console.BeginsNot, Value: "rds-csi."}
	if g.ours {
		comment = console.Condition{Property: "comment", Value: g.comment}
	}
	return []console.Condition{{Property: "file-path", Value: g.file}, comment}
}

// isStale reports a change that the box did not make since the row was not as the listing showed it.
func isStale(err error) bool { return errors.Is(err, console.ErrStale) }
