// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package nvme_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rds-csi/rds-csi/actors"
	"github.com/rds-csi/rds-csi/nvme"
	nvmetarget "github.com/rds-csi/rds-csi/nvme/target"
)

// nothing is storage that is not used.
type nothing struct{ nvmetarget.Storage }

func (nothing) Size() int64 { return mib }

// box is a target with the volume's subsystem, and the controllers that it ended.
func box(t *testing.T) (tgt *nvmetarget.Target, address string, ended chan nvmetarget.ControllerInfo) {
	t.Helper()
	ended = make(chan nvmetarget.ControllerInfo, 16)
	tgt = nvmetarget.New(nvmetarget.Config{OnDisconnect: func(i nvmetarget.ControllerInfo) { ended <- i }})
	port, err := tgt.NewPort(1)
	wantKind(t, err, nil)
	wantKind(t, tgt.Add(nvmetarget.Subsystem{NQN: nqn, Storage: nothing{}}), nil)
	wantKind(t, port.Link(nqn), nil)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	wantKind(t, err, nil)
	served := make(chan error, 1)
	go func() { served <- port.Serve(context.Background(), l) }()
	t.Cleanup(func() {
		tgt.Thaw()
		tgt.Close()
		wantKind(t, <-served, nil)
	})
	return tgt, l.Addr().String(), ended
}

func TestTCPProber(t *testing.T) {
	tgt, address, ended := box(t)
	p := nvme.TCPProber()
	if found, err := p.Answers(t.Context(), address); err != nil || found.String() != address {
		t.Errorf("found %v, %v, want %s", found, err, address)
	}
	if c := tgt.Controllers(nqn); len(c) > 0 {
		t.Errorf("a probe made controllers %+v", c)
	}
	for range 2 {
		listed, err := p.Lists(t.Context(), address, host.NQN, nqn)
		if !listed || err != nil {
			t.Errorf("listed %t, %v", listed, err)
		}
		if i := <-ended; i.Subsystem == nqn {
			t.Errorf("asking for the list made controller %+v", i)
		}
	}
	if err := p.Admits(t.Context(), address, host, nqn); err != nil {
		t.Error(err)
	}
	if i := <-ended; i.Subsystem != nqn || i.HostNQN != host.NQN || i.HostID.String() != host.ID {
		t.Errorf("asked as %+v", i)
	}
	if err := p.Admits(t.Context(), address, host, nqn+"x"); !errors.Is(err, nvme.ErrNotExported) {
		t.Errorf("unknown subsystem: %v", err)
	}
	wantKind(t, tgt.Allow(nqn, []string{"nqn.another"}), nil)
	if err := p.Admits(t.Context(), address, host, nqn); !errors.Is(err, nvme.ErrHostRefused) {
		t.Errorf("host not allowed: %v", err)
	}
	if listed, err := p.Lists(t.Context(), address, host.NQN, nqn); listed || err != nil {
		t.Errorf("listed %t, %v for a host that is not allowed", listed, err)
	}
	if err := p.Admits(t.Context(), address, actors.Host{NQN: host.NQN, ID: "none"}, nqn); err == nil || errors.Is(err, nvme.ErrHostRefused) {
		t.Errorf("host without an ID: %v", err)
	}
	tgt.Freeze()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := p.Lists(ctx, address, host.NQN, nqn); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("frozen: %v", err)
	}
}

// TestRefusalIsTold: the driver with its own prober before a real target tells the two causes of one
// error number apart.
func TestRefusalIsTold(t *testing.T) {
	tgt, address, _ := box(t)
	wantKind(t, tgt.Allow(nqn, []string{}), nil)
	at, err := net.ResolveTCPAddr("tcp", address)
	wantKind(t, err, nil)
	m := newMachine(t)
	d, err := nvme.NewDevices(nvme.Config{
		Sys: m.path("sys"), Dev: m.path("dev"), Proc: m.path("proc"), Kernel: m,
		Fabrics: func(string) (string, error) { return "", nvme.ConnectError(syscall.EIO) },
	})
	wantKind(t, err, nil)
	for _, c := range []struct {
		nqn, words string
		kind       error
	}{
		{nqn, host.NQN, actors.ErrPrecondition},
		{other, "does not export", actors.ErrUnavailable},
	} {
		_, err := d.Connect(t.Context(), nvme.Target{NQN: c.nqn, Address: at.IP.String(), Port: at.AddrPort().Port(), Host: host})
		wantKind(t, err, c.kind)
		if !strings.Contains(err.Error(), c.words) {
			t.Errorf("%v does not tell of %q", err, c.words)
		}
	}
}
