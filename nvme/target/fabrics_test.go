// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package target

import (
	"errors"
	"testing"

	"github.com/google/uuid"

	"github.com/rds-csi/rds-csi/nvme/tcp"
)

// TestConnectRefusals: each wrong Connect is refused as nvmet does, with DNR unless it was switched
// off.
func TestConnectRefusals(t *testing.T) {
	for _, retry := range []bool{false, true} {
		w := newWorld(t, Config{RetryRefusals: retry, IOQueues: 2})
		allowed := newPeer("allowed")
		if err := w.tgt.Allow(testNQN, []string{allowed.nqn}); err != nil {
			t.Fatal(err)
		}
		s := w.attach(allowed)
		other := newPeer("other")
		noID, foreignID, foreignNQN := allowed, allowed, allowed
		foreignNQN.nqn = other.nqn
		noID.id, foreignID.id = uuid.Nil, other.id
		big := allowed
		big.size = 129
		tiny := allowed
		tiny.size = 1
		dnr := tcp.DNR
		if retry {
			dnr = 0
		}
		tests := []struct {
			name   string
			peer   peer
			nqn    string
			cntlid uint16
			qid    uint16
			want   tcp.Status
			where  uint32
		}{
			{"unknown subsystem", allowed, "nqn.unknown", tcp.AnyController, 0, tcp.StatusConnectInvalid | dnr, 1<<16 | 256},
			{"host not allowed", other, testNQN, tcp.AnyController, 0, tcp.StatusConnectHost | dnr, 1<<16 | 512},
			{"static controller", allowed, testNQN, 1, 0, tcp.StatusConnectInvalid | dnr, 1<<16 | 16},
			{"no host ID", noID, testNQN, tcp.AnyController, 0, tcp.StatusConnectInvalid | dnr, 1 << 16},
			{"queue too long", big, testNQN, tcp.AnyController, 0, tcp.StatusConnectInvalid | dnr, 44},
			{"queue of one", tiny, testNQN, tcp.AnyController, 0, tcp.StatusConnectInvalid | dnr, 44},
			{"unknown controller", allowed, testNQN, s.cntlid + 1000, 1, tcp.StatusConnectInvalid | dnr, 1<<16 | 16},
			{"another host's controller", other, testNQN, s.cntlid, 2, tcp.StatusConnectInvalid | dnr, 1<<16 | 16},
			{"another host NQN", foreignNQN, testNQN, s.cntlid, 2, tcp.StatusConnectInvalid | dnr, 1<<16 | 16},
			{"another host ID", foreignID, testNQN, s.cntlid, 2, tcp.StatusConnectInvalid | dnr, 1<<16 | 16},
			{"queue ID too high", allowed, testNQN, s.cntlid, 3, tcp.StatusConnectInvalid | dnr, 42},
			{"queue ID in use", allowed, testNQN, s.cntlid, 1, tcp.StatusSequence | tcp.DNR, 0},
			{"I/O queue of discovery", allowed, tcp.DiscoveryNQN, s.cntlid, 1, tcp.StatusConnectInvalid | dnr, 1<<16 | 16},
		}
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				c := open(t, w.dial(), 0)
				defer c.close()
				r := tt.peer.connect(c, tt.nqn, tt.cntlid, tt.qid)
				if r.err != nil || r.cqe.Status != tt.want || r.cqe.DW0 != tt.where {
					t.Errorf("got %v at %#x, %v; want %v at %#x", r.cqe.Status, r.cqe.DW0, r.err, tt.want, tt.where)
				}
				if tt.qid != 0 {
					return
				}
				if r := allowed.connect(c, testNQN, tcp.AnyController, 0); r.err != nil || r.cqe.Status != 0 {
					t.Errorf("a good Connect after it: %v, %v", r.cqe.Status, r.err)
				}
			})
		}
		s.io[0].must(readBlocks(0, 1), nil)
	}
}

// TestAllowListAtConnectOnly: taking a host off the list leaves its controller alone, new I/O queues
// included, and keeps it from coming back.
func TestAllowListAtConnectOnly(t *testing.T) {
	w := newWorld(t, Config{})
	p := newPeer("a")
	s := w.attach(p)
	if err := w.tgt.Allow(testNQN, []string{}); err != nil {
		t.Fatal(err)
	}
	s.io[0].must(writeBlocks(0, 1), make([]byte, BlockSize))
	if r := p.connect(open(t, w.dial(), 0), testNQN, s.cntlid, 2); r.err != nil || r.cqe.Status != 0 {
		t.Errorf("second I/O queue: %v, %v", r.cqe.Status, r.err)
	}
	if r := p.connect(open(t, w.dial(), 0), testNQN, tcp.AnyController, 0); r.cqe.Status != tcp.StatusConnectHost|tcp.DNR {
		t.Errorf("new controller: %v, %v", r.cqe.Status, r.err)
	}
	if err := w.tgt.Allow(testNQN, nil); err != nil {
		t.Fatal(err)
	}
	w.attach(newPeer("anyone"))
}

func TestConnectForm(t *testing.T) {
	w := newWorld(t, Config{})
	p := newPeer("a")
	good := tcp.Connect{SQSize: 31}.Command()
	good.SGL = tcp.InCapsule(tcp.ConnectDataLen)
	data := tcp.ConnectData{HostID: p.id, CNTLID: tcp.AnyController, SubNQN: testNQN, HostNQN: p.nqn}.Append(nil)
	long := append([]byte(nil), data...)
	for i := tcp.ConnectOffHostNQN; i < tcp.ConnectDataLen; i++ {
		long[i] = 'x'
	}
	format, transport, short := good, good, good
	format.CDW10 = 1
	transport.SGL = tcp.Transport(tcp.ConnectDataLen)
	short.SGL = tcp.InCapsule(512)
	c := open(t, w.dial(), 0)
	c.wantStatus(format, data, tcp.StatusConnectFormat|tcp.DNR)
	c.wantStatus(transport, nil, tcp.StatusSGLDataLength|tcp.DNR)
	c.wantStatus(short, data[:512], tcp.StatusSGLDataLength|tcp.DNR)
	c.wantStatus(good, long, tcp.StatusInvalidField|tcp.DNR)
	c.wantStatus(tcp.Property{Offset: tcp.PropVS}.Get(), nil, tcp.StatusSequence|tcp.DNR)
	c.wantStatus(tcp.NewIdentify(tcp.CNSController, 0), nil, tcp.StatusSequence|tcp.DNR)
	c.must(good, data)
	c.wantStatus(good, data, tcp.StatusSequence|tcp.DNR) // twice
	c.wantStatus(tcp.NewIdentify(tcp.CNSController, 0), nil, tcp.StatusSequence|tcp.DNR)
}

func TestProperties(t *testing.T) {
	w := newWorld(t, Config{})
	c := w.attach(newPeer("a")).admin
	get := func(p tcp.Property) uint64 { t.Helper(); return c.must(p.Get(), nil).cqe.Result() }
	if got := tcp.ParseCapabilities(get(tcp.Property{Offset: tcp.PropCAP, Wide: true})); got != (tcp.Capabilities{
		MaxQueueEntries: 127, Contiguous: true, TimeoutHalfSec: 15, NVMCommandSet: true,
	}) {
		t.Errorf("CAP %+v", got)
	}
	if got := get(tcp.Property{Offset: tcp.PropVS}); got != tcp.Version13 {
		t.Errorf("VS %#x", got)
	}
	for _, p := range []tcp.Property{{Offset: tcp.PropCAP}, {Offset: tcp.PropVS, Wide: true}, {Offset: 0x24}} {
		c.wantStatus(p.Get(), nil, tcp.StatusInvalidField|tcp.DNR)
	}
	for _, p := range []tcp.Property{{Offset: tcp.PropCAP, Wide: true}, {Offset: tcp.PropCSTS}, {Offset: tcp.PropCC, Wide: true}} {
		c.wantStatus(p.Set(), nil, tcp.StatusInvalidField|tcp.DNR)
	}
	const enabled = tcp.CCEnable | tcp.CCEntrySizes
	for _, step := range []struct{ cc, csts uint64 }{
		{enabled | tcp.CCShutdownNormal, tcp.CSTSReady | tcp.CSTSShutdownComplete},
		{tcp.CCEntrySizes, 0},
		{tcp.CCEnable, tcp.CSTSFatal}, // entry sizes of 0
		{0, 0},
		{enabled | 1<<7, tcp.CSTSFatal}, // pages of 8 KiB
		{0, 0},
		{enabled, tcp.CSTSReady},
	} {
		c.must(tcp.Property{Offset: tcp.PropCC, Value: step.cc}.Set(), nil)
		if cc, csts := get(tcp.Property{Offset: tcp.PropCC}), get(tcp.Property{Offset: tcp.PropCSTS}); cc != step.cc || csts != step.csts {
			t.Errorf("CC %#x set: CC %#x, CSTS %#x, want CSTS %#x", step.cc, cc, csts, step.csts)
		}
	}
}

func TestRegistryErrors(t *testing.T) {
	w := newWorld(t, Config{})
	other := New(Config{})
	other.Close()
	_, portErr := w.tgt.NewPort(1)
	_, closedErr := other.NewPort(1)
	for _, tt := range []struct {
		name string
		err  error
		want error
	}{
		{"twice", w.tgt.Add(Subsystem{NQN: testNQN, Storage: w.mem}), ErrExists},
		{"no NQN", w.tgt.Add(Subsystem{Storage: w.mem}), ErrInvalid},
		{"long NQN", w.tgt.Add(Subsystem{NQN: string(make([]byte, 224)), Storage: w.mem}), ErrInvalid},
		{"discovery", w.tgt.Add(Subsystem{NQN: tcp.DiscoveryNQN, Storage: w.mem}), ErrInvalid},
		{"no storage", w.tgt.Add(Subsystem{NQN: "nqn"}), ErrInvalid},
		{"link", w.port.Link("nqn.unknown"), ErrUnknown},
		{"allow", w.tgt.Allow("nqn.unknown", nil), ErrUnknown},
		{"port", portErr, ErrExists},
		{"closed", other.Add(Subsystem{NQN: "nqn", Storage: w.mem}), ErrClosed},
		{"port of a closed target", closedErr, ErrClosed},
	} {
		if !errors.Is(tt.err, tt.want) {
			t.Errorf("%s: got %v, want %v", tt.name, tt.err, tt.want)
		}
	}
}
