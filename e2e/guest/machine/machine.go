// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/rds-csi/rds-csi/e2e/controlplane"
	"github.com/rds-csi/rds-csi/e2e/guest/api"
	"github.com/rds-csi/rds-csi/e2e/guest/qmp"
	"github.com/rds-csi/rds-csi/e2e/guest/wire"
)

// A Config says what to boot. QEMU, Image, Initrd and Dir are required.
type Config struct {
	QEMU     string // the program
	Image    string // of the kernel
	Initrd   string
	Dir      string // directory for sockets and logs, which is made; its path must leave room for a socket's
	Memory   int    // MiB; 0: 512
	Ports    []int  // TCP ports of the guest that are reached from around it
	Disk     string // host:port of an NBD server, whose export is /dev/vda, past QEMU's cache; empty: no disk
	Incoming bool   // it does not boot, but takes over the guest that another machine's Migrate brings
}

// A Machine is a guest that has booted.
type Machine struct {
	cfg     Config
	program *controlplane.Component
	qmp     *qmp.Client
	agent   *wire.Client
	kernel  string
	ports   map[int]int // of the machine around, by the guest's
}

// bootLimit is how long a guest may take to boot, which takes some seconds on a machine that is not busy. It is no
// promise about speed: what takes longer hangs.
const bootLimit = 4 * time.Minute

// Start boots a guest and returns when its agent answers; of an incoming one, when it may come.
func Start(ctx context.Context, cfg Config) (_ *Machine, err error) {
	ctx, cancel := context.WithTimeout(ctx, bootLimit)
	defer cancel()
	m := &Machine{cfg: cfg}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("boot %s: %w", filepath.Base(cfg.Dir), err), m.Kill())
		}
	}()
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, err
	}
	// QEMU connects to sockets that are there already: there is nothing to wait for.
	monitor, err := listen(ctx, m.path("qmp"))
	if err != nil {
		return nil, err
	}
	defer monitor.Close() //nolint:errcheck // it takes one connection
	serial, err := listen(ctx, m.path("agent"))
	if err != nil {
		return nil, err
	}
	defer serial.Close() //nolint:errcheck // it takes one connection
	m.program = controlplane.NewComponent(cfg.QEMU, cfg.Dir, "qemu", m.args()...)
	if err := m.program.Start(); err != nil {
		return nil, err
	}
	if err := m.connect(ctx, monitor, serial); err != nil {
		return nil, errors.Join(err, m.program.Err())
	}
	if cfg.Incoming {
		return m, nil
	}
	return m, m.meet(ctx)
}

// path is where a socket is.
func (m *Machine) path(socket string) string { return filepath.Join(m.cfg.Dir, socket) }

// Console is the file with what the kernel prints.
func (m *Machine) Console() string { return filepath.Join(m.cfg.Dir, "console.log") }

// args are QEMU's. Kernel 6.12 fails now and then on the processor of QEMU 7.2 that has cx16; and on a busy machine
// kernels find that no timer works, unless they are told not to look.
func (m *Machine) args() []string {
	network := "user,id=net"
	for _, port := range m.cfg.Ports {
		network += ",hostfwd=tcp:127.0.0.1:0-:" + strconv.Itoa(port)
	}
	return append([]string{
		"-accel", "tcg,thread=multi", "-machine", "q35,usb=off", "-cpu", "max,cx16=off", "-smp", "1",
		"-m", strconv.Itoa(cmp.Or(m.cfg.Memory, 512)), "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
		"-kernel", m.cfg.Image, "-initrd", m.cfg.Initrd, "-append", "console=ttyS0 quiet panic=-1 tsc=unstable no_timer_check",
		"-chardev", "file,id=console,path=" + m.Console(), "-serial", "chardev:console",
		"-chardev", "socket,id=qmp,path=" + m.path("qmp"), "-mon", "chardev=qmp,mode=control",
		"-device", "virtio-serial-pci", "-chardev", "socket,id=agent,path=" + m.path("agent"),
		"-device", "virtserialport,chardev=agent,name=" + api.PortName,
		"-netdev", network, "-device", "virtio-net-pci,netdev=net,romfile=",
	}, m.moreArgs()...)
}

// moreArgs are those that not every machine has.
func (m *Machine) moreArgs() []string {
	var args []string
	if m.cfg.Disk != "" {
		// The server may be just starting; after that, a connection that ends is an error of the disk.
		host, port, _ := net.SplitHostPort(m.cfg.Disk) // QEMU refuses what is none
		args = append(args, "-blockdev", "driver=nbd,node-name=disk,cache.direct=on,open-timeout=30,server.type=inet,server.host="+host+",server.port="+port,
			"-device", "virtio-blk-pci,drive=disk")
	}
	if m.cfg.Incoming {
		args = append(args, "-incoming", m.incoming())
	}
	return args
}

func listen(ctx context.Context, path string) (*net.UnixListener, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	unix, ok := l.(*net.UnixListener)
	if !ok {
		return nil, errors.Join(fmt.Errorf("%s is no unix socket", path), l.Close())
	}
	return unix, nil
}

// connect waits for QEMU at both sockets.
func (m *Machine) connect(ctx context.Context, monitor, serial *net.UnixListener) error {
	conn, err := m.accept(ctx, monitor)
	if err != nil {
		return err
	}
	if m.qmp, err = qmp.New(ctx, conn); err != nil {
		return err
	}
	if conn, err = m.accept(ctx, serial); err != nil {
		return err
	}
	m.agent = wire.NewClient(conn)
	return nil
}

// accept waits for a connection, the end of ctx or that of QEMU.
func (m *Machine) accept(ctx context.Context, l *net.UnixListener) (net.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = l.SetDeadline(time.Unix(1, 0)) }) // ends Accept
	defer stop()
	go func() {
		select {
		case <-m.program.Done():
			cancel()
		case <-ctx.Done():
		}
	}()
	conn, err := l.Accept()
	if err != nil {
		return nil, fmt.Errorf("wait for QEMU to connect: %w", err)
	}
	return conn, nil
}

// meet waits for the agent and asks QEMU where the guest's ports are.
func (m *Machine) meet(ctx context.Context) error {
	var greeting api.Greeting
	if err := m.Call(ctx, api.Hello, struct{}{}, &greeting); err != nil {
		return fmt.Errorf("%w; the console's last words:\n%s", err, m.lastWords())
	}
	m.kernel = greeting.Kernel
	text, err := m.qmp.Human(ctx, "info usernet")
	if err != nil {
		return err
	}
	m.ports = parsePorts(text)
	for _, port := range m.cfg.Ports {
		if m.ports[port] == 0 {
			return fmt.Errorf("QEMU does not tell where port %d of the guest is:\n%s", port, text)
		}
	}
	return nil
}

// parsePorts reads the answer to "info usernet": by the guest's port, the one that is forwarded to it.
func parsePorts(text string) map[int]int {
	ports := map[int]int{}
	for line := range strings.Lines(text) {
		// TCP[HOST_FORWARD]  12  127.0.0.1 40123  10.0.2.15 10000  0  0
		fields := strings.Fields(line)
		if len(fields) < 6 || fields[0] != "TCP[HOST_FORWARD]" {
			continue
		}
		outer, err1 := strconv.Atoi(fields[3])
		inner, err2 := strconv.Atoi(fields[5])
		if err1 == nil && err2 == nil {
			ports[inner] = outer
		}
	}
	return ports
}

// lastWords is the end of what the kernel printed.
func (m *Machine) lastWords() string {
	f, err := os.Open(m.Console())
	if err != nil {
		return err.Error()
	}
	defer f.Close() //nolint:errcheck // it was read
	const most = 4 << 10
	if end, err := f.Seek(0, io.SeekEnd); err == nil {
		_, _ = f.Seek(max(0, end-most), io.SeekStart) // then it is told from where it stands
	}
	text, _ := io.ReadAll(f)
	return string(text)
}

// Kernel is the release of the guest's kernel.
func (m *Machine) Kernel() string { return m.kernel }

// Address returns where a port of Config.Ports is reached.
func (m *Machine) Address(port int) string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(m.ports[port]))
}

// Monitor returns QEMU's monitor.
func (m *Machine) Monitor() *qmp.Client { return m.qmp }

// Call asks the agent: see package guest/api.
func (m *Machine) Call(ctx context.Context, op string, args, result any) error {
	return m.agent.Call(ctx, op, args, result)
}

// Done is closed when the machine is off.
func (m *Machine) Done() <-chan struct{} { return m.program.Done() }

// offLimit is how long a machine may take to turn itself off.
const offLimit = 20 * time.Second

// PowerOff lets the kernel turn the machine off, with nothing unmounted, and frees what it took. One that does not
// go off is killed, which is an error.
func (m *Machine) PowerOff(ctx context.Context) error {
	return m.end(ctx, api.PowerOff)
}

// Crash lets the kernel panic, and frees what the machine took.
func (m *Machine) Crash(ctx context.Context) error {
	return m.end(ctx, api.Crash)
}

func (m *Machine) end(ctx context.Context, op string) error {
	ctx, cancel := context.WithTimeout(ctx, offLimit)
	defer cancel()
	// It is not answered.
	if err := m.Call(ctx, op, struct{}{}, nil); err != nil && !errors.Is(err, wire.ErrClosed) {
		return errors.Join(err, m.Kill())
	}
	select {
	case <-m.Done():
		return m.Kill()
	case <-ctx.Done():
		return errors.Join(fmt.Errorf("turn the machine off: %w", context.Cause(ctx)), m.Kill())
	}
}

// Kill turns the machine off as pulling its plug does, and frees what it took.
func (m *Machine) Kill() error {
	var errs []error
	if m.program != nil {
		errs = append(errs, m.program.Kill())
	}
	if m.agent != nil {
		errs = append(errs, m.agent.Close())
	}
	if m.qmp != nil {
		errs = append(errs, m.qmp.Close())
	}
	for _, err := range errs {
		if err != nil && !errors.Is(err, net.ErrClosed) && !errors.Is(err, os.ErrProcessDone) {
			return fmt.Errorf("end QEMU: %w", err)
		}
	}
	return nil
}
