// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bytes"
	"testing"
)

// FuzzRead feeds a line with noise before a message: the message is found, whatever stands before it.
func FuzzRead(f *testing.F) {
	f.Add([]byte("[    0.000000] Linux version 6.1.0\r\n"))
	f.Add([]byte("00000000 {\"id\":1}"))
	f.Add([]byte("\n\n\x00\xff"))
	f.Fuzz(func(t *testing.T, noise []byte) {
		line, err := encode(message{ID: 1 << 60, Op: "last"})
		if err != nil {
			t.Fatal(err)
		}
		in := newReader(bytes.NewReader(append(noise, line...)))
		for {
			m, err := in.next()
			if err != nil {
				t.Fatal("the message is not found:", err)
			}
			if m.ID == 1<<60 && m.Op == "last" {
				return
			}
		}
	})
}
