// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"syscall"
	"time"

	"github.com/google/uuid"
)

// hostSpace is the UUIDv5 name space of the host IDs of experiments.
var hostSpace = uuid.MustParse("5b5dfd5e-8c62-5b4c-9a35-2f1c3e0f7d44")

// target returns how the host of a number connects to a disk.
func (b *bench) target(d disk, n int) Target {
	id := uuid.NewSHA1(hostSpace, fmt.Appendf(nil, "%v/%d", b.run, n))
	return Target{
		Address: net.JoinHostPort(b.NVMeAddress, strconv.Itoa(int(d.spec.port))), NQN: d.spec.nqn,
		HostNQN: "nqn.2014-08.org.nvmexpress:uuid:" + id.String(), HostID: id,
		Lost: func() {}, Changed: func(Disk) {},
	}
}

// A guest is a host whose connection is watched.
type guest struct {
	Host
	lost chan struct{}
}

// welcome connects a host that is watched.
func (b *bench) welcome(ctx context.Context, d disk, n int) (guest, error) {
	t := b.target(d, n)
	g := guest{lost: make(chan struct{})}
	t.Lost = func() { close(g.lost) }
	var err error
	g.Host, err = b.serve(ctx, t)
	return g, err
}

// exported adds a disk that has let a host in, which has left.
func (b *bench) exported(ctx context.Context) (disk, error) {
	d, err := b.add(ctx, spec{export: true})
	if err != nil {
		return d, err
	}
	h, err := b.serve(ctx, b.target(d, 1))
	if err != nil {
		return d, err
	}
	return d, h.Close()
}

// inUse adds a disk and connects a host that is watched.
func (b *bench) inUse(ctx context.Context) (disk, guest, error) {
	d, err := b.add(ctx, spec{export: true})
	if err != nil {
		return d, guest{}, err
	}
	g, err := b.welcome(ctx, d, 1)
	return d, g, err
}

// dropped reports whether a host's connection ends. It is kept if a write still succeeds after the patience.
func (b *bench) dropped(ctx context.Context, g guest) (bool, error) {
	select {
	case <-g.lost:
		return true, nil
	case <-time.After(b.Patience):
	case <-ctx.Done():
		return false, context.Cause(ctx)
	}
	wctx, cancel := context.WithTimeout(ctx, b.Startup)
	defer cancel()
	written := make(chan error, 1)
	go func() { written <- g.WriteAt(wctx, b.pattern(), patternSize) }()
	var err error
	select {
	case err = <-written:
	case <-g.lost:
		cancel()
		err = <-written
	}
	select {
	case <-g.lost:
		return true, nil
	default:
	}
	if err != nil {
		return false, fmt.Errorf("the connection did not end, and a write failed: %w", err)
	}
	return false, nil
}

// askExportDelay measures when a host is let in after an export was turned on.
func askExportDelay(ctx context.Context, b *bench) error {
	d, err := b.add(ctx, spec{})
	if err != nil {
		return err
	}
	sent := time.Now()
	if err := b.set(ctx, d, "nvme-tcp-export=yes"); err != nil {
		return err
	}
	acked := time.Now()
	_, tries, err := b.timed(ctx, b.target(d, 1))
	if err != nil {
		return err
	}
	if tries[0].begin.IsZero() {
		b.settle("ExportDelay", "0", "the first attempt was let in, %v after the answer", round(tries[1].end.Sub(acked)))
		return nil
	}
	// It was not served when the last failed attempt began, and was when the one that succeeded ended.
	b.settle("ExportDelay", fmt.Sprintf("%v-%v", round(max(0, tries[0].begin.Sub(acked))), round(tries[1].end.Sub(sent))),
		"no host was let in before, and one was then; longer than 0 means that publish waits for it")
	return nil
}

// askResize expands a disk under a connected host.
func askResize(ctx context.Context, b *bench) error {
	d, err := b.add(ctx, spec{export: true})
	if err != nil {
		return err
	}
	t := b.target(d, 1)
	told := make(chan Disk, 8)
	t.Changed = func(d Disk) {
		select {
		case told <- d:
		default:
		}
	}
	h, err := b.serve(ctx, t)
	if err != nil {
		return err
	}
	if err := b.set(ctx, d, "file-size="+strconv.FormatInt(2*b.Size, 10)); err != nil {
		return err
	}
	select {
	case now := <-told:
		b.settle("NoResizeEvent", "false", "the host was told: %d bytes", now.Size)
		return nil
	case <-time.After(b.Patience):
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	now, err := h.Disk(ctx)
	if err != nil {
		return err
	}
	b.settle("NoResizeEvent", "true", "the host was told nothing in %v; asked, the disk has %d bytes", b.Patience, now.Size)
	if now.Size != 2*b.Size {
		b.tell("a connected host does not see the new size, %d bytes, even if it asks", 2*b.Size)
	}
	return nil
}

// askDefaultNQN exports a disk without an NQN.
func askDefaultNQN(ctx context.Context, b *bench) error {
	d, err := b.add(ctx, spec{nqn: "-"})
	if err == nil {
		err = b.set(ctx, d, "nvme-tcp-export=yes")
	}
	t, err := refusedOr(err)
	if t != nil {
		b.settle("NeedNQN", "true", "%q", t.Message)
		b.moot("DefaultNQN", "an export without an NQN is refused")
		return err
	}
	if err != nil {
		return err
	}
	r, err := b.row(ctx, d)
	if err != nil {
		return err
	}
	nqn := r.Get("nvme-tcp-server-nqn")
	b.settle("NeedNQN", "false", "the row shows the NQN %q", nqn)
	prefix := nqn
	if n := len(nqn) - len(d.spec.slot); n >= 0 && nqn[n:] == d.spec.slot {
		prefix = nqn[:n]
	}
	if d.spec.nqn = nqn; nqn == "" {
		return errors.New("the row of an export without an NQN shows none")
	}
	if _, err := b.serve(ctx, b.target(d, 1)); err != nil {
		return fmt.Errorf("connect to the NQN that the row shows: %w", err)
	}
	b.settle("DefaultNQN", prefix, "a host connects to %q", nqn)
	return nil
}

// askExportOff turns an export off under a connected host, and on again.
func askExportOff(ctx context.Context, b *bench) error {
	d, g, err := b.inUse(ctx)
	if err != nil {
		return err
	}
	before, err := g.Disk(ctx)
	if err != nil {
		return err
	}
	if err := b.set(ctx, d, "nvme-tcp-export=no"); err != nil {
		return err
	}
	gone, err := b.dropped(ctx, g)
	if err != nil {
		return err
	}
	b.settleBool("KeepOnExportOff", !gone, "a connected host goes on writing: fencing by the export does not hold", "the connection of a connected host ends")
	if !gone {
		// What goes on being served would be told for what begins anew.
		return &moot{"the connection goes on, so that the export does not begin anew"}
	}
	if err := b.set(ctx, d, "nvme-tcp-export=yes"); err != nil {
		return err
	}
	again, err := b.serve(ctx, b.target(d, 1))
	if err != nil {
		return err
	}
	after, err := again.Disk(ctx)
	if err != nil {
		return err
	}
	b.settleBool("NewUUID", before.identity() != after.identity(),
		fmt.Sprintf("%s became %s: a kernel takes it for another disk", before.identity(), after.identity()), before.identity()+" stays")
	return nil
}

// askNQNChange changes the NQN of an export under a connected host.
func askNQNChange(ctx context.Context, b *bench) error {
	d, g, err := b.inUse(ctx)
	if err != nil {
		return err
	}
	old := d
	d.spec.nqn += ".next"
	if err := b.set(ctx, d, "nvme-tcp-server-nqn="+d.spec.nqn); err != nil {
		return err
	}
	gone, err := b.dropped(ctx, g)
	if err != nil {
		return err
	}
	b.settleBool("KeepOnNQNChange", !gone, "a connected host goes on writing under the old name", "the connection of a connected host ends")
	if _, err := b.serve(ctx, b.target(d, 2)); err != nil {
		return err
	}
	if _, err := b.connect(ctx, b.target(old, 3)); err == nil {
		b.tell("the old NQN still lets hosts in")
	} else {
		b.tell("the old NQN lets nobody in: %v", err)
	}
	return nil
}

// askAllowList allows two hosts by a list.
func askAllowList(ctx context.Context, b *bench) error {
	d, err := b.exported(ctx)
	if err != nil {
		return err
	}
	err = b.set(ctx, d, "nvme-tcp-server-allow-host-name="+b.target(d, 1).HostNQN+","+b.target(d, 2).HostNQN)
	t, err := refusedOr(err)
	if t != nil {
		b.settle("AllowList", "false", "two names are refused: %q", t.Message)
		return err
	}
	if err != nil {
		return err
	}
	in, said := [4]string{}, ""
	for n := 1; n <= 3; n++ {
		_, err := b.connect(ctx, b.target(d, n))
		if _, refused := retries(err); err != nil && !refused {
			return err
		}
		if in[n] = "in"; err != nil {
			in[n], said = "out", err.Error()
		}
	}
	seen := fmt.Sprintf("two names with a comma in between: the first is %s, the second %s, a third host %s: %s", in[1], in[2], in[3], said)
	if in[3] == "in" {
		return fmt.Errorf("the allow list does not keep others out: %s", seen)
	}
	b.settleBool("AllowList", in[1] == "in" && in[2] == "in", seen, seen)
	return nil
}

// askAllowChange takes a connected host off the allow list.
func askAllowChange(ctx context.Context, b *bench) error {
	d, err := b.add(ctx, spec{export: true})
	if err != nil {
		return err
	}
	if err := b.set(ctx, d, "nvme-tcp-server-allow-host-name="+b.target(d, 1).HostNQN); err != nil {
		return err
	}
	g, err := b.welcome(ctx, d, 1)
	if err != nil {
		return err
	}
	if err := b.set(ctx, d, "nvme-tcp-server-allow-host-name="+b.target(d, 2).HostNQN); err != nil {
		return err
	}
	gone, err := b.dropped(ctx, g)
	if err != nil {
		return err
	}
	b.settleBool("DropOnAllowChange", gone, "the connection of a host that is taken off the list ends", "a host that is taken off the list goes on writing")
	return nil
}

// askRefusal connects to a name that is unknown, and as a host that is not allowed, where something is
// exported.
func askRefusal(ctx context.Context, b *bench) error {
	d, err := b.add(ctx, spec{export: true})
	if err != nil {
		return err
	}
	if _, err := b.serve(ctx, b.target(d, 1)); err != nil {
		return err
	}
	unknown := b.target(d, 1)
	unknown.NQN += ".unknown"
	_, err = b.connect(ctx, unknown)
	retry, ok := retries(err)
	if !ok {
		return fmt.Errorf("an unknown NQN gives no refusal: %w", orElse(err))
	}
	seen := fmt.Sprintf("unknown NQN: %v", err)
	if err := b.set(ctx, d, "nvme-tcp-server-allow-host-name="+b.target(d, 1).HostNQN); err != nil {
		return err
	}
	_, err = b.connect(ctx, b.target(d, 2))
	other, ok := retries(err)
	if !ok {
		return fmt.Errorf("a host that is not allowed gets no refusal: %w", orElse(err))
	}
	if seen += fmt.Sprintf("; host not allowed: %v", err); other != retry {
		return fmt.Errorf("the two refusals differ: %s", seen)
	}
	b.settleBool("Retry", retry, seen, seen)
	return nil
}

// orElse is an error for what should have failed.
func orElse(err error) error {
	if err == nil {
		return errors.New("the host was let in")
	}
	return err
}

// askPort looks at a port whose only export ends.
func askPort(ctx context.Context, b *bench) error {
	d, err := b.add(ctx, spec{export: true, port: b.ports[2]})
	if err != nil {
		return err
	}
	h, err := b.serve(ctx, b.target(d, 1))
	if err != nil {
		return err
	}
	if err := errors.Join(h.Close(), b.set(ctx, d, "nvme-tcp-export=no")); err != nil {
		return err
	}
	off, err := b.closes(ctx, b.target(d, 1).Address)
	if err != nil {
		return err
	}
	removed := off
	if !off {
		if err := b.remove(ctx, d); err != nil {
			return err
		}
		if removed, err = b.closes(ctx, b.target(d, 1).Address); err != nil {
			return err
		}
	}
	seen := fmt.Sprintf("connections are refused once the export is off: %v, once the row is removed: %v", off, removed)
	b.settleBool("PortStaysOpen", !removed, seen, seen)
	return nil
}

// closes reports whether a port refuses connections within the patience.
func (b *bench) closes(ctx context.Context, address string) (bool, error) {
	limit := time.Now().Add(b.Patience)
	for {
		err := b.Initiator.Probe(ctx, address)
		switch {
		case errors.Is(err, syscall.ECONNREFUSED):
			return true, nil
		case err != nil && ctx.Err() != nil:
			return false, context.Cause(ctx)
		case time.Now().After(limit):
			return false, nil
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return false, err
		}
	}
}
