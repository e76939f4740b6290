// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package k8s

import (
	"cmp"
	"fmt"
	"regexp"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/rds-csi/rds-csi/actors"
)

// The reasons of events that nodes report.
const (
	MountFailure       = "MountFailure"
	RecoveryFailed     = "RecoveryFailed"
	StaleMountDetected = "StaleMountDetected"
	ConnectionFailure  = "ConnectionFailure"
)

// A message is what an event says. Reasons and texts are those of the older driver.
type message struct {
	reason  string
	warning bool
	text    string
}

func (m message) kind() string {
	if m.warning {
		return corev1.EventTypeWarning
	}
	return corev1.EventTypeNormal
}

// announced returns the event of an announcement, and false for a kind without one.
func announced(a actors.Announcement) (message, bool) { return describe(a, human(a.Duration)) }

// inherited returns the event of what an earlier process was to announce, of which not everything is known.
func inherited(a actors.Announcement) (message, bool) {
	const unknown = "unknown"
	a.Source, a.Target = cmp.Or(a.Source, unknown), cmp.Or(a.Target, unknown)
	return describe(a, "at most "+human(a.Duration))
}

// begun finds the nodes in the text of a migration's start.
var begun = regexp.MustCompile(` live migration started - source: (\S+), target: (\S+), timeout: `)

// nodesIn returns the nodes of a migration from the text that told its start, and false for another text.
func nodesIn(text string) (source, target actors.NodeID, ok bool) {
	m := begun.FindStringSubmatch(text)
	if m == nil {
		return "", "", false
	}
	return actors.NodeID(m[1]), actors.NodeID(m[2]), true
}

// describe returns the event of an announcement that took a time, in words.
func describe(a actors.Announcement, took string) (message, bool) {
	m := message{reason: a.Kind.String()}
	switch a.Kind {
	case actors.Attached:
		m.text = fmt.Sprintf("Attached to node %s (duration: %s)", a.Node, took)
	case actors.Detached:
		m.text = fmt.Sprintf("Detached from node %s", a.Node)
	case actors.StaleCleared:
		m.text = fmt.Sprintf("Cleared stale attachment from deleted node %s", a.Node)
	case actors.Conflict:
		m.warning = true
		m.text = fmt.Sprintf("Attachment to node %s rejected - volume already attached to node %s. Delete the pod on %s to release the volume.",
			a.Node, a.Holder, a.Holder)
	case actors.MigrationStarted:
		m.text = fmt.Sprintf("KubeVirt live migration started - source: %s, target: %s, timeout: %s", a.Source, a.Target, human(a.Timeout))
	case actors.MigrationCompleted:
		m.text = fmt.Sprintf("KubeVirt live migration completed - source: %s -> target: %s (duration: %s)", a.Source, a.Target, took)
	case actors.MigrationFailed, actors.MigrationTimedOut:
		// A timeout is a failure to those who watch events, and its reason says which.
		m.reason, m.warning = actors.MigrationFailed.String(), true
		why := a.Reason
		switch {
		case why != "":
		case a.Kind == actors.MigrationTimedOut:
			why = "timeout"
		default:
			why = "unknown"
		}
		m.text = fmt.Sprintf("KubeVirt live migration failed - source: %s, attempted target: %s, reason: %s, elapsed: %s",
			a.Source, a.Target, why, took)
	default:
		return message{}, false
	}
	m.text = fmt.Sprintf("[%s]: %s", a.Volume, m.text)
	return m, true
}

// reported returns the event of a node's report.
func reported(reason string, id actors.VolumeID, node actors.NodeID, text string) message {
	return message{
		reason:  reason,
		warning: reason != StaleMountDetected,
		text:    fmt.Sprintf("[%s] on [%s]: %s", id, node, text),
	}
}

// human rounds a duration to what people compare: milliseconds below ten seconds, seconds above.
func human(d time.Duration) string {
	if d < 10*time.Second {
		return d.Round(time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}
