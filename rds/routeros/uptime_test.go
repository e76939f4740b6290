// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package routeros

import (
	"testing"
	"time"
)

func TestUptime(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"0s": 0, "1w2d3h4m5s": (9*24+3)*time.Hour + 4*time.Minute + 5*time.Second, "3w2d": 23 * 24 * time.Hour,
		"2d03:04:05": 51*time.Hour + 4*time.Minute + 5*time.Second, "00:00:07": 7 * time.Second, "long": 0,
	} {
		if got := Uptime(text); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}
