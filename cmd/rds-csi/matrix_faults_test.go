// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rds-csi/rds-csi/rds/sim"
)

// A trouble is what goes wrong at one command.
type trouble struct {
	name  string
	fault sim.Fault
	// hold keeps the command until the request that sent it was answered.
	hold bool
	// at is done to the box when the command comes, before it is carried out. It must not block.
	at func(*matrixBox)
	// then is done to the box beside the command, with the time at which the command came.
	then func(context.Context, *matrixBox, time.Time) error
	// refuseLogin refuses the next login.
	refuseLogin bool
	// fills says that the pool has no room until a request was answered.
	fills bool
	// loses says that the box loses a change of its configuration, and forgets that it is the one that it
	// acknowledged last.
	loses, forgets bool
}

// troubles are all the ways in which the simulated box can fail a command.
func troubles() []trouble {
	const beyond = matrixTimeout * 5 / 4
	return []trouble{
		{name: "drop-before", fault: sim.Fault{DropBefore: true}},
		{name: "drop-after", fault: sim.Fault{DropAfter: true}},
		{name: "late", fault: sim.Fault{Late: matrixTimeout * 2 / 5}},
		{name: "trap", fault: sim.Fault{Trap: "failure: input/output error"}},
		{name: "trap-full", fault: sim.Fault{Trap: "failure: not enough space"}},
		{name: "fail-after", fault: sim.Fault{FailAfter: "failure: input/output error"}},
		{name: "truncate", fault: sim.Fault{Truncate: true}},
		{name: "delay", fault: sim.Fault{Delay: matrixTimeout / 4}},
		{name: "delay-beyond", fault: sim.Fault{Delay: beyond}},
		{name: "answer-beyond", fault: sim.Fault{AnswerDelay: beyond}},
		{name: "hold", hold: true},
		{name: "freeze", at: func(b *matrixBox) { b.sim.FreezeSessions() }, then: thaw},
		{name: "login-refused", fault: sim.Fault{DropBefore: true}, refuseLogin: true},
		{name: "fill", fills: true, at: func(b *matrixBox) { b.fill(0) }},
		{name: "reboot-before", fault: sim.Fault{Delay: time.Hour}, then: reboot},
		{name: "reboot-after", fault: sim.Fault{AnswerDelay: time.Hour}, then: rebootSoon},
		{name: "reboot-losing", fault: sim.Fault{AnswerDelay: time.Hour}, then: rebootLosing, loses: true},
		{name: "reboot-forgetting", fault: sim.Fault{Delay: time.Hour}, then: rebootForgetting, loses: true, forgets: true},
	}
}

// thaw lets the box go on when the commands that it holds were given up.
func thaw(ctx context.Context, b *matrixBox, _ time.Time) error {
	defer b.sim.ThawSessions()
	return pause(ctx, matrixTimeout*5/4)
}

func reboot(ctx context.Context, b *matrixBox, _ time.Time) error { return b.sim.Reboot(ctx) }

// rebootSoon leaves the command the time to be carried out.
func rebootSoon(ctx context.Context, b *matrixBox, _ time.Time) error {
	if err := pause(ctx, matrixTimeout/8); err != nil {
		return err
	}
	return b.sim.Reboot(ctx)
}

// rebootLosing is rebootSoon of a box that has not yet saved what the command did.
func rebootLosing(ctx context.Context, b *matrixBox, came time.Time) error {
	if err := pause(ctx, matrixTimeout/8); err != nil {
		return err
	}
	return b.sim.RebootLosing(ctx, time.Since(came))
}

// rebootForgetting loses the last change of the life, which was acknowledged.
func rebootForgetting(ctx context.Context, b *matrixBox, _ time.Time) error {
	changed := b.injector.lastChange()
	if changed.name == "" {
		return b.sim.Reboot(ctx)
	}
	return b.sim.RebootLosing(ctx, time.Since(changed.at))
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// TestMatrixHasEveryFault fails when a fault is added to the simulated box that the matrix does not try.
func TestMatrixHasEveryFault(t *testing.T) {
	seen := map[string]bool{
		"Hold":   true,                                             // the trouble of that name makes one for each cell
		"Status": true, "Blank": true, "Size": true, "Stale": true, // are for what hosts ask
	}
	for _, tr := range troubles() {
		f := reflect.ValueOf(tr.fault)
		for i := range f.NumField() {
			seen[f.Type().Field(i).Name] = seen[f.Type().Field(i).Name] || !f.Field(i).IsZero()
		}
	}
	for name, tried := range seen {
		if !tried {
			t.Errorf("no trouble of the matrix has the fault %s", name)
		}
	}
}

// An occurrence is a command of a life: the nth of that name, from 1.
type occurrence struct {
	name string
	n    int
}

func (o occurrence) String() string { return fmt.Sprintf("%s#%d", o.name, o.n) }

// changes reports whether the command changes the box.
func (o occurrence) changes() bool {
	return slices.Contains([]string{"/disk/add", "/disk/set", "/disk/remove", "/file/remove"}, o.name)
}

// An injector counts the commands of one life and lets one of them meet trouble.
type injector struct {
	mu       sync.Mutex
	seen     map[string]int
	order    []occurrence
	armed    *trouble
	at       occurrence
	met      bool
	refuse   bool // the next login
	released chan struct{}
	changed  lastChange // before the trouble
	begin    func(*trouble, time.Time)
}

// arm begins a life whose command meets trouble; nil: none.
func (in *injector) arm(tr *trouble, at occurrence) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.seen, in.order = map[string]int{}, nil
	in.armed, in.at, in.met, in.refuse, in.released = tr, at, false, false, make(chan struct{})
	in.changed = lastChange{}
}

// answered lets go what is held until a request was answered. It reports whether the trouble has come.
func (in *injector) answered() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.met && in.released != nil {
		close(in.released)
		in.released = nil
	}
	return in.met
}

// life returns the commands of the life, in order.
func (in *injector) life() []occurrence {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.order
}

// hit reports whether the trouble has met its command.
func (in *injector) hit() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.met
}

// A lastChange is what was changed last in the configuration before a trouble, and when that came. The zero
// value is that nothing was.
type lastChange struct {
	name string // the command, or resize
	at   time.Time
}

// resize stands for a /disk/set of the size.
const resize = "/disk/set file-size"

// lastChange returns the last change of the life before the trouble.
func (in *injector) lastChange() lastChange {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.changed
}

// fault is the box's Config.Fault.
func (in *injector) fault(c sim.Command) sim.Fault {
	in.mu.Lock()
	defer in.mu.Unlock()
	if c.Name == "/login" {
		if in.refuse {
			in.refuse = false
			return sim.Fault{Trap: "invalid user name or password (6)"}
		}
		return sim.Fault{}
	}
	in.seen[c.Name]++
	here := occurrence{c.Name, in.seen[c.Name]}
	in.order = append(in.order, here)
	if in.armed == nil || in.met || here != in.at {
		if !in.met && here.changes() && strings.HasPrefix(c.Name, "/disk/") {
			in.changed = lastChange{c.Name, time.Now()}
			if c.Arg("file-size") != "" && c.Name == "/disk/set" {
				in.changed.name = resize
			}
		}
		return sim.Fault{}
	}
	in.met, in.refuse = true, in.armed.refuseLogin
	f := in.armed.fault
	if in.armed.hold {
		f.Hold = in.released
	}
	in.begin(in.armed, time.Now())
	return f
}
