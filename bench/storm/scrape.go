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

// sumOf adds up the samples of one metric, over all labels, in Prometheus's text format. A metric
// without samples is 0: nothing was counted yet.
func sumOf(r io.Reader, metric string) (float64, error) {
	var sum float64
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		line := lines.Text()
		rest, ok := strings.CutPrefix(line, metric)
		if !ok || rest == "" || (rest[0] != '{' && rest[0] != ' ') {
			continue
		}
		value := rest[strings.LastIndexByte(rest, '}')+1:] // none of the labels holds a brace
		v, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
		if err != nil {
			return 0, fmt.Errorf("read the sample %.200q: %w", line, err)
		}
		sum += v
	}
	if err := lines.Err(); err != nil {
		return 0, fmt.Errorf("read the metrics: %w", err)
	}
	return sum, nil
}
