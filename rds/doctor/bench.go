// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/rds-csi/rds-csi/rds/console"
	"github.com/rds-csi/rds-csi/rds/routeros"
)

// A bench is what questions work on: a session, and scratch disks under the names of this run.
type bench struct {
	Config
	ExperimentConfig
	report   *Report
	session  Session
	run      uuid.UUID
	question string // that is asked, for the refusals
	made     int    // names
	ports    []uint16

	files []string // that may be there, with a leading slash
	dirs  []string // the same
	hosts []Host   // to be closed
	late  bool     // a command got no answer, and may be carried out later
}

// A spec is a scratch disk to make. What is zero is chosen.
type spec struct {
	slot, file string
	comment    string // behind the mark
	size       int64
	port       uint16
	nqn        string // "-": none is set
	export     bool
}

// A disk is a scratch disk that was made.
type disk struct {
	id   string
	spec spec
}

// name returns a name that nobody has.
func (b *bench) name() string {
	b.made++
	return fmt.Sprintf("%s%s-%02d", namePrefix, tagOf(b.run), b.made)
}

// fill returns a spec with nothing left to choose.
func (b *bench) fill(s spec) spec {
	name := b.name()
	if s.slot == "" {
		s.slot = name
	}
	if s.file == "" {
		s.file = b.VolumePath() + "/" + name + ".img"
	}
	if s.size == 0 {
		s.size = b.Size
	}
	if s.port == 0 {
		s.port = b.ports[0]
	}
	if s.nqn == "" {
		s.nqn = "nqn.2000-02.com.mikrotik:" + name
	}
	return s
}

// VolumePath is where scratch files are made.
func (c Config) VolumePath() string { return c.Box.VolumePaths[0] }

// properties are those of an add.
func (s spec) properties(mark string) []console.Property {
	props := []console.Property{
		{Name: "type", Value: "file"},
		{Name: "slot", Value: s.slot},
		{Name: "file-path", Value: s.file},
		{Name: "file-size", Value: strconv.FormatInt(s.size, 10)},
		{Name: "mount-filesystem", Value: "no"},
		{Name: "nvme-tcp-export", Value: yesNo(s.export)},
		{Name: "nvme-tcp-server-port", Value: strconv.Itoa(int(s.port))},
		{Name: "comment", Value: mark + s.comment},
	}
	if s.nqn != "-" {
		props = append(props, console.Property{Name: "nvme-tcp-server-nqn", Value: s.nqn})
	}
	return props
}

// add makes a disk. From the moment it is asked for, its file is one to remove.
func (b *bench) add(ctx context.Context, s spec) (disk, error) {
	s = b.fill(s)
	if !scratchFile(s.file, tagOf(b.run), b.Box.VolumePaths) || nameTag(s.slot) != tagOf(b.run) {
		return disk{}, fmt.Errorf("%q in slot %q is not a name of this run", s.file, s.slot)
	}
	if !slices.Contains(b.files, s.file) {
		b.files = append(b.files, s.file)
	}
	c := Command{Menu: "/disk", Verb: Add, With: s.properties(markOf(b.run))}
	o := b.do(ctx, c)[0]
	if o.Err != nil {
		return disk{spec: s}, o.Err
	}
	return disk{o.ID, s}, nil
}

// set writes properties of a disk, which are given as name=value.
func (b *bench) set(ctx context.Context, d disk, values ...string) error {
	return b.change(ctx, d, Command{Menu: "/disk", Verb: Set, With: properties(values)})
}

func properties(values []string) (props []console.Property) {
	for _, v := range values {
		name, value, _ := strings.Cut(v, "=")
		props = append(props, console.Property{Name: name, Value: value})
	}
	return props
}

// remove removes the row of a disk. The file is expected to stay.
func (b *bench) remove(ctx context.Context, d disk) error {
	return b.change(ctx, d, Command{Menu: "/disk", Verb: Remove})
}

// change carries out a command about a row, if that is one of this run.
func (b *bench) change(ctx context.Context, d disk, c Command) error {
	if err := b.own(ctx, d); err != nil {
		return err
	}
	c.Item, c.Mark = d.id, markOf(b.run)
	return b.do(ctx, c)[0].Err
}

// own reports an error unless a row is one of this run.
func (b *bench) own(ctx context.Context, d disk) error {
	r, err := b.row(ctx, d)
	if err != nil {
		return err
	}
	if s, ok := scratchOf(r, b.Box.VolumePaths); !ok || s.tag != tagOf(b.run) {
		return fmt.Errorf("row %s is not this run's any more, and is left alone", d.id)
	}
	return nil
}

// errGone says that a row is not there.
var errGone = errors.New("the row is not there")

// row reads the row of a disk.
func (b *bench) row(ctx context.Context, d disk) (routeros.Row, error) {
	rows, err := b.session.Print(ctx, "/disk", rowProperties...)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(rows, func(r routeros.Row) bool { return r.Get(".id") == d.id })
	if i < 0 {
		return nil, fmt.Errorf("%w: %s", errGone, d.id)
	}
	return rows[i], nil
}

// removeFile removes a file of this run, and reports whether there was one.
func (b *bench) removeFile(ctx context.Context, file string) (was bool, err error) {
	if tag := tagOf(b.run); !scratchFile(file, tag, b.Box.VolumePaths) && !scratchDirectory(file, tag, b.Box.VolumePaths) {
		return false, fmt.Errorf("%q is not a name of this run", file)
	}
	o := b.session.Do(ctx, Command{Menu: "/file", Verb: Remove, Item: strings.TrimPrefix(file, "/")})[0]
	if t := refusal(o.Err); t != nil && missing(t) {
		return false, nil
	}
	return o.Err == nil, o.Err
}

func missing(t *routeros.Trap) bool {
	return strings.Contains(strings.ToLower(t.Message), "no such item")
}

// do carries out commands, and notes what the box refuses.
func (b *bench) do(ctx context.Context, commands ...Command) []Outcome {
	outcomes := b.session.Do(ctx, commands...)
	for i, o := range outcomes {
		b.late = b.late || errors.Is(o.Err, routeros.ErrUnanswered)
		if t := refusal(o.Err); t != nil {
			b.refused(commands[i].String(), t.Message)
		}
	}
	return outcomes
}

func (b *bench) refused(command, text string) {
	b.report.Refusals = append(b.report.Refusals, Refusal{b.question, command, text})
}

// connect connects a host to a disk once.
func (b *bench) connect(ctx context.Context, t Target) (Host, error) {
	ctx, cancel := context.WithTimeout(ctx, b.Startup)
	defer cancel()
	h, err := b.Initiator.Connect(ctx, t)
	if err != nil {
		return nil, err
	}
	b.hosts = append(b.hosts, h)
	return h, nil
}

// serve connects a host to a disk whose export was just turned on: it tries until it is let in.
func (b *bench) serve(ctx context.Context, t Target) (Host, error) {
	h, _, err := b.timed(ctx, t)
	return h, err
}

// An instant is when an attempt to connect began and ended.
type instant struct{ begin, end time.Time }

// timed is serve, which tells the last attempt that failed, zero for none, and the one that did not.
func (b *bench) timed(ctx context.Context, t Target) (h Host, tries [2]instant, err error) {
	limit := time.Now().Add(b.Startup)
	for wait := 20 * time.Millisecond; ; wait = min(2*wait, 250*time.Millisecond) {
		begin := time.Now()
		h, err = b.connect(ctx, t)
		try := instant{begin, time.Now()}
		switch {
		case err == nil:
			tries[1] = try
			return h, tries, nil
		case ctx.Err() != nil:
			return nil, tries, context.Cause(ctx)
		case time.Now().After(limit):
			return nil, tries, fmt.Errorf("no connection within %v: %w", b.Startup, err)
		}
		tries[0] = try
		if err := pause(ctx, wait); err != nil {
			return nil, tries, err
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// closeHosts disconnects every host.
func (b *bench) closeHosts() {
	for _, h := range b.hosts {
		_ = h.Close() // what it was connected to is about to go
	}
	b.hosts = nil
}

// directory notes that a directory may be there.
func (b *bench) directory() string {
	dir := path.Join(b.VolumePath(), b.name())
	b.dirs = append(b.dirs, dir)
	return dir
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
