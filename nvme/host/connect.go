// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rds-csi/rds-csi/nvme/tcp"
)

const (
	adminDepth     = 31      // commands in flight on the admin queue, as in the kernel
	adminInCapsule = 8 << 10 // bytes in a capsule of the admin queue (Transport 1.0, 3.3.2.2)
	pollInterval   = 10 * time.Millisecond
)

// associate makes an association: it connects all queues and learns what the controller and the
// namespace are, in the order in which the kernel does.
func associate(ctx context.Context, cfg Config) (_ *association, err error) {
	a := newAssociation(cfg)
	defer func() {
		if err != nil {
			a.close(err)
		}
	}()
	if err := a.connectAdmin(ctx); err != nil {
		return nil, err
	}
	if err := a.checkIO(); err != nil {
		return nil, err
	}
	n, err := a.grantedQueues(ctx)
	if err != nil {
		return nil, err
	}
	for i := range n {
		if err := a.connectIO(ctx, uint16(i+1)); err != nil {
			return nil, err
		}
	}
	if a.identity.OAES&tcp.NotifyNamespace != 0 {
		if err := a.setFeature(ctx, "enable namespace events", tcp.FeatureAsyncEvents, tcp.NotifyNamespace); err != nil {
			return nil, err
		}
	}
	// After events were enabled: a change that this does not see is told.
	a.ns, err = a.scan(ctx)
	return a, err
}

// connectAdmin connects the admin queue, enables the controller and identifies it.
func (a *association) connectAdmin(ctx context.Context) error {
	w, err := dial(ctx, a.cfg)
	if err != nil {
		return err
	}
	a.admin = a.open(w, 0, adminDepth, adminInCapsule)
	if a.cntlid, err = a.connectQueue(ctx, a.admin, tcp.AnyController); err != nil {
		return err
	}
	if err := a.enable(ctx); err != nil {
		return err
	}
	data, err := a.identify(ctx, "identify controller", tcp.CNSController, 0)
	if err != nil {
		return err
	}
	if a.identity, err = tcp.ParseControllerIdentity(data); err != nil {
		return fmt.Errorf("%w: %w", ErrProtocol, err)
	}
	if a.identity.CNTLID != a.cntlid {
		return fmt.Errorf("%w: controller %d identifies itself as %d", ErrProtocol, a.cntlid, a.identity.CNTLID)
	}
	return nil
}

// connectQueue sends Fabrics Connect and returns the controller ID.
func (a *association) connectQueue(ctx context.Context, q *queue, cntlid uint16) (uint16, error) {
	connect := tcp.Connect{QID: q.id, SQSize: uint16(cap(q.slots.free))} // zero-based: one entry more than commands
	if q.id == 0 && a.cfg.KeepAlive > 0 {
		connect.KATO = uint32(a.cfg.KeepAlive.Milliseconds())
	}
	data := tcp.ConnectData{HostID: a.cfg.HostID, CNTLID: cntlid, SubNQN: a.cfg.SubsystemNQN, HostNQN: a.cfg.HostNQN}
	c := newCommand(fmt.Sprintf("connect queue %d", q.id), connect.Command())
	c.data = data.Append(nil)
	completion, err := a.within(ctx, q, c)
	return uint16(completion.DW0), err
}

// connectIO connects an I/O queue.
func (a *association) connectIO(ctx context.Context, id uint16) error {
	w, err := dial(ctx, a.cfg)
	if err != nil {
		return fmt.Errorf("queue %d: %w", id, err)
	}
	depth := min(a.cfg.QueueDepth, int(a.limits.MaxQueueEntries), int(a.identity.MaxCommands))
	inCapsule := int(a.identity.IOCCSZ)*16 - tcp.CommandLen
	q := a.open(w, id, depth, inCapsule)
	a.io = append(a.io, q)
	_, err = a.connectQueue(ctx, q, a.cntlid)
	return err
}

// enable sets CC.EN and waits for CSTS.RDY (Base 2.0, 3.5.4).
func (a *association) enable(ctx context.Context) error {
	v, err := a.property(ctx, "read CAP", tcp.Property{Offset: tcp.PropCAP, Wide: true}.Get())
	if err != nil {
		return err
	}
	a.limits = tcp.ParseCapabilities(v)
	cc := tcp.Property{Offset: tcp.PropCC, Value: tcp.CCEntrySizes | tcp.CCEnable}
	if _, err := a.property(ctx, "enable", cc.Set()); err != nil {
		return err
	}
	timeout := time.Duration(a.limits.TimeoutHalfSec)*500*time.Millisecond + time.Second
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return a.await(ctx, "wait for ready", tcp.CSTSReady, tcp.CSTSReady)
}

// await polls CSTS until the masked bits have a value.
func (a *association) await(ctx context.Context, op string, mask, value uint64) error {
	for {
		v, err := a.property(ctx, op, tcp.Property{Offset: tcp.PropCSTS}.Get())
		switch {
		case err != nil:
			return err
		case v&mask == value:
			return nil
		case v&tcp.CSTSFatal != 0:
			return fmt.Errorf("%w: %s: the controller has a fatal error", ErrProtocol, op)
		}
		select {
		case <-time.After(pollInterval):
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", op, ctx.Err())
		}
	}
}

func (a *association) property(ctx context.Context, op string, sqe tcp.Command) (uint64, error) {
	completion, err := a.within(ctx, a.admin, newCommand(op, sqe))
	return completion.Result(), err
}

// grantedQueues asks for I/O queues and returns how many there will be.
func (a *association) grantedQueues(ctx context.Context) (int, error) {
	n := uint32(a.cfg.Queues - 1)
	sqe := tcp.Command{Opcode: tcp.OpSetFeatures, Flags: tcp.FlagSGL, CDW10: tcp.FeatureNumberOfQueues, CDW11: n | n<<16}
	completion, err := a.within(ctx, a.admin, newCommand("set number of queues", sqe))
	if err != nil {
		return 0, err
	}
	granted := min(completion.DW0&0xffff, completion.DW0>>16)
	return int(min(granted, n)) + 1, nil
}

func (a *association) setFeature(ctx context.Context, op string, feature uint8, value uint32) error {
	sqe := tcp.Command{Opcode: tcp.OpSetFeatures, Flags: tcp.FlagSGL, CDW10: uint32(feature), CDW11: value}
	_, err := a.within(ctx, a.admin, newCommand(op, sqe))
	return err
}

// within runs a command that has AdminTimeout for its answer. One that gets none ends the
// association, because its slot and its data would be lost for good.
func (a *association) within(ctx context.Context, q *queue, c *command) (tcp.Completion, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, a.cfg.AdminTimeout, errTimeout)
	defer cancel()
	completion, err := q.exec(ctx, c)
	switch {
	case err == nil:
	case errors.Is(err, errLost):
		err = fmt.Errorf("%s: %w", c.op, a.cause())
	case ctx.Err() != nil:
		err = fmt.Errorf("%s: %w", c.op, context.Cause(ctx))
		if errors.Is(err, errTimeout) {
			a.fail(err)
		}
	}
	return completion, err
}

// checkIO reports what an I/O controller lacks. The kernel refuses the same.
func (a *association) checkIO() error {
	id := a.identity
	var lacks string
	switch {
	case id.Type == tcp.ControllerDiscovery:
		lacks = "it is a discovery controller"
	case id.KAS == 0 && a.cfg.KeepAlive > 0:
		lacks = "no keep alive (KAS 0)"
	case id.SGLS&tcp.SGLSFabrics != tcp.SGLSFabrics:
		lacks = fmt.Sprintf("SGLS %#x", id.SGLS)
	case id.MaxCommands == 0:
		lacks = "MAXCMD 0"
	case id.IOCCSZ < 4 || id.IOCCSZ > maxTransfer/16:
		lacks = fmt.Sprintf("IOCCSZ %d", id.IOCCSZ)
	case id.IORCSZ < 1:
		lacks = "IORCSZ 0"
	case id.ICDOFF != 0:
		lacks = fmt.Sprintf("ICDOFF %d", id.ICDOFF)
	case a.limits.MaxQueueEntries == 0:
		lacks = "MQES 0"
	default:
		return nil
	}
	return fmt.Errorf("%w: controller not usable: %s", ErrProtocol, lacks)
}
