// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package routeros

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestRun(t *testing.T) {
	c := dial(t, func(p *peer) {
		tag := p.want("/disk/print", "?type=file", "=.proplist=.id,slot")
		p.send("!re", "=.id=*1", "=slot=a=b", tag)
		p.send("!re", tag, "=.id=*2", "=slot=")
		p.send("!done", tag)
		tag = p.want("/disk/add", "=slot=c")
		p.send("!done", "=ret=*3", tag)
		tag = p.want("/disk/print")
		p.send("!empty", tag)
		p.send("!done", tag)
		p.drain()
	})
	ctx := testContext(t)
	reply, err := c.Run(ctx, "/disk/print", "?type=file", "=.proplist=.id,slot")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(reply.Re), "[[=.id=*1 =slot=a=b] [=.id=*2 =slot=]]"; got != want {
		t.Errorf("rows = %s, want %s", got, want)
	}
	reply, err = c.Run(ctx, "/disk/add", "=slot=c")
	if err != nil || reply.Done.Get("ret") != "*3" {
		t.Errorf("add = %v, %v, want ret *3", reply, err)
	}
	reply, err = c.Run(ctx, "/disk/print")
	if err != nil || len(reply.Re) != 0 {
		t.Errorf("print of nothing = %v, %v", reply, err)
	}
	if n := c.Pending(); n != 0 {
		t.Errorf("%d commands pending after all were answered", n)
	}
}

func TestTrap(t *testing.T) {
	for _, tt := range []struct {
		words []string
		want  Trap
	}{
		{[]string{"=category=0", "=message=no such item"}, Trap{CategoryMissing, "no such item"}},
		{[]string{"=message=failure: disk full", "=category=4"}, Trap{CategoryGeneral, "failure: disk full"}},
		{[]string{"=message=no category"}, Trap{CategoryNone, "no category"}},
		{[]string{"=category=8", "=message=unknown"}, Trap{CategoryNone, "unknown"}},
		{[]string{"=category=x"}, Trap{CategoryNone, ""}},
	} {
		t.Run(tt.want.Message, func(t *testing.T) {
			c := dial(t, func(p *peer) {
				_, tag := p.read()
				p.send(append([]string{"!trap", tag}, tt.words...)...)
				p.send("!done", tag) // of the command that failed
				tag = p.want("/next")
				p.send("!done", tag)
				p.drain()
			})
			ctx := testContext(t)
			reply, err := c.Run(ctx, "/disk/set")
			var trap *Trap
			if !errors.As(err, &trap) || *trap != tt.want {
				t.Errorf("error = %v, want trap %+v", err, tt.want)
			}
			if reply.Re != nil || reply.Done != nil {
				t.Errorf("a refused command replied %v", reply)
			}
			if _, err := c.Run(ctx, "/next"); err != nil {
				t.Errorf("command after a trap: %v", err)
			}
		})
	}
}

func TestLoginRefused(t *testing.T) {
	for name, words := range map[string][]string{
		"refused":      {"!trap", "=message=invalid user name or password (6)"},
		"echo":         {"!trap", "=message=bad password " + testPassword},
		"fatal echo":   {"!fatal", "bad password " + testPassword},
		"echo of kind": {testPassword},
		"old login":    {"!done", "=ret=0123456789abcdef"},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := Dial(testContext(t), serve(t, func(p *peer) {
				_, tag := p.read()
				p.send(append(words, tag)...)
				p.drain()
			}))
			if err == nil {
				c.Close()
				t.Fatal("Dial succeeded")
			}
			if strings.Contains(err.Error(), testPassword) {
				t.Errorf("the error tells the password: %v", err)
			}
			if refused := words[0] == "!trap" || words[0] == "!done"; errors.Is(err, ErrLogin) != refused {
				t.Errorf("error = %v, ErrLogin wanted: %t", err, refused)
			}
		})
	}
}

// TestDialContext shows that a router that accepts and says nothing is given up with the context.
func TestDialContext(t *testing.T) {
	cfg := serve(t, func(p *peer) { p.drain() })
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(time.Millisecond, cancel)
	if _, err := Dial(ctx, cfg); !errors.Is(err, context.Canceled) {
		t.Errorf("Dial = %v, want canceled", err)
	}
}

func TestDialNothingThere(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := ln.Addr().String()
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Dial(testContext(t), Config{Address: address}); err == nil {
		t.Error("Dial of a closed port succeeded")
	}
}

func TestTLS(t *testing.T) {
	// Only the certificate, valid for 127.0.0.1, is wanted of it.
	web := httptest.NewTLSServer(nil)
	defer web.Close()
	roots := x509.NewCertPool()
	roots.AddCert(web.Certificate())

	script := func(p *peer) {
		secure := tls.Server(p.conn, &tls.Config{Certificates: web.TLS.Certificates})
		p.conn, p.r = secure, NewReader(secure)
		if err := secure.HandshakeContext(t.Context()); err != nil {
			return
		}
		p.login()
		_, tag := p.read()
		p.send("!done", tag)
		p.drain()
	}
	t.Run("trusted", func(t *testing.T) {
		cfg := serve(t, script)
		cfg.TLS = &tls.Config{RootCAs: roots}
		c := dialConfig(t, cfg)
		if _, err := c.Run(testContext(t), "/system/resource/print"); err != nil {
			t.Error(err)
		}
	})
	t.Run("unknown authority", func(t *testing.T) {
		cfg := serve(t, script)
		cfg.TLS = &tls.Config{}
		if _, err := Dial(testContext(t), cfg); err == nil {
			t.Error("Dial trusted a certificate of an unknown authority")
		}
	})
}

// A fastConn returns from a write only when the answer to it has been read.
type fastConn struct {
	net.Conn
	answered chan struct{}
}

func (f fastConn) Write(b []byte) (int, error) {
	n, err := f.Conn.Write(b)
	<-f.answered
	return n, err
}

// TestFastReply shows that an answer that is read before the write has returned finds its command.
func TestFastReply(t *testing.T) {
	answered := make(chan struct{})
	cfg := pipe(t, func(p *peer) {
		answered <- struct{}{} // to the login
		for {
			words, tag := p.read()
			if words == nil {
				return
			}
			p.send("!done", tag, "=ret="+words[0])
			answered <- struct{}{}
		}
	})
	inner := cfg.DialContext
	cfg.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := inner(ctx, network, address)
		return fastConn{conn, answered}, err
	}
	c := dialConfig(t, cfg)
	for i := range 100 {
		word := fmt.Sprintf("/%d", i)
		reply, err := c.Run(testContext(t), word)
		if err != nil || reply.Done.Get("ret") != word {
			t.Fatalf("Run = %v, %v, want ret %s", reply, err, word)
		}
	}
}

// TestConcurrent runs commands from many goroutines at a time, 32 at once, answered in the reverse order.
// Each must get its own answer.
func TestConcurrent(t *testing.T) {
	const users, rounds = 32, 50
	c := dial(t, func(p *peer) {
		for range rounds {
			var replies [][]string
			for range users {
				words, tag := p.read()
				if words == nil {
					return
				}
				replies = append(replies, []string{"!done", "=ret=" + words[0], tag}, []string{"!re", "=of=" + words[0], tag})
			}
			for i := len(replies) - 1; i >= 0; i-- {
				p.send(replies[i]...)
			}
		}
		p.drain()
	})
	ctx := testContext(t)
	for r := range rounds {
		var wg sync.WaitGroup
		for u := range users {
			wg.Go(func() {
				word := fmt.Sprintf("/%d/%d", u, r)
				reply, err := c.Run(ctx, word)
				if err != nil || reply.Done.Get("ret") != word || len(reply.Re) != 1 || reply.Re[0].Get("of") != word {
					t.Errorf("Run(%s) = %v, %v", word, reply, err)
				}
			})
		}
		wg.Wait()
	}
}

// TestFragments delivers replies byte by byte.
func TestFragments(t *testing.T) {
	long := strings.Repeat("x", 300)
	c := dialConfig(t, pipe(t, func(p *peer) {
		_, tag := p.read()
		wire := AppendSentence(nil, "!re", "=long="+long, tag)
		wire = AppendSentence(wire, "!done", tag)
		for i := range wire {
			_, _ = p.conn.Write(wire[i : i+1])
		}
		p.drain()
	}))
	reply, err := c.Run(testContext(t), "/print")
	if err != nil || len(reply.Re) != 1 || reply.Re[0].Get("long") != long {
		t.Errorf("Run = %v, %v", reply, err)
	}
}

// TestConnectionLost shows what each way of losing the connection does to a command that waits, and
// to one that comes later.
func TestConnectionLost(t *testing.T) {
	raw := func(wire string) func(*peer) {
		return func(p *peer) {
			_, _ = p.conn.Write([]byte(wire))
			p.drain()
		}
	}
	reply := func(words ...string) func(*peer) {
		return raw(string(AppendSentence(nil, words...)))
	}
	for _, tt := range []struct {
		name string
		lose func(*peer)
		want error // beside ErrUnanswered
	}{
		{"end of file", func(*peer) {}, nil},
		{"end within a reply", func(p *peer) { _, _ = p.conn.Write([]byte("\x05!do")) }, nil},
		{"garbage", raw("\xff\xfe\x00\x00garbage"), ErrMalformed},
		{"word beyond the limit", raw("\xf0\xff\xff\xff\xff"), ErrMalformed},
		{"no reply", reply("done", ".tag=2"), ErrMalformed},
		{"unknown reply", reply("!what", ".tag=2"), ErrMalformed},
		{"reply without a tag", reply("!done"), ErrMalformed},
		{"tag not yet used", reply("!done", ".tag=99"), ErrMalformed},
		{"tag that is no number", reply("!done", ".tag=x"), ErrMalformed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := dial(t, func(p *peer) {
				p.want("/set")
				tt.lose(p)
			})
			_, err := c.Run(testContext(t), "/set")
			if !errors.Is(err, ErrUnanswered) || errors.Is(err, ErrNotSent) {
				t.Errorf("waiting command = %v, want ErrUnanswered", err)
			}
			if tt.want != nil && !errors.Is(err, tt.want) {
				t.Errorf("waiting command = %v, want %v", err, tt.want)
			}
			select {
			case <-c.Done():
			case <-testContext(t).Done():
				t.Fatal("the connection lives")
			}
			if c.Err() == nil {
				t.Error("Err = nil after the connection was lost")
			}
			_, err = c.Run(testContext(t), "/set")
			if !errors.Is(err, ErrNotSent) || errors.Is(err, ErrUnanswered) {
				t.Errorf("later command = %v, want ErrNotSent", err)
			}
		})
	}
}

func TestFatal(t *testing.T) {
	c := dial(t, func(p *peer) {
		_, _ = p.read()
		p.send("!fatal", "session terminated on request")
		p.drain()
	})
	_, err := c.Run(testContext(t), "/quit")
	var fatal *Fatal
	if !errors.As(err, &fatal) || fatal.Message != "session terminated on request" || !errors.Is(err, ErrUnanswered) {
		t.Errorf("Run = %v, want the router's word and ErrUnanswered", err)
	}
}

func TestClose(t *testing.T) {
	asked := make(chan struct{})
	c := dial(t, func(p *peer) {
		p.want("/slow")
		close(asked)
		p.drain()
	})
	errc := make(chan error, 1)
	go func() {
		_, err := c.Run(testContext(t), "/slow")
		errc <- err
	}()
	<-asked
	c.Close()
	c.Close()
	if err := <-errc; !errors.Is(err, ErrClosed) || !errors.Is(err, ErrUnanswered) {
		t.Errorf("command of a closed client = %v, want ErrClosed and ErrUnanswered", err)
	}
	if _, err := c.Run(testContext(t), "/later"); !errors.Is(err, ErrClosed) || !errors.Is(err, ErrNotSent) {
		t.Errorf("command after Close = %v, want ErrClosed and ErrNotSent", err)
	}
}

// TestWriteTimeout shows that a router that takes no bytes costs the connection, not the process.
func TestWriteTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gone := make(chan struct{})
		cfg := pipe(t, func(*peer) { <-gone })
		defer close(gone)
		cfg.WriteTimeout = 7 * time.Second
		c, err := Dial(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		begin := time.Now()
		if _, err := c.Run(t.Context(), "/set"); !errors.Is(err, ErrUnanswered) {
			t.Errorf("Run = %v, want ErrUnanswered: a part may have been sent", err)
		}
		if d := time.Since(begin); d != cfg.WriteTimeout {
			t.Errorf("the write was given up after %v, want %v", d, cfg.WriteTimeout)
		}
	})
}

func TestBadCommands(t *testing.T) {
	c := dial(t, func(p *peer) {
		if words, _ := p.read(); words != nil {
			p.t.Errorf("%q reached the wire", words)
		}
	})
	long := strings.Repeat("x", MaxWord+1)
	for _, words := range [][]string{nil, {"print"}, {""}, {"/print", ""}, {"/print", ".tag=9"}, {"/print", long}} {
		if _, err := c.Run(testContext(t), words...); !errors.Is(err, ErrNotSent) {
			t.Errorf("Run(%.40q) = %v, want ErrNotSent", words, err)
		}
	}
}
