// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

// Package actors is the heart of the driver: each volume is owned by a goroutine that serializes
// everything done to it.
//
// # The life of a publish
//
// Supervisor.Publish (requests.go) posts an event into the volume's mailbox. The volume's loop
// (loop.go) feeds it to Step (step.go), which is pure: State and Event in, State and Effects out.
// publish.go decides whether promise P1 allows the grant and derives the row that the box shall
// show (row.go), ledger included. The effect GrantRow goes to a worker (worker.go), which calls
// Box.Write; its result comes back to Step as Done, and only then is the request answered.
//
// # What the box remembers
//
// The Ledger in the comment of the volume's disk row says who was granted what and when, how far
// revokes fence, and which migration outcome was told. It is written in the same command as the
// change it records, so that a restarted process rebuilds its State from rows alone. A migration is
// derived from the ledger (migration.go); nothing about it is kept elsewhere, but for what KubeVirt says.
//
// # What Kubernetes decides
//
// The box holds the grant, Kubernetes the intent. An Orchestrator is asked live, as an effect, so that
// nothing else happens to the volume meanwhile: whether a second node may have a shared volume (admit.go),
// how KubeVirt says a migration ended (verdict.go), whether a grant that no VolumeAttachment asks for is
// left over (stale.go, and recheck.go, which finds them), and whose a volume without a ledger is
// (adoption.go). Without an Orchestrator the ledger alone decides.
//
// # Writes whose answer was lost
//
// Such a write may land at any later time. settle.go leads back to certainty; until then nothing is
// granted, and an unpublish is not answered with success.
//
// # Concurrency
//
// All methods of Supervisor may be called at any time from any goroutine. A volume's loop never
// waits for the box, for its callers, or for another volume: one effect is in flight at a time, in
// a goroutine of its own. Mailboxes are bounded; a full one answers ErrBusy at once.
//
// # Cancellation
//
// The context of a request bounds how long its caller waits, never the operation: that goes on, and
// a retry joins it. The context of Run ends everything: waiting requests are answered
// ErrUnavailable, effects in flight are waited for.
package actors
