// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package nvme_test

import (
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/rds-csi/rds-csi/actors"
	"github.com/rds-csi/rds-csi/nvme"
)

// connected is a machine with the volume connected, and another volume beside it.
func connected(t *testing.T, m *machine) *disk {
	m.controller("nvme0", nqn, host.NQN, "live")
	m.controller("nvme1", nqn+"x", host.NQN, "live")
	m.namespace("nvme1", "nvme1n1", nqn+"x", nvme.DevNum{Major: 259, Minor: 9}, mib)
	t.Cleanup(func() {
		if _, err := os.Stat(m.path("sys/class/nvme/nvme1")); err != nil {
			t.Error("another subsystem was disconnected")
		}
	})
	return m.namespace("nvme0", "nvme0n1", nqn, num1, 4*mib)
}

func TestDisconnect(t *testing.T) {
	bothLayouts(t, func(t *testing.T, m *machine) {
		connected(t, m)
		m.controller("nvme2", nqn, "nqn.another-host", "connecting")
		m.write("proc/1/mountinfo", "")
		d := m.devices()
		for range 2 { // the second finds nothing
			wantKind(t, d.Disconnect(t.Context(), nqn), nil)
			for _, name := range []string{"nvme0", "nvme2"} {
				if _, err := os.Stat(m.path("sys/class/nvme", name)); err == nil {
					t.Errorf("%s is still there", name)
				}
			}
			if m.multipath {
				m.remove("sys/class/nvme-subsystem/nvme-subsys0/nvme0n1")
			}
		}
	})
}

func TestDisconnectRefusesUsed(t *testing.T) {
	for name, use := range map[string]func(t *testing.T, m *machine){
		"mounted here": func(t *testing.T, m *machine) { wantKind(t, m.mounted("self", num1, "/pod", "rw"), nil) },
		"mounted on the host": func(t *testing.T, m *machine) {
			wantKind(t, m.mounted("1", num1, "/pod", "ro"), nil)
		},
		"partition mounted": func(t *testing.T, m *machine) {
			m.write("sys/dev/block/259:1/nvme0n1p1/dev", "259:2\n")
			wantKind(t, m.mounted("self", nvme.DevNum{Major: 259, Minor: 2}, "/pod", "rw"), nil)
		},
		"device mapper": func(_ *testing.T, m *machine) { m.write("sys/dev/block/259:1/holders/dm-0", "") },
		"loop device": func(_ *testing.T, m *machine) {
			m.write("sys/block/loop3/loop/backing_file", m.path("dev/nvme0n1")+"\n")
		},
		"open": func(t *testing.T, m *machine) {
			m.write("proc/4711/fd/.keep", "")
			for n, to := range []string{"socket:[1]", "/gone", m.path("dev/nvme0n1")} {
				wantKind(t, os.Symlink(to, m.path("proc/4711/fd", strconv.Itoa(n))), nil)
			}
		},
		"claimed":            func(_ *testing.T, m *machine) { m.claimErr = syscall.EBUSY },
		"claim not possible": func(_ *testing.T, m *machine) { m.claimErr = syscall.EACCES },
		"no list of mounts":  func(_ *testing.T, m *machine) { m.remove("proc/self/mountinfo") },
		"no /dev":            func(_ *testing.T, m *machine) { m.remove("dev/nvme0n1") },
		"damaged mountinfo":  func(_ *testing.T, m *machine) { m.write("proc/self/mountinfo", "garbage\n") },
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			connected(t, m)
			use(t, m)
			wantKind(t, m.devices().Disconnect(t.Context(), nqn), actors.ErrPrecondition)
			if _, err := os.Stat(m.path("sys/class/nvme/nvme0")); err != nil {
				t.Error("disconnected a device that is in use")
			}
		})
	}
}

// TestOwnProcessIsNoUser: the driver's own descriptor must not keep the driver from disconnecting.
func TestOwnProcessIsNoUser(t *testing.T) {
	m := newMachine(t)
	connected(t, m)
	self := "proc/" + strconv.Itoa(os.Getpid()) + "/fd/"
	m.write(self+".keep", "")
	wantKind(t, os.Symlink(m.path("dev/nvme0n1"), m.path(self, "3")), nil)
	wantKind(t, m.devices().Disconnect(t.Context(), nqn), nil)
}

// TestDeleteHangs: success is only told when sysfs shows that the controller is gone.
func TestDeleteHangs(t *testing.T) {
	m := newMachine(t)
	connected(t, m)
	m.remove("sys/class/nvme/nvme0/delete_controller")
	m.trigger("sys/class/nvme/nvme0/delete_controller", func() { m.write("sys/class/nvme/nvme0/state", "deleting\n") })
	d := m.devices()
	wantKind(t, d.Disconnect(soon(t), nqn), actors.ErrUnresolved)
	done := make(chan error)
	m.remove("sys/class/nvme/nvme0/delete_controller")
	m.write("sys/class/nvme/nvme0/delete_controller", "")
	go func() { done <- d.Disconnect(t.Context(), nqn) }()
	m.remove("sys/class/nvme/nvme0")
	wantKind(t, <-done, nil)
}

func TestDeleteFails(t *testing.T) {
	m := newMachine(t)
	connected(t, m)
	m.remove("sys/class/nvme/nvme0/delete_controller")
	m.write("sys/class/nvme/nvme0/delete_controller/directory", "")
	err := m.devices().Disconnect(t.Context(), nqn)
	wantKind(t, err, actors.ErrUnavailable)
	if !strings.Contains(err.Error(), "delete_controller") {
		t.Errorf("%v does not tell what failed", err)
	}
}

// TestNameGivenAnew: between a look at sysfs and a write to it, a controller's name may have become
// another volume's.
func TestNameGivenAnew(t *testing.T) {
	m := newMachine(t)
	connected(t, m)
	m.write("sys/class/nvme/nvme0/rescan_controller", "")
	for seen, want := range map[string]string{nqn + "x": "", nqn: "1"} {
		m.write("sys/class/nvme/nvme0/rescan_controller", "")
		wantKind(t, m.devices().WriteAttr("nvme0", seen, "rescan_controller"), nil)
		if data, err := os.ReadFile(m.path("sys/class/nvme/nvme0/rescan_controller")); err != nil || string(data) != want {
			t.Errorf("wrote %q to a controller that was seen as %s, want %q; %v", data, seen, want, err)
		}
	}
	wantKind(t, m.devices().WriteAttr("nvme7", nqn, "rescan_controller"), nil)
}

func TestLiveCountsOurControllers(t *testing.T) {
	m := newMachine(t)
	d := m.devices()
	if n := d.Live(host.NQN); n != 0 {
		t.Errorf("%d live controllers on a machine without any", n)
	}
	m.controller("nvme0", nqn, host.NQN, "live")
	m.controller("nvme1", nqn+"x", host.NQN, "live")
	m.controller("nvme2", nqn+"y", host.NQN, "connecting")
	m.controller("nvme3", nqn, "nqn.another-host", "live") // such as the node's own root disk
	if n := d.Live(host.NQN); n != 2 {
		t.Errorf("%d live controllers, want 2", n)
	}
}
