// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package console

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"

	"github.com/rds-csi/rds-csi/rds/routeros"
)

// Do runs one statement.
func (c *Client) Do(ctx context.Context, st Statement) Result { return c.Batch(ctx, st)[0] }

// Print reads rows of a menu.
func (c *Client) Print(ctx context.Context, l List) ([]routeros.Row, error) {
	r := c.Do(ctx, l)
	return r.Rows, r.Err
}

// Batch runs up to MaxBatch statements in order, in one script where they fit into one. There is one
// result for each; one that is refused, stale or malformed keeps no other from running. When ctx ends, or
// the connection fails, those that were answered before have their results all the same.
func (c *Client) Batch(ctx context.Context, statements ...Statement) []Result {
	results := make([]Result, len(statements))
	if len(statements) > MaxBatch {
		for i := range results {
			results[i].Err = fmt.Errorf("%w: %d statements, at most %d go together", routeros.ErrNotSent, len(statements), MaxBatch)
		}
		return results
	}
	for _, s := range pack(statements, results) {
		if !c.play(ctx, s, statements, results) || len(s.index) == 1 {
			continue
		}
		// RouterOS refuses a script as a whole where it does not understand one of its statements.
		for _, i := range s.index {
			alone := newScript(newNonce())
			if _, err := alone.add(i, statements[i]); err == nil {
				c.play(ctx, alone, statements, results)
			}
		}
	}
	return results
}

// play sends a script and files the results of its statements. It reports whether the box refused the
// script as a whole.
func (c *Client) play(ctx context.Context, s *script, statements []Statement, results []Result) (unparsed bool) {
	x, err := c.exchange(ctx, s.text())
	if err != nil {
		for _, i := range s.index {
			results[i] = Result{Err: err}
		}
		return false
	}
	played := make([]Statement, len(s.index))
	for j, i := range s.index {
		played[j] = statements[i]
	}
	told, unparsed := s.results(x, played)
	for j, i := range s.index {
		results[i] = told[j]
	}
	return unparsed
}

// pack makes scripts of statements, in order. Those that cannot be written get their results.
func pack(statements []Statement, results []Result) []*script {
	var scripts []*script
	for i, st := range statements {
		if len(scripts) == 0 {
			scripts = append(scripts, newScript(newNonce()))
		}
		fits, err := scripts[len(scripts)-1].add(i, st)
		if !fits && err == nil {
			next := newScript(newNonce())
			_, err = next.add(i, st)
			scripts = append(scripts, next)
		}
		if err != nil {
			results[i].Err = fmt.Errorf("%w: %w", routeros.ErrNotSent, err)
		}
	}
	kept := scripts[:0]
	for _, s := range scripts {
		if len(s.index) > 0 {
			kept = append(kept, s)
		}
	}
	return kept
}

// newNonce returns what nothing on the box can hold by chance.
func newNonce() string {
	var b [4]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return hex.EncodeToString(b[:])
}
