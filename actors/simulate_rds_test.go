// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package actors_test

import (
	"context"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/embedded"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/rds-csi/rds-csi/actors"
	"github.com/rds-csi/rds-csi/rds"
	"github.com/rds-csi/rds-csi/rds/sim"
)

// The simulation's box is the simulated one, and each driver process talks to it as in earnest: over sessions of the
// RouterOS API. What the simulation needs of them is here, since package actors may not know them.
func init() { actors.NewSimulated = newSimulated } //nolint:gochecknoinits // package actors cannot name it

const (
	boxAddress  = "192.0.2.1:8728"
	boxPassword = "simulated"
	volumePath  = "/raid10"
)

// A simulated is a box with its faults. All of it is drawn from the seed, the volume and the instant, never from
// the order in which goroutines run.
type simulated struct {
	actors.SimulatedConfig
	box *sim.Sim
	net *network

	mu   sync.Mutex
	last map[string]landing // by .id
}

// A landing is when a command will have been carried out, or not, on the session that it came on.
type landing struct {
	at      time.Time
	session uint64
	fault   sim.Fault
}

func newSimulated(cfg actors.SimulatedConfig) (actors.SimulatedBox, error) {
	s := &simulated{SimulatedConfig: cfg, net: &network{ports: map[string]*port{}}, last: map[string]landing{}}
	var err error
	s.box, err = sim.Start(context.Background(), sim.Config{
		Dir: cfg.Dir, Password: boxPassword, APIAddr: boxAddress, TLSAddr: sim.Off, SSHAddr: sim.Off,
		Concurrency: 1 << 10, Listen: s.net.listen, Fault: s.fault, Changed: s.changed,
	})
	return s, err
}

// Put adds a row as somebody has left it.
func (s *simulated) Put(v actors.Volume) error {
	ctx := context.Background()
	c, err := rds.DialAPI(ctx, s.config())
	if err != nil {
		return err
	}
	defer c.Close()
	words := []string{
		"/disk/add", "=type=file", "=slot=" + strings.ReplaceAll(v.ID.UUID(), "-", ""), "=file-path=" + volumePath + "/" + string(v.ID) + ".img",
		"=file-size=" + strconv.FormatInt(v.Size, 10), "=mount-filesystem=no", "=nvme-tcp-server-port=" + strconv.Itoa(int(v.Port)),
		"=nvme-tcp-server-nqn=" + v.NQN, "=nvme-tcp-server-allow-host-name=" + v.AllowHost,
		"=nvme-tcp-export=" + map[bool]string{true: "yes", false: "no"}[v.Export],
	}
	if v.Ours {
		words = append(words, "=comment="+v.Ledger.String())
	}
	_, err = c.Run(ctx, words...)
	return err
}

func (s *simulated) config() rds.Config {
	return rds.Config{
		Address: boxAddress, Username: "admin", Password: boxPassword, Cluster: s.Cluster, VolumePaths: []string{volumePath},
		CommandTimeout: s.CommandTimeout, Jitter: s.jitter, DialContext: s.net.dial,
		// Which of several sessions one gets may go by who was first at one instant; so there is one of each kind. Likewise
		// which listing one shares; so each begins a moment after it could.
		Sessions: 2, InFlight: 32, Tracer: hesitant{},
	}
}

// A hesitant tracer has a listing that has a session wait until all have come who come at this instant.
type hesitant struct{ embedded.Tracer }

func (hesitant) Start(ctx context.Context, name string, _ ...trace.SpanStartOption) (context.Context, trace.Span) {
	return ctx, hesitation{wait: name == "rds.list"}
}

type hesitation struct {
	noop.Span
	wait bool
}

func (h hesitation) AddEvent(string, ...trace.EventOption) {
	if h.wait {
		time.Sleep(time.Nanosecond)
	}
}

// jitter is a time that goes by the instant: several kinds of session may be made anew at one.
func (s *simulated) jitter(d time.Duration) time.Duration {
	return time.Duration(rand.New(rand.NewPCG(s.Seed, uint64(time.Now().UnixNano()))).Int64N(int64(d) + 1)) //nolint:gosec // a schedule, no secret
}

// Connect makes the box of one driver process.
func (s *simulated) Connect() (actors.SimulatedDriver, error) {
	b, err := rds.New(s.config())
	return driver{b}, err
}

// Away keeps everybody from the box for a time.
func (s *simulated) Away(until time.Time) { s.net.cut(until) }

// Reboot reboots the box, which forgets what was configured in the last time.
func (s *simulated) Reboot(forgets time.Duration) error {
	return s.box.RebootLosing(context.Background(), forgets)
}

// Rows returns what the box shows now.
func (s *simulated) Rows() []actors.Volume {
	var rows []actors.Volume
	for _, d := range s.box.Disks() {
		if v, ok := volumeOf(d); ok {
			rows = append(rows, v)
		}
	}
	return rows
}

// Commands is how many commands there were.
func (s *simulated) Commands() (n int) {
	for _, c := range s.box.Commands() {
		n += c
	}
	return n
}

func (s *simulated) Close() error { return s.box.Close() }

// changed tells what a command has made of a row.
func (s *simulated) changed(old, next sim.Disk) {
	if v, ok := volumeOf(next); ok {
		s.Changed(v)
	} else if v, ok := volumeOf(old); ok {
		s.Changed(actors.Volume{ID: v.ID})
	}
}

// volumeOf returns the volume of a row, as whoever stands before the box reads it.
func volumeOf(d sim.Disk) (actors.Volume, bool) {
	id, ok := strings.CutSuffix(strings.TrimPrefix(d.File, volumePath[1:]+"/"), ".img")
	if !ok {
		return actors.Volume{}, false
	}
	l, ours, err := actors.ParseLedger(d.Comment)
	if err != nil {
		panic(err)
	}
	return actors.Volume{
		ID: actors.VolumeID(id), Exists: true, Size: d.Size, Export: d.Export, NQN: d.NQN, Port: d.Port, AllowHost: d.AllowHost, Ledger: l, Ours: ours,
	}, true
}

// A driver is what one driver process has of the box.
type driver struct{ *rds.Box }

// Operate does the work of an exclusive operation.
func (d driver) Operate(ctx context.Context, kind actors.OpKind, v actors.Volume) (actors.Volume, error) {
	switch kind {
	case actors.OpCreate:
		return d.Create(ctx, actors.Spec{ID: v.ID, Size: v.Size, VolumePath: volumePath, NQN: v.NQN, Ports: actors.Ports{First: v.Port, Last: v.Port}, Ledger: v.Ledger})
	case actors.OpDelete:
		return actors.Volume{ID: v.ID}, d.Delete(ctx, v.ID)
	case actors.OpExpand:
		return d.Expand(ctx, v.ID, v.Size+1<<20)
	}
	return actors.Volume{}, fmt.Errorf("%s: %w", kind, actors.ErrInvalid)
}

// fault draws what happens to a command. Each takes its time, to the nanosecond, so that no two things happen at one
// instant.
func (s *simulated) fault(c sim.Command) sim.Fault {
	if c.Name == "/login" {
		return sim.Fault{}
	}
	calm := s.Calm()
	s.mu.Lock()
	defer s.mu.Unlock()
	h := fnv.New64a()
	_, _ = fmt.Fprint(h, c.Name, s.about(c), c.Arg("comment"), time.Now().UnixNano())
	r := rand.New(rand.NewPCG(s.Seed, h.Sum64())) //nolint:gosec // a schedule, no secret
	f := sim.Fault{Delay: took(r), AnswerDelay: took(r)}
	writes := c.Name == "/disk/set" && c.Arg("comment") != ""
	if !calm {
		switch r.IntN(60) {
		case 0:
			f.DropBefore = true
		case 1:
			f.DropAfter = true
		case 2:
			f.Truncate = true
		case 3:
			f.AnswerDelay += time.Duration(r.Int64N(int64(s.CommandTimeout)))
		case 4, 5, 6, 7:
			if writes {
				f.Late = time.Duration(r.Int64N(int64(s.CommandTimeout*8/10))) + 1
			}
		case 8, 9:
			if writes {
				f.Trap = "failure: simulated"
			}
		}
	}
	if id := c.Arg(".id"); id != "" && c.Name == "/disk/set" {
		s.inOrder(id, c.Session, &f, r)
	}
	return f
}

// inOrder has the box carry out what came on one session in its order, and nothing that came behind what was lost.
func (s *simulated) inOrder(id string, session uint64, f *sim.Fault, r *rand.Rand) {
	now := time.Now()
	at := now.Add(f.Delay + f.Late)
	if l := s.last[id]; l.session == session && now.Before(l.at) {
		if !at.After(l.at) {
			late := time.Duration(r.Int64N(int64(time.Millisecond))) + 1
			f.Delay += l.at.Sub(at) + late
			at = l.at.Add(late)
		}
		f.DropBefore = f.DropBefore || l.fault.DropBefore
	}
	s.last[id] = landing{at, session, *f}
}

// about returns which volume a command is about.
func (s *simulated) about(c sim.Command) string {
	if slot := c.Arg("slot"); slot != "" {
		return slot
	}
	if file := c.Arg("numbers"); file != "" {
		return file
	}
	if id := c.Arg(".id"); id != "" {
		for _, d := range s.box.Disks() {
			if d.ID == id {
				return d.Slot
			}
		}
	}
	return ""
}

// took returns how long a part of a command takes.
func took(r *rand.Rand) time.Duration {
	d := 2*time.Millisecond + time.Duration(r.Int64N(int64(40*time.Millisecond)))
	if r.IntN(24) == 0 {
		d += time.Duration(r.Int64N(int64(3 * time.Second)))
	}
	return d
}
