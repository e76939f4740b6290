// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package kubevirt

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rds-csi/rds-csi/actors"
)

// A migration's words on the instance.
const (
	handedOff = "migrationUid: uid-job-1, sourceNode: a, targetNode: b, migrationConfiguration: {completionTimeoutPerGiB: 150, progressTimeout: 150}"
	started   = "startTimestamp: '2000-01-01T00:10:00Z', "
	over      = started + "endTimestamp: '2000-01-01T00:11:00Z', "
	ready     = "targetNodeDomainReadyTimestamp: '2000-01-01T00:10:59Z', "
)

func runs(node, state string) string {
	return "nodeName: " + node + ", phase: Running, migrationState: {" + state + "}"
}

// migrating brings a cluster to where KubeVirt has handed a migration of web from a to b to the nodes, and
// checks on the way what is admitted, told and observed.
func migrating(t *testing.T) *cluster {
	t.Helper()
	c := newCluster(t)
	c.installs()
	c.vm(runs("a", ""))
	c.pods(newTestPod("launcher-a", "a", launches("web", "vm-1")))
	c.watched()
	c.refuses("no pod on node b uses it")
	c.none()

	c.job("job-1", "phase: Pending")
	c.refuses("no pod on node b uses it")
	c.none()
	c.pods(newTestPod("launcher-b", "b", launches("web", "vm-1"), targets("job-1"), pending))
	c.admits()
	c.tells(actors.Migration{Verdict: actors.VerdictOpen})

	c.vm(runs("a", handedOff))
	c.job("job-1", "phase: PreparingTarget")
	c.admits()
	c.tells(actors.Migration{Verdict: actors.VerdictOpen, Limit: 450 * time.Second})
	return c
}

// moves lets the guest's memory move.
func (c *cluster) moves() {
	c.t.Helper()
	c.vm(runs("a", started+handedOff))
	c.job("job-1", "phase: Running")
	c.tells(actors.Migration{Verdict: actors.VerdictOpen})
}

func (c *cluster) admits() {
	c.t.Helper()
	for _, policy := range []actors.Policy{actors.PolicyAuto, actors.PolicyKubeVirt, actors.PolicyAny} {
		if err := c.admit(policy); err != nil {
			c.t.Errorf("Admit under %v = %v", policy, err)
		}
	}
}

func (c *cluster) refuses(why string) {
	c.t.Helper()
	for _, policy := range []actors.Policy{actors.PolicyAuto, actors.PolicyKubeVirt} {
		if err := c.admit(policy); !errors.Is(err, actors.ErrPrecondition) || !strings.Contains(err.Error(), why) {
			c.t.Errorf("Admit under %v = %v, want a refusal with %q", policy, err, why)
		}
	}
	if err := c.admit(actors.PolicyAny); err != nil {
		c.t.Errorf("Admit under any = %v", err)
	}
}

// tells checks what Migration says, and that the last that was observed is the same. Start and limit are
// those of all migrations here, once they began.
func (c *cluster) tells(want actors.Migration) {
	c.t.Helper()
	got, err := c.migration()
	if err != nil {
		c.t.Errorf("Migration = %v", err)
		return
	}
	want.Source, want.Target, want.UID = "a", "b", "uid-job-1"
	if !got.Started.IsZero() {
		want.Started, want.Limit = time.Date(2000, 1, 1, 0, 10, 0, 0, time.UTC), got.Limit
	}
	if got != want {
		c.t.Errorf("Migration = %+v, want %+v", got, want)
	}
	if seen := c.saw(); len(seen) == 0 || seen[len(seen)-1] != got {
		c.t.Errorf("observed %+v, want %+v last", seen, got)
	}
}

// none checks that nobody is said to migrate the volume.
func (c *cluster) none() {
	c.t.Helper()
	if got, err := c.migration(); !errors.Is(err, actors.ErrNotFound) {
		c.t.Errorf("Migration = %+v, %v, want ErrNotFound", got, err)
	}
	if seen := c.saw(); len(seen) != 0 {
		c.t.Errorf("observed %+v", seen)
	}
}

func bubble(t *testing.T, story func(*testing.T)) {
	t.Helper()
	synctest.Test(t, story)
}

func TestSuccess(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := migrating(t)
		c.moves()
		c.vm(runs("a", started+ready+handedOff))
		got, err := c.migration()
		if err != nil || got.Verdict != actors.VerdictOpen {
			t.Errorf("Migration when the target runs the VM = %+v, %v, want it open", got, err)
		}
		c.vm(runs("b", over+ready+handedOff))
		c.vm(runs("b", over+ready+"completed: true, "+handedOff))
		c.tells(actors.Migration{Verdict: actors.VerdictSucceeded})
		c.job("job-1", "phase: Succeeded, migrationState: {"+over+"completed: true, "+handedOff+"}")
		c.refuses("has ended (Succeeded)")
		c.ends("launcher-a")
		if got, err := c.migration(); err != nil || got.Verdict != actors.VerdictSucceeded {
			t.Errorf("Migration after the source's pod is gone = %+v, %v", got, err)
		}
		if seen := c.saw(); len(seen) != 0 {
			t.Errorf("observed %+v again", seen)
		}

		// It goes on to c, and what it did before is still known.
		c.job("job-2", "phase: Running")
		c.vm(runs("b", "migrationUid: uid-job-2, sourceNode: b, targetNode: c"))
		if got, err := c.migration(); err != nil || got.Verdict != actors.VerdictSucceeded || got.UID != "uid-job-1" {
			t.Errorf("Migration after the next has begun = %+v, %v", got, err)
		}
		if got, err := c.migrations.Migration(t.Context(), volume, "b", "c"); err != nil || got.Verdict != actors.VerdictOpen || got.UID != "uid-job-2" {
			t.Errorf("the next Migration = %+v, %v", got, err)
		}
	})
}

func TestTargetFails(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := migrating(t)
		c.moves()
		c.vm(runs("a", over+"failed: true, completed: true, failureReason: the target is out of memory, "+handedOff))
		c.job("job-1", "phase: Failed")
		c.ends("launcher-b")
		c.tells(actors.Migration{Verdict: actors.VerdictFailed, Reason: "the target is out of memory"})
		c.refuses("no pod on node b uses it")

		// The next attempt is another migration, from the moment that its target has a node.
		c.job("job-2", "phase: Scheduling")
		c.pods(newTestPod("launcher-b2", "b", launches("web", "vm-1"), targets("job-2"), pending))
		c.admits()
		if got, err := c.migration(); err != nil || got.UID != "uid-job-2" || got.Verdict != actors.VerdictOpen || !got.Started.IsZero() {
			t.Errorf("Migration of the next attempt = %+v, %v", got, err)
		}
		if seen := c.saw(); len(seen) != 1 || seen[0].UID != "uid-job-2" {
			t.Errorf("observed %+v of the next attempt", seen)
		}
	})
}

// The target's pod starts nowhere, so that KubeVirt deletes it and gives up before the hand-off. Where the
// pod was is remembered.
func TestTargetNeverStarts(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t)
		c.installs()
		c.vm(runs("a", ""))
		c.pods(newTestPod("launcher-a", "a", launches("web", "vm-1")))
		c.watched()
		c.job("job-1", "phase: Scheduling")
		c.pods(newTestPod("launcher-b", "b", launches("web", "vm-1"), targets("job-1"), pending))
		c.ends("launcher-b")
		c.job("job-1", "phase: Failed")
		c.tells(actors.Migration{Verdict: actors.VerdictFailed, Reason: "it ended before it was handed to the nodes"})

		c.deletes(jobs, "job-1")
		c.none()
		if nodes := c.migrations.watch.Load().teller.nodes; len(nodes) != 0 {
			t.Errorf("remembered %v after the job is gone", nodes)
		}
	})
}

func TestCancelledBeforeHandOff(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t)
		c.installs()
		c.vm(runs("a", ""))
		c.pods(newTestPod("launcher-a", "a", launches("web", "vm-1")))
		c.watched()
		c.job("job-1", "phase: Scheduling")
		c.pods(newTestPod("launcher-b", "b", launches("web", "vm-1"), targets("job-1"), pending))
		c.admits()
		c.saw()
		c.deletes(jobs, "job-1") // the target's pod is still there
		c.refuses("that made pod vms/launcher-b is gone")
		c.none()
		c.ends("launcher-b")
		c.refuses("no pod on node b uses it")
		c.none()
	})
}

func TestCancelledAfterHandOff(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := migrating(t)
		c.moves()
		c.vm(runs("a", started+"abortRequested: true, abortStatus: Aborting, "+handedOff))
		if got, err := c.migration(); err != nil || got.Verdict != actors.VerdictOpen {
			t.Errorf("Migration while it is being cancelled = %+v, %v", got, err)
		}
		c.vm(runs("a", over+"abortRequested: true, abortStatus: Succeeded, failed: true, failureReason: Live migration aborted, "+handedOff))
		// The target's pod lingers. The job is gone with its finalizer.
		c.deletes(jobs, "job-1")
		c.tells(actors.Migration{Verdict: actors.VerdictFailed, Reason: "Live migration aborted"})
		c.refuses("that made pod vms/launcher-b is gone")
	})
}

func TestPostCopyFails(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := migrating(t)
		c.moves()
		c.vm(runs("a", over+"mode: PostCopy, failed: true, "+handedOff))
		c.job("job-1", "phase: Failed")
		c.tells(actors.Migration{Verdict: actors.VerdictUncertain})
	})
}

func TestSourceCrashesAfterSuccess(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := migrating(t)
		c.moves()
		c.vm(runs("b", over+ready+"completed: true, "+handedOff))
		c.job("job-1", "phase: Succeeded, migrationState: {"+over+"completed: true, "+handedOff+"}")
		c.vm(strings.Replace(runs("b", over+ready+"completed: true, "+handedOff), "Running", "Failed", 1))
		c.ends("launcher-a", "launcher-b")
		c.tells(actors.Migration{Verdict: actors.VerdictSucceeded})
	})
}

// The VM is started again at once, under its name and with its disk: what the last one's migration did is
// nobody's any more, and its new pod waits until node a is free.
func TestVMStartsAgainElsewhere(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := migrating(t)
		c.moves()
		c.vm("phase: Scheduling", "vm-2")
		c.pods(newTestPod("launcher-a", "a", launches("web", "vm-1"), leaving))
		c.ends("launcher-b")
		c.pods(newTestPod("launcher-new", "b", launches("web", "vm-2"), pending))
		c.saw()
		c.refuses("both use it")
		c.none()
		c.ends("launcher-a")
		c.refuses("waits until node a is detached")
		c.none()
	})
}

func TestImporterThenLauncher(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t)
		c.installs()
		c.watched()
		c.pods(newTestPod("importer-disk", "a"))
		c.vm("phase: Scheduling")
		c.pods(newTestPod("launcher-b", "b", launches("web", "vm-1"), pending))
		c.refuses("importer-disk on node a uses it and is no VM's")
		c.none()
		c.pods(newTestPod("importer-disk", "a", ended))
		c.refuses("starts VM web and is no live migration's target")
	})
}

// A drain evicts the pod that stands in for a hotplugged disk, while the VM still runs on the source.
func TestHotplugEvicted(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t)
		c.installs()
		c.vm(runs("a", ""))
		c.pods(
			newTestPod("launcher-a", "a", launches("web", "vm-1"), diskless),
			newTestPod("hp-a", "a", plugs("launcher-a")),
		)
		c.watched()
		c.job("job-1", "phase: Pending")
		c.pods(
			newTestPod("launcher-b", "b", launches("web", "vm-1"), targets("job-1"), diskless),
			newTestPod("hp-b", "b", plugs("launcher-b"), targets("job-1"), pending),
		)
		c.admits()
		c.tells(actors.Migration{Verdict: actors.VerdictOpen})
		c.ends("hp-a")
		c.admits()
		c.vm(runs("a", started+handedOff))
		c.tells(actors.Migration{Verdict: actors.VerdictOpen})
	})
}

// A receiving migration has an instance of its own, which runs nowhere yet.
func TestReceivingInstance(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t)
		c.installs()
		c.watched()
		c.vm("phase: WaitingForSync, migrationState: {migrationUid: uid-job-1, sourceNode: a, targetNode: b}")
		u := read(t, strings.NewReplacer("uid: job-1", "uid: uid-job-1", "spec: {", "spec: {receive: {migrationID: x}, ").Replace(jobKind)+"status: {phase: Scheduling}")
		c.put(jobs, u)
		c.pods(newTestPod("launcher-b", "b", launches("web", "vm-1"), targets("job-1"), pending))
		c.refuses("sends to or receives from elsewhere")
	})
}

// Caches save all that they can: a migration costs one read of each object per question.
func TestReadsAreFew(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := migrating(t)
		want := []string{"get virtualmachineinstancemigrations", "get virtualmachineinstances"}
		c.asks()
		if err := c.admit(actors.PolicyAuto); err != nil || !slices.Equal(c.asked(), want) {
			t.Errorf("Admit = %v, asked %q, want %q", err, c.asked(), want)
		}
		c.asks()
		if _, err := c.migration(); err != nil || !slices.Equal(c.asked(), want) {
			t.Errorf("Migration = %v, asked %q, want %q", err, c.asked(), want)
		}
		// Nothing is refused on a cache's word alone.
		c.ends("launcher-b")
		c.asks()
		c.refuses("no pod on node b uses it")
		if asked := c.asked(); len(asked) != 4 || asked[0] != "list pods" {
			t.Errorf("a refusal asked %q, want two lists of pods for each policy", asked)
		}
	})
}
