// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package telemetry

// Names that an older driver for the same box introduced. Dashboards and alerts in use depend on
// them, on their labels, and on the label values success and failure.
const (
	MigrationsTotal           = "rds_csi_migration_migrations_total"            // result
	MigrationDurationSeconds  = "rds_csi_migration_duration_seconds"            // histogram
	ActiveMigrations          = "rds_csi_migration_active_migrations"           // gauge
	AttachTotal               = "rds_csi_attachment_attach_total"               // status
	DetachTotal               = "rds_csi_attachment_detach_total"               // status
	ConflictsTotal            = "rds_csi_attachment_conflicts_total"            //
	ReconcileTotal            = "rds_csi_attachment_reconcile_total"            // action
	StaleClearedTotal         = "rds_csi_attachment_stale_cleared_total"        //
	AttachmentDurationSeconds = "rds_csi_attachment_operation_duration_seconds" // histogram: operation
	VolumeOperationsTotal     = "rds_csi_volume_operations_total"               // operation, status
	VolumeDurationSeconds     = "rds_csi_volume_operation_duration_seconds"     // histogram: operation
	NVMeConnectsTotal         = "rds_csi_nvme_connects_total"                   // status
	NVMeConnectSeconds        = "rds_csi_nvme_connect_duration_seconds"         // histogram
	NVMeConnections           = "rds_csi_nvme_connections_active"               // gauge
	MountOperationsTotal      = "rds_csi_mount_operations_total"                // operation, status
	StaleMountsTotal          = "rds_csi_stale_mounts_detected_total"           //
	StaleRecoveriesTotal      = "rds_csi_stale_recoveries_total"                // status
	OrphansCleanedTotal       = "rds_csi_orphans_cleaned_total"                 //
	EventsPostedTotal         = "rds_csi_events_posted_total"                   // reason
	ConnectionState           = "rds_csi_rds_connection_state"                  // gauge: address
	ReconnectsTotal           = "rds_csi_rds_reconnect_total"                   // status
	ReconnectSeconds          = "rds_csi_rds_reconnect_duration_seconds"        // histogram
)

// Names of this driver's own.
const (
	BuildInfo          = "rds_csi_build_info"                     // gauge: version, component, driver, goversion
	Leader             = "rds_csi_leader"                         // gauge
	Actors             = "rds_csi_actors"                         // gauge
	QuarantinedVolumes = "rds_csi_quarantined_volumes"            // gauge
	UnresolvedVolumes  = "rds_csi_unresolved_volumes"             // gauge
	StaleHeld          = "rds_csi_attachment_stale_held"          // gauge
	QueueDepth         = "rds_csi_actor_queue_depth"              // gauge
	QueueDepthMax      = "rds_csi_actor_queue_depth_max"          // gauge
	QueueOldestSeconds = "rds_csi_actor_queue_oldest_age_seconds" // gauge
	MailboxWaitSeconds = "rds_csi_actor_mailbox_wait_seconds"     // histogram
	JoinedTotal        = "rds_csi_actor_joined_requests_total"    // operation
	PanicsTotal        = "rds_csi_actor_panics_total"             //
	CommandSeconds     = "rds_csi_rds_command_duration_seconds"   // histogram: command, result
	Sessions           = "rds_csi_rds_sessions"                   // gauge: address, state
	SessionWaitSeconds = "rds_csi_rds_session_wait_seconds"       // histogram
	SessionsFullTotal  = "rds_csi_rds_sessions_full_total"        //
	RequestsTotal      = "rds_csi_grpc_requests_total"            // method, code
	RequestSeconds     = "rds_csi_grpc_request_duration_seconds"  // histogram: method
	EventsDroppedTotal = "rds_csi_events_dropped_total"           // cause
	EventsInherited    = "rds_csi_events_inherited_total"         // result
	AnnotationsDropped = "rds_csi_annotations_dropped_total"      // cause
	NodeVolumes        = "rds_csi_node_volumes"                   // gauge: condition
	VanishedTotal      = "rds_csi_nvme_connections_lost_total"    //
	SpansTotal         = "rds_csi_trace_spans_total"              // status
)

// Names returns every metric name that this package can expose under the prefix rds_csi_, so that
// dashboards and alert rules can be checked against it. A histogram is named without its suffixes
// _bucket, _sum and _count.
func Names() []string {
	return []string{
		MigrationsTotal, MigrationDurationSeconds, ActiveMigrations,
		AttachTotal, DetachTotal, ConflictsTotal, ReconcileTotal, StaleClearedTotal, AttachmentDurationSeconds,
		VolumeOperationsTotal, VolumeDurationSeconds,
		NVMeConnectsTotal, NVMeConnectSeconds, NVMeConnections,
		MountOperationsTotal, StaleMountsTotal, StaleRecoveriesTotal, OrphansCleanedTotal,
		EventsPostedTotal, ConnectionState, ReconnectsTotal, ReconnectSeconds,

		BuildInfo, Leader, Actors, QuarantinedVolumes, UnresolvedVolumes, StaleHeld,
		QueueDepth, QueueDepthMax, QueueOldestSeconds, MailboxWaitSeconds, JoinedTotal, PanicsTotal,
		CommandSeconds, Sessions, SessionWaitSeconds, SessionsFullTotal, RequestsTotal, RequestSeconds, EventsDroppedTotal,
		EventsInherited, AnnotationsDropped, NodeVolumes, VanishedTotal, SpansTotal,
	}
}
