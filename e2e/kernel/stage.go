// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/rds-csi/rds-csi/e2e/box"
	"github.com/rds-csi/rds-csi/e2e/controlplane"
	"github.com/rds-csi/rds-csi/e2e/guest"
	"github.com/rds-csi/rds-csi/rds/sim"
)

// A Config says what to play on. All fields are required.
type Config struct {
	Parts guest.Parts // which were built
	Dir   string      // directory for everything else, with a short path: sockets are in it
	Nodes []string    // names of the nodes that may be booted
}

// cluster is the cluster's identity.
const cluster = "e2ee2ee2ee2e"

// A Stage is a box, a controller, and nodes: two stages have nothing in common.
type Stage struct {
	cfg        Config
	Box        *box.Box
	controller *controlplane.Component
	conn       *grpc.ClientConn
	nodes      []*guest.Node
	boots      int // of the nodes, so far
	vms        int // that were started, so far
}

// NewStage starts a box and a controller. Close must follow.
func NewStage(ctx context.Context, cfg Config) (_ *Stage, err error) {
	st := &Stage{cfg: cfg}
	defer func() {
		if err != nil {
			err = errors.Join(err, st.Close(ctx))
		}
	}()
	// A guest reaches the box under the loopback address that it has.
	if st.Box, err = box.New(box.Config{Binary: cfg.Parts.Program("rds-sim"), Dir: st.dir("box"), Host: sim.LoopbackHost()}); err != nil {
		return nil, err
	}
	if err := st.Box.Start(ctx); err != nil {
		return nil, err
	}
	return st, st.startController(ctx, cfg.Nodes)
}

func (st *Stage) dir(name string) string { return filepath.Join(st.cfg.Dir, name) }

// Know restarts the controller with a list of the nodes that exist. One that is not in it is lost: a revoke from it is
// forced, as from a node that Kubernetes has no object of any more.
func (st *Stage) Know(ctx context.Context, nodes ...string) error {
	if err := errors.Join(st.conn.Close(), st.controller.Stop()); err != nil {
		return err
	}
	return st.startController(ctx, nodes)
}

// startController starts rds-csi controller and returns when it is ready.
func (st *Stage) startController(ctx context.Context, nodes []string) error {
	dir := st.dir("controller")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	certificate, err := st.Box.Certificate()
	if err != nil {
		return err
	}
	for name, content := range map[string]string{"ca.pem": string(certificate), "password": box.Password} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			return err
		}
	}
	endpoint := "unix://" + filepath.Join(dir, "csi.sock")
	// A controller that has just started waits for what an earlier one may have sent: as long as a command may take.
	st.controller = controlplane.NewComponent(st.cfg.Parts.Program("rds-csi"), dir, "rds-csi", "controller",
		"--kubernetes=false", "--cluster-id="+cluster, "--nodes="+strings.Join(nodes, ","), "--endpoint="+endpoint,
		"--rds-address="+st.Box.Address(), "--rds-ca-file="+filepath.Join(dir, "ca.pem"), "--rds-user="+box.Username,
		"--rds-password-file="+filepath.Join(dir, "password"), "--http-address="+st.Box.Host()+":0", "--command-timeout=3s")
	if err := st.controller.Start(); err != nil {
		return err
	}
	if st.conn, err = grpc.NewClient(endpoint, grpc.WithTransportCredentials(insecure.NewCredentials())); err != nil {
		return fmt.Errorf("connect to the controller: %w", err)
	}
	return st.controller.Await(ctx, func(ctx context.Context) error {
		resp, err := csipb.NewIdentityClient(st.conn).Probe(ctx, &csipb.ProbeRequest{})
		if err == nil && !resp.GetReady().GetValue() {
			err = errors.New("the controller is not ready")
		}
		return err
	})
}

// Controller returns a client of the Controller service.
func (st *Stage) Controller() csipb.ControllerClient { return csipb.NewControllerClient(st.conn) }

// Boot boots the nodes side by side with a kernel. Those that were booted before are ended.
func (st *Stage) Boot(ctx context.Context, kernel string) ([]*guest.Node, error) {
	if err := st.endNodes(ctx); err != nil {
		return nil, err
	}
	st.boots++
	nodes, errs := make([]*guest.Node, len(st.cfg.Nodes)), make([]error, len(st.cfg.Nodes))
	var booting sync.WaitGroup
	for i, name := range st.cfg.Nodes {
		booting.Go(func() {
			nodes[i], errs[i] = guest.Boot(ctx, guest.Config{
				Parts: st.cfg.Parts, Kernel: kernel, Name: name, Dir: st.dir(fmt.Sprintf("%s-%d", name, st.boots)), Cluster: cluster,
			})
		})
	}
	booting.Wait()
	for _, n := range nodes {
		if n != nil {
			st.nodes = append(st.nodes, n)
		}
	}
	return nodes, errors.Join(errs...)
}

// endNodes turns all nodes off.
func (st *Stage) endNodes(ctx context.Context) error {
	var errs []error
	for _, n := range st.nodes {
		select {
		case <-n.Done():
			errs = append(errs, n.Kill())
		default:
			errs = append(errs, n.KeepLogs(ctx), n.PowerOff(ctx))
		}
	}
	st.nodes = nil
	return errors.Join(errs...)
}

// Close ends everything. What was logged is in the directory of the stage.
func (st *Stage) Close(ctx context.Context) error {
	errs := []error{st.endNodes(ctx)}
	if st.conn != nil {
		errs = append(errs, st.conn.Close())
	}
	if st.controller != nil {
		errs = append(errs, st.controller.Stop())
	}
	if st.Box != nil {
		errs = append(errs, st.Box.Stop())
	}
	return errors.Join(errs...)
}

// KeepLogs copies what was logged from the directory of a stage to another, each part's to a folder of its name.
func KeepLogs(from, to string) error {
	parts, err := os.ReadDir(from)
	if err != nil {
		return fmt.Errorf("keep logs: %w", err)
	}
	var errs []error
	for _, part := range parts {
		errs = append(errs, controlplane.KeepLogs(filepath.Join(from, part.Name()), filepath.Join(to, part.Name())))
	}
	return errors.Join(errs...)
}
