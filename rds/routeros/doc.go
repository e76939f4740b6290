// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

// Package routeros speaks the RouterOS API, the binary protocol on TCP port 8728 (8729 with TLS),
// as MikroTik's manual describes it under "API".
//
// A sentence is a list of words and ends with a word of no bytes. The package has two layers:
// [AppendSentence] and [Reader] are the wire form, for either side of a connection.
package routeros
