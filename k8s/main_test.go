// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package k8s

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/rds-csi/rds-csi/actors"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	driver = "rds.csi.srvlab.io"
	volume = actors.VolumeID("pvc-3b3a5c0e-6f0c-4b62-9f5e-0d0c1a7d9a11")
	worker = actors.NodeID("worker-1")
)

// served returns a client of a real HTTP server, for what the fake client cannot show: requests that
// hang, and answers that are not Kubernetes's.
func served(t *testing.T, handler http.HandlerFunc) kubernetes.Interface {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	// A connection of its own, so that nothing of it outlives the test.
	client, err := NewClient(&rest.Config{Host: server.URL, Transport: &http.Transport{DisableKeepAlives: true}})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// hung takes requests and answers none. A server sees that its client is gone when it has read all of a
// request.
func hung(_ http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body) // whatever there is of it
	<-r.Context().Done()
}

// pv returns a bound PersistentVolume of this driver.
func pv(name string, handle actors.VolumeID, claim string) *corev1.PersistentVolume {
	return &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: name, ResourceVersion: "1"},
		Spec: corev1.PersistentVolumeSpec{
			PersistentVolumeSource: corev1.PersistentVolumeSource{
				CSI: &corev1.CSIPersistentVolumeSource{Driver: driver, VolumeHandle: string(handle), FSType: "ext4"},
			},
			ClaimRef: &corev1.ObjectReference{Namespace: "vms", Name: claim, UID: types.UID("uid-of-" + claim)},
		},
		Status: corev1.PersistentVolumeStatus{Phase: corev1.VolumeBound},
	}
}

func newClaims(t *testing.T, client kubernetes.Interface) *Claims {
	t.Helper()
	claims, err := NewClaims(ClaimsConfig{Client: client, Driver: driver})
	if err != nil {
		t.Fatal(err)
	}
	return claims
}
