// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"log/slog"

	"k8s.io/client-go/kubernetes"
	"k8s.io/klog/v2"

	"github.com/rds-csi/rds-csi/actors"
	"github.com/rds-csi/rds-csi/csi"
	"github.com/rds-csi/rds-csi/k8s"
	"github.com/rds-csi/rds-csi/telemetry"
)

// identify tells which cluster the node is in, and returns a client of its API server, nil where there is none. A
// node that was told its cluster needs the API server for events alone, and goes on without it.
func (f *nodeFlags) identify(ctx context.Context, logger *slog.Logger) (string, kubernetes.Interface, error) {
	if !f.kubernetes {
		return f.cluster, nil, f.namedCluster()
	}
	if f.cluster != "" {
		if err := f.namedCluster(); err != nil {
			return "", nil, err
		}
	}
	klog.SetSlogLogger(logger) // client-go logs through it
	cluster, client, err := f.connect(ctx, logger)
	switch {
	case err != nil && f.cluster != "":
		logger.Warn("no events are posted: there is no access to the API server", "error", err)
		return f.cluster, nil, nil
	case err != nil:
		return "", nil, err
	}
	return cluster, client.builtin, nil
}

// newEvents returns where events of this node are posted, nil where there is no API server.
func (f *nodeFlags) newEvents(client kubernetes.Interface, tel *telemetry.Telemetry, logger *slog.Logger) (*k8s.Events, error) {
	if client == nil {
		return nil, nil
	}
	// Its cache is not kept: a node reads the one PersistentVolume that an event is about.
	claims, err := k8s.NewClaims(k8s.ClaimsConfig{Client: client, Driver: f.driverName, Logger: logger})
	if err != nil {
		return nil, fmt.Errorf("look for claims: %w", err)
	}
	return k8s.NewEvents(k8s.EventsConfig{
		Client: client, Claims: claims, Driver: f.driverName, Instance: f.node, Logger: logger,
		Posted: tel.EventPosted, Dropped: tel.EventDropped,
	})
}

// hooks hand on what the node service sees of its volumes. events may be nil: then the log has it alone.
func (f *nodeFlags) hooks(tel *telemetry.Telemetry, events *k8s.Events, logger *slog.Logger) csi.NodeHooks {
	return csi.NodeHooks{
		Conditions: func(counts map[csi.Condition]int) {
			byName := make(map[string]int, len(counts))
			for condition, n := range counts {
				byName[string(condition)] = n
			}
			tel.NodeVolumes(byName)
		},
		Vanished: tel.ConnectionVanished, DeadMount: tel.StaleMount, Recovered: tel.StaleRecovery,
		Report: func(reason string, id actors.VolumeID, text string) {
			logger.Warn("trouble with a volume", "reason", reason, "volume-id", string(id), "text", text)
			if events != nil {
				events.Report(reason, id, actors.NodeID(f.node), text)
			}
		},
	}
}
