// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package routeros

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// A call is one command between its registration and its answer.
type call struct {
	tag   uint64
	bytes []byte // wire form

	// Owned by Client.mu until donec is closed, and constant from then on.
	sent  bool // the writer has taken the bytes
	size  int  // of the replies so far
	reply Reply
	err   error

	rows  chan Row      // of a listener: closed when the call ends; nil for others
	donec chan struct{} // closed when the call ends
}

// A Result is the outcome of one of several commands.
type Result struct {
	Reply Reply
	Err   error
}

// Run sends a command and waits for its answer. The first word is the command ("/disk/print"), the
// others are attributes ("=name=value") and queries ("?name=value"); tags are the client's.
//
// The error wraps exactly one of ErrNotSent, ErrUnanswered and *Trap. When ctx ends first, Run
// returns at once, tells the router to cancel this command, and drops what it still answers; the
// connection and all other commands go on.
func (c *Client) Run(ctx context.Context, words ...string) (Reply, error) {
	res := c.RunAll(ctx, words)
	return res[0].Reply, res[0].Err
}

// RunAll sends commands back to back, without waiting for an answer in between and with no other
// command of this client among them, and waits for all answers. The results are in the order of the
// commands, each as Run returns it. A refused command does not keep those after it from running.
// Either all of them are sent or none, as far as ErrNotSent tells.
func (c *Client) RunAll(ctx context.Context, commands ...[]string) []Result {
	results := make([]Result, len(commands))
	calls, err := c.start(ctx, 0, commands...)
	if err != nil {
		for i := range results {
			results[i].Err = err
		}
		return results
	}
	for _, cl := range calls {
		select {
		case <-cl.donec:
		case <-ctx.Done():
			c.abandon(context.Cause(ctx), calls...)
			<-cl.donec // closed by abandon, or before it
		}
	}
	for i, cl := range calls {
		results[i] = Result{cl.reply, cl.err}
	}
	return results
}

// start registers the commands and queues them for the writer. An error wraps ErrNotSent.
func (c *Client) start(ctx context.Context, buffer int, commands ...[]string) ([]*call, error) {
	for _, words := range commands {
		if err := checkCommand(words); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrNotSent, err)
		}
	}
	if err := context.Cause(ctx); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotSent, err)
	}
	calls := make([]*call, len(commands))
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotSent, c.err)
	}
	for i, words := range commands {
		calls[i] = c.register(words)
		if buffer > 0 {
			calls[i].rows = make(chan Row, buffer)
		}
		c.queue = append(c.queue, calls[i])
	}
	c.wakeWriter()
	return calls, nil
}

// register gives a command its tag, so that even the fastest answer finds it. c.mu must be held.
func (c *Client) register(words []string) *call {
	// A tag is never used twice on a connection: a late answer cannot be taken for another's.
	c.lastTag++
	cl := &call{tag: c.lastTag, donec: make(chan struct{})}
	tagged := append(words[:len(words):len(words)], ".tag="+strconv.FormatUint(cl.tag, 10))
	cl.bytes = AppendSentence(nil, tagged...)
	c.pending[cl.tag] = cl
	return cl
}

func checkCommand(words []string) error {
	if len(words) == 0 || !strings.HasPrefix(words[0], "/") {
		return errors.New("a command begins with a slash")
	}
	size := 0
	for _, w := range words {
		size += len(w) + wordCost
		switch {
		case w == "":
			return fmt.Errorf("%s has an empty word", words[0])
		case len(w) > MaxWord || size > MaxSentence:
			return fmt.Errorf("%s is too long", words[0])
		case strings.HasPrefix(w, ".tag="):
			return fmt.Errorf("%s has a tag of its own", words[0])
		}
	}
	return nil
}

// abandon ends calls whose caller no longer waits. Those that may have been sent are cancelled on the
// router. All of them are dealt with in one step, so that of several commands queued together none is
// sent alone.
func (c *Client) abandon(cause error, calls ...*call) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, cl := range calls {
		if c.end(cl, cause) && cl.sent {
			c.cancel(cl.tag)
		}
	}
}

// cancel queues the router's command for ending another, whose answer nobody waits for. c.mu must be
// held.
func (c *Client) cancel(tag uint64) {
	if c.err != nil {
		return
	}
	cl := c.register([]string{"/cancel", "=tag=" + strconv.FormatUint(tag, 10)})
	delete(c.pending, cl.tag)
	c.queue = append(c.queue, cl)
	c.wakeWriter()
}

// end ends a call without an answer, and reports false if it has ended before. c.mu must be held.
func (c *Client) end(cl *call, cause error) bool {
	if c.pending[cl.tag] != cl {
		return false
	}
	kind := ErrUnanswered
	if !cl.sent {
		kind = ErrNotSent
		c.queue = slices.DeleteFunc(c.queue, func(q *call) bool { return q == cl })
	}
	c.finish(cl, fmt.Errorf("%w: %w", kind, cause))
	return true
}

// finish hands a call back to its caller. c.mu must be held.
func (c *Client) finish(cl *call, err error) {
	delete(c.pending, cl.tag)
	if cl.err = err; err != nil {
		cl.reply = Reply{}
	}
	if cl.rows != nil {
		close(cl.rows)
	}
	close(cl.donec)
}

// deliver hands a reply to its call. An error means that the connection cannot be trusted any more.
func (c *Client) deliver(words []string) error {
	s, err := parseReply(words)
	if err != nil {
		return err
	}
	if s.kind == "!fatal" {
		return &Fatal{Message: c.redact(s.message)}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.tag == 0 || s.tag > c.lastTag {
		return fmt.Errorf("reply without the tag of a command: %w", ErrMalformed)
	}
	cl, ok := c.pending[s.tag]
	if !ok {
		return nil // late: abandoned, cancelled, or the !done that follows a !trap
	}
	switch s.kind {
	case "!re":
		c.keep(cl, s)
	case "!empty": // since 7.18 in place of no !re at all
	case "!done":
		cl.reply.Done = s.row
		c.finish(cl, nil)
	case "!trap":
		t := s.trap()
		t.Message = c.redact(t.Message)
		c.finish(cl, t)
	default:
		return fmt.Errorf("reply of an unknown kind: %w", ErrMalformed)
	}
	return nil
}

// keep adds a !re to its call. c.mu must be held.
func (c *Client) keep(cl *call, s sentence) {
	if cl.rows == nil {
		if cl.size += s.size; cl.size <= c.maxReply {
			cl.reply.Re = append(cl.reply.Re, s.row)
			return
		}
	} else {
		select {
		case cl.rows <- s.row:
			return
		default:
		}
	}
	c.end(cl, ErrOverflow)
	c.cancel(cl.tag)
}
