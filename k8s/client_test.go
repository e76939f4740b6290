// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package k8s

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/rds-csi/rds-csi/actors"
)

func TestClusterID(t *testing.T) {
	for _, c := range []struct {
		uid  types.UID
		want string
		err  error
	}{
		{"0f9d3c8a-5b1e-4d27-a1c4-9e8f7a6b5c4d", "0f9d3c8a5b1e", nil},
		{"0F9D3C8A-5B1E-4D27-A1C4-9E8F7A6B5C4D", "0f9d3c8a5b1e", nil},
		{"not-a-uuid", "", actors.ErrInvalid},
		{"", "", actors.ErrInvalid},
	} {
		client := fake.NewClientset(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "kube-system", UID: c.uid}})
		got, err := ClusterID(t.Context(), client)
		if got != c.want || !errors.Is(err, c.err) {
			t.Errorf("ClusterID of %q = %q, %v, want %q, %v", c.uid, got, err, c.want, c.err)
		}
	}
	if _, err := ClusterID(t.Context(), fake.NewClientset()); !errors.Is(err, actors.ErrUnavailable) {
		t.Errorf("ClusterID without kube-system = %v, want ErrUnavailable", err)
	}
}

const kubeconfig = `
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "https://192.0.2.1:6443"}}]
users: [{name: u, user: {token: t}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
`

func TestRESTConfig(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(path, []byte(kubeconfig), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := RESTConfig(ClientConfig{Kubeconfig: path})
	if err != nil {
		t.Fatal(err)
	}
	if got.Host != "https://192.0.2.1:6443" || got.QPS != DefaultQPS || got.Burst != DefaultBurst || got.UserAgent != "rds-csi" {
		t.Errorf("defaults are %s, %v, %d, %q", got.Host, got.QPS, got.Burst, got.UserAgent)
	}
	got, err = RESTConfig(ClientConfig{Kubeconfig: path, QPS: 7, Burst: 9, UserAgent: "rds-csi/v1"})
	if err != nil {
		t.Fatal(err)
	}
	if got.QPS != 7 || got.Burst != 9 || got.UserAgent != "rds-csi/v1" {
		t.Errorf("config is %v, %d, %q", got.QPS, got.Burst, got.UserAgent)
	}
	if _, err := RESTConfig(ClientConfig{Kubeconfig: path + "x"}); !errors.Is(err, actors.ErrInvalid) {
		t.Errorf("a missing kubeconfig = %v, want ErrInvalid", err)
	}
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	if _, err := RESTConfig(ClientConfig{}); !errors.Is(err, actors.ErrInvalid) {
		t.Errorf("no kubeconfig outside of a cluster = %v, want ErrInvalid", err)
	}
}

// A proxy's 404 is no proof that an object does not exist.
func TestNotFoundOfAProxyProvesNothing(t *testing.T) {
	client := served(t, func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no such page", http.StatusNotFound) })
	_, err := client.CoreV1().Nodes().Get(t.Context(), "a", metav1.GetOptions{})
	if err == nil || Gone(err) {
		t.Errorf("Gone(%v) = true", err)
	}
	_, err = fake.NewClientset().CoreV1().Nodes().Get(t.Context(), "a", metav1.GetOptions{})
	if !Gone(err) {
		t.Errorf("Gone(%v) = false", err)
	}
}
