// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package kubevirt

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apiwatch "k8s.io/apimachinery/pkg/watch"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/rds-csi/rds-csi/actors"
)

const volume = actors.VolumeID("pvc-3b3a5c0e-6f0c-4b62-9f5e-0d0c1a7d9a11")

var podResource = corev1.SchemeGroupVersion.WithResource("pods")

// A cluster is an API server with or without KubeVirt, and Migrations that look at it. It lives in a
// bubble of testing/synctest, whose clock dates what is created.
type cluster struct {
	t          *testing.T
	kube       *fake.Clientset
	dynamic    *dynamicfake.FakeDynamicClient
	claims     *fakeClaims
	migrations *Migrations
	log        *locked

	mu       sync.Mutex
	watchers []apiwatch.Interface // of KubeVirt's resources
	served   bool                 // KubeVirt's resources
	failing  error
	only     string   // which request fails; "": each
	live     []string // requests that the caches did not save: verb and resource
	observed []actors.Migration
}

// newCluster returns a cluster without KubeVirt, in which nothing is watched yet.
func newCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{
		t: t, kube: fake.NewClientset(), log: &locked{},
		dynamic: dynamicfake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), map[schema.GroupVersionResource]string{
			instances: "VirtualMachineInstanceList", jobs: "VirtualMachineInstanceMigrationList",
		}),
		claims: &fakeClaims{ref: &corev1.ObjectReference{Namespace: "vms", Name: "disk"}, volumes: map[claim][]actors.VolumeID{{"vms", "disk"}: {volume}}},
	}
	c.kube.Resources = []*metav1.APIResourceList{{GroupVersion: "storage.k8s.io/v1"}}
	c.dynamic.PrependReactor("*", "*", c.serve)
	c.kube.PrependReactor("*", "*", c.serve)
	c.dynamic.PrependWatchReactor("*", func(action clienttesting.Action) (bool, apiwatch.Interface, error) {
		if refused, _, err := c.serve(action); refused {
			return true, nil, err
		}
		w, err := c.dynamic.Tracker().Watch(action.GetResource(), action.GetNamespace())
		c.mu.Lock()
		defer c.mu.Unlock()
		if err == nil {
			c.watchers = append(c.watchers, w)
		}
		return true, w, err
	})
	var err error
	c.migrations, err = New(Config{
		Client: c.kube, Dynamic: c.dynamic, Claims: c.claims, Logger: slog.New(slog.NewTextHandler(c.log, nil)),
		Observe: func(id actors.VolumeID, m actors.Migration) {
			c.mu.Lock()
			defer c.mu.Unlock()
			if id != volume {
				t.Errorf("observed %s", id)
			}
			c.observed = append(c.observed, m)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// serve stands before the trackers: it answers for what is not served, and fails when it should.
func (c *cluster) serve(action clienttesting.Action) (bool, runtime.Object, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	resource := action.GetResource()
	if verb := action.GetVerb(); (verb == "get" || verb == "list") && resource.Resource != "resource" && resource.Resource != "group" {
		c.live = append(c.live, verb+" "+resource.Resource)
	}
	switch {
	case c.failing != nil && (c.only == "" || c.only == action.GetVerb()+" "+resource.Resource):
		return true, nil, c.failing
	case resource.Group == group && !c.served:
		// As the API server answers, which knows no object of that kind either.
		return true, nil, apierrors.NewGenericServerResponse(404, action.GetVerb(), resource.GroupResource(), "", "404 page not found", 0, true)
	}
	return false, nil, nil
}

// installs adds KubeVirt's API; of it, those resources that are named, or both.
func (c *cluster) installs(resources ...string) {
	if resources == nil {
		resources = []string{instances.Resource, jobs.Resource}
	}
	list := &metav1.APIResourceList{GroupVersion: "kubevirt.io/v1"}
	for _, name := range resources {
		list.APIResources = append(list.APIResources, metav1.APIResource{Name: name})
	}
	synctest.Wait() // nobody looks just now
	c.kube.Resources = append(c.kube.Resources[:1:1], list)
	c.mu.Lock()
	c.served = true
	c.mu.Unlock()
}

// removes takes KubeVirt's API away, with all there is of it.
func (c *cluster) removes() {
	synctest.Wait() // nobody looks just now
	c.kube.Resources = c.kube.Resources[:1:1]
	c.mu.Lock()
	c.served = false
	watchers := c.watchers
	c.watchers = nil
	c.mu.Unlock()
	for _, w := range watchers {
		w.Stop()
	}
}

// fails lets every request fail until it is called with nil; or those alone that are of a verb and resource.
func (c *cluster) fails(err error, only ...string) {
	c.mu.Lock()
	c.failing, c.only = err, strings.Join(only, " ")
	c.mu.Unlock()
}

// watched runs the Migrations until the test ends, and returns when they have seen everything.
func (c *cluster) watched() {
	c.t.Helper()
	ctx, cancel := context.WithCancel(c.t.Context())
	done := make(chan error, 1)
	go func() { done <- c.migrations.Run(ctx) }()
	c.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			c.t.Error(err)
		}
	})
	c.settles()
}

// settles waits until everybody has seen everything, and lets a second pass, so that what is created next
// is younger.
func (c *cluster) settles() {
	time.Sleep(time.Second)
	synctest.Wait()
}

// pods creates or replaces pods.
func (c *cluster) pods(pods ...*corev1.Pod) {
	c.t.Helper()
	for _, p := range pods {
		err := c.kube.Tracker().Create(podResource, p, p.Namespace)
		if apierrors.IsAlreadyExists(err) {
			err = c.kube.Tracker().Update(podResource, p, p.Namespace)
		}
		if err != nil {
			c.t.Fatal(err)
		}
	}
	c.settles()
}

// ends deletes pods.
func (c *cluster) ends(names ...string) {
	c.t.Helper()
	for _, name := range names {
		if err := c.kube.Tracker().Delete(podResource, "vms", name); err != nil {
			c.t.Fatal(err)
		}
	}
	c.settles()
}

// vm creates or changes the instance web, which uses the claim disk and has the UID vm-1 unless the text,
// its status, ends with another. An instance keeps its time of creation.
func (c *cluster) vm(status string, uid ...string) {
	c.t.Helper()
	u := read(c.t, vmKind+"spec: {domain: {memory: {guest: 2G}}, volumes: [{name: disk, dataVolume: {name: disk}}]}\nstatus: {"+status+"}")
	for _, uid := range uid {
		object(u.Object).at("metadata")["uid"] = uid
	}
	c.put(instances, u)
}

// job creates or changes a job of web. It has its name as UID, after "uid-".
func (c *cluster) job(name, status string) {
	c.t.Helper()
	u := read(c.t, fmt.Sprintf("apiVersion: kubevirt.io/v1\nkind: VirtualMachineInstanceMigration\nmetadata: {namespace: vms, name: %s, uid: uid-%[1]s}\nspec: {vmiName: web}\nstatus: {%s}", name, status))
	c.put(jobs, u)
}

func (c *cluster) put(resource schema.GroupVersionResource, u *unstructured.Unstructured) {
	c.t.Helper()
	old, err := c.dynamic.Tracker().Get(resource, u.GetNamespace(), u.GetName())
	if err == nil {
		if was, ok := old.(*unstructured.Unstructured); ok && was.GetUID() == u.GetUID() {
			u.SetCreationTimestamp(was.GetCreationTimestamp())
			err = c.dynamic.Tracker().Update(resource, u, u.GetNamespace())
		} else {
			c.deletes(resource, u.GetName())
			err = fmt.Errorf("another")
		}
	}
	if err != nil {
		u.SetCreationTimestamp(metav1.Now())
		if err := c.dynamic.Tracker().Create(resource, u, u.GetNamespace()); err != nil {
			c.t.Fatal(err)
		}
	}
	c.settles()
}

func (c *cluster) deletes(resource schema.GroupVersionResource, name string) {
	c.t.Helper()
	if err := c.dynamic.Tracker().Delete(resource, "vms", name); err != nil {
		c.t.Fatal(err)
	}
	c.settles()
}

// asks begins to count the requests that are made live.
func (c *cluster) asks() {
	c.mu.Lock()
	c.live = nil
	c.mu.Unlock()
}

func (c *cluster) asked() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.live
}

// saw returns what was observed since it was called last.
func (c *cluster) saw() []actors.Migration {
	c.mu.Lock()
	defer c.mu.Unlock()
	seen := c.observed
	c.observed = nil
	return seen
}

// admit asks for node b beside node a.
func (c *cluster) admit(policy actors.Policy) error {
	return c.migrations.Admit(c.t.Context(), volume, "a", "b", policy)
}

// migration asks for that from node a to node b.
func (c *cluster) migration() (actors.Migration, error) {
	return c.migrations.Migration(c.t.Context(), volume, "a", "b")
}

// fakeClaims is one volume's claim.
type fakeClaims struct {
	ref     *corev1.ObjectReference
	err     error
	volumes map[claim][]actors.VolumeID
}

func (f *fakeClaims) Find(context.Context, actors.VolumeID) (*corev1.ObjectReference, error) {
	return f.ref, f.err
}

func (f *fakeClaims) Volumes(namespace, name string) []actors.VolumeID {
	return f.volumes[claim{namespace, name}]
}

// locked is a log that many may write.
type locked struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *locked) lines() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Count(l.b.Bytes(), []byte("\n"))
}

func (l *locked) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
