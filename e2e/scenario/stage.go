// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"

	"k8s.io/client-go/dynamic"

	"github.com/rds-csi/rds-csi/e2e/controlplane"
	"github.com/rds-csi/rds-csi/e2e/kubelet"
	"github.com/rds-csi/rds-csi/e2e/manifests"
	"github.com/rds-csi/rds-csi/k8s"
	"github.com/rds-csi/rds-csi/rds/sim"
)

// A Config says what scenarios run on. All fields are required.
type Config struct {
	Root  string // of the repository
	Tools string // directory of the control plane's programs and of the sidecars
	Dir   string // directory for everything that scenarios write, with a short path: sockets are in it
	Logs  string // directory that gets the logs of what failed
}

// A Stage is what all scenarios share.
type Stage struct {
	cfg     Config
	control *controlplane.ControlPlane
	dynamic dynamic.Interface
	set     *manifests.Set
	pods    *kubelet.Cluster
	cluster string          // its identity
	ctx     context.Context // ends when the run is interrupted, and for all scenarios that would follow
	stop    context.CancelFunc
	count   atomic.Int32 // of scenarios so far
	failed  atomic.Bool
}

// The driver of the manifests.
const driverName = "rds.csi.srvlab.io"

// NewStage builds the driver and starts a control plane. When ctx ends, scenarios fail. Close must follow.
func NewStage(ctx context.Context, cfg Config) (_ *Stage, err error) {
	st := &Stage{cfg: cfg}
	st.ctx, st.stop = context.WithCancel(ctx)
	defer func() {
		if err != nil {
			st.failed.Store(true)
			err = errors.Join(err, st.Close())
		}
	}()
	if err := st.build(ctx); err != nil {
		return nil, err
	}
	if st.set, err = manifests.Read(filepath.Join(cfg.Root, "deploy", "manifests")); err != nil {
		return nil, err
	}
	if st.control, err = controlplane.Start(ctx, controlplane.Config{
		Tools: cfg.Tools, Dir: filepath.Join(cfg.Dir, "control-plane"), Host: sim.LoopbackHost(),
	}); err != nil {
		return nil, err
	}
	if st.dynamic, err = dynamic.NewForConfig(st.control.REST()); err != nil {
		return nil, fmt.Errorf("make a client: %w", err)
	}
	if err := st.set.Apply(ctx, st.dynamic); err != nil {
		return nil, err
	}
	if st.cluster, err = k8s.ClusterID(ctx, st.control.Client()); err != nil {
		return nil, err
	}
	st.pods, err = kubelet.NewCluster(st.ctx, st.control.Client())
	return st, err
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

// Close stops the control plane. Its logs are kept if a scenario failed.
func (st *Stage) Close() error {
	var errs []error
	if st.control != nil && !st.failed.Load() {
		errs = append(errs, st.control.Err()) // nobody was to end by itself
	}
	st.stop()
	if st.pods != nil {
		st.pods.Close()
	}
	if st.control != nil {
		errs = append(errs, st.control.Stop())
	}
	if st.failed.Load() {
		errs = append(errs, keepLogs(filepath.Join(st.cfg.Dir, "control-plane"), filepath.Join(st.cfg.Logs, "control-plane")))
	}
	return errors.Join(errs...)
}

// keepLogs copies the logs of a directory to another.
func keepLogs(from, to string) error {
	logs, err := filepath.Glob(filepath.Join(from, "*.log"))
	if err != nil {
		return fmt.Errorf("look for logs: %w", err)
	}
	deeper, err := filepath.Glob(filepath.Join(from, "*", "*.log"))
	if err != nil {
		return fmt.Errorf("look for logs: %w", err)
	}
	if err := os.MkdirAll(to, 0o700); err != nil {
		return fmt.Errorf("keep logs: %w", err)
	}
	for _, log := range append(logs, deeper...) {
		content, err := os.ReadFile(log)
		if err == nil {
			err = os.WriteFile(filepath.Join(to, filepath.Base(log)), content, 0o600)
		}
		if err != nil {
			return fmt.Errorf("keep logs: %w", err)
		}
	}
	return nil
}
