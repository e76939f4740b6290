// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package rds

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/rds-csi/rds-csi/actors"
)

// on returns an act that treats each command of a name as answer says, and others as a sound box does.
func on(name string, answer func(do func() []string) []string) func([]string, func() []string) []string {
	return func(cmd []string, do func() []string) []string {
		if cmd[0] == name {
			return answer(do)
		}
		return do()
	}
}

func TestCreate(t *testing.T) {
	overFakes(t, func(t *testing.T, f *fakeBox) {
		b := f.box(nil)
		s := spec(func(s *actors.Spec) { s.Size = 1500*gib + 512 })
		v, err := b.Create(testContext(t), s)
		if err != nil {
			t.Fatal(err)
		}
		want := actors.Volume{ID: testVolume, Exists: true, Size: s.Size, NQN: testNQN, Port: 4420, Ledger: made(4420), Ours: true}
		if fmt.Sprint(v) != fmt.Sprint(want) {
			t.Errorf("Create = %+v, want %+v", v, want)
		}
		add := "/disk/add =type=file =slot=0b5e1d4e3b1c4f0e9a572f0d6f6d0a11 =file-path=/" + testFile + " =file-size=1610612736512" +
			" =mount-filesystem=no =nvme-tcp-export=no =nvme-tcp-server-port=4420 =nvme-tcp-server-nqn=" + testNQN + " =comment=" + made(4420).String()
		if cmds := f.commands(); len(cmds) != 1 || cmds[0] != add {
			t.Errorf("commands = %q\nwant one: %q", cmds, add)
		}
		again, err := b.Create(testContext(t), s)
		if err != nil || fmt.Sprint(again) != fmt.Sprint(want) {
			t.Errorf("second Create = %+v, %v", again, err)
		}
		if cmds := f.commands(); len(cmds) != 1 {
			t.Errorf("the second Create sent %q", cmds[1:])
		}
		s.Size = gib
		if _, err := b.Create(testContext(t), s); !errors.Is(err, actors.ErrExists) {
			t.Errorf("Create of another size = %v, want ErrExists", err)
		}
	})
}

// TestCreateAnswers shows what a create is taken for by the box's answer to the add and by what is
// there then.
func TestCreateAnswers(t *testing.T) {
	full := trap("failure: not enough space")
	add := func(change func(attrs)) func(*fakeBox, func() []string) []string {
		return func(f *fakeBox, do func() []string) []string {
			answer := do()
			f.change(func() { change(f.disks[len(f.disks)-1]) })
			return answer
		}
	}
	for _, tt := range []struct {
		name   string
		answer func(f *fakeBox, do func() []string) []string
		want   error
		left   bool // a row or a file may be left
	}{
		{"refused for lack of room", func(*fakeBox, func() []string) []string { return full }, actors.ErrFull, false},
		{"refused for lack of room, file left", func(f *fakeBox, _ func() []string) []string {
			f.change(func() { f.files[testFile] = true })
			return full
		}, actors.ErrFull, false},
		{"refused in unknown words while there is no room", func(f *fakeBox, _ func() []string) []string {
			f.change(func() { f.disks[0]["free"], f.files[testFile] = "4096", true })
			return trap("action failed")
		}, actors.ErrFull, false},
		{"refused in unknown words", func(*fakeBox, func() []string) []string { return trap("action failed") }, actors.ErrUnavailable, false},
		{"file exists, and there is no room", func(f *fakeBox, _ func() []string) []string {
			f.change(func() { f.disks[0]["free"], f.files[testFile] = "4096", true })
			return trap("failure: file already exists")
		}, actors.ErrUnavailable, true},
		{"pool lost", func(f *fakeBox, _ func() []string) []string {
			f.change(func() { delete(f.disks[0], "mount-point"); f.files[testFile] = true })
			return full
		}, actors.ErrUnresolved, true},
		{"done and refused", func(_ *fakeBox, do func() []string) []string { do(); return full }, nil, true},
		{"done, then the connection lost", func(_ *fakeBox, do func() []string) []string { do(); return drop }, nil, true},
		{"done without an answer", func(_ *fakeBox, do func() []string) []string { do(); return nil }, nil, true},
		{"connection lost", func(*fakeBox, func() []string) []string { return drop }, actors.ErrUnresolved, false},
		{"silence", func(*fakeBox, func() []string) []string { return nil }, actors.ErrUnresolved, false},
		{"acknowledged and not there", func(*fakeBox, func() []string) []string { return done }, actors.ErrUnresolved, false},
		{"another size", add(func(r attrs) { r["file-size"] = "1000000000" }), actors.ErrOutOfRange, false},
		{"size in whole GiB", add(func(r attrs) { r["file-size"] = "1.0GiB" }), actors.ErrOutOfRange, false},
		{"comment cut off", add(func(r attrs) { r["comment"] = r["comment"][:20] }), actors.ErrOutOfRange, false},
		{"another NQN", add(func(r attrs) { r["nvme-tcp-server-nqn"] = "nqn.x" }), actors.ErrOutOfRange, false},
		{"somebody else's row", func(f *fakeBox, _ func() []string) []string {
			f.addVolume(func(r attrs) { r["comment"] = "" })
			return trap("failure: file in use")
		}, actors.ErrUnresolved, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			overFakes(t, func(t *testing.T, f *fakeBox) {
				f.on(on("/disk/add", func(do func() []string) []string { return tt.answer(f, do) }))
				b := f.box(nil)
				v, err := b.Create(testContext(t), spec(nil))
				if !errors.Is(err, tt.want) {
					t.Fatalf("Create = %v, want %v", err, tt.want)
				}
				oneKind(t, err)
				if err == nil && (v.Size != gib || v.Ledger.String() != made(4420).String()) {
					t.Errorf("Create = %+v", v)
				}
				f.mu.Lock()
				defer f.mu.Unlock()
				if left := len(f.disks) > 1 || len(f.files) > 0; left != tt.left {
					t.Errorf("left: rows %v, files %v, want any: %t", f.disks[1:], f.files, tt.left)
				}
			})
		})
	}
}

func TestCreateChecks(t *testing.T) {
	overFakes(t, func(t *testing.T, f *fakeBox) {
		b := f.box(nil)
		for name, change := range map[string]func(*actors.Spec){
			"volume":             func(s *actors.Spec) { s.ID = "pvc-1" },
			"no size":            func(s *actors.Spec) { s.Size = 0 },
			"negative size":      func(s *actors.Spec) { s.Size = -512 },
			"half a sector":      func(s *actors.Spec) { s.Size = gib + 256 },
			"relative path":      func(s *actors.Spec) { s.VolumePath = "raid10/volumes" },
			"path with dots":     func(s *actors.Spec) { s.VolumePath = "/raid10/../etc" },
			"path with a space":  func(s *actors.Spec) { s.VolumePath = "/raid10/a b" },
			"trailing slash":     func(s *actors.Spec) { s.VolumePath += "/" },
			"path not permitted": func(s *actors.Spec) { s.VolumePath = "/raid10/elsewhere" },
			"NQN":                func(s *actors.Spec) { s.NQN += "$x" },
			"another's NQN":      func(s *actors.Spec) { s.NQN = "nqn.2000-02.com.mikrotik:" + string(otherVolume) },
			"another prefix":     func(s *actors.Spec) { s.NQN = "nqn.2024-01.io.example:" + string(testVolume) },
			"prefix":             func(s *actors.Spec) { s.Ledger.Prefix = "nqn.2024-01.io.example" },
			"prefix like an NQN": func(s *actors.Spec) {
				s.Ledger.Prefix = testNQN
				s.NQN = testNQN + ":" + string(testVolume)
			},
			"low port":       func(s *actors.Spec) { s.Ports.First = 443 },
			"ports reversed": func(s *actors.Spec) { s.Ports = actors.Ports{First: 5000, Last: 4000} },
			"cluster":        func(s *actors.Spec) { s.Ledger.Cluster = "ffffffffffff" },
			"ledger":         func(s *actors.Spec) { s.Ledger.Timeout = 1 },
		} {
			s := spec(change)
			if _, err := b.Create(testContext(t), s); !errors.Is(err, actors.ErrInvalid) {
				t.Errorf("%s: Create = %v, want ErrInvalid", name, err)
			}
			if cmds := f.commands(); len(cmds) != 0 {
				t.Errorf("%s: commands = %q", name, cmds)
			}
		}
	})
}

// TestCreateFileInTheWay has a box that adds no disk over a file that is there. Whose it is cannot be known: it
// stays, and whoever asks is told which file it is. A delete of the volume takes it away.
func TestCreateFileInTheWay(t *testing.T) {
	overFakes(t, func(t *testing.T, f *fakeBox) {
		f.change(func() { f.files[testFile] = true })
		f.on(on("/disk/add", func(do func() []string) []string {
			f.mu.Lock()
			blocked := f.files[testFile]
			f.mu.Unlock()
			if blocked {
				return trap("failure: file already exists")
			}
			return do()
		}))
		b, ctx := f.box(nil), testContext(t)
		_, err := b.Create(ctx, spec(nil))
		if !errors.Is(err, actors.ErrUnavailable) || !strings.Contains(err.Error(), "/file/remove "+testFile+" ") {
			t.Errorf("Create = %v, want ErrUnavailable with what to do about %s", err, testFile)
		}
		oneKind(t, err)
		f.change(func() {
			if !f.files[testFile] {
				t.Error("the file was removed")
			}
		})
		if err := b.Delete(ctx, testVolume); err != nil {
			t.Errorf("Delete = %v", err)
		}
		if _, err := b.Create(ctx, spec(nil)); err != nil {
			t.Errorf("Create without the file = %v", err)
		}
	})
}

func TestExpand(t *testing.T) {
	set := func(do func(*fakeBox, func() []string) []string) func(*fakeBox) {
		return func(f *fakeBox) {
			f.on(on("/disk/set", func(work func() []string) []string { return do(f, work) }))
		}
	}
	for _, tt := range []struct {
		name    string
		prepare func(*fakeBox)
		size    int64
		want    error
		shows   int64 // the size afterwards
	}{
		{"larger", nil, gib + 512, nil, gib + 512},
		{"as it is", nil, gib, nil, gib},
		{"smaller", nil, gib - 512, nil, gib},
		{"half a sector", nil, gib + 1, actors.ErrInvalid, gib},
		{"full", set(func(*fakeBox, func() []string) []string { return trap("failure: not enough space") }), 2 * gib, actors.ErrFull, gib},
		{"full in unknown words", set(func(f *fakeBox, _ func() []string) []string {
			f.change(func() { f.disks[0]["free"] = "4096" })
			return trap("action failed")
		}), 2 * gib, actors.ErrFull, gib},
		{"refused", set(func(*fakeBox, func() []string) []string { return trap("action failed") }), 2 * gib, actors.ErrUnavailable, gib},
		{"done and refused", set(func(_ *fakeBox, do func() []string) []string { do(); return trap("action failed") }), 2 * gib, nil, 2 * gib},
		{"more than the pool, on a box that would agree", func(f *fakeBox) {
			f.change(func() { f.disks[0]["size"] = fmt.Sprint(2*gib - 512) })
		}, 2 * gib, actors.ErrOutOfRange, gib},
		{"all of the pool", func(f *fakeBox) { f.change(func() { f.disks[0]["size"] = fmt.Sprint(2 * gib) }) }, 2 * gib, nil, 2 * gib},
		{"no pool", func(f *fakeBox) { f.change(func() { delete(f.disks[0], "mount-point") }) }, 2 * gib, actors.ErrUnavailable, gib},
		{"silence", set(func(*fakeBox, func() []string) []string { return nil }), 2 * gib, actors.ErrUnresolved, gib},
		{"another size", set(func(f *fakeBox, do func() []string) []string {
			do()
			f.change(func() { f.disks[1]["file-size"] = fmt.Sprint(gib + 4096) })
			return done
		}), 2 * gib, actors.ErrOutOfRange, gib + 4096},
		{"half done", set(func(f *fakeBox, _ func() []string) []string {
			f.change(func() { f.disks[1]["file-size"] = fmt.Sprint(gib + 4096) })
			return trap("failure: not enough space")
		}), 2 * gib, actors.ErrUnresolved, gib + 4096},
	} {
		t.Run(tt.name, func(t *testing.T) {
			overFakes(t, func(t *testing.T, f *fakeBox) {
				f.addVolume(nil)
				if tt.prepare != nil {
					tt.prepare(f)
				}
				v, err := f.box(nil).Expand(testContext(t), testVolume, tt.size)
				if !errors.Is(err, tt.want) || (err == nil && v.Size != tt.shows) {
					t.Errorf("Expand = %d, %v, want %d, %v", v.Size, err, tt.shows, tt.want)
				}
				oneKind(t, err)
				if got := f.disk(testVolume)["file-size"]; got != fmt.Sprint(tt.shows) {
					t.Errorf("the box shows %s bytes, want %d", got, tt.shows)
				}
				if cmds := f.commands(); len(cmds) > 0 && !strings.HasSuffix(cmds[0], fmt.Sprintf(" =file-size=%d", tt.size)) {
					t.Errorf("commands = %q", cmds)
				}
			})
		})
	}
	t.Run("forgotten in a restart", func(t *testing.T) {
		overFakes(t, func(t *testing.T, f *fakeBox) {
			f.addVolume(nil)
			f.on(sets(1, func(func() []string) []string {
				f.on(func(_ []string, do func() []string) []string {
					f.on(nil)
					f.restart()
					return do()
				})
				return done
			}))
			b, ctx := f.box(nil), testContext(t)
			if _, err := b.Expand(ctx, testVolume, 2*gib); !errors.Is(err, actors.ErrUnresolved) {
				t.Errorf("Expand = %v, want ErrUnresolved", err)
			}
			if v, err := b.Expand(ctx, testVolume, 2*gib); err != nil || v.Size != 2*gib {
				t.Errorf("the same Expand = %+v, %v", v, err)
			}
		})
	})
	t.Run("after a lost one", func(t *testing.T) {
		overFakes(t, func(t *testing.T, f *fakeBox) {
			f.addVolume(nil)
			f.on(sets(1, func(func() []string) []string { return nil }))
			b, ctx := f.box(nil), testContext(t)
			if _, err := b.Expand(ctx, testVolume, 2*gib); !errors.Is(err, actors.ErrUnresolved) {
				t.Fatalf("Expand = %v, want ErrUnresolved", err)
			}
			// The lost one could land after it.
			if _, err := b.Expand(ctx, testVolume, 3*gib); !errors.Is(err, actors.ErrUnavailable) {
				t.Errorf("larger Expand = %v, want ErrUnavailable", err)
			}
			if v, err := b.Expand(ctx, testVolume, 2*gib); err != nil || v.Size != 2*gib {
				t.Errorf("the same Expand = %+v, %v", v, err)
			}
			if err := b.expands.check(testVolume, 3*gib, time.Now().Add(lateness+time.Second)); err != nil {
				t.Errorf("larger Expand much later = %v", err)
			}
		})
	})
	t.Run("not there", func(t *testing.T) {
		overFakes(t, func(t *testing.T, f *fakeBox) {
			if _, err := f.box(nil).Expand(testContext(t), testVolume, gib); !errors.Is(err, actors.ErrNotFound) {
				t.Errorf("Expand = %v, want ErrNotFound", err)
			}
		})
	})
}
