// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/rds-csi/rds-csi/actors"
	"github.com/rds-csi/rds-csi/e2e/box"
	"github.com/rds-csi/rds-csi/e2e/controlplane"
	"github.com/rds-csi/rds-csi/e2e/driver"
	"github.com/rds-csi/rds-csi/e2e/kubevirt"
	"github.com/rds-csi/rds-csi/e2e/manifests"
	"github.com/rds-csi/rds-csi/rds/sim"
	"github.com/rds-csi/rds-csi/telemetry/otlptest"
)

// A world is what one scenario has for itself.
type world struct {
	*Stage
	*plane
	name      string
	namespace string
	dir       string
	log       *slog.Logger
	logFile   *os.File
	box       *box.Box
	driver    *driver.Driver
	standby   *driver.Driver // nil: there is one controller
	args      []string       // more arguments for both
	nodes     map[string]*node
	volumes   map[string]actors.VolumeID // of claims, as known: the API server may be away
	classes   []string                   // StorageClasses of its own
	noted     map[string]int             // commands that the box had got
	kubevirt  bool                       // its resources are defined
	broken    bool                       // a command failed
	traces    *otlptest.Collector        // gets those of both controllers; nil: neither has run
	tally     *tally                     // of migrations
	dead      told                       // metrics of processes that were killed
}

// newWorld takes a control plane and makes a scenario's namespace and its box, which is off.
func (st *Stage) newWorld(ctx context.Context, name string) (_ *world, err error) {
	p, err := st.take()
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, st.retire(p))
		}
	}()
	n := st.count.Add(1)
	w := &world{
		Stage: st, plane: p, name: fmt.Sprintf("%s-%d", name, n), nodes: map[string]*node{}, volumes: map[string]actors.VolumeID{},
		tally: newTally(), dead: told{counted: map[string]int{}},
		namespace: fmt.Sprintf("s%d-%s", n, name), dir: filepath.Join(st.cfg.Dir, fmt.Sprintf("s%d", n)),
	}
	if err := os.MkdirAll(w.dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the scenario's directory: %w", err)
	}
	if w.logFile, err = os.Create(filepath.Join(w.dir, "nodes.log")); err != nil {
		return nil, fmt.Errorf("make the nodes' log: %w", err)
	}
	w.log = slog.New(slog.NewTextHandler(w.logFile, &slog.HandlerOptions{Level: slog.LevelDebug}))
	if w.box, err = box.New(box.Config{Binary: st.binary("rds-sim"), Dir: filepath.Join(w.dir, "box"), Host: sim.LoopbackHost()}); err != nil {
		return nil, err
	}
	_, err = p.control.Client().CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: w.namespace}}, metav1.CreateOptions{})
	if err != nil {
		return nil, fmt.Errorf("make the scenario's namespace: %w", err)
	}
	// Without it, no pod is taken.
	return w, eventually(ctx, func(ctx context.Context) error {
		_, err := p.control.Client().CoreV1().ServiceAccounts(w.namespace).Get(ctx, "default", metav1.GetOptions{})
		return err
	})
}

// pace is what the driver is started with unless a scenario says otherwise. For so long it makes, grants and deletes
// nothing after each start.
const pace = "--command-timeout=3s"

// start starts the box, and the driver beside it.
func (w *world) start(ctx context.Context, args []string) error {
	if err := w.box.Start(ctx); err != nil {
		return err
	}
	ca, err := w.box.Certificate()
	if err != nil {
		return fmt.Errorf("read the box's certificate: %w", err)
	}
	if w.traces, err = otlptest.Listen(ctx, w.box.Host()); err != nil {
		return err
	}
	if err := w.set.SetBox(manifests.Box{
		Address: w.box.Address(), NVMeAddress: w.box.Host(), Username: box.Username, Password: box.Password, CA: ca,
	}); err != nil {
		return err
	}
	w.args = append([]string{pace}, args...)
	if w.driver, err = w.controller(ctx, "driver", w.box.Host()); err != nil {
		return err
	}
	return w.driver.Start(ctx)
}

// controller makes a controller's pod that does not run yet.
func (w *world) controller(ctx context.Context, dir, host string) (*driver.Driver, error) {
	return driver.New(ctx, driver.Config{
		Set: w.set, Control: w.control, Binary: w.binary("rds-csi"), Tools: w.cfg.Tools,
		Dir: filepath.Join(w.dir, dir), Host: host, Args: append([]string{"--otlp=" + w.traces.Address()}, w.args...),
		Env: []string{"OTEL_BSP_SCHEDULE_DELAY=50"}, // ms; a span is sent before anybody asks for it
	})
}

// cleanUp ends a scenario. What went well is taken down as users do it, and must leave nothing. Where something
// failed the logs are kept, and nobody gets the control plane any more.
func (w *world) cleanUp(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Minute)
	defer cancel()
	var errs []error
	var said told
	if !w.broken {
		var err error
		if said, err = w.end(ctx); err != nil {
			w.broken = true
			errs = append(errs, fmt.Errorf("at the end of the scenario: %w", err))
		}
	}
	for _, d := range []*driver.Driver{w.driver, w.standby} {
		if d != nil {
			errs = append(errs, d.Stop())
		}
	}
	if w.driver != nil && !w.broken {
		errs = append(errs, w.agreeOn(ctx, &said)) // nothing was told later
	}
	for _, n := range w.nodes {
		errs = append(errs, n.powerOff())
	}
	if w.traces != nil {
		errs = append(errs, w.traces.Close())
	}
	errs = append(errs, w.box.Stop())
	if !w.broken && errors.Join(errs...) == nil {
		errs = append(errs, w.removeNodes(ctx), w.deleteNamespace(ctx), w.control.Err()) // nobody was to end by itself
	}
	errs = append(errs, w.logFile.Close())
	if w.broken || errors.Join(errs...) != nil {
		errs = append(errs, controlplane.KeepLogs(w.dir, filepath.Join(w.cfg.Logs, w.name)), w.retire(w.plane))
	} else {
		w.put(w.plane)
	}
	return errors.Join(append(errs, os.RemoveAll(w.dir))...)
}

// removeNodes takes the nodes, which are off, out of the cluster.
func (w *world) removeNodes(ctx context.Context) error {
	var errs []error
	for _, n := range w.nodes {
		errs = append(errs, n.remove(ctx))
	}
	return errors.Join(errs...)
}

func (w *world) deleteNamespace(ctx context.Context) error {
	err := w.control.Client().CoreV1().Namespaces().Delete(ctx, w.namespace, metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete the scenario's namespace: %w", err)
	}
	return nil
}

// leaveNothing deletes what the scenario made, and waits until neither the cluster nor the box has anything of it.
func (w *world) leaveNothing(ctx context.Context) error {
	if w.driver != nil {
		if err := w.deleteVolumes(ctx); err != nil {
			return err
		}
	}
	if err := w.removeClasses(ctx); err != nil {
		return err
	}
	if w.kubevirt {
		return kubevirt.Remove(ctx, w.dynamic)
	}
	return nil
}

// deleteVolumes deletes claims, and waits until nothing is left of them.
func (w *world) deleteVolumes(ctx context.Context) error {
	client := w.control.Client().CoreV1()
	if err := client.PersistentVolumeClaims(w.namespace).DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
		return fmt.Errorf("delete all claims: %w", err)
	}
	return eventually(ctx, func(ctx context.Context) error {
		volumes, err := client.PersistentVolumes().List(ctx, metav1.ListOptions{})
		if err != nil {
			return fmt.Errorf("list volumes: %w", err)
		}
		attachments, err := w.control.Client().StorageV1().VolumeAttachments().List(ctx, metav1.ListOptions{})
		if err != nil {
			return fmt.Errorf("list attachments: %w", err)
		}
		disks, err := w.box.Disks(ctx)
		if err != nil {
			return err
		}
		files, err := w.box.Files(ctx)
		if err != nil {
			return err
		}
		if n := len(volumes.Items) + len(attachments.Items) + len(disks) + len(files); n > 0 {
			return fmt.Errorf("left behind: %d volumes, %d attachments, on the box %d disks and %d files",
				len(volumes.Items), len(attachments.Items), len(disks), len(files))
		}
		return nil
	})
}
