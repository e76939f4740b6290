// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package control

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/rds-csi/rds-csi/nvme/tcp"
	"github.com/rds-csi/rds-csi/rds/sim"
)

// A Fault is a sim.Rule in JSON. Which commands it is for is said by Command to Times, what happens to
// them by the rest, of which one at least must be given.
type Fault struct {
	ID        int               `json:"id,omitempty"`        // answered, not asked for
	Hits      int               `json:"hits,omitempty"`      // answered: commands that met the fault
	Command   string            `json:"command,omitempty"`   // pattern, such as /disk/*, of hosts read or write*; empty: any
	Transport string            `json:"transport,omitempty"` // api, ssh, or nvme for what hosts ask for; empty: api or ssh
	Args      map[string]string `json:"args,omitempty"`      // patterns
	Skip      int               `json:"skip,omitempty"`      // commands that pass first
	Times     int               `json:"times,omitempty"`     // 0: for ever

	Freeze      bool     `json:"freeze,omitempty"`       // hold the command until the fault is ended
	Delay       Duration `json:"delay,omitempty"`        // before the command is carried out
	Drop        string   `json:"drop,omitempty"`         // "before" or "after" the command is carried out
	Late        Duration `json:"late,omitempty"`         // drop, and carry the command out so long after
	Refuse      string   `json:"refuse,omitempty"`       // the message of a trap, without doing the work
	Fail        string   `json:"fail,omitempty"`         // the message of a trap, after doing the work
	AnswerDelay Duration `json:"answer-delay,omitempty"` // after the command was carried out
	Truncate    bool     `json:"truncate,omitempty"`     // end the connection within the answer

	// For the transport nvme, besides Freeze and Delay.
	Status string `json:"status,omitempty"` // "media", "internal" or "retry": fail with an error of the medium, of the box, or one that passes
	Blank  bool   `json:"blank,omitempty"`  // of reads: answer zeroes
	Size   int64  `json:"size,omitempty"`   // of identify: tell so many bytes
	Stale  bool   `json:"stale,omitempty"`  // of identify: tell the size of when the host connected
}

// statuses are those of Fault.Status. All but the last tell the host not to try again.
var statuses = map[string]tcp.Status{
	"media":    tcp.StatusUnrecoveredRead | tcp.DNR,
	"internal": tcp.StatusInternal | tcp.DNR,
	"retry":    tcp.StatusInternal,
}

// A Duration is a time.Duration that JSON writes as text.
type Duration time.Duration

// MarshalJSON writes a time such as "1.5s".
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(time.Duration(d).String()) }

// UnmarshalJSON reads a time such as "1.5s", which must not be negative.
func (d *Duration) UnmarshalJSON(b []byte) error {
	var text string
	if err := json.Unmarshal(b, &text); err != nil {
		return fmt.Errorf("read a time such as \"1.5s\": %w", err)
	}
	v, err := time.ParseDuration(text)
	if err != nil {
		return fmt.Errorf("read a time such as \"1.5s\": %w", err)
	}
	if v < 0 {
		return fmt.Errorf("time %s is negative", text)
	}
	*d = Duration(v)
	return nil
}

// rule is the fault as the box takes it.
func (f Fault) rule() (sim.Rule, error) {
	r := sim.Rule{
		Command: f.Command, Transport: f.Transport, Args: f.Args, Skip: f.Skip, Times: f.Times, Freeze: f.Freeze,
		Fault: sim.Fault{
			Delay: time.Duration(f.Delay), DropBefore: f.Drop == "before", DropAfter: f.Drop == "after", Late: time.Duration(f.Late),
			Trap: f.Refuse, FailAfter: f.Fail, AnswerDelay: time.Duration(f.AnswerDelay), Truncate: f.Truncate,
			Status: statuses[f.Status], Blank: f.Blank, Size: f.Size, Stale: f.Stale,
		},
	}
	switch {
	case f.Drop != "" && f.Drop != "before" && f.Drop != "after":
		return r, fmt.Errorf("drop %.32q is not before or after", f.Drop)
	case f.Transport != "" && f.Transport != "api" && f.Transport != "ssh" && f.Transport != "nvme":
		return r, fmt.Errorf("transport %.32q is not api, ssh or nvme", f.Transport)
	case f.Status != "" && statuses[f.Status] == 0:
		return r, fmt.Errorf("status %.32q is not media, internal or retry", f.Status)
	case f.Skip < 0 || f.Times < 0:
		return r, fmt.Errorf("skip %d and times %d must not be negative", f.Skip, f.Times)
	case !f.Freeze && r.Fault == sim.Fault{}:
		return r, fmt.Errorf("nothing is to happen: give freeze, delay, drop, late, refuse, fail, answer-delay or truncate; of hosts freeze, delay, status, blank, size or stale")
	}
	return r, nil
}

// tell is what is answered of a rule in force.
func tell(in sim.Injected) Fault {
	r, what := in.Rule, in.Rule.Fault
	f := Fault{
		ID: in.ID, Hits: in.Hits, Command: r.Command, Transport: r.Transport, Args: r.Args, Skip: r.Skip, Times: r.Times, Freeze: r.Freeze,
		Delay: Duration(what.Delay), Late: Duration(what.Late), Refuse: what.Trap, Fail: what.FailAfter,
		AnswerDelay: Duration(what.AnswerDelay), Truncate: what.Truncate, Blank: what.Blank, Size: what.Size, Stale: what.Stale,
	}
	for name, status := range statuses {
		if what.Status == status {
			f.Status = name
		}
	}
	switch {
	case what.DropBefore:
		f.Drop = "before"
	case what.DropAfter:
		f.Drop = "after"
	}
	return f
}
