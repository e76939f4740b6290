// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package rds

import (
	"errors"
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/rds-csi/rds-csi/actors"
)

// A row as a real box shows it over REST, with a volume's file.
var realRow = attrs{
	".id": "*2", "disabled": "false", "file-offset": "0", "file-path": "/" + testFile, "file-size": "17179856896", "fs": "-",
	"model": "/" + testFile, "mount-filesystem": "true", "mounted": "false", "nvme-tcp-export": "true", "parent": "", "raid-master": "none",
	"size": "17179852800", "slot": "file-disk1-swap", "slot-default": "", "type": "file", "nvme-tcp-server-port": "4421",
	"nvme-tcp-server-nqn": testNQN, "nvme-tcp-server-allow-host-name": "",
}

func TestParseRow(t *testing.T) {
	base := actors.Volume{ID: testVolume, Exists: true, Size: 17179856896, Export: true, NQN: testNQN, Port: 4421}
	owned := base
	owned.Ours, owned.Ledger = true, gen(7)
	for _, tt := range []struct {
		name  string
		field string
		value string
		want  actors.Volume
	}{
		{"as it comes", "", "", base},
		{"with a ledger", "comment", gen(7).String(), owned},
		{"somebody's comment", "comment", "do not touch", base},
		{"no leading slash", "file-path", testFile, base},
		{"yes", "nvme-tcp-export", "yes", base},
		{"no", "nvme-tcp-export", "no", with(base, func(v *actors.Volume) { v.Export = false })},
		{"export left out", "nvme-tcp-export", "", with(base, func(v *actors.Volume) { v.Export = false })},
		{"disabled", "disabled", "true", with(base, func(v *actors.Volume) { v.Export = false })},
		{"port left out", "nvme-tcp-server-port", "", with(base, func(v *actors.Volume) { v.Port = 0 })},
		{"one host", "nvme-tcp-server-allow-host-name", "nqn.x", with(base, func(v *actors.Volume) { v.AllowHost = "nqn.x" })},
	} {
		t.Run(tt.name, func(t *testing.T) {
			re := maps.Clone(realRow)
			re[tt.field] = tt.value
			r := parseRow(re.row())
			if r == nil || r.err != nil || r.holds != testVolume {
				t.Fatalf("parseRow = %+v", r)
			}
			if got := r.volume(); fmt.Sprint(got) != fmt.Sprint(tt.want) {
				t.Errorf("volume = %+v\nwant     %+v", got, tt.want)
			}
		})
	}
}

func with(v actors.Volume, change func(*actors.Volume)) actors.Volume {
	change(&v)
	return v
}

// TestHiddenRow shows what is read of a row that hides what there is to an export that is off: what its
// ledger says. What the row shows stands before that.
func TestHiddenRow(t *testing.T) {
	l := ledger(func(l *actors.Ledger) { l.Port, l.Epoch, l.Prefix = 4430, 46655, "nqn.2024-01.io.example" })
	hidden := attrs{"comment": l.String(), "nvme-tcp-export": "false", "nvme-tcp-server-port": "", "nvme-tcp-server-nqn": ""}
	byLedger := "nqn.2024-01.io.example:" + string(testVolume) + ".zzz"
	for _, tt := range []struct {
		name   string
		change attrs
		nqn    string
		port   uint16
	}{
		{"hidden", nil, byLedger, 4430},
		{"shown", attrs{"nvme-tcp-server-port": "4421", "nvme-tcp-server-nqn": testNQN}, testNQN, 4421},
		{"exported without an NQN", attrs{"nvme-tcp-export": "true"}, "", 0},
		{"NQN taken away", attrs{"nvme-tcp-server-port": "4421"}, "", 4421},
		{"ledger without a port", attrs{"comment": gen(1).String()}, testNQN, 0},
		{"no ledger", attrs{"comment": ""}, "", 0},
		{"damaged ledger", attrs{"comment": l.String()[:30]}, "", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			re := maps.Clone(realRow)
			maps.Copy(re, hidden)
			maps.Copy(re, tt.change)
			if v := parseRow(re.row()).volume(); v.NQN != tt.nqn || v.Port != tt.port {
				t.Errorf("volume = %+v, want NQN %q and port %d", v, tt.nqn, tt.port)
			}
		})
	}
}

// TestParseRowDamaged shows that a row that cannot be read is still known to be somebody's, and is
// left alone.
func TestParseRowDamaged(t *testing.T) {
	for _, tt := range []struct{ field, value string }{
		{"file-size", "1024.0GiB"},
		{"file-size", "1 099 511 627 776"},
		{"file-size", "-1"},
		{"file-size", ""},
		{"file-size", "99999999999999999999"},
		{"nvme-tcp-export", "maybe"},
		{"disabled", "maybe"},
		{"nvme-tcp-server-port", "70000"},
		{".id", "2"},
		{".id", "*1 =comment="},
		{"comment", gen(1).String()[:30]},
		{"comment", "rds-csi.9/c:0123456789ab"},
	} {
		t.Run(tt.field+" "+tt.value, func(t *testing.T) {
			re := maps.Clone(realRow)
			re["comment"] = gen(1).String()
			re[tt.field] = tt.value
			r := parseRow(re.row())
			if r == nil || r.holds != testVolume || !errors.Is(r.err, actors.ErrPrecondition) {
				t.Fatalf("parseRow = %+v, want ErrPrecondition", r)
			}
			if v := r.volume(); !v.Exists || !v.Ours || v.Ledger.Cluster != "" {
				t.Errorf("volume = %+v, want one that is nobody's", v)
			}
		})
	}
}

func TestVolumeFile(t *testing.T) {
	for file, want := range map[string]bool{
		"/raid10/volumes/" + string(testVolume) + ".img": true,
		"/" + string(testVolume) + ".img":                true,
		string(testVolume) + ".img":                      true,
		"/raid10/" + string(testVolume):                  false,
		"/raid10/" + string(testVolume) + ".img.old":     false,
		"/raid10/x" + string(testVolume) + ".img":        false,
		"/raid10/" + string(testVolume) + ".img/data":    false,
		"/raid10/vm-storage-001.img":                     false,
		"":                                               false,
	} {
		if id, ok := volumeFile(file); ok != want || (ok && id != testVolume) {
			t.Errorf("volumeFile(%q) = %s, %t, want %t", file, id, ok, want)
		}
	}
}

func TestPoolOf(t *testing.T) {
	good := attrs{"type": "raid", "slot": "r", "mount-point": "raid10", "state": "clean", "size": "1000", "free": "400"}
	for _, tt := range []struct {
		name  string
		field string
		value string
		ok    bool
	}{
		{"clean", "", "", true},
		{"resyncing", "state", "clean, sync:repair, 12%", true},
		{"degraded", "state", "degraded", true},
		{"a single disk", "type", "hardware", true},
		{"no state", "state", "", true},
		{"mount point with a slash", "mount-point", "/raid10", true},
		{"failed", "state", "failed", false},
		{"array gone", "state", "inactive", false},
		{"not mounted", "mount-point", "", false},
		{"mounted elsewhere", "mount-point", "raid1", false},
		{"disabled", "disabled", "yes", false},
		{"a volume that is mounted", "type", "file", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			re := maps.Clone(good)
			re[tt.field] = tt.value
			s := newSnapshot(time.Time{}, wire(re), nil)
			_, err := s.poolOf(testPath)
			if tt.ok && err != nil || !tt.ok && !errors.Is(err, actors.ErrUnavailable) {
				t.Errorf("poolOf = %v, present: %t", err, tt.ok)
			}
		})
	}
	t.Run("two", func(t *testing.T) {
		if _, err := newSnapshot(time.Time{}, wire(good, good), nil).poolOf(testPath); !errors.Is(err, actors.ErrUnavailable) {
			t.Errorf("poolOf = %v, want ErrUnavailable", err)
		}
	})
}

func TestPorts(t *testing.T) {
	row := func(port string) attrs {
		return attrs{"type": "file", "file-path": "/x", "nvme-tcp-server-port": port}
	}
	begin := time.Unix(1000, 0)
	snap := newSnapshot(begin, wire(row("4420"), row("4420"), row("4421")), nil)
	var rs reservations
	ports := actors.Ports{First: 4420, Last: 4423}
	var got []uint16
	var held []*reservation
	for range 6 {
		r := rs.choose(snap, ports)
		got, held = append(got, r.port), append(held, r)
	}
	// Free ones first, then those with the fewest, the lowest of several.
	if want := "[4422 4423 4421 4422 4423 4420]"; fmt.Sprint(got) != want {
		t.Errorf("chosen %v, want %s", got, want)
	}
	for _, r := range held {
		rs.release(r, begin.Add(time.Second), time.Minute)
	}
	// The listing began before those rows were there.
	if r := rs.choose(snap, ports); r.port != 4421 {
		t.Errorf("chosen %d by an old listing, want 4421", r.port)
	}
	later := newSnapshot(begin.Add(2*time.Second), nil, nil)
	if r := rs.choose(later, ports); r.port != 4420 {
		t.Errorf("chosen %d by a new listing without rows, want 4420", r.port)
	}
}
