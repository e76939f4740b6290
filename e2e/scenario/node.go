// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/rds-csi/rds-csi/actors"
	"github.com/rds-csi/rds-csi/e2e/kubelet"
	nodeplugin "github.com/rds-csi/rds-csi/e2e/node"
)

// A node is a machine: its kubelet and the driver's node plugin.
type node struct {
	w       *world
	name    string
	plugin  *nodeplugin.Plugin
	kubelet *kubelet.Kubelet
	stop    context.CancelFunc
	done    chan struct{} // closed when the kubelet has ended; nil: it is off
}

// addNode makes a node of the cluster.
func (w *world) addNode(ctx context.Context, name string) error {
	if w.nodes[name] != nil {
		return fmt.Errorf("node %s is there already", name)
	}
	n := &node{w: w, name: name}
	w.nodes[name] = n
	if err := n.boot(ctx); err != nil {
		return err
	}
	return n.kubelet.Register(ctx)
}

// boot starts the node's programs.
func (n *node) boot(ctx context.Context) (err error) {
	dir := filepath.Join(n.w.dir, n.name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the directory of node %s: %w", n.name, err)
	}
	log := n.w.log.With("node", n.name)
	if n.plugin, err = nodeplugin.Start(ctx, nodeplugin.Config{Name: n.name, Cluster: n.w.cluster, Driver: driverName, Dir: dir, Logger: log}); err != nil {
		return err
	}
	n.kubelet = kubelet.New(kubelet.Config{
		Name: n.name, Cluster: n.w.pods, Driver: driverName, Node: n.plugin.Client(), Dir: filepath.Join(dir, "kubelet"), Logger: log,
		Write: func(id actors.VolumeID) kubelet.Writer { return n.plugin.Write(id) },
	})
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	n.stop, n.done = cancel, make(chan struct{})
	go func() {
		defer close(n.done)
		n.kubelet.Run(run)
	}()
	return nil
}

// powerOff ends the node's programs and its connections, and lets the cluster know as late as it would.
func (n *node) powerOff() error {
	if n.done == nil {
		return nil
	}
	n.stop()
	<-n.done
	n.done = nil
	return errors.Join(n.plugin.PowerOff(), n.plugin.Close())
}

// remove takes the node out of the cluster.
func (n *node) remove(ctx context.Context) error {
	var errs []error
	err := n.w.control.Client().CoreV1().Nodes().Delete(ctx, n.name, metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		errs = append(errs, fmt.Errorf("delete node %s: %w", n.name, err))
	}
	err = n.w.control.Client().StorageV1().CSINodes().Delete(ctx, n.name, metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		errs = append(errs, fmt.Errorf("delete CSINode %s: %w", n.name, err))
	}
	return errors.Join(errs...)
}

// taint puts a taint on the node, or takes all off.
func (n *node) taint(ctx context.Context, key string, on bool) error {
	var taints []corev1.Taint
	if on {
		taints = []corev1.Taint{{Key: key, Value: "nodeshutdown", Effect: corev1.TaintEffectNoExecute}}
	}
	return n.patch(ctx, map[string]any{"taints": taints})
}

// cordon keeps new pods off the node, or lets them on it again.
func (n *node) cordon(ctx context.Context, on bool) error {
	return n.patch(ctx, map[string]any{"unschedulable": on})
}

// patch merges into the node's spec.
func (n *node) patch(ctx context.Context, spec map[string]any) error {
	body, err := json.Marshal(map[string]any{"spec": spec})
	if err != nil {
		return fmt.Errorf("patch node %s: %w", n.name, err)
	}
	if _, err := n.w.control.Client().CoreV1().Nodes().Patch(ctx, n.name, types.MergePatchType, body, metav1.PatchOptions{}); err != nil {
		return fmt.Errorf("patch node %s: %w", n.name, err)
	}
	return nil
}
