// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package telemetry

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/rds-csi/rds-csi/actors"
)

const volume = actors.VolumeID("pvc-3b3a5c0e-6f0c-4b62-9f5e-0d0c1a7d9a11")

// allGauges have each a value of its own.
var allGauges = Gauges{
	Leader:           func() bool { return true },
	ActiveMigrations: func() int { return 2 },
	Actors:           func() int { return 3 },
	Quarantined:      func() int { return 4 },
	Unresolved:       func() int { return 5 },
	StaleHeld:        func() int { return 6 },
	QueueDepth:       func() int { return 7 },
	QueueDepthMax:    func() int { return 8 },
	QueueAge:         func() time.Duration { return 9 * time.Second },
	NVMeConnections:  func() int { return 10 },
}

// scrape returns the lines of /metrics about rds_csi_.
func scrape(t *testing.T, tel *Telemetry) string {
	t.Helper()
	w := httptest.NewRecorder()
	tel.Handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", "/metrics", nil))
	if w.Code != 200 {
		t.Fatalf("GET /metrics: %d: %s", w.Code, w.Body)
	}
	var b strings.Builder
	for line := range strings.Lines(w.Body.String()) {
		if strings.Contains(line, "rds_csi_") {
			b.WriteString(strings.ReplaceAll(line, runtime.Version(), "go1"))
		}
	}
	return b.String()
}

// want demands lines of a scrape.
func want(t *testing.T, tel *Telemetry, lines ...string) {
	t.Helper()
	got := scrape(t, tel)
	for _, line := range lines {
		if !strings.Contains(got, line+"\n") {
			name, _, _ := strings.Cut(strings.Fields(line)[0], "{")
			t.Errorf("no line %q, but:", line)
			for l := range strings.Lines(got) {
				if strings.HasPrefix(l, name) {
					t.Log(strings.TrimSpace(l))
				}
			}
		}
	}
}

// callAll calls every hook once or twice, also with values that no label knows.
func callAll(tel *Telemetry) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for i, kind := range []actors.AnnouncementKind{
		actors.Attached, actors.Detached, actors.Conflict, actors.StaleCleared, actors.MigrationStarted,
		actors.MigrationCompleted, actors.MigrationFailed, actors.MigrationTimedOut,
	} {
		tel.Announce(actors.Announcement{
			Kind: kind, Volume: volume, At: at, Duration: time.Duration(i) * 20 * time.Second, Source: "a", Target: "b",
		})
	}
	lost := errors.New("lost")
	tel.Operation("/csi.v1.Controller/CreateVolume", "OK", 30*time.Millisecond)
	tel.Operation("ControllerPublishVolume", "FailedPrecondition", time.Second)
	tel.Operation("ControllerUnpublishVolume", "Unavailable", time.Second)
	tel.Operation("/csi.v1.Node/NodeStageVolume", "Internal", 3*time.Second)
	tel.Operation("/csi.v1.Node/Invented", "Strange", -time.Second)
	tel.Reconciled("adopt")
	tel.Reconciled("invented")
	tel.Command("list", 12*time.Millisecond, nil)
	tel.Command("set", 15*time.Millisecond, fmt.Errorf("set a row: %w", actors.ErrUnresolved))
	tel.Command("secret value!", time.Millisecond, lost)
	tel.Connection("192.0.2.1:8729", true)
	tel.Connection("[2001:db8::1]:8729", false)
	tel.Connection("admin@192.0.2.1", true)
	tel.Reconnect(nil, 2*time.Second)
	tel.Reconnect(lost, 40*time.Second)
	tel.Sessions("192.0.2.1:8729", 4, 1)
	tel.SessionWait(0, false)
	tel.SessionWait(2*time.Second, true)
	tel.MailboxWait(3 * time.Millisecond)
	tel.Joined("publish")
	tel.Joined("invented")
	tel.Panicked()
	tel.NVMeConnect(300*time.Millisecond, nil)
	tel.NVMeConnect(9*time.Second, lost)
	tel.Mount("mount", nil)
	tel.Mount("unmount", lost)
	tel.Mount("invented", nil)
	tel.StaleMount()
	tel.StaleRecovery(nil)
	tel.OrphanCleaned()
	tel.NodeVolumes(map[string]int{"healthy": 3, "lost": 1, "invented": 7})
	tel.ConnectionVanished()
	tel.EventPosted("MigrationStarted")
	tel.EventPosted("Invented")
	tel.EventDropped("queue_full")
	tel.EventDropped("invented")
	tel.EventInherited("posted")
	tel.EventInherited("invented")
	tel.AnnotationDropped("no_volume")
	tel.AnnotationDropped("invented")
}

// One page with everything on it: names, labels, buckets and helps are what dashboards rely on.
func TestMetricsPage(t *testing.T) {
	tel := start(t, Config{Version: "v1.2.3", Gauges: allGauges})
	callAll(tel)
	golden(t, "metrics.golden", scrape(t, tel))
}

func TestMetricsAreWellNamed(t *testing.T) {
	tel := start(t, Config{Gauges: allGauges})
	callAll(tel)
	problems, err := testutil.GatherAndLint(tel.registry)
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range problems {
		if strings.HasPrefix(problem.Metric, "rds_csi_") {
			t.Errorf("%s: %s", problem.Metric, problem.Text)
		}
	}
}

// Names is what alert rules are checked against, so it must be neither short nor long.
func TestNamesAreComplete(t *testing.T) {
	tel := start(t, Config{Gauges: allGauges})
	callAll(tel)
	families, err := tel.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, family := range families {
		if strings.HasPrefix(family.GetName(), "rds_csi_") {
			got = append(got, family.GetName())
		}
	}
	want := slices.Sorted(slices.Values(Names()))
	if !slices.Equal(got, want) {
		t.Errorf("exposed %q\nNames() %q", got, want)
	}
}

// A failure that is the first of its kind shows in a rate only if its series began at zero.
func TestSeriesBeginAtZero(t *testing.T) {
	want(t, start(t, Config{Component: Controller}),
		`rds_csi_migration_migrations_total{result="success"} 0`,
		`rds_csi_migration_migrations_total{result="failed"} 0`,
		`rds_csi_migration_migrations_total{result="timeout"} 0`,
		`rds_csi_migration_duration_seconds_count 0`,
		`rds_csi_attachment_attach_total{status="failure"} 0`,
		`rds_csi_attachment_detach_total{status="failure"} 0`,
		`rds_csi_attachment_conflicts_total 0`,
		`rds_csi_attachment_reconcile_total{action="clear_stale"} 0`,
		`rds_csi_attachment_operation_duration_seconds_count{operation="detach"} 0`,
		`rds_csi_volume_operations_total{operation="create",status="failure"} 0`,
		`rds_csi_rds_reconnect_total{status="failure"} 0`,
		`rds_csi_events_posted_total{reason="MigrationFailed"} 0`,
		`rds_csi_actor_panics_total 0`,
		`rds_csi_grpc_requests_total{code="OK",method="ControllerPublishVolume"} 0`,
	)
	want(t, start(t, Config{Component: Node}),
		`rds_csi_nvme_connects_total{status="failure"} 0`,
		`rds_csi_mount_operations_total{operation="unmount",status="failure"} 0`,
		`rds_csi_stale_recoveries_total{status="success"} 0`,
		`rds_csi_node_volumes{condition="lost"} 0`,
		`rds_csi_nvme_connections_lost_total 0`,
		`rds_csi_volume_operations_total{operation="stage",status="failure"} 0`,
	)
}

func TestComponentsKeepToTheirOwnSeries(t *testing.T) {
	controller := start(t, Config{Component: Controller})
	node := start(t, Config{Component: Node})
	callAll(controller)
	callAll(node)
	for _, c := range []struct {
		name string
		tel  *Telemetry
		not  []string
	}{
		{"controller", controller, []string{"rds_csi_nvme_", "rds_csi_mount_", "rds_csi_stale_", "rds_csi_orphans_", "rds_csi_node_"}},
		{"node", node, []string{"rds_csi_migration_", "rds_csi_attachment_", "rds_csi_actor", "rds_csi_rds_"}},
	} {
		for line := range strings.Lines(scrape(t, c.tel)) {
			for _, prefix := range c.not {
				if strings.HasPrefix(line, prefix) {
					t.Errorf("%s exposes %s", c.name, line)
				}
			}
		}
	}
}

func TestLabelsAreBounded(t *testing.T) {
	tel := start(t, Config{})
	for i := range 1000 {
		made := fmt.Sprintf("x%d", i)
		tel.Command(made, 0, nil)
		tel.Connection(made, true)
		tel.Sessions(made, 1, 1)
		tel.Operation(made, made, 0)
		tel.Reconciled(made)
		tel.Joined(made)
		tel.Mount(made, nil)
		tel.EventPosted(made)
		tel.EventDropped(made)
		tel.EventInherited(made)
		tel.AnnotationDropped(made)
	}
	families, err := tel.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if n := len(family.GetMetric()); n > 2*(maxAddresses+1) {
			t.Errorf("%s has %d series", family.GetName(), n)
		}
	}
	want(t, tel, `rds_csi_rds_connection_state{address="x0"} 1`, `rds_csi_rds_connection_state{address="other"} 1`,
		`rds_csi_grpc_requests_total{code="other",method="other"} 1000`)
}

func TestCommandResults(t *testing.T) {
	for result, err := range map[string]error{
		"success":      nil,
		"invalid":      actors.ErrInvalid,
		"not_found":    actors.ErrNotFound,
		"exists":       actors.ErrExists,
		"precondition": actors.ErrPrecondition,
		"out_of_range": actors.ErrOutOfRange,
		"full":         actors.ErrFull,
		"busy":         actors.ErrBusy,
		"unavailable":  actors.ErrUnavailable,
		"unresolved":   actors.ErrUnresolved,
		"canceled":     context.Canceled,
		"error":        errors.New("no kind"),
	} {
		if err != nil {
			err = fmt.Errorf("write a row: %w", err)
		}
		if got := resultOf(err); got != result {
			t.Errorf("resultOf(%v) = %s, want %s", err, got, result)
		}
	}
}

// A repeated publish attaches nothing, so only announcements count attachments, and only requests
// count failures.
func TestAttachmentsAreCountedOnce(t *testing.T) {
	tel := start(t, Config{})
	tel.Announce(actors.Announcement{Kind: actors.Attached, Volume: volume, Node: "a", Duration: 30 * time.Millisecond})
	tel.Operation("ControllerPublishVolume", "OK", time.Second)
	tel.Operation("ControllerPublishVolume", "OK", time.Second)
	tel.Operation("ControllerPublishVolume", "Unavailable", time.Second)
	want(t, tel,
		`rds_csi_attachment_attach_total{status="success"} 1`,
		`rds_csi_attachment_attach_total{status="failure"} 1`,
		`rds_csi_attachment_operation_duration_seconds_bucket{operation="attach",le="0.05"} 1`,
		`rds_csi_attachment_operation_duration_seconds_count{operation="attach"} 1`,
		`rds_csi_grpc_requests_total{code="OK",method="ControllerPublishVolume"} 2`,
	)
}

// Hooks and scrapes from many goroutines lose nothing and do not race.
func TestHooksConcurrently(t *testing.T) {
	const goroutines, rounds, scrapes = 8, 20, 3
	tel := start(t, Config{Gauges: allGauges, Processors: sinks(NewRecorder(16))})
	var wg sync.WaitGroup
	for range goroutines {
		wg.Go(func() {
			for range rounds {
				callAll(tel)
			}
		})
		wg.Go(func() {
			for range scrapes {
				tel.Handler().ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), "GET", "/metrics", nil))
			}
		})
	}
	wg.Wait()
	want(t, tel,
		`rds_csi_migration_migrations_total{result="timeout"} 160`,
		`rds_csi_migration_duration_seconds_count 480`,
		`rds_csi_actor_panics_total 160`,
		`rds_csi_rds_command_duration_seconds_count{command="set",result="unresolved"} 160`,
	)
}
