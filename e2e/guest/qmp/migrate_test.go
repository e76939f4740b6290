// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package qmp_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/rds-csi/rds-csi/e2e/guest/qmp"
)

// A moment is what QEMU tells of its machine and of the machine's migration.
type moment struct{ machine, migration string }

// migrating returns a machine that goes through moments, one with each look at both; the last one stays.
func migrating(t *testing.T, moments ...moment) (c *qmp.Client, asked *[]string) {
	t.Helper()
	asked = new([]string)
	return machine(t, func(r request) string {
		switch r.Execute {
		case "migrate":
			*asked = append(*asked, fmt.Sprint(r.Arguments["uri"]))
			return `{"return": {}, "id": "` + r.ID + `"}`
		case "query-status":
			return `{"return": {"status": "` + moments[0].machine + `"}, "id": "` + r.ID + `"}`
		case "query-migrate":
			migration := moments[0].migration
			if len(moments) > 1 {
				moments = moments[1:]
			}
			return `{"return": {` + migration + `}, "id": "` + r.ID + `"}`
		}
		return `{"error": {"class": "GenericError", "desc": "not expected"}, "id": "` + r.ID + `"}`
	}), asked
}

func TestAMigrationIsOverWhenItsTimesAreKnown(t *testing.T) {
	c, asked := migrating(t,
		moment{"running", ``},
		moment{"running", `"status": "setup"`},
		moment{"running", `"status": "active", "ram": {"transferred": 1}`},
		moment{"finish-migrate", `"status": "completed", "downtime": 0, "total-time": 0, "ram": {"transferred": 2}`},
		moment{"postmigrate", `"status": "completed", "downtime": 210, "total-time": 480, "ram": {"transferred": 3}`},
	)
	want := qmp.Migration{Downtime: 210 * time.Millisecond, Took: 480 * time.Millisecond, Sent: 3}
	if got, err := c.Migrate(t.Context(), "unix:/there"); err != nil || got != want {
		t.Fatalf("got %+v, %v; want %+v", got, err, want)
	}
	if len(*asked) != 1 || (*asked)[0] != "unix:/there" {
		t.Fatal("asked for", *asked)
	}
}

func TestAMigrationThatFailsIsTold(t *testing.T) {
	c, _ := migrating(t,
		moment{"running", `"status": "active"`},
		moment{"running", `"status": "failed", "error-desc": "nobody listens"`},
	)
	if _, err := c.Migrate(t.Context(), "unix:/there"); err == nil || !strings.Contains(err.Error(), "nobody listens") {
		t.Fatal(err)
	}
}

func TestAMigrationThatStaysUnderWayIsGivenUp(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	looks := 0
	c := machine(t, func(r request) string {
		if r.Execute == "query-migrate" {
			if looks++; looks == 3 {
				cancel()
			}
		}
		return `{"return": {"status": "active"}, "id": "` + r.ID + `"}`
	})
	if _, err := c.Migrate(ctx, "unix:/there"); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}

func TestAMigrationEndsWithTheMachine(t *testing.T) {
	c := machine(t, func(request) string { return "" })
	if _, err := c.Migrate(t.Context(), "unix:/there"); !errors.Is(err, qmp.ErrClosed) {
		t.Fatal(err)
	}
}
