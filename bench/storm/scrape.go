// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// commandCount is the driver's count of the commands that it sent to the box, by kind and result.
const commandCount = "rds_csi_rds_command_duration_seconds_count"

// sumBy adds up the samples of one metric by the value of one label, in Prometheus's text format. A
// metric without samples makes an empty map: nothing was counted yet. The labels' values must be
// free of quotes, as those of words are.
func sumBy(r io.Reader, metric, label string) (map[string]float64, error) {
	sums := map[string]float64{}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		line := lines.Text()
		rest, ok := strings.CutPrefix(line, metric+"{")
		if !ok {
			continue
		}
		labels, value, ok := strings.Cut(rest, "}")
		v, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
		if !ok || err != nil {
			return nil, fmt.Errorf("the sample %.200q has no number", line)
		}
		sums[labelIn(labels, label)] += v
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read the metrics: %w", err)
	}
	return sums, nil
}

// labelIn returns a label's value, or nothing where it is missing.
func labelIn(labels, name string) string {
	for pair := range strings.SplitSeq(labels, ",") {
		if key, value, _ := strings.Cut(pair, "="); key == name {
			return strings.Trim(value, `"`)
		}
	}
	return ""
}
