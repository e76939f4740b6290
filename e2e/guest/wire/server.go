// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
)

// A Handler does what is asked for. Its result is sent in JSON; an error is sent as its text.
type Handler func(ctx context.Context, args json.RawMessage) (result any, err error)

// Handle returns the Handler of a function that takes its arguments decoded.
func Handle[A, R any](f func(ctx context.Context, args A) (R, error)) Handler {
	return func(ctx context.Context, text json.RawMessage) (any, error) {
		var args A
		if err := json.Unmarshal(text, &args); err != nil {
			return nil, fmt.Errorf("read the arguments: %w", err)
		}
		return f(ctx, args)
	}
}

// Serve answers requests until the connection ends, and returns why when all handlers have returned. An end of
// ctx ends the handlers; to end Serve, close the connection.
func Serve(ctx context.Context, conn io.ReadWriter, handlers map[string]Handler) error {
	s := &server{out: writer{w: conn}, handlers: handlers, cancel: map[uint64]context.CancelFunc{}}
	defer s.underWay.Wait()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	in := newReader(conn)
	for {
		m, err := in.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read requests: %w", err)
		}
		switch {
		case m.Cancel:
			s.end(m.ID)
		case m.Op != "":
			s.begin(ctx, m)
		}
	}
}

type server struct {
	out      writer
	handlers map[string]Handler
	underWay sync.WaitGroup

	mu     sync.Mutex
	cancel map[uint64]context.CancelFunc // of requests under way
}

func (s *server) begin(ctx context.Context, m message) {
	ctx, cancel := context.WithCancel(ctx)
	s.mu.Lock()
	s.cancel[m.ID] = cancel
	s.mu.Unlock()
	s.underWay.Go(func() {
		answer := s.answer(ctx, m)
		s.end(m.ID)
		// A caller that cannot be reached is not waited for.
		if s.out.send(answer) != nil {
			_ = s.out.send(message{ID: m.ID, Done: true, Error: "the answer cannot be sent"})
		}
	})
}

// end ends the context of a request.
func (s *server) end(id uint64) {
	s.mu.Lock()
	cancel := s.cancel[id]
	delete(s.cancel, id)
	s.mu.Unlock()
	if cancel != nil {
		cancel()
	}
}

func (s *server) answer(ctx context.Context, m message) message {
	answer := message{ID: m.ID, Done: true}
	handler, ok := s.handlers[m.Op]
	if !ok {
		answer.Error = fmt.Sprintf("there is no operation %.64q", m.Op)
		return answer
	}
	result, err := handler(ctx, m.Args)
	if err == nil {
		answer.Result, err = json.Marshal(result)
	}
	if err != nil {
		answer.Result, answer.Error = nil, err.Error()
	}
	return answer
}
