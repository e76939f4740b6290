// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"k8s.io/klog/v2"

	"github.com/rds-csi/rds-csi/actors"
	"github.com/rds-csi/rds-csi/telemetry"
)

// around returns the cluster's identity, and how to make the surroundings of a controller in it.
func (f *controllerFlags) around(ctx context.Context, logger *slog.Logger) (string, makeSurroundings, error) {
	if !f.kubernetes {
		return f.withoutKubernetes()
	}
	if f.nodes != "" {
		return "", nil, usageError{errors.New("--nodes is for --kubernetes=false: Kubernetes knows its nodes")}
	}
	namespace, err := f.leaseIn()
	if err != nil {
		return "", nil, err
	}
	klog.SetSlogLogger(logger) // client-go logs through it
	cluster, client, err := f.connect(ctx, logger)
	if err != nil {
		return "", nil, err
	}
	return cluster, func(tel *telemetry.Telemetry, news observer) (surroundings, error) {
		return f.inKubernetes(client, namespace, tel, news, logger)
	}, nil
}

// withoutKubernetes makes the surroundings out of the command line.
func (f *controllerFlags) withoutKubernetes() (string, makeSurroundings, error) {
	if err := f.namedCluster(); err != nil {
		return "", nil, err
	}
	if f.leaseNamespace != "" {
		return "", nil, usageError{errors.New("--lease-namespace is for Kubernetes: without it there is no lease, and one controller may run")}
	}
	var ids []actors.NodeID
	for name := range strings.SplitSeq(f.nodes, ",") {
		if name != "" {
			ids = append(ids, actors.NodeID(name))
		}
	}
	if len(ids) == 0 {
		return "", nil, usageError{errors.New("--nodes is missing: with --kubernetes=false, name the nodes that exist")}
	}
	nodes, err := actors.NewStaticNodes(ids...)
	if err != nil {
		return "", nil, usageError{fmt.Errorf("--nodes: %w", err)}
	}
	return f.cluster, func(*telemetry.Telemetry, observer) (surroundings, error) {
		return surroundings{nodes: nodes}, nil
	}, nil
}

// namedCluster checks the cluster's identity where nobody else can tell it.
func (f *commonFlags) namedCluster() error {
	if f.cluster == "" {
		return usageError{errors.New("--cluster-id is missing: with --kubernetes=false, give 12 hex digits of your own, the same for every controller and node of this installation, as from: openssl rand -hex 6")}
	}
	if err := actors.CheckCluster(f.cluster); err != nil {
		return usageError{fmt.Errorf("--cluster-id: %w", err)}
	}
	return nil
}
