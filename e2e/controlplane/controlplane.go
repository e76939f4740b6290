// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// A Config says what to run. All fields are required.
type Config struct {
	Tools string // directory of the programs
	Dir   string // directory for state and logs, which is made
	Host  string // IP address of the loopback range on which nobody else listens
}

// A ControlPlane is a running control plane.
type ControlPlane struct {
	cfg    Config
	tokens tokens
	admin  *rest.Config
	client kubernetes.Interface

	etcd, apiserver, controllers, scheduler *Component
}

// The ports are the usual ones: the address is nobody else's.
const (
	etcdPort       = "2379"
	peerPort       = "2380"
	apiserverPort  = "6443"
	controllerPort = "10257"
	schedulerPort  = "10259"
)

// Start starts a control plane and returns when it is ready.
func Start(ctx context.Context, cfg Config) (_ *ControlPlane, err error) {
	c := &ControlPlane{cfg: cfg}
	if err := os.MkdirAll(c.dir("pki"), 0o700); err != nil {
		return nil, fmt.Errorf("make the control plane's directory: %w", err)
	}
	if err := c.writeSecrets(); err != nil {
		return nil, err
	}
	if err := c.connect(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("start the control plane: %w", err), c.Stop())
		}
	}()
	c.define()
	if err := c.etcd.Start(); err != nil {
		return nil, err
	}
	if err := c.StartAPIServer(ctx); err != nil {
		return nil, err
	}
	for _, k := range []*Component{c.controllers, c.scheduler} {
		if err := k.Start(); err != nil {
			return nil, err
		}
	}
	return c, c.awaitControllers(ctx)
}

func (c *ControlPlane) dir(name string) string { return filepath.Join(c.cfg.Dir, name) }

func (c *ControlPlane) address(port string) string { return net.JoinHostPort(c.cfg.Host, port) }

// define says how each program is run.
func (c *ControlPlane) define() {
	program := func(name string, args ...string) *Component {
		return NewComponent(filepath.Join(c.cfg.Tools, name), c.cfg.Dir, name, args...)
	}
	peers, clients := "http://"+c.address(peerPort), "http://"+c.address(etcdPort)
	c.etcd = program("etcd",
		"--data-dir="+c.dir("etcd"), "--unsafe-no-fsync", "--log-level=warn",
		"--listen-client-urls="+clients, "--advertise-client-urls="+clients,
		"--listen-peer-urls="+peers, "--initial-advertise-peer-urls="+peers, "--initial-cluster=default="+peers)
	c.apiserver = program("kube-apiserver",
		"--etcd-servers="+clients, "--bind-address="+c.cfg.Host, "--advertise-address="+c.cfg.Host,
		"--secure-port="+apiserverPort,
		"--tls-cert-file="+c.dir("pki/apiserver.crt"), "--tls-private-key-file="+c.dir("pki/apiserver.key"),
		"--service-cluster-ip-range=10.96.0.0/24", "--endpoint-reconciler-type=none",
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file="+c.dir("pki/sa.pub"), "--service-account-signing-key-file="+c.dir("pki/sa.key"),
		"--authorization-mode=Node,RBAC", "--token-auth-file="+c.dir("pki/tokens.csv"), "--allow-privileged=true",
		"--max-requests-inflight=1600", "--max-mutating-requests-inflight=800")
	c.controllers = program("kube-controller-manager",
		"--kubeconfig="+c.dir("pki/controllers"), "--authentication-kubeconfig="+c.dir("pki/controllers"),
		"--authorization-kubeconfig="+c.dir("pki/controllers"), "--authentication-skip-lookup", "--leader-elect=false",
		"--bind-address="+c.cfg.Host, "--secure-port="+controllerPort, "--cert-dir="+c.dir("pki/controller-manager"),
		"--use-service-account-credentials", "--service-account-private-key-file="+c.dir("pki/sa.key"),
		"--root-ca-file="+c.dir("pki/apiserver.crt"), "--kube-api-qps=500", "--kube-api-burst=1000",
		"--controllers=*,-node-lifecycle-controller")
	c.scheduler = program("kube-scheduler",
		"--kubeconfig="+c.dir("pki/scheduler"), "--authentication-kubeconfig="+c.dir("pki/scheduler"),
		"--authorization-kubeconfig="+c.dir("pki/scheduler"), "--authentication-skip-lookup", "--leader-elect=false",
		"--bind-address="+c.cfg.Host, "--secure-port="+schedulerPort, "--cert-dir="+c.dir("pki/kube-scheduler"),
		"--kube-api-qps=500", "--kube-api-burst=1000")
}

// StartAPIServer starts the API server and returns when it serves.
func (c *ControlPlane) StartAPIServer(ctx context.Context) error {
	if err := c.apiserver.Start(); err != nil {
		return err
	}
	return c.apiserver.Await(ctx, func(ctx context.Context) error {
		return c.client.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
	})
}

// KillAPIServer takes the API server away at once, as a crash does. Everything else goes on.
func (c *ControlPlane) KillAPIServer() error { return c.apiserver.Kill() }

// connect makes the kubeconfigs and the administrator's client.
func (c *ControlPlane) connect() error {
	if err := c.writeKubeconfigs(); err != nil {
		return err
	}
	c.admin = c.config(c.tokens.admin)
	c.admin.QPS = -1
	client, err := kubernetes.NewForConfig(c.admin)
	if err != nil {
		return fmt.Errorf("make the administrator's client: %w", err)
	}
	c.client = client
	return nil
}

// REST returns the administrator's access, without a limit on requests.
func (c *ControlPlane) REST() *rest.Config { return rest.CopyConfig(c.admin) }

// Client returns the administrator's client.
func (c *ControlPlane) Client() kubernetes.Interface { return c.client }

// Err tells of a program that ended by itself, or which of those that Stop stops had to be killed.
func (c *ControlPlane) Err() error {
	return errors.Join(c.etcd.Err(), c.apiserver.Err(), c.controllers.Err(), c.scheduler.Err())
}

// Stop ends all programs, etcd last, and returns when they are gone.
func (c *ControlPlane) Stop() error {
	var errs []error
	for _, program := range []*Component{c.scheduler, c.controllers, c.apiserver, c.etcd} {
		if program != nil {
			errs = append(errs, program.End())
		}
	}
	return errors.Join(errs...)
}
