// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package tcp

import (
	"reflect"
	"testing"
)

// fill sets every field of a structure to a value that only it has.
func fill(t *testing.T, v reflect.Value) {
	t.Helper()
	for i := range v.NumField() {
		f := v.Field(i)
		switch f.Kind() {
		case reflect.Bool:
			f.SetBool(true)
		case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
			f.SetUint(uint64(i + 1))
		case reflect.String:
			f.SetString(string(rune('a' + i%26)))
		case reflect.Array:
			for j := range f.Len() {
				f.Index(j).SetUint(uint64(i + j + 1))
			}
		default:
			t.Fatalf("field %s of kind %v", v.Type().Field(i).Name, f.Kind())
		}
	}
}

// TestStructuresRoundTrip: no two fields share bytes, and all come back.
func TestStructuresRoundTrip(t *testing.T) {
	var ctrl ControllerIdentity
	fill(t, reflect.ValueOf(&ctrl).Elem())
	if got, err := ParseControllerIdentity(ctrl.Append(nil)); err != nil || got != ctrl {
		t.Errorf("controller: got %+v, %v, want %+v", got, err, ctrl)
	}
	var ns NamespaceIdentity
	fill(t, reflect.ValueOf(&ns).Elem())
	if got, err := ParseNamespaceIdentity(ns.Append(nil)); err != nil || got != ns {
		t.Errorf("namespace: got %+v, %v, want %+v", got, err, ns)
	}
	var desc Descriptors
	fill(t, reflect.ValueOf(&desc).Elem())
	if got, err := ParseDescriptors(desc.Append(nil)); err != nil || got != desc {
		t.Errorf("descriptors: got %+v, %v, want %+v", got, err, desc)
	}
	var data ConnectData
	fill(t, reflect.ValueOf(&data).Elem())
	if got, err := ParseConnectData(data.Append(nil)); err != nil || got != data {
		t.Errorf("connect data: got %+v, %v, want %+v", got, err, data)
	}
	var entry DiscoveryEntry
	fill(t, reflect.ValueOf(&entry).Elem())
	log := AppendDiscoveryLog(nil, 7, []DiscoveryEntry{entry})
	if gen, n, err := ParseDiscoveryHeader(log); err != nil || gen != 7 || n != 1 {
		t.Errorf("discovery header: generation %d, %d entries, %v", gen, n, err)
	}
	if got, err := ParseDiscoveryEntry(log[DiscoveryHeaderLen:]); err != nil || got != entry {
		t.Errorf("discovery entry: got %+v, %v, want %+v", got, err, entry)
	}
	var r DSMRange
	fill(t, reflect.ValueOf(&r).Elem())
	if got := ParseDSMRange(r.Append(nil)); got != r {
		t.Errorf("range: got %+v, want %+v", got, r)
	}
}

// TestOffsets holds the fields that an initiator checks to the offsets of the specification.
func TestOffsets(t *testing.T) {
	ctrl := (&ControllerIdentity{
		Serial: "serial", Model: "Linux", Firmware: "5.6.3", CMIC: 2, MDTS: 8, CNTLID: 0x0102, Version: Version20,
		OAES: NotifyNamespace, Type: ControllerIO, KAS: 10, SQES: 0x66, CQES: 0x44, MaxCommands: 128, Namespaces: 1,
		ONCS: ONCSDSM | ONCSWriteZeroes, VWC: 1, SGLS: SGLSFabrics, SubNQN: "nqn", IOCCSZ: 516, IORCSZ: 1, ICDOFF: 3, MSDBD: 1,
	}).Append(nil)
	ns := (&NamespaceIdentity{Size: 0x0102, NMIC: 1, NGUID: [16]byte{7}, BlockShift: 9}).Append(nil)
	for _, tt := range []struct {
		name string
		in   []byte
		off  int
		want string
	}{
		{"SN", ctrl, 4, "serial              "},
		{"MN", ctrl, 24, "Linux               "},
		{"FR", ctrl, 64, "5.6.3   "},
		{"CMIC, MDTS, CNTLID", ctrl, 76, "\x02\x08\x02\x01"},
		{"VER", ctrl, 80, "\x00\x00\x02\x00"},
		{"OAES", ctrl, 92, "\x00\x01\x00\x00"},
		{"CNTRLTYPE", ctrl, 111, "\x01"},
		{"KAS", ctrl, 320, "\x0a\x00"},
		{"SQES, CQES, MAXCMD, NN, ONCS", ctrl, 512, "\x66\x44\x80\x00\x01\x00\x00\x00\x0c\x00"},
		{"VWC", ctrl, 525, "\x01"},
		{"SGLS", ctrl, 536, "\x01\x00\x30\x00"},
		{"SUBNQN", ctrl, 768, "nqn\x00"},
		{"IOCCSZ, IORCSZ, ICDOFF", ctrl, 1792, "\x04\x02\x00\x00\x01\x00\x00\x00\x03\x00"},
		{"MSDBD", ctrl, 1803, "\x01"},
		{"NSZE", ns, 0, "\x02\x01\x00\x00\x00\x00\x00\x00"},
		{"NMIC", ns, 30, "\x01"},
		{"NGUID", ns, 104, "\x07"},
		{"LBAF0", ns, 128, "\x00\x00\x09\x00"},
	} {
		if got := string(tt.in[tt.off : tt.off+len(tt.want)]); got != tt.want {
			t.Errorf("%s at %d: got %q, want %q", tt.name, tt.off, got, tt.want)
		}
	}
	if len(ctrl) != IdentifyLen || len(ns) != IdentifyLen {
		t.Errorf("lengths %d and %d", len(ctrl), len(ns))
	}
}

func TestCommandFields(t *testing.T) {
	c := Connect{RecFmt: 1, QID: 2, SQSize: 31, Attributes: ConnectNoFlowControl, KATO: 5000}
	if got := c.Command().Connect(); got != c {
		t.Errorf("connect: got %+v, want %+v", got, c)
	}
	for _, p := range []Property{{Offset: PropCAP, Wide: true, Value: 1<<40 | 5}, {Offset: PropCC, Value: 7}} {
		if got, ok := p.Set().Property(); !ok || got != p {
			t.Errorf("property: got %+v, %v, want %+v", got, ok, p)
		}
	}
	if _, ok := (Command{CDW10: 2}).Property(); ok {
		t.Error("a property of 2<<2 bytes was accepted")
	}
	for _, l := range []LogPage{{ID: LogDiscovery, Length: 4, Offset: 1 << 33, Retain: true}, {ID: LogSMART, Length: 1 << 20}} {
		if got := l.Command(0).LogPage(); got != l {
			t.Errorf("log page: got %+v, want %+v", got, l)
		}
	}
	e := AsyncEvent{Kind: AsyncNotice, Info: NoticeNamespaceChanged, LogPage: LogChangedNS}
	if got := e.Uint32(); got != 0x040002 || ParseAsyncEvent(got) != e {
		t.Errorf("event: %#x", got)
	}
	caps := Capabilities{MaxQueueEntries: 127, Contiguous: true, TimeoutHalfSec: 15, NVMCommandSet: true}
	if got := caps.Uint64(); got != 1<<37|15<<24|1<<16|127 || ParseCapabilities(got) != caps {
		t.Errorf("capabilities: %#x", got)
	}
	rw := NewRW(OpWrite, 1, 1<<33|9, 65536)
	if rw.LBA() != 1<<33|9 || rw.Blocks() != 65536 || rw.FUA() {
		t.Errorf("write: %+v", rw)
	}
}

func TestNamespaceList(t *testing.T) {
	for _, want := range [][]uint32{nil, {1}, {1, 7, BroadcastNSID}} {
		b := AppendNamespaceList(nil, want...)
		if got := ParseNamespaceList(b); len(b) != IdentifyLen || !reflect.DeepEqual(got, want) {
			t.Errorf("got %v in %d bytes, want %v", got, len(b), want)
		}
	}
}

func TestDamagedStructures(t *testing.T) {
	long := (ConnectData{}).Append(nil)
	for i := ConnectOffSubNQN; i < ConnectOffHostNQN; i++ {
		long[i] = 'x'
	}
	if _, err := ParseConnectData(long); err == nil {
		t.Error("an NQN without an end was accepted")
	}
	if _, err := ParseConnectData(long[:1000]); err == nil {
		t.Error("short connect data was accepted")
	}
	for name, b := range map[string][]byte{
		"UUID of 8 bytes": {nidUUID, 8, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8},
		"cut":             {nidUUID, 16, 0, 0, 1},
	} {
		if d, err := ParseDescriptors(b); err == nil {
			t.Errorf("%s: accepted as %+v", name, d)
		}
	}
	unknown := append([]byte{0x77, 2, 0, 0, 1, 2}, Descriptors{HasCSI: true}.Append(nil)...)
	if d, err := ParseDescriptors(unknown); err != nil || !d.HasCSI {
		t.Errorf("after an unknown descriptor: %+v, %v", d, err)
	}
}

func TestStatus(t *testing.T) {
	s := StatusConnectHost | DNR
	if s.Code() != StatusConnectHost || s.Retry() || s.Err() == nil || StatusSuccess.Err() != nil {
		t.Errorf("status %#x", uint16(s))
	}
	if got, want := s.Error(), "NVMe status 0x184 (connect invalid host, do not retry)"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
