// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"slices"
	"strings"
	"testing"
)

func TestAWitnessUnderstandsTheKernel(t *testing.T) {
	for want, log := range map[string]string{
		"kept its connection": `
<6>[   12.000000] nvme nvme1: Successfully reconnected (1 attempt)
<6>[   12.000000] nvme nvme21: Removing controller (16770)...`,
		"reset its connection": `
<6>[   12.000000] nvme nvme2: creating 1 I/O queues.
<6>[   12.000000] nvme nvme2: mapped 1/0/0 default/read/poll queues.`,
		"reconnected at attempt 1": `
<4>[   10.000000] nvme nvme2: starting error recovery
<6>[   10.000000] nvme nvme2: Reconnecting in 2 seconds...
<6>[   12.000000] nvme nvme2: creating 1 I/O queues.
<6>[   12.000000] nvme nvme2: Successfully reconnected (1 attempt)`,
		"reconnected at attempt 13, gave the controller up": `
<6>[   12.000000] nvme nvme2: Successfully reconnected (attempt 13/-1)
<6>[   12.000000] nvme nvme2: Removing controller (16770)...`,
		"gave the controller up": `<6>[   12.000000] nvme nvme2: Removing controller...`,
	} {
		if got := did(ofController(strings.Split(log, "\n"), "nvme2")); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	log := `
<6>[   35.559485] nvme nvme1: Failed reconnect attempt 1
<6>[   61.749139] nvme nvme2: Failed reconnect attempt 1/-1
<6>[   63.749139] nvme nvme2: Failed reconnect attempt 2/-1`
	if got := failed(ofController(strings.Split(log, "\n"), "nvme2")); got != 2 {
		t.Errorf("got %d failed attempts", got)
	}
}

func TestAWitnessUnderstandsTheDriver(t *testing.T) {
	log := `time=2026-01-02T03:04:05Z level=WARN msg="a volume's condition has changed" volume-id=pvc-1 condition=waiting message="the connection is lost"
time=2026-01-02T03:04:06Z level=WARN msg="a volume's condition has changed" volume-id=pvc-2 condition=lost message=""
time=2026-01-02T03:04:07Z level=WARN msg="trouble with a volume" reason=ConnectionFailure volume-id=pvc-1 text=""
time=2026-01-02T03:04:10Z level=INFO msg="a volume's condition has changed" volume-id=pvc-1 condition=healthy message=""
`
	v := &Volume{ID: "pvc-1"}
	if got := said(log, changed, v); !slices.Equal(got, []string{"waiting", "healthy"}) {
		t.Errorf("it was in the conditions %v", got)
	}
	if got := said(log, reported, v); !slices.Equal(got, []string{"ConnectionFailure"}) {
		t.Errorf("the events are %v", got)
	}
}

func TestASampleIsFound(t *testing.T) {
	metrics := "# HELP a Help.\na 7\na{b=\"c\"} 2.5\nab 3\n"
	for name, want := range map[string]float64{"a": 7, `a{b="c"}`: 2.5, "ab": 3, "b": 0} {
		if got := Sample(metrics, name); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
}
