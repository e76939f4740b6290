// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel/trace"
)

// report prints the metrics that the story moved, and its traces.
func (st *demoStage) report(ctx context.Context) error {
	after, err := st.scrape(ctx)
	if err != nil {
		return err
	}
	st.printf("\nThe metrics that moved (http://%s/metrics):\n", st.driver.http.Addr())
	for _, series := range slices.Sorted(maps.Keys(after)) {
		if before := st.metrics[series]; after[series] != before && telling(series) {
			st.printf("  %-84s %s\n", series, strconv.FormatFloat(after[series]-before, 'g', 6, 64))
		}
	}
	if err := migrationCounted(after); err != nil {
		return err
	}
	st.printf("\nThe trace of it, and the migration's own:\n\n")
	if err := st.recorder.Print(st.out, st.traces()...); err != nil {
		return err
	}
	return st.err
}

// sendTraces sends what is left of the traces. That they were asked for and cannot be sent is an error.
func (st *demoStage) sendTraces(ctx context.Context, collector string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := st.driver.tel.Flush(ctx); err != nil {
		return fmt.Errorf("--otlp %s: %w", collector, err)
	}
	st.printf("\nThe traces were sent to %s.\n", collector)
	return st.err
}

// traces returns the story's trace and those of migrations. The rest is the driver's own business,
// as when it lists the box's disks for several requests at once.
func (st *demoStage) traces() []trace.TraceID {
	ids := []trace.TraceID{st.trace}
	for _, tree := range st.recorder.Trees() {
		if len(tree.Roots) > 0 && tree.Roots[0].Name == "migration" {
			ids = append(ids, tree.TraceID)
		}
	}
	return ids
}

// telling reports whether a series tells a newcomer something: not a histogram's buckets, and none
// of the runtime's.
func telling(series string) bool {
	return strings.HasPrefix(series, "rds_csi_") && !strings.Contains(series, "_bucket{")
}

// migrationCounted holds the metrics to the story: one migration, which succeeded, is over.
func migrationCounted(m map[string]float64) error {
	for series, want := range map[string]float64{
		`rds_csi_migration_migrations_total{result="success"}`: 1,
		`rds_csi_migration_migrations_total{result="failed"}`:  0,
		`rds_csi_migration_migrations_total{result="timeout"}`: 0,
		`rds_csi_migration_duration_seconds_count`:             1,
		`rds_csi_migration_active_migrations`:                  0,
	} {
		if got, ok := m[series]; !ok || got != want {
			return fmt.Errorf("%s is %v, want %v", series, got, want)
		}
	}
	return nil
}

// scrape reads the driver's metrics as Prometheus does, and returns each series' value.
func (st *demoStage) scrape(ctx context.Context) (map[string]float64, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+st.driver.http.Addr()+"/metrics", nil)
	if err != nil {
		return nil, fmt.Errorf("read the metrics: %w", err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("read the metrics: %w", err)
	}
	defer resp.Body.Close() //nolint:errcheck // it was read
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("read the metrics: %s", resp.Status)
	}
	return parseMetrics(resp.Body)
}

// parseMetrics reads the text format: a series and its value in each line that is no comment.
func parseMetrics(r io.Reader) (map[string]float64, error) {
	out := map[string]float64{}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		line := lines.Text()
		at := strings.LastIndexByte(line, ' ')
		if line == "" || line[0] == '#' || at < 0 {
			continue
		}
		value, err := strconv.ParseFloat(line[at+1:], 64)
		if err != nil {
			return nil, fmt.Errorf("read the metrics: %q: %w", line, err)
		}
		out[line[:at]] = value
	}
	return out, lines.Err()
}
