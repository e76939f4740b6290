// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
)

// A Config says what scenarios run on. All fields are required.
type Config struct {
	Root   string // of the repository
	Tools  string // directory of the control plane's programs and of the sidecars
	Dir    string // directory for everything that scenarios write, with a short path: sockets are in it
	Logs   string // directory that gets the logs of what failed
	Planes int    // control planes, and so scenarios at a time; 1 or more
}

// A Stage is what scenarios share: the driver's programs, and control planes for one scenario after the other.
type Stage struct {
	cfg   Config
	ctx   context.Context // ends when the run is interrupted, and for all scenarios that would follow
	count atomic.Int32    // of scenarios so far

	mu      sync.Mutex
	started int      // control planes so far
	idle    []*plane // those that no scenario has
}

// The driver of the manifests.
const driverName = "rds.csi.srvlab.io"

// NewStage builds the driver. When ctx ends, scenarios fail. Close must follow.
func NewStage(ctx context.Context, cfg Config) (*Stage, error) {
	if cfg.Planes < 1 {
		return nil, fmt.Errorf("%d control planes are too few: say 1 or more", cfg.Planes)
	}
	st := &Stage{cfg: cfg, ctx: ctx}
	return st, st.build(ctx)
}

// build builds rds-csi and rds-sim from what is in the repository. The driver looks out for races.
func (st *Stage) build(ctx context.Context) error {
	for program, flags := range map[string][]string{"rds-csi": {"-race"}, "rds-sim": nil} {
		args := append([]string{"build", "-o", st.binary(program)}, flags...)
		build := exec.CommandContext(ctx, "go", append(args, "./cmd/"+program)...)
		build.Dir = st.cfg.Root
		if out, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("build %s: %w\n%s", program, err, out)
		}
	}
	return nil
}

func (st *Stage) binary(program string) string { return filepath.Join(st.cfg.Dir, "bin", program) }

// Close stops the control planes. All scenarios must have ended.
func (st *Stage) Close() error {
	errs := make([]error, len(st.idle))
	var all sync.WaitGroup
	for i, p := range st.idle {
		all.Go(func() { errs[i] = p.close() })
	}
	all.Wait()
	return errors.Join(errs...)
}
