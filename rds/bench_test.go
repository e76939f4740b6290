// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package rds

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/rds-csi/rds-csi/actors"
	"github.com/rds-csi/rds-csi/rds/routeros"
)

const manyRows = 1000

// BenchmarkListing1000 reads a volume of a box with 1,000 attached ones, over a connection in memory:
// what an attach costs the driver when nobody shares its listing. Between two listings one row changes.
func BenchmarkListing1000(b *testing.B) {
	p := newPrinter(manyRows)
	box, err := New(Config{
		Address: "rds:8728", Username: "admin", Cluster: testCluster, VolumePaths: []string{testPath}, DialContext: p.dial,
	})
	if err != nil {
		b.Fatal(err)
	}
	defer box.Close()
	b.ReportAllocs()
	for b.Loop() {
		v, err := box.Read(b.Context(), volumeID(1))
		if err != nil || !v.Exists {
			b.Fatalf("Read = %+v, %v", v, err)
		}
	}
}

// BenchmarkSnapshot1000 is the part of it that makes sense of the rows.
func BenchmarkSnapshot1000(b *testing.B) {
	var rows []routeros.Row
	for n := range manyRows {
		rows = append(rows, attrs(maps.Collect(attached(n, 2))).row())
	}
	var last *snapshot
	gen := uint64(2)
	b.ReportAllocs()
	for b.Loop() {
		gen++
		n := int(gen) % manyRows
		rows[n] = attrs(maps.Collect(attached(n, gen))).row()
		last = newSnapshot(time.Time{}, rows, last)
		if len(last.volumes) != manyRows {
			b.Fatalf("%d volumes", len(last.volumes))
		}
	}
}

// attached is the row of an attached volume after a number of writes, with the properties that a listing
// asks for.
func attached(n int, gen uint64) iter.Seq2[string, string] {
	id := volumeID(n)
	at := actors.TokenAt(time.Unix(1_800_000_000, 0))
	l := actors.Ledger{
		Cluster: testCluster, Gen: gen, Epoch: at, Fencing: actors.FencingEpoch, Timeout: actors.DefaultTimeout,
		Access: actors.AccessSingle, Grants: []actors.Grant{{Node: "worker-17.cluster.example.org", At: at}},
	}
	words := [][2]string{
		{".id", fmt.Sprintf("*%X", n+1)},
		{"type", "file"},
		{"slot", fmt.Sprintf("%032x", n)},
		{"file-path", filePath(testPath, id)},
		{"file-size", strconv.FormatInt(gib, 10)},
		{"size", strconv.FormatInt(gib, 10)},
		{"nvme-tcp-export", "true"},
		{"nvme-tcp-server-port", strconv.Itoa(4420 + n)},
		{"nvme-tcp-server-nqn", actors.NQN("nqn.2000-02.com.mikrotik", id, at)},
		{"nvme-tcp-server-allow-host-name", ""},
		{"disabled", "false"},
		{"comment", l.String()},
	}
	return func(yield func(name, value string) bool) {
		for _, w := range words {
			if !yield(w[0], w[1]) {
				return
			}
		}
	}
}

// A printer is a box that does nothing but list, and is quick about it. It is for one connection.
type printer struct {
	rows [][]byte // in wire form, without the tag and the end
	gen  uint64
	buf  []byte
}

func newPrinter(rows int) *printer {
	p := &printer{gen: 2}
	for n := range rows {
		p.rows = append(p.rows, p.row(n))
	}
	return p
}

func (p *printer) row(n int) []byte {
	words := []string{"!re"}
	for name, value := range attached(n, p.gen) {
		words = append(words, "="+name+"="+value)
	}
	wire := routeros.AppendSentence(nil, words...)
	return wire[:len(wire)-1]
}

func (p *printer) dial(context.Context, string, string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	go p.serve(ours)
	return theirs, nil
}

func (p *printer) serve(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	r := routeros.NewReader(conn)
	for {
		words, err := r.ReadSentence()
		if err != nil {
			return
		}
		tag := words[len(words)-1]
		p.buf = p.buf[:0]
		if words[0] == "/disk/print" {
			p.gen++
			changed := int(p.gen) % len(p.rows)
			p.rows[changed] = p.row(changed)
			for _, wire := range p.rows {
				p.buf = routeros.AppendSentence(append(p.buf, wire...), tag)
			}
		}
		p.buf = routeros.AppendSentence(p.buf, "!done", tag)
		if _, err := conn.Write(p.buf); err != nil {
			return
		}
	}
}
