// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

// Package csi serves the Container Storage Interface, version 1.13: Identity, Controller and Node
// over gRPC on a unix socket. It is the only place that knows CSI messages and status codes.
//
// Every request is checked here, before anything is done: its identifiers, capabilities, sizes and
// parameters. What passes is handed on in the terms of package actors, and what comes back is an
// error of one of its kinds, which the server turns into a status code (see Status). Handlers
// therefore return plain errors; only what the server sends is a gRPC status.
//
// Each RPC of the Controller has a file of its own: create.go, publish.go and so on.
//
// # Concurrency
//
// Identity and Controller hold no state that changes, and the methods of all services may be called
// from many goroutines. Order and exclusion for one volume are its actor's business in the Controller,
// behind the interface Volumes; the Node runs one operation per volume at a time, in a goroutine of
// that operation's own. Node.Watch looks after the volumes beside them: what it does to one it does as
// the only operation on that volume, and gives way to requests.
//
// # Cancellation
//
// A request's context bounds how long its caller waits, not the work: an operation that Volumes
// accepted goes on when the context ends, and a retry joins it. Server.Serve stops accepting when
// its context ends, lets running requests finish for ServerConfig.StopTimeout and then cuts them off.
// Node.Watch ends with its context, after a repair under way has; Node.Close ends such a repair, too.
package csi
