// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"github.com/rds-csi/rds-csi/nvme/tcp"
)

// A Namespace is the disk that a controller reads and writes. The zero value is none.
type Namespace struct {
	ID        uint32
	UUID      uuid.UUID // zero: it has none
	NGUID     [16]byte  // zero: it has none
	EUI64     [8]byte   // zero: it has none
	BlockSize int       // bytes
	Size      int64     // bytes
}

// same reports whether both are one disk, whatever its size.
func (n Namespace) same(m Namespace) bool {
	n.Size, m.Size = 0, 0
	return n == m
}

// The block sizes that are taken, as powers of two in bytes: as in the kernel, up to a page.
const (
	minBlockShift = 9
	maxBlockShift = 12
)

// identify runs Identify and returns its data.
func (a *association) identify(ctx context.Context, op string, cns uint8, nsid uint32) ([]byte, error) {
	c := newCommand(op, tcp.NewIdentify(cns, nsid))
	c.in, c.data = true, make([]byte, tcp.IdentifyLen)
	_, err := a.within(ctx, a.admin, c)
	if err != nil {
		return nil, err
	}
	return c.data, nil
}

// logPage runs Get Log Page and returns its data.
func (a *association) logPage(ctx context.Context, op string, page tcp.LogPage) ([]byte, error) {
	c := newCommand(op, page.Command(tcp.BroadcastNSID))
	c.in, c.data = true, make([]byte, page.Length)
	_, err := a.within(ctx, a.admin, c)
	if err != nil {
		return nil, err
	}
	return c.data, nil
}

// scan finds the namespace that the configuration asks for. It is no error that there is none: it
// may appear later, with an event. It is ErrProtocol that it cannot be used.
func (a *association) scan(ctx context.Context) (Namespace, error) {
	after := max(a.cfg.NSID, 1) - 1
	data, err := a.identify(ctx, "list namespaces", tcp.CNSActiveNamespaces, after)
	if err != nil {
		return Namespace{}, err
	}
	active := tcp.ParseNamespaceList(data)
	if len(active) == 0 || (a.cfg.NSID != 0 && active[0] != a.cfg.NSID) {
		return Namespace{}, nil
	}
	ns, err := a.describe(ctx, active[0])
	var status *StatusError
	if errors.As(err, &status) && status.DNR {
		return Namespace{}, nil // it went away after it was listed
	}
	return ns, err
}

// describe identifies a namespace. The zero Namespace means that it is not active.
func (a *association) describe(ctx context.Context, nsid uint32) (Namespace, error) {
	data, err := a.identify(ctx, "identify namespace", tcp.CNSNamespace, nsid)
	if err != nil {
		return Namespace{}, err
	}
	id, err := tcp.ParseNamespaceIdentity(data)
	switch {
	case err != nil:
		return Namespace{}, fmt.Errorf("%w: %w", ErrProtocol, err)
	case id.Size == 0:
		return Namespace{}, nil
	case id.BlockShift < minBlockShift || id.BlockShift > maxBlockShift:
		return Namespace{}, fmt.Errorf("%w: namespace %d with blocks of 2^%d bytes", ErrProtocol, nsid, id.BlockShift)
	case id.Size >= 1<<(63-id.BlockShift):
		return Namespace{}, fmt.Errorf("%w: namespace %d of %d blocks", ErrProtocol, nsid, id.Size)
	}
	ns := Namespace{
		ID: nsid, BlockSize: 1 << id.BlockShift, Size: int64(id.Size << id.BlockShift),
		NGUID: id.NGUID, EUI64: id.EUI64,
	}
	if a.identity.Version < tcp.Version13 {
		return ns, nil // from before the descriptor list
	}
	if data, err = a.identify(ctx, "describe namespace", tcp.CNSDescriptors, nsid); err != nil {
		return Namespace{}, err
	}
	d, err := tcp.ParseDescriptors(data)
	if err != nil {
		return Namespace{}, fmt.Errorf("%w: %w", ErrProtocol, err)
	}
	if d.CommandSet != 0 {
		return Namespace{}, fmt.Errorf("%w: namespace %d has command set %d, not NVM", ErrProtocol, nsid, d.CommandSet)
	}
	ns.UUID, ns.NGUID, ns.EUI64 = d.UUID, d.NGUID, d.EUI64
	return ns, nil
}

// Identify returns what the controller said of itself when it was last connected.
func (c *Controller) Identify() tcp.ControllerIdentity { return *c.identity.Load() }

// Namespace returns the namespace as last seen, zero if there is none.
func (c *Controller) Namespace() Namespace { return *c.ns.Load() }

// Size returns the namespace's size in bytes as last seen, 0 if there is none.
func (c *Controller) Size() int64 { return c.ns.Load().Size }

// BlockSize returns the namespace's block size in bytes, 0 if there is none.
func (c *Controller) BlockSize() int { return c.ns.Load().BlockSize }

// UUID returns the namespace's UUID, zero if it has none.
func (c *Controller) UUID() uuid.UUID { return c.ns.Load().UUID }

// Rescan looks at the namespace again, as writing to rescan_controller does, for targets that do
// not tell when they resize. When it returns, Size is up to date. It waits for the controller to be
// live.
func (c *Controller) Rescan(ctx context.Context) error {
	for {
		g, err := c.pass()
		if err != nil {
			return fmt.Errorf("rescan: %w", err)
		}
		ns, err := g.assoc.scan(ctx)
		if err == nil {
			err = g.assoc.tell(ctx, ns, c.scans)
		}
		if err == nil {
			return nil
		}
		if g.assoc.cause() == nil || ctx.Err() != nil {
			return fmt.Errorf("rescan: %w", err)
		}
		if err := c.leave(ctx, g); err != nil {
			return fmt.Errorf("rescan: %w", err)
		}
	}
}
