// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/rds-csi/rds-csi/actors"
)

// Annotations of a pod that tell its node what its container does.
const (
	Writes    = "e2e.rds-csi/writes"    // "true": it writes to its first volume, for as long as it runs
	Completes = "e2e.rds-csi/completes" // "true": it ends by itself, with success
)

// A Writer is what writes to a volume in the place of a container.
type Writer interface {
	Acked() uint64
	Stop()
}

// A Config says which node. All fields are required.
type Config struct {
	Name    string
	Cluster *Cluster
	Driver  string           // name of the driver
	Node    csipb.NodeClient // the driver's Node service
	Dir     string           // the kubelet's root directory, which is made
	Logger  *slog.Logger
	// Write starts a writer on a staged volume.
	Write func(actors.VolumeID) Writer
}

// A Kubelet is the kubelet of one node.
type Kubelet struct {
	cfg  Config
	pods map[types.UID]*pod // what this node has set up; owned by Run
	told []string           // volumes in use, as the API server knows; owned by Run

	mu      sync.Mutex
	writers map[string]Writer // by the pod's namespace/name
	frozen  bool
}

// A pod is what a node has of a pod.
type pod struct {
	namespace, name string
	volumes         []*volume // set up, in their order
	running         bool
	notBefore       time.Time // of the next attempt after a failed one
	said            string    // the last trouble that was logged
}

// New returns a kubelet that does nothing yet.
func New(cfg Config) *Kubelet {
	return &Kubelet{cfg: cfg, pods: map[types.UID]*pod{}, writers: map[string]Writer{}}
}

// The times of the loop: it is woken by what happens, and looks itself once in a while.
const (
	period  = 250 * time.Millisecond
	backoff = 500 * time.Millisecond
	// heartbeat is how often a node's status is sent anew although nothing changed. The attach/detach
	// controller takes a volume that it may have attached for one in use until then. A kubelet's is 5 minutes.
	heartbeat = 2 * time.Second
)

// Run does the work until ctx ends.
func (k *Kubelet) Run(ctx context.Context) {
	wake := k.cfg.Cluster.listen(k.cfg.Name)
	tick := time.NewTicker(period)
	defer tick.Stop()
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	for {
		if !k.Frozen() {
			k.look(ctx)
		}
		select {
		case <-wake:
		case <-tick.C:
		case <-beat.C:
			k.told = nil
		case <-ctx.Done():
			k.stopWriters()
			return
		}
	}
}

// Freeze lets the kubelet do nothing any more, while its containers go on; Thaw ends that.
func (k *Kubelet) Freeze(frozen bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.frozen = frozen
}

// Frozen reports whether the kubelet is frozen.
func (k *Kubelet) Frozen() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.frozen
}

// Acked tells how many writes of a pod were acknowledged, and false if it is not writing here.
func (k *Kubelet) Acked(namespace, name string) (uint64, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	w, ok := k.writers[namespace+"/"+name]
	if !ok {
		return 0, false
	}
	return w.Acked(), true
}

// look brings every pod of the node one step further.
func (k *Kubelet) look(ctx context.Context) {
	bound, err := k.cfg.Cluster.podsOf(k.cfg.Name)
	if err != nil {
		k.cfg.Logger.Error("cannot list pods", "error", err)
		return
	}
	there := map[types.UID]*corev1.Pod{}
	for _, p := range bound {
		there[p.UID] = p
		if k.pods[p.UID] == nil && p.DeletionTimestamp == nil && !over(p) {
			k.pods[p.UID] = &pod{namespace: p.Namespace, name: p.Name}
		}
	}
	for uid, mine := range k.pods {
		if there[uid] == nil {
			k.try(ctx, mine, func() error { return k.forget(ctx, uid, mine) })
		}
	}
	for uid, p := range there {
		mine := k.pods[uid]
		if mine == nil {
			mine = &pod{namespace: p.Namespace, name: p.Name} // nothing was set up, or not by this kubelet
		}
		k.try(ctx, mine, func() error { return k.sync(ctx, mine, p) })
	}
	if err := k.tellInUse(ctx); err != nil && ctx.Err() == nil {
		k.cfg.Logger.Warn("cannot tell which volumes are in use", "error", err)
	}
}

// try does something for a pod, not too soon after it failed.
func (k *Kubelet) try(ctx context.Context, mine *pod, do func() error) {
	now := time.Now()
	if now.Before(mine.notBefore) || ctx.Err() != nil {
		return
	}
	err := do()
	switch {
	case err == nil, errors.Is(err, errNotYet):
		mine.said = ""
		return
	case err.Error() != mine.said:
		mine.said = err.Error()
		k.cfg.Logger.Warn("pod is in trouble", "pod", mine.name, "error", err)
	}
	mine.notBefore = now.Add(backoff)
}

// forget cleans up after a pod that the API server has no more.
func (k *Kubelet) forget(ctx context.Context, uid types.UID, mine *pod) error {
	k.stopWriter(mine)
	if err := k.teardown(ctx, uid, mine); err != nil {
		return err
	}
	delete(k.pods, uid)
	return nil
}

func over(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
}

// sync brings a pod further.
func (k *Kubelet) sync(ctx context.Context, mine *pod, p *corev1.Pod) error {
	switch {
	case p.DeletionTimestamp != nil:
		return k.end(ctx, mine, p)
	case over(p):
		k.stopWriter(mine)
		return k.teardown(ctx, p.UID, mine)
	case p.Annotations[Completes] == "true" && mine.running:
		k.stopWriter(mine)
		return k.tell(ctx, p, completed(p))
	}
	if err := k.setup(ctx, mine, p); err != nil {
		return err
	}
	if !mine.running {
		if err := k.tell(ctx, p, running(p)); err != nil {
			return err
		}
		mine.running = true
	}
	k.follow(mine, p.Annotations[Writes] == "true")
	return k.expand(ctx, mine)
}

// end ends a pod that is being deleted: its containers, its volumes, itself.
func (k *Kubelet) end(ctx context.Context, mine *pod, p *corev1.Pod) error {
	k.stopWriter(mine)
	if mine.running {
		if err := k.tell(ctx, p, completed(p)); err != nil {
			return err
		}
		mine.running = false
	}
	if err := k.teardown(ctx, p.UID, mine); err != nil {
		return err
	}
	return k.remove(ctx, p)
}

// follow starts or stops the pod's writer.
func (k *Kubelet) follow(mine *pod, writes bool) {
	name := mine.namespace + "/" + mine.name
	k.mu.Lock()
	w := k.writers[name]
	k.mu.Unlock()
	switch {
	case writes && w == nil && len(mine.volumes) > 0:
		w := k.cfg.Write(actors.VolumeID(mine.volumes[0].handle))
		k.mu.Lock()
		k.writers[name] = w
		k.mu.Unlock()
	case !writes && w != nil:
		k.stopWriter(mine)
	}
}

func (k *Kubelet) stopWriter(mine *pod) {
	name := mine.namespace + "/" + mine.name
	k.mu.Lock()
	w := k.writers[name]
	delete(k.writers, name)
	k.mu.Unlock()
	if w != nil {
		w.Stop()
	}
}

func (k *Kubelet) stopWriters() {
	k.mu.Lock()
	writers := k.writers
	k.writers = map[string]Writer{}
	k.mu.Unlock()
	for _, w := range writers {
		w.Stop()
	}
}
