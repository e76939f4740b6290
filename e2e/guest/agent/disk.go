// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rds-csi/rds-csi/e2e/guest/api"
)

// writers are the writers under way, by name.
type writers struct {
	mu   sync.Mutex
	all  map[string]*writing
	held chan struct{} // closed when those that are held may go on
}

// A writing is one writer's.
type writing struct {
	api.Writes
	stop func()
	held <-chan struct{}
	done chan struct{} // closed when it writes no more

	mu   sync.Mutex
	told api.Written
	news chan struct{} // closed when told changes
}

// retryPause is the time between a write that failed and its repetition.
const retryPause = 500 * time.Millisecond

// begin starts a writer.
func (ws *writers) begin(_ context.Context, w api.Writes) (nothing, error) {
	if err := w.Ring.Check(); err != nil {
		return nothing{}, err
	}
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if _, ok := ws.all[w.Name]; ok {
		return nothing{}, fmt.Errorf("%s writes already", w.Name)
	}
	flags, ok := ways[w.Way]
	if !ok {
		return nothing{}, fmt.Errorf("%q is no way to write", w.Way)
	}
	f, err := os.OpenFile(w.Path, os.O_WRONLY|os.O_CREATE|unix.O_CLOEXEC|flags, 0o600)
	if err != nil {
		return nothing{}, err
	}
	buf, err := aligned(w.Ring.Write())
	if err != nil {
		return nothing{}, errors.Join(err, f.Close())
	}
	ctx, stop := context.WithCancel(context.Background())
	run := &writing{Writes: w, stop: stop, held: ws.held, done: make(chan struct{}), told: api.Written{Errors: map[string]int{}}, news: make(chan struct{})}
	ws.all[w.Name] = run
	go func() {
		defer close(run.done)
		run.run(ctx, f, buf)
		_ = errors.Join(f.Close(), unix.Munmap(buf)) // nothing is behind an O_DIRECT write
	}()
	return nothing{}, nil
}

// ways are the flags of open for each way to write.
var ways = map[api.Way]int{
	api.Direct:   unix.O_DIRECT,
	api.Durable:  unix.O_DIRECT | unix.O_DSYNC,
	api.Buffered: 0,
}

// aligned returns memory as direct I/O takes it: whole pages.
func aligned(size int) ([]byte, error) {
	return unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
}

// run writes until it has written all or its context ends.
func (w *writing) run(ctx context.Context, f *os.File, buf []byte) {
	for n := uint64(1); w.Count == 0 || n <= w.Count; n++ {
		if w.Hold != 0 && n > w.Hold {
			select {
			case <-w.held:
			case <-ctx.Done():
				return
			}
		}
		w.Ring.Fill(buf, n)
		w.note(func(told *api.Written) { told.Begun = n })
		for {
			if ctx.Err() != nil {
				return
			}
			began := time.Now()
			err := w.write(f, buf, n)
			took := time.Since(began)
			w.note(func(told *api.Written) {
				told.Longest = max(told.Longest, took)
				if err != nil {
					told.Errors[errorName(err)]++
					return
				}
				told.Acked = n
			})
			if err == nil {
				break
			}
			pause(ctx, retryPause)
		}
		pause(ctx, w.Pause)
	}
}

func (w *writing) write(f *os.File, buf []byte, n uint64) error {
	if _, err := f.WriteAt(buf, w.Ring.Offset(n)); err != nil || w.Way != api.Buffered {
		return err
	}
	// Not fsync, which would have the device flush its caches, too.
	return unix.SyncFileRange(int(f.Fd()), w.Ring.Offset(n), int64(len(buf)), unix.SYNC_FILE_RANGE_WRITE_AND_WAIT)
}

func pause(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// errorName is the name of the kernel's error, such as EIO.
func errorName(err error) string {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return unix.ErrnoName(errno)
	}
	return err.Error()
}

func (w *writing) note(change func(*api.Written)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change(&w.told)
	close(w.news)
	w.news = make(chan struct{})
}

// written tells what was written so far, and when there is more to tell.
func (w *writing) written() (told api.Written, news <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	told = w.told
	told.Errors = maps.Clone(told.Errors)
	return told, w.news
}

func (ws *writers) writing(name string) (*writing, error) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	w, ok := ws.all[name]
	if !ok {
		return nil, fmt.Errorf("%s does not write", name)
	}
	return w, nil
}

// ask tells what a writer has written so far.
func (ws *writers) ask(_ context.Context, n api.Name) (api.Written, error) {
	w, err := ws.writing(n.Name)
	if err != nil {
		return api.Written{}, err
	}
	told, _ := w.written()
	return told, nil
}

// release lets all writers go on that are held.
func (ws *writers) release(context.Context, nothing) (nothing, error) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	close(ws.held)
	ws.held = make(chan struct{})
	return nothing{}, nil
}

// await waits until a writer has written so much.
func (ws *writers) await(ctx context.Context, wait api.Wait) (api.Written, error) {
	w, err := ws.writing(wait.Name)
	if err != nil {
		return api.Written{}, err
	}
	told, news := w.written()
	for ; told.Acked < wait.Acked; told, news = w.written() {
		select {
		case <-news:
		case <-w.done:
			if told, _ = w.written(); told.Acked < wait.Acked {
				return told, fmt.Errorf("%s has ended after %d writes", wait.Name, told.Acked)
			}
		case <-ctx.Done():
			return told, context.Cause(ctx)
		}
	}
	return told, nil
}

// end ends a writer, waits for the write under way, and forgets it.
func (ws *writers) end(ctx context.Context, n api.Name) (api.Written, error) {
	w, err := ws.writing(n.Name)
	if err != nil {
		return api.Written{}, err
	}
	w.stop()
	select {
	case <-w.done:
	case <-ctx.Done():
		return api.Written{}, fmt.Errorf("a write of %s does not end: %w", n.Name, context.Cause(ctx))
	}
	ws.mu.Lock()
	delete(ws.all, n.Name)
	ws.mu.Unlock()
	told, _ := w.written()
	return told, nil
}

// verify reads a ring past all caches and compares it.
func verify(_ context.Context, v api.Verification) (none nothing, err error) {
	if err := v.Ring.Check(); err != nil {
		return none, err
	}
	f, err := os.OpenFile(v.Path, os.O_RDONLY|unix.O_DIRECT|unix.O_CLOEXEC, 0)
	if err != nil {
		return none, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	buf, err := aligned(v.Ring.Length())
	if err != nil {
		return none, err
	}
	defer func() { err = errors.Join(err, unix.Munmap(buf)) }()
	// A file ends where its writer was at last; behind that is nothing.
	if _, err := f.ReadAt(buf, v.Ring.Base); err != nil && !errors.Is(err, io.EOF) {
		return none, fmt.Errorf("read the ring of %s: %w", v.Ring.Writer, err)
	}
	if v.Lost {
		return none, v.Ring.VerifyLost(buf, v.Acked)
	}
	return none, v.Ring.Verify(buf, v.Begun, v.Acked)
}

// What ext4 and xfs take for their end (Linux, include/uapi/linux/fs.h of 6.11 and later; ext4 and xfs have their own
// names for the same before): what was not written yet is lost, and what is asked of the file system fails.
const (
	iocShutdown       = 0x8004587d // _IOR('X', 125, u32)
	shutdownNoLogging = 2
)

// shutDown lets a file system fail.
func shutDown(_ context.Context, p api.Path) (none nothing, err error) {
	f, err := os.Open(p.Path)
	if err != nil {
		return none, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := unix.IoctlSetPointerInt(int(f.Fd()), iocShutdown, shutdownNoLogging); err != nil {
		return none, fmt.Errorf("shut down %s: %w", p.Path, err)
	}
	return none, nil
}
