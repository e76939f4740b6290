// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/rds-csi/rds-csi/actors"
	"github.com/rds-csi/rds-csi/rds/sim"
)

// versioned has a fake API server refuse updates of Leases that were changed since they were read, as a
// real one does.
func versioned(client *fake.Clientset) {
	var mu sync.Mutex
	version := 1
	client.PrependReactor("*", "leases", func(action clienttesting.Action) (bool, runtime.Object, error) {
		mu.Lock()
		defer mu.Unlock()
		a, ok := action.(clienttesting.UpdateAction) // as a create is, too
		if !ok {
			return false, nil, nil
		}
		lease, ok := a.GetObject().(*coordinationv1.Lease)
		if !ok {
			return false, nil, nil
		}
		if action.GetVerb() == "update" && lease.ResourceVersion != strconv.Itoa(version) {
			return true, nil, apierrors.NewConflict(coordinationv1.Resource("leases"), lease.Name, errors.New("changed since"))
		}
		version++
		lease.ResourceVersion = strconv.Itoa(version)
		return false, nil, nil
	})
}

// TestBesideALeader takes the lease first: the leader, which remembers what was before, ends, and the next
// one goes by what the person had written. In the leader's own pod it is refused, as it would end with it.
func TestBesideALeader(t *testing.T) {
	t.Parallel()
	w := newWard(t, demoAPI)
	versioned(w.client)
	first := startRival(t, w.box.APIAddr(), w.client, "pod-1_x")
	first.awaitReady(t)
	p := &process{controller: first.controller}
	ctx := t.Context()
	for _, do := range []func(context.Context) error{
		func(ctx context.Context) error { return p.create(ctx, volumeA) },
		func(ctx context.Context) error { return p.publish(ctx, volumeA, "node-a") },
		func(ctx context.Context) error { return p.publish(ctx, volumeA, "node-b") },
	} {
		if err := insist(t, do); err != nil {
			t.Fatal(err)
		}
	}
	w.claim(volumeA)
	w.want(volumeA, "node-b", true)
	before := w.box.Disks()

	w.host = "pod-1"
	w.wantSaid(w.do("", "release", "--yes", volumeA, "node-a"), true, "pod pod-1 leads", "another pod")
	w.wantUnchanged(before)

	w.host, first.seized = "pod-10", true
	w.wantSaid(w.do("", "release", "--yes", volumeA, "node-a"), false, "taken from pod-1_x", "granted to node-b")
	first.stop()
	released := w.disk(volumeA)
	if l := w.ledger(volumeA); l.Granted("node-a") || !l.Granted("node-b") {
		t.Fatalf("released as %+v", l)
	}

	second := startRival(t, w.box.APIAddr(), w.client, "pod-2_y")
	second.awaitReady(t)
	p.controller = second.controller
	if nodes := p.published(t, volumeA); !slices.Equal(nodes, []string{"node-b"}) {
		t.Errorf("the next leader lists %v", nodes)
	}
	if err := insist(t, func(ctx context.Context) error { return p.unpublish(ctx, volumeA, "node-a") }); err != nil {
		t.Error(err)
	}
	if now := w.disk(volumeA); now.Export != released.Export || !w.ledger(volumeA).Granted("node-b") {
		t.Errorf("the next leader made %+v of %+v", now, released)
	}
	if err := p.publish(ctx, volumeA, "node-a"); status.Code(err) != codes.OK && status.Code(err) != codes.Unavailable {
		t.Errorf("publish = %v", err)
	}
}

// TestACommandWithoutTheLeaseWritesNothing, as one that lost it again.
func TestACommandWithoutTheLeaseWritesNothing(t *testing.T) {
	w := newWard(t, demoAPI)
	p := w.controller("--nodes=node-a", "--cluster-id="+ownCluster, "--command-timeout=1s")
	if err := insist(t, func(ctx context.Context) error { return p.create(ctx, volumeA) }); err != nil {
		t.Fatal(err)
	}
	before := w.box.Disks()
	person := w.person(strings.NewReader(""), false)
	var f operatorFlags
	fs := flag.NewFlagSet("fence", flag.ContinueOnError)
	f.register(fs)
	if _, err := person.parse(&f, fs, w.flags); err != nil {
		t.Fatal(err)
	}
	s, err := person.open(t.Context(), &f)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	if err := s.box.Delete(t.Context(), volumeA); !errors.Is(err, actors.ErrUnavailable) {
		t.Errorf("Delete = %v, want ErrUnavailable", err)
	}
	if now := w.box.Disks(); !slices.Equal(now, before) {
		t.Errorf("the box shows %+v, it showed %+v", now, before)
	}
}

// TestBesideAControllerWithoutLease, as a person may who did not stop it: what it remembers, also of a node
// that was granted, undoes nothing.
func TestBesideAControllerWithoutLease(t *testing.T) {
	inWards(t, func(t *testing.T, w *ward) {
		flags := append([]string{"--nodes=node-a,node-b,node-c", "--cluster-id=" + ownCluster}, "--command-timeout=1s")
		p := w.controller(flags...)
		if err := insist(t, func(ctx context.Context) error { return p.create(ctx, volumeA) }); err != nil {
			t.Fatal(err)
		}
		for _, node := range []string{"node-a", "node-b"} {
			if err := p.publish(t.Context(), volumeA, node); err != nil {
				t.Fatal(err)
			}
		}
		w.wantSaid(w.do("", "fence", "--kubernetes=false", "--yes", volumeA, "node-a"), false, "Make sure that no controller runs", "granted to node-b")
		fenced := w.ledger(volumeA)
		if nodes := p.published(t, volumeA); !slices.Equal(nodes, []string{"node-b"}) {
			t.Errorf("it lists %v", nodes)
		}
		if err := insist(t, func(ctx context.Context) error { return p.unpublish(ctx, volumeA, "node-a") }); err != nil {
			t.Error(err)
		}
		if l := w.ledger(volumeA); l.Granted("node-a") || !l.Granted("node-b") || l.Gen < fenced.Gen {
			t.Errorf("it made %+v of %+v", l, fenced)
		}
		if err := insist(t, func(ctx context.Context) error { return p.publish(ctx, volumeA, "node-c") }); err != nil {
			t.Error(err)
		}
		if l := w.ledger(volumeA); l.Granted("node-a") || !l.Granted("node-b") || !l.Granted("node-c") {
			t.Errorf("it made %+v of %+v", l, fenced)
		}
	})
}

// TestTheControllersOwnFlags are a command's in its container, unless a box is named.
func TestTheControllersOwnFlags(t *testing.T) {
	file := filepath.Join(t.TempDir(), "cmdline")
	for _, c := range []struct {
		name    string
		cmdline string
		args    []string
		user    string
		failed  bool
	}{
		{"its own", "/rds-csi\x00controller\x00--rds-address=box\x00--rds-user=robot\x00", []string{"--command-timeout=2s"}, "robot", false},
		{"overruled", "/rds-csi\x00controller\x00--rds-address=box\x00--rds-user=robot\x00", []string{"--rds-user", "me"}, "me", false},
		{"another box", "/rds-csi\x00controller\x00--rds-address=box\x00--rds-user=robot\x00", []string{"--rds-address=x"}, "", false},
		{"another program", "/sbin/init\x00", nil, "", false},
		{"another release", "/rds-csi\x00controller\x00--rds-box=box\x00", nil, "", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := os.WriteFile(file, []byte(c.cmdline), 0o600); err != nil {
				t.Fatal(err)
			}
			var f operatorFlags
			fs := flag.NewFlagSet("volumes", flag.ContinueOnError)
			f.register(fs)
			var said bytes.Buffer
			p := &person{stderr: &said, cmdline: file}
			rest, err := p.parse(&f, fs, append([]string{"a"}, append(c.args, "b")...))
			if (err != nil) != c.failed || f.rdsUser != c.user {
				t.Fatalf("user %q, %v", f.rdsUser, err)
			}
			if err == nil && strings.Join(rest, " ") != "a b" {
				t.Errorf("left over: %q", rest)
			}
		})
	}
}

// TestWhatAControllerSentLandsBeneathACommand: one that died has sent a grant that the box carries out while the command is
// under way. The command does not end before nothing of the kind can come any more, and has undone it.
func TestWhatAControllerSentLandsBeneathACommand(t *testing.T) {
	w := newWard(t, demoAPI)
	w.grant(ownCluster, volumeA, "node-a")
	w.claim(volumeA)
	w.flags = append(w.flags, "--command-timeout=4s")
	before, after := w.disk(volumeA), w.ledger(volumeA)
	after.Gen++
	after.Access, after.Grants = actors.AccessReader, append(after.Grants, actors.Grant{Node: "node-b", At: after.Epoch + 1})
	late, err := w.box.Inject(sim.Rule{Command: "/disk/set", Transport: "ssh", Freeze: true})
	if err != nil {
		t.Fatal(err)
	}
	var tasks sync.WaitGroup
	defer tasks.Wait()
	tasks.Go(func() {
		w.console(fmt.Sprintf("/disk set [find where slot=%s] comment=%q nvme-tcp-export=yes", slotOf(volumeA), after))
	})
	ctx := t.Context()
	tasks.Go(func() {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for w.disk(volumeA) == before { // until the command has written
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
		w.box.ClearFault(late)
	})
	w.wantSaid(w.do("", "fence", "--yes", volumeA, "node-a"), false, "granted to no node")
	w.box.ClearFault(late)
	tasks.Wait()
	if l := w.ledger(volumeA); l.Granted("node-b") || w.disk(volumeA).Export {
		t.Errorf("the command has left %+v", w.disk(volumeA))
	}
}
