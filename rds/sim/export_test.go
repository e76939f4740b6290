// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/rds-csi/rds-csi/nvme/host"
	"github.com/rds-csi/rds-csi/nvme/tcp"
)

// TestExport shows that a disk is what a host writes to and reads, and that the journal tells.
func TestExport(t *testing.T) {
	cfg := Config{Dir: t.TempDir(), NVMeHost: LoopbackHost()}
	s := start(t, cfg)
	api := login(t, s)
	api.exported("vm-1", nqnA, 4420, "=file-offset=4096")
	node := newInitiator("n1")
	c := node.attach(t, s, nqnA, 4420)
	if ns := c.Namespace(); ns.ID != 1 || ns.Size != 1<<20-4096 || ns.BlockSize != 512 || ns.UUID == uuid.Nil {
		t.Errorf("namespace is %+v", ns)
	}
	if id := c.Identify(); id.Model != "Linux" || id.Firmware != "5.6.3" {
		t.Errorf("controller is %+v", id)
	}
	data := bytes.Repeat([]byte("0123456789abcdef"), 256)
	for _, off := range []int64{8192, 512} {
		if _, err := c.WriteAt(data, off); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.WriteZeroes(t.Context(), 8192, 512); err != nil {
		t.Fatal(err)
	}
	if err := c.Deallocate(t.Context(), 4096, 512); err != nil {
		t.Fatal(err)
	}
	if err := c.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(filepath.Join(cfg.Dir, "files", "raid10", "vm-1.img"))
	if err != nil {
		t.Fatal(err)
	}
	want := make([]byte, 1<<20)
	copy(want[4096+8192:], data)
	copy(want[4096+512:], data)
	clear(want[4096+8192:][:512])
	clear(want[4096+4096:][:512])
	if !bytes.Equal(raw, want) {
		t.Error("the file does not hold what was written")
	}
	got := make([]byte, 4096)
	if _, err := c.ReadAt(got, 512); err != nil || !bytes.Equal(got[:3584], data[:3584]) {
		t.Errorf("the disk reads otherwise than written: %v", err)
	}
	j := s.Journal()
	if len(j) != 1 || j[0].File != "raid10/vm-1.img" || j[0].Subsystem != nqnA || j[0].Host != node.nqn || j[0].Count != 4 ||
		j[0].First.Offset != 8192 || j[0].First.Length != 4096 || j[0].Last.Offset != 4096 || j[0].Last.Length != 512 || j[0].Last.At.Before(j[0].First.At) {
		t.Errorf("journal is %+v", j)
	}
}

// TestPorts shows that a port is open as long as an export uses it, and what a taken one answers.
func TestPorts(t *testing.T) {
	for _, stays := range []bool{false, true} {
		t.Run(fmt.Sprintf("stays open %v", stays), func(t *testing.T) {
			s := start(t, Config{NVMeHost: LoopbackHost(), Switches: Switches{PortStaysOpen: stays, Retry: stays}})
			api := login(t, s)
			api.exported("vm-1", nqnA, 5000)
			api.exported("vm-2", nqnB, 5000)
			api.must("/disk/set", "=numbers=vm-1", "=nvme-tcp-export=no")
			node := newInitiator("n1")
			_, err := node.connect(t, s, nqnA, 5000)
			wantStatus(t, err, tcp.StatusConnectInvalid, !stays)
			node.attach(t, s, nqnB, 5000)
			api.must("/disk/remove", "=numbers=vm-2")
			_, err = node.connect(t, s, nqnB, 5000)
			if stays {
				wantStatus(t, err, tcp.StatusConnectInvalid, false)
			} else if !errors.Is(err, syscall.ECONNREFUSED) {
				t.Errorf("connect: %v, want a refused connection", err)
			}
		})
	}
}

// TestPortTaken shows that an export which cannot begin leaves everything as it was.
func TestPortTaken(t *testing.T) {
	dir := t.TempDir()
	s := start(t, Config{Dir: dir, NVMeHost: LoopbackHost()})
	api := login(t, s)
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", net.JoinHostPort(s.hw.cfg.NVMeHost, "5000"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	const taken = "failure: nvme-tcp-server-port 5000 cannot be opened"
	api.refused(taken, addWords("vm-1", "=nvme-tcp-export=yes", "=nvme-tcp-server-port=5000")...)
	if len(s.Disks()) != 0 || len(s.Files()) != 0 || s.Free() != 1<<40 {
		t.Errorf("after a refused add: %v, %v", s.Disks(), s.Files())
	}
	if entries, err := os.ReadDir(filepath.Join(dir, "files", "raid10")); err != nil || len(entries) > 0 {
		t.Errorf("after a refused add there is %v, %v", entries, err)
	}
	api.exported("vm-1", nqnA, 4420)
	c := newInitiator("n1").attach(t, s, nqnA, 4420)
	before := s.Disks()
	api.refused(taken, "/disk/set", "=numbers=vm-1", "=nvme-tcp-server-port=5000", "=comment=x")
	if !slices.Equal(s.Disks(), before) {
		t.Errorf("after a refused set: %v", s.Disks())
	}
	if _, err := c.WriteAt(make([]byte, 512), 0); err != nil || c.State() != host.StateLive {
		t.Errorf("the host is %v: %v", c.State(), err)
	}
	api.refused("failure: nvme-tcp-server-nqn is used", addWords("vm-2", "=nvme-tcp-export=yes", "=nvme-tcp-server-nqn="+nqnA)...)
}

func TestResizeWhileConnected(t *testing.T) {
	for _, silent := range []bool{false, true} {
		t.Run(fmt.Sprintf("silent %v", silent), func(t *testing.T) {
			s := start(t, Config{NVMeHost: LoopbackHost(), Switches: Switches{NoResizeEvent: silent}})
			api := login(t, s)
			api.exported("vm-1", nqnA, 4420)
			sizes := make(chan int64, 16)
			c := newInitiator("n1").attach(t, s, nqnA, 4420, func(cfg *host.Config) {
				cfg.OnNamespace = func(_, now host.Namespace) { sizes <- now.Size }
			})
			api.must("/disk/set", "=numbers=vm-1", "=file-size=2M")
			if silent {
				// The event would have come before an answer to a later command.
				if _, err := c.WriteAt(make([]byte, 512), 0); err != nil || c.Size() != 1<<20 {
					t.Errorf("size is %d without looking: %v", c.Size(), err)
				}
				if err := c.Rescan(t.Context()); err != nil || c.Size() != 2<<20 {
					t.Errorf("size is %d: %v", c.Size(), err)
				}
				return
			}
			for size := int64(0); size != 2<<20; {
				select {
				case size = <-sizes:
				case <-time.After(hang):
					t.Fatalf("size is still %d", c.Size())
				}
			}
			if _, err := c.WriteAt(make([]byte, 512), 2<<20-512); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestRebootWithHosts shows that hosts come back after a reboot and find what they wrote.
func TestRebootWithHosts(t *testing.T) {
	s := start(t, Config{NVMeHost: LoopbackHost()})
	api := login(t, s)
	api.exported("vm-1", nqnA, 4420)
	c := newInitiator("n1").attach(t, s, nqnA, 4420)
	data := bytes.Repeat([]byte("x"), 512)
	if _, err := c.WriteAt(data, 1024); err != nil {
		t.Fatal(err)
	}
	id := c.UUID()
	if err := s.Reboot(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 512)
	if _, err := c.ReadAt(got, 1024); err != nil || !bytes.Equal(got, data) || c.UUID() != id {
		t.Errorf("after the reboot: %v, %.8q", err, got)
	}
	if err := s.Reboot(t.Context()); err != nil {
		t.Fatal(err)
	}
	newInitiator("n2").attach(t, s, nqnA, 4420) // at once
}

// TestLateExport shows that a host outlives a reboot after which its disk, on a port of its own, comes
// late.
func TestLateExport(t *testing.T) {
	s := start(t, Config{NVMeHost: LoopbackHost(), Switches: Switches{ExportDelay: time.Millisecond}})
	login(t, s).exported("vm-1", nqnA, 4420)
	node := newInitiator("n1")
	c, err := node.connect(t, s, nqnA, 4420)
	for errors.Is(err, syscall.ECONNREFUSED) { // it is not there yet
		c, err = node.connect(t, s, nqnA, 4420)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Reboot(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := c.WriteAt(make([]byte, 512), 0); err != nil {
		t.Errorf("after the reboot: %v", err)
	}
}

// TestSaveFails shows that a change which cannot be saved is refused and undone, with its file and its
// export.
func TestSaveFails(t *testing.T) {
	dir := t.TempDir()
	s := start(t, Config{Dir: dir, NVMeHost: LoopbackHost()})
	api := login(t, s)
	api.exported("vm-1", nqnA, 4420)
	before, files := s.Disks(), s.Files()
	if err := os.Mkdir(filepath.Join(dir, "config.json.new"), 0o700); err != nil {
		t.Fatal(err)
	}
	log := brokenLog(t)
	if err := s.boot().machine.do(t.Context(), func() {
		_ = s.hw.store.log.Close()
		s.hw.store.log = log
	}); err != nil {
		t.Fatal(err)
	}
	const cannot = "failure: configuration cannot be saved"
	api.refused(cannot, addWords("vm-2", "=nvme-tcp-export=yes", "=nvme-tcp-server-nqn="+nqnB)...)
	api.refused(cannot, "/disk/set", "=numbers=vm-1", "=nvme-tcp-export=no")
	api.refused(cannot, "/disk/remove", "=numbers=vm-1")
	if !slices.Equal(s.Disks(), before) || !slices.Equal(s.Files(), files) {
		t.Errorf("after refused commands: %v, %v", s.Disks(), s.Files())
	}
	if entries, err := os.ReadDir(filepath.Join(dir, "files", "raid10")); err != nil || len(entries) != 1 {
		t.Errorf("the pool holds %v, %v", entries, err)
	}
	newInitiator("n1").attach(t, s, nqnA, 4420)
	_, err := newInitiator("n1").connect(t, s, nqnB, 4420)
	wantStatus(t, err, tcp.StatusConnectInvalid, true)
}

// brokenLog returns a log that cannot be written.
func brokenLog(t *testing.T) *os.File {
	t.Helper()
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// TestFileRemovedUnderDisk shows what a real box did to whoever took live files for orphans: the
// removal is not refused, hosts go on until the export ends, and then the data is gone.
func TestFileRemovedUnderDisk(t *testing.T) {
	s := start(t, Config{NVMeHost: LoopbackHost()})
	api := login(t, s)
	api.exported("vm-1", nqnA, 4420)
	node := newInitiator("n1")
	c := node.attach(t, s, nqnA, 4420)
	api.must("/file/remove", "=numbers=raid10/vm-1.img")
	if _, err := c.WriteAt(make([]byte, 512), 0); err != nil {
		t.Error(err)
	}
	if err := s.Reboot(t.Context()); err != nil {
		t.Fatal(err)
	}
	api = login(t, s)
	if got := api.disk("vm-1")["nvme-tcp-export"]; got != "true" {
		t.Errorf("nvme-tcp-export is %s", got)
	}
	if _, err := node.connect(t, s, nqnA, 4420); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("connect: %v, want a refused connection", err)
	}
	api.refused("failure: file is missing", "/disk/set", "=numbers=vm-1", "=file-size=2M")
	api.must("/disk/set", "=numbers=vm-1", "=nvme-tcp-export=no")
	api.refused("failure: file of the disk cannot be opened", "/disk/set", "=numbers=vm-1", "=nvme-tcp-export=yes")
}

// TestNewUUID shows that an export may come back as another namespace.
func TestNewUUID(t *testing.T) {
	s := start(t, Config{NVMeHost: LoopbackHost(), Switches: Switches{NewUUID: true}})
	api := login(t, s)
	api.exported("vm-1", nqnA, 4420)
	node := newInitiator("n1")
	before := node.attach(t, s, nqnA, 4420).UUID()
	api.must("/disk/set", "=numbers=vm-1", "=nvme-tcp-export=no")
	api.must("/disk/set", "=numbers=vm-1", "=nvme-tcp-export=yes")
	if after := node.attach(t, s, nqnA, 4420).UUID(); after == before {
		t.Errorf("UUID is %v as before", after)
	}
}

// TestExportDelay shows that an export which is to begin later does so unless it changes before.
func TestExportDelay(t *testing.T) {
	var due []func()
	e, st := testExports(t, Switches{ExportDelay: time.Hour}, func(d time.Duration, f func()) {
		if d != time.Hour {
			t.Errorf("export comes after %v", d)
		}
		due = append(due, f)
	})
	d := disk{ID: 2, Slot: "vm-1", File: "raid10/vm-1.img", Size: 1 << 20, Export: true, Port: 4420, NQN: nqnA}
	if err := st.put(d.File, file{}, false, file{size: d.Size}); err != nil {
		t.Fatal(err)
	}
	change := func(old, next disk) {
		t.Helper()
		if err := e.change(old, next); err != nil {
			t.Fatal(err)
		}
	}
	off := d
	off.Export = false
	change(disk{}, d)
	change(d, off)
	change(off, d)
	bigger := d
	bigger.Size = 2 << 20
	change(d, bigger)
	due[0]() // of the export that was turned off
	if len(e.served) != 0 {
		t.Fatal("an export that was turned off has begun")
	}
	due[1]()
	if x := e.served[d.ID]; x == nil || x.backing.Size() != 2<<20 {
		t.Errorf("served is %+v", x)
	}
}
