// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/tls"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/rds-csi/rds-csi/rds"
	"github.com/rds-csi/rds-csi/rds/sim"
)

// The transports of the demo, as --transport names them.
const (
	demoAPI = "api"
	demoTLS = "tls"
	demoSSH = "ssh"
)

var demoTransports = []string{demoAPI, demoTLS, demoSSH}

// demoServes says what the driver of the demo uses of the box.
var demoServes = map[string]string{demoAPI: "its API", demoTLS: "its API over TLS", demoSSH: "SSH"}

// demoBox returns how to reach the demo's box over a transport.
func demoBox(box *sim.Sim, transport string) rds.Config {
	cfg := rds.Config{
		Address: box.APIAddr(), Username: demoUser, Password: demoPassword, Cluster: demoCluster,
		VolumePaths: []string{"/" + demoPool}, CommandTimeout: 5 * time.Second,
	}
	switch transport {
	case demoTLS:
		cfg.Address = box.TLSAddr()
		cfg.TLS = &tls.Config{RootCAs: box.Roots(), ServerName: "127.0.0.1", MinVersion: tls.VersionTLS12}
	case demoSSH:
		cfg.Address, cfg.Transport = box.SSHAddr(), rds.SSH
		cfg.SSH.HostKey = ssh.FingerprintSHA256(box.HostKey())
	}
	return cfg
}
