// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package csi

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/rds-csi/rds-csi/actors"
)

// flights holds the operations under way, one per volume. An operation runs in a goroutine of its
// own: it goes on when its caller gives up, since the kernel does too, and nothing else may start on
// the volume before it ended.
type flights struct {
	timeout time.Duration
	logger  *slog.Logger
	running sync.WaitGroup

	mu       sync.Mutex
	closed   bool
	byVolume map[actors.VolumeID]*flight
}

type flight struct {
	req proto.Message
	// yield ends the flight's context. It is nil, unless the flight gives way to requests.
	yield context.CancelFunc
	done  chan struct{} // closed when the operation ended
	resp  proto.Message // valid once done is closed
	err   error         // valid once done is closed
}

func newFlights(timeout time.Duration, logger *slog.Logger) *flights {
	return &flights{timeout: timeout, logger: logger, byVolume: make(map[actors.VolumeID]*flight)}
}

// fly runs op as the only operation on the volume. If one with an equal request is under way, it
// waits for that one's answer; another one is ErrBusy. When ctx ends first, the answer is
// ErrUnresolved and the operation goes on.
func fly[Req, Resp proto.Message](ctx context.Context, fs *flights, id actors.VolumeID, req Req, op func(context.Context) (Resp, error)) (Resp, error) {
	var none Resp
	f, err := fs.board(ctx, id, req, func(ctx context.Context) (proto.Message, error) { return op(ctx) })
	if err != nil {
		return none, err
	}
	select {
	case <-f.done:
	case <-ctx.Done():
		return none, fmt.Errorf("operation on %s goes on, ask again: %w: %w", id, context.Cause(ctx), actors.ErrUnresolved)
	}
	if f.err != nil {
		return none, f.err
	}
	resp, ok := f.resp.(Resp) // an equal request has the same kind of answer
	if !ok {
		return none, fmt.Errorf("operation on %s answered with a %T", id, f.resp)
	}
	return resp, nil
}

// board returns the flight of an equal request, or a new one, after whatever gives way to requests has.
func (fs *flights) board(ctx context.Context, id actors.VolumeID, req proto.Message, op func(context.Context) (proto.Message, error)) (*flight, error) {
	for {
		f, err := fs.start(ctx, id, req, op)
		if err != nil || f.yield == nil {
			return f, err
		}
		f.yield()
		select {
		case <-f.done:
		case <-ctx.Done():
			return nil, fmt.Errorf("the node still looks after %s, nothing was done, ask again: %w: %w", id, context.Cause(ctx), actors.ErrBusy)
		}
	}
}

// start returns the flight of an equal request, one that gives way, or a new one.
func (fs *flights) start(ctx context.Context, id actors.VolumeID, req proto.Message, op func(context.Context) (proto.Message, error)) (*flight, error) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if fs.closed {
		return nil, fmt.Errorf("node service is shutting down: %w", actors.ErrUnavailable)
	}
	if f := fs.byVolume[id]; f != nil {
		if f.yield == nil && !proto.Equal(f.req, req) {
			return nil, fmt.Errorf("another operation on %s is under way, try again later: %w", id, actors.ErrBusy)
		}
		return f, nil
	}
	f := &flight{req: req, done: make(chan struct{})}
	fs.byVolume[id] = f
	fs.running.Add(1)
	go fs.run(context.WithoutCancel(ctx), id, f, op)
	return f, nil
}

func (fs *flights) run(ctx context.Context, id actors.VolumeID, f *flight, op func(context.Context) (proto.Message, error)) {
	defer fs.running.Done()
	defer func() {
		if p := recover(); p != nil {
			fs.logger.Error("operation panicked", "volume-id", string(id), "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			f.err = fmt.Errorf("operation on %s panicked, see the driver's log: %w", id, actors.ErrUnresolved)
		}
		fs.mu.Lock()
		delete(fs.byVolume, id)
		fs.mu.Unlock()
		close(f.done)
	}()
	ctx, cancel := context.WithTimeout(ctx, fs.timeout)
	defer cancel()
	f.resp, f.err = op(ctx)
}

// aside runs op as the only operation on the volume, unless one is under way. A request for the volume ends op's
// context, and begins when op has returned.
func (fs *flights) aside(ctx context.Context, id actors.VolumeID, op func(context.Context)) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	f := &flight{yield: cancel, done: make(chan struct{})}
	fs.mu.Lock()
	if fs.closed || fs.byVolume[id] != nil {
		fs.mu.Unlock()
		return
	}
	fs.byVolume[id] = f
	fs.running.Add(1)
	fs.mu.Unlock()
	fs.run(ctx, id, f, func(ctx context.Context) (proto.Message, error) {
		op(ctx)
		return nil, nil
	})
}

// close refuses new operations and waits for the running ones.
func (fs *flights) close(ctx context.Context) error {
	fs.mu.Lock()
	fs.closed = true
	for _, f := range fs.byVolume {
		if f.yield != nil {
			f.yield()
		}
	}
	fs.mu.Unlock()
	done := make(chan struct{})
	go func() {
		fs.running.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for operations under way: %w", context.Cause(ctx))
	}
}
