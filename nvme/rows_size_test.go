// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package nvme_test

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rds-csi/rds-csi/actors"
	"github.com/rds-csi/rds-csi/csi/csitest"
	"github.com/rds-csi/rds-csi/nvme"
)

// staged is a row whose volume is staged and published, with what a controller can be told besides.
func staged(r *row) {
	r.do("OK", r.Stage, r.Publish)
	r.write("sys/class/nvme/nvme0/reset_controller", "")
	r.lists = []string{nqn}
}

// wasTold reports whether an attribute of the volume's controller was written.
func (r *row) wasTold(attr string) bool {
	r.Helper()
	data, err := os.ReadFile(r.path("sys/class/nvme/nvme0", attr))
	wantKind(r, err, nil)
	return string(data) == "1"
}

// on makes an attribute of the volume's controller do something, once, and tells when it did.
func (r *row) on(attr string, f func()) (did <-chan struct{}) {
	r.Helper()
	r.remove("sys/class/nvme/nvme0/" + attr)
	done := make(chan struct{})
	r.trigger("sys/class/nvme/nvme0/"+attr, func() { f(); close(done) })
	return done
}

// wantExpanded expands the volume. The kernel may take longer than the driver waits for it; then the
// driver is asked again when did is closed, as kubelet asks again. Nil: it takes no time.
func (r *row) wantExpanded(size int64, did <-chan struct{}) {
	r.Helper()
	got, err := r.Expand(r.Context(), size)
	if did != nil && csitest.Code(err) == "Unavailable" {
		select {
		case <-did:
			got, err = r.Expand(r.Context(), size)
		case <-time.After(time.Minute):
			r.Fatal("the kernel was told nothing")
		}
	}
	if err != nil || got != size {
		r.Fatalf("expanded to %d, %v, want %d", got, err, size)
	}
	if grown := r.ran("resize2fs"); grown != (r.FS != "") {
		r.Errorf("ran %q", r.commands)
	}
}

// TestRowResizeEvent: the kernel knows the new size already.
func TestRowResizeEvent(t *testing.T) {
	rows(t, func(t *testing.T, r *row) {
		staged(r)
		r.resize("nvme0", "nvme0n1", 2*rowSize)
		r.wantExpanded(2*rowSize, nil)
		if r.wasTold("reset_controller") {
			t.Error("reset for nothing")
		}
	})
}

// TestRowResizeQuiet: without the event the kernel looks when it is told to.
func TestRowResizeQuiet(t *testing.T) {
	rows(t, func(_ *testing.T, r *row) {
		staged(r)
		r.lists = nil // it is not reset
		r.wantExpanded(2*rowSize, r.on("rescan_controller", func() { r.resize("nvme0", "nvme0n1", 2*rowSize) }))
	})
}

// TestRowResizeReset: the target tells a new size to a new connection only.
func TestRowResizeReset(t *testing.T) {
	rows(t, func(t *testing.T, r *row) {
		staged(r)
		r.wantExpanded(2*rowSize, r.on("reset_controller", func() { r.resize("nvme0", "nvme0n1", 2*rowSize) }))
		if want := []string{"discover 192.0.2.1:4421 " + host.NQN}; !slices.Equal(r.probes, want) {
			t.Errorf("asked the target %q, want %q: a Connect might end the connection in use", r.probes, want)
		}
	})
}

// TestRowResizeNoReset: a reset that might lose I/O or the device is not made, nor one that did not
// help a moment ago.
func TestRowResizeNoReset(t *testing.T) {
	for name, doubt := range map[string]func(r *row){
		"I/O fails fast":       func(r *row) { r.write("sys/class/nvme/nvme0/fast_io_fail_tmo", "5\n") },
		"target does not list": func(r *row) { r.lists = nil },
		"target cannot tell":   func(r *row) { r.listsErr = errors.New("no discovery") },
		"another controller is lost": func(r *row) {
			r.controller("nvme4", nqn, host.NQN, "connecting")
		},
	} {
		t.Run(name, func(t *testing.T) {
			rows(t, func(t *testing.T, r *row) {
				staged(r)
				doubt(r)
				_, err := r.Expand(t.Context(), 2*rowSize)
				if csitest.Code(err) != "Unavailable" || r.wasTold("reset_controller") || r.ran("resize2fs") {
					t.Errorf("%v, reset %t, ran %q", err, r.wasTold("reset_controller"), r.commands)
				}
			})
		})
	}
	t.Run("again", func(t *testing.T) {
		rows(t, func(t *testing.T, r *row) {
			staged(r)
			for _, reset := range []bool{true, false} {
				_, err := r.Expand(t.Context(), 2*rowSize)
				if csitest.Code(err) != "Unavailable" || r.wasTold("reset_controller") != reset {
					t.Errorf("%v, reset %t, want %t", err, !reset, reset)
				}
				r.write("sys/class/nvme/nvme0/reset_controller", "")
			}
		})
	})
	t.Run("stage", func(t *testing.T) { // a pod may be using the volume
		rows(t, func(t *testing.T, r *row) {
			staged(r)
			r.Size = 2 * rowSize
			r.do("FailedPrecondition", r.Stage)
			if r.wasTold("reset_controller") || !r.exists("sys/class/nvme/nvme0") {
				t.Error("a connection in use was reset or given up")
			}
		})
	})
}

// TestRowShrinks: the kernel takes a smaller size without a word.
func TestRowShrinks(t *testing.T) {
	rows(t, func(t *testing.T, r *row) {
		staged(r)
		r.resize("nvme0", "nvme0n1", 2*rowSize)
		r.wantExpanded(2*rowSize, nil)
		r.commands = nil
		r.resize("nvme0", "nvme0n1", rowSize) // what the contexts still say, but less than what the volume has
		r.wantHealth("DeviceShrunk")
		r.do("FailedPrecondition", r.Publish, r.Stage)
		if _, err := r.Expand(t.Context(), 0); csitest.Code(err) != "Unavailable" || len(r.commands) > 0 {
			t.Errorf("%v, ran %q", err, r.commands)
		}
		if !r.exists("sys/class/nvme/nvme0") {
			t.Error("cut off what is in use")
		}
	})
}

// TestRowOtherNamespace: the namespace's identity changed, and the kernel took the device away. It
// is never live again on that connection.
func TestRowOtherNamespace(t *testing.T) {
	rows(t, func(t *testing.T, r *row) {
		r.controller("nvme0", nqn, host.NQN, "live")
		r.write("sys/class/nvme/nvme0/address", "")
		r.fabrics = func(string) error {
			r.connected("nvme1", "nvme1n2", num2)
			return nil
		}
		r.wantHealth("NoDevice")
		r.do("OK", r.Stage, r.Publish)
		r.wantAs(num2)
		if r.exists("sys/class/nvme/nvme0") {
			t.Error("the connection without a device is left")
		}
	})
}

// TestRowNoNamespace: a target without the namespace does not make the driver spin.
func TestRowNoNamespace(t *testing.T) {
	rows(t, func(t *testing.T, r *row) {
		r.fabrics = func(string) error {
			r.controller("nvme0", nqn, host.NQN, "live")
			return nil
		}
		r.do("Unavailable", r.Stage)
		if len(r.asked) != 2 {
			t.Errorf("connected %d times, want twice", len(r.asked))
		}
		r.do("OK", r.Unstage)
		r.wantAsItWas()
	})
}

// TestRowNamespaceLate: it comes by itself, or when the kernel is told to look.
func TestRowNamespaceLate(t *testing.T) {
	for _, by := range []string{"itself", "a scan"} {
		t.Run(by, func(t *testing.T) {
			rows(t, func(t *testing.T, r *row) {
				r.fabrics = func(string) error {
					r.controller("nvme0", nqn, host.NQN, "live")
					r.disk = r.namespace("nvme0", "nvme0n1", nqn, num1, rowSize)
					number := "sys/class/nvme/nvme0/nvme0n1/dev"
					if r.multipath {
						number = "sys/class/nvme-subsystem/nvme-subsys0/nvme0n1/dev"
					}
					r.remove(number)
					come := func() { r.write(number, num1.String()+"\n") }
					if by == "itself" {
						go come()
					} else {
						r.on("rescan_controller", come)
					}
					return nil
				}
				var err error
				r.driver, err = nvme.NewDevices(nvme.Config{
					Sys: r.path("sys"), Dev: r.path("dev"), Proc: r.path("proc"), Kernel: r, Fabrics: r.connect, Prober: r,
					PollInterval: time.Millisecond, DeviceTimeout: time.Hour,
				})
				wantKind(t, err, nil)
				r.restart(time.Minute)
				r.do("OK", r.Stage, r.Publish)
				r.wantAs(num1)
			})
		})
	}
}

// TestRowTwoDevices: which of two devices is the volume cannot be told, so neither is used.
func TestRowTwoDevices(t *testing.T) {
	rows(t, func(t *testing.T, r *row) {
		r.do("OK", r.Stage)
		second := r.namespace("nvme0", "nvme0n7", nqn, num9, rowSize)
		r.do("FailedPrecondition", r.Publish, r.Stage)
		_, err := r.Expand(t.Context(), rowSize)
		if csitest.Code(err) == "OK" || second.reads > 0 || r.exists("target") {
			t.Errorf("%v, %d reads, published %t", err, second.reads, r.exists("target"))
		}
		r.do("OK", r.Unstage)
	})
}

// TestRowConfig: options that the kernel must never be given, and what it is given where nobody says
// otherwise: it reconnects every 5 s, for ever.
func TestRowConfig(t *testing.T) {
	r := newRow(t, false, "")
	r.do("OK", r.Stage)
	for _, never := range []string{"fast_io_fail_tmo", "host_traddr", "host_iface", "duplicate_connect"} {
		if strings.Contains(r.asked[0], never) {
			t.Errorf("asked %q with %s", r.asked[0], never)
		}
	}
	for _, want := range []string{"ctrl_loss_tmo=-1", "reconnect_delay=5", "hostnqn=" + host.NQN, "hostid=" + host.ID} {
		if !slices.Contains(strings.Split(r.asked[0], ","), want) {
			t.Errorf("asked %q without %s", r.asked[0], want)
		}
	}
	if host != actors.HostOf("0123456789ab", "worker-1") || !strings.HasSuffix(host.NQN, host.ID) {
		t.Errorf("host %+v is not derived from cluster and node", host)
	}
}
