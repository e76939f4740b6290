// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package rds

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rds-csi/rds-csi/actors"
)

const otherVolume = actors.VolumeID("pvc-1b5e1d4e-3b1c-4f0e-9a57-2f0d6f6d0a11")

func TestRead(t *testing.T) {
	overFakes(t, func(t *testing.T, f *fakeBox) {
		f.addVolume(nil)
		b := f.box(nil)
		v, err := b.Read(testContext(t), testVolume)
		if err != nil || !v.Exists || !v.Ours || v.Size != gib || v.Ledger.String() != gen(1).String() {
			t.Errorf("Read = %+v, %v", v, err)
		}
		v, err = b.Read(testContext(t), otherVolume)
		if err != nil || v.Exists || v.ID != otherVolume {
			t.Errorf("Read of one that is not there = %+v, %v", v, err)
		}
		if _, err := b.Read(testContext(t), "pvc-../../etc"); !errors.Is(err, actors.ErrInvalid) {
			t.Errorf("Read of a malformed ID = %v, want ErrInvalid", err)
		}
	})
}

// TestPoolMissing shows that no volume is said not to exist while its pool may hold it.
func TestPoolMissing(t *testing.T) {
	for name, lose := range map[string]func(attrs){
		"not mounted": func(r attrs) { delete(r, "mount-point") },
		"failed":      func(r attrs) { r["state"] = "failed" },
	} {
		t.Run(name, func(t *testing.T) {
			overFakes(t, func(t *testing.T, f *fakeBox) {
				f.change(func() { lose(f.disks[0]) })
				b := f.box(nil)
				if v, err := b.Read(testContext(t), testVolume); !errors.Is(err, actors.ErrUnavailable) {
					t.Errorf("Read = %+v, %v, want ErrUnavailable", v, err)
				}
				if vols, err := b.List(testContext(t)); !errors.Is(err, actors.ErrUnavailable) {
					t.Errorf("List = %+v, %v, want ErrUnavailable", vols, err)
				}
				if err := b.Delete(testContext(t), testVolume); !errors.Is(err, actors.ErrUnavailable) {
					t.Errorf("Delete = %v, want ErrUnavailable", err)
				}
				if err := b.Write(testContext(t), write(2)); !errors.Is(err, actors.ErrUnavailable) {
					t.Errorf("Write = %v, want ErrUnavailable", err)
				}
				if cmds := f.commands(); len(cmds) != 0 {
					t.Errorf("the box was changed: %q", cmds)
				}
			})
		})
	}
}

// TestDiskMissing has a box that comes back with its pool and without a disk, as for a while after a start:
// for so long it is neither gone nor free to be made again. A volume that was never there is not waited for.
func TestDiskMissing(t *testing.T) {
	overFakes(t, func(t *testing.T, f *fakeBox) {
		f.addVolume(nil)
		b := f.box(nil)
		if v, err := b.Read(testContext(t), testVolume); err != nil || !v.Exists {
			t.Fatalf("Read = %+v, %v", v, err)
		}
		var late []attrs
		f.change(func() { late, f.disks = f.disks[1:], f.disks[:1] })
		f.restart()
		for name, err := range everything(t, b) {
			if name != "Capacity" && !errors.Is(err, actors.ErrUnavailable) {
				t.Errorf("%s = %v, want ErrUnavailable", name, err)
			}
			oneKind(t, err)
		}
		if cmds := f.commands(); len(cmds) != 0 {
			t.Errorf("the box was changed: %q", cmds)
		}
		if v, err := b.Read(testContext(t), otherVolume); err != nil || v.Exists {
			t.Errorf("Read of another volume = %+v, %v, want none", v, err)
		}
		f.change(func() { f.disks = append(f.disks, late...) })
		if v, err := b.Read(testContext(t), testVolume); err != nil || !v.Exists {
			t.Errorf("Read when it has come back = %+v, %v", v, err)
		}
		f.change(func() { f.disks = f.disks[:1] })
		f.restart()
		_, err := b.Read(testContext(t), testVolume)
		for range 5 { // what was read on connections that ended says nothing of the disk
			if err == nil || strings.Contains(err.Error(), "expected to come back") {
				break
			}
			time.Sleep(time.Second)
			_, err = b.Read(testContext(t), testVolume)
		}
		if !errors.Is(err, actors.ErrUnavailable) || !strings.Contains(err.Error(), "expected to come back") {
			t.Errorf("Read when it is missing again = %v, want ErrUnavailable as it is expected", err)
		}
		time.Sleep(2 * time.Minute)
		if v, err := b.Read(testContext(t), testVolume); err != nil || v.Exists {
			t.Errorf("Read when it has not come back for long = %+v, %v, want none", v, err)
		}
	})
}

// TestDiskRemoved removes a disk, by another's hand and by a delete whose answer is lost, and ends the
// connections: a box that has not restarted since the listing before shows on new ones what there is, and
// nothing is waited for. Where it does not say for how long it has been up, it may have restarted.
func TestDiskRemoved(t *testing.T) {
	overFakes(t, func(t *testing.T, f *fakeBox) {
		b := f.box(nil)
		seen := func() {
			t.Helper()
			f.addVolume(nil)
			if v, err := b.Read(testContext(t), testVolume); err != nil || !v.Exists {
				t.Fatalf("Read = %+v, %v", v, err)
			}
			time.Sleep(time.Minute)
		}
		seen()
		f.change(func() { f.disks = f.disks[:1] })
		f.drop()
		if v, err := b.Read(testContext(t), testVolume); err != nil || v.Exists {
			t.Errorf("Read of a disk that another removed = %+v, %v", v, err)
		}
		if _, err := b.List(testContext(t)); err != nil {
			t.Errorf("List = %v", err)
		}
		seen()
		f.on(func(cmd []string, do func() []string) []string {
			if reply := do(); cmd[0] != "/disk/remove" {
				return reply
			}
			return drop
		})
		if err := b.Delete(testContext(t), testVolume); !errors.Is(err, actors.ErrUnresolved) {
			t.Errorf("Delete whose answer is lost = %v", err)
		}
		if err := b.Delete(testContext(t), testVolume); err != nil {
			t.Errorf("Delete = %v", err)
		}
		f.on(nil)
		seen()
		f.on(func(cmd []string, do func() []string) []string {
			if cmd[0] == "/system/resource/print" {
				return trap("failure: not now")
			}
			return do()
		})
		f.change(func() { f.disks = f.disks[:1] })
		f.drop()
		if _, err := b.Read(testContext(t), testVolume); !errors.Is(err, actors.ErrUnavailable) {
			t.Errorf("Read where the uptime is not known = %v, want ErrUnavailable", err)
		}
	})
}

// TestLeaveAlone shows that rows that are not certainly ours are not written, and are not taken for
// nobody's either.
func TestLeaveAlone(t *testing.T) {
	foreign := ledger(func(l *actors.Ledger) { l.Cluster = "ffffffffffff" }).String()
	for _, tt := range []struct {
		name    string
		prepare func(*fakeBox)
		read    error
		write   error
		listed  bool // with a ledger that is not this cluster's
	}{
		{"another cluster's", func(f *fakeBox) { f.addVolume(func(r attrs) { r["comment"] = foreign }) }, nil, actors.ErrPrecondition, true},
		{"damaged", func(f *fakeBox) { f.addVolume(func(r attrs) { r["comment"] += "/x" }) }, actors.ErrPrecondition, actors.ErrPrecondition, true},
		{"unreadable size", func(f *fakeBox) { f.addVolume(func(r attrs) { r["file-size"] = "1.0GiB" }) }, actors.ErrPrecondition, actors.ErrPrecondition, true},
		{"two rows", func(f *fakeBox) {
			f.addVolume(nil)
			f.addVolume(func(r attrs) { r["comment"], r["file-path"] = "", "/raid10/copy/"+string(testVolume)+".img" })
		}, actors.ErrPrecondition, actors.ErrPrecondition, true},
		{"the older driver's", func(f *fakeBox) { f.addVolume(func(r attrs) { r["comment"] = "" }) }, nil, nil, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			overFakes(t, func(t *testing.T, f *fakeBox) {
				tt.prepare(f)
				b, ctx := f.box(nil), testContext(t)
				if _, err := b.Read(ctx, testVolume); !errors.Is(err, tt.read) {
					t.Errorf("Read = %v, want %v", err, tt.read)
				}
				vols, err := b.List(ctx)
				if err != nil || len(vols) > 0 != tt.listed {
					t.Errorf("List = %+v, %v, listed: %t", vols, err, tt.listed)
				}
				for _, v := range vols {
					if v.ID != testVolume || !v.Ours || v.Ledger.Cluster == testCluster {
						t.Errorf("List = %+v, which looks like this cluster's", v)
					}
				}
				if err := b.Delete(ctx, testVolume); !errors.Is(err, actors.ErrPrecondition) {
					t.Errorf("Delete = %v, want ErrPrecondition", err)
				}
				if _, err := b.Expand(ctx, testVolume, 2*gib); !errors.Is(err, actors.ErrPrecondition) {
					t.Errorf("Expand = %v, want ErrPrecondition", err)
				}
				if _, err := b.Create(ctx, spec(nil)); !errors.Is(err, actors.ErrPrecondition) {
					t.Errorf("Create = %v, want ErrPrecondition", err)
				}
				if cmds := f.commands(); len(cmds) != 0 {
					t.Errorf("the box was changed: %q", cmds)
				}
				if err := b.Write(ctx, write(2)); !errors.Is(err, tt.write) {
					t.Errorf("Write = %v, want %v", err, tt.write)
				}
			})
		})
	}
}

// TestListingsAreShared holds one listing and lets many readers ask: none gets the one that began
// before it asked, and all share the next.
func TestListingsAreShared(t *testing.T) {
	overFakes(t, func(t *testing.T, f *fakeBox) {
		goOn := make(chan struct{})
		f.on(func(cmd []string, do func() []string) []string {
			if cmd[0] != "/disk/print" {
				return do()
			}
			answer := do() // what the box shows when the listing begins
			<-goOn
			return answer
		})
		b, ctx := f.box(nil), testContext(t)
		first := make(chan []actors.Volume, 1)
		go func() {
			vols, err := b.List(ctx)
			if err != nil {
				t.Error(err)
			}
			first <- vols
		}()
		synctest.Wait()
		f.addVolume(nil) // too late for the first
		var readers sync.WaitGroup
		for range 1000 {
			readers.Go(func() {
				v, err := b.Read(ctx, testVolume)
				if err != nil || !v.Exists {
					t.Errorf("Read = %+v, %v: an answer that is older than the question", v, err)
				}
			})
		}
		synctest.Wait()
		close(goOn)
		readers.Wait()
		if vols := <-first; len(vols) != 0 {
			t.Errorf("the first listing shows %v", vols)
		}
		if f.listings != 2 {
			t.Errorf("%d listings, want the first and one for all readers", f.listings)
		}
	})
}

// TestListContext shows that a reader that gives up does not take the listing from the others.
func TestListContext(t *testing.T) {
	overFakes(t, func(t *testing.T, f *fakeBox) {
		f.addVolume(nil)
		begun, goOn := make(chan struct{}, 10), make(chan struct{})
		f.on(func(cmd []string, do func() []string) []string {
			if cmd[0] == "/disk/print" {
				begun <- struct{}{}
				<-goOn
			}
			return do()
		})
		b := f.box(nil)
		ctx, cancel := context.WithCancel(testContext(t))
		patient := make(chan error, 1)
		go func() {
			_, err := b.Read(testContext(t), testVolume)
			patient <- err
		}()
		<-begun
		gone := make(chan error, 1)
		go func() {
			_, err := b.Read(ctx, testVolume)
			gone <- err
		}()
		cancel()
		if err := <-gone; !errors.Is(err, actors.ErrUnavailable) || !errors.Is(err, context.Canceled) {
			t.Errorf("reader that gave up = %v", err)
		}
		close(goOn)
		if err := <-patient; err != nil {
			t.Errorf("patient reader = %v", err)
		}
	})
}

func TestCapacity(t *testing.T) {
	overFakes(t, func(t *testing.T, f *fakeBox) {
		b, ctx := f.box(func(c *Config) { c.VolumePaths = []string{testPath, "/nvme1/volumes"} }), testContext(t)
		c, err := b.Capacity(ctx, testPath)
		if err != nil || c != (actors.Capacity{Total: 16003143565312, Free: 14789895307264}) {
			t.Errorf("Capacity = %+v, %v", c, err)
		}
		if _, err := b.Capacity(ctx, "/nvme1/volumes"); !errors.Is(err, actors.ErrUnavailable) {
			t.Errorf("Capacity of a pool that is not there = %v", err)
		}
		for _, path := range []string{"raid10", "/raid10", "/elsewhere"} {
			if _, err := b.Capacity(ctx, path); !errors.Is(err, actors.ErrInvalid) || errors.Is(err, actors.ErrUnavailable) {
				t.Errorf("Capacity of %s, which is not configured, = %v", path, err)
			}
		}
		for _, field := range []string{"free", "size"} {
			f.change(func() { delete(f.disks[0], field) })
			if _, err := b.Capacity(ctx, testPath); !errors.Is(err, actors.ErrUnavailable) {
				t.Errorf("Capacity without %s = %v", field, err)
			}
		}
	})
}
