// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package wire_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/rds-csi/rds-csi/e2e/guest/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// noisy mixes something into what is written.
type noisy struct {
	net.Conn
	noise string
}

func (n noisy) Write(p []byte) (int, error) {
	if _, err := io.WriteString(n.Conn, n.noise); err != nil {
		return 0, err
	}
	return n.Conn.Write(p)
}

// pair returns a client of the handlers over a line with noise.
func pair(t *testing.T, noise string, handlers map[string]wire.Handler) *wire.Client {
	t.Helper()
	near, far := net.Pipe()
	served := make(chan error, 1)
	go func() { served <- wire.Serve(t.Context(), noisy{far, noise}, handlers) }()
	c := wire.NewClient(noisy{near, noise})
	t.Cleanup(func() {
		if err := errors.Join(c.Close(), <-served, far.Close()); err != nil {
			t.Error(err)
		}
	})
	return c
}

type text struct {
	Text string `json:"text"`
}

func echo(_ context.Context, args text) (text, error) { return args, nil }

func TestCallsAreAnsweredThroughNoise(t *testing.T) {
	whole := "\n00000000 {\"id\":1,\"done\":true,\"result\":{\"text\":\"forged\"}}\n"
	for name, noise := range map[string]string{
		"none":              "",
		"a kernel's":        "[    0.1] Run /init as init process\r\n",
		"half a line":       "\ndeadbeef {\"id\":1,\"op",
		"a wrong checksum":  whole,
		"bytes of all kind": "\x00\xff\x1b[2J\n\n\n{}",
		"a long line":       strings.Repeat("x", 300<<10),
	} {
		t.Run(name, func(t *testing.T) {
			c := pair(t, noise, map[string]wire.Handler{"echo": wire.Handle(echo)})
			for _, want := range []string{"one", "two\nlines", strings.Repeat("long ", 50_000)} {
				var got text
				if err := c.Call(t.Context(), "echo", text{want}, &got); err != nil || got.Text != want {
					t.Fatalf("got %.20q, %v", got.Text, err)
				}
			}
		})
	}
}

func TestCallsDoNotWaitForOneAnother(t *testing.T) {
	release := make(chan struct{})
	c := pair(t, "", map[string]wire.Handler{
		"echo": wire.Handle(echo),
		"wait": func(ctx context.Context, _ json.RawMessage) (any, error) {
			select {
			case <-release:
				return text{"waited"}, nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		},
	})
	var slow text
	var wg sync.WaitGroup
	var err error
	wg.Go(func() { err = c.Call(t.Context(), "wait", nil, &slow) })
	for _, want := range []string{"a", "b"} {
		var got text
		if err := c.Call(t.Context(), "echo", text{want}, &got); err != nil || got.Text != want {
			t.Fatalf("got %q, %v", got.Text, err)
		}
	}
	close(release)
	wg.Wait()
	if err != nil || slow.Text != "waited" {
		t.Fatalf("got %q, %v", slow.Text, err)
	}
}

func TestTheEndOfACallIsTold(t *testing.T) {
	began, ended := make(chan struct{}), make(chan struct{})
	c := pair(t, "", map[string]wire.Handler{
		"wait": func(ctx context.Context, _ json.RawMessage) (any, error) {
			close(began)
			<-ctx.Done()
			close(ended)
			return nil, ctx.Err()
		},
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-began
		cancel()
	}()
	if err := c.Call(ctx, "wait", nil, nil); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	<-ended
}

func TestErrorsAreTold(t *testing.T) {
	c := pair(t, "", map[string]wire.Handler{
		"fail": func(context.Context, json.RawMessage) (any, error) { return nil, errors.New("no such disk") },
		"echo": wire.Handle(echo),
		"huge": func(context.Context, json.RawMessage) (any, error) { return strings.Repeat("x", wire.MaxMessage), nil },
	})
	for op, want := range map[string]string{
		"fail": "no such disk", "nothing": "there is no operation", "echo": "read the arguments", "huge": "the answer cannot be sent",
	} {
		var remote wire.RemoteError
		if err := c.Call(t.Context(), op, "a text", nil); !errors.As(err, &remote) || !strings.Contains(remote.Message, want) {
			t.Errorf("%s: %v", op, err)
		}
	}
}

func TestCallsEndWithTheConnection(t *testing.T) {
	near, far := net.Pipe()
	c := wire.NewClient(near)
	go func() {
		_, _ = far.Read(make([]byte, 1))
		_ = far.Close()
	}()
	if err := c.Call(t.Context(), "echo", nil, nil); !errors.Is(err, wire.ErrClosed) {
		t.Fatal(err)
	}
	<-c.Done()
	if err := c.Call(t.Context(), "echo", nil, nil); !errors.Is(err, wire.ErrClosed) {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
}
