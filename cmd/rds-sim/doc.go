// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

// Rds-sim runs a simulated MikroTik ROSE Data Server: the RouterOS API, plain and over TLS, the
// console over SSH, and disks that real hosts can attach over NVMe/TCP. It is for anyone who has no
// such box at hand.
//
// Usage:
//
//	rds-sim [--dir DIR] [--capacity SIZE] [--api HOST:PORT] [--api-tls HOST:PORT]
//	        [--ssh HOST:PORT] [--nvme-host IP] [--control HOST:PORT] ...
//
// The disks and the configuration are in the directory and stay there when the program ends. The
// password is read from --password-file or the environment variable RDS_SIM_PASSWORD; without one
// the box listens on loopback addresses only.
//
// What a person may have set wrongly on a box can be tried: --policies of the account, --rose-storage,
// --pool-missing, --pool-state, --no-certificate.
//
// With --control, all of that can be mended, or spoilt, while the box runs, and faults can be asked for
// over HTTP; see package rds/sim/control:
//
//	curl -H 'Content-Type: application/json' -d '{"command": "/disk/set", "drop": "after", "times": 1}' 127.0.0.1:8080/faults
//	curl -H 'Content-Type: application/json' -d '{"policies": "read,api"}' 127.0.0.1:8080/settings
package main
