// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package actors

import "time"

// An Announcement tells the people who watch, through metrics and events, what has happened to a
// volume. Each is made once, after the box acknowledged what it tells.
type Announcement struct {
	Kind   AnnouncementKind
	Volume VolumeID
	At     time.Time

	Node   NodeID // Attached, Detached, Conflict (the refused one), StaleCleared
	Holder NodeID // Conflict: who holds the volume

	Source  NodeID        // of a migration
	Target  NodeID        // of a migration
	Timeout time.Duration // MigrationStarted
	// Grant is, in a migration, its target's, which no other migration of the volume has; in a Conflict
	// the newest one of those that hold the volume, before which this conflict was not told.
	Grant Token

	// Duration is how long it took: an attach or detach from its request to the box's answer, a
	// migration from the target's grant to its outcome.
	Duration time.Duration
	Reason   string // MigrationFailed, MigrationTimedOut
	// DecidedBy says by what a migration's outcome was decided: KubeVirt, detach order, or deadline.
	DecidedBy string
}

// AnnouncementKind says what an Announcement tells.
type AnnouncementKind int

// The kinds of announcement. A migration has MigrationStarted and then exactly one of
// MigrationCompleted, MigrationFailed and MigrationTimedOut.
const (
	Attached AnnouncementKind = iota + 1
	Detached
	Conflict // a node was refused because others hold the volume; told once per refused node
	StaleCleared
	MigrationStarted
	MigrationCompleted
	MigrationFailed
	MigrationTimedOut
	Adopted  // a volume of the older driver got its first ledger
	Repaired // the box had forgotten a write that it had acknowledged, and got it again
)

// String returns the kind's name, which is the reason of the Kubernetes event where there is one.
func (k AnnouncementKind) String() string {
	switch k {
	case Attached:
		return "VolumeAttached"
	case Detached:
		return "VolumeDetached"
	case Conflict:
		return "AttachmentConflict"
	case StaleCleared:
		return "StaleAttachmentCleared"
	case MigrationStarted:
		return "MigrationStarted"
	case MigrationCompleted:
		return "MigrationCompleted"
	case MigrationFailed:
		return "MigrationFailed"
	case MigrationTimedOut:
		return "MigrationTimedOut"
	case Adopted:
		return "VolumeAdopted"
	case Repaired:
		return "VolumeRepaired"
	}
	return "Unknown"
}

// An Announcer passes announcements on. It must not block: it is called by a volume's loop.
type Announcer interface {
	Announce(Announcement)
}
