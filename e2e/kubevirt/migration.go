// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package kubevirt

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// A Move is a step of a migration.
type Move func(ctx context.Context, s *Script, m *Migration) error

// Moves are the steps of a migration, by their names. After Begin comes "handoff", unless it is cancelled
// before.
var Moves = map[string]Move{
	"cancel":   cancel,
	"handoff":  handOff,
	"postcopy": postCopy,
	"arrive":   arrive,
	"complete": complete,
	"succeed":  succeed,
	"fail":     fail,
	"abort":    abort,
	"lose":     lose,
}

// Results are what KubeVirt says of a migration with a step, "success" or "failed". Of the other steps it
// leaves open how the migration ends.
var Results = map[string]string{
	"complete": "success", "succeed": "success", "cancel": "failed", "fail": "failed", "abort": "failed",
}

// A Migration is a migration of a VM as its objects tell it.
type Migration struct {
	Name   string
	Claims []string // of the VM's disks

	// PerGiB and Progress are the times that a hand-off allows, in seconds.
	PerGiB, Progress int64

	vm, uid        string
	plugged        bool        // some of its disks are
	source, target *corev1.Pod // launchers
}

// KubeVirt's own limits, in seconds.
const (
	perGiB   = 150
	progress = 150

	guestGiB = 1 // a VM's memory, rounded up
)

// Begin creates a migration of a VM to a node, and its target pod.
func (s *Script) Begin(ctx context.Context, vm, migration, node string) error {
	vmi, err := s.Dynamic.Resource(Instances).Namespace(s.Namespace).Get(ctx, vm, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("migrate %s: %w", vm, err)
	}
	vmim, err := s.create(ctx, Migrations, "VirtualMachineInstanceMigration", migration, map[string]any{"vmiName": vm})
	if err != nil {
		return err
	}
	claims, plugged, err := disks(vmi)
	if err != nil {
		return fmt.Errorf("migrate %s: %w", vm, err)
	}
	if err := s.move(ctx, Migrations, migration, map[string]any{"phase": "Scheduling"}); err != nil {
		return err
	}
	return s.launch(ctx, vmi, launch{
		name: launcher(vm) + "-" + migration, node: node, migration: string(vmim.GetUID()), claims: claims, plugged: plugged,
	})
}

// Migration reads how far a migration is.
func (s *Script) Migration(ctx context.Context, migration string) (*Migration, error) {
	vmim, err := s.Dynamic.Resource(Migrations).Namespace(s.Namespace).Get(ctx, migration, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("read migration %s: %w", migration, err)
	}
	m := &Migration{PerGiB: perGiB, Progress: progress, Name: migration, uid: string(vmim.GetUID())}
	if m.vm, _, err = unstructured.NestedString(vmim.Object, "spec", "vmiName"); err != nil {
		return nil, fmt.Errorf("read migration %s: %w", migration, err)
	}
	vmi, err := s.Dynamic.Resource(Instances).Namespace(s.Namespace).Get(ctx, m.vm, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("read migration %s: %w", migration, err)
	}
	claims, plugged, err := disks(vmi)
	if err != nil {
		return nil, fmt.Errorf("read migration %s: %w", migration, err)
	}
	m.Claims, m.plugged = slices.Concat(claims, plugged), len(plugged) > 0
	if err := s.launchers(ctx, vmi, m); err != nil {
		return nil, err
	}
	return m, nil
}

// Nodes returns where the migration goes from and to.
func (m *Migration) Nodes() (source, target string) {
	return m.source.Spec.NodeName, m.target.Spec.NodeName
}

// Limit is how long KubeVirt gives it from its hand-off on.
func (m *Migration) Limit() time.Duration {
	return time.Duration(m.PerGiB*guestGiB+m.Progress) * time.Second
}

// launchers finds a migration's two pods. The source is the launcher that runs, or that ran.
func (s *Script) launchers(ctx context.Context, vmi *unstructured.Unstructured, m *Migration) error {
	pods, err := s.Client.CoreV1().Pods(s.Namespace).List(ctx, metav1.ListOptions{LabelSelector: labelVM + "=" + m.vm})
	if err != nil {
		return fmt.Errorf("read migration %s: %w", m.Name, err)
	}
	handed, _, err := unstructured.NestedString(vmi.Object, "status", "migrationState", "sourcePod")
	if err != nil {
		return fmt.Errorf("read migration %s: %w", m.Name, err)
	}
	for _, pod := range pods.Items {
		switch {
		case pod.Labels[labelMigration] == m.uid:
			m.target = &pod
		case pod.Status.Phase == corev1.PodRunning, m.source == nil && pod.Name == handed:
			m.source = &pod
		}
	}
	if m.source == nil || m.target == nil {
		return fmt.Errorf("migration %s has not both a source and a target pod", m.Name)
	}
	return nil
}

// state moves the VMI's migrationState.
func (s *Script) state(ctx context.Context, m *Migration, state map[string]any) error {
	return s.move(ctx, Instances, m.vm, map[string]any{"migrationState": state})
}

// handOff is when virt-controller hands a migration to the nodes: only now the VMI tells of it.
func handOff(ctx context.Context, s *Script, m *Migration) error {
	if err := s.state(ctx, m, map[string]any{
		"migrationUid": m.uid, "sourceNode": m.source.Spec.NodeName, "targetNode": m.target.Spec.NodeName,
		"targetPod": m.target.Name, "sourcePod": m.source.Name,
		"migrationConfiguration": map[string]any{
			"completionTimeoutPerGiB": m.PerGiB, "progressTimeout": m.Progress, "allowPostCopy": false,
		},
		// Nothing stays of the migration before.
		"startTimestamp": nil, "endTimestamp": nil, "targetNodeDomainReadyTimestamp": nil, "completed": nil, "mode": nil,
		"failed": nil, "failureReason": nil, "abortRequested": nil, "abortStatus": nil,
	}); err != nil {
		return err
	}
	for _, phase := range []string{"PreparingTarget", "TargetReady"} {
		if err := s.move(ctx, Migrations, m.Name, map[string]any{"phase": phase}); err != nil {
			return err
		}
	}
	if err := s.state(ctx, m, map[string]any{"startTimestamp": now()}); err != nil {
		return err
	}
	return s.move(ctx, Migrations, m.Name, map[string]any{"phase": "Running"})
}

// cancel is when somebody deletes the migration before its hand-off: the VMI never tells of it.
func cancel(ctx context.Context, s *Script, m *Migration) error {
	if err := s.move(ctx, Migrations, m.Name, map[string]any{"phase": "Failed"}); err != nil {
		return err
	}
	if err := s.Dynamic.Resource(Migrations).Namespace(s.Namespace).Delete(ctx, m.Name, metav1.DeleteOptions{}); err != nil {
		return fmt.Errorf("cancel migration %s: %w", m.Name, err)
	}
	return s.deleteTarget(ctx, m)
}

// postCopy is when the VM goes on at the target although much of its memory is still at the source.
func postCopy(ctx context.Context, s *Script, m *Migration) error {
	if err := s.state(ctx, m, map[string]any{"mode": "PostCopy"}); err != nil {
		return err
	}
	return s.handWrites(ctx, m)
}

// handWrites stops the VM's writes at the source and lets them begin at the target.
func (s *Script) handWrites(ctx context.Context, m *Migration) error {
	if err := s.write(ctx, m.source.Name, m.plugged, false); err != nil {
		return err
	}
	return s.write(ctx, m.target.Name, m.plugged, true)
}

// succeed is when the target's domain is active: the VM is there, and its source ends.
func succeed(ctx context.Context, s *Script, m *Migration) error {
	if err := s.settle(ctx, m); err != nil {
		return err
	}
	if err := complete(ctx, s, m); err != nil {
		return err
	}
	return s.annotate(ctx, m.source.Name, s.Completes, "true")
}

// arrive is when the source ends before KubeVirt has said that the migration is complete.
func arrive(ctx context.Context, s *Script, m *Migration) error {
	if err := s.settle(ctx, m); err != nil {
		return err
	}
	return s.annotate(ctx, m.source.Name, s.Completes, "true")
}

// settle is when the VM runs on the target, as its node says.
func (s *Script) settle(ctx context.Context, m *Migration) error {
	if err := s.handWrites(ctx, m); err != nil {
		return err
	}
	if err := s.state(ctx, m, map[string]any{"targetNodeDomainReadyTimestamp": now()}); err != nil {
		return err
	}
	return s.move(ctx, Instances, m.vm, map[string]any{
		"nodeName": m.target.Spec.NodeName, "migrationState": map[string]any{"endTimestamp": now()},
	})
}

// complete is when KubeVirt says that the migration is.
func complete(ctx context.Context, s *Script, m *Migration) error {
	if err := s.state(ctx, m, map[string]any{"completed": true}); err != nil {
		return err
	}
	return s.finish(ctx, m, "Succeeded")
}

// lose is when the VM is lost with a migration that cannot go back. What becomes of the pods is not said.
func lose(ctx context.Context, s *Script, m *Migration) error {
	if err := s.move(ctx, Instances, m.vm, map[string]any{
		"phase":          "Failed",
		"migrationState": map[string]any{"endTimestamp": now(), "completed": true, "failed": true, "failureReason": "post-copy broke"},
	}); err != nil {
		return err
	}
	return s.finish(ctx, m, "Failed")
}

// fail is when the migration broke: the VM goes on at its source, and the target is deleted.
func fail(ctx context.Context, s *Script, m *Migration) error {
	if err := s.state(ctx, m, map[string]any{
		"endTimestamp": now(), "completed": true, "failed": true, "failureReason": "the connection to the target was lost",
	}); err != nil {
		return err
	}
	return s.abandon(ctx, m)
}

// abort is when somebody cancelled the migration after its hand-off.
func abort(ctx context.Context, s *Script, m *Migration) error {
	if err := s.state(ctx, m, map[string]any{"abortRequested": true}); err != nil {
		return err
	}
	if err := s.state(ctx, m, map[string]any{
		"abortStatus": "Succeeded", "endTimestamp": now(), "completed": true, "failed": true,
	}); err != nil {
		return err
	}
	return s.abandon(ctx, m)
}

func (s *Script) abandon(ctx context.Context, m *Migration) error {
	if err := s.finish(ctx, m, "Failed"); err != nil {
		return err
	}
	return s.deleteTarget(ctx, m)
}

func (s *Script) deleteTarget(ctx context.Context, m *Migration) error {
	if err := s.Client.CoreV1().Pods(s.Namespace).Delete(ctx, m.target.Name, metav1.DeleteOptions{}); err != nil {
		return fmt.Errorf("delete the target pod: %w", err)
	}
	return nil
}

// finish moves the migration to its last phase. It keeps a copy of the VMI's state, which the next
// migration overwrites.
func (s *Script) finish(ctx context.Context, m *Migration, phase string) error {
	vmi, err := s.Dynamic.Resource(Instances).Namespace(s.Namespace).Get(ctx, m.vm, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("end migration %s: %w", m.Name, err)
	}
	state, _, err := unstructured.NestedMap(vmi.Object, "status", "migrationState")
	if err != nil {
		return fmt.Errorf("end migration %s: %w", m.Name, err)
	}
	return s.move(ctx, Migrations, m.Name, map[string]any{"phase": phase, "migrationState": state})
}
