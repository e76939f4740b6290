// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"io"
	"log/slog"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/rds-csi/rds-csi/actors"
	"github.com/rds-csi/rds-csi/csi"
	"github.com/rds-csi/rds-csi/k8s"
	"github.com/rds-csi/rds-csi/telemetry"
)

// What a node sees of its volumes arrives: in the metrics, each condition by its name, and on the claim.
func TestNodeTells(t *testing.T) {
	if got, want := []string{csi.ReasonMountFailure, csi.ReasonRecoveryFailed, csi.ReasonStaleMount, csi.ReasonConnectionFailure},
		[]string{k8s.MountFailure, k8s.RecoveryFailed, k8s.StaleMountDetected, k8s.ConnectionFailure}; !slices.Equal(got, want) {
		t.Errorf("reasons %q, the events' are %q", got, want)
	}
	const id = actors.VolumeID("pvc-2f6c7a52-9d0e-4e0b-8f11-3c9d8e7f6a01")
	synctest.Test(t, func(t *testing.T) {
		client := fake.NewClientset(&corev1.PersistentVolume{
			ObjectMeta: metav1.ObjectMeta{Name: string(id)},
			Spec: corev1.PersistentVolumeSpec{
				ClaimRef: &corev1.ObjectReference{Namespace: "prod", Name: "vm-disk", UID: "u"},
				PersistentVolumeSource: corev1.PersistentVolumeSource{
					CSI: &corev1.CSIPersistentVolumeSource{Driver: csi.DefaultDriverName, VolumeHandle: string(id)},
				},
			},
		})
		logger := slog.New(slog.DiscardHandler)
		f := nodeFlags{commonFlags: commonFlags{driverName: csi.DefaultDriverName}, node: "worker-1"}
		tel, err := telemetry.New(t.Context(), telemetry.Config{Component: telemetry.Node, Driver: f.driverName, Instance: f.node})
		if err != nil {
			t.Fatal(err)
		}
		events, err := f.newEvents(client, tel, logger)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- events.Run(ctx) }()
		hooks := f.hooks(tel, events, logger)
		counts := map[csi.Condition]int{}
		for i, c := range csi.Conditions() {
			counts[c] = i + 1
		}
		hooks.Conditions(counts)
		hooks.Vanished()
		hooks.DeadMount()
		hooks.Recovered(nil)
		hooks.Report(csi.ReasonConnectionFailure, id, "the device is gone")
		synctest.Wait()
		list, err := client.CoreV1().Events("prod").List(t.Context(), metav1.ListOptions{})
		if err != nil || len(list.Items) != 1 {
			t.Fatalf("events %v, %v", list, err)
		}
		if e := list.Items[0]; e.Message != "["+string(id)+"] on [worker-1]: the device is gone" || e.InvolvedObject.Name != "vm-disk" || e.ReportingInstance != "worker-1" || e.Type != "Warning" {
			t.Errorf("event %+v", e)
		}
		page := httptest.NewRecorder()
		tel.Handler().ServeHTTP(page, httptest.NewRequestWithContext(t.Context(), "GET", "/metrics", nil))
		body, err := io.ReadAll(page.Body)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range []string{
			`rds_csi_node_volumes{condition="healthy"} 1`, `rds_csi_node_volumes{condition="waiting"} 2`,
			`rds_csi_node_volumes{condition="lost"} 3`, `rds_csi_node_volumes{condition="stale"} 4`,
			`rds_csi_node_volumes{condition="failed"} 5`, `rds_csi_node_volumes{condition="shrunk"} 6`,
			`rds_csi_node_volumes{condition="unstaged"} 7`, `rds_csi_node_volumes{condition="unknown"} 8`,
			`rds_csi_nvme_connections_lost_total 1`, `rds_csi_stale_mounts_detected_total 1`,
			`rds_csi_stale_recoveries_total{status="success"} 1`, `rds_csi_events_posted_total{reason="ConnectionFailure"} 1`,
		} {
			if !strings.Contains(string(body), line+"\n") {
				t.Errorf("no line %q", line)
			}
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := tel.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
}

// Without Kubernetes, or without access to it, a node only writes to its log.
func TestNodeWithoutAPIServer(t *testing.T) {
	logger := slog.New(slog.DiscardHandler)
	for _, kubernetes := range []bool{false, true} {
		f := nodeFlags{commonFlags: commonFlags{kubernetes: kubernetes, cluster: "0123456789ab", driverName: csi.DefaultDriverName, kubeconfig: "/nowhere"}}
		cluster, client, err := f.identify(t.Context(), logger)
		if err != nil || client != nil || cluster != f.cluster {
			t.Errorf("kubernetes=%t: %q, %v, %v", kubernetes, cluster, client, err)
		}
		events, err := f.newEvents(client, nil, logger)
		if err != nil || events != nil {
			t.Errorf("kubernetes=%t: events %v, %v", kubernetes, events, err)
		}
	}
}
