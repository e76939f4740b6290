// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package rds

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/rds-csi/rds-csi/actors"
)

// write returns a grant with a ledger of that gen.
func write(n uint64) actors.Write {
	return actors.Write{Volume: testVolume, Rows: []actors.Row{{Export: true, NQN: testNQN + ".abc", AllowHost: "nqn.host", Ledger: gen(n)}}}
}

// bounce returns a write of three rows, of gens n to n+2.
func bounce(n uint64) actors.Write {
	w := write(n)
	w.Revoke = true
	w.Rows = append(w.Rows, write(n + 1).Rows[0], write(n + 2).Rows[0])
	w.Rows[0].Export = false
	for i := range w.Rows {
		w.Rows[i].Ledger.Bounce, w.Rows[i].Ledger.Off = 7, i < 2
	}
	return w
}

// offAndOn returns a write of two rows, of gens n and n+1.
func offAndOn(n uint64) actors.Write {
	w := bounce(n)
	w.Revoke, w.Rows = false, w.Rows[:2]
	w.Rows[0].Ledger, w.Rows[1].Ledger = gen(n), gen(n+1)
	return w
}

// sets returns an act that treats the n-th set as answer says, and the others as a sound box does.
func sets(n int, answer func(do func() []string) []string) func([]string, func() []string) []string {
	var seen atomic.Int32
	return func(cmd []string, do func() []string) []string {
		if cmd[0] == "/disk/set" && int(seen.Add(1)) == n {
			return answer(do)
		}
		return do()
	}
}

func TestWrite(t *testing.T) {
	overFakes(t, func(t *testing.T, f *fakeBox) {
		id := f.addVolume(nil)
		b := f.box(nil)
		if err := b.Write(testContext(t), write(2)); err != nil {
			t.Fatal(err)
		}
		want := "/disk/set =.id=" + id + " =nvme-tcp-export=yes =nvme-tcp-server-nqn=" + testNQN + ".abc =nvme-tcp-server-allow-host-name=nqn.host =comment=" + gen(2).String()
		if cmds := f.commands(); len(cmds) != 1 || cmds[0] != want {
			t.Errorf("commands = %q\nwant one: %q", cmds, want)
		}
		if err := b.Write(testContext(t), bounce(3)); err != nil {
			t.Fatal(err)
		}
		if cmds := f.commands(); len(cmds) != 4 || !strings.Contains(cmds[1], "=nvme-tcp-export=no") || !strings.Contains(cmds[2], "=nvme-tcp-export=yes") || !strings.Contains(cmds[3], "/b:") {
			t.Errorf("commands = %q, want off, on, and that it is over", cmds)
		}
	})
}

// TestBounceIsSentTogether has a box that never answers the first set. It is for the API: over SSH both
// are in one script.
func TestBounceIsSentTogether(t *testing.T) {
	overAPIs(t, func(t *testing.T, f *fakeBox) {
		f.addVolume(nil)
		f.on(sets(1, func(do func() []string) []string { do(); return nil }))
		err := f.box(nil).Write(testContext(t), bounce(2))
		if !errors.Is(err, actors.ErrUnresolved) {
			t.Errorf("Write = %v, want ErrUnresolved", err)
		}
		if cmds := f.commands(); len(cmds) != 2 {
			t.Errorf("commands = %q: the second must not wait for the answer to the first, and the third must", cmds)
		}
	})
}

// TestHalfABounceIsOwed has a box that refuses to take the export off and turns on what is on: nobody's connection ended,
// and the row must not say so.
func TestHalfABounceIsOwed(t *testing.T) {
	overAPIs(t, func(t *testing.T, f *fakeBox) {
		f.addVolume(nil)
		f.on(sets(1, func(func() []string) []string { return trap("failure: no") }))
		w := bounce(2)
		if err := f.box(nil).Write(testContext(t), w); !errors.Is(err, actors.ErrUnresolved) {
			t.Errorf("Write = %v, want ErrUnresolved", err)
		}
		if got := f.disk(testVolume)["comment"]; got != w.Rows[1].Ledger.String() {
			t.Errorf("the ledger is %s, want %s", got, w.Rows[1].Ledger)
		}
	})
}

// TestBounceOutOfOrder has a box that carries out the second of two sets first: the export must be on at
// the end, for the node that keeps its grant.
func TestBounceOutOfOrder(t *testing.T) {
	inBubble(t, wireAPI, func(t *testing.T, f *fakeBox) {
		f.addVolume(nil)
		var first func() []string
		n := 0
		f.on(func(cmd []string, do func() []string) []string {
			if cmd[0] != "/disk/set" {
				return do()
			}
			switch n++; n {
			case 1:
				first = do
				return done
			case 2:
				defer first()
			}
			return do()
		})
		w := bounce(2)
		if err := f.box(nil).Write(testContext(t), w); err != nil {
			t.Fatalf("Write = %v", err)
		}
		row, want := f.disk(testVolume), w.Rows[2]
		if row["nvme-tcp-export"] != "yes" || row["comment"] != want.Ledger.String() {
			t.Errorf("acknowledged, and the row shows %v, want %+v", row, want)
		}
	})
}

// TestWriteAnswers shows what a write is taken for by each answer and what the row shows then.
func TestWriteAnswers(t *testing.T) {
	refuse := func(func() []string) []string { return trap("failure: no") }
	doneAndRefused := func(do func() []string) []string { do(); return trap("failure: no") }
	silent := func(func() []string) []string { return nil }
	type testCase struct {
		name   string
		w      actors.Write
		nth    int // of the sets
		answer func(func() []string) []string
		want   error
	}
	run := func(over func(*testing.T, func(*testing.T, *fakeBox)), tests []testCase) {
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				over(t, func(t *testing.T, f *fakeBox) {
					f.addVolume(nil)
					f.on(sets(tt.nth, tt.answer))
					b := f.box(nil)
					err := b.Write(testContext(t), tt.w)
					if !errors.Is(err, tt.want) {
						t.Errorf("Write = %v, want %v", err, tt.want)
					}
					oneKind(t, err)
					if tt.want == nil && f.disk(testVolume)["comment"] != tt.w.Rows[len(tt.w.Rows)-1].Ledger.String() {
						t.Errorf("success, and the row shows %v", f.disk(testVolume))
					}
				})
			})
		}
	}
	run(overFakes, []testCase{
		{"acknowledged", write(2), 0, nil, nil},
		{"refused", write(2), 1, refuse, actors.ErrUnavailable},
		{"refused for good", write(2), 1, func(func() []string) []string {
			return []string{"!trap", "=category=1", "=message=invalid value"}
		}, actors.ErrInvalid},
		{"not permitted", write(2), 1, func(func() []string) []string { return trap("not enough permissions (9)") }, actors.ErrPrecondition},
		{"done and refused", write(2), 1, doneAndRefused, nil},
		{"interrupted", write(2), 1, func(func() []string) []string {
			return []string{"!trap", "=category=2", "=message=interrupted"}
		}, actors.ErrUnresolved},
		{"silence", write(2), 1, silent, actors.ErrUnresolved},
		{"connection lost", write(2), 1, func(func() []string) []string { return drop }, actors.ErrUnresolved},
		{"connection lost after the work", write(2), 1, func(do func() []string) []string { do(); return drop }, actors.ErrUnresolved},
		{"bounce", bounce(2), 0, nil, nil},
		{"bounce, second refused", bounce(2), 2, refuse, actors.ErrUnresolved},
		{"bounce, second done and refused", bounce(2), 2, doneAndRefused, nil},
		{"bounce, second lost", bounce(2), 2, silent, actors.ErrUnresolved},
		{"bounce, third refused", bounce(2), 3, refuse, actors.ErrUnresolved},
		{"bounce, third lost", bounce(2), 3, silent, actors.ErrUnresolved},
		{"on without a grant", offAndOn(2), 0, nil, nil},
		{"on without a grant, second refused", offAndOn(2), 2, refuse, actors.ErrUnresolved},
	})
	// What only the API's sentences can say, and sets that do not wait for each other.
	run(overAPIs, []testCase{
		{"fatal", write(2), 1, func(func() []string) []string { return []string{"!fatal", "going down"} }, actors.ErrUnresolved},
		{"garbage", write(2), 1, func(func() []string) []string { return []string{"garbage"} }, actors.ErrUnresolved},
		{"bounce, first refused", bounce(2), 1, refuse, actors.ErrUnresolved},
	})
	// A script ends where a set of it is refused, so that nothing was done.
	run(overScripts, []testCase{{"bounce, first refused in a script", bounce(2), 1, refuse, actors.ErrUnavailable}})
}

// oneKind holds that an error wraps exactly one of the domain's kinds.
func oneKind(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		return
	}
	n := 0
	for _, kind := range []error{
		actors.ErrInvalid, actors.ErrNotFound, actors.ErrExists, actors.ErrPrecondition, actors.ErrOutOfRange,
		actors.ErrFull, actors.ErrBusy, actors.ErrUnavailable, actors.ErrUnresolved,
	} {
		if errors.Is(err, kind) {
			n++
		}
	}
	if n != 1 {
		t.Errorf("%v wraps %d kinds", err, n)
	}
	if strings.Contains(err.Error(), testPassword) {
		t.Errorf("%v tells the password", err)
	}
}

func TestWriteRowGone(t *testing.T) {
	overFakes(t, func(t *testing.T, f *fakeBox) {
		b := f.box(nil)
		if err := b.Write(testContext(t), write(2)); !errors.Is(err, actors.ErrNotFound) {
			t.Errorf("Write = %v, want ErrNotFound", err)
		}
		f.addVolume(nil)
		f.on(sets(1, func(func() []string) []string {
			f.change(func() { f.disks = f.disks[:1] })
			return missing
		}))
		if err := b.Write(testContext(t), write(2)); !errors.Is(err, actors.ErrNotFound) {
			t.Errorf("Write of a row that goes = %v, want ErrNotFound", err)
		}
	})
}

// TestWriteOvertaken shows that a process that slept does not write over what came after it.
func TestWriteOvertaken(t *testing.T) {
	overFakes(t, func(t *testing.T, f *fakeBox) {
		f.addVolume(func(r attrs) { r["comment"] = gen(5).String() })
		b := f.box(nil)
		for _, tt := range []struct {
			name string
			w    actors.Write
			want error
		}{
			{"older", write(4), actors.ErrUnavailable},
			{"as old and different", actors.Write{Volume: testVolume, Rows: []actors.Row{{NQN: testNQN, Ledger: ledger(func(l *actors.Ledger) { l.Gen, l.Epoch = 5, 7 })}}}, actors.ErrUnavailable},
			{"the same again", write(5), nil},
			{"newer", write(6), nil},
		} {
			before := len(f.commands())
			if err := b.Write(testContext(t), tt.w); !errors.Is(err, tt.want) {
				t.Errorf("%s: Write = %v, want %v", tt.name, err, tt.want)
			}
			if n := len(f.commands()) - before; tt.want != nil && n != 0 {
				t.Errorf("%s: %d commands were sent", tt.name, n)
			}
		}
	})
}

// TestWriteChecks shows that nothing reaches the wire that the box could take for something else.
func TestWriteChecks(t *testing.T) {
	overFakes(t, func(t *testing.T, f *fakeBox) {
		f.addVolume(nil)
		b := f.box(nil)
		for name, change := range map[string]func(*actors.Write){
			"volume":          func(w *actors.Write) { w.Volume += "\x00" },
			"no row":          func(w *actors.Write) { w.Rows = nil },
			"four rows":       func(w *actors.Write) { w.Rows = append(w.Rows, w.Rows[0], w.Rows[0], w.Rows[0]) },
			"no NQN":          func(w *actors.Write) { w.Rows[0].NQN = "" },
			"no prefix":       func(w *actors.Write) { w.Rows[0].NQN = ":" + string(testVolume) },
			"NQN":             func(w *actors.Write) { w.Rows[0].NQN = "nqn.x; /system reboot" },
			"long NQN":        func(w *actors.Write) { w.Rows[0].NQN = strings.Repeat("n", 224) },
			"host":            func(w *actors.Write) { w.Rows[0].AllowHost = "a,b" },
			"cluster":         func(w *actors.Write) { w.Rows[0].Ledger.Cluster = "ffffffffffff" },
			"ledger's gen":    func(w *actors.Write) { w.Rows[0].Ledger.Gen = 0 },
			"ledger's node":   func(w *actors.Write) { w.Rows[0].Ledger.Grants = []actors.Grant{{Node: "a b", At: 1}} },
			"ledger's Access": func(w *actors.Write) { w.Rows[0].Ledger.Access = 'x' },
		} {
			w := write(2)
			change(&w)
			if err := b.Write(testContext(t), w); !errors.Is(err, actors.ErrInvalid) {
				t.Errorf("%s: Write = %v, want ErrInvalid", name, err)
			}
			if cmds := f.commands(); len(cmds) != 0 {
				t.Errorf("%s: commands = %q", name, cmds)
			}
		}
	})
}

// TestRenumbered has a box that restarts between the listing and the write, and numbers its rows anew:
// the write must not hit the row that has the number now.
func TestRenumbered(t *testing.T) {
	overFakes(t, func(t *testing.T, f *fakeBox) {
		id := f.addVolume(nil)
		b, ctx := f.box(nil), testContext(t)
		if err := b.Write(ctx, write(2)); err != nil { // both sessions are there
			t.Fatal(err)
		}
		var restarted atomic.Bool
		f.on(func(cmd []string, do func() []string) []string {
			if cmd[0] != "/disk/print" || restarted.Swap(true) {
				return do()
			}
			answer := do()
			f.change(func() {
				f.disks[1][".id"] = "*99"
				f.disks = append(f.disks, attrs{
					".id": id, "type": "file", "slot": "other", "file-path": "/raid10/volumes/" + string(otherVolume) + ".img", "file-size": "512",
				})
				_ = f.accepted[0].Close() // a write needs its session before it looks: this is it
			})
			return answer
		})
		err := b.Write(ctx, write(3))
		if err != nil && !errors.Is(err, actors.ErrUnresolved) {
			t.Errorf("write over a session that was lost meanwhile = %v", err)
		}
		if c := f.disk(otherVolume)["comment"]; c != "" {
			t.Errorf("the write hit the other volume: %s", c)
		}
		if err := b.Write(ctx, write(3)); err != nil {
			t.Errorf("the next write = %v", err)
		}
		if c := f.disk(otherVolume)["comment"]; c != "" {
			t.Errorf("the next write hit the other volume: %s", c)
		}
	})
}
