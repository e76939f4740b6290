// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/rds-csi/rds-csi/nvme/tcp"
)

func TestNamespaceIsDescribed(t *testing.T) {
	connected(t, nil, func(t *testing.T, f *fake, c *Controller) {
		if c.Size() != testDisk || c.BlockSize() != 512 || c.UUID() != uuid.UUID(f.ids.UUID) || c.Namespace().ID != 1 {
			t.Errorf("namespace %+v", c.Namespace())
		}
	})
}

func TestResize(t *testing.T) {
	for _, event := range []bool{true, false} {
		name := "rescan"
		if event {
			name = "event"
		}
		t.Run(name, func(t *testing.T) {
			var olds, news []int64
			change := func(_ *fake, cfg *Config) {
				cfg.OnNamespace = func(old, now Namespace) { olds, news = append(olds, old.Size), append(news, now.Size) }
			}
			connected(t, change, func(t *testing.T, f *fake, c *Controller) {
				synctest.Wait() // until events are waited for
				for i, size := range []int64{2 * testDisk, 3 * testDisk} {
					f.resize(size, event)
					synctest.Wait()
					if !event {
						if c.Size() == size {
							t.Fatal("a quiet resize was noticed")
						}
						if err := c.Rescan(t.Context()); err != nil {
							t.Fatal(err)
						}
					}
					if c.Size() != size {
						t.Fatalf("size %d, want %d", c.Size(), size)
					}
					if err := second(c.WriteAt(make([]byte, 512), size-512)); err != nil {
						t.Errorf("write at the new end: %v", err)
					}
					if len(news) != i+2 || news[i+1] != size || olds[i+1] != news[i] {
						t.Errorf("told %d, %d", olds, news)
					}
				}
			})
		})
	}
}

// A resize while the connection is down is seen when it is up again.
func TestResizeWhileAway(t *testing.T) {
	connected(t, nil, func(t *testing.T, f *fake, c *Controller) {
		f.drop()
		synctest.Wait()
		f.resize(2*testDisk, true)
		if err := c.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		if c.Size() != 2*testDisk {
			t.Errorf("size %d", c.Size())
		}
	})
}

func TestNamespaceByID(t *testing.T) {
	tests := map[string]struct {
		want   uint32
		active []uint32
		found  uint32
	}{
		"the first":  {0, []uint32{3, 5}, 3},
		"one of two": {5, []uint32{3, 5}, 5},
		"not there":  {4, []uint32{3, 5}, 0},
		"none":       {0, nil, 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			change := func(f *fake, cfg *Config) { f.nsids, cfg.NSID = tt.active, tt.want }
			connected(t, change, func(t *testing.T, f *fake, c *Controller) {
				if got := c.Namespace().ID; got != tt.found {
					t.Fatalf("namespace %d, want %d", got, tt.found)
				}
				err := c.Flush(t.Context())
				if (tt.found == 0) != errors.Is(err, ErrNoNamespace) {
					t.Errorf("flush: %v", err)
				}
				if tt.found != 0 && f.count(tcp.OpFlush, tt.found) != 1 {
					t.Error("the flush went elsewhere")
				}
			})
		})
	}
}

// A namespace that appears after the connect is used from then on.
func TestNamespaceAppearsLater(t *testing.T) {
	change := func(f *fake, _ *Config) { f.nsids = nil }
	connected(t, change, func(t *testing.T, f *fake, c *Controller) {
		synctest.Wait()
		f.set(func() { f.nsids = []uint32{1} })
		f.resize(testDisk, true)
		synctest.Wait()
		if err := c.Flush(t.Context()); err != nil || c.Size() != testDisk {
			t.Errorf("flush: %v, size %d", err, c.Size())
		}
	})
}

func TestRescanWaitsForTheConnection(t *testing.T) {
	connected(t, nil, func(t *testing.T, f *fake, c *Controller) {
		f.drop()
		f.resize(2*testDisk, false)
		begun := time.Now()
		if err := c.Rescan(t.Context()); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begun); took != 2*time.Second || c.Size() != 2*testDisk {
			t.Errorf("size %d after %v", c.Size(), took)
		}
	})
}

// A namespace that turns into something unusable is not written to any more.
func TestNamespaceBecomesUnusable(t *testing.T) {
	tests := map[string]func(*fake){
		"larger blocks":  func(f *fake) { f.ns.BlockShift = 12 },
		"huge blocks":    func(f *fake) { f.ns.BlockShift = 16 },
		"other uuid":     func(f *fake) { f.ids.UUID[0]++ },
		"no command set": func(f *fake) { f.ids.HasCSI, f.ids.CommandSet = true, 1 },
		"not active":     func(f *fake) { f.nsids = nil },
		"no blocks":      func(f *fake) { f.disk = nil },
		"identify refused": func(f *fake) {
			f.intercept = first(true, tcp.OpIdentify, func(c *fakeConn, cmd tcp.Command) {
				c.later(func() { c.reply(cmd, tcp.AppendNamespaceList(nil, 1)) })
				f.intercept = first(true, tcp.OpIdentify, func(c *fakeConn, cmd tcp.Command) {
					c.answer(cmd, tcp.StatusInvalidNamespace|tcp.DNR, 0)
				})
			})
		},
	}
	for name, damage := range tests {
		t.Run(name, func(t *testing.T) {
			connected(t, nil, func(t *testing.T, f *fake, c *Controller) {
				synctest.Wait()
				f.set(func() { damage(f) })
				f.resize(int64(len(f.disk)), true)
				synctest.Wait()
				if err := second(c.WriteAt(make([]byte, 4096), 0)); !errors.Is(err, ErrNoNamespace) {
					t.Errorf("write: %v, want ErrNoNamespace", err)
				}
				if c.State() != StateLive {
					t.Errorf("state %v", c.State())
				}
			})
		})
	}
}

// Events that are not about namespaces change nothing, and the next one is waited for.
func TestOtherEventsArePassedOver(t *testing.T) {
	connected(t, nil, func(t *testing.T, f *fake, c *Controller) {
		synctest.Wait()
		var aers []func(tcp.AsyncEvent)
		f.set(func() { aers, f.aers = f.aers, nil })
		aers[0](tcp.AsyncEvent{Kind: tcp.AsyncNotice, Info: tcp.NoticeANAChanged, LogPage: tcp.LogANA})
		synctest.Wait()
		f.resize(2*testDisk, true)
		synctest.Wait()
		if c.Size() != 2*testDisk {
			t.Errorf("size %d", c.Size())
		}
	})
}

func TestNoEventsAskedOfATargetWithoutThem(t *testing.T) {
	change := func(f *fake, _ *Config) { f.identity.OAES = 0 }
	connected(t, change, func(t *testing.T, f *fake, _ *Controller) {
		synctest.Wait()
		if f.count(tcp.OpAsyncEventReq, 0) != 0 || f.count(tcp.OpSetFeatures, 0) != 1 {
			t.Error("events were asked for")
		}
	})
}

// An admin command that is never answered brings the connection down, since its place would be lost.
func TestAdminCommandUnanswered(t *testing.T) {
	connected(t, nil, func(t *testing.T, f *fake, c *Controller) {
		synctest.Wait()
		f.set(func() { f.intercept = first(true, tcp.OpIdentify, ignore) })
		f.resize(2*testDisk, false)
		begun := time.Now()
		if err := c.Rescan(t.Context()); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begun); took != DefaultAdminTimeout+2*time.Second || c.Size() != 2*testDisk {
			t.Errorf("size %d after %v", c.Size(), took)
		}
	})
}

// A namespace that vanishes between the list and the look is none, not a refusal to connect.
func TestNamespaceVanishesWhileConnecting(t *testing.T) {
	change := func(f *fake, _ *Config) {
		f.intercept = func(c *fakeConn, cmd tcp.Command) bool {
			if c.qid != 0 || cmd.Opcode != tcp.OpIdentify || cmd.CDW10 != tcp.CNSDescriptors {
				return false
			}
			c.answer(cmd, tcp.StatusInvalidNamespace|tcp.DNR, 0)
			return true
		}
	}
	connected(t, change, func(t *testing.T, _ *fake, c *Controller) {
		if c.State() != StateLive || c.Size() != 0 {
			t.Errorf("state %v, size %d", c.State(), c.Size())
		}
	})
}
