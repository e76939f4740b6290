// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package kubevirt

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// A Move is a step of a migration.
type Move func(ctx context.Context, s *Script, m *Migration) error

// Moves are the steps of a migration, by their names. After "begin", made by Begin, comes "handoff", and
// then one of the others.
var Moves = map[string]Move{
	"handoff": handOff,
	"succeed": succeed,
	"fail":    fail,
	"abort":   abort,
}

// A Migration is a migration of a VM as its objects tell it.
type Migration struct {
	vm, name       string
	uid            string
	source, target *corev1.Pod
}

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
	var claims []string
	volumes, _, err := unstructured.NestedSlice(vmi.Object, "spec", "volumes")
	if err != nil {
		return fmt.Errorf("migrate %s: %w", vm, err)
	}
	for _, v := range volumes {
		volume, _ := v.(map[string]any)
		claim, _, err := unstructured.NestedString(volume, "persistentVolumeClaim", "claimName")
		if err != nil {
			return fmt.Errorf("migrate %s: %w", vm, err)
		}
		claims = append(claims, claim)
	}
	if err := s.move(ctx, Migrations, migration, map[string]any{"phase": "Scheduling"}); err != nil {
		return err
	}
	return s.launch(ctx, vmi, launcher(vm)+"-"+migration, node, string(vmim.GetUID()), claims)
}

// Migration reads how far a migration is.
func (s *Script) Migration(ctx context.Context, migration string) (*Migration, error) {
	vmim, err := s.Dynamic.Resource(Migrations).Namespace(s.Namespace).Get(ctx, migration, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("read migration %s: %w", migration, err)
	}
	m := &Migration{name: migration, uid: string(vmim.GetUID())}
	if m.vm, _, err = unstructured.NestedString(vmim.Object, "spec", "vmiName"); err != nil {
		return nil, fmt.Errorf("read migration %s: %w", migration, err)
	}
	pods, err := s.Client.CoreV1().Pods(s.Namespace).List(ctx, metav1.ListOptions{LabelSelector: labelVM + "=" + m.vm})
	if err != nil {
		return nil, fmt.Errorf("read migration %s: %w", migration, err)
	}
	for _, pod := range pods.Items {
		switch {
		case pod.Labels[labelMigration] == m.uid:
			m.target = &pod
		case pod.Status.Phase == corev1.PodRunning:
			m.source = &pod
		}
	}
	if m.source == nil || m.target == nil {
		return nil, fmt.Errorf("migration %s has not both a source and a target pod", migration)
	}
	return m, nil
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
		"migrationConfiguration": map[string]any{"completionTimeoutPerGiB": 150, "progressTimeout": 150, "allowPostCopy": false},
	}); err != nil {
		return err
	}
	for _, phase := range []string{"PreparingTarget", "TargetReady"} {
		if err := s.move(ctx, Migrations, m.name, map[string]any{"phase": phase}); err != nil {
			return err
		}
	}
	if err := s.state(ctx, m, map[string]any{"startTimestamp": now()}); err != nil {
		return err
	}
	return s.move(ctx, Migrations, m.name, map[string]any{"phase": "Running"})
}

// succeed is when the target's domain is active: the VM is there, and its source completes.
func succeed(ctx context.Context, s *Script, m *Migration) error {
	if err := s.annotate(ctx, m.source.Name, s.Writes, "false"); err != nil {
		return err
	}
	if err := s.annotate(ctx, m.target.Name, s.Writes, "true"); err != nil {
		return err
	}
	if err := s.state(ctx, m, map[string]any{"targetNodeDomainReadyTimestamp": now()}); err != nil {
		return err
	}
	if err := s.move(ctx, Instances, m.vm, map[string]any{
		"nodeName":       m.target.Spec.NodeName,
		"migrationState": map[string]any{"endTimestamp": now(), "completed": true},
	}); err != nil {
		return err
	}
	if err := s.finish(ctx, m, "Succeeded"); err != nil {
		return err
	}
	return s.annotate(ctx, m.source.Name, s.Completes, "true")
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
		return fmt.Errorf("end migration %s: %w", m.name, err)
	}
	state, _, err := unstructured.NestedMap(vmi.Object, "status", "migrationState")
	if err != nil {
		return fmt.Errorf("end migration %s: %w", m.name, err)
	}
	return s.move(ctx, Migrations, m.name, map[string]any{"phase": phase, "migrationState": state})
}
