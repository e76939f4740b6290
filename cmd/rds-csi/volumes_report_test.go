// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"testing"
	"time"

	"github.com/rds-csi/rds-csi/actors"
	"github.com/rds-csi/rds-csi/k8s"
	"github.com/rds-csi/rds-csi/rds"
)

func TestVerdicts(t *testing.T) {
	row := func(change func(*rds.Entry)) rds.Entry {
		e := rds.Entry{Volume: actors.Volume{
			ID: volumeA, Exists: true, Ours: true, Export: true, NQN: actors.NQN(actors.DefaultNQNPrefix, volumeA, 9), Port: 4420,
			Ledger: actors.Ledger{
				Cluster: ownCluster, Gen: 2, Epoch: 9, Fencing: actors.FencingEpoch, Timeout: 300, Access: actors.AccessSingle,
				Grants: []actors.Grant{{Node: "node-a", At: actors.TokenAt(time.Unix(1e9, 0))}},
			},
		}}
		if change != nil {
			change(&e)
		}
		return e
	}
	detached := func(e *rds.Entry) {
		e.Volume.Export, e.Volume.Ledger.Grants, e.Volume.Ledger.Access = false, nil, actors.AccessNone
	}
	foreign := func(e *rds.Entry) { e.Volume.Ledger.Cluster = otherCluster }
	tests := []struct {
		name    string
		entry   rds.Entry
		asked   bool
		cluster string
		states  []k8s.AttachmentState // of VolumeAttachments for node-a
		want    string
		ok      bool
	}{
		{"attached", row(nil), true, ownCluster, []k8s.AttachmentState{k8s.AttachedTo}, "ok", true},
		{"attached a moment ago", row(nil), true, ownCluster, []k8s.AttachmentState{k8s.Attaching}, "ok", true},
		{"left over", row(nil), true, ownCluster, nil, "granted, no VolumeAttachment (stale): node-a", false},
		{"not compared", row(nil), false, ownCluster, nil, "ok", true},
		{"detaching", row(nil), true, ownCluster, []k8s.AttachmentState{k8s.BeingDeleted}, "detaching from node-a", true},
		{"wanted anew", row(nil), true, ownCluster, []k8s.AttachmentState{k8s.AttachedTo, k8s.BeingDeleted}, "ok", true},
		{"detached", row(detached), true, ownCluster, nil, "ok", true},
		{"attaching", row(detached), true, ownCluster, []k8s.AttachmentState{k8s.Attaching}, "attaching to node-a", true},
		{"forgotten", row(detached), true, ownCluster, []k8s.AttachmentState{k8s.AttachedTo}, "VolumeAttachment, not granted: node-a", false},
		{"foreign", row(foreign), true, ownCluster, nil, "foreign cluster " + otherCluster, true},
		{"foreign and wanted", row(foreign), true, ownCluster, []k8s.AttachmentState{k8s.Attaching}, "foreign cluster " + otherCluster + ", and a VolumeAttachment of this one", false},
		{"nobody knows whose", row(nil), false, "", nil, "cluster " + ownCluster + ", and nobody knows which one this is (--cluster-id)", true},
		{"the older driver's", row(func(e *rds.Entry) { e.Volume.Ours = false }), true, ownCluster, nil, "older driver's (no ledger)", true},
		{"damaged", row(func(e *rds.Entry) { e.Damage = errors.New("it is broken") }), true, ownCluster, nil, "damaged ledger: it is broken", false},
		{
			"two things", row(func(e *rds.Entry) { e.Volume.Export = false }), true, ownCluster, nil,
			"granted, but not exported; granted, no VolumeAttachment (stale): node-a", false,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var attachments []k8s.Attachment
			for _, state := range tt.states {
				attachments = append(attachments, k8s.Attachment{Node: "node-a", State: state})
			}
			got, ok := verdict(tt.entry, nodesOf(tt.entry.Volume.Ledger, attachments), tt.asked, tt.cluster)
			if got != tt.want || ok != tt.ok {
				t.Errorf("%q, ok %v, want %q, %v", got, ok, tt.want, tt.ok)
			}
		})
	}
}

func TestSizes(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 B", 512: "512 B", 1 << 30: "1 GiB", 10 << 40: "10 TiB", 1500 << 20: "1500 MiB", 10<<30 + 512: "~10.0 GiB", 1<<40 + 4096: "~1.0 TiB",
	} {
		if got := size(n); got != want {
			t.Errorf("%d is %q, want %q", n, got, want)
		}
	}
}
