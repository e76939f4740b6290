// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package main

// KubeVirt: whom it lets in, and how it says that a migration ended.
var faultsOfKubeVirt = []fault{
	// Admission.
	{"admit what cannot be told", "admit.go", "\tif err == nil {\n\t\treturn nil\n\t}\n\tif w != nil {", "\tif err == nil || errors.Is(err, actors.ErrUnavailable) {\n\t\treturn nil\n\t}\n\tif w != nil {"},
	{"refuse for good where the pods cannot be listed", "admit.go", "if err != nil {\n\t\t\treturn nil, fmt.Errorf(\"list pods", "if err != nil && ctx.Err() == nil {\n\t\t\tcontinue\n\t\t}\n\t\tif err != nil {\n\t\t\treturn nil, fmt.Errorf(\"list pods"},
	{"admit anybody where KubeVirt cannot be looked for", "admit.go", "\tcase err != nil:\n\t\treturn err\n\tcase policy == actors.PolicyAuto:", "\tcase policy == actors.PolicyAuto:"},
	{"admit anybody under the policy kubevirt where there is none", "admit.go", "case policy == actors.PolicyAuto:", "case policy != actors.PolicyAny:"},
	{"refuse by the cache", "admit.go", "holder, target); err == nil {\n\t\t\treturn c, nil", "holder, target); err == nil || errors.Is(err, actors.ErrPrecondition) {\n\t\t\treturn c, err"},
	{"ignore the job of a hotplug pod's launcher", "pod.go", "return u.launcher.job, u.launcher.jobName", "return u.job, u.jobName"},
	{"ignore the job that a hotplug pod itself tells", "pod.go", "if u.job != \"\" {\n\t\treturn u.job, u.jobName", "if u.job != \"\" && u.launcher == u.pod {\n\t\treturn u.job, u.jobName"},
	{"take a hotplug pod for one of another launcher of that name", "pod.go", "l != nil && l.UID == p.owner.UID && l.launcher()", "l != nil && l.launcher()"},
	{"take whatever calls itself a launcher for one", "pod.go", "p.app == appLauncher && p.vm != \"\" && p.owner.Kind == kindInstance && string(p.owner.UID) == p.vm", "p.app == appLauncher"},
	{"let an importer's pod pass", "judge.go", "if u.launcher == nil {\n\t\t\treturn claimant{},", "if u.launcher == nil {\n\t\t\tcontinue\n\t\t}\n\t\tif u.launcher == nil {\n\t\t\treturn claimant{},"},
	{"let two VMs share a volume", "judge.go", "if c.uid != uid {", "if c.vm != vm {"},
	{"admit a VM that starts anew elsewhere", "judge.go", "case jobUID == \"\":\n\t\t\treturn claimant{},", "case jobUID == \"\" && u.finished:\n\t\t\treturn claimant{},"},
	{"count a pod that terminates for gone", "judge.go", "if u.finished || u.node != holder && u.node != target {", "if u.finished || u.DeletionTimestamp != nil || u.node != holder && u.node != target {"},
	{"believe a job's label without its job", "judge.go", "case j == nil:\n\t\treturn refusal(\"the migration %s", "case j == nil && vm != nil:\n\t\treturn nil\n\tcase j == nil:\n\t\treturn refusal(\"the migration %s"},
	{"believe another job of the same name", "read.go", "if u != nil && string(u.GetUID()) == c.jobUID {", "if u != nil {"},
	{"admit the target of a job that has ended", "judge.go", "case j.final():", "case j.final() && j.vm == \"\":"},
	{"admit the target of a job that is cancelled", "judge.go", "case j.DeletionTimestamp != nil:", "case j.DeletionTimestamp != nil && j.vm == \"\":"},
	{"admit the receiving end of a migration between clusters", "judge.go", "case j.elsewhere:", "case j.elsewhere && j.vm == \"\":"},
	{"admit a migration from a node that does not run the VM", "judge.go", "case vm.node != holder:", "case vm.node == \"\":"},

	// Presence.
	{"take a part of the API's groups for all", "presence.go", "case !has(witness):", "case !has(witness) && has(group):"},
	{"take a KubeVirt that is being installed for none", "presence.go", "case has(group):", "case has(group) && !has(witness):"},
	{"take a KubeVirt without its migrations for whole", "presence.go", "[]string{instances.Resource, jobs.Resource}", "[]string{instances.Resource}"},

	// Which migration it is.
	{"take the oldest migration for the latest", "migration.go", "for _, r := range slices.Backward(all) {", "for _, r := range all {"},
	{"tell of the oldest migration", "teller.go", "r := all[len(all)-1]", "r := all[0]"},
	{"take the older of two jobs for the newer", "route.go", "a.CreationTimestamp.Compare(b.CreationTimestamp.Time)", "b.CreationTimestamp.Compare(a.CreationTimestamp.Time)"},
	{"count the jobs of an earlier instance of that name", "route.go", " && !j.CreationTimestamp.Before(&vm.CreationTimestamp)", ""},
	{"take the deadline from another job", "classify.go", "case held != nil && held.job == string(j.UID):", "case held != nil:"},
	{"take another job's end for this one's", "job.go", "j.final() && kept.job == string(j.UID)", "j.final()"},
	{"judge by the instance that was started since", "migration.go", "if vm != nil && vm.UID != c.vm.UID {", "if vm != nil && vm.UID == \"\" {"},
	{"judge by a job that was made anew since", "migration.go", "if u != nil && u.GetUID() == c.job.UID {", "if u != nil {"},
	{"take a migration between other nodes for this one", "classify.go", "if s.source != source || s.target != target {", "if s.source != source && s.target != target {"},
	{"say that there is no migration where that cannot be told", "migration.go", "if !errors.Is(err, actors.ErrNotFound) {\n\t\t\treturn found, err", "if err == nil {\n\t\t\treturn found, err"},

	// How it ended.
	{"count a complete migration whose VM is elsewhere", "classify.go", "case a.next == nil && a.vm.node == target:", "case a.next == nil:"},
	{"count a failure though the target may have written", "classify.go", "\tcase a.handedOver():\n\t\treturn actors.VerdictUncertain", "\tcase a.handedOver() && a.vm == nil:\n\t\treturn actors.VerdictUncertain"},
	{"forget that post-copy writes on the target", "classify.go", "return a.state.ready || a.state.postCopy", "return a.state.ready"},
	{"forget that the target was ready", "classify.go", "return a.state.ready || a.state.postCopy", "return a.state.postCopy"},
	{"take an abort that is asked for as done", "state.go", `o.text("abortStatus") == "Succeeded"`, `o.text("abortStatus") != ""`},
	{"count a failed migration whose VM has gone", "classify.go", "case a.vm == nil || a.vm.node == source:", "case true:"},
	{"close a migration that is under way", "classify.go", "case a.vm != nil && !a.vm.final():", "case a.vm != nil && a.vm.final():"},

	// How long it may take.
	{"give a disruptive migration its time once", "state.go", "seconds *= 2", "seconds *= 1"},
	{"leave KubeVirt no time to abort", "state.go", "return time.Duration(seconds)*time.Second + s.grace", "return time.Duration(seconds) * time.Second"},
	{"set a limit where none is known", "state.go", "if s.perGiB == 0 || memory == 0 {", "if s.perGiB == 0 && memory == 0 {"},
}
