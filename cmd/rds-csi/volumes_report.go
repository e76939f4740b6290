// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/rds-csi/rds-csi/actors"
	"github.com/rds-csi/rds-csi/k8s"
	"github.com/rds-csi/rds-csi/rds"
)

// A report is what there is to know of one volume.
type report struct {
	Volume  actors.VolumeID `json:"volume"`
	Claim   string          `json:"claim,omitempty"`
	Bytes   int64           `json:"bytes"`
	Fencing string          `json:"fencing,omitempty"`
	Access  string          `json:"access,omitempty"`
	Cluster string          `json:"cluster,omitempty"` // of its ledger
	Slot    string          `json:"slot,omitempty"`
	File    string          `json:"file,omitempty"`
	Export  bool            `json:"export"`
	NQN     string          `json:"nqn,omitempty"`
	Port    uint16          `json:"port,omitempty"`
	Nodes   []nodeReport    `json:"nodes"`
	Verdict string          `json:"verdict"`
	OK      bool            `json:"ok"`
}

// A nodeReport is one node that has the volume, or should.
type nodeReport struct {
	Node       actors.NodeID       `json:"node"`
	Granted    *time.Time          `json:"granted,omitempty"`
	Role       string              `json:"role,omitempty"` // source or target of a migration
	Attachment k8s.AttachmentState `json:"attachment,omitempty"`
	Name       string              `json:"volumeAttachment,omitempty"`
}

// inspect compares the box's rows with the cluster's VolumeAttachments; survey is nil where Kubernetes was
// not asked, and cluster is empty where nobody knows which one this is.
func inspect(entries []rds.Entry, survey *k8s.Survey, cluster string) []report {
	list := make([]report, 0, len(entries))
	seen := map[actors.VolumeID]bool{}
	for _, e := range entries {
		seen[e.Volume.ID] = true
		list = append(list, inspectOne(e, survey, cluster))
	}
	if survey == nil {
		return list
	}
	for id := range survey.Attachments {
		if !seen[id] {
			r := report{Volume: id, Claim: survey.Claims[id], Nodes: nodesOf(actors.Ledger{}, survey.Attachments[id])}
			r.Verdict = "VolumeAttachment, but the box has no such volume"
			list = append(list, r)
		}
	}
	slices.SortFunc(list, func(a, b report) int { return cmp.Compare(a.Volume, b.Volume) })
	return list
}

func inspectOne(e rds.Entry, survey *k8s.Survey, cluster string) report {
	v := e.Volume
	r := report{
		Volume: v.ID, Bytes: v.Size, Slot: e.Slot, File: e.File, Export: v.Export, NQN: v.NQN, Port: v.Port,
		Cluster: v.Ledger.Cluster,
	}
	var attachments []k8s.Attachment
	if survey != nil {
		r.Claim, attachments = survey.Claims[v.ID], survey.Attachments[v.ID]
	}
	r.Nodes = nodesOf(v.Ledger, attachments)
	if v.Ours && e.Damage == nil {
		r.Fencing, r.Access = v.Ledger.Fencing.String(), v.Ledger.Access.String()
	}
	r.Verdict, r.OK = verdict(e, r.Nodes, survey != nil, cluster)
	return r
}

// nodesOf returns the nodes of a ledger, in the order of their grants, and then those that are only wanted.
func nodesOf(l actors.Ledger, attachments []k8s.Attachment) []nodeReport {
	nodes := []nodeReport{}
	for _, g := range l.Grants {
		at := g.At.Time().UTC()
		nodes = append(nodes, nodeReport{Node: g.Node, Granted: &at, Role: l.Role(g.Node)})
	}
	for _, a := range attachments {
		i := slices.IndexFunc(nodes, func(n nodeReport) bool { return n.Node == a.Node })
		if i < 0 {
			nodes = append(nodes, nodeReport{Node: a.Node})
			i = len(nodes) - 1
		}
		// Of several for one node, one that stays counts.
		if n := &nodes[i]; n.Attachment == "" || a.State != k8s.BeingDeleted {
			n.Attachment, n.Name = a.State, a.Name
		}
	}
	return nodes
}

// verdict says what is to be said of a volume, and whether it is as it should be.
func verdict(e rds.Entry, nodes []nodeReport, asked bool, cluster string) (string, bool) {
	v := e.Volume
	wanted := slices.ContainsFunc(nodes, func(n nodeReport) bool { return n.Attachment != "" })
	switch {
	case e.Damage != nil:
		return fmt.Sprintf("damaged ledger: %.300v", e.Damage), false
	case !v.Ours:
		return "older driver's (no ledger)", true
	case cluster == "":
		return fmt.Sprintf("cluster %s, and nobody knows which one this is (--cluster-id)", v.Ledger.Cluster), true
	case v.Ledger.Cluster != cluster && wanted:
		return fmt.Sprintf("foreign cluster %s, and a VolumeAttachment of this one", v.Ledger.Cluster), false
	case v.Ledger.Cluster != cluster:
		return "foreign cluster " + v.Ledger.Cluster, true
	}
	var texts []string
	ok := true
	add := func(text string, wrong bool) { texts, ok = append(texts, text), ok && !wrong }
	for _, f := range v.Audit(cluster) {
		add(f.Text, f.Wrong)
	}
	for _, n := range nodes {
		if text, wrong := n.verdict(); asked && text != "" {
			add(text, wrong)
		}
	}
	if len(texts) == 0 {
		return "ok", true
	}
	return strings.Join(texts, "; "), ok
}

// verdict says what is to be said of one node.
func (n nodeReport) verdict() (text string, wrong bool) {
	switch {
	case n.Granted != nil && n.Attachment == "":
		return fmt.Sprintf("granted, no VolumeAttachment (stale): %s", n.Node), true
	case n.Granted == nil && n.Attachment == k8s.AttachedTo:
		return fmt.Sprintf("VolumeAttachment, not granted: %s", n.Node), true
	case n.Granted == nil && n.Attachment == k8s.Attaching:
		return fmt.Sprintf("attaching to %s", n.Node), false
	case n.Attachment == k8s.BeingDeleted:
		return fmt.Sprintf("detaching from %s", n.Node), false
	}
	return "", false
}
