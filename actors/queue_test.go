// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package actors

import "testing"

func TestARetryJoins(t *testing.T) {
	st := newStage(t, FencingEpoch)
	first := st.publish("node-a", AccessSingle)
	retry := st.publish("node-a", AccessSingle)
	if st.joined[retry] != first {
		t.Fatal("the retry did not join")
	}
	st.finish()
	st.wantReply(first, nil)
	st.wantReply(retry, nil)
	if len(st.sent) != 1 {
		t.Fatalf("%d writes for one grant", len(st.sent))
	}
}

func TestALaterIntentDoesNotJoinAnEarlierOne(t *testing.T) {
	st := newStage(t, FencingEpoch)
	st.publish("node-a", AccessSingle)
	off := st.unpublish("node-a", "")
	on := st.publish("node-a", AccessSingle)
	if len(st.joined) != 0 {
		t.Fatalf("joined: %v", st.joined)
	}
	st.finish()
	st.wantReply(off, nil)
	st.wantReply(on, nil)
	st.wantGranted("node-a")
	if len(st.sent) != 3 {
		t.Fatalf("%d writes, want grant, revoke, grant", len(st.sent))
	}
}

func TestUnpublishOfAllSeparatesPublishes(t *testing.T) {
	st := newStage(t, FencingEpoch)
	st.publish("node-a", AccessSingle)
	st.unpublish("", "")
	on := st.publish("node-a", AccessSingle)
	st.finish()
	st.wantReply(on, nil)
	st.wantGranted("node-a")
}

func TestTheQueueIsBounded(t *testing.T) {
	st := newStage(t, FencingEpoch)
	var waiters []Waiter
	for i := range maxQueue {
		waiters = append(waiters, st.exclusive(OpExpand, string(rune('a'+i))))
	}
	st.wantReply(st.exclusive(OpExpand, "one too many"), ErrBusy)
	for range maxWaiters - 1 {
		waiters = append(waiters, st.exclusive(OpExpand, string(rune('a'+maxQueue-1))))
	}
	st.wantReply(st.exclusive(OpExpand, string(rune('a'+maxQueue-1))), ErrBusy)
	st.finish()
	for _, w := range waiters {
		st.wantReply(w, nil)
	}
}

func TestDeleteIsRefusedWhileAttached(t *testing.T) {
	st := newStage(t, FencingEpoch)
	st.attach(AccessSingle, "node-a")
	w := st.exclusive(OpDelete, "")
	st.finish()
	st.wantReply(w, ErrPrecondition)
	st.unpublish("node-a", "")
	st.finish()
	w = st.exclusive(OpDelete, "")
	st.finish()
	st.wantReply(w, nil)
}

func TestExpandOfAVolumeThatIsGone(t *testing.T) {
	st := newStage(t, FencingEpoch)
	st.row = Volume{ID: testVolume}
	w := st.exclusive(OpExpand, "2")
	st.finish()
	st.wantReply(w, ErrNotFound)
}

func TestAnUnawaitedResultChangesNothing(t *testing.T) {
	st := newStage(t, FencingEpoch)
	st.attach(AccessSingle, "node-a")
	st.do(Done{Err: ErrUnresolved})
	st.wantIdle()
	st.wantGranted("node-a")
}

func TestACreateDoesNotJoinOneBeforeADelete(t *testing.T) {
	st := newStage(t, FencingEpoch)
	st.row = Volume{ID: testVolume}
	st.exclusive(OpCreate, "1")
	st.exclusive(OpDelete, "")
	w := st.exclusive(OpCreate, "1")
	st.finish()
	st.wantReply(w, nil)
	if !st.row.Exists {
		t.Fatal("a create answered success for a volume that was deleted")
	}
}
