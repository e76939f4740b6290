// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package target

import (
	"bytes"
	"testing"

	"github.com/google/uuid"

	"github.com/rds-csi/rds-csi/nvme/tcp"
)

// TestIdentifyController holds what a kernel checks before it takes a controller.
func TestIdentifyController(t *testing.T) {
	w := newWorld(t, Config{})
	s := w.attach(newPeer("a"))
	id, err := tcp.ParseControllerIdentity(s.admin.must(tcp.NewIdentify(tcp.CNSController, 0), nil).data)
	if err != nil {
		t.Fatal(err)
	}
	want := tcp.ControllerIdentity{
		Serial: id.Serial, Model: "Linux", Firmware: "5.6.3", RAB: 6, CMIC: 1 << 1, MDTS: 8, CNTLID: s.cntlid, Version: tcp.Version13,
		OAES: 1 << 8, Attributes: 1 | 1<<6, Type: 1, AbortLimit: 3, AERLimit: 3, FRMW: 3, LPA: 6, KAS: 10,
		SQES: 0x66, CQES: 0x44, MaxCommands: 128, Namespaces: 1, MaxNamespaces: 1, ONCS: 1<<2 | 1<<3, VWC: 1, SGLS: 0x300001, SubNQN: testNQN,
		IOCCSZ: (64 + 8192) / 16, IORCSZ: 1, MSDBD: 1,
	}
	if id != want || len(id.Serial) != 16 {
		t.Errorf("got  %+v\nwant %+v", id, want)
	}
	wrong := tcp.NewIdentify(tcp.CNSController, 0)
	wrong.SGL = tcp.Transport(4092)
	s.admin.wantStatus(wrong, nil, tcp.StatusSGLDataLength|tcp.DNR)
	wrong.SGL = tcp.InCapsule(4096)
	s.admin.wantStatus(wrong, nil, tcp.StatusSGLDescriptorType|tcp.DNR)
}

func TestIdentifyNamespace(t *testing.T) {
	w := newWorld(t, Config{})
	w.tgt.Remove(testNQN)
	id := uuid.New()
	w.mem.grow(5<<20 + 511) // the end of it is no whole block
	if err := w.tgt.Add(Subsystem{NQN: testNQN, Storage: w.mem, UUID: id, Serial: "S1"}); err != nil {
		t.Fatal(err)
	}
	if err := w.port.Link(testNQN); err != nil {
		t.Fatal(err)
	}
	c := w.attach(newPeer("a")).admin
	ns, err := tcp.ParseNamespaceIdentity(c.must(tcp.NewIdentify(tcp.CNSNamespace, 1), nil).data)
	const blocks = 5 << 20 / BlockSize
	if want := (tcp.NamespaceIdentity{Size: blocks, Capacity: blocks, Utilization: blocks, NMIC: 1, NGUID: id, BlockShift: 9}); err != nil || ns != want {
		t.Errorf("got %+v, %v, want %+v", ns, err, want)
	}
	desc, err := tcp.ParseDescriptors(c.must(tcp.NewIdentify(tcp.CNSDescriptors, 1), nil).data)
	if want := (tcp.Descriptors{UUID: id, NGUID: id, HasCSI: true}); err != nil || desc != want {
		t.Errorf("got %+v, %v, want %+v", desc, err, want)
	}
	for above, want := range map[uint32]int{0: 1, 1: 0, 7: 0} {
		if got := tcp.ParseNamespaceList(c.must(tcp.NewIdentify(tcp.CNSActiveNamespaces, above), nil).data); len(got) != want {
			t.Errorf("namespaces above %d: %v", above, got)
		}
	}
	if got := c.must(tcp.NewIdentify(tcp.CNSCommandSet, 0), nil).data; !bytes.Equal(got, make([]byte, 4096)) {
		t.Errorf("command set limits %x", got)
	}
	for _, cmd := range []tcp.Command{tcp.NewIdentify(tcp.CNSNamespace, 2), tcp.NewIdentify(tcp.CNSDescriptors, 0), tcp.NewIdentify(tcp.CNSActiveNamespaces, tcp.BroadcastNSID)} {
		c.wantStatus(cmd, nil, tcp.StatusInvalidNamespace|tcp.DNR)
	}
	c.wantStatus(tcp.NewIdentify(0x20, 0), nil, tcp.StatusInvalidField|tcp.DNR)
}

func TestFeatures(t *testing.T) {
	w := newWorld(t, Config{IOQueues: 4})
	p := newPeer("a")
	p.kato = 5001
	c := w.attach(p).admin
	get := func(id uint32) tcp.Command {
		return tcp.Command{Opcode: tcp.OpGetFeatures, Flags: tcp.FlagSGL, CDW10: id}
	}
	set := func(id, v uint32) tcp.Command {
		return tcp.Command{Opcode: tcp.OpSetFeatures, Flags: tcp.FlagSGL, CDW10: id, CDW11: v}
	}
	want := func(cmd tcp.Command, v uint32) {
		t.Helper()
		if got := c.must(cmd, nil).cqe.DW0; got != v {
			t.Errorf("feature %#x: got %#x, want %#x", cmd.CDW10, got, v)
		}
	}
	want(set(tcp.FeatureNumberOfQueues, 0x00ff00ff), 3<<16|3)
	want(get(tcp.FeatureNumberOfQueues), 3<<16|3)
	want(get(tcp.FeatureWriteCache), 1)
	want(get(tcp.FeatureKeepAlive), 6000) // rounded up
	want(set(tcp.FeatureKeepAlive, 10000), 0)
	want(get(tcp.FeatureKeepAlive), 10000)
	want(set(tcp.FeatureKeepAlive, 0), 0)
	want(get(tcp.FeatureKeepAlive), 0)
	want(get(tcp.FeatureAsyncEvents), 1<<8)
	want(set(tcp.FeatureAsyncEvents, 0), 0)
	want(get(tcp.FeatureAsyncEvents), 0)
	hostID := get(tcp.FeatureHostIdentifier)
	hostID.CDW11, hostID.SGL = 1, tcp.Transport(16)
	if got := c.must(hostID, nil).data; !bytes.Equal(got, p.id[:]) {
		t.Errorf("host ID %x, want %v", got, p.id)
	}
	c.wantStatus(set(tcp.FeatureAsyncEvents, 1<<9), nil, tcp.StatusInvalidField|tcp.DNR)
	c.wantStatus(set(tcp.FeatureHostIdentifier, 1), nil, tcp.StatusSequence|tcp.DNR)
	c.wantStatus(set(0x7f, 1), nil, tcp.StatusInvalidField|tcp.DNR)
	c.wantStatus(get(0x7f), nil, tcp.StatusInvalidField|tcp.DNR)
	c.wantStatus(get(tcp.FeatureHostIdentifier), nil, tcp.StatusInvalidField|tcp.DNR)
	c.wantStatus(tcp.Command{Opcode: 0x80, Flags: tcp.FlagSGL}, nil, tcp.StatusInvalidOpcode|tcp.DNR)
	c.must(tcp.Command{Opcode: tcp.OpKeepAlive, Flags: tcp.FlagSGL}, nil)
}

func logCommand(l tcp.LogPage) tcp.Command {
	c := l.Command(tcp.BroadcastNSID)
	c.SGL = tcp.Transport(l.Length)
	return c
}

func TestLogPages(t *testing.T) {
	w := newWorld(t, Config{MaxData: 64 << 10})
	c := w.attach(newPeer("a")).admin
	for id, n := range map[uint8]int{
		tcp.LogErrors: tcp.ErrorLogEntryLen, tcp.LogSMART: tcp.SMARTLogLen, tcp.LogFirmwareSlots: tcp.FirmwareLogLen,
		tcp.LogChangedNS: tcp.ChangedNSLogLen, tcp.LogEffects: tcp.EffectsLogLen,
	} {
		if got := c.must(logCommand(tcp.LogPage{ID: id, Length: n}), nil).data; len(got) != n {
			t.Errorf("log %#x: %d bytes, want %d", id, len(got), n)
		}
	}
	if got := c.must(logCommand(tcp.LogPage{ID: tcp.LogFirmwareSlots, Length: 8, Offset: 8}), nil).data; string(got) != "5.6.3   " {
		t.Errorf("firmware slot 1: %q", got)
	}
	if got := c.must(logCommand(tcp.LogPage{ID: tcp.LogSMART, Length: 8, Offset: 1 << 40}), nil).data; !bytes.Equal(got, make([]byte, 8)) {
		t.Errorf("beyond the end: %x", got)
	}
	effects := c.must(logCommand(tcp.LogPage{ID: tcp.LogEffects, Length: 4096}), nil).data
	if effects[4*tcp.OpIdentify] != 1 || effects[1024+4*tcp.OpWrite] != 3 || effects[1024+4*tcp.OpCompare] != 0 {
		t.Errorf("effects of identify, write, compare: %d %d %d", effects[24], effects[1028], effects[1044])
	}
	c.wantStatus(logCommand(tcp.LogPage{ID: 0xc0, Length: 512}), nil, tcp.StatusInvalidField|tcp.DNR)
	c.wantStatus(logCommand(tcp.LogPage{ID: tcp.LogDiscovery, Length: 1024}), nil, tcp.StatusInvalidField|tcp.DNR)
	c.wantStatus(logCommand(tcp.LogPage{ID: tcp.LogSMART, Length: 128 << 10}), nil, tcp.StatusInvalidField|tcp.DNR)
	c.wantStatus(logCommand(tcp.LogPage{ID: tcp.LogSMART, Length: 512, Offset: 2}), nil, tcp.StatusInvalidField|tcp.DNR)
	short := logCommand(tcp.LogPage{ID: tcp.LogSMART, Length: 512})
	short.SGL = tcp.Transport(508)
	c.wantStatus(short, nil, tcp.StatusSGLDataLength|tcp.DNR)
}

func TestAbort(t *testing.T) {
	w := newWorld(t, Config{MaxData: 64 << 10, BufferBytes: 64 << 10})
	s := w.attach(newPeer("a"))
	abort := func(sqid, cid uint16) uint32 {
		t.Helper()
		return s.admin.must(tcp.Command{Opcode: tcp.OpAbort, Flags: tcp.FlagSGL, CDW10: uint32(sqid) | uint32(cid)<<16}, nil).cqe.DW0
	}
	c := s.io[0]
	first := c.hold(writeBlocks(0, 128))
	r2t := <-first.r2t // has the only buffer
	second := c.start(readBlocks(0, 1), nil)
	c.must(tcp.Command{Opcode: tcp.OpFlush, Flags: tcp.FlagSGL, NSID: 1}, nil) // the read was taken before it
	if abort(1, r2t.CID+1) != 0 {
		t.Error("a read that waits for a buffer was not aborted")
	}
	if r := c.wait(second); r.cqe.Status != tcp.StatusAborted {
		t.Errorf("aborted read: %v, %v", r.cqe.Status, r.err)
	}
	if abort(1, r2t.CID) != 1 || abort(1, 999) != 1 || abort(7, 1) != 1 {
		t.Error("what cannot be aborted was")
	}
	c.supply(r2t, make([]byte, 64<<10))
	if r := c.wait(first); r.cqe.Status != 0 || r.err != nil {
		t.Errorf("the write that was not aborted: %v, %v", r.cqe.Status, r.err)
	}
	aer := s.admin.start(tcp.Command{Opcode: tcp.OpAsyncEventReq, Flags: tcp.FlagSGL}, nil)
	cid := s.admin.cid
	if abort(0, cid) != 0 {
		t.Error("an event request was not aborted")
	}
	if r := s.admin.wait(aer); r.cqe.Status != tcp.StatusAborted {
		t.Errorf("aborted event request: %v, %v", r.cqe.Status, r.err)
	}
}
