// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package console

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rds-csi/rds-csi/rds/routeros"
)

var removal = Remove{Menu: "/disk", ID: "*5"}

func TestRun(t *testing.T) {
	b := newBox(t, func(e *execution) {
		switch e.line {
		case "full":
			e.say("failure: not enough space on " + testPassword)
		case "wrong":
			_, _ = e.ch.Stderr().Write([]byte("syntax error (line 1 column 2)\r\n"))
		default:
			e.say("name: " + e.line)
		}
		e.exit()
	})
	c := b.dial()
	for range 2 { // a connection outlives its commands, and a refusal
		if out, err := c.Run(t.Context(), "/system identity print"); err != nil || out != "name: /system identity print\r\n" {
			t.Errorf("output %q, %v", out, err)
		}
		_, err := c.Run(t.Context(), "full")
		checkFate(t, "an error on stdout", err, errRefused)
		if strings.Contains(err.Error(), testPassword) {
			t.Errorf("the error shows the password: %v", err)
		}
		_, err = c.Run(t.Context(), "wrong")
		checkFate(t, "an error on stderr", err, errRefused)
		_, err = c.Run(t.Context(), "two\nlines")
		checkFate(t, "a line with a break", err, routeros.ErrNotSent)
		_, err = c.Run(t.Context(), strings.Repeat("x", MaxScript+1))
		checkFate(t, "a line that is too long", err, routeros.ErrNotSent)
	}
	if n := len(b.sent()); n != 6 {
		t.Errorf("%d lines were sent", n)
	}
}

func TestPrint(t *testing.T) {
	row := routeros.Row{"=.id=*2", "=comment=" + strings.Repeat("rds-csi.1/", 30)}
	for _, width := range []int{0, 80} {
		b := newBox(t, func(e *execution) {
			e.write(printed(width, ruler(testNonce), rowLine(0, row), okLine(0, "1"), ending(testNonce, 1)))
			e.exit()
		})
		rows, err := b.dial().Print(t.Context(), List{Menu: "/disk", Properties: []string{".id", "comment"}})
		if err != nil || len(rows) != 1 || rows[0].Get("comment") != row.Get("comment") {
			t.Errorf("width %d: %q, %v", width, rows, err)
		}
	}
}

// How an answer can fail, and what is known of the statement then.
func TestFates(t *testing.T) {
	for _, tt := range []struct {
		name   string
		answer func(*execution)
		want   error
		alive  bool // the connection goes on
	}{
		{"done", whole(okLine(0, "")), nil, true},
		{"done, without an exit status", func(e *execution) { e.say(ruler(testNonce), okLine(0, ""), ending(testNonce, 1)) }, nil, true},
		{"done, and dropped", func(e *execution) {
			e.say(ruler(testNonce), okLine(0, ""))
			_ = e.conn.Close()
		}, nil, false},
		{"stale", whole(line(0, "stale")), ErrStale, true},
		{"refused", whole(errorLine(0, "no such item")), errRefused, true},
		{"not understood", func(e *execution) {
			e.say("bad command name disk (line 1 column 2)")
			e.exit()
		}, errRefused, true},
		{"not understood, without an exit status", func(e *execution) { e.say("bad command name disk (line 1 column 2)") }, routeros.ErrUnanswered, true},
		{"not understood, ended by a signal", func(e *execution) {
			e.say("bad command name disk (line 1 column 2)")
			_, _ = e.ch.SendRequest("exit-signal", false, nil)
		}, routeros.ErrUnanswered, true},
		{"unknown words", func(e *execution) {
			e.say("hello")
			e.exit()
		}, routeros.ErrUnanswered, true},
		{"nothing", (*execution).exit, routeros.ErrUnanswered, true},
		{"cut off", func(e *execution) {
			e.write(ruler(testNonce) + "\r\n@" + testNonce + ":0:o")
			e.exit()
		}, routeros.ErrUnanswered, true},
		{"an error after the first line", func(e *execution) {
			e.say(ruler(testNonce), "no such item")
			e.exit()
		}, routeros.ErrUnanswered, true},
		{"dropped at once", func(e *execution) { _ = e.conn.Close() }, routeros.ErrUnanswered, false},
		{"dropped after the first line", func(e *execution) {
			e.say(ruler(testNonce))
			_ = e.conn.Close()
		}, routeros.ErrUnanswered, false},
	} {
		b := newBox(t, tt.answer)
		c := b.dial()
		r := c.Do(t.Context(), removal)
		checkFate(t, tt.name, r.Err, tt.want)
		if !tt.alive {
			<-c.Done()
			checkFate(t, tt.name+", the next", c.Do(t.Context(), removal).Err, routeros.ErrNotSent)
		} else if c.Err() != nil {
			t.Errorf("%s: the connection failed: %v", tt.name, c.Err())
		}
	}
	b := newBox(t, nil)
	c := b.dial()
	checkFate(t, "no exec", c.Do(t.Context(), removal).Err, errRefused)
	checkFate(t, "no exec again", c.Do(t.Context(), removal).Err, errRefused)
}

// Each statement gets its own answer, and those before a drop keep theirs.
func TestBatch(t *testing.T) {
	b := newBox(t, func(e *execution) {
		e.say(ruler(testNonce), okLine(0, ""), errorLine(1, "no such item"), line(2, "stale"), okLine(3, "*7"))
		_ = e.conn.Close()
	})
	add := Add{Menu: "/disk", Properties: []Property{{"slot", "a"}}}
	results := b.dial().Batch(t.Context(), removal, removal, RemoveFile{Name: "/"}, removal, add, removal)
	for i, want := range []error{nil, errRefused, routeros.ErrNotSent, ErrStale, nil, routeros.ErrUnanswered} {
		checkFate(t, fmt.Sprint("statement ", i), results[i].Err, want)
	}
	if results[4].Value != "*7" {
		t.Errorf("the .id is %q", results[4].Value)
	}
	for _, r := range b.dial().Batch(t.Context(), make([]Statement, MaxBatch+1)...) {
		checkFate(t, "too many", r.Err, routeros.ErrNotSent)
	}
	if results := b.dial().Batch(t.Context()); len(results) != 0 {
		t.Errorf("results of nothing: %v", results)
	}
}

// A script that the box does not understand is run by no part, so its statements are sent one by one.
func TestBatchNotUnderstood(t *testing.T) {
	b := newBox(t, func(e *execution) {
		if strings.Contains(e.line, "odd") {
			e.say("input does not match any value of type (line 1 column 400)")
		} else {
			e.say(ruler(testNonce), okLine(0, ""), ending(testNonce, 1))
		}
		e.exit()
	})
	results := b.dial().Batch(t.Context(), RemoveFile{Name: "a"}, RemoveFile{Name: "odd"}, RemoveFile{Name: "b"})
	for i, want := range []error{nil, errRefused, nil} {
		checkFate(t, fmt.Sprint("statement ", i), results[i].Err, want)
	}
	if n := len(b.sent()); n != 4 {
		t.Errorf("%d scripts were sent, want 4", n)
	}
}

// Two scripts are never under way together, and those who wait are served in order.
func TestOneCommandAtATime(t *testing.T) {
	gate, started := make(chan struct{}), make(chan struct{}, 8)
	b := newBox(t, func(e *execution) {
		started <- struct{}{}
		select {
		case <-gate:
		case <-e.quit:
		}
		e.say(e.line)
		e.exit()
	})
	c := b.dial()
	const callers = 8
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			if out, err := c.Run(t.Context(), fmt.Sprint(i)); err != nil || strings.TrimSpace(out) != fmt.Sprint(i) {
				t.Errorf("caller %d: %q, %v", i, out, err)
			}
		})
		if i == 0 {
			<-started
		}
		for c.Pending() != i { // the next caller comes when this one waits
			runtime.Gosched()
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Run(ctx, "cancelled"); !errors.Is(err, routeros.ErrNotSent) || !errors.Is(err, context.Canceled) {
		t.Errorf("a caller who left: %v", err)
	}
	ctx, cancel = context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := c.Run(ctx, "late"); !errors.Is(err, routeros.ErrNotSent) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a caller who could not wait: %v", err)
	}
	close(gate)
	wg.Wait()
	if n := b.most; n != 1 {
		t.Errorf("%d commands were under way together", n)
	}
	if got := strings.Join(b.sent(), ""); got != "01234567" {
		t.Errorf("order %s", got)
	}
}

// A command that is not answered ends with the first of its deadlines, and the connection with it.
func TestDeadline(t *testing.T) {
	for name, tt := range map[string]struct {
		command, caller time.Duration
	}{
		"the command's": {20 * time.Millisecond, time.Hour},
		"the caller's":  {time.Hour, 200 * time.Millisecond},
	} {
		b := newBox(t, func(e *execution) {
			e.say(ruler(testNonce), okLine(0, ""))
			<-e.quit
		})
		c := b.dial(func(cfg *Config) { cfg.CommandTimeout = tt.command })
		ctx, cancel := context.WithTimeout(t.Context(), tt.caller)
		defer cancel()
		results := c.Batch(ctx, removal, removal)
		if name == "the caller's" {
			checkFate(t, name+": answered", results[0].Err, nil)
		}
		if err := results[1].Err; errors.Is(err, routeros.ErrNotSent) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", name, err)
		}
		checkFate(t, name, results[1].Err, routeros.ErrUnanswered)
		<-c.Done()
		checkFate(t, name+": the next", c.Do(t.Context(), removal).Err, routeros.ErrNotSent)
	}
}

// Output without end is given up, and what memory it takes is bounded.
func TestHugeOutput(t *testing.T) {
	b := newBox(t, func(e *execution) {
		block := make([]byte, 32<<10)
		for {
			if _, err := e.ch.Write(block); err != nil {
				return
			}
		}
	})
	c := b.dial(func(cfg *Config) { cfg.MaxOutput = 1 << 20 })
	out, err := c.Run(t.Context(), "print")
	if !errors.Is(err, routeros.ErrUnanswered) || !errors.Is(err, routeros.ErrOverflow) || len(out) > 1<<20 {
		t.Errorf("%d bytes, %v", len(out), err)
	}
	if !errors.Is(c.Err(), routeros.ErrOverflow) {
		t.Errorf("the connection goes on: %v", c.Err())
	}
}

// Close from several sides ends what is under way and what waits.
func TestClose(t *testing.T) {
	started := make(chan struct{}, 1)
	b := newBox(t, func(e *execution) {
		started <- struct{}{}
		<-e.quit
	})
	c := b.dial()
	errs := make(chan error, 2)
	for range 2 {
		go func() { errs <- c.Do(t.Context(), removal).Err }()
	}
	<-started
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(c.Close)
	}
	wg.Wait()
	unanswered := 0
	for range 2 {
		err := <-errs
		if !errors.Is(err, routeros.ErrClosed) {
			t.Errorf("ended with %v", err)
		}
		if errors.Is(err, routeros.ErrUnanswered) {
			unanswered++
		}
	}
	if unanswered != 1 {
		t.Errorf("%d commands are unanswered, one was sent", unanswered)
	}
	checkFate(t, "after Close", c.Do(t.Context(), removal).Err, routeros.ErrNotSent)
}

// A connection that the box ends while nothing is under way is noticed.
func TestLostWhileIdle(t *testing.T) {
	b := newBox(t, whole(okLine(0, "")))
	c := b.dial()
	if err := c.Do(t.Context(), removal).Err; err != nil {
		t.Fatal(err)
	}
	_ = c.conn.Close()
	<-c.Done()
	if c.Err() == nil || errors.Is(c.Err(), routeros.ErrClosed) {
		t.Errorf("lost with %v", c.Err())
	}
}
