// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package telemetry

import (
	"context"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/rds-csi/rds-csi/actors"
)

// The values of labels that hooks fill.
var (
	migrationResults = []string{success, "failed", "timeout"}
	joinable         = []string{"publish", "unpublish", "create", "delete", "expand", "snapshot"}
	mountOperations  = []string{"mount", "unmount"}
	volumeConditions = []string{"healthy", "waiting", "lost", "stale", "failed", "shrunk", "unstaged", "unknown"}
	dropCauses       = []string{"queue_full", "no_claim", "rejected", "unavailable", "repeated"}
	inheritedResults = []string{"told", "posted", "no_claim", "rejected", "late"}
	annotationCauses = []string{"no_volume", "rejected", "unavailable"}
	// What reconciliation may do: clear an attachment that nobody has, take over a volume of the older
	// driver, write a row anew that the box lost or an interrupted bounce left off, leave a volume alone.
	reconcileActions = []string{"clear_stale", "adopt", "repair", "hold"}
	eventReasons     = []string{
		"VolumeAttached", "VolumeDetached", "AttachmentConflict", "StaleAttachmentCleared",
		"MigrationStarted", "MigrationCompleted", "MigrationFailed",
		"MountFailure", "RecoveryFailed", "StaleMountDetected", "ConnectionFailure", "AttachmentIgnored",
	}
)

// Announce implements actors.Announcer: it counts what happened to a volume. The outcome of a
// migration is counted, timed and recorded as a span of its own here, so that the three agree.
func (t *Telemetry) Announce(a actors.Announcement) {
	m := &t.metrics.attachments
	switch a.Kind {
	case actors.Attached:
		m.attach.WithLabelValues(success).Inc()
		m.duration.WithLabelValues("attach").Observe(seconds(a.Duration))
	case actors.Detached:
		m.detach.WithLabelValues(success).Inc()
		m.duration.WithLabelValues("detach").Observe(seconds(a.Duration))
	case actors.Conflict:
		m.conflicts.Inc()
	case actors.StaleCleared:
		m.stale.Inc()
		t.Reconciled("clear_stale")
	case actors.MigrationCompleted:
		t.migrated(a, success)
	case actors.MigrationFailed:
		t.migrated(a, "failed")
	case actors.MigrationTimedOut:
		t.migrated(a, "timeout")
	case actors.Adopted:
		t.Reconciled("adopt")
	case actors.Repaired:
		t.Reconciled("repair")
	case actors.MigrationStarted: // Gauges.ActiveMigrations tells
	}
}

func (t *Telemetry) migrated(a actors.Announcement, result string) {
	t.metrics.attachments.migrations.WithLabelValues(result).Inc()
	t.metrics.attachments.migrationDuration.Observe(seconds(a.Duration))
	// The migration began before this process did, perhaps, and belongs to no single request.
	_, span := t.tracer.Start(context.Background(), "migration", trace.WithNewRoot(),
		trace.WithTimestamp(a.At.Add(-max(a.Duration, 0))),
		trace.WithAttributes(
			attribute.String("rds_csi.volume.id", string(a.Volume)),
			attribute.String("rds_csi.migration.source", string(a.Source)),
			attribute.String("rds_csi.migration.target", string(a.Target)),
			attribute.String("rds_csi.migration.result", result),
			attribute.String("rds_csi.migration.decided_by", a.DecidedBy),
		))
	if result != success {
		span.SetStatus(codes.Error, a.Reason)
	}
	span.End(trace.WithTimestamp(a.At))
}

// A method of CSI, and what counts it.
type method struct {
	name      string
	component string // "": both
	operation string // of VolumeOperationsTotal; "": none
}

var methods = []method{
	{"GetPluginInfo", "", ""},
	{"GetPluginCapabilities", "", ""},
	{"Probe", "", ""},
	{"CreateVolume", Controller, "create"},
	{"DeleteVolume", Controller, "delete"},
	{"ControllerPublishVolume", Controller, ""},
	{"ControllerUnpublishVolume", Controller, ""},
	{"ValidateVolumeCapabilities", Controller, ""},
	{"ListVolumes", Controller, ""},
	{"GetCapacity", Controller, ""},
	{"ControllerGetCapabilities", Controller, ""},
	{"CreateSnapshot", Controller, "create_snapshot"},
	{"DeleteSnapshot", Controller, "delete_snapshot"},
	{"ListSnapshots", Controller, ""},
	{"GetSnapshot", Controller, ""},
	{"ControllerExpandVolume", Controller, "expand"},
	{"ControllerGetVolume", Controller, ""},
	{"ControllerModifyVolume", Controller, "modify"},
	{"NodeStageVolume", Node, "stage"},
	{"NodeUnstageVolume", Node, "unstage"},
	{"NodePublishVolume", Node, "publish"},
	{"NodeUnpublishVolume", Node, "unpublish"},
	{"NodeGetVolumeStats", Node, ""},
	{"NodeExpandVolume", Node, "node_expand"},
	{"NodeGetCapabilities", Node, ""},
	{"NodeGetInfo", Node, ""},
}

// grpcCodes are the names of gRPC's status codes.
var grpcCodes = []string{
	"OK", "Canceled", "Unknown", "InvalidArgument", "DeadlineExceeded", "NotFound", "AlreadyExists",
	"PermissionDenied", "ResourceExhausted", "FailedPrecondition", "Aborted", "OutOfRange", "Unimplemented",
	"Internal", "Unavailable", "DataLoss", "Unauthenticated",
}

// Operation counts one answered CSI request: its full or last name, as
// "/csi.v1.Controller/CreateVolume", the name of its status code, and the time to its answer. An attach
// or detach that fails is counted here, one that succeeds when it is announced: a request that is
// repeated attaches nothing.
func (t *Telemetry) Operation(fullMethod, code string, d time.Duration) {
	name := fullMethod[strings.LastIndexByte(fullMethod, '/')+1:]
	known := method{name: other}
	for _, m := range methods {
		if m.name == name {
			known = m
		}
	}
	m := &t.metrics.requests
	m.requests.WithLabelValues(known.name, oneOf(grpcCodes, code)).Inc()
	m.duration.WithLabelValues(known.name).Observe(seconds(d))
	ok := code == "OK"
	if known.operation != "" {
		m.operations.WithLabelValues(known.operation, statusOf(ok)).Inc()
		m.operation.WithLabelValues(known.operation).Observe(seconds(d))
	}
	switch {
	case ok:
	case known.name == "ControllerPublishVolume":
		t.metrics.attachments.attach.WithLabelValues(failure).Inc()
	case known.name == "ControllerUnpublishVolume":
		t.metrics.attachments.detach.WithLabelValues(failure).Inc()
	}
}

// Reconciled counts what reconciliation did beside clearing stale attachments, which is announced:
// "adopt", "repair" or "hold".
func (t *Telemetry) Reconciled(action string) {
	t.metrics.attachments.reconcile.WithLabelValues(oneOf(reconcileActions, action)).Inc()
}

// Command counts one command to the box: its kind, a lower-case word, the time from its sending to
// its answer, and its failure, which wraps a kind of package actors.
func (t *Telemetry) Command(kind string, d time.Duration, err error) {
	m := &t.metrics.box
	m.command.WithLabelValues(m.commands.value(kind), resultOf(err)).Observe(seconds(d))
}

// Connection tells whether a box, by its address without credentials, answers.
func (t *Telemetry) Connection(address string, up bool) {
	state := 0.0
	if up {
		state = 1
	}
	m := &t.metrics.box
	m.connection.WithLabelValues(m.addresses.value(address)).Set(state)
}

// Reconnect counts one attempt to reach a box again after its connection was lost.
func (t *Telemetry) Reconnect(err error, d time.Duration) {
	t.metrics.box.reconnects.WithLabelValues(statusOf(err == nil)).Inc()
	t.metrics.box.reconnect.Observe(seconds(d))
}

// Sessions tells how many sessions to a box are open, and how many of them wait for an answer.
func (t *Telemetry) Sessions(address string, open, busy int) {
	m := &t.metrics.box
	address = m.addresses.value(address)
	m.sessions.WithLabelValues(address, "open").Set(float64(open))
	m.sessions.WithLabelValues(address, "busy").Set(float64(busy))
}

// SessionWait tells how long a command waited for a session with the box, and whether that was because
// the pool of sessions was full.
func (t *Telemetry) SessionWait(d time.Duration, full bool) {
	t.metrics.box.wait.Observe(seconds(d))
	if full {
		t.metrics.box.full.Inc()
	}
}

// MailboxWait tells how long a request waited before its volume's loop took it.
func (t *Telemetry) MailboxWait(d time.Duration) { t.metrics.actors.wait.Observe(seconds(d)) }

// Joined counts a request that joined an operation that was under way: "publish", "unpublish",
// "create", "delete", "expand" or "snapshot".
func (t *Telemetry) Joined(operation string) {
	t.metrics.actors.joined.WithLabelValues(oneOf(joinable, operation)).Inc()
}

// Panicked counts a panic in a volume's loop.
func (t *Telemetry) Panicked() { t.metrics.actors.panics.Inc() }

// NVMeConnect counts one attempt to connect the kernel to a volume, and the time until its device was
// there. Gauges.NVMeConnections tells how many there are.
func (t *Telemetry) NVMeConnect(d time.Duration, err error) {
	t.metrics.node.connects.WithLabelValues(statusOf(err == nil)).Inc()
	if err == nil {
		t.metrics.node.connect.Observe(seconds(d))
	}
}

// Mount counts a "mount" or an "unmount", also of a device node for block volumes.
func (t *Telemetry) Mount(operation string, err error) {
	t.metrics.node.mounts.WithLabelValues(oneOf(mountOperations, operation), statusOf(err == nil)).Inc()
}

// StaleMount counts a mount whose device is gone or has become another.
func (t *Telemetry) StaleMount() { t.metrics.node.staleMounts.Inc() }

// StaleRecovery counts one attempt to recover a stale mount.
func (t *Telemetry) StaleRecovery(err error) {
	t.metrics.node.recoveries.WithLabelValues(statusOf(err == nil)).Inc()
}

// OrphanCleaned counts a connection that no volume used and that was closed.
func (t *Telemetry) OrphanCleaned() { t.metrics.node.orphans.Inc() }

// NodeVolumes tells how many volumes of this node are in each condition: "healthy", "waiting", "lost", "stale",
// "failed", "shrunk", "unstaged", "unknown". Those that are not told of have none.
func (t *Telemetry) NodeVolumes(counts map[string]int) {
	for _, condition := range volumeConditions {
		t.metrics.node.volumes.WithLabelValues(condition).Set(float64(counts[condition]))
	}
}

// ConnectionVanished counts a connection in use that the kernel was found to have given up.
func (t *Telemetry) ConnectionVanished() { t.metrics.node.vanished.Inc() }

// EventPosted counts a Kubernetes event by its reason.
func (t *Telemetry) EventPosted(reason string) {
	t.metrics.events.posted.WithLabelValues(oneOf(eventReasons, reason)).Inc()
}

// EventDropped counts a Kubernetes event that was not posted: "queue_full", "no_claim" where nobody
// claims the volume, "rejected" or "unavailable" by the API server, "repeated" too often.
func (t *Telemetry) EventDropped(cause string) {
	t.metrics.events.dropped.WithLabelValues(oneOf(dropCauses, cause)).Inc()
}

// EventInherited counts a Kubernetes event that an earlier process may not have lived to post: "told" where it
// had, "posted" where it had not, "no_claim" and "rejected" as of any event, "late" where it cannot be known.
func (t *Telemetry) EventInherited(result string) {
	t.metrics.events.inherited.WithLabelValues(oneOf(inheritedResults, result)).Inc()
}

// AnnotationDropped counts a PersistentVolume that was not annotated: "no_volume" where there is none of
// the volume, "rejected" or "unavailable" by the API server.
func (t *Telemetry) AnnotationDropped(cause string) {
	t.metrics.events.annotations.WithLabelValues(oneOf(annotationCauses, cause)).Inc()
}
