// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package k8s

import (
	"context"
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/rds-csi/rds-csi/actors"
)

// The defaults of ClientConfig. They are above what external-attacher asks for: a live read that had to wait for
// its turn too long would count as a node that cannot be read, and so as one that is lost.
const (
	DefaultQPS   = 400
	DefaultBurst = 800
)

// DefaultTimeout bounds one request to the API server.
const DefaultTimeout = 3 * time.Second

// ClientConfig says how to reach the API server.
type ClientConfig struct {
	// Kubeconfig is the path of a kubeconfig file. "" uses the service account of the pod.
	Kubeconfig string
	// QPS and Burst bound the requests per second. 0 is the default; a negative QPS sets no bound.
	QPS   float32
	Burst int
	// UserAgent stands in the API server's audit log. "" is "rds-csi".
	UserAgent string
}

// RESTConfig returns the configuration for clients of any kind. It is ErrInvalid where the kubeconfig
// cannot be used, or where there is none and the process runs in no pod.
func RESTConfig(config ClientConfig) (*rest.Config, error) {
	out, err := rest.InClusterConfig()
	if config.Kubeconfig != "" {
		out, err = clientcmd.BuildConfigFromFlags("", config.Kubeconfig)
	}
	switch {
	case err != nil && config.Kubeconfig != "":
		return nil, fmt.Errorf("read the kubeconfig %q: %w: %w", config.Kubeconfig, err, actors.ErrInvalid)
	case err != nil:
		return nil, fmt.Errorf("use the pod's service account (outside of a cluster, name a kubeconfig): %w: %w", err, actors.ErrInvalid)
	}
	out.QPS, out.Burst, out.UserAgent = config.QPS, config.Burst, config.UserAgent
	if out.QPS == 0 {
		out.QPS = DefaultQPS
	}
	if out.Burst <= 0 {
		out.Burst = DefaultBurst
	}
	if out.UserAgent == "" {
		out.UserAgent = "rds-csi"
	}
	return out, nil
}

// NewClient returns a client of the built-in resources. It connects with its first request.
func NewClient(config *rest.Config) (kubernetes.Interface, error) {
	config = rest.CopyConfig(config)
	config.ContentType = "application/vnd.kubernetes.protobuf"
	config.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("make a Kubernetes client: %w: %w", err, actors.ErrInvalid)
	}
	return client, nil
}

// ClusterID returns the cluster's identity in ledgers: the first 12 hex digits of the UID of the
// namespace kube-system, which lives as long as the cluster. It is ErrUnavailable where that cannot
// be read.
func ClusterID(ctx context.Context, client kubernetes.Interface) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, DefaultTimeout)
	defer cancel()
	ns, err := client.CoreV1().Namespaces().Get(ctx, metav1.NamespaceSystem, metav1.GetOptions{})
	if err != nil {
		return "", fmt.Errorf("read the cluster's identity from namespace kube-system: %w: %w", err, actors.ErrUnavailable)
	}
	digits := strings.ToLower(strings.ReplaceAll(string(ns.UID), "-", ""))
	id := digits[:min(12, len(digits))]
	if err := actors.CheckCluster(id); err != nil {
		return "", fmt.Errorf("derive the cluster's identity from the UID %.64q of kube-system (or name one with --cluster-id): %w", ns.UID, err)
	}
	return id, nil
}

// Gone reports whether the API server said that an object does not exist. A 404 of something between
// here and there, which knows no objects, says nothing.
func Gone(err error) bool {
	return errors.IsNotFound(err) && !errors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse)
}
