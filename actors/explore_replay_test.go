// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package actors

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var verbs = []string{
	verbAsk: "ask", verbServe: "serve", verbAnswer: "answer", verbLose: "lose", verbFail: "fail", verbRefuse: "refuse",
	verbSkip: "skip", verbLand: "land", verbObserve: "observe", verbTick: "tick", verbWait: "wait", verbNap: "nap", verbCrash: "crash", verbForget: "forget", verbSuspect: "suspect", verbTell: "tell",
}

// spell writes acts as one word each, for a command line.
func (b *bounds) spell(acts []act) string {
	var words []string
	for _, a := range acts {
		word := verbs[a.verb]
		if a.verb == verbAsk || a.verb == verbLand || a.arg != 0 {
			word += "." + strconv.Itoa(a.arg)
		}
		words = append(words, word)
	}
	return strings.Join(words, " ")
}

// read is the inverse of spell.
func (b *bounds) read(words []string) ([]act, error) {
	var acts []act
	for _, word := range words {
		name, arg, _ := strings.Cut(word, ".")
		i := slices.Index(verbs, name)
		if i < 0 {
			return nil, fmt.Errorf("%q is no act", word)
		}
		n, _ := strconv.Atoi(arg)
		acts = append(acts, act{verb(i), n})
	}
	return acts, nil
}

// TestReplay plays the trace that a violation printed.
func TestReplay(t *testing.T) {
	if *exploreReplay == "" {
		t.Skip("no -explore.replay is given")
	}
	words := strings.Fields(*exploreReplay)
	for _, b := range exploredWorlds() {
		if b.name != words[0] {
			continue
		}
		root, err := strconv.Atoi(words[1])
		if err != nil {
			t.Fatal(err)
		}
		acts, err := b.read(words[2:])
		if err != nil {
			t.Fatal(err)
		}
		w := roots(t, &b)[root]
		if _, err := w.replay(acts, t.Logf); err != nil {
			t.Fatal(err)
		}
	}
}

// replay takes the acts one by one and writes what happens for a person to read.
func (w *world) replay(acts []act, note func(string, ...any)) (*world, error) {
	start := w.now
	note("         the box shows %s", shown(w.row))
	for _, a := range acts {
		next := w.clone()
		next.note = note
		note("%7.3fs %s", w.now.Sub(start).Seconds(), w.tell(a))
		before := w.row
		var err error
		next, err = next.take(a)
		if shown(next.row) != shown(before) {
			note("         the box shows %s", shown(next.row))
		}
		if err != nil {
			note("         %v", err)
			return next, err
		}
		w = next
	}
	return w, nil
}

// tell says in words what an act is.
func (w *world) tell(a act) string {
	switch a.verb {
	case verbAsk:
		return "a caller asks: " + asked(w.bounds.alphabet[a.arg])
	case verbServe:
		return "the box carries out the next part of what is in flight"
	case verbAnswer:
		return "its answer arrives"
	case verbLose:
		return "its answer is lost"
	case verbFail:
		return "nothing can be sent"
	case verbRefuse:
		return "the box refuses"
	case verbSkip:
		return "the box refuses the first row and carries out the second"
	case verbLand:
		if a.arg < len(w.lost) {
			return "late, the box carries out " + string(w.lost[a.arg].op) + w.lost[a.arg].row.Ledger.String()
		}
	case verbObserve:
		return "the row is to be looked at"
	case verbTick:
		return "the timer fires"
	case verbWait:
		return "time passes to " + w.next().Sub(w.now).String() + " later"
	case verbNap:
		return "a moment passes"
	case verbCrash:
		return "the process crashes; another one starts"
	case verbSuspect:
		return "a cache says that nobody wants " + string(playNodes[a.arg])
	case verbTell:
		return "KubeVirt says by itself " + w.heard(saying(a.arg)).Verdict.String()
	case verbForget:
		return "the box reboots without its last write"
	}
	return verbs[a.verb]
}

func asked(ev Event) string {
	switch ev := ev.(type) {
	case Publish:
		return fmt.Sprintf("publish to %s, %v", ev.Node, ev.Access)
	case Unpublish:
		return strings.TrimSpace(fmt.Sprintf("unpublish from %q %s", ev.Node, ev.Lost))
	case Exclusive:
		return string(ev.Op.Kind)
	case TakeOver:
		return "take over from " + ev.From
	case Observed, Suspected, Outcome, Done, Tick: // nobody asks for these
	}
	return fmt.Sprintf("%#v", ev)
}

func shown(v Volume) string {
	if !v.Exists {
		return "no row"
	}
	return shownRow(rowOf(v))
}

func shownRow(r Row) string {
	host := "any host"
	for node, nqn := range playHosts {
		if r.AllowHost == nqn {
			host = string(node)
		}
	}
	return fmt.Sprintf("%s, export %t, for %s", r.Ledger, r.Export, host)
}

// brief writes an effect for a person to read.
func brief(e Effect) string {
	switch e := e.(type) {
	case ReadRow:
		return "read the row"
	case GrantRow, RevokeRow:
		write, _ := writeOf(e)
		var rows []string
		for _, r := range write.Rows {
			rows = append(rows, shownRow(r))
		}
		verb := "grant"
		if write.Revoke {
			verb = "revoke"
		}
		return verb + ": " + strings.Join(rows, "; then ")
	case Run:
		return "run " + string(e.Op.Kind)
	case Reply:
		if e.Err != nil {
			return fmt.Sprintf("answer %d: %v", e.Waiter, e.Err)
		}
		return fmt.Sprintf("answer %d: OK", e.Waiter)
	case Confirm, Admit, Judge, Adopt: // as they are
	case Joined:
		return fmt.Sprintf("%d joins %d", e.Waiter, e.Leader)
	case Announce:
		a := e.Announcement
		return fmt.Sprintf("tell %v %s%s %s %v", a.Kind, a.Node, a.Source, a.Target, a.Duration)
	}
	return fmt.Sprintf("%#v", e)
}
