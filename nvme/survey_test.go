// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package nvme_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rds-csi/rds-csi/actors"
	"github.com/rds-csi/rds-csi/nvme"
)

const volume2 = actors.VolumeID("pvc-bbbbbbbb-0000-4000-8000-000000000002")

// mountinfo replaces the list of mounts: "number path options - type source options" each.
func (m *machine) mountinfo(lines ...string) {
	m.Helper()
	var b strings.Builder
	for _, line := range lines {
		f := strings.Fields(line)
		fmt.Fprintf(&b, "36 35 %s / %s %s shared:1 - %s %s %s\n", f[0], m.path(f[1]), f[2], f[4], f[5], f[6])
	}
	m.write("proc/self/mountinfo", b.String())
}

func (m *machine) survey(volumes map[actors.VolumeID][]string) map[actors.VolumeID]nvme.Sight {
	m.Helper()
	sights, err := m.mounts().Survey(m.Context(), volumes)
	wantKind(m, err, nil)
	return sights
}

// One look tells of many volumes what a look at each would.
func TestSurvey(t *testing.T) {
	for _, multipath := range []bool{false, true} {
		m := newMachine(t)
		m.multipath = multipath
		nqn2 := "nqn.2000-02.com.mikrotik:" + string(volume2)
		num2 := nvme.DevNum{Major: 259, Minor: 2}
		m.controller("nvme0", nqn, host.NQN, "live")
		m.namespace("nvme0", "nvme0n1", nqn, num1, 4*mib)
		m.controller("nvme1", nqn2, host.NQN, "connecting")
		m.namespace("nvme1", "nvme1n1", nqn2, num2, 8*mib)
		m.controller("nvme2", "nqn.2014.08.org.example:local-disk", "", "live")
		m.namespace("nvme2", "nvme2n1", "nqn.2014.08.org.example:local-disk", nvme.DevNum{Major: 259, Minor: 3}, mib)
		for _, dir := range []string{"staging", "pod"} {
			wantKind(t, os.Mkdir(m.path(dir), 0o750), nil)
		}
		m.write("node", "")
		m.blocks[m.path("node")] = num2
		m.mountinfo("259:1 staging rw,noatime - ext4 /dev/nvme0n1 rw", "259:9 pod rw - ext4 /dev/nvme9n1 rw")
		paths := []string{m.path("staging"), m.path("pod"), m.path("absent"), m.path("no/parent")}
		got := m.survey(map[actors.VolumeID][]string{volume: paths, volume2: {m.path("node")}, "pvc-none": nil})
		if len(got) != 3 {
			t.Fatalf("%d sights", len(got))
		}
		for id, want := range map[actors.VolumeID]int{volume: 1, volume2: 1, "pvc-none": 0} {
			conns, err := m.devices().Connections(t.Context(), id)
			wantKind(t, err, nil)
			for i := range conns {
				conns[i].Device.Path = strings.TrimPrefix(conns[i].Device.Path, m.path("dev")+"/")
			}
			if s := got[id]; s.Err != nil || len(conns) != want || !slices.Equal(s.Connections, conns) {
				t.Errorf("%s: %+v, one by one %+v", id, s, conns)
			}
		}
		for i, path := range paths {
			e, err := m.mounts().Inspect(t.Context(), path)
			wantKind(t, err, nil)
			if got[volume].Entries[i] != e {
				t.Errorf("%s: %+v, alone %+v", path, got[volume].Entries[i], e)
			}
		}
		if e := got[volume].Entries; !e[0].Mounted || e[0].Stale || !e[1].Stale || e[2].Kind != nvme.KindNone {
			t.Errorf("entries %+v", e)
		}
		if e := got[volume2].Entries[0]; e.Kind != nvme.KindBlock || e.Num != num2 || e.Stale {
			t.Errorf("device node %+v", e)
		}
	}
}

// What the kernel shows of a filesystem that is not sound: the mount itself says "rw" in all of these.
func TestUnsoundFilesystem(t *testing.T) {
	for name, c := range map[string]struct {
		line   string
		errors string
		stat   error
		want   string
	}{
		"sound":                           {"259:1 staging rw,noatime - ext4 /dev/nvme0n1 rw,errors=remount-ro", "0", nil, ""},
		"without a count":                 {"259:1 staging rw - ext4 /dev/nvme0n1 rw", "", nil, ""},
		"read-only by its mount":          {"259:1 staging ro - ext4 /dev/nvme0n1 ro", "0", nil, ""},
		"bound read-only":                 {"259:1 staging ro - ext4 /dev/nvme0n1 rw", "0", nil, ""},
		"ext4 before 6.12":                {"259:1 staging rw - ext4 /dev/nvme0n1 ro", "0", nil, "has become read-only"},
		"ext4 from 6.15, remount-ro":      {"259:1 staging rw - ext4 /dev/nvme0n1 rw,emergency_ro", "1", nil, "was made read-only"},
		"ext4 from 6.15, shut down":       {"259:1 staging rw - ext4 /dev/nvme0n1 rw,shutdown", "1", nil, "was shut down"},
		"ext4 in between, errors counted": {"259:1 staging rw - ext4 /dev/nvme0n1 rw", "3", nil, "3 errors"},
		"xfs":                             {"259:1 staging rw - xfs /dev/nvme0n1 rw,attr2", "3", nil, ""},
		"xfs, shut down":                  {"259:1 staging rw - xfs /dev/nvme0n1 rw,attr2", "", syscall.EIO, "cannot be looked at"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			connected(t, m)
			wantKind(t, os.Mkdir(m.path("staging"), 0o750), nil)
			m.mountinfo(c.line)
			if c.errors != "" {
				m.write("sys/fs/ext4/nvme0n1/errors_count", c.errors+"\n")
			}
			m.statErr = map[string]error{m.path("staging"): c.stat}
			s := m.survey(map[actors.VolumeID][]string{volume: {m.path("staging")}})[volume]
			if s.Err != nil || !s.Entries[0].Mounted {
				t.Fatalf("%+v", s)
			}
			if got := s.Entries[0].Failed; (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
				t.Errorf("failed %q, want %q", got, c.want)
			}
		})
	}
}

// What cannot be looked at says so, and of one volume only where it is of one.
func TestSurveyThatFails(t *testing.T) {
	m := newMachine(t)
	connected(t, m)
	m.write("plain", "")
	wanted := map[actors.VolumeID][]string{volume: {m.path("plain")}, volume2: {m.path("absent")}}
	m.statErr = map[string]error{m.path("plain"): syscall.EACCES}
	got := m.survey(wanted)
	if got[volume2].Err != nil || len(got[volume].Connections)+len(got[volume].Entries) > 0 {
		t.Errorf("%+v", got)
	}
	wantKind(t, got[volume].Err, actors.ErrUnavailable)
	m.remove("proc/self/mountinfo")
	_, err := m.mounts().Survey(t.Context(), wanted)
	wantKind(t, err, actors.ErrUnavailable)
}

// A kernel that blocks where it should not holds nobody up, and a repeat joins the look under way.
func TestSurveyThatHangs(t *testing.T) {
	m := newMachine(t)
	m.write("plain", "")
	gate, asked := make(chan struct{}), make(chan struct{}, 2)
	mounts, err := nvme.NewMounts(nvme.MountConfig{Sys: m.path("sys"), Proc: m.path("proc"), Kernel: hanging{m, gate, asked}})
	wantKind(t, err, nil)
	for range 2 {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		_, err := mounts.Survey(ctx, map[actors.VolumeID][]string{volume: {m.path("plain")}})
		cancel()
		wantKind(t, err, actors.ErrUnresolved)
	}
	close(gate)
	_, err = mounts.Survey(t.Context(), map[actors.VolumeID][]string{volume: {m.path("plain")}})
	wantKind(t, err, nil)
	if n := len(asked); n > 2 {
		t.Errorf("%d looks hung", n)
	}
}

// hanging is a machine whose stat waits for a gate.
type hanging struct {
	*machine
	gate  chan struct{}
	asked chan struct{}
}

func (h hanging) Stat(path string, follow bool) (fs.FileMode, nvme.DevNum, error) {
	select {
	case h.asked <- struct{}{}:
	default:
		return 0, nvme.DevNum{}, errors.New("asked too often")
	}
	<-h.gate
	return h.machine.Stat(path, follow)
}

func TestBootID(t *testing.T) {
	m := newMachine(t)
	_, err := nvme.BootID(m.path("proc"))
	wantKind(t, err, actors.ErrUnavailable)
	m.write("proc/sys/kernel/random/boot_id", "0f9d3c8a\n")
	if id, err := nvme.BootID(m.path("proc")); err != nil || id != "0f9d3c8a" {
		t.Errorf("%q, %v", id, err)
	}
}
