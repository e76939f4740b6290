// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package kernel_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/grpc/status"

	"github.com/rds-csi/rds-csi/e2e/await"
	"github.com/rds-csi/rds-csi/e2e/guest"
	"github.com/rds-csi/rds-csi/e2e/guest/api"
	"github.com/rds-csi/rds-csi/e2e/kernel"
	"github.com/rds-csi/rds-csi/rds/sim/control"
)

// A step is a place on the node plugin's way through a request.
type step struct {
	name string
	hold func(ctx context.Context) (kernel.Hold, error) // makes the plugin wait there
	// orphan says that the program that the plugin waits for outlives it, as where only the plugin's process is killed.
	// Without it, it is killed, too, as where its container is.
	orphan bool
	begun  func(ctx context.Context) error // is called when the request is on its way; nil: nothing is
}

// An unending Hold is released by somebody else.
type unending struct{ kernel.Hold }

func (unending) Release(context.Context) error { return nil }

// killed kills the node plugin at each step of a volume's life. Kubelet's retries bring each request to its end: nothing
// is formatted twice, nothing that a pod wrote is lost, and nothing is left.
func killed(t *testing.T, s story) {
	ctx := t.Context()
	v := s.volume(t, kernel.Spec{FS: "ext4", Size: 64 * mib})
	grant, err := v.Grant(ctx, s.a)
	must(t, err)
	asks := func(command string) func(context.Context) (kernel.Hold, error) {
		return func(ctx context.Context) (kernel.Hold, error) {
			return v.Spoil(ctx, control.Fault{Command: command, Freeze: true, Times: 1})
		}
	}
	before := func(program string) func(context.Context) (kernel.Hold, error) {
		return func(ctx context.Context) (kernel.Hold, error) { return kernel.HoldProgram(ctx, s.a, program, false) }
	}
	behind := func(program string) func(context.Context) (kernel.Hold, error) {
		return func(ctx context.Context) (kernel.Hold, error) { return kernel.HoldProgram(ctx, s.a, program, true) }
	}

	formatted, err := formats(ctx, s.a)
	must(t, err)
	stage := func(ctx context.Context) error { return v.Stage(ctx, s.a, grant) }
	s.killAt(t, stage,
		step{name: "the kernel connects", hold: asks("connect")},
		step{name: "the device is looked at", hold: before("blkid")},
		step{name: "mkfs begins", hold: before("mkfs.ext4")},
	)
	// The next plugin meets an mkfs that is still at work.
	mkfs, err := asks("write")(ctx)
	must(t, err)
	s.killAt(t, stage, step{name: "mkfs writes", hold: func(context.Context) (kernel.Hold, error) { return unending{mkfs}, nil }})
	s.killAt(t, stage, step{name: "the kernel has mounted", hold: behind("mount"), orphan: true, begun: mkfs.Release})
	must(t, retried(ctx, stage))
	again, err := formats(ctx, s.a)
	must(t, err)
	// The mkfs that was killed before it began was told of, too.
	if again != formatted+2 {
		t.Errorf("it was formatted %d times, and should have been twice, the first time in vain", again-formatted)
	}

	publish := func(ctx context.Context) error { return v.Publish(ctx, s.a, grant) }
	s.killAt(t, publish, step{name: "the kernel binds", hold: before("mount")}, step{name: "the kernel has bound", hold: behind("mount"), orphan: true})
	must(t, retried(ctx, publish))
	shown(t, s.a, v)
	w, err := v.Write(ctx, s.a)
	must(t, err, w.Await(ctx, 70), v.ExpandBox(ctx, 2*v.Spec.Size))
	v.Spec.Size *= 2
	expand := func(ctx context.Context) error { return v.ExpandNode(ctx, s.a, v.Spec.Size) }
	s.killAt(t, expand, step{name: "the file system grows", hold: before("resize2fs")}, step{name: "the file system has grown", hold: behind("resize2fs"), orphan: true})
	must(t, retried(ctx, expand), w.Await(ctx, 20))
	shown(t, s.a, v)
	told, err := w.End(ctx)
	must(t, err, w.Verify(ctx, s.a, told))
	if len(told.Errors) > 0 {
		t.Errorf("the pod got %v", told.Errors)
	}

	unpublish := func(ctx context.Context) error { return v.Unpublish(ctx, s.a) }
	s.killAt(t, unpublish, step{name: "the pod's mount goes", hold: before("umount")}, step{name: "the pod's mount has gone", hold: behind("umount"), orphan: true})
	must(t, retried(ctx, unpublish))
	unstage := func(ctx context.Context) error { return v.Unstage(ctx, s.a) }
	s.killAt(t, unstage, step{name: "the mount has gone", hold: behind("umount"), orphan: true}, step{name: "the kernel disconnects", hold: asks("shutdown")})
	must(t, retried(ctx, unstage), v.Revoke(ctx, s.a))
	s.gone(t, s.a, v)
	must(t, v.Attach(ctx, s.b), w.Verify(ctx, s.b, told), v.Detach(ctx, s.b), v.Delete(ctx))
	s.gone(t, s.b, v)
}

// killAt begins a request and kills the node plugin at a step, and again at the next.
func (s story) killAt(t *testing.T, request func(context.Context) error, steps ...step) {
	t.Helper()
	ctx := t.Context()
	for _, at := range steps {
		hold, err := at.hold(ctx)
		must(t, err)
		ended := make(chan error, 1)
		asking, stop := context.WithCancel(ctx)
		defer stop()
		// What the kill before has left may have to be waited for: kubelet asks more than once.
		go func() { ended <- retried(asking, request) }()
		if at.begun != nil {
			must(t, at.begun(ctx))
		}
		if err := hold.Reached(ctx); err != nil {
			t.Fatalf("%s: %v", at.name, err)
		}
		// A call into the kernel ends when what it waits for goes on, and the plugin with it.
		must(t, s.a.SignalPlugin(ctx))
		release := hold.Release
		if p, ok := hold.(interface{ Kill(context.Context) error }); ok && !at.orphan {
			release = p.Kill
		}
		must(t, release(ctx), s.a.KillPlugin(ctx))
		stop()
		if err := <-ended; err == nil {
			t.Errorf("%s: the plugin answered before it was killed", at.name)
		}
		must(t, s.a.StartPlugin(ctx))
	}
}

// retried asks again, as kubelet does, while the answer is that this may help.
func retried(ctx context.Context, request func(context.Context) error) error {
	var last error
	err := await.Nil(ctx, func(ctx context.Context) error {
		if last = request(ctx); last != nil && !final(status.Code(last)) {
			return last
		}
		return nil
	})
	if err != nil {
		return err
	}
	return last
}

// formats tells how often the node plugin says that it began to format.
func formats(ctx context.Context, n *guest.Node) (int, error) {
	var log api.Content
	if err := n.Call(ctx, api.Read, api.Path{Path: api.Log(guest.Plugin)}, &log); err != nil {
		return 0, fmt.Errorf("read the node plugin's log: %w", err)
	}
	return strings.Count(string(log.Data), "formatting a "), nil
}
