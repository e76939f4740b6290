// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package kubevirt

import (
	"testing"
	"time"

	"github.com/rds-csi/rds-csi/actors"
)

// The VM migrates from node a to node b by job-1.
func TestClassify(t *testing.T) {
	const (
		started = "startTimestamp: '2026-03-01T10:00:00Z', "
		over    = started + "endTimestamp: '2026-03-01T10:01:00Z', "
		ready   = "targetNodeDomainReadyTimestamp: '2026-03-01T10:00:59Z', "
		ours    = "migrationUid: job-1, sourceNode: a, targetNode: b"
		onward  = "migrationUid: job-2, sourceNode: b, targetNode: c"
		again   = "migrationUid: job-2, sourceNode: a, targetNode: c"
	)
	vm := func(node, phase, state string) string {
		return "status: {nodeName: '" + node + "', phase: '" + phase + "', migrationState: {" + state + "}}"
	}
	job := func(phase, state string) string {
		return "status: {phase: '" + phase + "', migrationState: {" + state + "}}"
	}
	for _, c := range []struct {
		name    string
		vm, job string // "": gone
		want    actors.Verdict
		reason  string
	}{
		// The sequence of a migration that succeeds.
		{"the target's pod exists", vm("a", "Running", ""), job("Pending", ""), actors.VerdictOpen, ""},
		{"its pod is scheduled, and an older one's state is there", vm("a", "Running", "migrationUid: job-0, completed: true, sourceNode: c, targetNode: a"), job("Scheduling", "sourcePod: x"), actors.VerdictOpen, ""},
		{"handed off", vm("a", "Running", ours), job("PreparingTarget", ""), actors.VerdictOpen, ""},
		{"memory moves", vm("a", "Running", started+ours), job("Running", ""), actors.VerdictOpen, ""},
		{"the VM runs on the target", vm("a", "Running", started+ready+ours), job("Running", ""), actors.VerdictOpen, ""},
		{"the node is the target", vm("b", "Running", over+ready+ours), job("Running", ""), actors.VerdictOpen, ""},
		{"complete", vm("b", "Running", over+ready+"completed: true, "+ours), job("Running", ""), actors.VerdictSucceeded, ""},
		{"complete, and its job knows", vm("b", "Running", over+ready+"completed: true, "+ours), job("Succeeded", over+"completed: true, "+ours), actors.VerdictSucceeded, ""},
		{"complete, and its job is deleted", vm("b", "Running", over+"completed: true, "+ours), "", actors.VerdictSucceeded, ""},
		{"complete by post-copy", vm("b", "Running", over+"mode: PostCopy, completed: true, "+ours), job("Succeeded", ""), actors.VerdictSucceeded, ""},

		// The target fails.
		{"failed", vm("a", "Running", over+"completed: true, failed: true, failureReason: no memory, "+ours), job("Failed", ""), actors.VerdictFailed, "no memory"},
		{"failed, as the source alone says yet", vm("a", "Running", over+"failed: true, failureReason: 'no\n\n memory', "+ours), job("Running", ""), actors.VerdictFailed, "no memory"},
		{"failed, and no reason", vm("a", "Running", over+"completed: true, failed: true, "+ours), job("Failed", ""), actors.VerdictFailed, ""},
		{"the target's pod failed before the hand-off", vm("a", "Running", ""), job("Failed", ""), actors.VerdictFailed, "it ended before it was handed to the nodes"},
		{"so it did, and an older one is on the instance", vm("a", "Running", "migrationUid: job-0, completed: true, sourceNode: c, targetNode: a"), job("Failed", ""), actors.VerdictFailed, "it ended before it was handed to the nodes"},
		{"so it did, and the job keeps the state of another", vm("a", "Running", ""), job("Failed", over+"completed: true, migrationUid: job-2, sourceNode: a, targetNode: b"), actors.VerdictFailed, "it ended before it was handed to the nodes"},
		{"the job failed, and the instance does not know yet", vm("a", "Running", started+ours), job("Failed", started+ours), actors.VerdictOpen, ""},

		// Cancelled.
		{"cancelled before hand-off, and gone", vm("a", "Running", ""), "", actors.VerdictOpen, "none"},
		{"to be cancelled after hand-off", vm("a", "Running", started+"abortRequested: true, "+ours), job("Running", ""), actors.VerdictOpen, ""},
		{"being cancelled", vm("a", "Running", started+"abortRequested: true, abortStatus: Aborting, "+ours), job("Running", ""), actors.VerdictOpen, ""},
		{"could not be cancelled", vm("a", "Running", started+"abortRequested: true, abortStatus: Failed, "+ours), job("Running", ""), actors.VerdictOpen, ""},
		{"could not be cancelled, and complete", vm("b", "Running", over+"completed: true, abortRequested: true, abortStatus: Failed, "+ours), job("Succeeded", ""), actors.VerdictSucceeded, ""},
		{"cancelled", vm("a", "Running", over+"failed: true, abortRequested: true, abortStatus: Succeeded, failureReason: Live migration aborted, "+ours), job("Failed", ""), actors.VerdictFailed, "Live migration aborted"},
		{"cancelled, and no reason", vm("a", "Running", over+"abortRequested: true, abortStatus: Succeeded, "+ours), job("Running", ""), actors.VerdictFailed, "it was cancelled"},

		// Post-copy.
		{"in post-copy", vm("a", "Running", started+"mode: PostCopy, "+ours), job("Running", ""), actors.VerdictOpen, ""},
		{"failed in post-copy", vm("a", "Running", over+"mode: PostCopy, failed: true, "+ours), job("Failed", ""), actors.VerdictUncertain, ""},
		{"failed in post-copy, and the VM with it", vm("a", "Failed", over+"mode: PostCopy, completed: true, failed: true, "+ours), job("Failed", ""), actors.VerdictUncertain, ""},

		// What contradicts itself.
		{"failed though the VM ran on the target", vm("a", "Running", over+ready+"failed: true, "+ours), job("Failed", ""), actors.VerdictUncertain, ""},
		{"failed though the node is the target", vm("b", "Running", over+"failed: true, completed: true, "+ours), job("Failed", ""), actors.VerdictUncertain, ""},
		{"complete though the node is the source", vm("a", "Running", over+"completed: true, "+ours), job("Succeeded", ""), actors.VerdictUncertain, ""},
		{"complete though the node is another", vm("c", "Running", over+"completed: true, "+ours), job("Succeeded", ""), actors.VerdictUncertain, ""},
		{"the target never saw the VM", vm("a", "Failed", over+ready+"completed: true, failed: true, "+ours), job("Failed", ""), actors.VerdictUncertain, ""},

		// The source crashes, the VM ends.
		{"the VM failed after success", vm("b", "Failed", over+"completed: true, "+ours), job("Succeeded", ""), actors.VerdictSucceeded, ""},
		{"the VM failed after the node was set", vm("b", "Failed", over+ours), job("Running", ""), actors.VerdictUncertain, ""},
		{"the VM failed where it was", vm("a", "Failed", started+ours), job("Running", ""), actors.VerdictFailed, "the VM ended"},
		{"the VM failed when it ran on the target", vm("a", "Failed", started+ready+ours), job("Running", ""), actors.VerdictUncertain, ""},
		{"the VM was shut down before the hand-off", vm("a", "Succeeded", ""), job("Scheduled", ""), actors.VerdictFailed, "the VM ended"},
		{"the VM is gone, and its job kept success", "", job("Succeeded", over+"completed: true, "+ours), actors.VerdictSucceeded, ""},
		{"the VM is gone, and its job kept a failure", "", job("Failed", over+"failed: true, failureReason: no memory, "+ours), actors.VerdictFailed, "no memory"},
		{"the VM is gone, and its job kept a post-copy failure", "", job("Failed", over+"mode: PostCopy, failed: true, "+ours), actors.VerdictUncertain, ""},
		{"the VM is gone before the end", "", job("Running", ""), actors.VerdictUncertain, ""},
		{"the VM is gone, and its job ended before the hand-off", "", job("Failed", ""), actors.VerdictUncertain, ""},

		// The next migration overwrites the state.
		{"success, and it goes on", vm("b", "Running", onward), job("Succeeded", over+"completed: true, "+ours), actors.VerdictSucceeded, ""},
		{"success, and it went on", vm("c", "Running", "completed: true, "+onward), job("Succeeded", over+"completed: true, "+ours), actors.VerdictSucceeded, ""},
		{"success, and it went on twice", vm("d", "Running", "migrationUid: job-3, sourceNode: c, targetNode: d"), job("Succeeded", over+"completed: true, "+ours), actors.VerdictSucceeded, ""},
		{"success, and it is back", vm("a", "Running", "migrationUid: job-3, sourceNode: c, targetNode: a"), job("Succeeded", over+"completed: true, "+ours), actors.VerdictUncertain, ""},
		{"success that was not kept, and it went on", vm("c", "Running", onward), job("Succeeded", ""), actors.VerdictSucceeded, ""},
		{"success that was not kept, and it is back", vm("a", "Running", onward), job("Succeeded", ""), actors.VerdictUncertain, ""},
		{"failed, and another begins", vm("a", "Running", again), job("Failed", over+"failed: true, failureReason: no memory, "+ours), actors.VerdictFailed, "no memory"},
		{"failed, and another succeeded", vm("c", "Running", "completed: true, "+again), job("Failed", over+"failed: true, "+ours), actors.VerdictFailed, ""},
		{"failed in post-copy, and yet another begins there", vm("a", "Running", again), job("Failed", over+"mode: PostCopy, failed: true, "+ours), actors.VerdictFailed, ""},
		{"failed, and it is elsewhere", vm("d", "Running", "migrationUid: job-3, sourceNode: c, targetNode: d"), job("Failed", over+"failed: true, "+ours), actors.VerdictUncertain, ""},
		{"taken over by another", vm("a", "Running", again), job("Failed", ""), actors.VerdictFailed, "it ended before it was handed to the nodes"},
		{"taken over by another, which succeeded", vm("c", "Running", "completed: true, "+again), job("Failed", ""), actors.VerdictFailed, "it ended before it was handed to the nodes"},
		{"a state under way that is another's", vm("a", "Running", again), job("Running", started+"completed: true, "+again), actors.VerdictOpen, ""},

		// Other nodes.
		{"another target", vm("a", "Running", "migrationUid: job-1, sourceNode: a, targetNode: c"), job("Running", ""), actors.VerdictOpen, "none"},
		{"another source", vm("c", "Running", "migrationUid: job-1, sourceNode: c, targetNode: b"), job("Running", ""), actors.VerdictOpen, "none"},
		{"nothing", "", "", actors.VerdictOpen, "none"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, ok := classify(vmOf(t, c.vm), jobOf(t, c.job), "a", "b")
			if ok == (c.reason == "none") {
				t.Fatalf("classify = %+v, %v", got, ok)
			}
			if ok && (got.Verdict != c.want || got.Reason != c.reason || got.UID != "job-1" || got.Source != "a" || got.Target != "b") {
				t.Errorf("classify = %+v, want %v, reason %q", got, c.want, c.reason)
			}
		})
	}
}

func TestClassifyTellsStartAndLimit(t *testing.T) {
	vm := vmOf(t, `
spec: {domain: {memory: {guest: 4Gi}}}
status:
  nodeName: a
  phase: Running
  migrationState: {migrationUid: job-1, sourceNode: a, targetNode: b, startTimestamp: '2026-03-01T11:00:00+01:00', migrationConfiguration: {completionTimeoutPerGiB: 100, progressTimeout: 60}}
`)
	got, ok := classify(vm, jobOf(t, "status: {phase: Running}"), "a", "b")
	want := actors.Migration{
		Source: "a", Target: "b", UID: "job-1",
		Started: time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC),
		Limit:   5*100*time.Second + 60*time.Second, // 4 GiB are 4.3 GB, rounded up
	}
	if !ok || got != want {
		t.Errorf("classify = %+v, %v, want %+v", got, ok, want)
	}
}

func TestLimit(t *testing.T) {
	for _, c := range []struct {
		name, domain, config string
		want                 time.Duration
	}{
		{"KubeVirt's defaults", "memory: {guest: 64Gi}", "completionTimeoutPerGiB: 150, progressTimeout: 150, allowPostCopy: false, allowWorkloadDisruption: false", (69*150 + 150) * time.Second},
		{"no progress timeout", "memory: {guest: 1G}", "completionTimeoutPerGiB: 150", 300 * time.Second},
		{"requested memory", "resources: {requests: {memory: 2G}}", "completionTimeoutPerGiB: 150", 450 * time.Second},
		{"guest before requested memory", "memory: {guest: 1G}, resources: {requests: {memory: 2G}}", "completionTimeoutPerGiB: 150", 300 * time.Second},
		{"a plain number", "memory: {guest: 1000000001}", "completionTimeoutPerGiB: 150", 450 * time.Second},
		{"a guest that may be paused", "memory: {guest: 1G}", "completionTimeoutPerGiB: 150, allowWorkloadDisruption: true", 450 * time.Second},
		{"post-copy", "memory: {guest: 1G}", "completionTimeoutPerGiB: 150, allowPostCopy: true", 450 * time.Second},
		{"post-copy that may not be begun", "memory: {guest: 1G}", "completionTimeoutPerGiB: 150, allowPostCopy: true, allowWorkloadDisruption: false", 300 * time.Second},
		{"no limit", "memory: {guest: 1G}", "completionTimeoutPerGiB: 0", 0},
		{"no configuration", "memory: {guest: 1G}", "", 0},
		{"no memory", "", "completionTimeoutPerGiB: 150", 0},
		{"memory that is none", "memory: {guest: -1G}", "completionTimeoutPerGiB: 150", 0},
		{"memory that is text", "memory: {guest: much}", "completionTimeoutPerGiB: 150", 0},
		{"memory beyond belief", "memory: {guest: 2Ei}", "completionTimeoutPerGiB: 150", 0},
		{"a time beyond belief", "memory: {guest: 1G}", "completionTimeoutPerGiB: 9223372036854775807", 0},
		{"a time that is text", "memory: {guest: 1G}", "completionTimeoutPerGiB: '150'", 0},
		{"a long time", "memory: {guest: 1000T}", "completionTimeoutPerGiB: 1000000, allowPostCopy: true", maxLimit},
	} {
		t.Run(c.name, func(t *testing.T) {
			vm := vmOf(t, "spec: {domain: {"+c.domain+"}}\nstatus: {migrationState: {migrationUid: x, migrationConfiguration: {"+c.config+"}}}")
			if got := vm.state.limit(vm.memory); got != c.want {
				t.Errorf("limit = %v, want %v (memory %d GB)", got, c.want, vm.memory)
			}
		})
	}
}

func TestRoutes(t *testing.T) {
	// Each job is created a second after the one before.
	type j struct{ name, phase, state string }
	for _, c := range []struct {
		name   string
		node   string
		state  string
		jobs   []j
		placed map[string]string
		want   string // job:source>target …, the latest last
	}{
		{"none", "a", "", nil, nil, ""},
		{"not placed yet", "a", "", []j{{"1", "Pending", ""}}, nil, ""},
		{"placed", "a", "", []j{{"1", "Scheduling", ""}}, map[string]string{"1": "b"}, "1:a>b"},
		{"placed where it is", "a", "", []j{{"1", "Scheduling", ""}}, map[string]string{"1": "a"}, ""},
		{"handed off", "a", "migrationUid: '1', sourceNode: a, targetNode: b", []j{{"1", "Running", ""}}, map[string]string{"1": "x"}, "1:a>b"},
		{
			"and again", "b", "migrationUid: '2', sourceNode: b, targetNode: a",
			[]j{{"1", "Succeeded", "migrationUid: '1', sourceNode: a, targetNode: b"}, {"2", "Running", ""}},
			nil, "1:a>b 2:b>a",
		},
		{
			"the job of the state is gone", "b", "migrationUid: '2', sourceNode: a, targetNode: b",
			[]j{{"1", "Failed", "migrationUid: '1', sourceNode: a, targetNode: b"}},
			nil, "1:a>b :a>b",
		},
		{
			"and one is under way since", "b", "migrationUid: '2', sourceNode: a, targetNode: b",
			[]j{{"1", "Failed", "migrationUid: '1', sourceNode: a, targetNode: b"}, {"3", "Scheduling", ""}},
			map[string]string{"3": "c"},
			"1:a>b :a>b 3:b>c",
		},
		{"a state without nodes", "a", "migrationUid: '2'", nil, nil, ""},
		{"another VM's", "a", "", []j{{"1@db", "Scheduling", ""}}, map[string]string{"1": "b"}, ""},
		{"an earlier instance's", "a", "", []j{{"1@web-", "Scheduling", ""}}, map[string]string{"1": "b"}, ""},
		{"to elsewhere", "a", "", []j{{"1@web!", "Scheduling", ""}}, map[string]string{"1": "b"}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			vm := vmOf(t, "status: {nodeName: "+c.node+", migrationState: {"+c.state+"}}")
			birth := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
			vm.CreationTimestamp.Time = birth
			var jobs []*job
			for i, spec := range c.jobs {
				uid, of := spec.name[:1], spec.name[1:]
				made := newJob(read(t, "apiVersion: kubevirt.io/v1\nkind: VirtualMachineInstanceMigration\nmetadata: {namespace: vms, name: n"+uid+", uid: '"+uid+"'}\n"+
					"spec: {vmiName: web}\nstatus: {phase: "+spec.phase+", migrationState: {"+spec.state+"}}"))
				made.CreationTimestamp.Time = birth.Add(time.Duration(i) * time.Second)
				switch of {
				case "@db":
					made.vm = "db"
				case "@web-":
					made.CreationTimestamp.Time = birth.Add(-time.Second)
				case "@web!":
					made.elsewhere = true
				}
				jobs = append([]*job{made}, jobs...) // caches have no order
			}
			got := ""
			for _, r := range routes(vm, jobs, func(uid string) string { return c.placed[uid] }) {
				if got != "" {
					got += " "
				}
				if r.job != nil {
					got += string(r.job.UID)
				}
				got += ":" + r.source + ">" + r.target
			}
			if got != c.want {
				t.Errorf("routes = %q, want %q", got, c.want)
			}
		})
	}
}
