// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/rds-csi/rds-csi/nvme/host"
	"github.com/rds-csi/rds-csi/nvme/tcp"
)

// An initiator is a host of a test.
type initiator struct {
	nqn string
	id  uuid.UUID
}

func newInitiator(name string) initiator {
	id := uuid.NewSHA1(uuid.NameSpaceDNS, []byte(name))
	return initiator{nqn: "nqn.2014-08.org.nvmexpress:uuid:" + id.String(), id: id}
}

// connect connects to what is exported under an NQN.
func (i initiator) connect(t *testing.T, s *Sim, nqn string, port int, more ...func(*host.Config)) (*host.Controller, error) {
	t.Helper()
	cfg := host.Config{
		Address: net.JoinHostPort(s.hw.cfg.NVMeHost, strconv.Itoa(port)), SubsystemNQN: nqn, HostNQN: i.nqn, HostID: i.id,
		ReconnectDelay: time.Millisecond, CtrlLossTimeout: -1, HonorDNR: true,
	}
	for _, m := range more {
		m(&cfg)
	}
	ctx, cancel := context.WithTimeout(t.Context(), hang)
	defer cancel()
	c, err := host.Connect(ctx, cfg)
	if err == nil {
		t.Cleanup(func() { _ = c.Close() })
	}
	return c, err
}

// attach is connect that must not fail.
func (i initiator) attach(t *testing.T, s *Sim, nqn string, port int, more ...func(*host.Config)) *host.Controller {
	t.Helper()
	c, err := i.connect(t, s, nqn, port, more...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// wantStatus checks that a connect was refused with a status.
func wantStatus(t *testing.T, err error, code tcp.Status, dnr bool) {
	t.Helper()
	var status *host.StatusError
	if !errors.As(err, &status) || status.Code != uint16(code) || status.DNR != dnr {
		t.Fatalf("connect: %v, want status %v, do not retry %v", err, code, dnr)
	}
}

// exported adds an exported disk of 1 MiB and returns its .id.
func (c *client) exported(slot, nqn string, port int, words ...string) string {
	c.t.Helper()
	return c.add(slot, append([]string{
		"=file-size=1M", "=nvme-tcp-export=yes", "=nvme-tcp-server-nqn=" + nqn, fmt.Sprintf("=nvme-tcp-server-port=%d", port),
	}, words...)...)
}

// writer writes until its host is cut off, and returns what counts the writes that were answered.
func writer(t *testing.T, c *host.Controller, fill byte) *atomic.Int64 {
	t.Helper()
	var n atomic.Int64
	first, done := make(chan struct{}), make(chan struct{})
	block := bytes.Repeat([]byte{fill}, 4096)
	go func() {
		defer close(done)
		for {
			if _, err := c.WriteAt(block, n.Load()%256*4096); err != nil {
				return
			}
			if n.Add(1) == 1 {
				close(first)
			}
		}
	}()
	t.Cleanup(func() { _ = c.Close(); <-done })
	select {
	case <-first:
	case <-done:
		t.Fatal("the host cannot write")
	}
	return &n
}

const nqnA, nqnB = "nqn.2026-01.io.example:a", "nqn.2026-01.io.example:b"

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
	raw, err := os.ReadFile(filepath.Join(cfg.Dir, "files", "raid10", "vm-1.img"))
	if err != nil {
		t.Fatal(err)
	}
	want := make([]byte, 1<<20)
	copy(want[4096+8192:], data)
	copy(want[4096+512:], data)
	clear(want[4096+8192:][:512])
	if !bytes.Equal(raw, want) {
		t.Error("the file does not hold what was written")
	}
	got := make([]byte, 4096)
	if _, err := c.ReadAt(got, 512); err != nil || !bytes.Equal(got, data) {
		t.Errorf("the disk reads otherwise than written: %v", err)
	}
	j := s.Journal()
	if len(j) != 1 || j[0].File != "raid10/vm-1.img" || j[0].Subsystem != nqnA || j[0].Host != node.nqn || j[0].Count != 3 ||
		j[0].First.Offset != 8192 || j[0].First.Length != 4096 || j[0].Last.Offset != 8192 || j[0].Last.Length != 512 || j[0].Last.At.Before(j[0].First.At) {
		t.Errorf("journal is %+v", j)
	}
}

// TestExportOffFences shows that when an export has been turned off, or its row removed, hosts that
// were writing have written their last, find the port closed, and are not let in under the old name
// when the disk is exported under another one.
func TestExportOffFences(t *testing.T) {
	for _, tt := range []struct {
		name  string
		words []string
	}{
		{"export off", []string{"/disk/set", "=numbers=vm-1", "=nvme-tcp-export=no"}},
		{"disabled", []string{"/disk/set", "=numbers=vm-1", "=disabled=yes"}},
		{"another name", []string{"/disk/set", "=numbers=vm-1", "=nvme-tcp-server-nqn=" + nqnB}},
		{"another port", []string{"/disk/set", "=numbers=vm-1", "=nvme-tcp-server-port=4421"}},
		{"row removed", []string{"/disk/remove", "=numbers=vm-1"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := Config{Dir: t.TempDir(), NVMeHost: LoopbackHost()}
			s := start(t, cfg)
			api := login(t, s)
			api.exported("vm-1", nqnA, 4420)
			one, two := newInitiator("n1"), newInitiator("n2")
			first, second := one.attach(t, s, nqnA, 4420), two.attach(t, s, nqnA, 4420)
			if got, want := s.Hosts(nqnA), []string{one.nqn, two.nqn}; !slices.Equal(slices.Sorted(slices.Values(want)), got) {
				t.Errorf("connected are %v, want %v", got, want)
			}
			writer(t, first, 1)
			writer(t, second, 2)
			api.must(tt.words...)
			if hosts := append(s.Hosts(nqnA), s.Hosts(nqnB)...); len(hosts) > 0 {
				t.Errorf("connected are %v", hosts)
			}
			before := s.Journal()
			raw := readFile(t, cfg.Dir, "vm-1")
			if len(before) != 2 {
				t.Fatalf("journal is %+v, want two hosts", before)
			}
			if tt.name != "another name" {
				if _, err := one.connect(t, s, nqnA, 4420); !errors.Is(err, syscall.ECONNREFUSED) {
					t.Errorf("connect: %v, want a refused connection", err)
				}
			}
			// Another disk brings the port back for those who still try.
			api.exported("vm-2", "nqn.2026-01.io.example:c", 4420)
			_, err := one.connect(t, s, nqnA, 4420)
			wantStatus(t, err, tcp.StatusConnectInvalid, true)
			for _, c := range []*host.Controller{first, second} {
				select {
				case <-c.Done(): // they honour "do not retry"
				case <-time.After(hang):
					t.Fatal("a fenced host still tries")
				}
			}
			if after := s.Journal(); !slices.Equal(after, before) {
				t.Errorf("journal went on from %+v to %+v", before, after)
			}
			if !bytes.Equal(readFile(t, cfg.Dir, "vm-1"), raw) {
				t.Error("the file was written to after the fence")
			}
		})
	}
}

func readFile(t *testing.T, dir, slot string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "files", "raid10", slot+".img"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestBounce shows that a host goes on after an export was turned off and on by two commands that
// were sent together.
func TestBounce(t *testing.T) {
	s := start(t, Config{NVMeHost: LoopbackHost()})
	api := login(t, s)
	api.exported("vm-1", nqnA, 4420)
	var resets atomic.Int64
	c := newInitiator("n1").attach(t, s, nqnA, 4420, func(cfg *host.Config) {
		cfg.HonorDNR = false
		cfg.OnState = func(_, now host.State) {
			if now == host.StateResetting {
				resets.Add(1)
			}
		}
	})
	writer(t, c, 1)
	api.send("/disk/set", "=numbers=vm-1", "=nvme-tcp-export=no", ".tag=off")
	api.send("/disk/set", "=numbers=vm-1", "=nvme-tcp-export=yes", ".tag=on")
	api.want("!done", ".tag=off")
	api.want("!done", ".tag=on")
	if _, err := c.WriteAt(make([]byte, 512), 0); err != nil || resets.Load() == 0 {
		t.Errorf("after the bounce: %v, %d resets", err, resets.Load())
	}
}

// TestPortOfItsOwn shows that a host which keeps trying while the export of a disk with a port of its
// own goes off and on is let in or finds the port closed, and is never told that the name is unknown:
// that would end its controller for good.
func TestPortOfItsOwn(t *testing.T) {
	s := start(t, Config{NVMeHost: LoopbackHost()})
	api := login(t, s)
	api.exported("vm-1", nqnA, 4420)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for i := range 3 {
		node := newInitiator(fmt.Sprint("n", i))
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				c, err := host.Connect(t.Context(), host.Config{
					Address: net.JoinHostPort(s.hw.cfg.NVMeHost, "4420"), SubsystemNQN: nqnA, HostNQN: node.nqn, HostID: node.id,
				})
				var status *host.StatusError
				if errors.As(err, &status) {
					t.Error(err)
				}
				if err == nil {
					_ = c.Close()
				}
			}
		})
	}
	for range 20 {
		api.must("/disk/set", "=numbers=vm-1", "=nvme-tcp-export=no")
		api.must("/disk/set", "=numbers=vm-1", "=nvme-tcp-export=yes")
	}
	if err := s.Reboot(t.Context()); err != nil {
		t.Error(err)
	}
	close(stop)
	wg.Wait()
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

func TestAllowList(t *testing.T) {
	one, two := newInitiator("n1"), newInitiator("n2")
	for _, drops := range []bool{false, true} {
		t.Run(fmt.Sprintf("change drops %v", drops), func(t *testing.T) {
			s := start(t, Config{NVMeHost: LoopbackHost(), Switches: Switches{DropOnAllowChange: drops}})
			api := login(t, s)
			api.exported("vm-1", nqnA, 4420, "=nvme-tcp-server-allow-host-name="+one.nqn)
			c := one.attach(t, s, nqnA, 4420)
			_, err := two.connect(t, s, nqnA, 4420)
			wantStatus(t, err, tcp.StatusConnectHost, true)
			api.must("/disk/set", "=numbers=vm-1", "=nvme-tcp-server-allow-host-name="+two.nqn)
			two.attach(t, s, nqnA, 4420)
			_, err = one.connect(t, s, nqnA, 4420)
			wantStatus(t, err, tcp.StatusConnectHost, true)
			if _, err := c.WriteAt(make([]byte, 512), 0); drops != (err != nil) {
				t.Errorf("the host that was taken off the list writes: %v", err)
			}
			api.must("/disk/set", "=numbers=vm-1", "=nvme-tcp-server-allow-host-name=")
			one.attach(t, s, nqnA, 4420)
		})
	}
	t.Run("several names", func(t *testing.T) {
		s := start(t, Config{NVMeHost: LoopbackHost(), Switches: Switches{AllowList: true}})
		login(t, s).exported("vm-1", nqnA, 4420, "=nvme-tcp-server-allow-host-name="+one.nqn+","+two.nqn)
		one.attach(t, s, nqnA, 4420)
		two.attach(t, s, nqnA, 4420)
	})
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

// TestKeepOnExportOff shows the box that does not cut hosts off: live ones go on, also under a new
// name of the disk beside them, and only the removal of the row ends them.
func TestKeepOnExportOff(t *testing.T) {
	s := start(t, Config{NVMeHost: LoopbackHost(), Switches: Switches{KeepOnExportOff: true}})
	api := login(t, s)
	api.exported("vm-1", nqnA, 4420)
	one, two := newInitiator("n1"), newInitiator("n2")
	c := one.attach(t, s, nqnA, 4420)
	write := func() error { _, err := c.WriteAt(make([]byte, 512), 0); return err }
	api.must("/disk/set", "=numbers=vm-1", "=nvme-tcp-export=no")
	api.must("/disk/set", "=numbers=vm-1", "=comment=x")
	if err := write(); err != nil {
		t.Fatal(err)
	}
	_, err := two.connect(t, s, nqnA, 4420)
	wantStatus(t, err, tcp.StatusConnectHost, true)
	api.must("/disk/set", "=numbers=vm-1", "=nvme-tcp-export=yes")
	two.attach(t, s, nqnA, 4420)
	api.must("/disk/set", "=numbers=vm-1", "=nvme-tcp-export=no")
	api.must("/disk/set", "=numbers=vm-1", "=nvme-tcp-export=yes", "=nvme-tcp-server-nqn="+nqnB)
	two.attach(t, s, nqnB, 4420)
	if err := write(); err != nil {
		t.Fatal(err)
	}
	api.must("/disk/remove", "=numbers=vm-1")
	before := s.Journal()
	if _, err := two.connect(t, s, nqnB, 4420); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("connect: %v, want a refused connection", err)
	}
	_ = c.Close()
	if after := s.Journal(); !slices.Equal(after, before) {
		t.Errorf("journal went on from %+v to %+v", before, after)
	}
}

// testExports returns the exports of a box without anything else.
func testExports(t *testing.T, sw Switches, later func(time.Duration, func())) (*exports, *store) {
	t.Helper()
	cfg, err := Config{Dir: t.TempDir(), NVMeHost: LoopbackHost(), Switches: sw}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	st, err := openStore(cfg.Dir, cfg.Pool)
	if err != nil {
		t.Fatal(err)
	}
	e := newExports(cfg, st, newJournal(), later)
	t.Cleanup(func() {
		if err := errors.Join(e.close(), st.close()); err != nil {
			t.Error(err)
		}
	})
	return e, st
}

// TestPortWaitsForName shows that a host which comes as soon as a port is open waits there until the
// name that it asks for is known.
func TestPortWaitsForName(t *testing.T) {
	e, st := testExports(t, Switches{}, nil)
	d := disk{ID: 2, Slot: "vm-1", File: "raid10/vm-1.img", Size: 1 << 20, Export: true, NQN: nqnA}
	if err := st.put(d.File, file{}, false, file{size: d.Size}); err != nil {
		t.Fatal(err)
	}
	b, err := st.open(d)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.open(d.port()); err != nil {
		t.Fatal(err)
	}
	node := newInitiator("n1")
	dialed, connected := make(chan struct{}), make(chan error, 1)
	go func() {
		c, err := host.Connect(t.Context(), host.Config{
			Address: net.JoinHostPort(e.host, "4420"), SubsystemNQN: nqnA, HostNQN: node.nqn, HostID: node.id,
			Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
				conn, err := new(net.Dialer).DialContext(ctx, network, address)
				select {
				case <-dialed: // an I/O queue
				default:
					close(dialed)
				}
				return conn, err
			},
		})
		if err == nil {
			err = c.Close()
		}
		connected <- err
	}()
	<-dialed
	if e.ports[defaultPort].stop != nil {
		t.Error("the port lets hosts in before there is a name to find")
	}
	if err := e.serve(d, b); err != nil {
		t.Fatal(err)
	}
	if err := <-connected; err != nil {
		t.Errorf("the host that waited: %v", err)
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
