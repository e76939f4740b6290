// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/rds-csi/rds-csi/actors"
)

// The results of a migration, as metrics and spans name them.
const (
	success = "success"
	failed  = "failed"
	timeout = "timeout"
)

var results = []string{success, failed, timeout}

// A route is from where to where a volume migrates.
type route struct {
	volume         actors.VolumeID
	source, target string // nodes
}

func (r route) String() string {
	return fmt.Sprintf("volume %s from node %s to node %s", r.volume, r.source, r.target)
}

// An outcome is how a migration ended.
type outcome struct {
	route
	result string
}

// A tally is what a script knows of its migrations: of VMs, what it made KubeVirt say; of pods, in which order
// it saw them attached and detached, which is all that there is to go by.
type tally struct {
	ended   map[outcome]int
	open    map[route]int                // they have begun, and nothing is known of their end
	seen    map[actors.VolumeID][]string // nodes; the older one first
	virtual map[actors.VolumeID]bool     // they are VMs' disks
	limits  map[string]time.Time         // of KubeVirt's migrations, by name
}

func newTally() *tally {
	return &tally{
		ended: map[outcome]int{}, open: map[route]int{}, seen: map[actors.VolumeID][]string{},
		virtual: map[actors.VolumeID]bool{}, limits: map[string]time.Time{},
	}
}

// end notes how a migration ended.
func (t *tally) end(r route, result string) {
	t.open[r]--
	t.ended[outcome{r, result}]++
}

// see notes to which nodes a volume is attached, of those that two nodes may share.
func (t *tally) see(id actors.VolumeID, nodes []string) error {
	before := t.seen[id]
	if t.virtual[id] || slices.Equal(slices.Sorted(slices.Values(before)), slices.Sorted(slices.Values(nodes))) {
		return nil
	}
	if len(before) == 2 {
		t.left(route{id, before[0], before[1]}, nodes)
	}
	t.seen[id] = slices.Clone(nodes)
	if len(nodes) < 2 {
		return nil
	}
	if len(before) != 1 || !slices.Contains(nodes, before[0]) {
		return errors.New("which of the two nodes is the source? say before that the claim is attached to it alone")
	}
	source, target := nodes[0], nodes[1]
	if source != before[0] {
		source, target = target, source
	}
	t.seen[id] = []string{source, target}
	t.open[route{id, source, target}]++
	return nil
}

// left notes who stayed after a migration.
func (t *tally) left(r route, nodes []string) {
	switch {
	case slices.Equal(nodes, []string{r.target}):
		t.end(r, success)
	case slices.Equal(nodes, []string{r.source}):
		t.end(r, failed)
	}
}
