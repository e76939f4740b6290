// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/rds-csi/rds-csi/nvme/host"
)

// A demoHost stands in for a node's kernel: an NVMe/TCP initiator that connects by a publish
// context, and a VM that writes numbered blocks through it.
type demoHost struct {
	name   string
	nqn    string
	disk   *host.Controller
	states stateLog

	issued  atomic.Uint64 // the number of the last write that was begun
	acked   atomic.Uint64 // of the last one that was acknowledged
	stop    context.CancelFunc
	writers sync.WaitGroup
}

// demoReconnectDelay is the volume's reconnectDelay, in whole seconds.
const demoReconnectDelay = 2 * time.Second

// connectHost connects a node's host as its publish context says.
func connectHost(ctx context.Context, name string, publish map[string]string) (*demoHost, error) {
	id, err := uuid.Parse(publish["nvme_host_id"])
	if err != nil {
		return nil, fmt.Errorf("publish context: host ID: %w", err)
	}
	h := &demoHost{name: name, nqn: publish["nvme_host_nqn"]}
	h.disk, err = host.Connect(ctx, host.Config{
		Address: net.JoinHostPort(publish["nvme_address"], publish["nvme_port"]), SubsystemNQN: publish["nvme_nqn"],
		HostNQN: h.nqn, HostID: id, ReconnectDelay: demoReconnectDelay, CtrlLossTimeout: -1,
		HonorDNR: true, // as kernels from 6.10: the less forgiving ones
		OnState:  h.states.enter,
	})
	if err != nil {
		return nil, fmt.Errorf("connect %s: %w", name, err)
	}
	return h, nil
}

func (h *demoHost) close() error {
	if h.stop != nil {
		h.stop()
	}
	err := h.disk.Close()
	h.writers.Wait()
	return err
}

// A stateLog remembers which states a controller went through.
type stateLog struct {
	mu   sync.Mutex
	seen []string
}

func (l *stateLog) enter(_, now host.State) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seen = append(l.seen, now.String())
}

func (l *stateLog) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seen = nil
}

func (l *stateLog) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.seen...)
}

// A block is what the VM writes: its number and who wrote it, with a checksum, so that a torn or
// foreign block is told from a whole one.
const (
	demoBlock = 4096
	demoRing  = 256 // blocks of the ring that a VM writes round and round
)

func block(who string, seq uint64) []byte {
	b := make([]byte, demoBlock)
	binary.LittleEndian.PutUint64(b, seq)
	copy(b[8:40], who)
	for i := 40; i < demoBlock-4; i++ {
		b[i] = byte(seq + uint64(i)) //nolint:gosec // a pattern, cut off on purpose
	}
	binary.LittleEndian.PutUint32(b[demoBlock-4:], crc32.ChecksumIEEE(b[:demoBlock-4]))
	return b
}

// readBlock returns the number of a block, and false for one that nobody wrote.
func readBlock(b []byte, who string) (uint64, bool, error) {
	if binary.LittleEndian.Uint64(b) == 0 {
		return 0, false, nil
	}
	if binary.LittleEndian.Uint32(b[demoBlock-4:]) != crc32.ChecksumIEEE(b[:demoBlock-4]) {
		return 0, false, errors.New("a block is torn")
	}
	if string(b[8:8+len(who)]) != who {
		return 0, false, fmt.Errorf("a block of %s was overwritten", who)
	}
	return binary.LittleEndian.Uint64(b), true, nil
}

// writeOne writes the next block of the host's ring, which begins at offset base.
func (h *demoHost) writeOne(ctx context.Context, base int64) error {
	seq := h.issued.Add(1)
	off := base + int64(seq%demoRing)*demoBlock //nolint:gosec // smaller than the ring
	if _, err := h.disk.WriteAtContext(ctx, block(h.name, seq), off); err != nil {
		return fmt.Errorf("%s writes block %d: %w", h.name, seq, err)
	}
	for {
		last := h.acked.Load()
		if seq <= last || h.acked.CompareAndSwap(last, seq) {
			return nil
		}
	}
}

// writeOn writes block after block until the host is closed or its disk is gone.
func (h *demoHost) writeOn(base int64) {
	ctx, cancel := context.WithCancel(context.Background())
	h.stop = cancel
	h.writers.Go(func() {
		for ctx.Err() == nil {
			if h.writeOne(ctx, base) != nil {
				return
			}
		}
	})
}

// newest reads a ring from the disk and returns its highest number.
func (h *demoHost) newest(ctx context.Context, who string, base int64) (uint64, error) {
	ring := make([]byte, demoRing*demoBlock)
	if _, err := h.disk.ReadAtContext(ctx, ring, base); err != nil {
		return 0, fmt.Errorf("%s reads the blocks of %s: %w", h.name, who, err)
	}
	var newest uint64
	for i := range demoRing {
		seq, written, err := readBlock(ring[i*demoBlock:(i+1)*demoBlock], who)
		if err != nil {
			return 0, fmt.Errorf("block %d of the ring of %s: %w", i, who, err)
		}
		if written {
			newest = max(newest, seq)
		}
	}
	return newest, nil
}

// awaitAcked waits until a write with a number above seq was acknowledged.
func (h *demoHost) awaitAcked(ctx context.Context, seq uint64) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for h.acked.Load() <= seq {
		select {
		case <-tick.C:
		case <-h.disk.Done():
			return fmt.Errorf("%s: its disk is gone: %w", h.name, h.disk.Err())
		case <-ctx.Done():
			return fmt.Errorf("%s: no write was acknowledged (state %v): %w", h.name, h.disk.State(), ctx.Err())
		}
	}
	return nil
}
