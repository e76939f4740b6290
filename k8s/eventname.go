// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package k8s

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/rds-csi/rds-csi/actors"
)

// The parts of a migration that an event tells. Each has one, whatever it says.
const (
	migrationStart = "start"
	migrationEnd   = "end"
)

// part returns which part of a migration the event tells, and "" for other events.
func (n note) part() string {
	switch {
	case n.grant == 0:
	case n.reason == actors.MigrationStarted.String():
		return migrationStart
	case n.reason == actors.MigrationCompleted.String(), n.reason == actors.MigrationFailed.String():
		return migrationEnd
	}
	return ""
}

// once reports whether the event tells what happens once. Any other may happen again, and is counted up.
func (n note) once() bool { return n.part() != "" }

// name returns the event's name. Part of a migration has one name, whatever is told of it; other events have the
// same name when they say the same of the same object.
func (n note) name(about *corev1.ObjectReference) string {
	if part := n.part(); part != "" {
		return migrationEvent(about, n.volume, n.grant, part)
	}
	return eventName(about, n.kind(), n.reason, n.text)
}

func migrationEvent(about *corev1.ObjectReference, id actors.VolumeID, grant actors.Token, part string) string {
	return eventName(about, string(id), grant.String(), part)
}

// eventName looks like the names that others give, which end in a time.
func eventName(about *corev1.ObjectReference, tells ...string) string {
	sum := sha256.Sum256([]byte(string(about.UID) + "\x00" + strings.Join(tells, "\x00")))
	name := fmt.Sprintf("%s.%x", about.Name, sum[:8])
	if len(validation.IsDNS1123Subdomain(name)) > 0 { // too long, or an object whose name is no name for an event
		name = fmt.Sprintf("%x", sum[:16])
	}
	return name
}

// toldBy reports whether an event that is there told this already. Of a conflict it did if it was told since
// the volume has been held as it is: then the same node asks again, after a process that had refused it.
func (n note) toldBy(there *corev1.Event) bool {
	return n.reason == actors.Conflict.String() && n.grant != 0 &&
		!there.LastTimestamp.Time.Before(n.grant.Time().Truncate(time.Second)) // events know no smaller unit
}
