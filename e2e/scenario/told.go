// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/rds-csi/rds-csi/actors"
	"github.com/rds-csi/rds-csi/e2e/driver"
)

// The driver's names, as its users have them.
const (
	migrationsTotal = "rds_csi_migration_migrations_total"
	durationCount   = "rds_csi_migration_duration_seconds_count"
	migrationSpan   = "migration"
	volumeAttribute = "rds_csi.volume.id"
)

// attributes of spans by the words of scripts.
var attributes = map[string]string{
	"result": "rds_csi.migration.result", "source": "rds_csi.migration.source", "target": "rds_csi.migration.target",
	"decided-by": "rds_csi.migration.decided_by",
}

// migrationEvent is what an event says of a migration: the volume, what became of it, its nodes, and why.
var migrationEvent = regexp.MustCompile(`^\[(\S+)\]: KubeVirt live migration (\w+) - source: ([^ ,]+)(?:,| ->) (?:attempted )?target: ([^ ,]+)(?:, reason: (.*))?`)

// span counts the spans of a claim's volume that have a name, and some attributes.
func span(ctx context.Context, w *world, args []string) error {
	ws, err := parse(args, 2, "result", "source", "target", "decided-by")
	if err != nil {
		return err
	}
	id, err := w.volumeOf(ctx, ws.plain[0])
	if err != nil {
		return err
	}
	want := -1
	if len(ws.plain) > 2 {
		if want, err = strconv.Atoi(ws.plain[2]); err != nil {
			return fmt.Errorf("read the number: %w", err)
		}
	}
	return eventually(ctx, func(context.Context) error {
		got, all := 0, []map[string]string{}
		for _, s := range w.traces.Spans(ws.plain[1]) {
			if s.Attributes[volumeAttribute] != string(id) {
				continue
			}
			all = append(all, s.Attributes)
			if matches(s.Attributes, ws.keyed) {
				got++
			}
		}
		if got == want || want < 0 && got > 0 {
			return nil
		}
		return fmt.Errorf("claim %s has %d such spans %s, of %v", ws.plain[0], got, ws.plain[1], all)
	})
}

// matches reports whether a span has the attributes that a script names.
func matches(has, wanted map[string]string) bool {
	for word, value := range wanted {
		if has[attributes[word]] != value {
			return false
		}
	}
	return true
}

// saidBySpans is what spans tell of migrations.
func (w *world) saidBySpans() (map[outcome]int, error) {
	said := map[outcome]int{}
	for _, s := range w.traces.Spans(migrationSpan) {
		o := outcome{
			route{actors.VolumeID(s.Attributes[volumeAttribute]), s.Attributes[attributes["source"]], s.Attributes[attributes["target"]]},
			s.Attributes[attributes["result"]],
		}
		if s.Failed != (o.result != success) {
			return nil, fmt.Errorf("a span of %v with result %s has failed: %t", o.route, o.result, s.Failed)
		}
		said[o]++
	}
	return said, nil
}

// saidByEvents is what events tell of migrations.
func (w *world) saidByEvents(ctx context.Context) (started map[route]int, ended map[outcome]int, err error) {
	events, err := w.control.Client().CoreV1().Events(w.namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, nil, fmt.Errorf("list events: %w", err)
	}
	started, ended = map[route]int{}, map[outcome]int{}
	for _, e := range events.Items {
		if !strings.HasPrefix(e.Reason, "Migration") {
			continue
		}
		m := migrationEvent.FindStringSubmatch(e.Message)
		if m == nil {
			return nil, nil, fmt.Errorf("event %s says %q", e.Reason, e.Message)
		}
		r, n := route{actors.VolumeID(m[1]), m[3], m[4]}, int(max(e.Count, 1))
		switch what := e.Reason + " " + m[2]; {
		case what == "MigrationStarted started":
			started[r] += n
		case what == "MigrationCompleted completed":
			ended[outcome{r, success}] += n
		case what == "MigrationFailed failed" && tookTooLong(m[5]):
			ended[outcome{r, timeout}] += n
		case what == "MigrationFailed failed":
			ended[outcome{r, failed}] += n
		default:
			return nil, nil, fmt.Errorf("event %s says %q", e.Reason, e.Message)
		}
	}
	return started, ended, nil
}

// tookTooLong reports whether a failure's reason is that time ran out, as the driver that decided so tells it, or
// the one that came after it.
func tookTooLong(reason string) bool {
	return strings.HasPrefix(reason, "not finished after") || strings.HasPrefix(reason, "timeout")
}

// count adds what a driver's metrics tell of migrations.
func (t *told) count(ctx context.Context, d *driver.Driver) error {
	series, err := d.Metrics(ctx)
	if err != nil {
		return err
	}
	for _, result := range results {
		t.counted[result] += int(series[migrationsTotal+`{result="`+result+`"}`])
	}
	t.timed += int(series[durationCount])
	return nil
}

// countBefore keeps what the driver's metrics tell before it is killed. One that is frozen says nothing.
func (w *world) countBefore(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	_ = w.dead.count(ctx, w.driver) // less is known then, which is allowed for
}

// settle waits until all signals agree about the migrations of a scenario whose pods have ended.
func (w *world) settle(ctx context.Context) (told, error) {
	var said told
	err := eventually(ctx, func(ctx context.Context) (err error) {
		said = told{counted: map[string]int{}, timed: w.dead.timed}
		for result, n := range w.dead.counted {
			said.counted[result] = n
		}
		for _, d := range w.controllers() {
			if err := said.count(ctx, d); err != nil {
				return err
			}
		}
		return w.agreeOn(ctx, &said)
	})
	return said, err
}

// agreeOn reads events and spans, and compares all signals.
func (w *world) agreeOn(ctx context.Context, said *told) (err error) {
	if said.started, said.events, err = w.saidByEvents(ctx); err != nil {
		return err
	}
	if said.spans, err = w.saidBySpans(); err != nil {
		return err
	}
	lost := false
	for _, d := range w.controllers() {
		lost = lost || d.Lost()
	}
	return w.tally.agree(*said, lost)
}

func (w *world) controllers() (all []*driver.Driver) {
	for _, d := range []*driver.Driver{w.driver, w.standby} {
		if d != nil {
			all = append(all, d)
		}
	}
	return all
}
