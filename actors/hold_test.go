// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package actors

import (
	"fmt"
	"testing"
)

func TestHeldUnpublishIsAnsweredWhenTheBoxIsAway(t *testing.T) {
	st := newStage(t, FencingEpoch)
	st.attach(AccessSingle, "node-a")
	st.unpublish("node-a", "")
	st.lose(0)
	st.fail(ErrUnavailable)
	w := st.unpublish("node-a", "")
	st.fail(ErrUnavailable)
	st.wantReply(w, ErrUnresolved)
	st.settle()
	st.wantGranted()
	st.wantTold(Attached, Detached)
}

func TestHeldRequestsAreBounded(t *testing.T) {
	st := newStage(t, FencingEpoch)
	st.attach(AccessSingle, "node-a")
	st.unpublish("node-a", "")
	st.lose(0)
	st.finish()
	for range 200 {
		st.unpublish("", "")
		st.unpublish("node-a", "")
		st.unpublish("node-b", "")
	}
	for i := range 2 * maxQueue {
		st.unpublish(NodeID(fmt.Sprintf("node-%d", i)), "")
	}
	if n, _ := st.s.Waiting(); n > maxQueue {
		t.Fatalf("%d operations are held", n)
	}
	st.settle()
	if len(st.replies) != int(st.tickets) {
		t.Fatalf("%d of %d were answered", len(st.replies), st.tickets)
	}
}

func TestHeldRequestsAreAnsweredWhenTheRowNeverStands(t *testing.T) {
	st := newStage(t, FencingHost)
	st.attach(AccessSingle, "node-a")
	st.unpublish("node-a", "")
	st.lose(0)
	st.finish()
	w := st.unpublish("node-a", "")
	for range 10 {
		st.now = st.s.Deadline()
		st.row.AllowHost = "nqn.2000-02.com.example:somebody"
		st.do(Tick{})
		st.finish()
	}
	st.wantReply(w, ErrUnresolved)
	st.settle()
}

// A publish in between keeps a retry from joining in the queue, and is refused by the time that
// the retry would be held.
func TestARetryJoinsAmongTheHeld(t *testing.T) {
	st := newStage(t, FencingEpoch)
	st.attach(AccessSingle, "node-a")
	st.unpublish("node-a", "")
	st.lose(0)
	st.fail(ErrUnavailable)
	first := st.unpublish("node-a", "") // its write is in flight
	on := st.publish("node-a", AccessSingle)
	retry := st.unpublish("node-a", "")
	st.finish()
	st.wantReply(on, ErrUnavailable)
	if st.joined[retry] != first {
		t.Fatal("the retry did not join")
	}
	st.settle()
	st.wantReply(first, nil)
	st.wantReply(retry, nil)
}
