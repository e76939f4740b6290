// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

// Rds-sim runs a simulated MikroTik ROSE Data Server: the RouterOS API, plain and over TLS, and
// disks that real hosts can attach over NVMe/TCP. It is for anyone who has no such box at hand.
//
// Usage:
//
//	rds-sim [--dir DIR] [--capacity SIZE] [--api HOST:PORT] [--api-tls HOST:PORT] [--nvme-host IP] ...
//
// The disks and the configuration are in the directory and stay there when the program ends. The
// password is read from --password-file or the environment variable RDS_SIM_PASSWORD; without one
// the API listens on loopback addresses only.
package main
