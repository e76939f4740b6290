// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"k8s.io/client-go/dynamic"

	"github.com/rds-csi/rds-csi/e2e/controlplane"
	"github.com/rds-csi/rds-csi/e2e/kubelet"
	"github.com/rds-csi/rds-csi/e2e/manifests"
	"github.com/rds-csi/rds-csi/k8s"
	"github.com/rds-csi/rds-csi/rds/sim"
)

// A plane is a control plane with the driver's manifests. One scenario at a time has it, and all of it: there is
// one CSIDriver, one Lease and one API server to take away.
type plane struct {
	dir     string
	control *controlplane.ControlPlane
	dynamic dynamic.Interface
	set     *manifests.Set
	pods    *kubelet.Cluster
	cluster string // its identity
	stop    context.CancelFunc
}

// take gives a scenario a control plane for itself: an idle one, or where there is none a new one. Put or retire
// must follow.
func (st *Stage) take() (*plane, error) {
	if st.ctx.Err() != nil {
		return nil, context.Cause(st.ctx)
	}
	st.mu.Lock()
	if last := len(st.idle) - 1; last >= 0 {
		p := st.idle[last]
		st.idle = st.idle[:last]
		st.mu.Unlock()
		return p, nil
	}
	st.started++
	p := &plane{dir: fmt.Sprintf("control-plane-%d", st.started)}
	st.mu.Unlock()
	if err := p.start(st.ctx, st.cfg); err != nil {
		return nil, errors.Join(err, st.retire(p))
	}
	return p, nil
}

// put gives a control plane back, for the next scenario.
func (st *Stage) put(p *plane) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.idle = append(st.idle, p)
}

// retire stops a control plane on which something failed: no scenario shall meet what is left there. Its logs are
// kept.
func (st *Stage) retire(p *plane) error {
	return errors.Join(p.close(), controlplane.KeepLogs(filepath.Join(st.cfg.Dir, p.dir), filepath.Join(st.cfg.Logs, p.dir)))
}

// start starts the control plane and applies the manifests. Close must follow, also where it fails.
func (p *plane) start(ctx context.Context, cfg Config) (err error) {
	ctx, p.stop = context.WithCancel(ctx)
	if p.set, err = manifests.Read(filepath.Join(cfg.Root, "deploy", "manifests")); err != nil {
		return err
	}
	if p.control, err = controlplane.Start(ctx, controlplane.Config{
		Tools: cfg.Tools, Dir: filepath.Join(cfg.Dir, p.dir), Host: sim.LoopbackHost(),
	}); err != nil {
		return err
	}
	if p.dynamic, err = dynamic.NewForConfig(p.control.REST()); err != nil {
		return fmt.Errorf("make a client: %w", err)
	}
	if err := p.set.Apply(ctx, p.dynamic); err != nil {
		return err
	}
	if p.cluster, err = k8s.ClusterID(ctx, p.control.Client()); err != nil {
		return err
	}
	p.pods, err = kubelet.NewCluster(ctx, p.control.Client())
	return err
}

// close stops the control plane.
func (p *plane) close() error {
	p.stop()
	if p.pods != nil {
		p.pods.Close()
	}
	if p.control == nil {
		return nil
	}
	return p.control.Stop()
}
