// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

// Package workload is an attach storm: many volumes created, attached, migrated, attached twice,
// detached and deleted through one gRPC connection, as the sidecars of a busy cluster do it.
//
// It is a closed loop. Each of a number of workers has one call under way and sends the next one
// when that is answered, so a slow driver is asked less often, and the latencies are those of a
// driver that is kept busy, the wait behind the other workers' calls included.
//
// Every answer is checked, and after each phase the whole list of volumes. The first answer that is
// wrong ends the storm with an error: figures of a driver that answers wrongly are no measurement.
//
// # Concurrency
//
// Run starts its workers and returns when all have ended.
//
// # Cancellation
//
// The context of Run ends it. Each call is bounded by Config.CallTimeout besides.
package workload
