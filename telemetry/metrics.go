// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package telemetry

import (
	"runtime"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// Buckets in seconds. Those of the older driver's histograms are its own.
var (
	migrationBuckets  = []float64{15, 30, 60, 90, 120, 180, 300, 600}
	attachmentBuckets = []float64{0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5}
	operationBuckets  = []float64{0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60}
	requestBuckets    = []float64{0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 30, 60}
	commandBuckets    = []float64{0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10}
	mailboxBuckets    = []float64{0.0001, 0.001, 0.01, 0.1, 0.5, 1, 5, 15, 60}
)

// metrics are all that are pushed.
type metrics struct {
	attachments attachmentMetrics
	requests    requestMetrics
	box         boxMetrics
	actors      actorMetrics
	node        nodeMetrics
	events      eventMetrics
	spans       *prometheus.CounterVec
}

func newMetrics(registry *prometheus.Registry, config Config) *metrics {
	registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	// What this component has no use for is counted all the same, but not registered.
	always, never := promauto.With(registry), promauto.With(nil)
	controller, node := always, always
	switch config.Component {
	case Controller:
		node = never
	case Node:
		controller = never
	}
	always.NewGaugeVec(gauge(BuildInfo, "What runs: always 1."), []string{"version", "component", "driver", "goversion"}).
		WithLabelValues(config.Version, config.Component, config.Driver, runtime.Version()).Set(1)
	config.Gauges.register(always)
	return &metrics{
		attachments: newAttachmentMetrics(controller),
		requests:    newRequestMetrics(always, config.Component),
		box:         newBoxMetrics(controller),
		actors:      newActorMetrics(controller),
		node:        newNodeMetrics(node),
		events:      newEventMetrics(always),
		spans: counters(always, SpansTotal, "Finished spans by whether a collector took them.",
			"status", "exported", "failed"),
	}
}

// attachmentMetrics count what announcements tell.
type attachmentMetrics struct {
	migrations        *prometheus.CounterVec // result
	migrationDuration prometheus.Observer
	attach            *prometheus.CounterVec   // status
	detach            *prometheus.CounterVec   // status
	duration          *prometheus.HistogramVec // operation
	conflicts         prometheus.Counter
	stale             prometheus.Counter
	reconcile         *prometheus.CounterVec // action
}

func newAttachmentMetrics(f promauto.Factory) attachmentMetrics {
	m := attachmentMetrics{
		migrations: counters(f, MigrationsTotal, "Live migrations by outcome, one for each of a VM's volumes.",
			"result", migrationResults...),
		migrationDuration: f.NewHistogram(histogram(MigrationDurationSeconds,
			"Time from the grant to a migration's target to its outcome.", migrationBuckets)),
		attach: counters(f, AttachTotal, "Attachments that the box acknowledged, and attach requests that failed.",
			"status", success, failure),
		detach: counters(f, DetachTotal, "Detachments that the box acknowledged, and detach requests that failed.",
			"status", success, failure),
		duration: f.NewHistogramVec(histogram(AttachmentDurationSeconds,
			"Time from an attach or detach request to the box's acknowledgement.", attachmentBuckets), []string{"operation"}),
		conflicts: f.NewCounter(counter(ConflictsTotal, "Nodes that were refused because others hold the volume.")),
		stale:     f.NewCounter(counter(StaleClearedTotal, "Attachments that were cleared because their node and VolumeAttachment were gone.")),
		reconcile: counters(f, ReconcileTotal, "What reconciliation with the box and Kubernetes did.",
			"action", reconcileActions...),
	}
	m.duration.WithLabelValues("attach")
	m.duration.WithLabelValues("detach")
	return m
}

// requestMetrics count what CSI was asked.
type requestMetrics struct {
	requests   *prometheus.CounterVec   // method, code
	duration   *prometheus.HistogramVec // method
	operations *prometheus.CounterVec   // operation, status
	operation  *prometheus.HistogramVec // operation
}

func newRequestMetrics(f promauto.Factory, component string) requestMetrics {
	m := requestMetrics{
		requests: f.NewCounterVec(counter(RequestsTotal, "CSI requests by method and status code."), []string{"method", "code"}),
		duration: f.NewHistogramVec(histogram(RequestSeconds, "Time to answer CSI requests.", requestBuckets), []string{"method"}),
		operations: f.NewCounterVec(counter(VolumeOperationsTotal, "Requests that change a volume or its use on a node."),
			[]string{"operation", "status"}),
		operation: f.NewHistogramVec(histogram(VolumeDurationSeconds, "Time that volume operations took.", operationBuckets), []string{"operation"}),
	}
	for _, method := range methods {
		if method.component != "" && component != "" && method.component != component {
			continue
		}
		m.requests.WithLabelValues(method.name, "OK")
		m.duration.WithLabelValues(method.name)
		if method.operation != "" {
			m.operations.WithLabelValues(method.operation, success)
			m.operations.WithLabelValues(method.operation, failure)
			m.operation.WithLabelValues(method.operation)
		}
	}
	return m
}

// boxMetrics tell how the box behaves.
type boxMetrics struct {
	command    *prometheus.HistogramVec // command, result
	connection *prometheus.GaugeVec     // address
	sessions   *prometheus.GaugeVec     // address, state
	wait       prometheus.Observer
	full       prometheus.Counter
	reconnects *prometheus.CounterVec // status
	reconnect  prometheus.Observer
	commands   *capped
	addresses  *capped
}

// No driver knows more commands, and no cluster more boxes.
const (
	maxCommands  = 32
	maxAddresses = 64
)

func newBoxMetrics(f promauto.Factory) boxMetrics {
	return boxMetrics{
		command: f.NewHistogramVec(histogram(CommandSeconds, "Time that commands to the box took.", commandBuckets),
			[]string{"command", "result"}),
		connection: f.NewGaugeVec(gauge(ConnectionState, "Whether the box answers: 1 or 0."), []string{"address"}),
		sessions: f.NewGaugeVec(gauge(Sessions, "Sessions to the box that are open, and of those how many are busy."),
			[]string{"address", "state"}),
		wait: f.NewHistogram(histogram(SessionWaitSeconds, "Time that commands waited for a session with the box.", mailboxBuckets)),
		full: f.NewCounter(counter(SessionsFullTotal, "Commands that found all sessions with the box busy, and no room for another.")),
		reconnects: counters(f, ReconnectsTotal, "Attempts to connect to a box again.",
			"status", success, failure),
		reconnect: f.NewHistogram(histogram(ReconnectSeconds, "Time that attempts to connect to a box again took.", operationBuckets)),
		commands:  newCapped(maxCommands, isWord),
		addresses: newCapped(maxAddresses, isAddress),
	}
}

// actorMetrics tell how the volumes' loops behave.
type actorMetrics struct {
	wait   prometheus.Observer
	joined *prometheus.CounterVec // operation
	panics prometheus.Counter
}

func newActorMetrics(f promauto.Factory) actorMetrics {
	return actorMetrics{
		wait: f.NewHistogram(histogram(MailboxWaitSeconds, "Time that requests waited in their volume's mailbox.", mailboxBuckets)),
		joined: counters(f, JoinedTotal, "Requests that joined an operation that was under way.",
			"operation", joinable...),
		panics: f.NewCounter(counter(PanicsTotal, "Panics in the loops of volumes, each recovered.")),
	}
}

// nodeMetrics tell what a node does with its kernel.
type nodeMetrics struct {
	connects    *prometheus.CounterVec // status
	connect     prometheus.Observer
	mounts      *prometheus.CounterVec // operation, status
	staleMounts prometheus.Counter
	recoveries  *prometheus.CounterVec // status
	orphans     prometheus.Counter
	volumes     *prometheus.GaugeVec // condition
	vanished    prometheus.Counter
}

func newNodeMetrics(f promauto.Factory) nodeMetrics {
	m := nodeMetrics{
		connects: counters(f, NVMeConnectsTotal, "NVMe/TCP connections that were tried.",
			"status", success, failure),
		connect: f.NewHistogram(histogram(NVMeConnectSeconds, "Time that NVMe/TCP connections took until their device was there.", operationBuckets)),
		mounts: f.NewCounterVec(counter(MountOperationsTotal, "Mounts and unmounts of volumes."),
			[]string{"operation", "status"}),
		staleMounts: f.NewCounter(counter(StaleMountsTotal, "Mounts whose device was gone or another.")),
		recoveries: counters(f, StaleRecoveriesTotal, "Attempts to recover stale mounts.",
			"status", success, failure),
		orphans:  f.NewCounter(counter(OrphansCleanedTotal, "NVMe/TCP connections of this driver that no volume used and that were closed.")),
		volumes:  f.NewGaugeVec(gauge(NodeVolumes, "Volumes on this node by how they fare."), []string{"condition"}),
		vanished: f.NewCounter(counter(VanishedTotal, "NVMe/TCP connections in use that the kernel was found to have given up.")),
	}
	for _, condition := range volumeConditions {
		m.volumes.WithLabelValues(condition)
	}
	for _, operation := range mountOperations {
		m.mounts.WithLabelValues(operation, success)
		m.mounts.WithLabelValues(operation, failure)
	}
	return m
}

// eventMetrics count Kubernetes events, and annotations that are for people likewise.
type eventMetrics struct {
	posted      *prometheus.CounterVec // reason
	dropped     *prometheus.CounterVec // cause
	inherited   *prometheus.CounterVec // result
	annotations *prometheus.CounterVec // cause
}

func newEventMetrics(f promauto.Factory) eventMetrics {
	return eventMetrics{
		posted: counters(f, EventsPostedTotal, "Kubernetes events that were posted.",
			"reason", eventReasons...),
		dropped: counters(f, EventsDroppedTotal, "Kubernetes events that were not posted.",
			"cause", dropCauses...),
		inherited: counters(f, EventsInherited, "Kubernetes events of migrations that an earlier process may not have lived to post.",
			"result", inheritedResults...),
		annotations: counters(f, AnnotationsDropped, "Annotations of PersistentVolumes that were not written.",
			"cause", annotationCauses...),
	}
}

func counter(name, help string) prometheus.CounterOpts {
	return prometheus.CounterOpts{Name: name, Help: help}
}

func gauge(name, help string) prometheus.GaugeOpts {
	return prometheus.GaugeOpts{Name: name, Help: help}
}

func histogram(name, help string, buckets []float64) prometheus.HistogramOpts {
	return prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}
}

// counters makes counters of one label, which begin at zero.
func counters(f promauto.Factory, name, help, label string, values ...string) *prometheus.CounterVec {
	vec := f.NewCounterVec(counter(name, help), []string{label})
	for _, value := range values {
		vec.WithLabelValues(value)
	}
	return vec
}
