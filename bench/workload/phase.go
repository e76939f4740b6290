// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// A call is one RPC for a volume, by its index. What it returns is the context of the answer.
type call func(ctx context.Context, volume int) (map[string]string, error)

// all calls do for every volume, copies times at once, from as many workers as the storm has, and
// keeps the measurement as a phase. It returns the answers by volume and copy.
func (s *storm) all(ctx context.Context, phase string, copies int, do call) ([][]map[string]string, error) {
	before, err := s.commands(ctx)
	if err != nil {
		return nil, err
	}
	latencies := make([]time.Duration, copies*len(s.ids))
	answers := make([][]map[string]string, len(s.ids))
	for v := range answers {
		answers[v] = make([]map[string]string, copies)
	}
	var next atomic.Int64
	workers, ctx2 := errgroup.WithContext(ctx)
	start := time.Now()
	for range s.cfg.Workers {
		workers.Go(func() error {
			for {
				v := int(next.Add(1)) - 1
				if v >= len(s.ids) {
					return nil
				}
				if err := s.copies(ctx2, v, answers[v], latencies[copies*v:copies*(v+1)], do); err != nil {
					return fmt.Errorf("volume %s: %w", s.ids[v], err)
				}
			}
		})
	}
	err = workers.Wait()
	elapsed := time.Since(start)
	if err != nil {
		return nil, err
	}
	after, err := s.commands(ctx)
	if err != nil {
		return nil, err
	}
	s.phases = append(s.phases, Phase{
		Name: phase, Elapsed: elapsed, Latencies: latencies, Commands: since(before, after),
	})
	return answers, nil
}

// copies sends one volume's calls at once and waits for all answers.
func (s *storm) copies(ctx context.Context, v int, answers []map[string]string, latencies []time.Duration, do call) error {
	if len(answers) == 1 {
		var err error
		answers[0], latencies[0], err = s.timed(ctx, v, do)
		return err
	}
	var g errgroup.Group
	for i := range answers {
		g.Go(func() (err error) {
			answers[i], latencies[i], err = s.timed(ctx, v, do)
			return err
		})
	}
	return g.Wait()
}

func (s *storm) timed(ctx context.Context, v int, do call) (map[string]string, time.Duration, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, s.cfg.CallTimeout, errSilent)
	defer cancel()
	start := time.Now()
	answer, err := do(ctx, v)
	d := time.Since(start)
	// The server knows the deadline too, and may give up a moment before the timer here fires.
	if err != nil && (errors.Is(context.Cause(ctx), errSilent) || status.Code(err) == codes.DeadlineExceeded) {
		err = fmt.Errorf("%w after %v", errSilent, s.cfg.CallTimeout)
	}
	return answer, d, err
}

var errSilent = errors.New("no answer")

func (s *storm) commands(ctx context.Context) (map[string]float64, error) {
	if s.cfg.Commands == nil {
		return nil, nil
	}
	n, err := s.cfg.Commands(ctx)
	if err != nil {
		return nil, fmt.Errorf("count the box's commands: %w", err)
	}
	return n, nil
}

// since returns what a count has grown by, kind by kind, without those that have not.
func since(before, after map[string]float64) map[string]float64 {
	if after == nil {
		return nil
	}
	grown := map[string]float64{}
	for kind, n := range after {
		if n > before[kind] {
			grown[kind] = n - before[kind]
		}
	}
	return grown
}
