// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/rds-csi/rds-csi/actors"
)

// Commands are the words of the scripts. Those that state something wait until it is so.
var Commands = map[string]Command{
	"cluster":     {"NODE... [count=N] [-- ARGUMENT...]: start the box, the driver with more arguments and " + pace + " before them, and nodes", cluster},
	"driver":      {"kill|start|freeze|thaw: SIGKILL the driver, start it again, or halt it", driverCommand},
	"sidecar":     {"NAME kill: SIGKILL a sidecar, which is started again like any container that ends", sidecar},
	"standby":     {"start|leads|freeze|thaw|says TEXT: a second controller; once it leads, it is the driver, and the other one the standby", standby},
	"api":         {"away | back: take the API server away, or bring it back", api},
	"pause":       {"DURATION: how long a fault lasts; never to wait for something", pause},
	"provision":   {"CLAIM [count=N] [class=rds-vm] [size=64Mi] [access=RWX] [mode=Block] [waits=true]: make a claim, and wait until it is bound unless it waits", provision},
	"expand":      {"CLAIM SIZE: ask for a larger volume", expand},
	"pod":         {"POD claim=CLAIM [node=NODE] [writes=true] [count=N]: make a pod; with count, POD-0 has CLAIM-0 and so on", pod},
	"replicaset":  {"NAME claim=CLAIM [count=N]: make a set of one pod, which is made anew wherever it can run", replicaset},
	"delete":      {"pod|replicaset|claim NAME [count=N] [force=true]: delete it", remove},
	"wait-for":    {"pod NAME running|succeeded|gone, replicaset NAME running, claim NAME bound|gone|SIZE, each with [count=N]", waitFor},
	"attached":    {"CLAIM [NODE...|somewhere] [count=N]: there are VolumeAttachments for exactly these nodes, and they are attached", attached},
	"refused":     {"CLAIM NODE TEXT: its VolumeAttachment is not attached, and its error says so", refused},
	"event":       {"CLAIM REASON [N] [saying=TEXT]: so many events of it are told on the claim, at least one without N", event},
	"span":        {"CLAIM NAME [N] [result=R] [source=NODE] [target=NODE] [decided-by=WHO]: so many spans of it were sent, at least one without N", span},
	"metric":      {"SERIES VALUE | SERIES +VALUE: the driver's metric is this, or at least this", metric},
	"box":         {"off|on|freeze|thaw|mend, do WHAT JSON, disks N exported N, met N, note, unchanged, or CLAIM granted=NODES [export=true] [size=SIZE] [allow=NODE]", boxCommand},
	"node":        {"NODE kill|boot|freeze|thaw|cordon|uncordon|out-of-service|in-service", nodeCommand},
	"drain":       {"NODE: cordon it and evict its pods", drain},
	"writing":     {"POD: its VM's writes are acknowledged, from here on", writing},
	"fenced":      {"CLAIM NODE while=POD: nothing of the node is written any more, while another pod goes on writing", fenced},
	"kubevirt":    {"install: define KubeVirt's resources, until the end of the scenario", kubevirtCommand},
	"vm":          {"VM [claim=CLAIM,...] [plugged=CLAIM,...] node=NODE [waits=true]: boot a VM, with disks that are plugged into it by a pod of their own; one that waits is booted later", vm},
	"booted":      {"VM: one that waited runs", booted},
	"migrate":     {"VM MIGRATION to=NODE [waits=true]: begin a migration, and wait until its target pod runs, unless it waits", migrate},
	"launched":    {"VM MIGRATION: the target pod of a migration that waited runs", launched},
	"migration":   {"MIGRATION cancel|handoff [per-gib=S] [progress=S]|postcopy|arrive|complete|succeed|fail|abort|lose: go a step on", migration},
	"class":       {"NAME LIKE [PARAMETER=VALUE...]: make a StorageClass like another one, until the end of the scenario", class},
	"release":     {"CLAIM NODE: remove its VolumeAttachment by force", release},
	"restore":     {"CLAIM NODE: bring an attached VolumeAttachment back from a backup, while the driver is away", restore},
	"edit":        {"CLAIM JSON: change its PersistentVolume by hand", edit},
	"bring":       {"CLAIM VOLUME: make a PersistentVolume by hand, and a claim that has it", bring},
	"driver-says": {"TEXT: the driver's log holds it", driverSays},
}

func cluster(ctx context.Context, w *world, args []string) error {
	if w.driver != nil {
		return fmt.Errorf("there is a cluster already")
	}
	var more []string
	if i := slices.Index(args, "--"); i >= 0 {
		args, more = args[:i], args[i+1:]
	}
	ws, err := parse(args, 1, "count")
	if err != nil {
		return err
	}
	if err := w.start(ctx, more); err != nil {
		return err
	}
	for _, word := range ws.plain {
		names, err := ws.names(word)
		if err != nil {
			return err
		}
		for _, name := range names {
			if err := w.addNode(ctx, name); err != nil {
				return err
			}
		}
	}
	return nil
}

func driverCommand(ctx context.Context, w *world, args []string) error {
	switch strings.Join(args, " ") {
	case "kill":
		w.countBefore(ctx)
		return w.driver.Kill()
	case "start":
		return w.driver.Start(ctx)
	case "freeze", "thaw":
		return w.driver.Freeze(args[0] == "freeze")
	}
	return fmt.Errorf("a driver can be killed, started, frozen and thawed")
}

func api(ctx context.Context, w *world, args []string) error {
	switch strings.Join(args, " ") {
	case "away":
		return w.control.KillAPIServer()
	case "back":
		return w.control.StartAPIServer(ctx)
	}
	return fmt.Errorf("an API server can be away and back")
}

func pause(ctx context.Context, _ *world, args []string) error {
	d, err := time.ParseDuration(strings.Join(args, " "))
	if err != nil {
		return fmt.Errorf("read the duration: %w", err)
	}
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func metric(ctx context.Context, w *world, args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("a series and a value are needed")
	}
	text, least := strings.CutPrefix(args[1], "+")
	want, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return fmt.Errorf("read the value: %w", err)
	}
	return eventually(ctx, func(ctx context.Context) error {
		series, err := w.driver.Metrics(ctx)
		if err != nil {
			return err
		}
		// A series that nothing has happened to yet is not there.
		if got := series[args[0]]; got == want || least && got > want {
			return nil
		}
		return fmt.Errorf("%s is %v", args[0], series[args[0]])
	})
}

func (w *world) node(name string) (*node, error) {
	n, ok := w.nodes[name]
	if !ok {
		return nil, fmt.Errorf("there is no node %s", name)
	}
	return n, nil
}

func nodeCommand(ctx context.Context, w *world, args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("a node and what happens to it are needed")
	}
	n, err := w.node(args[0])
	if err != nil {
		return err
	}
	switch args[1] {
	case "kill":
		if err := n.powerOff(); err != nil {
			return err
		}
		return n.kubelet.SetReady(ctx, corev1.ConditionUnknown)
	case "boot":
		if err := n.boot(ctx); err != nil {
			return err
		}
		return n.kubelet.SetReady(ctx, corev1.ConditionTrue)
	case "freeze", "thaw":
		n.kubelet.Freeze(args[1] == "freeze")
		return nil
	case "cordon", "uncordon":
		return n.cordon(ctx, args[1] == "cordon")
	case "out-of-service", "in-service":
		return n.taint(ctx, corev1.TaintNodeOutOfService, args[1] == "out-of-service")
	}
	return fmt.Errorf("nothing like %s happens to a node", args[1])
}

// acked tells how many writes of a pod were acknowledged, wherever it runs.
func (w *world) acked(pod string) (uint64, error) {
	for _, n := range w.nodes {
		if acked, ok := n.kubelet.Acked(w.namespace, pod); ok {
			return acked, nil
		}
	}
	return 0, fmt.Errorf("pod %s writes nowhere", pod)
}

// goOn waits until a pod's VM has written some more.
func (w *world) goOn(ctx context.Context, pod string) error {
	const more = 20 // writes
	first, known := uint64(0), false
	return eventually(ctx, func(context.Context) error {
		now, err := w.acked(pod)
		switch {
		case err != nil:
			return err
		case !known:
			first, known = now, true
		}
		if now < first+more {
			return fmt.Errorf("pod %s has written %d blocks", pod, now-first)
		}
		return nil
	})
}

func writing(ctx context.Context, w *world, args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("a pod is needed")
	}
	return w.goOn(ctx, args[0])
}

func fenced(ctx context.Context, w *world, args []string) error {
	ws, err := parse(args, 2, "while")
	if err != nil {
		return err
	}
	id, err := w.volumeOf(ctx, ws.plain[0])
	if err != nil {
		return err
	}
	host := actors.HostOf(w.cluster, actors.NodeID(ws.plain[1])).NQN
	_, before, err := w.box.Written(ctx, id, host)
	if err != nil {
		return err
	}
	if before == 0 {
		return fmt.Errorf("node %s has never written, so nothing would be proved", ws.plain[1])
	}
	if err := w.goOn(ctx, ws.keyed["while"]); err != nil {
		return err
	}
	last, after, err := w.box.Written(ctx, id, host)
	if err == nil && after != before {
		err = fmt.Errorf("node %s has written %d more blocks, the last at %v", ws.plain[1], after-before, last)
	}
	return err
}
