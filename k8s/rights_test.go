// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package k8s

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/apimachinery/pkg/watch"
	clienttesting "k8s.io/client-go/testing"

	"github.com/rds-csi/rds-csi/actors"
)

// A right is one verb on one resource, as "storage.k8s.io volumeattachments list"; of one object alone, as
// " namespaces/kube-system get".
type right = string

// rightsOf returns the rights of the roles of one name in deploy/: in the whole cluster, and in the driver's
// namespace.
func rightsOf(t *testing.T, role string) (rights []right) {
	t.Helper()
	data, err := os.ReadFile("../deploy/manifests/rbac.yaml")
	if err != nil {
		t.Fatal(err)
	}
	docs := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader(data), 4096)
	for {
		var r rbacv1.ClusterRole // a Role's rules look alike
		if err := docs.Decode(&r); errors.Is(err, io.EOF) {
			slices.Sort(rights)
			return rights
		} else if err != nil {
			t.Fatal(err)
		}
		if r.Name == role && (r.Kind == "ClusterRole" || r.Kind == "Role") {
			rights = append(rights, rightsIn(r.Rules)...)
		}
	}
}

func rightsIn(rules []rbacv1.PolicyRule) (rights []right) {
	for _, rule := range rules {
		for _, group := range rule.APIGroups {
			for _, resource := range rule.Resources {
				for _, verb := range rule.Verbs {
					if len(rule.ResourceNames) == 0 {
						rights = append(rights, group+" "+resource+" "+verb)
					}
					for _, name := range rule.ResourceNames {
						rights = append(rights, group+" "+resource+"/"+name+" "+verb)
					}
				}
			}
		}
	}
	return rights
}

var permission = regexp.MustCompile(`(?m)^//\t(\S+) +(\S+)( \((\S+)\))? +([a-z]+(?:, [a-z]+)*)  `)

// documentedRights returns those in this package's documentation.
func documentedRights(t *testing.T) (rights []right) {
	t.Helper()
	page, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range permission.FindAllStringSubmatch(string(page), -1) {
		resource := m[2]
		if m[4] != "" {
			resource += "/" + m[4]
		}
		for verb := range strings.SplitSeq(m[5], ", ") {
			rights = append(rights, strings.Trim(m[1], `"`)+" "+resource+" "+verb)
		}
	}
	slices.Sort(rights)
	return rights
}

// An authorizer lets a client do what a role allows, and notes what of that it did.
type authorizer struct {
	allowed []right

	mu   sync.Mutex
	used []right
}

// judge answers like an API server with RBAC. Of a request without a name none is of one object alone.
func (a *authorizer) judge(action clienttesting.Action) error {
	resource := action.GetResource()
	name := ""
	if named, ok := action.(interface{ GetName() string }); ok {
		name = named.GetName()
	}
	if update, ok := action.(clienttesting.UpdateActionImpl); ok {
		if object, ok := update.GetObject().(metav1.Object); ok {
			name = object.GetName()
		}
	}
	kind := resource.Resource
	if sub := action.GetSubresource(); sub != "" {
		kind += "/" + sub
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, asked := range []right{
		resource.Group + " " + kind + " " + action.GetVerb(),
		resource.Group + " " + kind + "/" + name + " " + action.GetVerb(),
	} {
		if slices.Contains(a.allowed, asked) {
			a.used = append(a.used, asked)
			return nil
		}
	}
	return apierrors.NewForbidden(resource.GroupResource(), name, errors.New("no rule allows "+action.GetVerb()))
}

// guard has a cluster answer no more than a role allows.
func (c *cluster) guard(role string) *authorizer {
	c.t.Helper()
	a := &authorizer{allowed: rightsOf(c.t, role)}
	c.client.PrependReactor("*", "*", func(action clienttesting.Action) (bool, runtime.Object, error) {
		err := a.judge(action)
		return err != nil, nil, err
	})
	c.client.PrependWatchReactor("*", func(action clienttesting.Action) (bool, watch.Interface, error) {
		err := a.judge(action)
		return err != nil, nil, err
	})
	return a
}

func (a *authorizer) wantAllUsed(t *testing.T) {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	slices.Sort(a.used)
	if got := slices.Compact(a.used); !slices.Equal(got, a.allowed) {
		t.Errorf("used are\n%q, allowed\n%q", got, a.allowed)
	}
}

// Everything that a controller does in its cluster, with the rights of its role: they suffice, and none is
// too many.
func TestRightsOfTheController(t *testing.T) {
	inBubble(t, func(c *cluster) {
		role := c.guard("rds-csi-controller")
		events, told := newEvents(t, c.client, EventsConfig{})
		events.config.Claims = c.claims
		annotations, annotated := c.annotations(AnnotationsConfig{})
		for _, task := range []func() error{
			func() error { _, err := ClusterID(c.t.Context(), c.client); return err },
			func() error { _, err := c.claims.Find(c.t.Context(), volume); return err }, // live: no cache is kept yet
			func() error {
				c.run(c.claims.Run)
				c.run(c.attachments.Run)
				c.run(events.Run)
				c.run(annotations.Run)
				c.settle()
				_, err := c.attachments.Wanted()
				return err
			},
			func() error { _, err := newNodes(t, c.client, 0).Check(c.t.Context(), volume, worker); return err },
			func() error { _, err := c.attachments.Stale(c.t.Context(), volume2, worker); return err },
			func() error { _, err := c.attachments.Adopt(c.t.Context(), volume); return err },
			func() error {
				lease, err := NewLease(LeaseConfig{
					Client: c.client, Namespace: "rds-csi", Name: driver, Identity: "controller-0", WriteTimeout: time.Second,
				})
				if err != nil {
					return err
				}
				return lease.Run(c.t.Context(), func(context.Context) error { return nil })
			},
		} {
			if err := task(); err != nil {
				t.Error(err)
			}
		}
		if why := newNodes(t, c.client, 0).Lost(c.t.Context(), volume, worker); why != "" {
			t.Errorf("Lost = %q", why)
		}
		for range 2 { // the second counts the first one's event up
			events.Announce(announcement(actors.Attached, worker, 0))
			annotations.Announce(announcement(actors.Attached, worker, 0))
			c.settle()
		}
		events.Inherit([]actors.Announcement{ended(time.Minute)}) // is looked for, with its start
		time.Sleep(time.Minute)
		told.want(t, "VolumeAttached VolumeAttached MigrationCompleted", "")
		annotated.want(t, "written written", "")
		c.wantLog(0) // of a watch that fails
		role.wantAllUsed(t)
	}, kubeSystem(), node(nil), disk(volume, shared), attach(volume, worker))
	if documented, allowed := documentedRights(t), rightsOf(t, "rds-csi-controller"); !slices.Equal(documented, allowed) {
		t.Errorf("doc.go says\n%q, rbac.yaml\n%q", documented, allowed)
	}
}

// A node asks for the cluster's identity, and tells of trouble with its volumes. It watches nothing: there are
// hundreds of nodes.
func TestRightsOfANode(t *testing.T) {
	inBubble(t, func(c *cluster) {
		role := c.guard("rds-csi-node")
		if _, err := ClusterID(c.t.Context(), c.client); err != nil {
			t.Error(err)
		}
		events, told := newEvents(t, c.client, EventsConfig{})
		events.config.Claims = c.claims
		c.run(events.Run)
		for range 2 { // the second counts the first one's event up
			events.Report(ConnectionFailure, volume, worker, "the kernel has given up the connection")
			c.settle()
		}
		told.want(t, "ConnectionFailure ConnectionFailure", "")
		role.wantAllUsed(t)
	}, kubeSystem(), disk(volume, shared))
}

func kubeSystem() *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "kube-system", UID: "0f9d3c8a-5b1e-4d27-a1c4-9e8f7a6b5c4d"}}
}
