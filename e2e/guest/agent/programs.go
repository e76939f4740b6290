// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"github.com/rds-csi/rds-csi/e2e/guest/api"
)

// runCommand runs a program to its end.
func runCommand(ctx context.Context, c api.Command) (api.Ended, error) {
	if len(c.Args) == 0 {
		return api.Ended{}, errors.New("a program is needed")
	}
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(c.Timeout, time.Minute))
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, c.Args[0], c.Args[1:]...) //nolint:gosec // this is what it is for
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(c.Stdin), &stdout, &stderr
	cmd.WaitDelay = time.Second // for what it may have left behind with its output open
	err := cmd.Run()
	if ctx.Err() != nil {
		return api.Ended{}, fmt.Errorf("%s did not end: %w", c.Args[0], context.Cause(ctx))
	}
	return ended(err, stdout.Bytes(), stderr.Bytes())
}

// ended tells how a program ended. It is an error if it did not even begin.
func ended(err error, stdout, stderr []byte) (api.Ended, error) {
	e := api.Ended{How: "exit status 0", Stdout: stdout, Stderr: stderr}
	var exit *exec.ExitError
	switch {
	case err == nil:
	case errors.As(err, &exit):
		e.Exit, e.How = exit.ExitCode(), exit.String()
	default:
		return api.Ended{}, err
	}
	return e, nil
}

// programs are those that run until they are killed.
type programs struct {
	mu  sync.Mutex
	all map[string]*program
}

type program struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
	err  error         // how; read after done
}

// start starts a program, unless one of that name runs.
func (ps *programs) start(_ context.Context, p api.Program) (nothing, error) {
	if len(p.Args) == 0 || p.Name == "" {
		return nothing{}, errors.New("a program and a name for it are needed")
	}
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if old, ok := ps.all[p.Name]; ok {
		select {
		case <-old.done:
		default:
			return nothing{}, fmt.Errorf("%s runs already", p.Name)
		}
	}
	log, err := os.OpenFile(api.Log(p.Name), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nothing{}, err
	}
	run := &program{cmd: exec.Command(p.Args[0], p.Args[1:]...), done: make(chan struct{})} //nolint:gosec,noctx // it lives until it is killed
	run.cmd.Stdout, run.cmd.Stderr = log, log
	if err := run.cmd.Start(); err != nil {
		return nothing{}, errors.Join(err, log.Close())
	}
	ps.all[p.Name] = run
	go func() {
		defer close(run.done)
		run.err = run.cmd.Wait()
		_ = log.Close() // what it printed is in the kernel's hands
	}()
	return nothing{}, nil
}

// send sends a program a signal.
func (ps *programs) send(n api.Name) (*program, error) {
	ps.mu.Lock()
	run, ok := ps.all[n.Name]
	ps.mu.Unlock()
	if !ok {
		return nil, fmt.Errorf("%s does not run", n.Name)
	}
	signal := syscall.Signal(cmp.Or(n.Signal, int(syscall.SIGTERM)))
	if err := run.cmd.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return nil, err
	}
	return run, nil
}

// signal sends a program a signal, and does not wait for what comes of it.
func (ps *programs) signal(_ context.Context, n api.Name) (nothing, error) {
	_, err := ps.send(n)
	return nothing{}, err
}

// kill sends a program a signal and waits for its end.
func (ps *programs) kill(ctx context.Context, n api.Name) (api.Ended, error) {
	run, err := ps.send(n)
	if err != nil {
		return api.Ended{}, err
	}
	select {
	case <-run.done:
		return ended(run.err, nil, nil)
	case <-ctx.Done():
		return api.Ended{}, fmt.Errorf("%s does not end: %w", n.Name, context.Cause(ctx))
	}
}
