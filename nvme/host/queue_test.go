// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"bytes"
	"errors"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/rds-csi/rds-csi/nvme/tcp"
)

// A target that breaks the protocol is told so and left; nothing of what it said is believed.
func TestProtocolViolationsEndTheConnection(t *testing.T) {
	part := make([]byte, 4096)
	tests := map[string]struct {
		opcode uint8
		answer func(c *fakeConn, cmd tcp.Command)
		status tcp.FatalStatus
	}{
		"success without data": {tcp.OpRead, func(c *fakeConn, cmd tcp.Command) { c.answer(cmd, 0, 0) }, tcp.FatalSequence},
		"success with half the data": {tcp.OpRead, func(c *fakeConn, cmd tcp.Command) {
			c.send(tcp.C2HData{CID: cmd.CID, Length: 4096, Last: true, Success: true}, part)
		}, tcp.FatalSequence},
		"data out of order": {tcp.OpRead, func(c *fakeConn, cmd tcp.Command) {
			c.send(tcp.C2HData{CID: cmd.CID, Offset: 4096, Length: 4096}, part)
		}, tcp.FatalOutOfRange},
		"too much data": {tcp.OpRead, func(c *fakeConn, cmd tcp.Command) {
			c.later(func() { c.send(tcp.C2HData{CID: cmd.CID, Length: 128 << 10}, make([]byte, 128<<10)) })
		}, tcp.FatalOutOfRange},
		"data for a write": {tcp.OpWrite, func(c *fakeConn, cmd tcp.Command) {
			c.send(tcp.C2HData{CID: cmd.CID, Length: 4096}, part)
		}, tcp.FatalOutOfRange},
		"r2t for a read": {tcp.OpRead, func(c *fakeConn, cmd tcp.Command) {
			c.send(tcp.R2T{CID: cmd.CID, Length: 4096}, nil)
		}, tcp.FatalOutOfRange},
		"r2t out of order": {tcp.OpWrite, func(c *fakeConn, cmd tcp.Command) {
			c.send(tcp.R2T{CID: cmd.CID, Offset: 4096, Length: 4096}, nil)
		}, tcp.FatalOutOfRange},
		"r2t past the end": {tcp.OpWrite, func(c *fakeConn, cmd tcp.Command) {
			c.send(tcp.R2T{CID: cmd.CID, Length: cmd.SGL.Length + 1}, nil)
		}, tcp.FatalOutOfRange},
		"write done without data": {tcp.OpWrite, func(c *fakeConn, cmd tcp.Command) { c.answer(cmd, 0, 0) }, tcp.FatalSequence},
		"answered twice": {tcp.OpWrite, func(c *fakeConn, cmd tcp.Command) {
			c.send(tcp.R2T{CID: cmd.CID, Length: cmd.SGL.Length}, nil)
			c.answer(cmd, 0, 0)
			c.answer(cmd, 0, 0)
		}, tcp.FatalHeaderField},
		"many r2ts": {tcp.OpWrite, func(c *fakeConn, cmd tcp.Command) {
			for i := range uint32(3) {
				c.send(tcp.R2T{CID: cmd.CID, Offset: i * 20480, Length: 20480}, nil)
			}
		}, tcp.FatalLimit},
		"unknown command": {tcp.OpRead, func(c *fakeConn, cmd tcp.Command) {
			cmd.CID++
			c.answer(cmd, 0, 0)
		}, tcp.FatalHeaderField},
		"command beyond the queue": {tcp.OpRead, func(c *fakeConn, cmd tcp.Command) {
			cmd.CID = 60000
			c.answer(cmd, 0, 0)
		}, tcp.FatalHeaderField},
		"a host's pdu": {tcp.OpRead, func(c *fakeConn, _ tcp.Command) { c.send(tcp.ICReq{}, nil) }, tcp.FatalSequence},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var seen states
			change := func(f *fake, cfg *Config) {
				cfg.OnState = seen.record
				f.intercept = first(false, tt.opcode, tt.answer)
			}
			connected(t, change, func(t *testing.T, f *fake, c *Controller) {
				want := pattern(64<<10, 4) // more than the writer's buffer takes
				got := make([]byte, 64<<10)
				f.set(func() { copy(f.disk, want) })
				// The command succeeds all the same, on the next connection.
				var err error
				if tt.opcode == tcp.OpWrite {
					_, err = c.WriteAt(want, 0)
					copy(got, f.disk)
				} else {
					_, err = c.ReadAt(got, 0)
				}
				if err != nil || !bytes.Equal(got, want) {
					t.Errorf("err = %v", err)
				}
				synctest.Wait() // a pipe has no room for an answer and the farewell at once
				if err := c.Flush(t.Context()); err != nil {
					t.Error(err)
				}
				if !slices.Contains(seen, "resetting") {
					t.Error("the connection was kept")
				}
				if len(f.term) != 1 || f.term[0].Status != tt.status {
					t.Errorf("told the target %v, want %v", f.term, tt.status)
				}
			})
		})
	}
}

// A data digest that does not match costs the command, not the connection.
func TestDataDigestMismatchIsRetried(t *testing.T) {
	var seen states
	change := func(f *fake, cfg *Config) {
		cfg.DataDigest, cfg.OnState = true, seen.record
		f.disk[0] = 5
		f.intercept = first(false, tcp.OpRead, func(c *fakeConn, cmd tcp.Command) {
			c.conn = &corrupter{Conn: c.conn}
			c.w = tcp.NewWriter(c.conn)
			c.w.Negotiated(tcp.DataDigest, 0)
			c.send(tcp.C2HData{CID: cmd.CID, Length: 4096, Last: true}, make([]byte, 4096))
			c.answer(cmd, 0, 0)
		})
	}
	connected(t, change, func(t *testing.T, f *fake, c *Controller) {
		got := make([]byte, 4096)
		if _, err := c.ReadAt(got, 0); err != nil || got[0] != 5 {
			t.Errorf("byte %d, err = %v", got[0], err)
		}
		if n := f.count(tcp.OpRead, 1); n != 2 {
			t.Errorf("%d reads, want 2", n)
		}
		if slices.Contains(seen, "resetting") {
			t.Error("the connection was dropped")
		}
	})
}

// A write that is refused while its data is on the way keeps its place until the data has left.
func TestRefusedWhileSending(t *testing.T) {
	change := func(f *fake, _ *Config) {
		f.intercept = first(false, tcp.OpWrite, func(c *fakeConn, cmd tcp.Command) {
			c.send(tcp.R2T{CID: cmd.CID, TTag: cmd.CID + 1, Length: 64 << 10}, nil)
			c.answer(cmd, tcp.StatusCapacity|tcp.DNR, 0)
		})
	}
	connected(t, change, func(t *testing.T, f *fake, c *Controller) {
		var status *StatusError
		if _, err := c.WriteAt(pattern(64<<10, 1), 0); !errors.As(err, &status) || status.Code != 0x81 {
			t.Fatalf("err = %v", err)
		}
		synctest.Wait()
		if _, err := c.WriteAt(pattern(4096, 2), 0); err != nil {
			t.Error(err)
		}
		if !bytes.Equal(f.disk[:4096], pattern(4096, 2)) {
			t.Error("the disk holds something else")
		}
	})
}

// A queue that has only one place serves many callers.
func TestPlacesAreHandedOn(t *testing.T) {
	change := func(_ *fake, cfg *Config) { cfg.QueueDepth = 1 }
	connected(t, change, func(t *testing.T, f *fake, c *Controller) {
		const callers = 32
		results := make(chan error, callers)
		for i := range callers {
			go func() { results <- second(c.WriteAt(pattern(4096, byte(i)), int64(i)*4096)) }()
		}
		for range callers {
			if err := <-results; err != nil {
				t.Error(err)
			}
		}
		for i := range callers {
			if !bytes.Equal(f.disk[i*4096:(i+1)*4096], pattern(4096, byte(i))) {
				t.Errorf("caller %d's data is not there", i)
			}
		}
	})
}

// The target ends the connection with a termination request.
func TestTargetTerminates(t *testing.T) {
	change := func(f *fake, _ *Config) {
		f.intercept = first(false, tcp.OpFlush, func(c *fakeConn, _ tcp.Command) {
			c.send(tcp.TermReq{FromController: true, Status: tcp.FatalLimit}, nil)
		})
	}
	connected(t, change, func(t *testing.T, f *fake, c *Controller) {
		if err := c.Flush(t.Context()); err != nil {
			t.Error(err)
		}
		if n := f.count(tcp.OpFlush, 1); n != 2 {
			t.Errorf("%d flushes, want 2", n)
		}
	})
}

// A command is not answered, and its association not closed, while the writer still reads its data.
func TestWriterIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStuck()
		a := newAssociation(Config{})
		w := &wire{conn: s, r: tcp.NewReader(s, tcp.Limits{}), w: tcp.NewWriter(s)}
		q := a.open(w, 1, 4, 64<<10)
		c := newCommand("write", tcp.NewRW(tcp.OpWrite, 1, 0, 128))
		c.data = make([]byte, 64<<10)
		if err := q.start(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		closed := make(chan struct{})
		go func() {
			defer close(closed)
			a.close(ErrClosed)
		}()
		synctest.Wait()
		select {
		case <-c.result:
			t.Error("the command was answered")
		case <-closed:
			t.Error("the association was closed")
		default:
		}
		close(s.release)
		<-closed
		if r := <-c.result; !errors.Is(r.err, errLost) {
			t.Errorf("answer %+v, want errLost", r)
		}
	})
}
