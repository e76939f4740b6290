// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package target

import (
	"testing"

	"github.com/rds-csi/rds-csi/nvme/tcp"
)

var awaitEvent = tcp.Command{Opcode: tcp.OpAsyncEventReq, Flags: tcp.FlagSGL}

// TestResize: every host is told, finds the namespace in the changed list and sees the new size.
func TestResize(t *testing.T) {
	w := newWorld(t, Config{})
	hosts := []*session{w.attach(newPeer("a")), w.attach(newPeer("b"))}
	changed := logCommand(tcp.LogPage{ID: tcp.LogChangedNS, Length: tcp.ChangedNSLogLen})
	for round := range 2 {
		var events []*exchange
		for _, s := range hosts {
			events = append(events, s.admin.start(awaitEvent, nil))
			s.admin.wantLive() // the request was taken
		}
		w.mem.grow((5 + round) << 20)
		w.tgt.Resize(testNQN)
		for i, s := range hosts {
			r := s.admin.wait(events[i])
			if e := tcp.ParseAsyncEvent(r.cqe.DW0); r.err != nil || e != (tcp.AsyncEvent{Kind: tcp.AsyncNotice, LogPage: tcp.LogChangedNS}) {
				t.Fatalf("event %+v, %v", e, r.err)
			}
			if got := tcp.ParseNamespaceList(s.admin.must(changed, nil).data); len(got) != 1 || got[0] != nsid {
				t.Errorf("changed namespaces %v", got)
			}
			if got := tcp.ParseNamespaceList(s.admin.must(changed, nil).data); len(got) != 0 {
				t.Errorf("changed namespaces %v, read again", got)
			}
			ns, err := tcp.ParseNamespaceIdentity(s.admin.must(tcp.NewIdentify(tcp.CNSNamespace, nsid), nil).data)
			if want := uint64(5+round) << 20 / BlockSize; err != nil || ns.Size != want {
				t.Errorf("size %d, %v, want %d", ns.Size, err, want)
			}
			s.io[0].must(writeBlocks(ns.Size-1, 1), make([]byte, BlockSize))
		}
	}
}

// TestEventsAreMasked: one event until its log page was read without RAE; one that comes before a
// request waits for it.
func TestEventsAreMasked(t *testing.T) {
	w := newWorld(t, Config{})
	c := w.attach(newPeer("a")).admin
	w.tgt.Resize(testNQN)
	w.tgt.Resize(testNQN)
	if r := c.do(awaitEvent, nil); r.cqe.Status != 0 || r.cqe.DW0 == 0 {
		t.Fatalf("event %#x, %v, %v", r.cqe.DW0, r.cqe.Status, r.err)
	}
	second := c.start(awaitEvent, nil)
	c.wantLive()
	quiet := func(when string) {
		t.Helper()
		w.tgt.Resize(testNQN)
		c.wantLive() // answers keep their order
		select {
		case r := <-second.end:
			t.Fatalf("%s: a second event %#x", when, r.cqe.DW0)
		default:
		}
	}
	quiet("page not read")
	page := tcp.LogPage{ID: tcp.LogChangedNS, Length: tcp.ChangedNSLogLen, Retain: true}
	if got := tcp.ParseNamespaceList(c.must(logCommand(page), nil).data); len(got) != 1 {
		t.Errorf("changed namespaces %v", got)
	}
	quiet("page read with RAE")
	page.Retain = false
	if got := tcp.ParseNamespaceList(c.must(logCommand(page), nil).data); len(got) != 1 {
		t.Errorf("changed namespaces %v, after a read with RAE", got)
	}
	c.must(tcp.Command{Opcode: tcp.OpSetFeatures, Flags: tcp.FlagSGL, CDW10: tcp.FeatureAsyncEvents}, nil)
	quiet("disabled")
	c.must(tcp.Command{Opcode: tcp.OpSetFeatures, Flags: tcp.FlagSGL, CDW10: tcp.FeatureAsyncEvents, CDW11: 1 << 8}, nil)
	w.tgt.Resize(testNQN)
	if r := c.wait(second); r.cqe.DW0 == 0 {
		t.Errorf("no event: %+v", r)
	}
}

func TestEventRequestLimit(t *testing.T) {
	w := newWorld(t, Config{})
	c := w.attach(newPeer("a")).admin
	for range aerLimit {
		c.start(awaitEvent, nil)
	}
	c.wantStatus(awaitEvent, nil, tcp.StatusAERLimit|tcp.DNR)
}

// TestDiscovery: the log lists what the host may connect to on the port it asks, at the address it
// asked, and the host is told of changes.
func TestDiscovery(t *testing.T) {
	w := newWorld(t, Config{})
	w.listen(9)
	p := newPeer("a")
	for nqn, hosts := range map[string][]string{"nqn.z": nil, "nqn.mine": {p.nqn}, "nqn.other": {"nqn.someone"}, "nqn.unlinked": nil} {
		if err := w.tgt.Add(Subsystem{NQN: nqn, Storage: w.mem, Hosts: hosts}); err != nil {
			t.Fatal(err)
		}
	}
	for _, nqn := range []string{"nqn.z", "nqn.mine", "nqn.other"} {
		if err := w.port.Link(nqn); err != nil {
			t.Fatal(err)
		}
	}
	c := p.attach(t, w.dial, tcp.DiscoveryNQN, 0).admin
	id, err := tcp.ParseControllerIdentity(c.must(tcp.NewIdentify(tcp.CNSController, 0), nil).data)
	if err != nil || id.Type != tcp.ControllerDiscovery || id.SubNQN != tcp.DiscoveryNQN || id.KAS == 0 || id.MaxCommands == 0 || id.SGLS == 0 {
		t.Errorf("identity %+v, %v", id, err)
	}
	first := wantLog(t, c, w.addr, "nqn.2026-01.io.example:pvc-1", "nqn.mine", "nqn.z")
	event := c.start(awaitEvent, nil)
	c.wantLive()
	w.port.Unlink("nqn.z")
	if r := c.wait(event); tcp.ParseAsyncEvent(r.cqe.DW0) != (tcp.AsyncEvent{Kind: tcp.AsyncNotice, Info: 0xf0, LogPage: 0x70}) {
		t.Errorf("event %#x, %v", r.cqe.DW0, r.err)
	}
	if second := wantLog(t, c, w.addr, "nqn.2026-01.io.example:pvc-1", "nqn.mine"); second == first {
		t.Errorf("generation %d of two logs", first)
	}
	w.tgt.Remove("nqn.mine")
	wantLog(t, c, w.addr, "nqn.2026-01.io.example:pvc-1")
	c.wantStatus(tcp.NewIdentify(tcp.CNSNamespace, 1), nil, tcp.StatusInvalidField|tcp.DNR)
	c.wantStatus(logCommand(tcp.LogPage{ID: tcp.LogSMART, Length: 512}), nil, tcp.StatusInvalidField|tcp.DNR)
}

// wantLog reads the discovery log in parts, as hosts do, and returns its generation.
func wantLog(t *testing.T, c *conn, addr string, nqns ...string) uint64 {
	t.Helper()
	page := tcp.LogPage{ID: tcp.LogDiscovery, Length: tcp.DiscoveryHeaderLen}
	generation, n, err := tcp.ParseDiscoveryHeader(c.must(logCommand(page), nil).data)
	if err != nil || int(n) != len(nqns) {
		t.Fatalf("%d entries, %v, want %v", n, err, nqns)
	}
	for i, nqn := range nqns {
		page.Offset = uint64(tcp.DiscoveryHeaderLen + i*tcp.DiscoveryEntryLen)
		e, err := tcp.ParseDiscoveryEntry(c.must(logCommand(page), nil).data)
		if err != nil {
			t.Fatal(err)
		}
		if e.SubNQN != nqn || e.Transport != 3 || e.Family != 1 || e.Subtype != 2 || e.CNTLID != 0xffff || e.PortID != 1 ||
			e.Address+":"+e.ServiceID != addr {
			t.Errorf("entry %d: %+v, want %s at %s", i, e, nqn, addr)
		}
	}
	return generation
}
