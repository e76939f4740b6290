// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package nvme_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rds-csi/rds-csi/nvme"
	nvmehost "github.com/rds-csi/rds-csi/nvme/host"
)

// TestRowTwoHosts: buffered reads would go stale while another node writes. The driver makes none of
// a block device, whatever is on it.
func TestRowTwoHosts(t *testing.T) {
	r := newRow(t, true, "")
	r.do("OK", r.Stage, r.Publish, r.Stage, r.Publish)
	if r.disk.reads > 0 || len(r.commands) > 0 {
		t.Errorf("%d direct reads, ran %q", r.disk.reads, r.commands)
	}
}

// TestRowLive: a connection that is live is used, under whatever host NQN it was made, and given
// back like any other.
func TestRowLive(t *testing.T) {
	rows(t, func(t *testing.T, r *row) {
		r.connected("nvme0", "nvme0n1", num1)
		r.write("sys/class/nvme/nvme0/hostnqn", "nqn.2014-08.org.nvmexpress:uuid:of-the-older-driver\n")
		r.do("OK", r.Stage, r.Publish)
		r.wantAs(num1)
		if len(r.asked) > 0 || len(r.probes) > 0 {
			t.Errorf("asked the kernel %q and the target %q", r.asked, r.probes)
		}
		r.do("OK", r.Unpublish, r.Unstage)
		if r.exists("sys/class/nvme/nvme0") {
			t.Error("the connection stays")
		}
	})
}

// TestRowReconnects: I/O waits and goes on, and so does the driver.
func TestRowReconnects(t *testing.T) {
	for _, state := range []string{"resetting", "connecting"} {
		t.Run(state, func(t *testing.T) {
			rows(t, func(t *testing.T, r *row) {
				r.do("OK", r.Stage, r.Publish)
				r.write("sys/class/nvme/nvme0/state", state+"\n")
				r.wantHealth("Reconnecting")
				r.do("OK", r.Publish)
				r.restart(20 * time.Millisecond)
				r.do("Unavailable", r.Stage) // it waits
				r.restart(time.Minute)
				staged := make(chan error)
				go func() { staged <- r.Stage(t.Context()) }()
				r.write("sys/class/nvme/nvme0/state", "live\n")
				if err := <-staged; err != nil {
					t.Fatal(err)
				}
				r.wantAs(num1)
				if len(r.asked) != 1 {
					t.Errorf("asked the kernel %q", r.asked)
				}
				r.write("sys/class/nvme/nvme0/state", state+"\n")
				r.do("OK", r.Unpublish, r.Unstage) // a deletion takes no minute now
			})
		})
	}
}

// TestRowAway: a target that is away is not the kernel's business.
func TestRowAway(t *testing.T) {
	rows(t, func(t *testing.T, r *row) {
		r.dialErr = syscall.ECONNREFUSED
		r.do("Unavailable", r.Stage)
		if len(r.asked) > 0 {
			t.Errorf("asked the kernel %q", r.asked)
		}
		r.do("OK", r.Unstage)
		r.wantAsItWas()
	})
}

// TestRowGivenUp: the kernel gave the connection up while the volume was in use, after ctrl_loss_tmo
// or a refusal with "do not retry". The device is gone, the mounts say nothing of it, the
// subsystem's directory stays, and the volume comes back under another name.
func TestRowGivenUp(t *testing.T) {
	rows(t, func(_ *testing.T, r *row) {
		r.do("OK", r.Stage, r.Publish)
		r.lose("nvme0", "nvme0n1")
		r.wantLost()
		r.do("FailedPrecondition", r.Publish)
		r.fabrics = func(string) error {
			if r.multipath {
				r.connected("nvme0", "nvme0n2", num2)
			} else {
				r.connected("nvme1", "nvme1n2", num2)
			}
			if r.FS != "" {
				r.holds("ext4")
			}
			return nil
		}
		r.do("OK", r.Stage, r.Publish)
		r.wantAs(num2)
		r.wantHealth()
		r.do("OK", r.Unpublish, r.Unstage)
	})
}

// TestRowNameOfAnother: the name and the path that the device had are another volume's now.
func TestRowNameOfAnother(t *testing.T) {
	rows(t, func(t *testing.T, r *row) {
		r.do("OK", r.Stage, r.Publish)
		r.lose("nvme0", "nvme0n1")
		theirs := r.namespace("nvme0", "nvme0n1", other, num9, rowSize)
		r.controller("nvme0", other, host.NQN, "live")
		r.wantLost()
		if _, err := r.Expand(t.Context(), 0); err == nil {
			t.Error("expanded a device that is gone")
		}
		r.do("OK", r.Unpublish, r.Unstage)
		if !r.exists("sys/class/nvme/nvme0") || theirs.reads > 0 {
			t.Errorf("the other volume was touched: connected %t, %d reads", r.exists("sys/class/nvme/nvme0"), theirs.reads)
		}
		r.wantAsItWas()
	})
}

// TestRowLingers: a subsystem without controllers and devices is nothing.
func TestRowLingers(t *testing.T) {
	rows(t, func(_ *testing.T, r *row) {
		r.write("sys/class/nvme-subsystem/nvme-subsys5/subsysnqn", nqn+"\n")
		r.wantAsItWas()
		r.do("OK", r.Unstage)
		r.do("NotFound", func(ctx context.Context) error { _, err := r.Health(ctx); return err })
		r.do("OK", r.Stage, r.Publish, r.Unpublish, r.Unstage)
	})
}

// overTCP is a machine whose targets are asked whether they answer as the driver asks them.
type overTCP struct{ *machine }

func (overTCP) Answers(ctx context.Context, address string) (netip.AddrPort, error) {
	return nvmehost.Probe(ctx, address, time.Minute)
}

// TestRowFrozen: a target that accepts and does not answer would block every connect of the node for
// a minute.
func TestRowFrozen(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // its backlog accepts, and nobody answers
	wantKind(t, err, nil)
	t.Cleanup(func() { wantKind(t, l.Close(), nil) })
	at, err := netip.ParseAddrPort(l.Addr().String())
	wantKind(t, err, nil)
	r := newRow(t, false, "")
	r.driver, err = nvme.NewDevices(nvme.Config{
		Sys: r.path("sys"), Dev: r.path("dev"), Proc: r.path("proc"), Kernel: r, Fabrics: r.connect,
		Prober: overTCP{r.machine}, ProbeTimeout: 20 * time.Millisecond,
	})
	wantKind(t, err, nil)
	r.restart(time.Minute)
	r.Address, r.Port = at.Addr().String(), at.Port()
	r.do("Unavailable", r.Stage)
	if len(r.asked) > 0 {
		t.Errorf("asked the kernel %q", r.asked)
	}
}

// TestRowConnectHangs: the target froze after it was asked. Only this volume waits, and what the
// kernel connects in the end is not forgotten.
func TestRowConnectHangs(t *testing.T) {
	rows(t, func(t *testing.T, r *row) {
		asked, gate := make(chan struct{}), make(chan struct{})
		r.fabrics = func(options string) error {
			if strings.Contains(options, other) {
				r.controller("nvme5", other, host.NQN, "live")
				r.namespace("nvme5", "nvme5n1", other, num9, rowSize)
				return nil
			}
			// The kernel shows a controller without its NQN (drivers/nvme/host/core.c, nvme_sysfs_show_subsysnqn).
			r.controller("nvme0", "(efault)", host.NQN, "connecting")
			close(asked)
			<-gate
			r.remove("sys/class/nvme/nvme0")
			r.connected("nvme0", "nvme0n1", num1)
			return nil
		}
		r.briefly(asked, r.Stage)
		conns, err := r.driver.Connections(t.Context(), volume)
		if len(conns) != 1 || conns[0].State != nvme.StateConnecting || err != nil {
			t.Errorf("connections %+v, %v, want one that is connecting", conns, err)
		}
		r.restart(20 * time.Millisecond)
		r.do("Unavailable", r.Unstage, r.Stage)
		if len(r.asked) != 1 {
			t.Errorf("asked the kernel %q", r.asked)
		}
		second := target()
		second.NQN = other
		_, err = r.driver.Connect(t.Context(), second)
		wantKind(t, err, nil)

		r.restart(time.Minute)
		unstaged := make(chan error)
		go func() { unstaged <- r.Unstage(t.Context()) }()
		close(gate)
		if err := <-unstaged; err != nil {
			t.Fatal(err)
		}
		if r.exists("sys/class/nvme/nvme0") {
			t.Error("told to be unstaged, and connected")
		}
	})
}

// TestRowReadHangs: I/O on a lost connection cannot be interrupted. The caller does not wait for it,
// and deleting the controller frees it.
func TestRowReadHangs(t *testing.T) {
	for _, multipath := range []bool{false, true} {
		r := newRow(t, multipath, "ext4")
		asked, deleted := make(chan struct{}), make(chan struct{})
		r.onRead = func(int) {
			close(asked) // a second read would panic
			<-deleted
			r.mu.Lock()
			r.disk.readErr = syscall.EIO
			r.mu.Unlock()
		}
		r.fabrics = func(string) error {
			r.connected("nvme0", "nvme0n1", num1)
			r.remove("sys/class/nvme/nvme0/delete_controller")
			r.trigger("sys/class/nvme/nvme0/delete_controller", func() {
				r.lose("nvme0", "nvme0n1")
				close(deleted)
			})
			return nil
		}
		r.briefly(asked, r.Stage)
		r.do("OK", r.Unstage)
		wantKind(t, r.mm.WaitMount(t.Context(), num1), nil)
		if r.ran("mkfs") || r.ran("mount") {
			t.Errorf("ran %q", r.commands)
		}
	}
}

// TestRowNothingAfterTime: what a caller whose time is up began goes no further than its step: a
// disconnect may follow.
func TestRowNothingAfterTime(t *testing.T) {
	for step, stop := range map[string]func(f *formatTest, stop func()){
		"first look": func(f *formatTest, stop func()) { f.disk.onRead = func(int) { stop() } },
		"last look before mkfs": func(f *formatTest, stop func()) {
			f.disk.onRead = func(reads int) {
				if reads == 4 {
					stop()
				}
			}
		},
		"mkfs": func(f *formatTest, stop func()) {
			f.tool = func(command string) (string, error) {
				if strings.HasPrefix(command, "mkfs") {
					stop()
				}
				return "", exit(2)
			}
		},
	} {
		t.Run(step, func(t *testing.T) {
			f := newFormatTest(t)
			ctx, cancel := context.WithCancel(t.Context())
			stop(f, cancel)
			mm := f.mounts()
			if err := mm.Mount(ctx, f.dev, f.dir, ext4); !errors.Is(err, context.Canceled) {
				t.Errorf("got %v, want the caller's reason", err)
			}
			wantKind(t, mm.WaitMount(t.Context(), num1), nil)
			if f.ran("mkfs") != (step == "mkfs") || f.ran("mount") {
				t.Errorf("ran %q", f.commands)
			}
		})
	}
}

// TestRowDeleteHangs: a deletion takes a minute while the target is frozen. Only this volume waits.
func TestRowDeleteHangs(t *testing.T) {
	rows(t, func(t *testing.T, r *row) {
		r.do("OK", r.Stage)
		r.remove("sys/class/nvme/nvme0/delete_controller")
		pipe := r.path("sys/class/nvme/nvme0/delete_controller")
		wantKind(t, syscall.Mkfifo(pipe, 0o600), nil) // opening it waits for a reader
		r.restart(20 * time.Millisecond)
		r.do("Unavailable", r.Unstage, r.Unstage)
		r.controller("nvme5", other, host.NQN, "live")
		wantKind(t, r.driver.Disconnect(t.Context(), other), nil)

		r.restart(time.Minute)
		unstaged := make(chan error)
		go func() { unstaged <- r.Unstage(t.Context()) }()
		p, err := os.Open(pipe)
		wantKind(t, err, nil)
		if n, err := p.Read(make([]byte, 1)); n != 1 || err != nil {
			t.Errorf("the kernel was not told: %v", err)
		}
		r.remove("sys/class/nvme/nvme0")
		wantKind(t, errors.Join(<-unstaged, p.Close()), nil)
	})
}

// TestRowDeleteInUse: the kernel would delete a controller under a filesystem.
func TestRowDeleteInUse(t *testing.T) {
	rows(t, func(t *testing.T, r *row) {
		r.do("OK", r.Stage)
		wantKind(t, r.mounted("1", num1, "/elsewhere", "rw"), nil)
		r.do("FailedPrecondition", r.Unstage)
		if !r.exists("sys/class/nvme/nvme0") {
			t.Error("deleted under a mount")
		}
	})
}

// TestRowAlready: somebody else connects, and the kernel says so before sysfs does.
func TestRowAlready(t *testing.T) {
	rows(t, func(_ *testing.T, r *row) {
		r.fabrics = func(string) error {
			if len(r.asked) == 2 {
				r.connected("nvme0", "nvme0n1", num1)
			}
			return nvme.ConnectError(syscall.EALREADY)
		}
		r.do("OK", r.Stage, r.Publish)
		r.wantAs(num1)
	})
}

// TestRowDeleting: what is being deleted is waited out, not used, not made a second time.
func TestRowDeleting(t *testing.T) {
	for _, state := range []string{"deleting", "deleting (no IO)", "dead", "new"} {
		t.Run(state, func(t *testing.T) {
			rows(t, func(t *testing.T, r *row) {
				r.controller("nvme7", nqn, host.NQN, state)
				r.restart(20 * time.Millisecond)
				r.do("Unavailable", r.Stage)
				if len(r.asked) > 0 {
					t.Errorf("asked the kernel %q", r.asked)
				}
				if got, err := r.Health(t.Context()); err != nil || len(got) != 1 {
					t.Errorf("health %v, %v", got, err)
				}
				r.remove("sys/class/nvme/nvme7")
				r.restart(time.Minute)
				r.do("OK", r.Stage, r.Publish)
				r.wantAs(num1)
			})
		})
	}
}
