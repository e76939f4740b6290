// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package kernel_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/rds-csi/rds-csi/e2e/await"
	"github.com/rds-csi/rds-csi/e2e/guest"
	"github.com/rds-csi/rds-csi/e2e/guest/api"
	"github.com/rds-csi/rds-csi/e2e/kernel"
	"github.com/rds-csi/rds-csi/rds/sim/control"
)

// format shows a node devices that fail, tell another size, read as blank or answer late. A volume with data on it keeps
// it, and a blank one is formatted when that is over, and not before.
func format(t *testing.T, s story) {
	ctx := t.Context()
	kept, blank := s.volume(t, kernel.Spec{FS: "ext4", Size: 64 * mib}), s.volume(t, kernel.Spec{FS: "ext4", Size: 64 * mib})
	must(t, kept.Attach(ctx, s.a))
	w, err := kept.Write(ctx, s.a)
	must(t, err, w.Await(ctx, 70))
	told, err := w.End(ctx)
	must(t, err, kept.Detach(ctx, s.a))

	for _, fault := range []struct {
		name  string
		fault control.Fault
		code  codes.Code
		says  string
	}{
		{"reads fail for the medium", control.Fault{Command: "read", Status: "media"}, codes.Unavailable, "read device"},
		{"reads fail for the box", control.Fault{Command: "read", Status: "internal"}, codes.Unavailable, "read device"},
		{"it tells a smaller size", control.Fault{Command: "identify", Size: 32 * mib}, codes.FailedPrecondition, "repair the disk's row on the box"},
		{"it tells a larger size", control.Fault{Command: "identify", Size: 128 * mib}, codes.Unavailable, "read device"},
	} {
		t.Run(fault.name, func(t *testing.T) {
			// Both at once: a size that does not come is waited for.
			ends := []func(){
				s.refused(t, kept, fault.fault, fault.code, fault.says),
				s.refused(t, blank, fault.fault, fault.code, fault.says),
			}
			for _, end := range ends {
				end()
			}
			s.gone(t, s.a, kept)
			s.gone(t, s.a, blank)
		})
	}
	t.Run("it reads as blank, and then as data", func(t *testing.T) {
		ctx := t.Context()
		fault, err := kept.Spoil(ctx, control.Fault{Command: "read", Blank: true})
		must(t, err)
		s.between(t, kept, func() { must(t, fault.Release(ctx)) }, codes.FailedPrecondition, "was blank and then held ext4")
		s.gone(t, s.a, kept)
	})
	t.Run("it is blank, and then fails", func(t *testing.T) {
		ctx := t.Context()
		var fault kernel.Hold
		s.between(t, blank, func() {
			var err error
			fault, err = blank.Spoil(ctx, control.Fault{Command: "read", Status: "media"})
			must(t, err)
		}, codes.Unavailable, "read device")
		must(t, fault.Release(ctx), blank.Unstage(ctx, s.a))
		s.gone(t, s.a, blank)
	})
	t.Run("it is blank, and then has another size", func(t *testing.T) {
		ctx := t.Context()
		s.between(t, blank, func() {
			must(t, blank.ExpandBox(ctx, 2*blank.Spec.Size), s.sizeIs(ctx, s.a, 2*blank.Spec.Size))
		}, codes.Unavailable, "bytes and not")
		blank.Spec.Size *= 2
		must(t, blank.Unstage(ctx, s.a))
		s.gone(t, s.a, blank)
	})
	t.Run("it answers late", func(t *testing.T) {
		ctx := t.Context()
		s.late(t, kept)
		must(t, w.Verify(ctx, s.a, told), kept.Detach(ctx, s.a))
		s.late(t, blank)
		must(t, blank.Detach(ctx, s.a))
		s.gone(t, s.a, blank)
	})
	t.Run("writes fail while it is formatted", func(t *testing.T) { s.halfFormatted(t) })
	must(t, kept.Attach(ctx, s.a), w.Verify(ctx, s.a, told), kept.Detach(ctx, s.a), kept.Delete(ctx), blank.Delete(ctx))
	s.gone(t, s.a, kept)
}

// wantError fails unless an error has a code and says what is to be said.
func wantError(t *testing.T, err error, code codes.Code, says string) {
	t.Helper()
	if status.Code(err) != code || !strings.Contains(fmt.Sprint(err), says) {
		t.Errorf("got %v, want %v with %q", err, code, says)
	}
}

// final reports whether a caller takes a volume for not staged after such a code.
func final(code codes.Code) bool {
	return code != codes.Unavailable && code != codes.Aborted && code != codes.DeadlineExceeded && code != codes.Canceled
}

// unwritten notes how often a node wrote to a volume. What it returns fails if there is more.
func (s story) unwritten(t *testing.T, n *guest.Node, v *kernel.Volume) func() {
	t.Helper()
	_, before, err := s.Box.Written(t.Context(), v.ID, n.HostNQN())
	must(t, err)
	return func() {
		t.Helper()
		_, after, err := s.Box.Written(t.Context(), v.ID, n.HostNQN())
		must(t, err)
		if after != before {
			t.Errorf("%s wrote to %s %d times", n.Name(), v.ID, after-before)
		}
	}
}

// refused begins to stage a volume with which something is wrong. What it returns fails unless that is answered with a
// code and says why, and leaves nothing and writes nothing.
func (s story) refused(t *testing.T, v *kernel.Volume, f control.Fault, code codes.Code, says string) func() {
	t.Helper()
	ctx := t.Context()
	unwritten := s.unwritten(t, s.a, v)
	fault, err := v.Spoil(ctx, f)
	must(t, err)
	grant, err := v.Grant(ctx, s.a)
	must(t, err)
	ended := make(chan error, 1)
	go func() { ended <- v.Stage(ctx, s.a, grant) }()
	return func() {
		t.Helper()
		wantError(t, <-ended, code, says)
		if !final(code) { // then kubelet unstages
			must(t, v.Unstage(ctx, s.a))
		}
		must(t, fault.Release(ctx), v.Revoke(ctx, s.a))
		unwritten()
	}
}

// between stages a volume and lets something happen after the first of two looks at its device.
func (s story) between(t *testing.T, v *kernel.Volume, happen func(), code codes.Code, says string) {
	t.Helper()
	ctx := t.Context()
	unwritten := s.unwritten(t, s.a, v)
	grant, err := v.Grant(ctx, s.a)
	must(t, err)
	// With blkid the first look ends.
	look, err := kernel.HoldProgram(ctx, s.a, "blkid", true)
	must(t, err)
	ended := make(chan error, 1)
	go func() { ended <- v.Stage(ctx, s.a, grant) }()
	must(t, look.Reached(ctx))
	happen()
	must(t, look.Release(ctx))
	wantError(t, <-ended, code, says)
	unwritten()
	must(t, v.Revoke(ctx, s.a))
}

// sizeIs waits until a node's only namespace has so many bytes.
func (s story) sizeIs(ctx context.Context, n *guest.Node, want int64) error {
	return await.Nil(ctx, func(ctx context.Context) error {
		var names api.Names
		if err := n.Call(ctx, api.List, api.Path{Path: "/sys/block"}, &names); err != nil {
			return err
		}
		for _, name := range names.Names {
			if !strings.HasPrefix(name, "nvme") {
				continue
			}
			var size api.Content
			if err := n.Call(ctx, api.Read, api.Path{Path: "/sys/block/" + name + "/size"}, &size); err != nil {
				return err
			}
			if sectors, err := strconv.ParseInt(strings.TrimSpace(string(size.Data)), 10, 64); err != nil || sectors*512 == want {
				return err
			}
		}
		return errors.New("no namespace has that size")
	})
}

// late stages and publishes a volume whose device does not answer at first. Who has asked gives up, asks for something
// else in vain, and asks again.
func (s story) late(t *testing.T, v *kernel.Volume) {
	t.Helper()
	ctx := t.Context()
	unwritten := s.unwritten(t, s.a, v)
	fault, err := v.Spoil(ctx, control.Fault{Command: "read", Freeze: true})
	must(t, err)
	grant, err := v.Grant(ctx, s.a)
	must(t, err)
	first, giveUp := context.WithCancel(ctx)
	defer giveUp()
	ended := make(chan error, 1)
	go func() { ended <- v.Stage(first, s.a, grant) }()
	must(t, fault.Reached(ctx))
	giveUp()
	wantError(t, <-ended, codes.Canceled, "")
	wantError(t, v.Unstage(ctx, s.a), codes.Aborted, "another operation on")
	go func() { ended <- v.Stage(ctx, s.a, grant) }()
	unwritten()
	must(t, fault.Release(ctx), <-ended, v.Publish(ctx, s.a, grant))
	shown(t, s.a, v)
}

// halfFormatted lets the box fail the writes of an mkfs. The next attempt finds neither zeros nor a file system, and
// knows why.
func (s story) halfFormatted(t *testing.T) {
	t.Helper()
	ctx := t.Context()
	v := s.volume(t, kernel.Spec{FS: "ext4", Size: 64 * mib})
	fault, err := v.Spoil(ctx, control.Fault{Command: "write", Status: "media", Skip: 2})
	must(t, err)
	grant, err := v.Grant(ctx, s.a)
	must(t, err)
	wantError(t, v.Stage(ctx, s.a, grant), codes.Unavailable, "mkfs.ext4")
	if _, writes, err := s.Box.Written(ctx, v.ID, s.a.HostNQN()); err != nil || writes == 0 {
		t.Fatalf("%d writes, %v: the device is blank, so nothing would be proved", writes, err)
	}
	must(t, fault.Release(ctx), v.Mount(ctx, s.a, grant))
	shown(t, s.a, v)
	must(t, v.Detach(ctx, s.a), v.Delete(ctx))
	s.gone(t, s.a, v)
}
