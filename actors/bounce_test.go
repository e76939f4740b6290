// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package actors

import (
	"testing"
)

func TestAnOwedBounceSurvivesACrash(t *testing.T) {
	st := newStage(t, FencingHost)
	st.attach(AccessShared, "node-a", "node-b")
	w := st.unpublish("node-a", "gone")
	st.lose(0)
	st.wantReply(w, ErrUnresolved)
	st.finish() // the survivor is served, the bounce is owed
	n := len(st.sent)
	rules := testRules
	rules.Quiet = st.now.Add(testRules.CommandTimeout)
	st.lost = nil
	st.restart(rules)
	w = st.unpublish("node-a", "gone")
	st.settle()
	st.wantReply(w, nil)
	for _, w := range st.sent[n:] {
		if len(w.Rows) == 2 {
			return
		}
	}
	t.Fatal("answered success although the lost node's connection was never ended")
}
