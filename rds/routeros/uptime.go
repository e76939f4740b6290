// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package routeros

import (
	"strconv"
	"strings"
	"time"
)

// Uptime reads an uptime as RouterOS writes it, in whole seconds: 1w2d3h4m5s, or 1w2d03:04:05 in the console.
// What it cannot read is zero.
func Uptime(text string) (d time.Duration) {
	units := map[byte]time.Duration{'w': 7 * 24 * time.Hour, 'd': 24 * time.Hour, 'h': time.Hour, 'm': time.Minute, 's': time.Second}
	number := 0
	for i := range len(text) {
		if unit, ok := units[text[i]]; ok {
			n, err := strconv.Atoi(text[number:i])
			if err != nil {
				return 0
			}
			d += time.Duration(n) * unit
			number = i + 1
		}
	}
	var clock time.Duration
	for part := range strings.SplitSeq(text[number:], ":") {
		n, err := strconv.Atoi(part)
		if err != nil {
			return d
		}
		clock = clock*60 + time.Duration(n)*time.Second
	}
	return d + clock
}
