// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package kubevirt

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	clienttesting "k8s.io/client-go/testing"

	"github.com/rds-csi/rds-csi/actors"
)

func TestWithoutKubeVirt(t *testing.T) {
	bubble(t, func(t *testing.T) {
		for _, watched := range []bool{false, true} {
			c := newCluster(t)
			if watched {
				c.watched()
			}
			for policy, want := range map[actors.Policy]error{actors.PolicyAuto: nil, actors.PolicyAny: nil, actors.PolicyKubeVirt: actors.ErrPrecondition} {
				if err := c.admit(policy); !errors.Is(err, want) || (want == nil) != (err == nil) {
					t.Errorf("Admit under %v = %v, want %v", policy, err, want)
				}
			}
			if _, err := c.migration(); !errors.Is(err, actors.ErrNotFound) {
				t.Errorf("Migration = %v, want ErrNotFound", err)
			}
			if c.migrations.Synced() != watched {
				t.Errorf("Synced = %v, watched %v", c.migrations.Synced(), watched)
			}
			if asked := c.asked(); len(asked) != 0 {
				t.Errorf("asked %q of a cluster without KubeVirt", asked)
			}
		}
	})
}

// undecided checks that whatever depends on KubeVirt cannot be told.
func (c *cluster) undecided(why string) {
	c.t.Helper()
	for _, policy := range []actors.Policy{actors.PolicyAuto, actors.PolicyKubeVirt} {
		if err := c.admit(policy); !errors.Is(err, actors.ErrUnavailable) || !strings.Contains(err.Error(), why) {
			c.t.Errorf("Admit under %v = %v, want ErrUnavailable with %q", policy, err, why)
		}
	}
	if err := c.admit(actors.PolicyAny); err != nil {
		c.t.Errorf("Admit under any = %v", err)
	}
	if _, err := c.migration(); !errors.Is(err, actors.ErrUnavailable) || !strings.Contains(err.Error(), why) {
		c.t.Errorf("Migration = %v, want ErrUnavailable with %q", err, why)
	}
}

func TestPresenceFailsClosed(t *testing.T) {
	group := func(version string, resources ...string) *metav1.APIResourceList {
		l := &metav1.APIResourceList{GroupVersion: version}
		for _, r := range resources {
			l.APIResources = append(l.APIResources, metav1.APIResource{Name: r})
		}
		return l
	}
	for name, test := range map[string]struct {
		served []*metav1.APIResourceList
		failed string // the request of discovery that fails
		why    string
	}{
		"no answer":                    {failed: "resource", served: []*metav1.APIResourceList{group("storage.k8s.io/v1")}, why: "broken"},
		"no list of groups":            {failed: "group", served: []*metav1.APIResourceList{group("storage.k8s.io/v1")}, why: "broken"},
		"an empty list of groups":      {why: "without storage.k8s.io"},
		"a list of groups with a hole": {served: []*metav1.APIResourceList{group("apps/v1")}, why: "without storage.k8s.io"},
		"jobs without instances": {
			served: []*metav1.APIResourceList{group("storage.k8s.io/v1"), group("kubevirt.io/v1", "virtualmachineinstancemigrations")},
			why:    "KubeVirt is there without virtualmachineinstances",
		},
		"instances without jobs": {
			served: []*metav1.APIResourceList{group("storage.k8s.io/v1"), group("kubevirt.io/v1", "virtualmachines", "virtualmachineinstances")},
			why:    "KubeVirt is there without virtualmachineinstancemigrations",
		},
		"another version": {
			served: []*metav1.APIResourceList{group("storage.k8s.io/v1"), group("kubevirt.io/v1alpha3", "virtualmachineinstances", "virtualmachineinstancemigrations")},
			why:    "KubeVirt is there without its API kubevirt.io/v1",
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				c := newCluster(t)
				c.kube.Resources = test.served
				if test.failed != "" {
					c.kube.PrependReactor("get", test.failed, func(clienttesting.Action) (bool, runtime.Object, error) {
						return true, nil, errors.New("broken")
					})
				}
				c.undecided(test.why)
				c.watched()
				for range 10 {
					time.Sleep(DefaultRecheck)
				}
				c.undecided(test.why)
				if c.migrations.Synced() {
					t.Error("Synced, though nobody knows whether KubeVirt is there")
				}
				if c.log.lines() != 1 || !strings.Contains(c.log.String(), test.why) {
					t.Errorf("logged %d lines, want one with %q:\n%s", c.log.lines(), test.why, c.log)
				}
			})
		})
	}
}

// KubeVirt is installed, removed and installed again while the driver runs.
func TestKubeVirtComesAndGoes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t)
		c.watched()
		time.Sleep(10 * DefaultRecheck)
		if c.log.lines() != 0 {
			t.Errorf("logged while KubeVirt is absent:\n%s", c.log)
		}
		for round := range 2 {
			c.installs()
			if round == 0 {
				c.vm(runs("a", started+handedOff))
				c.job("job-1", "phase: Running")
				c.pods(
					newTestPod("launcher-a", "a", launches("web", "vm-1")),
					newTestPod("launcher-b", "b", launches("web", "vm-1"), targets("job-1")),
				)
			}
			c.admits() // before it is watched
			if got, err := c.migration(); err != nil || got.UID != "uid-job-1" {
				t.Errorf("Migration before it is watched = %+v, %v", got, err)
			}
			time.Sleep(DefaultRecheck)
			c.settles()
			if !c.migrations.Synced() || c.migrations.watch.Load() == nil {
				t.Fatal("KubeVirt is not watched")
			}
			if seen := c.saw(); len(seen) != 1 || seen[0].UID != "uid-job-1" {
				t.Errorf("observed %+v, want the migration once", seen)
			}
			c.admits()

			c.removes()
			if err := c.admit(actors.PolicyAuto); err != nil { // before that is noticed
				t.Errorf("Admit just after KubeVirt was removed = %v", err)
			}
			if err := c.admit(actors.PolicyKubeVirt); !errors.Is(err, actors.ErrPrecondition) {
				t.Errorf("Admit under kubevirt just after KubeVirt was removed = %v", err)
			}
			c.none()
			time.Sleep(10 * DefaultRecheck)
			if c.migrations.watch.Load() != nil {
				t.Error("KubeVirt is watched, though it is gone")
			}
			c.asks()
			time.Sleep(10 * DefaultRecheck)
			if asked := c.asked(); len(asked) != 0 {
				t.Errorf("still asks for %q", asked)
			}
			c.none()
		}
		if log := c.log.String(); c.log.lines() != 4 || strings.Count(log, "KubeVirt is there") != 2 || strings.Count(log, "KubeVirt is gone") != 2 {
			t.Errorf("logged\n%s, want twice that KubeVirt is there, and gone", log)
		}
	})
}

// A removal is noticed by what is missing, not only by the next look; and where discovery says nothing,
// what is known stays known.
func TestRemovalIsNoticedSoon(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t)
		c.installs()
		c.watched()
		c.removes()
		time.Sleep(5 * time.Second)
		if c.migrations.watch.Load() != nil {
			t.Error("KubeVirt is still watched five seconds after it is gone")
		}
		c.installs()
		time.Sleep(DefaultRecheck)
		c.settles()
		before := c.migrations.watch.Load()
		c.fails(errors.New("broken"))
		time.Sleep(3 * DefaultRecheck)
		c.fails(nil)
		c.settles()
		if before == nil || c.migrations.watch.Load() != before {
			t.Error("KubeVirt was given up because of an API server that did not answer")
		}
	})
}

func TestForbiddenIsLoggedOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t)
		c.installs()
		c.dynamic.PrependReactor("list", jobs.Resource, func(clienttesting.Action) (bool, runtime.Object, error) {
			return true, nil, apierrors.NewForbidden(jobs.GroupResource(), "", errors.New("no such right"))
		})
		c.watched()
		time.Sleep(10 * time.Minute)
		if c.migrations.Synced() {
			t.Error("Synced without jobs")
		}
		if c.log.lines() != 2 || !strings.Contains(c.log.String(), "no such right") {
			t.Errorf("logged %d lines, want that KubeVirt is there and one warning:\n%s", c.log.lines(), c.log)
		}
	})
}

// What a real API server answers, and what stands before one.
func TestPresenceByHTTP(t *testing.T) {
	const groups = `{"kind":"APIGroupList","apiVersion":"v1","groups":[{"name":"storage.k8s.io","versions":[{"groupVersion":"storage.k8s.io/v1","version":"v1"}],"preferredVersion":{"groupVersion":"storage.k8s.io/v1","version":"v1"}}]}`
	for name, test := range map[string]struct {
		handler http.HandlerFunc
		want    error
	}{
		"a cluster without KubeVirt": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			switch r.URL.Path {
			case "/apis":
				_, _ = io.WriteString(w, groups)
			case "/api":
				_, _ = io.WriteString(w, `{"kind":"APIVersions","versions":["v1"]}`)
			default:
				http.NotFound(w, r)
			}
		}, nil},
		"a proxy that knows nothing": {http.NotFound, actors.ErrUnavailable},
		"an API server that starts":  {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }, actors.ErrUnavailable},
		"no rights":                  {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }, actors.ErrUnavailable},
		"a page":                     {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") }, actors.ErrUnavailable},
		"no answer":                  {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, actors.ErrUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(test.handler)
			t.Cleanup(server.Close)
			config := &rest.Config{Host: server.URL, Transport: &http.Transport{DisableKeepAlives: true}}
			client, err := kubernetes.NewForConfig(config)
			if err != nil {
				t.Fatal(err)
			}
			objects, err := dynamic.NewForConfig(config)
			if err != nil {
				t.Fatal(err)
			}
			m, err := New(Config{Client: client, Dynamic: objects, Claims: &fakeClaims{}, Timeout: 50 * time.Millisecond})
			if err != nil {
				t.Fatal(err)
			}
			if test.want == nil {
				m.timeout = time.Minute // only a server that does not answer needs a short one
			}
			if err := m.Admit(t.Context(), volume, "a", "b", actors.PolicyAuto); !errors.Is(err, test.want) || (test.want == nil) != (err == nil) {
				t.Errorf("Admit = %v, want %v", err, test.want)
			}
		})
	}
}
