// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/klog/v2"

	"github.com/rds-csi/rds-csi/actors"
	"github.com/rds-csi/rds-csi/csi"
	"github.com/rds-csi/rds-csi/k8s"
	"github.com/rds-csi/rds-csi/telemetry"
)

// around returns the cluster's identity, and how to make the surroundings of a controller in it.
func (f *controllerFlags) around(ctx context.Context, logger *slog.Logger) (string, func(*telemetry.Telemetry) (surroundings, error), error) {
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
	return cluster, func(tel *telemetry.Telemetry) (surroundings, error) {
		return f.inKubernetes(client, namespace, tel, logger)
	}, nil
}

// connect returns a client of the API server and the cluster's identity. While the API server is away it
// waits: without that identity nothing on the box can be told from another cluster's.
func (f *commonFlags) connect(ctx context.Context, logger *slog.Logger) (string, kubernetes.Interface, error) {
	rest, err := k8s.RESTConfig(k8s.ClientConfig{Kubeconfig: f.kubeconfig, UserAgent: "rds-csi/" + version})
	if err != nil {
		return "", nil, err
	}
	client, err := k8s.NewClient(rest)
	if err != nil {
		return "", nil, err
	}
	cluster := f.cluster
	if cluster == "" {
		cluster, err = awaitClusterID(ctx, client, logger)
	} else {
		err = actors.CheckCluster(cluster)
	}
	if err != nil {
		return "", nil, fmt.Errorf("tell which cluster this is (--cluster-id): %w", err)
	}
	return cluster, client, nil
}

// awaitClusterID reads the cluster's identity as soon as the API server answers.
func awaitClusterID(ctx context.Context, client kubernetes.Interface, logger *slog.Logger) (string, error) {
	for wait := time.Second; ; wait = min(2*wait, 15*time.Second) {
		id, err := k8s.ClusterID(ctx, client)
		if !errors.Is(err, actors.ErrUnavailable) {
			return id, err
		}
		logger.Warn("the API server does not answer yet", "error", err)
		select {
		case <-ctx.Done():
			return "", err
		case <-time.After(wait):
		}
	}
}

// inKubernetes makes the surroundings out of the API server.
func (f *controllerFlags) inKubernetes(client kubernetes.Interface, namespace string, tel *telemetry.Telemetry, logger *slog.Logger) (surroundings, error) {
	lease, err := f.lease(client, namespace, logger)
	if err != nil {
		return surroundings{}, err
	}
	nodes, err := k8s.NewNodes(k8s.NodesConfig{Client: client, Driver: f.driverName, NQNKey: csi.NQNKey})
	if err != nil {
		return surroundings{}, err
	}
	claims, err := k8s.NewClaims(k8s.ClaimsConfig{Client: client, Driver: f.driverName, Logger: logger})
	if err != nil {
		return surroundings{}, err
	}
	events, err := k8s.NewEvents(k8s.EventsConfig{
		Client: client, Claims: claims, Driver: f.driverName, Logger: logger,
		Posted: tel.EventPosted, Dropped: tel.EventDropped,
	})
	if err != nil {
		return surroundings{}, err
	}
	attachments, err := k8s.NewAttachments(k8s.AttachmentsConfig{
		Client: client, Claims: claims, Driver: f.driverName, TimeoutKey: csi.TimeoutKey, Events: events, Logger: logger,
	})
	if err != nil {
		return surroundings{}, err
	}
	annotations, err := k8s.NewAnnotations(k8s.AnnotationsConfig{
		Client: client, Claims: claims, Driver: f.driverName, Attached: attachments.Attached, Logger: logger,
		Dropped: tel.AnnotationDropped,
	})
	if err != nil {
		return surroundings{}, err
	}
	return surroundings{
		nodes: nodes, announcers: []actors.Announcer{events, annotations}, lease: lease, synced: attachments.Synced,
		tasks: []func(context.Context) error{claims.Run, attachments.Run, events.Run, annotations.Run},
	}, nil
}

// withoutKubernetes makes the surroundings out of the command line.
func (f *controllerFlags) withoutKubernetes() (string, func(*telemetry.Telemetry) (surroundings, error), error) {
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
	return f.cluster, func(*telemetry.Telemetry) (surroundings, error) {
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
