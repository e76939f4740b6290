// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package nvme_test

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rds-csi/rds-csi/actors"
	"github.com/rds-csi/rds-csi/nvme"
)

const (
	prefix   = "nqn.2000-02.com.mikrotik:"
	later    = prefix + string(volume) + ".m0abc124"
	longer   = prefix + string(volume) + ".10abc1234" // of a number with one digit more
	earlier  = prefix + string(volume) + ".m0abc122"
	ageless  = prefix + string(volume)
	elsewhat = prefix + "pvc-aaaaaaaa-0000-4000-8000-000000000002.m0abc124"
)

var relinquished = nvme.Target{NQN: nqn, Address: "192.0.2.1", Port: 4421, Host: host}

// waiting is a machine whose volume waits for its connection, with a process that has it open.
func waiting(t *testing.T) *machine {
	m := newMachine(t)
	connected(t, m)
	m.write("sys/class/nvme/nvme0/state", "connecting\n")
	m.write("sys/class/nvme/nvme0/cntlid", "1\n")
	m.write("proc/4711/fd/.keep", "")
	wantKind(t, os.Symlink(m.path("dev/nvme0n1"), m.path("proc/4711/fd/3")), nil)
	return m
}

// TestRelinquish: a connection that a process waits for goes when the target says that the attachment is over.
func TestRelinquish(t *testing.T) {
	for _, listed := range [][]string{{later}, {earlier, elsewhat, longer}, {nqn, later}} {
		m := waiting(t)
		m.lists = listed
		d := m.devices()
		wantKind(t, d.Disconnect(t.Context(), nqn), actors.ErrPrecondition)
		why, err := d.Relinquish(t.Context(), relinquished)
		wantKind(t, err, nil)
		if !strings.Contains(why, "exports the volume as "+listed[len(listed)-1]) || m.exists("sys/class/nvme/nvme0") {
			t.Errorf("listed are %q: %q, and it is there: %t", listed, why, m.exists("sys/class/nvme/nvme0"))
		}
		if want := []string{"discover 192.0.2.1:4421 " + host.NQN}; !slices.Equal(m.probes, want) {
			t.Errorf("asked the target %q, want %q", m.probes, want)
		}
	}
}

// TestRelinquishRefused: a host that is refused by name goes on for a while: the box's configuration may have been
// brought back, and be mended.
func TestRelinquishRefused(t *testing.T) {
	for name, c := range map[string]struct {
		between func(m *machine) // the first and the second question
		gone    bool
	}{
		"each time":         {func(*machine) {}, true},
		"let in in between": {func(m *machine) { m.write("sys/class/nvme/nvme0/cntlid", "2\n") }, false},
	} {
		t.Run(name, func(t *testing.T) {
			m := waiting(t)
			m.admits = nvme.ErrHostRefused
			synctest.Test(t, func(t *testing.T) {
				d := m.devices()
				ask := func(gone bool) {
					t.Helper()
					why, err := d.Relinquish(t.Context(), relinquished)
					var kind error
					if !gone {
						kind = actors.ErrUnavailable
					}
					wantKind(t, err, kind)
					if errors.Is(err, nvme.ErrHostRefused) == gone {
						t.Errorf("refused, and it says %v", err)
					}
					if (why != "") != gone || m.exists("sys/class/nvme/nvme0") == gone {
						t.Errorf("it says %q, and it is there: %t", why, m.exists("sys/class/nvme/nvme0"))
					}
				}
				ask(false)
				time.Sleep(29 * time.Second)
				ask(false)
				c.between(m)
				time.Sleep(time.Second)
				ask(c.gone)
			})
		})
	}
}

// TestRelinquishRefusedAnew: a refusal counts from the first of those that follow one another.
func TestRelinquishRefusedAnew(t *testing.T) {
	m := waiting(t)
	synctest.Test(t, func(t *testing.T) {
		d := m.devices()
		for _, answer := range []error{nvme.ErrHostRefused, nvme.ErrNotExported, nvme.ErrHostRefused} {
			m.admits = answer
			why, err := d.Relinquish(t.Context(), relinquished)
			var kind error
			if errors.Is(answer, nvme.ErrHostRefused) {
				kind = actors.ErrUnavailable
			}
			wantKind(t, err, kind)
			if why != "" || errors.Is(err, nvme.ErrHostRefused) != errors.Is(answer, nvme.ErrHostRefused) {
				t.Errorf("given up: %q, %v", why, err)
			}
			time.Sleep(time.Minute)
		}
	})
}

// TestNotRelinquished: what proves nothing changes nothing.
func TestNotRelinquished(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(m *machine)
		kind    error
		unasked bool
	}{
		"live":               {func(m *machine) { m.write("sys/class/nvme/nvme0/state", "live\n") }, nil, true},
		"being deleted":      {func(m *machine) { m.write("sys/class/nvme/nvme0/state", "deleting\n") }, nil, true},
		"one of two is live": {func(m *machine) { m.controller("nvme2", nqn, host.NQN, "live") }, nil, true},
		"another host's":     {func(m *machine) { m.write("sys/class/nvme/nvme0/hostnqn", "nqn.another-host\n") }, nil, true},
		"target is away":     {func(m *machine) { m.dialErr = errors.New("no route") }, actors.ErrUnavailable, true},
		"no discovery":       {func(m *machine) { m.lists, m.listsErr = nil, errors.New("no discovery") }, actors.ErrUnavailable, false},
		"it is listed":       {func(m *machine) { m.lists, m.admits = []string{nqn}, nvme.ErrHostRefused }, nil, false},
		"an earlier one is":  {func(m *machine) { m.lists = []string{earlier, ageless} }, nil, false},
		"another volume is":  {func(m *machine) { m.lists = []string{elsewhat} }, nil, false},
		"another prefix is":  {func(m *machine) { m.lists = []string{strings.Replace(later, "mikrotik", "example", 1)} }, nil, false},
		"nothing is":         {func(m *machine) { m.lists, m.admits = nil, nvme.ErrNotExported }, nil, false},
		"it cannot be told":  {func(m *machine) { m.lists, m.admits = nil, errors.New("reset") }, actors.ErrUnavailable, false},
		"it is let in":       {func(m *machine) { m.lists = nil }, nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			m := waiting(t)
			m.lists = []string{later}
			c.prepare(m)
			synctest.Test(t, func(t *testing.T) {
				d := m.devices()
				for range 3 {
					why, err := d.Relinquish(t.Context(), relinquished)
					wantKind(t, err, c.kind)
					if why != "" || !m.exists("sys/class/nvme/nvme0") {
						t.Errorf("given up: %q", why)
					}
					time.Sleep(time.Minute)
				}
				if (len(m.probes) == 0) != c.unasked {
					t.Errorf("the target was asked %q", m.probes)
				}
			})
		})
	}
}

// TestNotRelinquishedLive: a connection that comes back while the target is asked stays.
func TestNotRelinquishedLive(t *testing.T) {
	m := waiting(t)
	m.lists = []string{later}
	m.onLists = func() { m.write("sys/class/nvme/nvme0/state", "live\n") }
	why, err := m.devices().Relinquish(t.Context(), relinquished)
	wantKind(t, err, nil)
	if why != "" || !m.exists("sys/class/nvme/nvme0") {
		t.Errorf("given up: %q", why)
	}
}
