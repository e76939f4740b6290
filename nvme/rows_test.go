// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package nvme_test

import (
	"context"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rds-csi/rds-csi/csi"
	"github.com/rds-csi/rds-csi/csi/csitest"
	"github.com/rds-csi/rds-csi/nvme"
)

// rowSize is the size of a volume in the tests of what the kernel does.
const rowSize = 4 * mib

var (
	num2  = nvme.DevNum{Major: 259, Minor: 2}
	num9  = nvme.DevNum{Major: 259, Minor: 9}
	other = strings.ReplaceAll(nqn, "aaaaaaaa", "bbbbbbbb") // another volume's NQN
)

// row is a machine with the Node service on it and kubelet before it. Beside what the test does
// there is the node's own root disk, from the same box, which the test never loses.
type row struct {
	*machine
	*csitest.Kubelet
	driver *nvme.Devices
	mm     *nvme.Mounts
	onRead func(reads int) // of disks that are connected from now on

	// Guarded by machine.mu where a connect may be under way.
	disk *disk
}

// rootNQN is of the node's root disk; it has the volume's ID in it, as mischief or misfortune may
// have it.
const rootNQN = "nqn.2000-02.com.mikrotik:worker-1-root-" + string(volume)

func newRow(t *testing.T, multipath bool, fs string) *row {
	t.Helper()
	r := &row{machine: newMachine(t)}
	r.multipath = multipath
	r.write("proc/1/mountinfo", "")
	r.write("proc/self/mountinfo", "")
	r.controller("nvme8", rootNQN, "nqn.2014-08.org.nvmexpress:uuid:of-the-host", "live")
	root := r.namespace("nvme8", "nvme8n1", rootNQN, nvme.DevNum{Major: 259, Minor: 80}, 64*mib)
	r.write("sys/class/nvme/nvme8/reset_controller", "")
	t.Cleanup(func() {
		for _, attr := range []string{"rescan_controller", "reset_controller", "subsysnqn"} {
			data, err := os.ReadFile(r.path("sys/class/nvme/nvme8", attr))
			if err != nil || string(data) == "1" {
				t.Errorf("the root disk's %s: %q, %v", attr, data, err)
			}
		}
		if root.reads > 0 || root.readOnly {
			t.Errorf("the root disk was touched: %d reads, read-only %t", root.reads, root.readOnly)
		}
	})
	r.fabrics = func(string) error {
		r.connected("nvme0", "nvme0n1", num1)
		return nil
	}
	r.blkid("")
	r.driver, r.mm = r.devices(), r.mounts()
	r.Kubelet = &csitest.Kubelet{
		Volume: volume, Staging: r.path("staging"), Target: r.path("target"), FS: fs,
		NQN: nqn, Address: "box.example", Port: 4421, Host: host, Size: rowSize,
	}
	wantKind(t, os.Mkdir(r.Staging, 0o750), nil)
	r.restart(time.Minute)
	return r
}

// restart replaces the Node service by one whose operations have so long. What the kernel has not
// finished goes on.
func (r *row) restart(timeout time.Duration) {
	r.Helper()
	node, err := csi.NewNode(csi.NodeConfig{
		Node: "worker-1", Host: host, StateDir: r.path("state"), Timeout: timeout,
		Devices: r.driver, Mounts: r.mm, Filesystems: r.mm, Surveyor: r.mm, Boot: "boot-1",
	})
	wantKind(r, err, nil)
	r.Node = node
}

// connected is what the kernel shows once it has connected the volume.
func (r *row) connected(ctrl, name string, num nvme.DevNum) {
	d := r.namespace(ctrl, name, nqn, num, rowSize)
	r.mu.Lock()
	d.onRead = r.onRead
	r.disk = d
	r.mu.Unlock()
	if r.multipath {
		r.write("sys/class/nvme-subsystem/nvme-subsys"+ctrl[len("nvme"):]+"/subsysnqn", nqn+"\n")
	}
	r.write("sys/class/nvme/"+ctrl+"/address", "traddr=192.0.2.1,trsvcid=4421,src_addr=192.0.2.9\n")
	r.write("sys/class/nvme/"+ctrl+"/fast_io_fail_tmo", "off\n")
	r.controller(ctrl, nqn, host.NQN, "live")
	r.remove("sys/class/nvme/" + ctrl + "/delete_controller")
	r.trigger("sys/class/nvme/"+ctrl+"/delete_controller", func() { r.lose(ctrl, name) })
}

// blkid makes blkid find a filesystem, or none, and mkfs make one.
func (r *row) blkid(found string) {
	r.tool = func(command string) (string, error) {
		tool, _, _ := strings.Cut(command, " ")
		if kind, ok := strings.CutPrefix(tool, "mkfs."); ok {
			r.holds(kind)
			return "", nil
		}
		switch {
		case tool != "blkid":
			return "", nil
		case found == "":
			return "", exit(2)
		}
		return "TYPE=" + found + "\n", nil
	}
}

// holds puts a filesystem on the volume's disk.
func (r *row) holds(fs string) {
	r.mu.Lock()
	(&formatTest{disk: r.disk}).superblock(fs)
	r.mu.Unlock()
	r.blkid(fs)
}

func (r *row) ran(tool string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.ContainsFunc(r.commands, func(c string) bool { return strings.HasPrefix(c, tool) })
}

func (r *row) do(want string, steps ...func(context.Context) error) {
	r.Helper()
	for i, step := range steps {
		if err := step(r.Context()); csitest.Code(err) != want {
			r.Fatalf("step %d: %s (%v), want %s", i, csitest.Code(err), err, want)
		}
	}
}

// briefly gives an operation little time, and more each time until the kernel was asked. Then all
// other operations have a minute again.
func (r *row) briefly(asked <-chan struct{}, step func(context.Context) error) {
	r.Helper()
	for timeout := 20 * time.Millisecond; ; timeout *= 2 {
		r.restart(timeout)
		r.do("Unavailable", step)
		select {
		case <-asked:
			r.restart(time.Minute)
			return
		default:
		}
	}
}

// wantAs fails unless the volume is staged and published as the device with a number.
func (r *row) wantAs(num nvme.DevNum) {
	r.Helper()
	for _, path := range []string{r.Staging, r.Target} {
		e, err := r.mm.Inspect(r.Context(), path)
		wantKind(r, err, nil)
		want := nvme.Entry{Kind: nvme.KindDir, Mounted: true, Num: num}
		if r.FS == "" {
			if want = (nvme.Entry{Kind: nvme.KindBlock, Num: num}); path == r.Staging {
				continue
			}
		}
		if e != want {
			r.Errorf("at %s: %+v, want %+v", path, e, want)
		}
	}
}

// wantAsItWas fails if anything of the volume is on the node.
func (r *row) wantAsItWas() {
	r.Helper()
	conns, err := r.driver.Connections(r.Context(), volume)
	if len(conns) > 0 || err != nil {
		r.Errorf("connections %+v, %v", conns, err)
	}
	for _, path := range []string{"target", "state/" + string(volume) + ".json"} {
		if r.exists(path) {
			r.Errorf("%s is left", path)
		}
	}
	if mounts, err := os.ReadFile(r.path("proc/self/mountinfo")); err != nil || len(mounts) > 0 {
		r.Errorf("mounts %s, %v", mounts, err)
	}
}

func (r *row) wantHealth(want ...string) {
	r.Helper()
	if got, err := r.Health(r.Context()); err != nil || !slices.Equal(got, want) {
		r.Errorf("health %v, %v, want %v", got, err, want)
	}
}

// wantLost wants the health of a volume whose device is gone.
func (r *row) wantLost() {
	r.Helper()
	want := []string{"ConnectionLost"}
	if r.FS != "" {
		want = append(want, "StaleMount")
	}
	r.wantHealth(want...)
}

// rows runs a test with both layouts of sysfs, for a filesystem and for a block device.
func rows(t *testing.T, f func(t *testing.T, r *row)) {
	for _, fs := range []string{"ext4", ""} {
		name := map[string]string{"": "block", "ext4": "filesystem"}[fs]
		t.Run(name, func(t *testing.T) {
			for _, multipath := range []bool{false, true} {
				name := map[bool]string{false: "plain", true: "multipath"}[multipath]
				t.Run(name, func(t *testing.T) { f(t, newRow(t, multipath, fs)) })
			}
		})
	}
}

// TestRowWholeLife: connected, formatted once, published, given back.
func TestRowWholeLife(t *testing.T) {
	rows(t, func(_ *testing.T, r *row) {
		for range 2 {
			r.do("OK", r.Stage, r.Publish)
			r.wantAs(num1)
			r.wantHealth()
			r.do("OK", r.Unpublish, r.Unstage)
			r.wantAsItWas()
			if r.FS == "" {
				continue
			}
			// The box keeps what was written.
			r.fabrics = func(string) error {
				r.connected("nvme0", "nvme0n1", num1)
				r.holds("ext4")
				return nil
			}
		}
		if n := strings.Count(strings.Join(r.commands, "\n"), "mkfs"); r.FS != "" && n != 1 || r.FS == "" && len(r.commands) > 0 {
			r.Errorf("ran %q", r.commands)
		}
	})
}
