// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"github.com/rds-csi/rds-csi/actors"
	"github.com/rds-csi/rds-csi/csi"
	"github.com/rds-csi/rds-csi/k8s"
	"github.com/rds-csi/rds-csi/k8s/kubevirt"
	"github.com/rds-csi/rds-csi/telemetry"
)

// Clients speak to the API server: about what is built in, and about KubeVirt's objects, whose types
// nobody here knows.
type clients struct {
	builtin kubernetes.Interface
	dynamic dynamic.Interface
}

// An orchestrator is Kubernetes as the actors ask it: who should be attached, and what migrates.
type orchestrator struct {
	*k8s.Attachments
	*kubevirt.Migrations
}

var _ actors.Orchestrator = orchestrator{}

// An observer is told what was seen of the cluster.
type observer interface {
	// Recheck is called when a VolumeAttachment has gone.
	Recheck()
	// Outcome is called when KubeVirt says something new about a migration of a volume.
	Outcome(actors.VolumeID, actors.Migration)
}

// connect returns the clients of the API server and the cluster's identity. While the API server is away it
// waits: without that identity nothing on the box can be told from another cluster's.
func (f *commonFlags) connect(ctx context.Context, logger *slog.Logger) (string, clients, error) {
	rest, err := k8s.RESTConfig(k8s.ClientConfig{Kubeconfig: f.kubeconfig, UserAgent: "rds-csi/" + version})
	if err != nil {
		return "", clients{}, err
	}
	var c clients
	if c.builtin, err = k8s.NewClient(rest); err != nil {
		return "", clients{}, err
	}
	if c.dynamic, err = dynamic.NewForConfig(rest); err != nil {
		return "", clients{}, fmt.Errorf("make a client of KubeVirt's resources: %w: %w", err, actors.ErrInvalid)
	}
	cluster := f.cluster
	if cluster == "" {
		cluster, err = awaitClusterID(ctx, c.builtin, logger)
	} else {
		err = actors.CheckCluster(cluster)
	}
	if err != nil {
		return "", clients{}, fmt.Errorf("tell which cluster this is (--cluster-id): %w", err)
	}
	return cluster, c, nil
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
func (f *controllerFlags) inKubernetes(client clients, namespace string, tel *telemetry.Telemetry, news observer, logger *slog.Logger) (surroundings, error) {
	lease, err := f.lease(client.builtin, namespace, logger)
	if err != nil {
		return surroundings{}, err
	}
	nodes, err := k8s.NewNodes(k8s.NodesConfig{Client: client.builtin, Driver: f.driverName, NQNKey: csi.NQNKey})
	if err != nil {
		return surroundings{}, err
	}
	claims, err := k8s.NewClaims(k8s.ClaimsConfig{Client: client.builtin, Driver: f.driverName, Logger: logger})
	if err != nil {
		return surroundings{}, err
	}
	events, err := k8s.NewEvents(k8s.EventsConfig{
		Client: client.builtin, Claims: claims, Driver: f.driverName, Logger: logger,
		Posted: tel.EventPosted, Dropped: tel.EventDropped, Inherited: tel.EventInherited,
	})
	if err != nil {
		return surroundings{}, err
	}
	attachments, err := k8s.NewAttachments(k8s.AttachmentsConfig{
		Client: client.builtin, Claims: claims, Driver: f.driverName, TimeoutKey: csi.TimeoutKey, FencingKey: csi.FencingKey,
		Events: events, Logger: logger,
		Changed: news.Recheck,
	})
	if err != nil {
		return surroundings{}, err
	}
	migrations, err := kubevirt.New(kubevirt.Config{
		Client: client.builtin, Dynamic: client.dynamic, Claims: claims, Observe: news.Outcome, Logger: logger,
	})
	if err != nil {
		return surroundings{}, err
	}
	annotations, err := k8s.NewAnnotations(k8s.AnnotationsConfig{
		Client: client.builtin, Claims: claims, Driver: f.driverName, Attached: attachments.Attached, Logger: logger,
		Dropped: tel.AnnotationDropped,
	})
	if err != nil {
		return surroundings{}, err
	}
	around := surroundings{
		nodes: nodes, orchestrator: orchestrator{attachments, migrations},
		announcers: []actors.Announcer{events, annotations}, inherited: events.Inherit, lease: lease,
		// Not of KubeVirt's objects, which may be half there: what is asked about them waits for itself.
		synced: attachments.Synced,
		tasks:  []func(context.Context) error{claims.Run, attachments.Run, migrations.Run, events.Run, annotations.Run},
	}
	if lease != nil {
		around.frozen = lease.Frozen
	}
	return around, nil
}
