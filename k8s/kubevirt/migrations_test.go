// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package kubevirt

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiwatch "k8s.io/apimachinery/pkg/watch"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/rds-csi/rds-csi/actors"
)

func TestConfigIsChecked(t *testing.T) {
	whole := Config{Client: fake.NewClientset(), Dynamic: &dynamicfake.FakeDynamicClient{}, Claims: &fakeClaims{}}
	if _, err := New(whole); err != nil {
		t.Fatalf("New = %v", err)
	}
	for name, change := range map[string]func(*Config){
		"no client":           func(c *Config) { c.Client = nil },
		"no dynamic client":   func(c *Config) { c.Dynamic = nil },
		"no claims":           func(c *Config) { c.Claims = nil },
		"a negative timeout":  func(c *Config) { c.Timeout = -1 },
		"a negative interval": func(c *Config) { c.Recheck = -1 },
	} {
		config := whole
		change(&config)
		if _, err := New(config); !errors.Is(err, actors.ErrInvalid) {
			t.Errorf("%s: New = %v, want ErrInvalid", name, err)
		}
	}
}

// Without Run, as just after a start, all is read live.
func TestNothingIsWatchedYet(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t)
		c.installs()
		c.vm(runs("a", started+handedOff))
		c.job("job-0", "phase: Failed")
		c.job("job-1", "phase: Running")
		unnamed := newTestPod("launcher-b", "b", launches("web", "vm-1"), targets("job-1"))
		unnamed.Annotations = nil // the job is found by its UID
		c.pods(
			newTestPod("launcher-a", "a", launches("web", "vm-1"), diskless), newTestPod("hp-a", "a", plugs("launcher-a")),
			newTestPod("other", "c"), unnamed,
		)
		c.admits()
		if got, err := c.migration(); err != nil || got.UID != "uid-job-1" || got.Limit != 450*time.Second {
			t.Errorf("Migration = %+v, %v", got, err)
		}
		if _, err := c.migrations.Migration(t.Context(), volume, "a", "c"); !errors.Is(err, actors.ErrNotFound) {
			t.Errorf("Migration to another node = %v, want ErrNotFound", err)
		}
		for _, action := range c.kube.Actions() {
			if list, ok := action.(clienttesting.ListAction); ok && list.GetListRestrictions().Fields.Empty() {
				t.Error("listed the pods of all nodes")
			}
		}
		c.claims.ref = &corev1.ObjectReference{Namespace: "vms", Name: "of-no-vm"}
		if _, err := c.migration(); !errors.Is(err, actors.ErrNotFound) {
			t.Errorf("Migration of a volume of no VM = %v, want ErrNotFound", err)
		}
	})
}

// The job that the pod names was replaced by another of its name.
func TestJobOfTheSameName(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := migrating(t)
		u := read(t, strings.Replace(jobKind, "uid: job-1", "uid: uid-other", 1)+"status: {phase: Pending}")
		c.put(jobs, u)
		c.refuses("the migration uid-job-1 that made pod vms/launcher-b is gone")
		if got, err := c.migration(); err != nil || got.UID != "uid-job-1" || got.Verdict != actors.VerdictOpen {
			t.Errorf("Migration = %+v, %v", got, err)
		}
	})
}

// A cache that lags behind leads to no refusal, nor to a migration that is not found.
func TestCachesLag(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t)
		c.installs()
		blind := func(clienttesting.Action) (bool, apiwatch.Interface, error) { return true, apiwatch.NewFake(), nil }
		c.kube.PrependWatchReactor("*", blind)
		c.dynamic.PrependWatchReactor("*", blind)
		c.watched()
		if !c.migrations.Synced() {
			t.Fatal("not synced")
		}
		c.vm(runs("a", started+handedOff))
		c.job("job-1", "phase: Running")
		c.pods(newTestPod("launcher-a", "a", launches("web", "vm-1")), newTestPod("launcher-b", "b", launches("web", "vm-1"), targets("job-1")))
		c.admits()
		if got, err := c.migration(); err != nil || got.UID != "uid-job-1" {
			t.Errorf("Migration = %+v, %v", got, err)
		}
	})
}

// blinded is a cluster in which a migration is being scheduled, whose caches see nothing of what comes next.
func blinded(t *testing.T) *cluster {
	t.Helper()
	c := newCluster(t)
	c.installs()
	blind := func(clienttesting.Action) (bool, apiwatch.Interface, error) { return true, apiwatch.NewFake(), nil }
	c.dynamic.PrependWatchReactor("*", blind)
	c.vm(runs("a", ""))
	c.job("job-1", "phase: Scheduling")
	c.pods(newTestPod("launcher-b", "b", launches("web", "vm-1"), targets("job-1")))
	c.watched()
	return c
}

// What was replaced behind the caches' back is not taken for what they hold.
func TestCachesHoldWhatIsGone(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := blinded(t)
		c.tells(actors.Migration{Verdict: actors.VerdictOpen})

		c.vm(runs("b", ""), "vm-2")
		if got, err := c.migration(); err != nil || got.Verdict != actors.VerdictUncertain {
			t.Errorf("Migration of an instance that was replaced = %+v, %v, want it uncertain", got, err)
		}
		c.vm(runs("a", ""))
		c.put(jobs, read(t, strings.Replace(jobKind, "uid: job-1", "uid: uid-other", 1)+"status: {phase: Pending}"))
		c.none()
	})
}

// What the caches know and cannot be asked about is not looked for elsewhere: a list that lacks it says nothing of how it
// ended.
func TestCachesKnowWhatCannotBeAsked(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := blinded(t)
		c.deletes(instances, "web")
		c.fails(errors.New("broken"), "get", jobs.Resource)
		if got, err := c.migration(); !errors.Is(err, actors.ErrUnavailable) || !strings.Contains(err.Error(), "broken") {
			t.Errorf("Migration = %+v, %v, want ErrUnavailable", got, err)
		}
	})
}

// Each request in turn fails: no answer is made up of the others.
func TestUnavailable(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := migrating(t)
		for _, resource := range []string{"", instances.Resource, jobs.Resource} {
			if resource == "" {
				c.fails(errors.New("broken"))
			} else {
				c.fails(errors.New("broken"), "get", resource)
			}
			c.undecided("broken")
		}
		c.fails(nil)
		c.admits()

		c.ends("launcher-b") // so that pods must be listed
		c.fails(errors.New("broken"))
		c.undecided("broken")
		c.fails(nil)

		c.claims.err = errors.New("odd")
		c.undecided("odd")
		c.claims.err = actors.ErrUnavailable
		c.undecided("find the claim")
		c.claims.err = actors.ErrNotFound
		c.refuses("no PersistentVolumeClaim has it")
		c.none()
	})
}

func TestErrorsAreOfOneKind(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := migrating(t)
		c.fails(errors.New("broken"))
		_, unavailable := c.migration()
		c.fails(nil)
		c.ends("launcher-b")
		for want, err := range map[error]error{actors.ErrUnavailable: unavailable, actors.ErrPrecondition: c.admit(actors.PolicyAuto)} {
			for _, kind := range []error{actors.ErrUnavailable, actors.ErrPrecondition, actors.ErrNotFound, actors.ErrInvalid} {
				if errors.Is(err, kind) != (kind == want) {
					t.Errorf("%v: is it %v?", err, kind)
				}
			}
		}
		if err := c.admit(actors.PolicyAuto); !strings.Contains(err.Error(), "admit node b to volume "+string(volume)+", which node a has") {
			t.Errorf("Admit = %v, want the volume and both nodes named", err)
		}
	})
}

// An instance that says nothing of a disk that is plugged in just now is found by its pods.
func TestInstanceByItsPods(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t)
		c.installs()
		c.claims.ref = &corev1.ObjectReference{Namespace: "vms", Name: "plugged"}
		plugged := func(p *corev1.Pod) { p.Spec.Volumes[1].PersistentVolumeClaim.ClaimName = "plugged" }
		c.vm(runs("a", started+handedOff))
		c.job("job-1", "phase: Running")
		c.pods(
			newTestPod("launcher-a", "a", launches("web", "vm-1")), newTestPod("hp-a", "a", plugs("launcher-a"), plugged),
			newTestPod("launcher-b", "b", launches("web", "vm-1"), targets("job-1")), newTestPod("hp-b", "b", plugs("launcher-b"), targets("job-1"), plugged),
		)
		c.watched()
		c.admits()
		if got, err := c.migration(); err != nil || got.UID != "uid-job-1" {
			t.Errorf("Migration = %+v, %v", got, err)
		}
	})
}

// Each volume of the VM is told, also one that becomes known later, and none twice.
func TestObserve(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t)
		c.installs()
		c.claims.volumes = nil
		c.vm(runs("a", started+handedOff))
		c.job("job-1", "phase: Running")
		c.watched()
		if seen := c.saw(); len(seen) != 0 {
			t.Errorf("observed %+v of a claim without a volume", seen)
		}
		c.claims.volumes = map[claim][]actors.VolumeID{{"vms", "disk"}: {volume}}
		c.vm("guestOSInfo: {}, " + runs("a", started+handedOff))
		c.vm(runs("a", started+handedOff))
		c.job("job-1", "phase: Running, conditions: []")
		if seen := c.saw(); len(seen) != 1 || seen[0].UID != "uid-job-1" || seen[0].Started.IsZero() || seen[0].Limit == 0 {
			t.Errorf("observed %+v, want the migration once, with start and limit", seen)
		}
		c.deletes(instances, "web")
		if len(c.migrations.watch.Load().teller.told) != 0 {
			t.Error("remembers a VM that is gone")
		}
	})
}

// An API that has changed beyond recognition is no migration's.
func TestOddObjects(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t)
		c.installs()
		c.vm(runs("a", ""))
		c.put(jobs, read(t, strings.Replace(jobKind, "{vmiName: web}", "[web]", 1)+"status: [phase]"))
		c.put(instances, read(t, strings.Replace(vmKind, "name: web", "name: odd", 1)+"spec: 7\nstatus: {nodeName: [a], migrationState: {migrationUid: {}}, volumeStatus: {}}"))
		c.pods(newTestPod("launcher-b", "b", launches("web", "vm-1"), targets("job-1")))
		c.watched()
		c.refuses("is gone")
		c.none()
	})
}

// What is kept in memory is what is asked for.
func TestCachesAreTrimmed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := migrating(t)
		w := c.migrations.watch.Load()
		for _, objects := range [][]any{w.pods.GetStore().List(), w.instances.GetStore().List(), w.jobs.GetStore().List()} {
			for _, o := range objects {
				if kind := reflect.TypeOf(o); !slices.Contains([]reflect.Type{reflect.TypeFor[*pod](), reflect.TypeFor[*instance](), reflect.TypeFor[*job]()}, kind) {
					t.Errorf("keeps a %v", kind)
				}
			}
			if len(objects) == 0 {
				t.Error("keeps nothing")
			}
		}
	})
}
