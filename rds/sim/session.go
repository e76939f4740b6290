// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rds-csi/rds-csi/rds/routeros"
)

// A session is one API connection. One goroutine reads, one writes, and each command under way has
// one.
type session struct {
	box    *boot
	conn   net.Conn
	raw    net.Conn // below TLS
	number uint64
	log    *slog.Logger

	ctx    context.Context // ends with the connection
	cancel context.CancelFunc

	out      chan []byte // batches of sentences for the writer; nil: the last was before
	torn     atomic.Bool // what is sent ends within an answer, and the connection with it
	loggedIn bool        // the reader's
	rights   policies    // of the account when it logged in; the reader's
	order    order       // the reader's

	mu      sync.Mutex
	serial  uint64
	running map[uint64]running
}

// running is a command under way.
type running struct {
	tag    string
	cancel context.CancelCauseFunc
}

// newSession returns a session that is over TLS where conf is not nil.
func newSession(ctx context.Context, box *boot, conn net.Conn, conf *tls.Config, number uint64) *session {
	s := &session{
		box: box, raw: conn, number: number,
		log:     box.log.With("session", number, "peer", conn.RemoteAddr().String()),
		out:     make(chan []byte, maxBatches),
		running: map[uint64]running{},
	}
	s.ctx, s.cancel = context.WithCancel(ctx)
	s.conn = box.gate.through(conn, s.ctx.Done())
	if conf != nil {
		s.conn = tls.Server(s.conn, conf)
	}
	return s
}

// run serves the connection until it ends. leave is called before the peer can see that end, so
// that it finds its place free.
func (s *session) run(leave func()) {
	defer func() { _ = s.conn.Close() }()
	defer s.cancel()
	defer leave()
	// The connection is cut below TLS, which would say goodbye.
	defer context.AfterFunc(s.ctx, func() { _ = s.raw.Close() })()
	written := make(chan struct{})
	go func() {
		defer close(written)
		s.write()
		if s.torn.Load() {
			leave()
			s.cancel()
		}
	}()
	s.log.Debug("API session begins")
	err := s.read()
	if errors.Is(err, errLastWord) {
		s.send(nil)
	} else {
		s.cancel()
	}
	<-written
	s.log.Debug("API session ends", "reason", err)
}

// end ends the connection.
func (s *session) end() { s.cancel() }

// errLastWord ends a session after what was sent is written.
var errLastWord = errors.New("connection closed by the box")

// read takes sentences and starts commands. The error says why it ended.
func (s *session) read() error {
	if err := s.conn.SetReadDeadline(time.Now().Add(loginTimeout)); err != nil {
		return err
	}
	r := routeros.NewReader(s.conn)
	for {
		words, err := r.ReadSentence()
		if err != nil {
			return err
		}
		if err := s.sentence(words); err != nil {
			return err
		}
	}
}

// sentence answers a sentence or starts the command that will.
func (s *session) sentence(words []string) error {
	c, err := parseCommand(words)
	c.Session, c.Transport = s.number, "api"
	a := &answer{s: s, c: c}
	switch {
	case c.Name == "/login":
		s.login(c, a)
	case !s.loggedIn:
		return s.fatal("not logged in")
	case err != nil:
		a.fail(err)
	case c.Name == "/quit":
		return s.fatal("session terminated on request")
	case c.Name == "/cancel":
		s.cancelTag(c, a)
	default:
		s.start(c, a)
	}
	return nil
}

// fatal tells the client why the box closes the connection.
func (s *session) fatal(reason string) error {
	s.send(routeros.AppendSentence(nil, "!fatal", reason))
	return errLastWord
}

// send gives sentences to the writer.
func (s *session) send(b []byte) {
	select {
	case s.out <- b:
	case <-s.ctx.Done():
	}
}

// write writes what commands send, until the connection ends or a nil batch comes. It ends a
// connection on which it cannot write.
func (s *session) write() {
	for {
		select {
		case b := <-s.out:
			if b == nil {
				return
			}
			err := s.conn.SetWriteDeadline(time.Now().Add(writeTimeout))
			if err == nil {
				_, err = s.conn.Write(b)
			}
			if err != nil {
				s.cancel()
				return
			}
		case <-s.ctx.Done():
			return
		}
	}
}

// begin registers a command under way and returns its context and the function that ends it. ok is
// false where there are too many.
func (s *session) begin(parent context.Context, tag string) (ctx context.Context, end func(), ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.running) >= maxCommands {
		return nil, nil, false
	}
	ctx, cancel := context.WithCancelCause(parent)
	s.serial++
	n := s.serial
	s.running[n] = running{tag: tag, cancel: cancel}
	return ctx, func() {
		cancel(nil)
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.running, n)
	}, true
}

// cancelTag carries out /cancel: of one tag, or of all commands under way.
func (s *session) cancelTag(c Command, a *answer) {
	s.box.counts.add(c.Name)
	tag, one := c.arg("tag")
	found := !one
	s.mu.Lock()
	for _, r := range s.running {
		if !one || r.tag == tag {
			r.cancel(errInterrupted)
			found = true
		}
	}
	s.mu.Unlock()
	if !found {
		a.fail(errNoCommand)
		return
	}
	a.done()
}
