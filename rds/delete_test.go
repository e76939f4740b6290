// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package rds

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rds-csi/rds-csi/actors"
)

func TestDelete(t *testing.T) {
	overFakes(t, func(t *testing.T, f *fakeBox) {
		id := f.addVolume(func(r attrs) { r["nvme-tcp-export"] = "true" })
		f.change(func() {
			f.files["raid10/volumes/"+string(otherVolume)+".img"] = true
			f.files["raid10/old/"+string(testVolume)+".img.bak"] = true
		})
		b := f.box(func(c *Config) {
			c.Hooks.Command = func(kind string, _ time.Duration, err error) {
				if err != nil {
					t.Errorf("%s counts as failed: %v", kind, err) // also the removal that proves the file gone
				}
			}
		})
		if err := b.Delete(testContext(t), testVolume); err != nil {
			t.Fatal(err)
		}
		want := []string{
			"/disk/set =.id=" + id + " =nvme-tcp-export=no",
			"/disk/remove =.id=" + id,
			"/file/remove =numbers=" + testFile,
			"/file/remove =numbers=" + testFile,
		}
		if got := f.commands(); strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("commands = %q\nwant       %q", got, want)
		}
		if f.disk(testVolume) != nil || f.files[testFile] {
			t.Error("the volume is there")
		}
		if err := b.Delete(testContext(t), testVolume); err != nil {
			t.Errorf("second Delete = %v", err)
		}
		if len(f.files) != 2 {
			t.Errorf("files = %v: others were removed", f.files)
		}
	})
}

// TestDeleteLostAnswers loses the answer to each command of a delete in turn, before and after the
// box did its work. A retry must finish, and leave neither row nor file.
func TestDeleteLostAnswers(t *testing.T) {
	for _, name := range []string{"/disk/set", "/disk/remove", "/file/remove"} {
		for how, answer := range map[string]func(do func() []string) []string{
			"dropped before":  func(func() []string) []string { return drop },
			"dropped after":   func(do func() []string) []string { do(); return drop },
			"silent before":   func(func() []string) []string { return nil },
			"silent after":    func(do func() []string) []string { do(); return nil },
			"refused":         func(func() []string) []string { return trap("failure: busy") },
			"refused, worked": func(do func() []string) []string { do(); return trap("failure: busy") },
		} {
			t.Run(name[1:]+" "+how, func(t *testing.T) {
				overFakes(t, func(t *testing.T, f *fakeBox) {
					f.addVolume(func(r attrs) { r["nvme-tcp-export"] = "true" })
					var once atomic.Bool
					f.on(on(name, func(do func() []string) []string {
						if once.Swap(true) {
							return do()
						}
						return answer(do)
					}))
					b := f.box(nil)
					err := b.Delete(testContext(t), testVolume)
					oneKind(t, err)
					if !errors.Is(err, actors.ErrUnresolved) && !errors.Is(err, actors.ErrUnavailable) {
						t.Errorf("Delete = %v, want ErrUnresolved or ErrUnavailable", err)
					}
					if err := b.Delete(testContext(t), testVolume); err != nil {
						t.Errorf("retry = %v", err)
					}
					f.mu.Lock()
					defer f.mu.Unlock()
					if len(f.disks) != 1 || len(f.files) != 0 {
						t.Errorf("left: rows %v, files %v", f.disks[1:], f.files)
					}
				})
			})
		}
	}
}

// TestFileOfALatePool has a box that restarts after the listing which shows that the row is gone, and whose
// pool comes back with the file a moment after the box said that there is no such file.
func TestFileOfALatePool(t *testing.T) {
	for _, without := range []string{"a row", "its row"} {
		t.Run("a file without "+without, func(t *testing.T) {
			inBubble(t, wireAPI, func(t *testing.T, f *fakeBox) {
				f.addVolume(nil)
				lastListing := 2 // after that of the removal
				if without == "a row" {
					f.change(func() { f.disks, lastListing = f.disks[:1], 1 })
				}
				listings, late := 0, false
				f.on(func(cmd []string, do func() []string) []string {
					switch cmd[0] {
					case "/disk/print":
						if listings++; listings != lastListing {
							late = false // it shows the pool
							return do()
						}
						answer := do()
						f.change(func() { _ = f.accepted[0].Close() }) // on which the file would be removed
						time.Sleep(time.Second)                        // until there is another
						late = true
						return answer
					case "/file/remove":
						if late {
							return missing
						}
					}
					return do()
				})
				b := f.box(nil)
				if err := b.Delete(testContext(t), testVolume); err != nil {
					t.Errorf("Delete = %v", err)
				}
				if f.files[testFile] {
					t.Error("deleted, and the file is there")
				}
			})
		})
	}
}

// TestDeleteUnfinished shows that a delete is not believed while the box shows something.
func TestDeleteUnfinished(t *testing.T) {
	for _, tt := range []struct {
		name   string
		cmd    string
		answer func(*fakeBox, func() []string) []string
		want   error
		sent   string // the last command
	}{
		{"row stays", "/disk/remove", func(*fakeBox, func() []string) []string { return done }, actors.ErrUnresolved, "/disk/remove"},
		{"file stays", "/file/remove", func(*fakeBox, func() []string) []string { return done }, actors.ErrUnresolved, "/file/remove"},
		{"pool goes", "/file/remove", func(f *fakeBox, _ func() []string) []string {
			f.change(func() { delete(f.disks[0], "mount-point") })
			return missing
		}, actors.ErrUnavailable, "/file/remove"},
		{"pool goes before", "/disk/remove", func(f *fakeBox, do func() []string) []string {
			f.change(func() { delete(f.disks[0], "mount-point") })
			return do()
		}, actors.ErrUnavailable, "/disk/remove"},
		{"command unknown", "/file/remove", func(*fakeBox, func() []string) []string {
			return []string{"!trap", "=category=0", "=message=no such command"}
		}, actors.ErrUnavailable, "/file/remove"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			overFakes(t, func(t *testing.T, f *fakeBox) {
				f.addVolume(nil)
				f.on(on(tt.cmd, func(do func() []string) []string { return tt.answer(f, do) }))
				err := f.box(nil).Delete(testContext(t), testVolume)
				if !errors.Is(err, tt.want) {
					t.Errorf("Delete = %v, want %v", err, tt.want)
				}
				oneKind(t, err)
				cmds := f.commands()
				if last := cmds[len(cmds)-1]; !strings.HasPrefix(last, tt.sent) {
					t.Errorf("last command = %q, want %q", last, tt.sent)
				}
			})
		})
	}
}

func TestDeleteRefused(t *testing.T) {
	for name, change := range map[string]func(attrs){
		"attached": func(r attrs) {
			r["comment"] = ledger(func(l *actors.Ledger) {
				l.Access, l.Grants = actors.AccessSingle, []actors.Grant{{Node: "node-a", At: 1}}
			}).String()
		},
		"outside of the configured paths": func(r attrs) { r["file-path"] = "/raid10/elsewhere/" + string(testVolume) + ".img" },
	} {
		t.Run(name, func(t *testing.T) {
			overFakes(t, func(t *testing.T, f *fakeBox) {
				f.addVolume(change)
				if err := f.box(nil).Delete(testContext(t), testVolume); !errors.Is(err, actors.ErrPrecondition) {
					t.Errorf("Delete = %v, want ErrPrecondition", err)
				}
				if cmds := f.commands(); len(cmds) != 0 {
					t.Errorf("commands = %q", cmds)
				}
			})
		})
	}
}
