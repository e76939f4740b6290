// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/rds-csi/rds-csi/actors"
	"github.com/rds-csi/rds-csi/rds"
	"github.com/rds-csi/rds-csi/rds/sim"
)

const (
	ownCluster   = "0123456789ab"
	otherCluster = "ba9876543210"
	driverName   = "rds.csi.srvlab.io"
)

// A ward is a box, a cluster beside it, and a person with a terminal.
type ward struct {
	t      *testing.T
	box    *sim.Sim
	client *fake.Clientset
	over   string // how the box is spoken to
	flags  []string
	host   string // where the commands run
	away   error  // of the API server

	mu   sync.Mutex
	sent []string // kinds of the commands that were sent to the box
}

// inWards runs a test over each way to speak to a box.
func inWards(t *testing.T, play func(t *testing.T, w *ward)) {
	t.Helper()
	overEach(t, func(t *testing.T, over string) { play(t, newWard(t, over)) })
}

// newWard returns a box with nothing on it. The cluster has the nodes node-a to node-c, which are well.
func newWard(t *testing.T, over string) *ward {
	t.Helper()
	box := startBox(t, t.TempDir(), sim.LoopbackHost()+":0")
	password := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(password, []byte(testPassword+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	w := &ward{t: t, box: box, over: over, host: "workstation", flags: append(reach(t, box, over),
		"--rds-user="+testUser, "--rds-password-file="+password,
		"--command-timeout=1s", "--cluster-id="+ownCluster, "--lease-namespace=rds-csi",
	)}
	w.client = fake.NewClientset()
	for _, name := range []string{"node-a", "node-b", "node-c"} {
		w.add(&corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Status:     corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}},
		})
	}
	return w
}

func (w *ward) add(objects ...runtime.Object) {
	w.t.Helper()
	for _, o := range objects {
		if err := w.client.Tracker().Add(o); err != nil {
			w.t.Fatal(err)
		}
	}
}

// claim adds a volume's PersistentVolume, which a claim of a VM has.
func (w *ward) claim(id string) {
	block := corev1.PersistentVolumeBlock
	w.add(&corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: id},
		Spec: corev1.PersistentVolumeSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany}, VolumeMode: &block,
			ClaimRef:               &corev1.ObjectReference{Namespace: "prod", Name: "vm-disk"},
			PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: driverName, VolumeHandle: id}},
		},
		Status: corev1.PersistentVolumeStatus{Phase: corev1.VolumeBound},
	})
}

// want adds a VolumeAttachment.
func (w *ward) want(id, node string, attached bool) {
	va := attachmentOf(id, node)
	va.UID, va.CreationTimestamp = types.UID(node), metav1.Time{Time: time.Unix(1e9, 0)}
	va.Status.Attached = attached
	w.add(va)
}

// launcher adds a VM's pod.
func (w *ward) launcher(node string) {
	w.add(&corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: "virt-launcher-web-x2x", Labels: map[string]string{"vm.kubevirt.io/name": "web"}},
		Spec: corev1.PodSpec{NodeName: node, Volumes: []corev1.Volume{{
			Name:         "disk",
			VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "vm-disk"}},
		}}},
	})
}

// controller starts one without Kubernetes.
func (w *ward) controller(flags ...string) *process {
	w.t.Helper()
	return startOver(w.t, w.box, w.over, flags...)
}

// grant has a controller of a cluster make a volume and grant it to nodes.
func (w *ward) grant(cluster, id string, nodes ...string) {
	w.t.Helper()
	p := w.controller("--nodes=node-a,node-b,node-c,node-x", "--cluster-id="+cluster, "--command-timeout=1s")
	defer p.stop()
	if err := insist(w.t, func(ctx context.Context) error { return p.create(ctx, id) }); err != nil {
		w.t.Fatal(err)
	}
	for _, node := range nodes {
		if err := p.publish(w.t.Context(), id, node); err != nil {
			w.t.Fatal(err)
		}
	}
}

// console types a command at the box.
func (w *ward) console(command string) {
	w.t.Helper()
	client, err := ssh.Dial("tcp", w.box.SSHAddr(), &ssh.ClientConfig{
		User: testUser, Auth: []ssh.AuthMethod{ssh.Password(testPassword)}, HostKeyCallback: ssh.FixedHostKey(w.box.HostKey()),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	s, err := client.NewSession()
	if err != nil {
		w.t.Fatal(err)
	}
	if out, err := s.CombinedOutput(command); err != nil || len(bytes.TrimSpace(out)) > 0 {
		w.t.Fatalf("%s: %s, %v", command, out, err)
	}
}

func (w *ward) disk(id string) sim.Disk {
	w.t.Helper()
	for _, d := range w.box.Disks() {
		if strings.HasSuffix(d.File, id+".img") {
			return d
		}
	}
	w.t.Fatalf("no disk of %s", id)
	return sim.Disk{}
}

func (w *ward) ledger(id string) actors.Ledger {
	w.t.Helper()
	l, ours, err := actors.ParseLedger(w.disk(id).Comment)
	if err != nil || !ours {
		w.t.Fatalf("%q: %v", w.disk(id).Comment, err)
	}
	return l
}

// A said is what a command said, and with what it ended.
type said struct {
	out, err string
	failed   error
}

// do runs a command as the person, who answers a question with answer; "": nobody is at the terminal.
func (w *ward) do(answer string, command string, args ...string) said {
	w.t.Helper()
	p := w.person(strings.NewReader(answer), answer != "")
	var out, errs lockedLog
	p.stdout, p.stderr = &out, &errs
	commands := map[string]func(context.Context, []string) error{
		"volumes": p.volumes, "fence": p.fence, "release": p.release, "adopt": p.adopt,
	}
	err := commands[command](w.t.Context(), append(args, w.flags...))
	s := said{out.String(), errs.String(), err}
	if strings.Contains(fmt.Sprint(s), testPassword) {
		w.t.Errorf("%s tells the password: %+v", command, s)
	}
	return s
}

// person returns whoever gives the commands.
func (w *ward) person(stdin io.Reader, terminal bool) *person {
	return &person{
		stdin: stdin, terminal: terminal, stdout: io.Discard, stderr: io.Discard, cmdline: "/nowhere",
		hostname: func() (string, error) { return w.host, nil },
		client:   func(*commonFlags) (kubernetes.Interface, error) { return w.client, w.away },
		hooks: rds.Hooks{Command: func(kind string, _ time.Duration, _ error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.sent = append(w.sent, kind)
		}},
	}
}

// wantSaid checks how a command ended, and that it said all of this somewhere.
func (w *ward) wantSaid(s said, failed bool, texts ...string) {
	w.t.Helper()
	if (s.failed != nil) != failed {
		w.t.Errorf("ended with %v\n%s%s", s.failed, s.out, s.err)
	}
	for _, text := range texts {
		if !strings.Contains(s.out+s.err+fmt.Sprint(s.failed), text) {
			w.t.Errorf("does not say %q, but\n%s%s%v", text, s.out, s.err, s.failed)
		}
	}
}

// wantUnchanged checks that nothing was written since the disks were as before.
func (w *ward) wantUnchanged(before []sim.Disk) {
	w.t.Helper()
	if now := w.box.Disks(); !slices.Equal(now, before) {
		w.t.Errorf("the box shows %+v, it showed %+v", now, before)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if i := slices.IndexFunc(w.sent, func(kind string) bool { return kind != rds.KindList }); i >= 0 {
		w.t.Errorf("a command was sent that changes the box: %s", w.sent[i])
	}
}

const (
	volumeA = "pvc-2f6c7a52-9d0e-4e0b-8f11-3c9d8e7f6a01"
	volumeB = "pvc-2f6c7a52-9d0e-4e0b-8f11-3c9d8e7f6a02"
	volumeC = "pvc-2f6c7a52-9d0e-4e0b-8f11-3c9d8e7f6a03"
	volumeD = "pvc-2f6c7a52-9d0e-4e0b-8f11-3c9d8e7f6a04"
)

// slotOf is the disk's name.
func slotOf(id string) string { return strings.ReplaceAll(strings.TrimPrefix(id, "pvc-"), "-", "") }

// TestVolumesOnlyReads, whatever it finds.
func TestVolumesOnlyReads(t *testing.T) {
	inWards(t, func(t *testing.T, w *ward) {
		w.grant(ownCluster, volumeA, "node-a", "node-b")
		w.grant(otherCluster, volumeB, "node-x")
		w.grant(ownCluster, volumeC)
		w.grant(ownCluster, volumeD)
		w.claim(volumeA)
		w.want(volumeA, "node-b", true)
		w.want(volumeD, "node-c", true)
		w.console(fmt.Sprintf("/disk set [find where slot=%s] comment=\"\"", slotOf(volumeC)))
		before := w.box.Disks()

		s := w.do("", "volumes")
		w.wantSaid(s, true, volumeA, "prod/vm-disk", "ReadWriteMany", "host", "on :", "migration since", "node-a (source): granted 2",
			"granted, no VolumeAttachment (stale): node-a", "node-b (target)", "VolumeAttachment attached",
			"foreign cluster "+otherCluster, "older driver's (no ledger)", "VolumeAttachment, not granted: node-c", "2 of 4 volumes need a look")
		w.wantSaid(w.do("", "volumes", volumeB), false, "1 volumes, all consistent")
		w.wantSaid(w.do("", "volumes", "--json", volumeA), true, `"role": "source"`, `"attachment": "attached"`, `"bytes": 1073741824`)
		w.wantSaid(w.do("", "volumes", "pvc-2f6c7a52-9d0e-4e0b-8f11-3c9d8e7f6aff"), true, "the box has no volume")
		var bad usageError
		if s := w.do("", "volumes", "disk-1"); !errors.As(s.failed, &bad) {
			t.Errorf("a malformed ID: %v", s.failed)
		}
		w.console(fmt.Sprintf("/disk set [find where slot=%s] comment=\"rds-csi.1/broken\"", slotOf(volumeC)))
		w.wantSaid(w.do("", "volumes", volumeC), true, "damaged ledger")
		w.console(fmt.Sprintf("/disk set [find where slot=%s] comment=\"\"", slotOf(volumeC)))
		w.wantUnchanged(before)
	})
}

// TestVolumesWithoutKubernetes shows what the box alone can tell, and says that it is not all.
func TestVolumesWithoutKubernetes(t *testing.T) {
	t.Parallel()
	w := newWard(t, demoAPI)
	w.grant(ownCluster, volumeA, "node-a")
	w.away = errors.New("no route to the API server")
	w.wantSaid(w.do("", "volumes"), true, volumeA, "node-a: granted", "ok", "this may not be all", "no route")
	w.wantSaid(w.do("", "volumes", "--kubernetes=false"), false, volumeA, "ok", "Kubernetes was not asked", "1 volumes, all consistent")
}

// TestAVolumeThatTheBoxLacks is wanted all the same.
func TestAVolumeThatTheBoxLacks(t *testing.T) {
	t.Parallel()
	w := newWard(t, demoAPI)
	w.claim(volumeA)
	w.want(volumeA, "node-a", true)
	w.wantSaid(w.do("", "volumes"), true, volumeA, "the box has no such volume")
}

// TestFence revokes a grant, tells what that means, and asks.
func TestFence(t *testing.T) {
	inWards(t, func(t *testing.T, w *ward) {
		w.grant(ownCluster, volumeA, "node-a", "node-b")
		w.claim(volumeA)
		w.launcher("node-b")
		w.want(volumeA, "node-a", true)
		w.want(volumeA, "node-b", true)
		before := w.box.Disks()
		w.wantSaid(w.do("", "fence", volumeA, "node-b"), true, "say --yes", "VM prod/web (pod virt-launcher-web-x2x)",
			"The export goes off and on", "node-a reconnects", "grants it AGAIN", "out-of-service")
		w.wantSaid(w.do("n\n", "fence", volumeA, "node-b"), true, "nothing was done")
		w.wantSaid(w.do("", "fence", "--yes", volumeA, "node-c"), true, "node node-c is not granted")
		w.wantUnchanged(before)

		w.wantSaid(w.do("y\n", "fence", volumeA, "node-b"), false, "Do it? [y/N]", "Done.", "granted to node-a")
		l := w.ledger(volumeA)
		if l.Granted("node-b") || !l.Granted("node-a") || l.Bounce == 0 || l.Off {
			t.Errorf("fenced as %+v", l)
		}
		if d := w.disk(volumeA); !d.Export || d.AllowHost != actors.HostOf(ownCluster, "node-a").NQN {
			t.Errorf("fenced as %+v", d)
		}
		w.wantSaid(w.do("", "fence", "--yes", volumeA, "node-a"), false, "I/O of whoever is connected fails at once", "granted to no node")
		if w.disk(volumeA).Export {
			t.Error("exported to nobody")
		}
	})
}

// TestRelease takes out what is left over, and nothing else unless it is told to.
func TestRelease(t *testing.T) {
	inWards(t, func(t *testing.T, w *ward) {
		w.grant(ownCluster, volumeA, "node-a")
		w.grant(ownCluster, volumeB, "node-a")
		w.grant(ownCluster, volumeC, "node-x") // which the cluster does not have
		w.claim(volumeA)
		w.want(volumeA, "node-a", true)
		node, err := w.client.CoreV1().Nodes().Get(t.Context(), "node-a", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		node.Status.VolumesInUse = []corev1.UniqueVolumeName{corev1.UniqueVolumeName("kubernetes.io/csi/" + driverName + "^" + volumeB)}
		if _, err := w.client.CoreV1().Nodes().Update(t.Context(), node, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		before := w.box.Disks()
		w.wantSaid(w.do("", "release", "--yes", volumeA, "node-a"), true, "nothing was done", "asks for volume", "--force")
		w.wantSaid(w.do("", "release", "--yes", volumeB, "node-a"), true, "nothing was done", "in use")
		w.wantSaid(w.do("", "release", volumeC, "node-x"), true, "No VolumeAttachment asks for it there", "--yes")
		w.wantSaid(w.do("", "release", "--yes", "--kubernetes=false", volumeC, "node-x"), true, "the API server is not asked")
		w.wantUnchanged(before)

		w.wantSaid(w.do("", "release", "--yes", volumeC, "node-x"), false, "granted to no node")
		w.wantSaid(w.do("", "release", "--yes", "--force", volumeB, "node-a"), false, "loses its disk", "granted to no node")
		for _, id := range []string{volumeB, volumeC} {
			if l := w.ledger(id); len(l.Grants) > 0 || w.disk(id).Export {
				t.Errorf("%s is %+v", id, l)
			}
		}
		if l := w.ledger(volumeA); !l.Granted("node-a") {
			t.Errorf("%s is %+v", volumeA, l)
		}
	})
}

// TestAdopt takes volumes over that this cluster has a PersistentVolume of.
func TestAdopt(t *testing.T) {
	inWards(t, func(t *testing.T, w *ward) {
		w.grant(otherCluster, volumeA)
		w.grant(otherCluster, volumeB, "node-x")
		w.grant(ownCluster, volumeC, "node-a")
		w.console(fmt.Sprintf("/disk set [find where slot=%s] comment=\"\"", slotOf(volumeC)))
		before := w.box.Disks()
		w.wantSaid(w.do("", "adopt", "--yes", volumeA), true, "nothing was done", "no PersistentVolume")
		for _, id := range []string{volumeA, volumeB, volumeC} {
			w.claim(id)
		}
		w.wantSaid(w.do("", "adopt", volumeA), true, "It is cluster "+otherCluster+"'s", "MUST NOT use it any more", "--yes")
		w.wantSaid(w.do("", "adopt", "--yes", volumeB), true, "granted to node-x", "--force")
		w.wantSaid(w.do("", "adopt", "--yes", "--kubernetes=false", volumeA), true, "adopt needs Kubernetes")
		w.wantUnchanged(before)

		w.wantSaid(w.do("", "adopt", "--yes", volumeA), false, "Done.")
		w.wantSaid(w.do("", "adopt", "--yes", "--force", volumeB), false, "loses its disk", "Done.")
		w.want(volumeC, "node-a", true)
		w.wantSaid(w.do("", "adopt", "--yes", volumeC), false, "older driver's", "stays attached", "granted to node-a")
		w.wantSaid(w.do("", "adopt", "--yes", volumeC), false, "this cluster's already")
		for id, nodes := range map[string]int{volumeA: 0, volumeB: 0, volumeC: 1} {
			if l := w.ledger(id); l.Cluster != ownCluster || len(l.Grants) != nodes || w.disk(id).Export != (nodes > 0) {
				t.Errorf("%s is %+v", id, l)
			}
		}
	})
}

// TestAGrantThatIsNewIsNotFenced: while a person thinks, or waits for the lease, the VM may have come back.
func TestAGrantThatIsNewIsNotFenced(t *testing.T) {
	t.Parallel()
	w := newWard(t, demoAPI)
	w.grant(ownCluster, volumeA, "node-a")
	again := readFunc(func(b []byte) (int, error) {
		p := w.controller("--nodes=node-a", "--cluster-id="+ownCluster, "--command-timeout=1s")
		defer p.stop()
		for _, do := range []func(context.Context) error{
			func(ctx context.Context) error { return p.unpublish(ctx, volumeA, "node-a") },
			func(ctx context.Context) error { return p.publish(ctx, volumeA, "node-a") },
		} {
			if err := insist(t, do); err != nil {
				t.Error(err)
			}
		}
		return copy(b, "y\n"), nil
	})
	p := w.person(again, true)
	err := p.fence(t.Context(), append([]string{volumeA, "node-a"}, w.flags...))
	if err == nil || !strings.Contains(err.Error(), "anew") {
		t.Errorf("fence = %v", err)
	}
	if !w.ledger(volumeA).Granted("node-a") || !w.disk(volumeA).Export {
		t.Errorf("fenced: %+v", w.disk(volumeA))
	}
}

type readFunc func([]byte) (int, error)

func (f readFunc) Read(b []byte) (int, error) { return f(b) }
