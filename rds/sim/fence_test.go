// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rds-csi/rds-csi/nvme/host"
	"github.com/rds-csi/rds-csi/nvme/tcp"
)

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
