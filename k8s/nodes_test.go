// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package k8s

import (
	"errors"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/rds-csi/rds-csi/actors"
)

// node returns a node that is well, after it was changed.
func node(change func(*corev1.Node)) *corev1.Node {
	n := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: string(worker)},
		Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{
			{Type: corev1.NodeDiskPressure, Status: corev1.ConditionFalse},
			{Type: corev1.NodeReady, Status: corev1.ConditionTrue},
		}},
	}
	if change != nil {
		change(n)
	}
	return n
}

func taint(key string) func(*corev1.Node) {
	return func(n *corev1.Node) {
		n.Spec.Taints = []corev1.Taint{{Key: "other"}, {Key: key, Value: "nodeshutdown", Effect: corev1.TaintEffectNoExecute}}
	}
}

func inUse(names ...corev1.UniqueVolumeName) func(*corev1.Node) {
	return func(n *corev1.Node) { n.Status.VolumesInUse = names }
}

// attachment returns the VolumeAttachment of volume and worker, after it was changed. Its name was
// computed apart from this code, by sha256sum.
func attachment(change func(*storagev1.VolumeAttachment)) *storagev1.VolumeAttachment {
	a := &storagev1.VolumeAttachment{
		ObjectMeta: metav1.ObjectMeta{Name: "csi-eed652b521e089e6b41ccb27ef382d0a4b372496c347475a537a016bbb63abb4"},
		Spec:       storagev1.VolumeAttachmentSpec{Attacher: driver, NodeName: string(worker)},
	}
	if change != nil {
		change(a)
	}
	return a
}

func newNodes(t *testing.T, client kubernetes.Interface, timeout time.Duration) *Nodes {
	t.Helper()
	nodes, err := NewNodes(NodesConfig{Client: client, Driver: driver, Timeout: timeout})
	if err != nil {
		t.Fatal(err)
	}
	return nodes
}

func TestCheck(t *testing.T) {
	now := metav1.Now()
	for _, c := range []struct {
		name    string
		objects []runtime.Object
		want    error
		text    string
	}{
		{"wanted", []runtime.Object{node(nil), attachment(nil)}, nil, ""},
		{"not ready, which no grant waits for", []runtime.Object{node(func(n *corev1.Node) { n.Status.Conditions = nil }), attachment(nil)}, nil, ""},
		{"no node", []runtime.Object{attachment(nil)}, actors.ErrNotFound, "does not exist"},
		{
			"out of service",
			[]runtime.Object{node(taint("node.kubernetes.io/out-of-service")), attachment(nil)},
			actors.ErrPrecondition, "node.kubernetes.io/out-of-service",
		},
		{"another taint", []runtime.Object{node(taint("node.kubernetes.io/unreachable")), attachment(nil)}, nil, ""},
		{"no attachment", []runtime.Object{node(nil)}, actors.ErrPrecondition, "no VolumeAttachment"},
		{
			"attachment being deleted",
			[]runtime.Object{node(nil), attachment(func(a *storagev1.VolumeAttachment) { a.DeletionTimestamp = &now })},
			actors.ErrPrecondition, "is being deleted",
		},
		{
			"attachment of another driver",
			[]runtime.Object{node(nil), attachment(func(a *storagev1.VolumeAttachment) { a.Spec.Attacher = "x" })},
			actors.ErrPrecondition, "not what its name says",
		},
		{
			"attachment to another node",
			[]runtime.Object{node(nil), attachment(func(a *storagev1.VolumeAttachment) { a.Spec.NodeName = "x" })},
			actors.ErrPrecondition, "not what its name says",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := newNodes(t, fake.NewClientset(c.objects...), 0).Check(t.Context(), volume, worker)
			if !errors.Is(err, c.want) || (err != nil && (c.want == nil || !strings.Contains(err.Error(), c.text))) {
				t.Errorf("Check = %v, want %v with %q", err, c.want, c.text)
			}
		})
	}
}

// What the node was told before it was forgotten stands in the VolumeAttachment.
func TestCheckTellsTheNQN(t *testing.T) {
	const nqn = "nqn.2000-02.com.mikrotik:pvc-3b3a5c0e-6f0c-4b62-9f5e-0d0c1a7d9a11.k3x"
	told := func(metadata map[string]string) *storagev1.VolumeAttachment {
		return attachment(func(a *storagev1.VolumeAttachment) { a.Status.AttachmentMetadata = metadata })
	}
	leaving := told(map[string]string{"nvme_nqn": nqn})
	leaving.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)}
	for _, c := range []struct {
		name string
		key  string
		va   *storagev1.VolumeAttachment
		want string
	}{
		{"told", "nvme_nqn", told(map[string]string{"nvme_port": "4420", "nvme_nqn": nqn}), nqn},
		{"told nothing yet", "nvme_nqn", told(nil), ""},
		{"told something else", "nvme_nqn", told(map[string]string{"nvme_port": "4420"}), ""},
		{"nobody asks", "", told(map[string]string{"": "x", "nvme_nqn": nqn}), ""},
		{"fenced", "nvme_nqn", leaving, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			nodes, err := NewNodes(NodesConfig{Client: fake.NewClientset(node(nil), c.va), Driver: driver, NQNKey: c.key})
			if err != nil {
				t.Fatal(err)
			}
			got, err := nodes.Check(t.Context(), volume, worker)
			if got != c.want || (err == nil) != (c.va != leaving) {
				t.Errorf("Check = %q, %v, want %q", got, err, c.want)
			}
		})
	}
}

func TestLost(t *testing.T) {
	ready := func(status corev1.ConditionStatus) func(*corev1.Node) {
		return func(n *corev1.Node) { n.Status.Conditions[1].Status = status }
	}
	for _, c := range []struct {
		name   string
		change func(*corev1.Node)
		want   string
	}{
		{"well", nil, ""},
		{"not ready", ready(corev1.ConditionFalse), "node is not ready"},
		{"unknown", ready(corev1.ConditionUnknown), "node is not ready"},
		{"no conditions", func(n *corev1.Node) { n.Status.Conditions = nil }, "node is not ready"},
		{"out of service", taint("node.kubernetes.io/out-of-service"), "node has the taint node.kubernetes.io/out-of-service"},
		{"in use", inUse("kubernetes.io/csi/x^y", "kubernetes.io/csi/rds.csi.srvlab.io^pvc-3b3a5c0e-6f0c-4b62-9f5e-0d0c1a7d9a11"), "node lists the volume in use"},
		{"others in use", inUse("kubernetes.io/csi/rds.csi.srvlab.io^pvc-00000000-6f0c-4b62-9f5e-0d0c1a7d9a11", "kubernetes.io/csi/x^"+corev1.UniqueVolumeName(volume)), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := newNodes(t, fake.NewClientset(node(c.change)), 0).Lost(t.Context(), volume, worker)
			if got != c.want {
				t.Errorf("Lost = %q, want %q", got, c.want)
			}
		})
	}
	t.Run("gone", func(t *testing.T) {
		if got := newNodes(t, fake.NewClientset(), 0).Lost(t.Context(), volume, worker); got != "node object is gone" {
			t.Errorf("Lost = %q", got)
		}
	})
}

// troubles are the ways in which the API server fails to answer.
func troubles() map[string]error {
	resource := storagev1.Resource("volumeattachments")
	return map[string]error{
		"transport":   errors.New("connection refused"),
		"forbidden":   apierrors.NewForbidden(resource, "x", errors.New("rbac")),
		"unavailable": apierrors.NewServiceUnavailable("starting"),
		"timeout":     apierrors.NewTimeoutError("etcd", 1),
		"throttled":   apierrors.NewTooManyRequests("later", 1),
		"proxy": &apierrors.StatusError{ErrStatus: metav1.Status{
			Reason: metav1.StatusReasonNotFound, Code: 404,
			Details: &metav1.StatusDetails{Causes: []metav1.StatusCause{{Type: metav1.CauseTypeUnexpectedServerResponse}}},
		}},
	}
}

// Whatever the API server fails with: no grant, no claim that the node let go, and never NotFound.
func TestNodesFailClosed(t *testing.T) {
	for name, failure := range troubles() {
		for _, kind := range []string{"nodes", "volumeattachments"} {
			t.Run(name+"/"+kind, func(t *testing.T) {
				client := fake.NewClientset(node(nil), attachment(nil))
				client.PrependReactor("get", kind, func(clienttesting.Action) (bool, runtime.Object, error) { return true, nil, failure })
				nodes := newNodes(t, client, 0)
				if _, err := nodes.Check(t.Context(), volume, worker); !errors.Is(err, actors.ErrUnavailable) || errors.Is(err, actors.ErrNotFound) {
					t.Errorf("Check = %v, want ErrUnavailable", err)
				}
				if got := nodes.Lost(t.Context(), volume, worker); kind == "nodes" && !strings.HasPrefix(got, "node could not be read: ") {
					t.Errorf("Lost = %q", got)
				}
			})
		}
	}
}

// Without the bound this test hangs.
func TestNodesDoNotWaitForAHungServer(t *testing.T) {
	nodes := newNodes(t, served(t, hung), 20*time.Millisecond)
	if _, err := nodes.Check(t.Context(), volume, worker); !errors.Is(err, actors.ErrUnavailable) {
		t.Errorf("Check = %v, want ErrUnavailable", err)
	}
	if got := nodes.Lost(t.Context(), volume, worker); !strings.HasPrefix(got, "node could not be read: ") {
		t.Errorf("Lost = %q", got)
	}
}

func TestNodesConfigIsChecked(t *testing.T) {
	for name, config := range map[string]NodesConfig{"no client": {Driver: driver}, "no driver": {Client: fake.NewClientset()}} {
		if _, err := NewNodes(config); !errors.Is(err, actors.ErrInvalid) {
			t.Errorf("%s: NewNodes = %v, want ErrInvalid", name, err)
		}
	}
	if nodes := newNodes(t, fake.NewClientset(), 0); nodes.timeout != 3*time.Second {
		t.Errorf("timeout is %v by default, want 3 s", nodes.timeout)
	}
}
