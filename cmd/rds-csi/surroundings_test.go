// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"flag"
	"io"
	"log/slog"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes/fake"
	storageclient "k8s.io/client-go/kubernetes/typed/storage/v1"

	"github.com/rds-csi/rds-csi/actors"
	"github.com/rds-csi/rds-csi/telemetry"
)

// noKubeVirt returns a client of a cluster that has no KubeVirt.
func noKubeVirt() dynamic.Interface { return dynamicfake.NewSimpleDynamicClient(runtime.NewScheme()) }

// In a cluster the actors learn what a node was told, by the key under which it was told; and everything that
// has to run does, until the end.
func TestSurroundingsInKubernetes(t *testing.T) {
	const (
		id   = actors.VolumeID("pvc-3b3a5c0e-6f0c-4b62-9f5e-0d0c1a7d9a11")
		node = "worker-1"
		nqn  = "nqn.2000-02.com.mikrotik:" + string(id) + ".k3x"
	)
	f := controllerFlags{commonFlags: commonFlags{driverName: "rds.csi.srvlab.io"}}
	attachment := attachmentOf(string(id), node)
	attachment.Status = storagev1.VolumeAttachmentStatus{Attached: true, AttachmentMetadata: map[string]string{"nvme_nqn": nqn}}
	client := fake.NewClientset(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: node}}, attachment)
	tel, err := telemetry.New(t.Context(), telemetry.Config{Component: telemetry.Controller, Driver: f.driverName})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tel.Shutdown(context.WithoutCancel(t.Context())) }()
	news := make(rechecks, 1)
	around, err := f.inKubernetes(clients{client, noKubeVirt()}, "", tel, news, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := around.nodes.Check(t.Context(), id, node); err != nil || got != nqn {
		t.Errorf("Check = %q, %v, want %q", got, err, nqn)
	}
	if around.synced() {
		t.Error("ready before the caches are filled")
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, len(around.tasks))
	for _, task := range around.tasks {
		go func() { done <- task(ctx) }()
	}
	for _, announcer := range around.announcers {
		announcer.Announce(actors.Announcement{Kind: actors.Attached, Volume: id, Node: node})
	}
	news.await(t, around.synced, client.StorageV1().VolumeAttachments(), attachment)
	cancel()
	for range around.tasks {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if around.inherited == nil {
		t.Error("nobody looks at what an earlier process left to tell")
	}
	if len(around.announcers) != 2 {
		t.Errorf("%d tell people, want events and annotations", len(around.announcers))
	}
}

// rechecks gets one when a VolumeAttachment has gone.
type rechecks chan struct{}

func (r rechecks) Recheck() {
	select {
	case r <- struct{}{}:
	default:
	}
}

func (rechecks) Outcome(actors.VolumeID, actors.Migration) {}

// await waits until it is told that an attachment has gone. The fake API server may forget what happens before
// the cache watches, so that it goes as often as that takes.
func (r rechecks) await(t *testing.T, synced func() bool, attachments storageclient.VolumeAttachmentInterface, attachment *storagev1.VolumeAttachment) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for there := true; ; {
		select {
		case <-r:
			return
		case <-ctx.Done():
			t.Fatal("nobody was told of an attachment that has gone")
		case <-again.C:
		}
		if !synced() {
			continue
		}
		var err error
		if there {
			err = attachments.Delete(t.Context(), attachment.Name, metav1.DeleteOptions{})
		} else {
			_, err = attachments.Create(t.Context(), attachment, metav1.CreateOptions{})
		}
		if err != nil {
			t.Fatal(err)
		}
		there = !there
	}
}

// A person freezes what a controller revokes by itself, by its flag or on its lease.
func TestRevokesByThemselvesCanBeFrozen(t *testing.T) {
	for limit, want := range map[string]int{"3": 3, "7": 7, "0": -1} {
		var f controllerFlags
		fs := flag.NewFlagSet("controller", flag.ContinueOnError)
		f.register(fs)
		if err := parse(fs, []string{
			"--kubernetes=false", "--nodes=node-a", "--cluster-id=0123456789ab", "--rds-address=box", "--rds-user=me", "--stale-limit=" + limit,
		}, io.Discard); err != nil {
			t.Fatal(err)
		}
		cfg, err := f.config(t.Context(), slog.New(slog.DiscardHandler))
		if err != nil || cfg.staleLimit != want {
			t.Errorf("--stale-limit=%s is %d, %v, want %d", limit, cfg.staleLimit, err, want)
		}
	}

	f := controllerFlags{commonFlags: commonFlags{driverName: "rds.csi.srvlab.io"}, boxFlags: boxFlags{commandTimeout: time.Second}}
	client := fake.NewClientset(&coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{
		Namespace: "rds-csi", Name: f.driverName, Annotations: map[string]string{"rds.csi.srvlab.io/automatic-revokes": "off"},
	}})
	tel, err := telemetry.New(t.Context(), telemetry.Config{Component: telemetry.Controller, Driver: f.driverName})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tel.Shutdown(context.WithoutCancel(t.Context())) }()
	around, err := f.inKubernetes(clients{client, noKubeVirt()}, "rds-csi", tel, &driver{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := around.frozen(t.Context()); !errors.Is(err, actors.ErrPrecondition) {
		t.Errorf("frozen = %v", err)
	}
}
