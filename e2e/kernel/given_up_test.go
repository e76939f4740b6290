// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package kernel_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/rds-csi/rds-csi/e2e/await"
	"github.com/rds-csi/rds-csi/e2e/guest/api"
	"github.com/rds-csi/rds-csi/e2e/kernel"
)

// givenUp lets kernels give connections up while pods write, and sees that the driver notices and tells, that what was
// acknowledged is there again once the pods are gone, and that the volumes are of use again. The same for file systems
// that fail while their connection is well.
func givenUp(t *testing.T, s story) {
	t.Run("a disk is late", s.diskLate)
	t.Run("ctrlLossTmo runs out", s.timeRunsOut)
}

// A user is a pod that writes to a volume.
type user struct {
	*kernel.Volume
	writer *kernel.Writer
	grant  map[string]string
}

// users lets pods on the first node write to new volumes, one to each.
func (s story) users(t *testing.T, specs ...kernel.Spec) []*user {
	t.Helper()
	users, errs := make([]*user, len(specs)), make([]error, len(specs))
	var beginning sync.WaitGroup
	for i, spec := range specs {
		beginning.Go(func() { users[i], errs[i] = s.user(t.Context(), spec) })
	}
	beginning.Wait()
	must(t, errs...)
	return users
}

func (s story) user(ctx context.Context, spec kernel.Spec) (*user, error) {
	v, err := s.NewVolume(ctx, spec)
	if err != nil {
		return nil, err
	}
	u := &user{Volume: v}
	if u.grant, err = u.Grant(ctx, s.a); err != nil {
		return nil, err
	}
	return u, errors.Join(u.Mount(ctx, s.a, u.grant), s.writes(ctx, u))
}

// writes lets a pod on the first node write, until what it wrote is where nothing but its data changes.
func (s story) writes(ctx context.Context, u *user) (err error) {
	if u.writer, err = u.Write(ctx, s.a); err != nil {
		return err
	}
	// After a round a file has its length, and a sync says so on the disk.
	return errors.Join(u.writer.Await(ctx, 70), s.a.Call(ctx, api.Sync, struct{}{}, nil))
}

// diskLate lets the box reboot and come back without some disks, whose port another one's export opens. "Unknown
// subsystem, do not retry" ends a connection for good on kernels that obey.
func (s story) diskLate(t *testing.T) {
	ctx := t.Context()
	port := map[string]string{"nvmePort": "4420"}
	users := s.users(t,
		kernel.Spec{Size: 64 * mib, Parameters: port},
		kernel.Spec{Size: 64 * mib, Parameters: port},
		kernel.Spec{FS: "ext4", Size: 64 * mib, Parameters: port},
	)
	neighbour, late := users[0], users[1:]
	var slots []string
	for _, u := range late {
		disk, _, err := s.Box.Disk(ctx, u.ID)
		must(t, err)
		slots = append(slots, disk.Slot)
	}
	obeys := s.linux != "6.1"
	event := "the box reboots, and a disk comes later than the others of its port"
	s.loses(t, event, late, obeys, func(witness *kernel.Witness) error {
		err := errors.Join(s.Box.Do(ctx, "settings", fmt.Sprintf(`{"missing-disks": %q}`, strings.Join(slots, ","))), s.Box.Do(ctx, "reboot", ""))
		if obeys {
			err = errors.Join(err, s.connections(ctx, 1))
		} else {
			err = errors.Join(err, s.keptTrying(ctx, witness, late))
		}
		return errors.Join(err, s.Box.Do(ctx, "settings", `{"missing-disks": ""}`))
	}, func(users []*user) error { return s.stagedAnew(ctx, users) })
	must(t, neighbour.writer.Await(ctx, 20))
	told, err := neighbour.writer.End(ctx)
	must(t, err, neighbour.writer.Verify(ctx, s.a, told))
	if len(told.Errors) > 0 {
		t.Errorf("the neighbour got %v", told.Errors)
	}
	for _, u := range users {
		must(t, u.Detach(ctx, s.a), u.Delete(ctx))
	}
	s.gone(t, s.a, neighbour.Volume)
}

// keptTrying waits until the kernel has tried twice to reconnect: the first time, the box may not be back yet.
func (s story) keptTrying(ctx context.Context, witness *kernel.Witness, users []*user) error {
	return await.Nil(ctx, func(ctx context.Context) error {
		for _, u := range users {
			if tried, err := witness.Failed(ctx, u.Volume); err != nil || tried < 2 {
				return errors.Join(err, fmt.Errorf("%d attempts to reconnect to %s have failed", tried, u.ID))
			}
		}
		return nil
	})
}

// timeRunsOut lets the box be away for longer than a StorageClass lets kernels try.
func (s story) timeRunsOut(t *testing.T) {
	ctx := t.Context()
	limit := map[string]string{"ctrlLossTmo": "4"}
	users := s.users(t,
		kernel.Spec{Size: 64 * mib, Parameters: limit},
		kernel.Spec{FS: "ext4", Size: 64 * mib, Parameters: limit},
		kernel.Spec{FS: "xfs", Size: 320 * mib, Parameters: limit},
	)
	s.loses(t, "the box is off for longer than ctrlLossTmo: 4", users, true, func(*kernel.Witness) error {
		return errors.Join(s.Box.Stop(), s.connections(ctx, 0), s.Box.Start(ctx))
	}, func(users []*user) error { return s.repaired(ctx, users) })
	s.unsound(t, users[1:])
	for _, u := range users {
		must(t, u.Detach(ctx, s.a), u.Delete(ctx))
	}
	s.gone(t, s.a, users[0].Volume)
}

// connections waits until the first node has so many.
func (s story) connections(ctx context.Context, want int) error {
	return await.Nil(ctx, func(ctx context.Context) error {
		nqns, err := kernel.Controllers(ctx, s.a, "subsysnqn")
		if err == nil && len(nqns) != want {
			err = fmt.Errorf("%s has the controllers %v, and not %d", s.a.Name(), nqns, want)
		}
		return err
	})
}

// loses lets something happen to what pods of the first node write to, after which pods can write to it again; lost says
// that the kernel gives the connections up.
func (s story) loses(t *testing.T, event string, users []*user, lost bool, happen func(*kernel.Witness) error, back func(users []*user) error) {
	t.Helper()
	ctx := t.Context()
	must(t, s.well(ctx, s.a))
	before, err := s.a.Metrics(ctx)
	must(t, err)
	witness, err := kernel.Listen(ctx, s.a)
	must(t, err, happen(witness))
	if lost {
		s.told(t, witness, users, before)
	} else {
		for _, u := range users {
			must(t, u.writer.Await(ctx, 20))
		}
	}
	written := make([]api.Written, len(users))
	for i, u := range users {
		written[i], err = u.writer.End(ctx)
		must(t, err)
	}
	if lost {
		must(t, back(users), s.well(ctx, s.a))
	}
	for i, u := range users {
		must(t, u.writer.Verify(ctx, s.a, written[i]))
		if (len(written[i].Errors) > 0) != lost {
			t.Errorf("a pod on %s got %v", u.Spec.Kind(), written[i].Errors)
		}
		did, err := witness.Kernel(ctx, u.Volume)
		must(t, err)
		found, err := witness.Conditions(ctx, u.Volume)
		must(t, err)
		s.saw(t, kernel.Row{Table: "lost", Event: event, Volume: u.Spec.Kind(), Writes: &written[i], Kernel: did, Driver: strings.Join(found, ", ")})
	}
}

// told fails unless the driver says, in each way that it has, that it has lost what pods use.
func (s story) told(t *testing.T, witness *kernel.Witness, users []*user, before string) {
	t.Helper()
	ctx := t.Context()
	for _, u := range users {
		reasons := []string{"ConnectionLost"}
		if u.Spec.FS != "" {
			reasons = append(reasons, "StaleMount")
		}
		health, err := u.Is(ctx, s.a, true, reasons...)
		must(t, err)
		t.Logf("%s: %s", u.Spec.Kind(), health.Message)
		must(t, s.hears(ctx, witness, u, "ConnectionFailure"))
	}
	must(t, await.Nil(ctx, func(ctx context.Context) error { // a look at which the kernel does not answer in time counts none
		after, err := s.a.Metrics(ctx)
		for _, name := range []string{`rds_csi_node_volumes{condition="lost"}`, "rds_csi_nvme_connections_lost_total"} {
			if got := kernel.Sample(after, name) - kernel.Sample(before, name); got != float64(len(users)) {
				err = errors.Join(err, fmt.Errorf("%s has grown by %v, and %d volumes are lost", name, got, len(users)))
			}
		}
		return err
	}))
}

// hears waits until the driver tells people of a volume under a reason.
func (s story) hears(ctx context.Context, witness *kernel.Witness, u *user, reason string) error {
	return await.Nil(ctx, func(ctx context.Context) error {
		events, err := witness.Events(ctx, u.Volume)
		if err == nil && !slices.Contains(events, reason) {
			err = fmt.Errorf("of %s there are the events %v and not %s", u.ID, events, reason)
		}
		return err
	})
}

// stagedAnew lets kubelet end the pods and start others, which is how any lost volume is of use again.
func (s story) stagedAnew(ctx context.Context, users []*user) error {
	var errs []error
	for _, u := range users {
		errs = append(errs, u.Unmount(ctx, s.a), u.Mount(ctx, s.a, u.grant))
	}
	return errors.Join(errs...)
}

// repaired lets kubelet end the pods and keep the volumes staged. The driver mounts filesystems again by itself; then
// other pods are started.
func (s story) repaired(ctx context.Context, users []*user) error {
	var errs []error
	for _, u := range users {
		if u.Spec.FS == "" {
			errs = append(errs, s.stagedAnew(ctx, []*user{u}))
			continue
		}
		errs = append(errs, u.Unpublish(ctx, s.a))
	}
	for _, u := range users {
		_, err := u.Is(ctx, s.a, u.Spec.FS == "")
		errs = append(errs, err, u.Mount(ctx, s.a, u.grant))
	}
	return errors.Join(errs...)
}
