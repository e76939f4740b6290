// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"k8s.io/client-go/kubernetes"

	"github.com/rds-csi/rds-csi/k8s"
)

// podNamespace is the file that tells a pod its namespace.
const podNamespace = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"

// leaseIn returns the namespace of the lease, and "" where there is to be none.
func (f *controllerFlags) leaseIn() (string, error) {
	if !f.leaderElect {
		if f.leaseNamespace != "" {
			return "", usageError{errors.New("--lease-namespace is for --leader-elect")}
		}
		return "", nil
	}
	if f.leaseNamespace != "" {
		return f.leaseNamespace, nil
	}
	b, err := os.ReadFile(podNamespace)
	if err != nil {
		return "", usageError{fmt.Errorf("--lease-namespace is missing: outside of a pod, name the namespace of the lease by which one of several controllers leads, or say --leader-elect=false: %w", err)}
	}
	return strings.TrimSpace(string(b)), nil
}

// lease returns the lease by which one of several controllers leads, or nil where there is to be none.
func (f *controllerFlags) lease(client kubernetes.Interface, namespace string, logger *slog.Logger) (*k8s.Lease, error) {
	if namespace == "" {
		return nil, nil
	}
	host, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("name this controller among those that want the lease: %w", err)
	}
	return k8s.NewLease(k8s.LeaseConfig{
		Client: client, Namespace: namespace, Name: f.driverName, Identity: host + "_" + rand.Text(),
		WriteTimeout: f.commandTimeout, Logger: logger,
	})
}
