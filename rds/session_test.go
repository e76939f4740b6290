// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package rds

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/rds-csi/rds-csi/actors"
	"github.com/rds-csi/rds-csi/rds/routeros"
)

// told collects what hooks tell.
type told struct {
	mu         sync.Mutex
	commands   []string
	states     []bool
	reconnects []error
	changed    chan struct{} // room for one
}

func newTold() *told { return &told{changed: make(chan struct{}, 1)} }

func (w *told) hooks() Hooks {
	note := func(do func()) {
		w.mu.Lock()
		do()
		w.mu.Unlock()
		select {
		case w.changed <- struct{}{}:
		default:
		}
	}
	return Hooks{
		Command: func(kind string, _ time.Duration, err error) {
			note(func() { w.commands = append(w.commands, fmt.Sprintf("%s %t", kind, err == nil)) })
		},
		Connection: func(_ string, up bool) { note(func() { w.states = append(w.states, up) }) },
		Reconnect:  func(err error, _ time.Duration) { note(func() { w.reconnects = append(w.reconnects, err) }) },
	}
}

// connected returns how often a session was made. It is for a condition.
func (w *told) connected() (n int) {
	for _, err := range w.reconnects {
		if err == nil {
			n++
		}
	}
	return n
}

// until waits until what was told fulfils a condition.
func (w *told) until(t *testing.T, condition func() bool) {
	t.Helper()
	ctx := testContext(t)
	for {
		w.mu.Lock()
		ok := condition()
		w.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-w.changed:
		case <-ctx.Done():
			t.Fatal("it was never told")
		}
	}
}

// everything calls each method of a box and returns the errors.
func everything(t *testing.T, b *Box) map[string]error {
	t.Helper()
	ctx := testContext(t)
	_, list := b.List(ctx)
	_, read := b.Read(ctx, testVolume)
	_, create := b.Create(ctx, spec(nil))
	_, expand := b.Expand(ctx, testVolume, 2*gib)
	_, capacity := b.Capacity(ctx, testPath)
	revoke := write(2)
	revoke.Revoke = true
	return map[string]error{
		"List": list, "Read": read, "Create": create, "Expand": expand, "Capacity": capacity,
		"Write": b.Write(ctx, write(2)), "revoke": b.Write(ctx, revoke), "Delete": b.Delete(ctx, testVolume),
	}
}

// TestBoxAway shows that a box that cannot be reached is ErrUnavailable for everything, and is used
// again when it is back, without a call to tell so.
func TestBoxAway(t *testing.T) {
	overFakes(t, func(t *testing.T, f *fakeBox) {
		f.addVolume(nil)
		w := newTold()
		var away atomic.Bool
		away.Store(true)
		b := f.box(func(cfg *Config) {
			cfg.Hooks = w.hooks()
			cfg.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
				if away.Load() {
					return nil, errors.New("no route to host")
				}
				return f.dial(ctx, network, address)
			}
		})
		for name, err := range everything(t, b) {
			if !errors.Is(err, actors.ErrUnavailable) {
				t.Errorf("%s = %v, want ErrUnavailable", name, err)
			}
			oneKind(t, err)
		}
		away.Store(false)
		w.until(t, func() bool { return w.states[len(w.states)-1] })
		w.mu.Lock()
		if w.reconnects[0] == nil || !slices.Contains(w.reconnects, nil) {
			t.Errorf("attempts to connect = %v, want failures and then a success", w.reconnects)
		}
		w.mu.Unlock()
		w.until(t, func() bool { return w.connected() >= 2 }) // both sessions
		if _, err := b.Read(testContext(t), testVolume); err != nil {
			t.Errorf("Read after the box came back = %v", err)
		}

		away.Store(true)
		f.drop()
		w.until(t, func() bool { return !w.states[len(w.states)-1] })
		if _, err := b.Read(testContext(t), testVolume); !errors.Is(err, actors.ErrUnavailable) {
			t.Errorf("Read after the box went = %v, want ErrUnavailable", err)
		}
	})
}

// TestSessionLost shows that a session that ends while nobody uses it costs no call.
func TestSessionLost(t *testing.T) {
	overFakes(t, func(t *testing.T, f *fakeBox) {
		f.addVolume(nil)
		b, ctx := f.box(nil), testContext(t)
		for n := range uint64(5) {
			if err := b.Write(ctx, write(n+2)); err != nil {
				t.Fatal(err)
			}
			for _, m := range b.sessions.all() {
				m.Close()
			}
			if _, err := b.Read(ctx, testVolume); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// TestLoginRefused shows that a wrong password is reported without being told, and that it can be
// put right on the box.
func TestLoginRefused(t *testing.T) {
	overFakes(t, func(t *testing.T, f *fakeBox) {
		f.addVolume(nil)
		var wrong atomic.Bool
		wrong.Store(true)
		f.on(func(cmd []string, do func() []string) []string {
			if cmd[0] == "/login" && wrong.Load() {
				return trap("invalid user name or password (6): " + cmd[2])
			}
			return do()
		})
		var log bytes.Buffer
		var mu sync.Mutex
		w := newTold()
		b := f.box(func(cfg *Config) {
			cfg.Hooks = w.hooks()
			cfg.Logger = slog.New(slog.NewTextHandler(writerFunc(func(p []byte) (int, error) {
				mu.Lock()
				defer mu.Unlock()
				return log.Write(p)
			}), nil))
		})
		_, err := b.Read(testContext(t), testVolume)
		if !errors.Is(err, actors.ErrUnavailable) || !errors.Is(err, routeros.ErrLogin) {
			t.Errorf("Read = %v, want ErrUnavailable and ErrLogin", err)
		}
		oneKind(t, err)
		wrong.Store(false)
		w.until(t, func() bool { return len(w.states) > 1 })
		if _, err := b.Read(testContext(t), testVolume); err != nil {
			t.Errorf("Read with the right password = %v", err)
		}
		mu.Lock()
		defer mu.Unlock()
		if s := log.String(); !strings.Contains(s, "login refused") || !strings.Contains(s, "--rds-password-file") || strings.Contains(s, testPassword) {
			t.Errorf("log = %s, want the refusal and not the password", s)
		}
	})
}

// all returns the sessions that there are.
func (p *sessionPool) all() []*member {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Concat(p.lanes[urgent].members, p.lanes[ordinary].members)
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// TestStormOfGrants holds more grants, each of another volume, than there are places for and shows that
// reads and revokes pass them.
func TestStormOfGrants(t *testing.T) {
	overFakes(t, func(t *testing.T, f *fakeBox) {
		f.addVolume(nil)
		const storm = 50
		for n := range storm {
			f.addVolume(func(r attrs) { r["file-path"] = "/raid10/volumes/" + string(volumeID(n)) + ".img" })
		}
		release, held := make(chan struct{}), make(chan struct{}, 1)
		f.on(func(cmd []string, do func() []string) []string {
			if cmd[0] == "/disk/set" && cmd[2] == "=nvme-tcp-export=yes" {
				select {
				case held <- struct{}{}:
				default:
				}
				<-release
			}
			return do()
		})
		b, ctx := f.box(func(cfg *Config) { cfg.InFlight = 2 }), testContext(t)
		var grants sync.WaitGroup
		for n := range storm {
			grants.Go(func() {
				w := write(2)
				w.Volume, w.Rows[0].NQN = volumeID(n), numbered(n).NQN
				if err := b.Write(ctx, w); err != nil {
					t.Error(err)
				}
			})
		}
		<-held
		for range 10 {
			if _, err := b.Read(ctx, testVolume); err != nil {
				t.Errorf("Read = %v", err)
			}
		}
		revoke := write(2)
		revoke.Revoke, revoke.Rows[0].Export = true, false
		if err := b.Write(ctx, revoke); err != nil {
			t.Errorf("revoke = %v", err)
		}
		close(release)
		grants.Wait()
	})
}

// TestSilentSession shows that a session on which a command was left without any answer is given up,
// so that the next command has a new one, and that a wait for a place on it was no send.
func TestSilentSession(t *testing.T) {
	overFakes(t, func(t *testing.T, f *fakeBox) {
		f.addVolume(nil)
		release := make(chan struct{})
		defer close(release)
		var frozen atomic.Bool
		f.on(func(cmd []string, do func() []string) []string {
			if cmd[0] == "/disk/set" && frozen.Swap(false) {
				<-release
			}
			return do()
		})
		b, ctx := f.box(func(cfg *Config) { cfg.Sessions, cfg.InFlight = 2, 1 }), testContext(t)
		if err := b.Write(ctx, write(2)); err != nil {
			t.Fatal(err)
		}
		frozen.Store(true)
		lost := make(chan error, 1)
		go func() { lost <- b.Write(ctx, write(3)) }()
		synctest.Wait()
		sent := len(f.commands())
		short, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		if err := b.Write(short, write(4)); !errors.Is(err, actors.ErrUnavailable) {
			t.Errorf("Write that waited for a place = %v, want ErrUnavailable", err)
		}
		if n := len(f.commands()); n != sent {
			t.Errorf("%d commands were sent meanwhile", n-sent)
		}
		if err := <-lost; !errors.Is(err, actors.ErrUnresolved) {
			t.Errorf("Write to a frozen session = %v, want ErrUnresolved", err)
		}
		if err := b.Write(ctx, write(5)); err != nil {
			t.Errorf("the next Write = %v", err)
		}
	})
}

// TestDeadline has a box that accepts connections and never says a word, and callers without a deadline
// of their own.
func TestDeadline(t *testing.T) {
	overFakes(t, func(t *testing.T, f *fakeBox) {
		f.addVolume(nil)
		f.on(func([]string, func() []string) []string { return nil })
		b := f.box(func(cfg *Config) { cfg.CommandTimeout = 7 * time.Second })
		for name, call := range map[string]func() error{
			"Read":  func() error { _, err := b.Read(t.Context(), testVolume); return err },
			"List":  func() error { _, err := b.List(t.Context()); return err },
			"Write": func() error { return b.Write(t.Context(), write(2)) },
		} {
			begin := time.Now()
			if err := call(); !errors.Is(err, actors.ErrUnavailable) {
				t.Errorf("%s = %v, want ErrUnavailable", name, err)
			}
			if d := time.Since(begin); d > b.cfg.CommandTimeout {
				t.Errorf("%s took %v, more than the command deadline", name, d)
			}
		}
	})
}

// TestListDeadline freezes the box when it has a session: readers who asked during the frozen listing
// get their answer within the deadline too.
func TestListDeadline(t *testing.T) {
	overFakes(t, func(t *testing.T, f *fakeBox) {
		b := f.box(nil)
		if _, err := b.List(t.Context()); err != nil {
			t.Fatal(err)
		}
		f.on(func(cmd []string, do func() []string) []string {
			if cmd[0] == "/disk/print" {
				return nil
			}
			return do()
		})
		var readers sync.WaitGroup
		for range 5 {
			readers.Go(func() {
				begin := time.Now()
				if _, err := b.Read(t.Context(), testVolume); !errors.Is(err, actors.ErrUnavailable) {
					t.Errorf("Read = %v, want ErrUnavailable", err)
				}
				if d := time.Since(begin); d > b.cfg.CommandTimeout {
					t.Errorf("it took %v, more than the command deadline", d)
				}
			})
			time.Sleep(time.Second) // of the bubble's clock
		}
		readers.Wait()
	})
}

// TestClose shows that Close ends what is under way, and that a closed box says so.
func TestClose(t *testing.T) {
	overFakes(t, func(t *testing.T, f *fakeBox) {
		f.addVolume(nil)
		begun, release := make(chan struct{}, 1), make(chan struct{})
		defer close(release)
		f.on(func(cmd []string, do func() []string) []string {
			if cmd[0] == "/disk/set" {
				begun <- struct{}{}
				<-release
			}
			return do()
		})
		b := f.box(nil)
		result := make(chan error, 1)
		go func() { result <- b.Write(testContext(t), write(2)) }()
		<-begun
		b.Close()
		if err := <-result; !errors.Is(err, actors.ErrUnresolved) {
			t.Errorf("Write during Close = %v, want ErrUnresolved", err)
		}
		for name, err := range everything(t, b) {
			if !errors.Is(err, actors.ErrUnavailable) {
				t.Errorf("%s after Close = %v, want ErrUnavailable", name, err)
			}
		}
		b.Close()
	})
}

func TestHooksAndSpans(t *testing.T) {
	overFakes(t, func(t *testing.T, f *fakeBox) {
		w := newTold()
		spans := tracetest.NewSpanRecorder()
		b := f.box(func(cfg *Config) {
			cfg.Hooks = w.hooks()
			cfg.Tracer = sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans)).Tracer("test")
		})
		ctx := testContext(t)
		if _, err := b.Create(ctx, spec(nil)); err != nil {
			t.Fatal(err)
		}
		f.on(sets(1, func(func() []string) []string { return trap("no") }))
		if err := b.Write(ctx, write(2)); err == nil {
			t.Fatal("a refused Write succeeded")
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		if got, want := fmt.Sprint(w.commands), "[list true create true list true list true grant false list true]"; got != want {
			t.Errorf("commands told = %s\nwant            %s", got, want)
		}
		if fmt.Sprint(w.states) != "[false true]" {
			t.Errorf("connection told = %v, want down when it was made, then once up", w.states)
		}
		var names []string
		for _, s := range spans.Ended() {
			names = append(names, s.Name())
			if failed := s.Status().Code == codes.Error; failed != (s.Name() == "rds.grant") {
				t.Errorf("span %s has status %v", s.Name(), s.Status())
			}
		}
		if got, want := fmt.Sprint(names), "[rds.list rds.create rds.list rds.list rds.grant rds.list]"; got != want {
			t.Errorf("spans = %s\nwant    %s", got, want)
		}
	})
}

func TestBackoff(t *testing.T) {
	cfg, err := Config{
		Address: "rds.example.org:8728", Cluster: testCluster, VolumePaths: []string{testPath}, MinBackoff: 100 * time.Millisecond, MaxBackoff: time.Second,
	}.complete()
	if err != nil {
		t.Fatal(err)
	}
	l := &lane{pool: &sessionPool{cfg: cfg}}
	for fails, ms := range []int{0, 100, 200, 400, 800, 1000, 1000} {
		most := time.Duration(ms) * time.Millisecond
		for range 100 {
			if d := l.backoff(fails); d < most/2 || d > most {
				t.Fatalf("backoff(%d) = %v, want %v to %v", fails, d, most/2, most)
			}
		}
	}
	if d := l.backoff(1 << 20); d > time.Second {
		t.Errorf("backoff of many failures = %v", d)
	}
}

func TestConfig(t *testing.T) {
	good := Config{Address: "rds.example.org:8729", Cluster: testCluster, VolumePaths: []string{testPath}}
	for name, change := range map[string]func(*Config){
		"address":  func(c *Config) { c.Address = "rds.example.org" },
		"cluster":  func(c *Config) { c.Cluster = "kube" },
		"no path":  func(c *Config) { c.VolumePaths = nil },
		"path":     func(c *Config) { c.VolumePaths = []string{"/"} },
		"timeout":  func(c *Config) { c.CommandTimeout = -1 },
		"idle":     func(c *Config) { c.IdleTimeout = -1 },
		"lone":     func(c *Config) { c.Sessions = 1 },
		"sessions": func(c *Config) { c.Sessions = 17 },
		"long":     func(c *Config) { c.VolumePaths = []string{"/" + strings.Repeat("x", 200)} },
		"relative": func(c *Config) { c.VolumePaths = []string{"/raid10/../x"} },
	} {
		cfg := good
		change(&cfg)
		if b, err := New(cfg); !errors.Is(err, actors.ErrInvalid) {
			b.Close()
			t.Errorf("%s: New = %v, want ErrInvalid", name, err)
		}
	}
	b, err := New(good)
	if err != nil {
		t.Fatal(err)
	}
	b.Close()
}
