// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/rds-csi/rds-csi/rds/routeros"
)

// routerOS connects the driver's own client.
func routerOS(t *testing.T, cfg routeros.Config) *routeros.Client {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), hang)
	defer cancel()
	c, err := routeros.Dial(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// TestDriversClient runs the life of a disk through the driver's own client, plain and over TLS, with
// many commands at a time.
func TestDriversClient(t *testing.T) {
	s := start(t, Config{})
	for name, cfg := range map[string]routeros.Config{
		"plain": {Address: s.APIAddr(), Username: "admin", Password: testPassword},
		"TLS":   {Address: s.TLSAddr(), Username: "admin", Password: testPassword, TLS: &tls.Config{RootCAs: s.Roots(), MinVersion: tls.VersionTLS12}},
	} {
		t.Run(name, func(t *testing.T) {
			c := routerOS(t, cfg)
			ctx, cancel := context.WithTimeout(t.Context(), hang)
			defer cancel()
			l, err := c.Listen(ctx, 0, "/disk/listen", "=.proplist=slot,comment")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			var wg sync.WaitGroup
			for i := range 16 {
				wg.Go(func() {
					slot := fmt.Sprintf("%s-%d", name, i)
					reply, err := c.Run(ctx, addWords(slot)...)
					if err == nil {
						id := reply.Done.Get("ret")
						for _, r := range c.RunAll(ctx, []string{"/disk/set", "=.id=" + id, "=comment=1"}, []string{"/disk/set", "=.id=" + id, "=comment=2"}) {
							err = errors.Join(err, r.Err)
						}
						reply, err2 := c.Run(ctx, "/disk/print", "?.id="+id, "=.proplist=slot,comment")
						if err2 != nil || len(reply.Re) != 1 || reply.Re[0].Get("slot") != slot || reply.Re[0].Get("comment") != "2" {
							t.Errorf("rows are %v, %v", reply.Re, err2)
						}
						_, err2 = c.Run(ctx, "/disk/remove", "=.id="+id)
						err = errors.Join(err, err2)
					}
					if err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			for dead := 0; dead < 16; {
				row, ok := <-l.Rows()
				if !ok {
					t.Fatalf("listen ended: %v", l.Err())
				}
				if row.Get(".dead") == "yes" {
					dead++
				}
			}
			var trap *routeros.Trap
			if _, err := c.Run(ctx, "/disk/remove", "=.id=*999"); !errors.As(err, &trap) || trap.Category != routeros.CategoryMissing || trap.Message != "no such item" {
				t.Errorf("remove of nothing: %v", err)
			}
		})
	}
	if _, err := routeros.Dial(t.Context(), routeros.Config{Address: s.APIAddr(), Username: "admin", Password: "wrong"}); !errors.Is(err, routeros.ErrLogin) {
		t.Errorf("login with a wrong password: %v", err)
	}
}

// TestDriversClientLosesAnswers shows the client what a lost answer is, and that a command whose
// caller has given up is cancelled while it waits.
func TestDriversClientLosesAnswers(t *testing.T) {
	held := make(chan struct{})
	s := start(t, Config{Fault: func(c Command) Fault {
		switch c.Arg("comment") {
		case "lost":
			return Fault{DropAfter: true}
		case "held":
			close(held)
			return Fault{Hold: make(chan struct{})}
		}
		return Fault{}
	}})
	c := routerOS(t, routeros.Config{Address: s.APIAddr(), Username: "admin", Password: testPassword})
	if _, err := c.Run(t.Context(), addWords("vm-1")...); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-held; cancel() }()
	if _, err := c.Run(ctx, "/disk/set", "=numbers=vm-1", "=comment=held"); !errors.Is(err, routeros.ErrUnanswered) {
		t.Errorf("held command: %v", err)
	}
	if _, err := c.Run(t.Context(), "/disk/set", "=numbers=vm-1", "=comment=lost"); !errors.Is(err, routeros.ErrUnanswered) {
		t.Errorf("command with a lost answer: %v", err)
	}
	if got := s.Disks()[0].Comment; got != "lost" {
		t.Errorf("comment is %q", got)
	}
}

// BenchmarkSet measures a change of one disk among a thousand.
func BenchmarkSet(b *testing.B) {
	s, err := Start(b.Context(), Config{Dir: b.TempDir(), Password: testPassword})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	c, err := routeros.Dial(b.Context(), routeros.Config{Address: s.APIAddr(), Username: "admin", Password: testPassword})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	for i := range 1000 {
		if _, err := c.Run(b.Context(), addWords(fmt.Sprintf("vm-%d", i), "=file-size=1M")...); err != nil {
			b.Fatal(err)
		}
	}
	for i := 0; b.Loop(); i++ {
		if _, err := c.Run(b.Context(), "/disk/set", "=numbers=vm-500", fmt.Sprintf("=comment=%d", i)); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkPrint measures a listing of a thousand disks with a few columns.
func BenchmarkPrint(b *testing.B) {
	s, err := Start(b.Context(), Config{Dir: b.TempDir(), Password: testPassword})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	c, err := routeros.Dial(b.Context(), routeros.Config{Address: s.APIAddr(), Username: "admin", Password: testPassword})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	for i := range 1000 {
		if _, err := c.Run(b.Context(), addWords(fmt.Sprintf("vm-%d", i), "=file-size=1M")...); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		reply, err := c.Run(b.Context(), "/disk/print", "?type=file", "=.proplist=.id,slot,comment,file-path,file-size,nvme-tcp-export")
		if err != nil || len(reply.Re) != 1000 {
			b.Fatal(len(reply.Re), err)
		}
	}
}
