// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package process

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// A Config says what to run. Path and Log must be given.
type Config struct {
	Path string   // of the program, as for exec.Command
	Args []string // without the program's name
	Env  []string // besides this process's own, "name=value"
	// Log is a file, written anew unless Append is set, for what the program prints.
	Log string
	// Append keeps what the log holds already, as of an earlier run of the same program.
	Append bool
	// SysProcAttr is for what only some systems know. Nil: nothing of it.
	SysProcAttr *syscall.SysProcAttr
	// Grace is how long the program may take to end after it was asked to. Zero: 10 s.
	Grace time.Duration
}

// A Process is a program under way.
type Process struct {
	cfg   Config
	cmd   *exec.Cmd
	donec chan struct{} // closed when the program has ended

	// Set before donec is closed.
	err error
}

// Start starts a program.
func Start(cfg Config) (*Process, error) {
	if cfg.Grace == 0 {
		cfg.Grace = 10 * time.Second
	}
	flags := os.O_CREATE | os.O_WRONLY | os.O_TRUNC
	if cfg.Append {
		flags = os.O_CREATE | os.O_WRONLY | os.O_APPEND
	}
	log, err := os.OpenFile(cfg.Log, flags, 0o600)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", cfg.Path, err)
	}
	// The program's life is not that of a context: it is asked to end before it is killed.
	cmd := exec.Command(cfg.Path, cfg.Args...) //nolint:noctx // see above
	cmd.Env = append(os.Environ(), cfg.Env...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = cfg.SysProcAttr
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", cfg.Path, errors.Join(err, log.Close()))
	}
	p := &Process{cfg: cfg, cmd: cmd, donec: make(chan struct{})}
	go func() {
		defer close(p.donec)
		p.err = errors.Join(cmd.Wait(), log.Close())
	}()
	return p, nil
}

// Done is closed when the program has ended.
func (p *Process) Done() <-chan struct{} { return p.donec }

// Err tells how the program ended, with the end of what it printed. It is for a program that should
// be running: the error is never nil once Done is closed, and nil before.
func (p *Process) Err() error {
	select {
	case <-p.donec:
	default:
		return nil
	}
	how := "exit status 0"
	if p.err != nil {
		how = p.err.Error()
	}
	return fmt.Errorf("%s has ended: %s; its last words:\n%s", filepath.Base(p.cfg.Path), how, tail(p.cfg.Log))
}

// ErrNotEnded says that a program did not end when it was asked to, and was killed.
var ErrNotEnded = errors.New("it did not end")

// Stop asks the program to end, kills it when its grace is over, and returns when it is gone. The
// error says that it had to be killed, which is ErrNotEnded, or that it failed; one that had ended
// before is none.
func (p *Process) Stop() error {
	select {
	case <-p.donec:
		return nil
	default:
	}
	// By the handle of the child that is ours: a PID of a child that was not waited for is not reused.
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return errors.Join(fmt.Errorf("stop %s: %w", p.cfg.Path, err), p.Kill())
	}
	timer := time.NewTimer(p.cfg.Grace)
	defer timer.Stop()
	select {
	case <-p.donec:
	case <-timer.C:
		return errors.Join(fmt.Errorf("stop %s: %w within %v", p.cfg.Path, ErrNotEnded, p.cfg.Grace), p.Kill())
	}
	if p.err != nil {
		return p.Err()
	}
	return nil
}

// Kill ends the program without asking it, as a crash does, and returns when it is gone. One that had
// ended before is no error.
func (p *Process) Kill() error {
	err := p.cmd.Process.Kill()
	<-p.donec
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}

// Freeze lets the program do nothing any more, as SIGSTOP does, until it is thawed or ended.
func (p *Process) Freeze(frozen bool) error {
	signal, what := syscall.SIGCONT, "thaw"
	if frozen {
		signal, what = syscall.SIGSTOP, "freeze"
	}
	if err := p.cmd.Process.Signal(signal); err != nil {
		return fmt.Errorf("%s %s: %w", what, p.cfg.Path, err)
	}
	return nil
}

// CPU is the time that the program spent computing, zero while it runs.
func (p *Process) CPU() time.Duration {
	select {
	case <-p.donec:
		return p.cmd.ProcessState.UserTime() + p.cmd.ProcessState.SystemTime()
	default:
		return 0
	}
}

// tail returns the last lines of a file, 2 KiB at most.
func tail(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return err.Error()
	}
	defer f.Close() //nolint:errcheck // it was only read
	const most = 2048
	if info, err := f.Stat(); err == nil && info.Size() > most {
		if _, err := f.Seek(-most, io.SeekEnd); err != nil {
			return err.Error()
		}
	}
	b, err := io.ReadAll(io.LimitReader(f, most))
	if err != nil {
		return err.Error()
	}
	return string(bytes.TrimSpace(b))
}
