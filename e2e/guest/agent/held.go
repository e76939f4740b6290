// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/rds-csi/rds-csi/e2e/guest/api"
)

// Where a held program is found before the program itself, in the PATH that main sets.
const heldDir = "/usr/local/sbin"

// heldPause is the time between two looks of a process that is held.
const heldPause = 10 * time.Millisecond

func heldPath(program string) string { return filepath.Join(heldDir, program) }

// after is a file that says that a program is held when it has done its work.
func after(program string) string { return filepath.Join(filepath.Dir(api.Waiting(program)), "after") }

// hold puts the agent in the place of a program.
func hold(_ context.Context, h api.Held) (nothing, error) {
	if h.Program != filepath.Base(h.Program) {
		return nothing{}, fmt.Errorf("%q is not a program's name", h.Program)
	}
	if err := errors.Join(os.MkdirAll(api.Waiting(h.Program), 0o755), os.MkdirAll(heldDir, 0o755)); err != nil {
		return nothing{}, err
	}
	if h.After {
		if err := os.WriteFile(after(h.Program), nil, 0o600); err != nil {
			return nothing{}, err
		}
	}
	return nothing{}, os.Symlink("/init", heldPath(h.Program))
}

// release gives a program its place back, and lets those go on that wait, or kills them.
func release(_ context.Context, r api.Released) (nothing, error) {
	waiting, err := os.ReadDir(api.Waiting(r.Program))
	if err == nil {
		err = os.Remove(heldPath(r.Program))
	}
	if err != nil {
		return nothing{}, err
	}
	for _, process := range waiting {
		if !r.Kill {
			break
		}
		pid, err := strconv.Atoi(process.Name())
		if err == nil {
			err = syscall.Kill(pid, syscall.SIGKILL)
		}
		if err != nil && !errors.Is(err, syscall.ESRCH) {
			return nothing{}, err
		}
	}
	return nothing{}, os.RemoveAll(filepath.Dir(api.Waiting(r.Program)))
}

// heldAs reports whether the agent was run in the place of a held program.
func heldAs(arg string) bool {
	_, err := os.Stat(api.Waiting(filepath.Base(arg)))
	return err == nil
}

// beHeld is what a held program does. It returns its exit status.
func beHeld(args []string) int {
	name := filepath.Base(args[0])
	path, err := behind(name)
	if err != nil {
		fmt.Fprintln(os.Stderr, "agent:", err)
		return 127
	}
	if _, err := os.Stat(after(name)); errors.Is(err, fs.ErrNotExist) {
		wait(name)
		err := syscall.Exec(path, args, os.Environ()) //nolint:gosec // this is what it is for
		fmt.Fprintln(os.Stderr, "agent:", err)
		return 126
	}
	cmd := exec.Command(path, args[1:]...) //nolint:gosec,noctx // this is what it is for
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	err = cmd.Run()
	wait(name)
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.ExitCode()
	}
	fmt.Fprintln(os.Stderr, "agent:", err)
	return 126
}

// behind returns the path of a program that is held.
func behind(name string) (string, error) {
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		path := filepath.Join(dir, name)
		if _, err := os.Stat(path); err == nil && dir != heldDir {
			return path, nil
		}
	}
	return "", fmt.Errorf("there is no program %s", name)
}

// wait waits until the program is released.
func wait(name string) {
	mark := filepath.Join(api.Waiting(name), strconv.Itoa(os.Getpid()))
	if err := os.WriteFile(mark, nil, 0o600); err != nil {
		return // it is released already
	}
	for {
		if _, err := os.Stat(mark); err != nil {
			return
		}
		time.Sleep(heldPause)
	}
}
