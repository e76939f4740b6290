// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package kernel_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/rds-csi/rds-csi/e2e/guest"
	"github.com/rds-csi/rds-csi/e2e/guest/qmp"
	"github.com/rds-csi/rds-csi/e2e/guest/wire"
	"github.com/rds-csi/rds-csi/e2e/kernel"
)

// migration moves a VM live between the nodes while it writes, with its volume granted and taken away around that as
// for KubeVirt; and back, where then both QEMUs run it, as they must not: that is found.
func migration(t *testing.T, s story) {
	ctx := t.Context()
	v := s.volume(t, kernel.Spec{Size: 64 * mib, Shared: true})
	must(t, v.Attach(ctx, s.a))
	vm, err := v.StartVM(ctx, s.a)
	must(t, err)
	endLater(t, vm)
	moved := s.moves(t, v, vm)
	s.splits(t, v, moved)
	must(t, v.Delete(ctx))
}

// moves migrates a VM from node a to node b, which has all of it then.
func (s story) moves(t *testing.T, v *kernel.Volume, vm *guest.VM) *guest.VM {
	ctx := t.Context()
	w, err := v.WriteIn(ctx, vm)
	must(t, err, w.Await(ctx, 20), v.Attach(ctx, s.b))
	there := s.expect(t, v, s.b)
	before, err := w.Written(ctx)
	must(t, err)
	m := migrate(t, vm, there)
	// From now on, not only from when its grant is gone.
	silent := s.silence(t, s.a, v)
	w = w.On(there)
	must(t, w.Await(ctx, 20), vm.End(ctx), v.Detach(ctx, s.a))
	s.gone(t, s.a, v)
	must(t, w.Await(ctx, 20))
	silent()

	told, err := w.End(ctx)
	must(t, err, w.Verify(ctx, s.b, told))
	if told.Acked-before.Acked > w.Slots() {
		t.Fatalf("the VM has written %d times since before it migrated, and its ring tells of %d", told.Acked-before.Acked, w.Slots())
	}
	t.Logf("the VM wrote %d times before it migrated, and %d times since", before.Acked, told.Acked-before.Acked)
	if len(told.Errors) > 0 {
		t.Errorf("the VM got %v", told.Errors)
	}
	last, _, err := s.Box.Written(ctx, v.ID, s.a.HostNQN())
	must(t, err)
	first, err := s.Box.Began(ctx, v.ID, s.b.HostNQN())
	must(t, err)
	if !first.After(last) {
		t.Errorf("%s wrote first at %v, and %s last at %v", s.b.Name(), first, s.a.Name(), last)
	}
	s.saw(t, kernel.Row{
		Table: "migrates", Event: "a VM migrates to the other node", Volume: v.Spec.Kind(), Writes: &told,
		Figures: []kernel.Figure{
			{Name: "migration", Value: kernel.Took(m.Took)},
			{Name: "down time", Value: kernel.Took(m.Downtime)},
			{Name: "the box had no write", Value: kernel.Took(first.Sub(last))},
		},
	})
	return there
}

// splits migrates a VM from node b to node a, and then lets it go on where it came from, too. Both go on from the same
// memory and write the same numbers to the same places, so what one overwrites looks right to the other as long as
// they keep pace. So the one that migrated ends, and the other one goes on until it is ahead: then the first finds
// writes that it never began.
func (s story) splits(t *testing.T, v *kernel.Volume, vm *guest.VM) {
	ctx := t.Context()
	source, err := v.WriteIn(ctx, vm)
	must(t, err, source.Await(ctx, 20), v.Attach(ctx, s.a))
	there := s.expect(t, v, s.a)
	migrate(t, vm, there)
	w := source.On(there)
	before, err := s.wrote(ctx, s.b, v)
	must(t, err, w.Await(ctx, 20), vm.Resume(ctx), source.Await(ctx, 20))
	told, err := w.End(ctx)
	must(t, err)
	ahead, err := source.Written(ctx)
	must(t, err)
	if ahead.Acked <= told.Begun {
		must(t, source.Await(ctx, told.Begun+1-ahead.Acked))
	}
	ahead, err = source.End(ctx)
	must(t, err)

	var found wire.RemoteError
	if err := w.Verify(ctx, s.a, told); !errors.As(err, &found) || !strings.Contains(found.Message, fmt.Sprintf("only %d were begun", told.Begun)) {
		t.Errorf("two QEMUs ran one VM, which wrote up to %d here and %d there, and that was not found: %v", told.Acked, ahead.Acked, err)
	}
	if again, err := s.wrote(ctx, s.b, v); err != nil || again == before {
		t.Errorf("the box does not tell that %s wrote again: %d times, %v", s.b.Name(), again, err)
	}
	must(t, vm.End(ctx), there.End(ctx), v.Detach(ctx, s.b), v.Detach(ctx, s.a))
	s.gone(t, s.a, v)
	s.gone(t, s.b, v)
}

// wrote is how often a node wrote to a volume.
func (s story) wrote(ctx context.Context, n *guest.Node, v *kernel.Volume) (int64, error) {
	_, count, err := s.Box.Written(ctx, v.ID, n.HostNQN())
	return count, err
}

// expect prepares a node for a VM that migrates to it.
func (s story) expect(t *testing.T, v *kernel.Volume, n *guest.Node) *guest.VM {
	t.Helper()
	vm, err := v.ExpectVM(t.Context(), n)
	must(t, err)
	endLater(t, vm)
	return vm
}

// endLater ends a VM whose story failed.
func endLater(t *testing.T, vm *guest.VM) {
	t.Helper()
	t.Cleanup(func() {
		if err := vm.Kill(); err != nil {
			t.Error(err)
		}
	})
}

func migrate(t *testing.T, vm, to *guest.VM) qmp.Migration {
	t.Helper()
	m, err := vm.Migrate(t.Context(), to)
	must(t, err)
	t.Logf("%s came to be %s in %v, of which it was stopped for %v; %d KiB were sent", vm.Name(), to.Name(), m.Took, m.Downtime, m.Sent>>10)
	return m
}
