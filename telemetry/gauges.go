// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package telemetry

import (
	"time"

	"github.com/prometheus/client_golang/prometheus/promauto"
)

// Gauges are values that are read when metrics are served. Each function must return at once, from
// memory, and may be called from many goroutines. A gauge without a function does not exist.
type Gauges struct {
	Leader           func() bool          // this process holds the lease
	ActiveMigrations func() int           // volumes that two nodes have at the moment
	Actors           func() int           // volumes that have a loop
	Quarantined      func() int           // volumes that are left alone since their loop kept panicking
	Unresolved       func() int           // volumes with a write whose outcome is not known
	StaleHeld        func() int           // stale attachments that wait for a person, being too many at once
	QueueDepth       func() int           // messages in all mailboxes
	QueueDepthMax    func() int           // messages in the fullest mailbox
	QueueAge         func() time.Duration // age of the oldest message in any mailbox
	NVMeConnections  func() int           // of this driver, on this node
}

func (g Gauges) register(f promauto.Factory) {
	for _, number := range []struct {
		name string
		help string
		read func() int
	}{
		{ActiveMigrations, "Volumes that are attached to two nodes while a VM migrates.", g.ActiveMigrations},
		{Actors, "Volumes that have a loop in memory.", g.Actors},
		{QuarantinedVolumes, "Volumes that are left alone since their loop kept panicking.", g.Quarantined},
		{UnresolvedVolumes, "Volumes with a write whose outcome on the box is not known.", g.Unresolved},
		{StaleHeld, "Stale attachments that wait for a person, being too many at once.", g.StaleHeld},
		{QueueDepth, "Requests that wait in the mailboxes of all volumes.", g.QueueDepth},
		{QueueDepthMax, "Requests that wait in the fullest mailbox.", g.QueueDepthMax},
		{NVMeConnections, "NVMe/TCP connections of this driver on this node.", g.NVMeConnections},
	} {
		if number.read != nil {
			f.NewGaugeFunc(gauge(number.name, number.help), func() float64 { return float64(number.read()) })
		}
	}
	if g.QueueAge != nil {
		f.NewGaugeFunc(gauge(QueueOldestSeconds, "Age of the request that has waited longest in any mailbox."),
			func() float64 { return seconds(g.QueueAge()) })
	}
	if g.Leader != nil {
		f.NewGaugeFunc(gauge(Leader, "Whether this process holds the lease: 1 or 0."), func() float64 {
			if g.Leader() {
				return 1
			}
			return 0
		})
	}
}
