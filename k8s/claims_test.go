// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package k8s

import (
	"context"
	"errors"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/cache"

	"github.com/rds-csi/rds-csi/actors"
)

// run keeps the cache until the test ends, and returns when it is filled.
func run(t *testing.T, claims *Claims) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- claims.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	if !cache.WaitForCacheSync(t.Context().Done(), claims.Synced) {
		t.Fatal("cache was not filled")
	}
}

func forbid(client *fake.Clientset, verb, resource string) {
	client.PrependReactor(verb, resource, func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, errors.New("this test must not " + verb + " " + resource)
	})
}

func TestClaimsByHandle(t *testing.T) {
	released := pv("by-hand-old", volume, "old")
	released.Status.Phase = corev1.VolumeReleased
	other := pv("pvc-of-others", volume, "others")
	other.Spec.CSI.Driver = "other.example"
	nfs := pv("nfs", volume, "nfs")
	nfs.Spec.CSI = nil
	unclaimed := pv("unclaimed", volume, "")
	unclaimed.Spec.ClaimRef = nil
	client := fake.NewClientset(released, pv("by-hand", volume, "disk"), other, nfs, unclaimed)
	forbid(client, "get", "persistentvolumes")
	claims := newClaims(t, client)
	run(t, claims)
	want := corev1.ObjectReference{Kind: "PersistentVolumeClaim", APIVersion: "v1", Namespace: "vms", Name: "disk", UID: "uid-of-disk"}
	for range 50 { // the index has no order
		got, err := claims.Find(t.Context(), volume)
		if err != nil {
			t.Fatal(err)
		}
		if *got != want {
			t.Fatalf("Find = %+v, want %+v", *got, want)
		}
	}
	for claim, want := range map[string][]actors.VolumeID{"disk": {volume}, "old": {volume}, "others": nil, "nfs": nil, "nothing": nil} {
		if got := claims.Volumes("vms", claim); !slices.Equal(got, want) {
			t.Errorf("claim %s has volumes %v, want %v", claim, got, want)
		}
	}
	if got := claims.Volumes("other", "disk"); got != nil {
		t.Errorf("a claim of another namespace has volumes %v", got)
	}
	for _, object := range claims.informer.GetIndexer().List() {
		pv, ok := object.(*corev1.PersistentVolume)
		if !ok || (pv.Spec.CSI != nil && (pv.Spec.CSI.Driver != driver || pv.Spec.CSI.FSType != "")) || (pv.Spec.CSI == nil && pv.Spec.ClaimRef != nil) {
			t.Errorf("kept more than is asked for: %+v", object)
		}
	}
}

func TestClaimsByLiveRead(t *testing.T) {
	unclaimed := pv(string(volume), volume, "")
	unclaimed.Spec.ClaimRef = nil
	other := pv(string(volume), volume, "others")
	other.Spec.CSI.Driver = "other.example"
	for _, c := range []struct {
		name    string
		objects []runtime.Object
		want    error
	}{
		{"claimed", []runtime.Object{pv(string(volume), volume, "disk")}, nil},
		{"no volume", nil, actors.ErrNotFound},
		{"not claimed", []runtime.Object{unclaimed}, actors.ErrNotFound},
		{"another handle", []runtime.Object{pv(string(volume), "pvc-other", "disk")}, actors.ErrNotFound},
		{"another driver", []runtime.Object{other}, actors.ErrNotFound},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := newClaims(t, fake.NewClientset(c.objects...)).Find(t.Context(), volume)
			if !errors.Is(err, c.want) || (c.want == nil) != (got != nil) {
				t.Fatalf("Find = %v, %v, want %v", got, err, c.want)
			}
		})
	}
	client := fake.NewClientset()
	forbid(client, "get", "persistentvolumes")
	if _, err := newClaims(t, client).Find(t.Context(), volume); !errors.Is(err, actors.ErrUnavailable) {
		t.Errorf("Find while the API server fails = %v, want ErrUnavailable", err)
	}
}

// Before the cache is filled, a claim that is not found may still be there under another name.
func TestClaimsWaitForTheCache(t *testing.T) {
	claims := newClaims(t, fake.NewClientset())
	claims.running.Store(true)
	if _, err := claims.Find(t.Context(), volume); !errors.Is(err, actors.ErrUnavailable) {
		t.Errorf("Find before the cache is filled = %v, want ErrUnavailable", err)
	}
}

func TestClaimsConfigIsChecked(t *testing.T) {
	for name, config := range map[string]ClaimsConfig{"no client": {Driver: driver}, "no driver": {Client: fake.NewClientset()}} {
		if _, err := NewClaims(config); !errors.Is(err, actors.ErrInvalid) {
			t.Errorf("%s: NewClaims = %v, want ErrInvalid", name, err)
		}
	}
}
