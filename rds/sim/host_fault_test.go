// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"bytes"
	"errors"
	"runtime"
	"testing"
	"time"

	"github.com/rds-csi/rds-csi/nvme/host"
	"github.com/rds-csi/rds-csi/nvme/tcp"
)

// TestHostFaults holds what each fault does to the commands of the host that it is for, and that it does nothing to
// another's, to another disk, or when it is over.
func TestHostFaults(t *testing.T) {
	s := start(t, Config{NVMeHost: LoopbackHost()})
	c := login(t, s)
	c.exported("vm-1", nqnA, 4420)
	c.exported("vm-2", nqnB, 4421)
	a, other := newInitiator("a").attach(t, s, nqnA, 4420), newInitiator("b").attach(t, s, nqnA, 4420)
	elsewhere := newInitiator("a").attach(t, s, nqnB, 4421)
	data := bytes.Repeat([]byte{7}, 4096)
	for _, h := range []*host.Controller{a, elsewhere} {
		if _, err := h.WriteAt(data, 0); err != nil {
			t.Fatal(err)
		}
	}
	read := func(h *host.Controller) ([]byte, error) {
		p := make([]byte, 4096)
		_, err := h.ReadAt(p, 0)
		return p, err
	}
	inject := func(r Rule) int {
		t.Helper()
		r.Transport, r.Args = overNVMe, map[string]string{"subsystem": nqnA, "host": newInitiator("a").nqn}
		id, err := s.Inject(r)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	well := func(h *host.Controller) {
		t.Helper()
		if p, err := read(h); err != nil || !bytes.Equal(p, data) {
			t.Errorf("a read that no fault is for: %v", err)
		}
	}

	id := inject(Rule{Command: "read", Skip: 1, Times: 1, Fault: Fault{Status: tcp.StatusUnrecoveredRead | tcp.DNR}})
	well(a)
	well(other)
	well(elsewhere)
	var status *host.StatusError
	if _, err := read(a); !errors.As(err, &status) || status.Code != uint16(tcp.StatusUnrecoveredRead) {
		t.Errorf("read: %v", err)
	}
	well(a)
	if got := s.Faults(); len(got) != 1 || got[0].Hits != 1 {
		t.Errorf("faults are %+v", got)
	}
	s.ClearFault(id)

	inject(Rule{Command: "read", Fault: Fault{Blank: true}})
	if p, err := read(a); err != nil || !bytes.Equal(p, make([]byte, 4096)) {
		t.Errorf("read that was to be blank: %v", err)
	}
	well(other)
	s.ClearFaults()
	well(a)

	inject(Rule{Command: "identify", Fault: Fault{Size: 1 << 19}})
	if err := a.Rescan(t.Context()); err != nil || a.Size() != 1<<19 {
		t.Errorf("size is %d, %v", a.Size(), err)
	}
	s.ClearFaults()
	inject(Rule{Command: "identify", Fault: Fault{Stale: true}})
	if err := s.Resize(t.Context(), "vm-1", 2<<20); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(a.Rescan(t.Context()), other.Rescan(t.Context())); err != nil || a.Size() != 1<<20 || other.Size() != 2<<20 {
		t.Errorf("sizes are %d and %d, %v", a.Size(), other.Size(), err)
	}
	s.ClearFaults()
}

// TestHostFaultHolds: what a rule holds goes on when the rule is cleared.
func TestHostFaultHolds(t *testing.T) {
	s := start(t, Config{NVMeHost: LoopbackHost()})
	login(t, s).exported("vm-1", nqnA, 4420)
	a := newInitiator("a").attach(t, s, nqnA, 4420)
	id, err := s.Inject(Rule{Transport: overNVMe, Command: "write", Freeze: true})
	if err != nil {
		t.Fatal(err)
	}
	wrote := make(chan error, 1)
	go func() {
		_, err := a.WriteAt(bytes.Repeat([]byte{7}, 4096), 0)
		wrote <- err
	}()
	for deadline := time.Now().Add(hang); s.Faults()[0].Hits == 0; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatal("the write does not come")
		}
	}
	p := make([]byte, 4096)
	if _, err := a.ReadAt(p, 0); err != nil || p[0] != 0 {
		t.Errorf("a read beside the write: %v, %d", err, p[0])
	}
	s.ClearFault(id)
	if err := <-wrote; err != nil {
		t.Error(err)
	}
	if _, err := a.ReadAt(p, 0); err != nil || p[0] != 7 {
		t.Errorf("a read after the write: %v, %d", err, p[0])
	}
}
