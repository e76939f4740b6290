// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"testing"
	"time"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/rds-csi/rds-csi/actors"
	"github.com/rds-csi/rds-csi/csi"
	"github.com/rds-csi/rds-csi/rds/sim"
	"github.com/rds-csi/rds-csi/telemetry"
)

// attachmentOf is the VolumeAttachment that the attach/detach controller makes.
func attachmentOf(id, node string) *storagev1.VolumeAttachment {
	name := fmt.Sprintf("csi-%x", sha256.Sum256([]byte(id+csi.DefaultDriverName+node)))
	return &storagev1.VolumeAttachment{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: storagev1.VolumeAttachmentSpec{
			Attacher: csi.DefaultDriverName, NodeName: node,
			Source: storagev1.VolumeAttachmentSource{PersistentVolumeName: &id},
		},
	}
}

// TestAnAttachmentThatIsForgottenIsCleared: somebody deletes a VolumeAttachment by force, and nobody asks for
// the detach. It is the whole way from the cache to the box.
func TestAnAttachmentThatIsForgottenIsCleared(t *testing.T) {
	box := startBox(t, t.TempDir(), sim.LoopbackHost()+":0")
	client := fake.NewClientset(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node-a"}, Status: corev1.NodeStatus{
		Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}},
	}})
	f := controllerFlags{commonFlags: commonFlags{driverName: csi.DefaultDriverName}}
	cfg := configOn(t, box.APIAddr(), func(tel *telemetry.Telemetry, news observer) (surroundings, error) {
		return f.inKubernetes(clients{client, noKubeVirt()}, "", tel, news, slog.New(slog.DiscardHandler))
	})
	d, err := newDriver(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	conn, err := grpc.NewClient(cfg.endpoint, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	p := &process{controller: csipb.NewControllerClient(conn)}

	var id string
	if err := insist(t, func(ctx context.Context) error {
		if err := p.create(ctx, "disk"); err != nil {
			return err
		}
		list, err := p.controller.ListVolumes(ctx, &csipb.ListVolumesRequest{})
		if err == nil {
			id = list.GetEntries()[0].GetVolume().GetVolumeId()
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	va, err := client.StorageV1().VolumeAttachments().Create(t.Context(), attachmentOf(id, "node-a"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := insist(t, func(ctx context.Context) error { return p.publish(ctx, id, "node-a") }); err != nil {
		t.Fatal(err)
	}
	if err := client.StorageV1().VolumeAttachments().Delete(t.Context(), va.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for len(p.published(t, id)) > 0 {
		select {
		case <-again.C:
		case <-t.Context().Done():
			t.Fatal("never cleared")
		}
	}
	if l, _, err := actors.ParseLedger(box.Disks()[0].Comment); err != nil || len(l.Grants) > 0 {
		t.Errorf("the box's ledger is %v, %v", l, err)
	}
}
