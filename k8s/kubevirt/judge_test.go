// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package kubevirt

import (
	"errors"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/rds-csi/rds-csi/actors"
)

// newTestPod returns a pod of namespace vms that uses the claim disk, after it was changed.
func newTestPod(name, node string, changes ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "vms", Name: name, UID: types.UID("uid-" + name)},
		Spec: corev1.PodSpec{NodeName: node, Volumes: []corev1.Volume{
			{Name: "token", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{}}},
			{Name: "disk", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "disk"}}},
		}},
		Status: corev1.PodStatus{Phase: corev1.PodRunning},
	}
	for _, change := range changes {
		change(p)
	}
	return p
}

func controlled(kind, name, uid string) func(*corev1.Pod) {
	yes := true
	return func(p *corev1.Pod) {
		p.OwnerReferences = []metav1.OwnerReference{
			{Kind: "Bystander", Name: "x", UID: "x"},
			{Kind: kind, Name: name, UID: types.UID(uid), Controller: &yes},
		}
	}
}

func labelled(pairs ...string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		if p.Labels == nil {
			p.Labels = map[string]string{"app": "x"}
		}
		for pair := range slices.Chunk(pairs, 2) {
			p.Labels[pair[0]] = pair[1]
		}
	}
}

// launches makes a pod the launcher of a VM.
func launches(vm, uid string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		labelled("kubevirt.io", "virt-launcher", "kubevirt.io/created-by", uid)(p)
		controlled("VirtualMachineInstance", vm, uid)(p)
	}
}

// plugs makes a pod stand in for disks that are plugged into a launcher.
func plugs(launcher string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		labelled("kubevirt.io", "hotplug-disk")(p)
		controlled("Pod", launcher, "uid-"+launcher)(p)
	}
}

// targets makes a pod the target of a job.
func targets(job string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		labelled("kubevirt.io/migrationJobUID", "uid-"+job)(p)
		p.Annotations = map[string]string{"kubevirt.io/migrationJobName": job}
	}
}

func ended(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded }

func leaving(p *corev1.Pod) {
	now := metav1.Now()
	p.DeletionTimestamp = &now
}

func pending(p *corev1.Pod) { p.Status.Phase = corev1.PodPending }

// diskless takes the claim from a pod, as KubeVirt does where disks are hotplugged.
func diskless(p *corev1.Pod) { p.Spec.Volumes = p.Spec.Volumes[:1] }

// The volume is on node a, and node b asks for it.
func TestJudge(t *testing.T) {
	source := newTestPod("launcher-a", "a", launches("web", "vm-1"))
	target := newTestPod("launcher-b", "b", launches("web", "vm-1"), targets("job-1"), pending)
	for _, c := range []struct {
		name string
		pods []*corev1.Pod
		want string // of the refusal; "": a migration of web by job-1
	}{
		{"a migration", []*corev1.Pod{source, target}, ""},
		{"its source has migrated before", []*corev1.Pod{newTestPod("launcher-a", "a", launches("web", "vm-1"), targets("job-0")), target}, ""},
		{"its source has no pod", []*corev1.Pod{target}, ""},
		{"pods elsewhere", []*corev1.Pod{source, target, newTestPod("other", "c"), newTestPod("unscheduled", "")}, ""},
		{"an importer that finished", []*corev1.Pod{newTestPod("importer", "a", ended), source, target}, ""},
		{
			"hotplugged disks",
			[]*corev1.Pod{
				newTestPod("launcher-a", "a", launches("web", "vm-1"), diskless), newTestPod("hp-a", "a", plugs("launcher-a")),
				newTestPod("launcher-b", "b", launches("web", "vm-1"), targets("job-1"), diskless), newTestPod("hp-b", "b", plugs("launcher-b"), targets("job-1"), pending),
			},
			"",
		},
		{
			"a hotplugged disk whose source was evicted",
			[]*corev1.Pod{
				newTestPod("launcher-a", "a", launches("web", "vm-1"), diskless),
				newTestPod("launcher-b", "b", launches("web", "vm-1"), targets("job-1"), diskless), newTestPod("hp-b", "b", plugs("launcher-b"), targets("job-1"), pending),
			},
			"",
		},
		{
			"a hotplugged disk whose pod tells no job",
			[]*corev1.Pod{
				newTestPod("launcher-b", "b", launches("web", "vm-1"), targets("job-1"), diskless), newTestPod("hp-b", "b", plugs("launcher-b"), pending),
			},
			"",
		},
		{
			"a hotplugged disk whose pod alone tells the job",
			[]*corev1.Pod{
				newTestPod("launcher-b", "b", launches("web", "vm-1"), diskless), newTestPod("hp-b", "b", plugs("launcher-b"), targets("job-1"), pending),
			},
			"",
		},

		{"an importer, then a launcher", []*corev1.Pod{newTestPod("importer", "a"), newTestPod("launcher-b", "b", launches("web", "vm-1"), pending)}, "importer on node a uses it and is no VM's"},
		{"an importer that finished, then a launcher", []*corev1.Pod{newTestPod("importer", "a", ended), newTestPod("launcher-b", "b", launches("web", "vm-1"), pending)}, "no live migration's target"},
		{"a launcher, then an exporter", []*corev1.Pod{source, newTestPod("exporter", "b")}, "exporter on node b uses it and is no VM's"},
		{"an exporter beside the source", []*corev1.Pod{source, newTestPod("exporter", "a"), target}, "exporter on node a uses it and is no VM's"},
		{"an exporter beside the target", []*corev1.Pod{source, target, newTestPod("exporter", "b")}, "exporter on node b uses it and is no VM's"},
		{"an exporter that terminates", []*corev1.Pod{source, newTestPod("exporter", "a", leaving), target}, "exporter on node a uses it and is no VM's"},
		{"plain pods", []*corev1.Pod{newTestPod("x", "a"), newTestPod("y", "b")}, "is no VM's"},
		{"two VMs", []*corev1.Pod{source, newTestPod("launcher-db", "b", launches("db", "vm-2"), targets("job-1"))}, "both use it"},
		{
			"the VM was started again elsewhere",
			[]*corev1.Pod{newTestPod("launcher-a", "a", launches("web", "vm-1"), leaving), newTestPod("launcher-b", "b", launches("web", "vm-2"), pending)},
			"VMs vms/web (vm-1) and web (vm-2) both use it",
		},
		{"and its old launcher is gone", []*corev1.Pod{newTestPod("launcher-b", "b", launches("web", "vm-2"), pending)}, "waits until node a is detached"},
		{"a second launcher that no job made", []*corev1.Pod{source, newTestPod("launcher-b", "b", launches("web", "vm-1"))}, "no live migration's target"},
		{"a target that is being deleted", []*corev1.Pod{source, newTestPod("launcher-b", "b", launches("web", "vm-1"), targets("job-1"), leaving)}, "no pod on node b uses it"},
		{"a target that ended", []*corev1.Pod{source, newTestPod("launcher-b", "b", launches("web", "vm-1"), targets("job-1"), ended)}, "no pod on node b uses it"},
		{"no target", []*corev1.Pod{source}, "no pod on node b uses it"},
		{"two jobs", []*corev1.Pod{source, target, newTestPod("launcher-b2", "b", launches("web", "vm-1"), targets("job-2"))}, "two live migrations"},
		{"a launcher by its labels alone", []*corev1.Pod{source, newTestPod("forged", "b", labelled("kubevirt.io", "virt-launcher", "kubevirt.io/created-by", "vm-1"), targets("job-1"))}, "forged on node b uses it and is no VM's"},
		{"a launcher of another VM than its label says", []*corev1.Pod{source, newTestPod("forged", "b", launches("web", "vm-1"), targets("job-1"), controlled("VirtualMachineInstance", "db", "vm-2"))}, "is no VM's"},
		{"a target's label on a plain pod", []*corev1.Pod{source, newTestPod("forged", "b", targets("job-1"))}, "is no VM's"},
		{
			"a hotplugged disk whose launcher is gone",
			[]*corev1.Pod{source, newTestPod("hp-b", "b", plugs("launcher-b"), targets("job-1"))},
			"hp-b on node b uses it and is no VM's",
		},
		{
			"a hotplugged disk of an earlier launcher of that name",
			[]*corev1.Pod{source, target, newTestPod("hp-b", "b", plugs("launcher-b"), controlled("Pod", "launcher-b", "uid-old"), targets("job-1"))},
			"hp-b on node b uses it and is no VM's",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			all := make(map[string]*pod)
			var using []*pod
			for _, p := range c.pods {
				all[p.Name] = newPod(p)
				if all[p.Name].uses(claim{"vms", "disk"}) {
					using = append(using, all[p.Name])
				}
			}
			got, err := judge(users(using, func(_, name string) *pod { return all[name] }), "a", "b")
			want := claimant{namespace: "vms", vm: "web", uid: "vm-1", job: "job-1", jobUID: "uid-job-1", pod: got.pod}
			switch {
			case c.want == "" && (err != nil || got != want):
				t.Errorf("judge = %+v, %v, want %+v", got, err, want)
			case c.want != "" && (!errors.Is(err, actors.ErrPrecondition) || !strings.Contains(err.Error(), c.want)):
				t.Errorf("judge = %+v, %v, want a refusal with %q", got, err, c.want)
			}
		})
	}
}

func TestConfirm(t *testing.T) {
	const runs, scheduling = "status: {nodeName: a, phase: Running}", "status: {phase: Scheduling}"
	c := claimant{namespace: "vms", vm: "web", uid: "vm-1", job: "job-1", jobUID: "job-1", pod: "launcher-b"}
	gone := metav1.Now()
	for _, test := range []struct {
		name    string
		vm, job string
		change  func(*instance, *job)
		want    string
	}{
		{"a migration", runs, scheduling, nil, ""},
		{"one that has just begun", runs, "status: {}", nil, ""},
		{"no job", runs, "", nil, "is gone"},
		{"another VM's job", runs, scheduling, func(_ *instance, j *job) { j.vm = "db" }, "is VM \"db\"'s"},
		{"a receiving job", runs, scheduling + "\nspec: {vmiName: web, receive: {migrationID: x}}", nil, "sends to or receives from elsewhere"},
		{"a sending job", runs, scheduling + "\nspec: {vmiName: web, sendTo: {migrationID: x, connectURL: y}}", nil, "sends to or receives from elsewhere"},
		{"a job that failed", runs, "status: {phase: Failed}", nil, "has ended (Failed)"},
		{"a job that succeeded", runs, "status: {phase: Succeeded}", nil, "has ended (Succeeded)"},
		{"a job that is cancelled", runs, scheduling, func(_ *instance, j *job) { j.DeletionTimestamp = &gone }, "is cancelled"},
		{"no VM", "", scheduling, nil, "is gone"},
		{"another VM of that name", runs, scheduling, func(i *instance, _ *job) { i.UID = "vm-2" }, "is gone"},
		{"a VM that failed", "status: {nodeName: a, phase: Failed}", scheduling, nil, "is ending"},
		{"a VM that is deleted", runs, scheduling, func(i *instance, _ *job) { i.DeletionTimestamp = &gone }, "is ending"},
		{"a VM that runs on another node", "status: {nodeName: c, phase: Running}", scheduling, nil, "runs on node \"c\""},
		{"a VM that waits for its state from elsewhere", "status: {phase: WaitingForSync}", scheduling, nil, "does not migrate from node a"},
	} {
		t.Run(test.name, func(t *testing.T) {
			i, j := vmOf(t, test.vm), (*job)(nil)
			if test.job != "" {
				j = newJob(read(t, strings.Replace(jobKind, "spec: {vmiName: web}\n", "", 1)+specified(test.job)))
			}
			if test.change != nil {
				test.change(i, j)
			}
			err := c.confirm(i, j, "a")
			if test.want == "" && err != nil || test.want != "" && (!errors.Is(err, actors.ErrPrecondition) || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("confirm = %v, want %q", err, test.want)
			}
		})
	}
}

func specified(text string) string {
	if strings.Contains(text, "spec:") {
		return text
	}
	return text + "\nspec: {vmiName: web}"
}

func TestPodIsTrimmed(t *testing.T) {
	p := newTestPod("x", "a", launches("web", "vm-1"), targets("job-1"))
	p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: "scratch", VolumeSource: corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{}}})
	got := newPod(p)
	if !slices.Equal(got.claims, []string{"disk", "x-scratch"}) || got.Labels != nil || got.Annotations != nil || got.OwnerReferences != nil || got.owner.Name != "web" {
		t.Errorf("newPod = %+v", got)
	}
}

func TestInstanceUsesClaims(t *testing.T) {
	vm := vmOf(t, `
spec:
  volumes:
  - {name: a, persistentVolumeClaim: {claimName: claim}}
  - {name: b, dataVolume: {name: data}}
  - {name: c, ephemeral: {persistentVolumeClaim: {claimName: base}}}
  - {name: d, memoryDump: {claimName: dump}}
  - {name: e, containerDisk: {image: x}}
  - {name: f, cloudInitNoCloud: {userData: x}}
  - claim
  utilityVolumes:
  - {name: g, claimName: backup}
status:
  volumeStatus:
  - {name: a, persistentVolumeClaimInfo: {claimName: claim}}
  - {name: h, persistentVolumeClaimInfo: {claimName: plugged}, hotplugVolume: {}}
  - {name: e, containerDiskVolume: {}}
  migratedVolumes:
  - {volumeName: b, sourcePVCInfo: {claimName: data}, destinationPVCInfo: {claimName: moved}}
`)
	if want := []string{"claim", "data", "base", "dump", "backup", "plugged", "moved"}; !slices.Equal(vm.claims, want) {
		t.Errorf("claims = %q, want %q", vm.claims, want)
	}
}
