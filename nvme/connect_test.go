// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package nvme_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rds-csi/rds-csi/actors"
	"github.com/rds-csi/rds-csi/nvme"
)

var num1 = nvme.DevNum{Major: 259, Minor: 1}

func target() nvme.Target {
	return nvme.Target{NQN: nqn, Address: "box.example", Port: 4421, Host: host, ReconnectDelay: 5, CtrlLossTimeout: -1, Size: mib}
}

// soon ends before a test would be taken to hang, and is awaited only where something must not
// happen.
func soon(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	t.Cleanup(cancel)
	return ctx
}

func bothLayouts(t *testing.T, f func(t *testing.T, m *machine)) {
	for _, multipath := range []bool{false, true} {
		t.Run(fmt.Sprintf("multipath=%t", multipath), func(t *testing.T) {
			m := newMachine(t)
			m.multipath = multipath
			f(t, m)
		})
	}
}

func TestDevicesConfig(t *testing.T) {
	m := newMachine(t)
	for name, cfg := range map[string]nvme.Config{
		"no prober":        {},
		"negative queues":  {Prober: m, Queues: -1},
		"negative probe":   {Prober: m, ProbeTimeout: -1},
		"negative device":  {Prober: m, DeviceTimeout: -1},
		"negative rescan":  {Prober: m, RescanTimeout: -1},
		"negative looking": {Prober: m, PollInterval: -1},
	} {
		if _, err := nvme.NewDevices(cfg); !errors.Is(err, actors.ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", name, err)
		}
	}
}

func TestConnect(t *testing.T) {
	bothLayouts(t, func(t *testing.T, m *machine) {
		m.fabrics = func(string) error {
			m.controller("nvme0", nqn, host.NQN, "live")
			m.namespace("nvme0", "nvme0n1", nqn, num1, mib)
			return nil
		}
		d := m.devices()
		want := nvme.Device{Path: m.path("dev/nvme0n1"), Num: num1, Size: mib}
		for range 2 { // the second finds it live
			dev, err := d.Connect(t.Context(), target())
			wantKind(t, err, nil)
			if dev != want {
				t.Fatalf("got %+v, want %+v", dev, want)
			}
		}
		options := "transport=tcp,traddr=192.0.2.1,trsvcid=4421,nqn=" + nqn + ",hostnqn=" + host.NQN + ",hostid=" + host.ID +
			",nr_io_queues=4,ctrl_loss_tmo=-1,reconnect_delay=5"
		if len(m.asked) != 1 || m.asked[0] != options {
			t.Errorf("asked %q, want once %q", m.asked, options)
		}
		conns, err := d.Connections(t.Context(), volume)
		wantKind(t, err, nil)
		if len(conns) != 1 || conns[0] != (nvme.Connection{NQN: nqn, Host: host.NQN, State: nvme.StateLive, Device: want}) {
			t.Errorf("connections %+v", conns)
		}
		others, err := d.Connections(t.Context(), "pvc-bbbbbbbb-0000-4000-8000-000000000002")
		if len(others) > 0 || err != nil {
			t.Errorf("another volume's connections %+v, %v", others, err)
		}
	})
}

func TestConnectKeepAlive(t *testing.T) {
	m := newMachine(t)
	m.fabrics = func(string) error { return syscall.EIO }
	tgt := target()
	tgt.KeepAlive, tgt.CtrlLossTimeout, tgt.ReconnectDelay = 30, 600, 0
	_, err := m.devices().Connect(t.Context(), tgt)
	if err == nil || !strings.HasSuffix(m.asked[0], ",ctrl_loss_tmo=600,keep_alive_tmo=30") {
		t.Errorf("asked %q, %v", m.asked, err)
	}
}

func TestConnectRefusesTarget(t *testing.T) {
	for name, spoil := range map[string]func(*nvme.Target){
		"no NQN":           func(t *nvme.Target) { t.NQN = "" },
		"comma in NQN":     func(t *nvme.Target) { t.NQN += ",traddr=x" },
		"no address":       func(t *nvme.Target) { t.Address = "" },
		"newline in host":  func(t *nvme.Target) { t.Host.NQN += "\n" },
		"no host ID":       func(t *nvme.Target) { t.Host.ID = "" },
		"space in address": func(t *nvme.Target) { t.Address = "a b" },
		"port 0":           func(t *nvme.Target) { t.Port = 0 },
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			tgt := target()
			spoil(&tgt)
			_, err := m.devices().Connect(soon(t), tgt)
			wantKind(t, err, actors.ErrInvalid)
			if len(m.asked) > 0 {
				t.Errorf("asked %q", m.asked)
			}
		})
	}
}

func TestProbeFirst(t *testing.T) {
	m := newMachine(t)
	m.dialErr = syscall.ECONNREFUSED
	_, err := m.devices().Connect(t.Context(), target())
	wantKind(t, err, actors.ErrUnavailable)
	if len(m.asked) > 0 {
		t.Errorf("the kernel was asked to connect to a target that is away: %q", m.asked)
	}
}

// TestWaits: a connection that is being remade is not made a second time.
func TestWaits(t *testing.T) {
	for _, state := range []string{"connecting", "resetting", "new", "deleting", "dead", "deleting (no IO)", "a state of tomorrow"} {
		t.Run(state, func(t *testing.T) {
			m := newMachine(t)
			m.controller("nvme0", nqn, host.NQN, state)
			_, err := m.devices().Connect(soon(t), target())
			wantKind(t, err, actors.ErrUnavailable)
			if len(m.asked) > 0 {
				t.Errorf("asked %q", m.asked)
			}
		})
	}
	t.Run("and goes on", func(t *testing.T) {
		m := newMachine(t)
		m.controller("nvme0", nqn, host.NQN, "connecting")
		m.namespace("nvme0", "nvme0n1", nqn, num1, mib)
		done := make(chan error)
		go func() {
			_, err := m.devices().Connect(t.Context(), target())
			done <- err
		}()
		m.write("sys/class/nvme/nvme0/state", "live\n")
		wantKind(t, <-done, nil)
	})
	t.Run("out a deletion", func(t *testing.T) {
		m := newMachine(t)
		m.controller("nvme0", nqn, host.NQN, "deleting")
		m.fabrics = func(string) error {
			m.controller("nvme1", nqn, host.NQN, "live")
			m.namespace("nvme1", "nvme1n1", nqn, num1, mib)
			return nil
		}
		done := make(chan error)
		go func() {
			_, err := m.devices().Connect(t.Context(), target())
			done <- err
		}()
		m.remove("sys/class/nvme/nvme0")
		wantKind(t, <-done, nil)
	})
}

func TestConnectedByAnother(t *testing.T) {
	m := newMachine(t)
	m.fabrics = func(string) error {
		if len(m.asked) == 1 {
			m.controller("nvme0", nqn, host.NQN, "live")
			m.namespace("nvme0", "nvme0n1", nqn, num1, mib)
		}
		return nil
	}
	_, err := m.devices().Connect(t.Context(), target())
	wantKind(t, err, nil)
}

// TestOneConnect: callers share a connect that hangs, and each leaves when its time is up.
func TestOneConnect(t *testing.T) {
	m := newMachine(t)
	gate, entered := make(chan struct{}), make(chan struct{})
	m.fabrics = func(string) error {
		close(entered) // a second call would panic
		<-gate
		m.controller("nvme0", nqn, host.NQN, "live")
		m.namespace("nvme0", "nvme0n1", nqn, num1, mib)
		return nil
	}
	d := m.devices()
	ctx, cancel := context.WithCancel(t.Context())
	first := make(chan error, 1)
	go func() {
		_, err := d.Connect(ctx, target())
		first <- err
	}()
	<-entered
	if _, err := d.Connect(soon(t), target()); err == nil {
		t.Error("connected while the kernel was not done")
	}
	cancel()
	wantKind(t, <-first, actors.ErrUnresolved)
	third := make(chan error, 1)
	go func() {
		_, err := d.Connect(t.Context(), target())
		third <- err
	}()
	close(gate)
	wantKind(t, <-third, nil)
}

func TestLiveWithoutDevice(t *testing.T) {
	bothLayouts(t, func(t *testing.T, m *machine) {
		m.controller("nvme0", nqn, host.NQN, "live")
		d := m.devices()
		_, err := d.Connect(soon(t), target())
		wantKind(t, err, actors.ErrUnavailable)
		conns, err := d.Connections(t.Context(), volume)
		wantKind(t, err, nil)
		if len(conns) != 1 || conns[0].Device != (nvme.Device{}) {
			t.Errorf("connections %+v", conns)
		}
	})
}

func TestTwoNamespaces(t *testing.T) {
	m := newMachine(t)
	m.controller("nvme0", nqn, host.NQN, "live")
	m.namespace("nvme0", "nvme0n1", nqn, num1, mib)
	m.namespace("nvme0", "nvme0n2", nqn, nvme.DevNum{Major: 259, Minor: 2}, mib)
	_, err := m.devices().Connect(t.Context(), target())
	wantKind(t, err, actors.ErrPrecondition)
}

// TestPathsAreNoDevices: with multipath the kernel shows a device for each path beside the one for all of them. Its name
// suffices to leave it out, and so does that it is hidden.
func TestPathsAreNoDevices(t *testing.T) {
	for name, hidden := range map[string]string{"nvme0c0n1": "0\n", "nvme0n2": "1\n"} {
		m := newMachine(t)
		m.controller("nvme0", nqn, host.NQN, "live")
		m.namespace("nvme0", "nvme0n1", nqn, num1, 4*mib)
		m.namespace("nvme0", name, nqn, nvme.DevNum{Major: 259, Minor: 2}, 4*mib)
		m.write("sys/class/nvme/nvme0/"+name+"/hidden", hidden)
		dev, err := m.devices().Connect(soon(t), target())
		wantKind(t, err, nil)
		if dev.Num != num1 {
			t.Errorf("with %s there, connected device %s and not %s", name, dev.Num, num1)
		}
	}
}

// TestWrongNode: /dev is not the host's, and the name is another device there.
func TestWrongNode(t *testing.T) {
	m := newMachine(t)
	m.controller("nvme0", nqn, host.NQN, "live")
	m.namespace("nvme0", "nvme0n1", nqn, num1, mib)
	m.blocks[m.path("dev/nvme0n1")] = nvme.DevNum{Major: 259, Minor: 7}
	_, err := m.devices().Connect(soon(t), target())
	wantKind(t, err, actors.ErrUnavailable)
}

func TestReadOnlyDevice(t *testing.T) {
	m := newMachine(t)
	m.controller("nvme0", nqn, host.NQN, "live")
	disk := m.namespace("nvme0", "nvme0n1", nqn, num1, mib)
	tgt := target()
	tgt.ReadOnly = true
	dev, err := m.devices().Connect(t.Context(), tgt)
	wantKind(t, err, nil)
	if !dev.ReadOnly || !disk.readOnly {
		t.Errorf("device %+v takes writes", dev)
	}
	m.write("sys/class/nvme/nvme0/nvme0n1/ro", "1\n")
	dev, err = m.devices().Connect(t.Context(), target())
	wantKind(t, err, nil)
	if dev.ReadOnly || disk.readOnly {
		t.Errorf("device %+v refuses writes", dev)
	}
}

func TestSize(t *testing.T) {
	m := newMachine(t)
	m.controller("nvme0", nqn, host.NQN, "live")
	m.namespace("nvme0", "nvme0n1", nqn, num1, mib)
	d := m.devices()
	tgt := target()
	tgt.Size = mib + 512
	_, err := d.Connect(t.Context(), tgt)
	wantKind(t, err, actors.ErrPrecondition)
	_, err = d.Rescan(t.Context(), nqn, 2*mib)
	wantKind(t, err, actors.ErrUnavailable)
	if data, err := os.ReadFile(m.path("sys/class/nvme/nvme0/rescan_controller")); err != nil || string(data) != "1" {
		t.Errorf("rescan_controller: %q, %v", data, err)
	}
	m.write("sys/class/nvme/nvme0/nvme0n1/size", "4096\n")
	dev, err := d.Rescan(t.Context(), nqn, 2*mib)
	wantKind(t, err, nil)
	if dev.Size != 2*mib {
		t.Errorf("size %d", dev.Size)
	}
	_, err = d.Rescan(t.Context(), nqn+"x", 0)
	wantKind(t, err, actors.ErrNotFound)
	m.write("sys/class/nvme/nvme0/state", "connecting\n")
	_, err = d.Rescan(t.Context(), nqn, 0)
	wantKind(t, err, actors.ErrUnavailable)
}

func TestConnectErrno(t *testing.T) {
	for errno, kind := range map[syscall.Errno]error{
		syscall.EIO: actors.ErrUnavailable, syscall.ECONNREFUSED: actors.ErrUnavailable, syscall.ETIMEDOUT: actors.ErrUnavailable,
		syscall.EHOSTUNREACH: actors.ErrUnavailable, syscall.ENOMEM: actors.ErrUnavailable,
		syscall.EINVAL: actors.ErrPrecondition, syscall.EPERM: actors.ErrPrecondition,
	} {
		err := nvme.ConnectError(&os.PathError{Op: "write", Path: "/dev/nvme-fabrics", Err: errno})
		wantKind(t, err, kind)
		if !errors.Is(err, errno) {
			t.Errorf("%v does not tell %v", err, errno)
		}
	}
}

func TestFabricsDevice(t *testing.T) {
	m := newMachine(t)
	_, err := nvme.ConnectFabrics(m.path("absent"), "x")
	wantKind(t, err, actors.ErrPrecondition)
	m.write("file", "")
	_, err = nvme.ConnectFabrics(m.path("file"), "x")
	wantKind(t, err, actors.ErrPrecondition)
	if data, err := os.ReadFile(m.path("file")); err != nil || len(data) > 0 {
		t.Errorf("wrote %q to a file that is no device, %v", data, err)
	}
	if _, err := os.Stat(m.path("absent")); err == nil {
		t.Error("made a file in place of the fabrics device")
	}
}
