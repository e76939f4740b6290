// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package nvme_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"k8s.io/utils/exec"
	testingexec "k8s.io/utils/exec/testing"

	"github.com/rds-csi/rds-csi/actors"
	"github.com/rds-csi/rds-csi/csi"
	"github.com/rds-csi/rds-csi/nvme"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// What the Node service needs.
var (
	_ csi.Devices     = (*nvme.Devices)(nil)
	_ csi.Mounts      = (*nvme.Mounts)(nil)
	_ csi.Filesystems = (*nvme.Mounts)(nil)
	_ csi.Surveyor    = (*nvme.Mounts)(nil)
)

const (
	volume = actors.VolumeID("pvc-aaaaaaaa-0000-4000-8000-000000000001")
	nqn    = "nqn.2000-02.com.mikrotik:" + string(volume) + ".m0abc123"
	mib    = int64(1) << 20
)

var host = actors.HostOf("0123456789ab", "worker-1")

// machine is a machine's sysfs, devtmpfs and procfs in a directory, its system calls and its tools.
// Its zero switches make everything work.
type machine struct {
	*testing.T
	dir       string
	removed   atomic.Int64
	multipath bool // namespaces below their subsystem instead of their controller

	mu        sync.Mutex
	blocks    map[string]nvme.DevNum // device nodes by path
	disks     map[nvme.DevNum]*disk
	claimErr  error
	statErr   map[string]error // of paths
	misnumber bool             // mknod and mount take another device
	asked     []string         // options that were written to the fabrics device
	fabrics   func(options string) error
	dialErr   error
	admits    error    // why the target refuses this host
	lists     []string // the NQNs of the target's discovery log
	listsErr  error
	onLists   func()   // happens while the target is asked for it
	probes    []string // what targets were asked besides whether they answer
	commands  []string
	tool      func(command string) (string, error) // answers a command
}

type disk struct {
	data     map[int64][]byte // at offsets
	readErr  error
	readOnly bool
	reads    int
	onRead   func(reads int)
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	m := &machine{T: t, dir: t.TempDir(), blocks: map[string]nvme.DevNum{}, disks: map[nvme.DevNum]*disk{}}
	m.write("proc/self/mountinfo", "")
	m.tool = func(string) (string, error) { return "", nil }
	return m
}

func (m *machine) path(elem ...string) string {
	return filepath.Join(append([]string{m.dir}, elem...)...)
}

// write makes a file at once, as the kernel does: it is never seen half written.
func (m *machine) write(path, text string) {
	m.Helper()
	path = m.path(path)
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		m.Fatal(err)
	}
	draft := m.path("draft-" + strconv.FormatInt(m.removed.Add(1), 10))
	if err := os.WriteFile(draft, []byte(text), 0o600); err != nil {
		m.Fatal(err)
	}
	if err := os.Rename(draft, path); err != nil {
		m.Fatal(err)
	}
}

// remove takes a file or directory away at once, as the kernel does: it is never seen half empty.
func (m *machine) remove(path string) {
	m.Helper()
	trash := m.path("trash-" + strconv.FormatInt(m.removed.Add(1), 10))
	if err := os.Rename(m.path(path), trash); err != nil && !errors.Is(err, fs.ErrNotExist) {
		m.Fatal(err)
	}
	if err := os.RemoveAll(trash); err != nil {
		m.Fatal(err)
	}
}

// controller adds a controller. Its delete_controller takes it away, as the kernel would.
func (m *machine) controller(name, nqn, hostNQN, state string) {
	m.Helper()
	dir := "sys/class/nvme/" + name + "/"
	m.write(dir+"hostnqn", hostNQN+"\n")
	m.write(dir+"state", state+"\n")
	m.trigger(dir+"delete_controller", func() { m.remove("sys/class/nvme/" + name) })
	m.write(dir+"rescan_controller", "")
	m.write(dir+"subsysnqn", nqn+"\n") // last: now it is found
}

// trigger makes a named pipe, and does f when 1 is written to it.
func (m *machine) trigger(path string, f func()) {
	m.Helper()
	full := m.path(path)
	if err := os.MkdirAll(filepath.Dir(full), 0o750); err != nil {
		m.Fatal(err)
	}
	if err := syscall.Mkfifo(full, 0o600); err != nil {
		m.Fatal(err)
	}
	// Open at both ends, so that neither end's open waits, and nonblocking, so that Close ends a Read.
	p, err := os.OpenFile(full, os.O_RDWR|syscall.O_NONBLOCK, 0)
	if err != nil {
		m.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 1)
		if n, err := p.Read(buf); n == 1 && err == nil && buf[0] == '1' {
			f()
		}
	}()
	m.Cleanup(func() {
		if err := p.Close(); err != nil {
			m.Error(err)
		}
		<-done
	})
}

// namespace adds the namespace of a controller, with a device node and a disk of zeros.
func (m *machine) namespace(ctrl, name, nqn string, num nvme.DevNum, size int64) *disk {
	m.Helper()
	dir := "sys/class/nvme/" + ctrl + "/" + name + "/"
	if m.multipath {
		sub := "sys/class/nvme-subsystem/nvme-subsys" + ctrl[len("nvme"):] + "/"
		m.write(sub+"subsysnqn", nqn+"\n")
		dir = sub + name + "/"
		m.write("sys/class/nvme/"+ctrl+"/nvme0c0n1/hidden", "1\n")
		m.write("sys/class/nvme/"+ctrl+"/nvme0c0n1/size", fmt.Sprintln(size/512))
	}
	m.write(dir+"size", fmt.Sprintln(size/512))
	m.write(dir+"ro", "0\n")
	m.write("sys/dev/block/"+num.String()+"/dev", num.String()+"\n")
	m.mu.Lock()
	m.blocks[m.path("dev", name)] = num
	d := &disk{data: map[int64][]byte{}}
	m.disks[num] = d
	m.mu.Unlock()
	m.write("dev/"+name, "")
	m.write(dir+"dev", num.String()+"\n")
	return d
}

// lose takes a controller and its namespace away, as the kernel does when it gives them up. The
// directory of the subsystem stays.
func (m *machine) lose(ctrl, name string) {
	m.Helper()
	m.mu.Lock()
	num := m.blocks[m.path("dev", name)]
	delete(m.blocks, m.path("dev", name))
	m.mu.Unlock()
	m.remove("sys/dev/block/" + num.String())
	m.remove("dev/" + name)
	m.remove("sys/class/nvme-subsystem/nvme-subsys" + ctrl[len("nvme"):] + "/" + name)
	m.remove("sys/class/nvme/" + ctrl)
}

// resize changes the size that the kernel shows of a namespace.
func (m *machine) resize(ctrl, name string, size int64) {
	m.Helper()
	dir := "sys/class/nvme/" + ctrl + "/" + name
	if m.multipath {
		dir = "sys/class/nvme-subsystem/nvme-subsys" + ctrl[len("nvme"):] + "/" + name
	}
	m.write(dir+"/size", fmt.Sprintln(size/512))
}

func (m *machine) exists(path string) bool {
	_, err := os.Lstat(m.path(path))
	return err == nil
}

func (m *machine) devices() *nvme.Devices {
	m.Helper()
	d, err := nvme.NewDevices(nvme.Config{
		Sys: m.path("sys"), Dev: m.path("dev"), Proc: m.path("proc"),
		PollInterval: time.Millisecond, RescanTimeout: 50 * time.Millisecond, DeviceTimeout: 50 * time.Millisecond,
		Kernel: m, Fabrics: m.connect, Prober: m,
	})
	if err != nil {
		m.Fatal(err)
	}
	return d
}

func (m *machine) mounts() *nvme.Mounts {
	m.Helper()
	mm, err := nvme.NewMounts(nvme.MountConfig{
		Sys: m.path("sys"), Proc: m.path("proc"), BlankFor: time.Millisecond, Mounter: (*mounter)(m), Exec: tools{m}, Kernel: m,
	})
	if err != nil {
		m.Fatal(err)
	}
	return mm
}

func (m *machine) connect(options string) (string, error) {
	m.mu.Lock()
	m.asked = append(m.asked, options)
	f := m.fabrics
	m.mu.Unlock()
	if f == nil {
		return "instance=0,cntlid=1", nil
	}
	return "instance=0,cntlid=1", f(options)
}

// The target, as it is asked from user space: it is at 192.0.2.1, whatever its name.

func (m *machine) Answers(_ context.Context, address string) (netip.AddrPort, error) {
	_, port, err := net.SplitHostPort(address)
	if err != nil || m.dialErr != nil {
		return netip.AddrPort{}, errors.Join(err, m.dialErr)
	}
	return netip.ParseAddrPort("192.0.2.1:" + port)
}

func (m *machine) Admits(_ context.Context, address string, h actors.Host, nqn string) error {
	m.probes = append(m.probes, "connect "+address+" "+h.NQN+" "+nqn)
	return m.admits
}

func (m *machine) Lists(_ context.Context, address, hostNQN string) ([]string, error) {
	m.probes = append(m.probes, "discover "+address+" "+hostNQN)
	if m.onLists != nil {
		m.onLists()
	}
	return m.lists, m.listsErr
}

// The system calls.

func (m *machine) Stat(path string, follow bool) (fs.FileMode, nvme.DevNum, error) {
	if follow {
		if to, err := os.Readlink(path); err == nil {
			path = to
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	info, err := os.Lstat(path)
	if err == nil {
		err = m.statErr[path]
	}
	if err != nil {
		return 0, nvme.DevNum{}, err
	}
	if num, ok := m.blocks[path]; ok {
		return info.Mode().Perm() | fs.ModeDevice, num, nil
	}
	return info.Mode(), nvme.DevNum{}, nil
}

func (m *machine) ReadDirect(path string, p []byte, offset int64) error {
	m.mu.Lock()
	d := m.disks[m.blocks[path]]
	d.reads++
	reads, hook := d.reads, d.onRead
	m.mu.Unlock()
	if hook != nil {
		hook(reads)
	}
	if offset%4096 != 0 || len(p)%4096 != 0 {
		return syscall.EINVAL
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(p)
	for at, data := range d.data {
		if at >= offset && at < offset+int64(len(p)) {
			copy(p[at-offset:], data)
		}
	}
	return d.readErr
}

func (m *machine) Claim(string) error { return m.claimErr }

func (m *machine) SetReadOnly(path string, readOnly bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.disks[m.blocks[path]].readOnly = readOnly
	return nil
}

func (m *machine) MakeNode(path string, num nvme.DevNum, perm fs.FileMode) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL, perm)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.misnumber {
		num.Minor++
	}
	m.blocks[path] = num
	return f.Close()
}

// The tools.

type mounter machine

func (m *mounter) Mount(source, target, fstype string, options []string) error {
	opts := strings.Join(options, ",")
	if _, err := (*machine)(m).run(fmt.Sprintf("mount %s %s %s %s", fstype, opts, source, target)); err != nil {
		return err
	}
	num := m.blocks[source]
	if fstype == "" {
		entries, err := os.ReadFile((*machine)(m).path("proc/self/mountinfo"))
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(entries)) {
			if f := strings.Fields(line); f[4] == source {
				if _, err := fmt.Sscanf(f[2], "%d:%d", &num.Major, &num.Minor); err != nil {
					return err
				}
			}
		}
	}
	if m.misnumber {
		num.Minor++
	}
	access := "rw"
	for _, o := range options {
		if o == "ro" {
			access = "ro"
		}
	}
	return (*machine)(m).mounted("self", num, target, access)
}

// mounted adds a line to a process's mountinfo.
func (m *machine) mounted(pid string, num nvme.DevNum, target, access string) error {
	path := m.path("proc", pid, "mountinfo")
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, "36 35 %s / %s %s,noatime shared:1 - ext4 /dev/x rw\n", num, target, access)
	return errors.Join(err, f.Close())
}

func (m *mounter) Unmount(target string) error {
	if _, err := (*machine)(m).run("umount " + target); err != nil {
		return err
	}
	path := (*machine)(m).path("proc/self/mountinfo")
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	lines := strings.SplitAfter(string(data), "\n")
	for i := len(lines) - 1; i >= 0; i-- {
		if f := strings.Fields(lines[i]); len(f) > 4 && f[4] == target {
			lines = append(lines[:i], lines[i+1:]...)
			break
		}
	}
	return os.WriteFile(path, []byte(strings.Join(lines, "")), 0o600)
}

func (m *machine) run(command string) (string, error) {
	command = strings.ReplaceAll(command, m.dir, "")
	m.mu.Lock()
	m.commands = append(m.commands, command)
	m.mu.Unlock()
	return m.tool(command)
}

// tools runs commands on the machine.
type tools struct{ *machine }

func (t tools) Command(cmd string, args ...string) exec.Cmd {
	out, err := t.run(strings.Join(append([]string{cmd}, args...), " "))
	answer := func() ([]byte, []byte, error) { return []byte(out), nil, err }
	return &testingexec.FakeCmd{CombinedOutputScript: []testingexec.FakeAction{answer}}
}

func (t tools) CommandContext(_ context.Context, cmd string, args ...string) exec.Cmd {
	return t.Command(cmd, args...)
}

func (t tools) LookPath(file string) (string, error) { return file, nil }

// exit is how a tool ends with a status.
func exit(status int) error { return &testingexec.FakeExitError{Status: status} }

func wantKind(t testing.TB, err, kind error) {
	t.Helper()
	if kind == nil && err == nil {
		return
	}
	kinds := 0
	for _, k := range []error{
		actors.ErrInvalid, actors.ErrNotFound, actors.ErrExists, actors.ErrPrecondition, actors.ErrOutOfRange,
		actors.ErrFull, actors.ErrBusy, actors.ErrUnavailable, actors.ErrUnresolved,
	} {
		if errors.Is(err, k) {
			kinds++
		}
	}
	if kind == nil || !errors.Is(err, kind) || kinds != 1 {
		t.Fatalf("got %v, want just the kind %v", err, kind)
	}
}
