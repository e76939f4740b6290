// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// told is what drivers told of migrations, each signal for itself.
type told struct {
	started       map[route]int // events
	events, spans map[outcome]int
	counted       map[string]int // by result; of all processes that could be asked
	timed         int            // by the histogram
}

// agree reports where the signals contradict each other, or what the script knows. Each migration is told
// once by each signal, with the outcome that KubeVirt said or, where it says nothing, that follows from the
// order of detaches.
//
// A process that was killed, or that gave its lease up, takes along what it had not let out. The next one posts
// the event of the latest migration if it is missing, and neither counts nor traces it (ADR 11). Where that
// happened, a signal may say less than the others, but none says more than what was, nor anything else.
func (t *tally) agree(said told, lost bool) error {
	errs := t.beyond(said)
	if lost {
		return errors.Join(append(errs, t.within(said)...)...)
	}
	for _, o := range outcomes(said.events, said.spans, t.ended) {
		if e, s := said.events[o], said.spans[o]; e != s {
			errs = append(errs, fmt.Errorf("%v: %d events tell of result %s, and %d spans", o.route, e, o.result, s))
		}
		if n := t.ended[o]; said.spans[o] < n {
			errs = append(errs, fmt.Errorf("%v: result %s was told %d times, and was so %d times", o.route, o.result, said.spans[o], n))
		}
	}
	ended, all := map[route]int{}, 0
	for _, result := range results {
		n := 0
		for o, count := range said.spans {
			if o.result == result {
				n += count
				ended[o.route] += count
			}
		}
		if said.counted[result] != n {
			errs = append(errs, fmt.Errorf("the counter has %d times result %s, and there are %d spans", said.counted[result], result, n))
		}
		all += n
	}
	if said.timed != all {
		errs = append(errs, fmt.Errorf("the histogram has %d migrations, and there are %d spans", said.timed, all))
	}
	if !maps.Equal(said.started, ended) {
		errs = append(errs, fmt.Errorf("migrations that were told to have started: %v; that ended: %v", said.started, ended))
	}
	return errors.Join(errs...)
}

// beyond reports what events and spans tell together that was not.
func (t *tally) beyond(said told) (errs []error) {
	more := map[route]int{}
	for _, o := range outcomes(said.events, said.spans) {
		if !slices.Contains(results, o.result) {
			errs = append(errs, fmt.Errorf("%v: there is no result %q", o.route, o.result))
		}
		more[o.route] += max(0, max(said.events[o], said.spans[o])-t.ended[o])
	}
	for r, n := range more {
		if n > t.open[r] {
			errs = append(errs, fmt.Errorf("%v: events %s, spans %s; but what was is %s, and %d more of which the script does not know the end",
				r, of(said.events, r), of(said.spans, r), of(t.ended, r), t.open[r]))
		}
	}
	return errs
}

// within reports what the metrics tell that was not.
func (t *tally) within(said told) (errs []error) {
	open, all := 0, 0
	for _, n := range t.open {
		open += n
	}
	for _, result := range results {
		n := 0
		for o, count := range t.ended {
			if o.result == result {
				n += count
			}
		}
		if said.counted[result] > n+open {
			errs = append(errs, fmt.Errorf("the counter has %d times result %s, which was so %d times", said.counted[result], result, n+open))
		}
		all += n
	}
	if said.timed > all+open {
		errs = append(errs, fmt.Errorf("the histogram has %d migrations, of %d", said.timed, all+open))
	}
	return errs
}

// outcomes returns the keys of all, each once, in order.
func outcomes(all ...map[outcome]int) []outcome {
	var keys []outcome
	for _, counts := range all {
		keys = slices.AppendSeq(keys, maps.Keys(counts))
	}
	slices.SortFunc(keys, func(a, b outcome) int {
		return cmp.Or(cmp.Compare(a.volume, b.volume), cmp.Compare(a.source, b.source), cmp.Compare(a.target, b.target), cmp.Compare(a.result, b.result))
	})
	return slices.Compact(keys)
}

// of renders the results of a route.
func of(counts map[outcome]int, r route) string {
	by := map[string]int{}
	for o, n := range counts {
		if o.route == r {
			by[o.result] += n
		}
	}
	return fmt.Sprint(by)
}
