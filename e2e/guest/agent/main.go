// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rds-csi/rds-csi/e2e/guest/api"
	"github.com/rds-csi/rds-csi/e2e/guest/wire"
)

func main() {
	if os.Getpid() != 1 && heldAs(os.Args[0]) {
		os.Exit(beHeld(os.Args))
	}
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "agent: this is the first process of a guest, and nothing else")
		os.Exit(2)
	}
	// What ends here ends the guest: without its first process the kernel panics.
	fmt.Println("agent:", run(context.Background()))
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF) // there is nobody to tell
}

func run(ctx context.Context) error {
	if err := errors.Join(mountAll(), os.Setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")); err != nil {
		return err
	}
	if err := loadModules("/etc/modules"); err != nil {
		return err
	}
	if err := configureNetwork(); err != nil {
		return err
	}
	port, err := openPort(api.PortName)
	if err != nil {
		return err
	}
	return wire.Serve(ctx, port, newAgent().handlers())
}

// portTimeout is how long the serial port may take to appear.
const portTimeout = 30 * time.Second

// openPort opens the virtio serial port of a name.
func openPort(name string) (*os.File, error) {
	for began := time.Now(); time.Since(began) < portTimeout; time.Sleep(20 * time.Millisecond) {
		ports, err := filepath.Glob("/sys/class/virtio-ports/*/name")
		if err != nil {
			return nil, err
		}
		for _, path := range ports {
			text, err := os.ReadFile(path)
			if err != nil || strings.TrimSpace(string(text)) != name {
				continue
			}
			port, err := os.OpenFile(filepath.Join("/dev", filepath.Base(filepath.Dir(path))), os.O_RDWR, 0)
			if errors.Is(err, os.ErrNotExist) {
				continue // it is just being made
			}
			return port, err
		}
	}
	return nil, fmt.Errorf("there is no serial port %s", name)
}

// An agent is what requests share.
type agent struct {
	programs programs
	writers  writers
}

func newAgent() *agent {
	return &agent{programs: programs{all: map[string]*program{}}, writers: writers{all: map[string]*writing{}, held: make(chan struct{})}}
}

func (a *agent) handlers() map[string]wire.Handler {
	return map[string]wire.Handler{
		api.Hello:   wire.Handle(hello),
		api.Run:     wire.Handle(runCommand),
		api.Start:   wire.Handle(a.programs.start),
		api.Kill:    wire.Handle(a.programs.kill),
		api.Signal:  wire.Handle(a.programs.signal),
		api.Hold:    wire.Handle(hold),
		api.Release: wire.Handle(release),
		api.Load: wire.Handle(func(_ context.Context, m api.Module) (nothing, error) {
			return nothing{}, loadModule(filepath.Join("/lib/modules", m.Name+".ko"))
		}),
		api.Unload:      wire.Handle(unloadModule),
		api.Forward:     wire.Handle(forward),
		api.Read:        wire.Handle(readFile),
		api.Write:       wire.Handle(writeFile),
		api.MakeDir:     wire.Handle(makeDir),
		api.List:        wire.Handle(list),
		api.Stat:        wire.Handle(stat),
		api.Remove:      wire.Handle(func(_ context.Context, p api.Path) (nothing, error) { return nothing{}, os.Remove(p.Path) }),
		api.BeginWrites: wire.Handle(a.writers.begin),
		api.AskWrites:   wire.Handle(a.writers.ask),
		api.AwaitWrites: wire.Handle(a.writers.await),
		api.FreeWrites:  wire.Handle(a.writers.release),
		api.EndWrites:   wire.Handle(a.writers.end),
		api.Verify:      wire.Handle(verify),
		api.KernelLog:   wire.Handle(kernelLog),
		api.ShutDown:    wire.Handle(shutDown),
		api.Sync:        wire.Handle(func(context.Context, nothing) (nothing, error) { unix.Sync(); return nothing{}, nil }),
		api.PowerOff: wire.Handle(func(context.Context, nothing) (nothing, error) {
			return nothing{}, unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
		}),
		api.Crash: wire.Handle(func(context.Context, nothing) (nothing, error) {
			return nothing{}, os.WriteFile("/proc/sysrq-trigger", []byte("c"), 0o200)
		}),
	}
}

// nothing is what an operation takes or answers that has nothing to say.
type nothing struct{}

func hello(context.Context, nothing) (api.Greeting, error) {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return api.Greeting{}, fmt.Errorf("ask the kernel for its name: %w", err)
	}
	return api.Greeting{Kernel: unix.ByteSliceToString(name.Release[:])}, nil
}
