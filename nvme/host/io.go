// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"sync"

	"github.com/rds-csi/rds-csi/nvme/tcp"
)

const (
	// maxRetries is how often a command is issued again whose status allows that (the kernel's
	// nvme_max_retries). Commands that a lost connection swallowed are not counted.
	maxRetries = 5
	// window is how many commands one call has in flight.
	window = 8
	// maxBlocks is what the length of a Write Zeroes can say: NLB has 16 bits, zero-based.
	maxBlocks = 1 << 16
)

// ReadAt is ReadAtContext without a context, as io.ReaderAt.
func (c *Controller) ReadAt(p []byte, off int64) (int, error) {
	return c.ReadAtContext(context.Background(), p, off)
}

// WriteAt is WriteAtContext without a context, as io.WriterAt.
func (c *Controller) WriteAt(p []byte, off int64) (int, error) {
	return c.WriteAtContext(context.Background(), p, off)
}

// ReadAtContext reads len(p) bytes at off, both multiples of the block size, and returns how many
// bytes from the start of p are valid: fewer than len(p) with an error, io.EOF at the namespace's
// end. p is not touched after the return. While the controller is not live it waits.
func (c *Controller) ReadAtContext(ctx context.Context, p []byte, off int64) (int, error) {
	ns, err := c.span(off, int64(len(p)))
	if err != nil {
		return 0, fmt.Errorf("read %d bytes at %d: %w", len(p), off, err)
	}
	want := int(max(min(int64(len(p)), ns.Size-off), 0))
	n, err := c.pieces(p[:want], func(piece []byte, at int) error {
		buf := c.buffers.get(len(piece))
		err := c.do(ctx, "read", rw(tcp.OpRead, ns, off+int64(at), len(piece)), buf.b, true)
		if err == nil {
			copy(piece, buf.b)
			c.buffers.put(buf)
		}
		return err
	})
	switch {
	case err != nil:
		return n, fmt.Errorf("read %d bytes at %d: %w", len(p), off, err)
	case n < len(p):
		return n, io.EOF
	}
	return n, nil
}

// WriteAtContext writes p at off, both multiples of the block size, and returns how many bytes from
// the start of p are known to be written. p is not looked at after the return. While the controller
// is not live it waits. After an error the rest may be written, may be written later, or never: see
// the package comment.
func (c *Controller) WriteAtContext(ctx context.Context, p []byte, off int64) (int, error) {
	ns, err := c.span(off, int64(len(p)))
	if err == nil && off+int64(len(p)) > ns.Size {
		err = fmt.Errorf("%w: the namespace ends at %d", ErrRange, ns.Size)
	}
	if err != nil {
		return 0, fmt.Errorf("write %d bytes at %d: %w", len(p), off, err)
	}
	n, err := c.pieces(p, func(piece []byte, at int) error {
		buf := c.buffers.get(len(piece))
		copy(buf.b, piece)
		err := c.do(ctx, "write", rw(tcp.OpWrite, ns, off+int64(at), len(piece)), buf.b, false)
		if err == nil {
			c.buffers.put(buf)
		}
		return err
	})
	if err != nil {
		return n, fmt.Errorf("write %d bytes at %d: %w", len(p), off, err)
	}
	return n, nil
}

// Flush makes durable what was written before it was called.
func (c *Controller) Flush(ctx context.Context) error {
	ns, err := c.span(0, 0)
	if err == nil {
		err = c.do(ctx, "flush", tcp.Command{Opcode: tcp.OpFlush, Flags: tcp.FlagSGL, NSID: ns.ID}, nil, false)
	}
	if err != nil {
		return fmt.Errorf("flush: %w", err)
	}
	return nil
}

// WriteZeroes makes n bytes at off read as zeroes, both multiples of the block size. It wraps
// errors.ErrUnsupported where the controller has no such command.
func (c *Controller) WriteZeroes(ctx context.Context, off, n int64) error {
	ns, err := c.bounds(off, n, tcp.ONCSWriteZeroes)
	for at, end := off, off+n; err == nil && at < end; {
		length := min(end-at, maxBlocks*int64(ns.BlockSize))
		err = c.do(ctx, "write zeroes", rw(tcp.OpWriteZeroes, ns, at, int(length)), nil, false)
		at += length
	}
	if err != nil {
		return fmt.Errorf("write zeroes, %d bytes at %d: %w", n, off, err)
	}
	return nil
}

// Deallocate tells the target that n bytes at off, both multiples of the block size, are not needed
// any more; what they read as then is the target's choice. It wraps errors.ErrUnsupported where the
// controller has no such command.
func (c *Controller) Deallocate(ctx context.Context, off, n int64) error {
	ns, err := c.bounds(off, n, tcp.ONCSDSM)
	for at, end := off, off+n; err == nil && at < end; {
		length := min(end-at, math.MaxUint32*int64(ns.BlockSize))
		r := tcp.DSMRange{LBA: uint64(at) / uint64(ns.BlockSize), Blocks: uint32(length / int64(ns.BlockSize))}
		sqe := tcp.Command{Opcode: tcp.OpDSM, Flags: tcp.FlagSGL, NSID: ns.ID, CDW11: tcp.DSMDeallocate}
		err = c.do(ctx, "deallocate", sqe, r.Append(nil), false)
		at += length
	}
	if err != nil {
		return fmt.Errorf("deallocate %d bytes at %d: %w", n, off, err)
	}
	return nil
}

// rw returns a command over a range that was checked.
func rw(opcode uint8, ns Namespace, off int64, n int) tcp.Command {
	return tcp.NewRW(opcode, ns.ID, uint64(off)/uint64(ns.BlockSize), n/ns.BlockSize)
}

// span returns the namespace, after checking that a range is aligned to its blocks.
func (c *Controller) span(off, n int64) (Namespace, error) {
	ns := *c.ns.Load()
	if ns == (Namespace{}) {
		if _, err := c.pass(); err != nil {
			return ns, err
		}
		return ns, ErrNoNamespace
	}
	if size := int64(ns.BlockSize); off < 0 || n < 0 || off > math.MaxInt64-n || off%size != 0 || n%size != 0 {
		return ns, fmt.Errorf("%w: blocks have %d bytes", ErrRange, size)
	}
	return ns, nil
}

// bounds is span for a command that the controller need not have, and that ends within the namespace.
func (c *Controller) bounds(off, n int64, oncs uint16) (Namespace, error) {
	ns, err := c.span(off, n)
	switch {
	case err != nil:
		return ns, err
	case off+n > ns.Size:
		return ns, fmt.Errorf("%w: the namespace ends at %d", ErrRange, ns.Size)
	case c.identity.Load().ONCS&oncs == 0:
		return ns, errors.ErrUnsupported
	}
	return ns, nil
}

// pieces calls do for each part of p that one command may carry, several at a time, and returns how
// many bytes from the start were done. After an error no more are begun.
func (c *Controller) pieces(p []byte, do func(piece []byte, at int) error) (int, error) {
	size := c.transfer()
	if len(p) <= size {
		if len(p) == 0 {
			return 0, nil
		}
		if err := do(p, 0); err != nil {
			return 0, err
		}
		return len(p), nil
	}
	var (
		running sync.WaitGroup
		mu      sync.Mutex
		good    = len(p) // the start of the first piece that failed
		cause   error
		slots   = make(chan struct{}, window)
	)
	failed := func() bool { mu.Lock(); defer mu.Unlock(); return cause != nil }
	for at := 0; at < len(p) && !failed(); at += size {
		slots <- struct{}{}
		running.Go(func() {
			defer func() { <-slots }()
			err := do(p[at:min(at+size, len(p))], at)
			mu.Lock()
			defer mu.Unlock()
			if err != nil && at < good {
				good, cause = at, err
			}
		})
	}
	running.Wait()
	return good, cause
}

// transfer returns the most data of one command, in bytes.
func (c *Controller) transfer() int {
	if mdts := c.identity.Load().MDTS; mdts > 0 && mdts < 8 {
		return 4096 << mdts
	}
	return maxTransfer
}

// do runs an I/O command, as often as it takes. data is the caller's again after success and after
// a *StatusError only.
func (c *Controller) do(ctx context.Context, op string, sqe tcp.Command, data []byte, in bool) error {
	for retries := 0; ; {
		g, err := c.pass()
		if err != nil {
			return err
		}
		// Behind the gate: a namespace that became another disk was taken away before it opened.
		if *c.ns.Load() == (Namespace{}) {
			return ErrNoNamespace
		}
		cmd := newCommand(op, sqe)
		cmd.data, cmd.in = data, in
		_, err = g.assoc.io[c.turn.Add(1)%uint32(len(g.assoc.io))].exec(ctx, cmd)
		var status *StatusError
		switch {
		case errors.Is(err, errLost):
			if err := c.leave(ctx, g); err != nil {
				return err
			}
		case errors.As(err, &status) && !status.DNR && retries < maxRetries:
			retries++
		default:
			return err
		}
	}
}

// pass returns the present gate, or why it is over.
func (c *Controller) pass() (*gate, error) {
	g := c.gate.Load()
	return g, g.err
}

// leave waits until another gate has taken the place of g.
func (c *Controller) leave(ctx context.Context, g *gate) error {
	select {
	case <-g.changed:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("controller is %v: %w", c.State(), ctx.Err())
	}
}
