// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package main

// The volume: its state machine, its mailbox and the supervisor.
var faultsOfActors = []fault{
	// P1: exclusion.
	{"drop the third-node check", "publish.go", "case len(l.Grants) >= 2:", "case len(l.Grants) >= 3:"},
	{"let two writers have a ReadWriteOnce volume", "publish.go", "case r.access == AccessSingle:", "case r.access == AccessNone:"},
	{"let a reader in beside a writer", "publish.go", "case l.Access != r.access:\n\t\twhy", "case l.Access == AccessNone:\n\t\twhy"},
	{"forget the other node on unpublish", "unpublish.go", `return node == "" || g.Node == node`, "return true"},
	{"revoke the target at the timeout", "verdict.go", "l.Told, l.Left = mg.entry(r.kind), \"\"", "l.Told, l.Left, l.Grants = mg.entry(r.kind), \"\", l.Grants[:1]"},
	{"grant to a node that is fenced", "requests.go", "\tif err != nil {\n\t\treturn Volume{}, fmt.Errorf(\"publish volume", "\tif err != nil && ctx.Err() != nil {\n\t\treturn Volume{}, fmt.Errorf(\"publish volume"},
	{"delete what is attached", "exclusive.go", "r.op.Kind == OpDelete && n > 0", "r.op.Kind == OpDelete && n > 2"},

	// P2: order.
	{"grant while a write is unresolved", "publish.go", "if m.s.settling != nil {", "if m.s.settling != nil && m.s.settling.strays > 9 {"},
	{"skip the settlement of a lost grant", "publish.go", "m.settleNow(m.s.rowFor(m.s.vol.Ledger), row.Ledger.Gen, m.over())", "m.forget()"},
	{"skip the settlement of a lost operation", "exclusive.go", "m.settleLater()", "m.forget()"},
	{"skip the rebuild barrier", "observe.go", "case m.s.others() || !first || !m.now.Before(m.s.rules.Quiet):", "case m.s.known:"},
	{"skip the rebuild barrier where there is no row", "observe.go", "return s.vol.Exists && s.ours() != nil && !s.adoptable()", "return s.ours() != nil"},
	{"call a bounce over before it was acknowledged", "row.go", "on.Ledger.Off = true", "on.Ledger.Off = len(l.Grants) > 1"},
	{"believe an acknowledgement without the read-back", "settle.go", "st.blind || v.shows(st.row)", "st.blind || v.Exists"},
	{"read back before the lost write's time is over", "settle.go", "// The lost write was given up before this one was sent.\n\t\tst.due = m.over()", "st.due = m.now"},
	{"skip the quiet time after a start", "supervisor.go", "if s.cfg.Quiet > 0 {", "if s.cfg.Quiet > time.Hour {"},
	{"skip the quiet time after a panic", "loop.go", "\trules.Quiet = later(rules.Quiet, time.Now().Add(rules.CommandTimeout))\n", ""},
	{"begin anew while an effect is in flight", "loop.go", "\tif a.busy {\n\t\ta.last(a.awaitResult())\n\t}\n\trules := ", "\trules := "},
	{"stop while an effect is in flight", "loop.go", "\tif a.busy {\n\t\ta.last(a.awaitResult())\n\t}\n}", "}"},
	{"retire while a message is on its way", "supervisor.go", "if len(a.mailbox) > 0 || len(a.news.wake) > 0 {", "if len(a.news.wake) > 0 {"},
	{"let the end of the driver cut an operation short", "supervisor.go", "s.work = context.WithoutCancel(ctx)", "s.work = ctx"},
	{"use a generation twice", "row.go", "gen = max(gen, m.s.settling.gen)", "gen = max(gen, 1)"},

	// P3: one answer.
	{"answer OK on an unresolved revoke", "unpublish.go", `m.refuse(fmt.Errorf("revoke volume %s: the box did not acknowledge it: %w", m.s.id, unresolved(err)))`, "m.reply(m.pop(), nil)"},
	{"answer OK on an unresolved grant", "publish.go", `m.refuse(fmt.Errorf("grant volume %s: the box did not acknowledge it: %w", m.s.id, unresolved(err)))`, "m.reply(m.pop(), nil)"},
	{"answer an unpublish before its settlement ends", "unpublish.go", "m.hold(m.pop())", "m.reply(m.pop(), nil)"},
	{"take an operation that panicked for one that did nothing", "worker.go", "the operation panicked: %w\", ErrUnresolved", "the operation panicked: %w\", ErrUnavailable"},
	{"forget who joined", "queue.go", "leader.waiters = append(leader.waiters, r.waiters...)", "leader.waiters = append([]Waiter(nil), leader.waiters...)"},
	{"say NotFound of what may have been created", "publish.go", "if m.s.settling != nil {", "if m.s.settling != nil && m.s.vol.Exists {"},

	// P4: a restart changes nothing.
	{"take the older attachment as the target", "migration.go", "migration{source: l.Grants[0], target: l.Grants[1]}", "migration{source: l.Grants[1], target: l.Grants[0]}"},
	{"let a bounce that was cut short be", "observe.go", "case m.s.ours() == nil && read.Ledger.Off:", "case m.s.ours() == nil && read.Ledger.Off && first && m.s.again:"},
	{"believe a box that forgot", "observe.go", "if !first && m.lost(read) {", "if !first && m.lost(read) && m.s.again {"},
	{"drop what was observed while busy", "step.go", "m.s.again = true // what is in flight may have begun before the change\n", ""},
	{"decide on a row that is stale", "step.go", "m.now.Sub(m.s.readAt) > m.s.rules.Fresh", "m.now.Sub(m.s.readAt) > 1000*m.s.rules.Fresh"},

	// P5: one outcome per migration.
	{"count any detach as success", "migration.go", `ruling{MigrationFailed, "target detached before source", byOrder}`, `ruling{MigrationCompleted, "", byOrder}`},
	{"leave the outcome out of the ledger", "migration.go", "after.Told = mg.entry(r.kind)\n\tif !decided", "if !decided"},
	{"tell an outcome that was told", "migration.go", `m.told = strings.HasSuffix(l.Told, "."+m.target.At.String())`, `m.told = strings.HasSuffix(l.Told, "?")`},
	{"tell nobody of a lost revoke", "unpublish.go", "m.s.settling.toTell = told", "m.s.settling.toTell = nil"},
	{"tell an outcome and leave it pending", "migration.go", "\t\treturn after, out\n\t}\n\treturn after, append(", "\t\treturn after, append(out, mg.announcing(mg.orderOf(after)))\n\t}\n\treturn after, append("},
	{"tell a pending outcome twice", "verdict.go", "\tl.Told, l.Left = mg.entry(r.kind), \"\"\n\tm.s.toTell", "\tm.s.toTell"},
	{"tell a pending outcome and keep it in the ledger", "migration.go", "\t\tafter.Told, after.Left = mg.entry(r.kind), \"\"\n\t\tout = ", "\t\tout = "},
	{"let an outcome be pending for longer than is promised", "verdict.go", "m.s.ruleBy = m.now.Add(verdictWait)", "m.s.ruleBy = m.now.Add(60 * verdictWait)"},
	{"forget who left when an outcome is pending", "migration.go", "\tif !decided {\n\t\tafter.Left = mg.source.Node\n\t\tif after.Granted(mg.source.Node) {", "\tif !decided {\n\t\tafter.Left = mg.source.Node\n\t\tif after.Granted(mg.target.Node) {"},
	{"never mind the timeout", "verdict.go", "if !ok || m.now.Before(at) {", "if !ok || m.now.Before(at) || m.s.known {"},

	{"rule by detach order though KubeVirt has decided", "migration.go", "r, decided := m.s.verdict(mg)\n\tif !decided && (", "r, decided := m.s.verdict(mg)\n\tdecided = false\n\tif !decided && ("},
	{"believe an answer that is older than KubeVirt's word", "verdict.go", "if m.s.word.news && m.s.word.about(mg)", "if m.s.word.news && m.s.look && m.s.word.about(mg)"},
	{"let KubeVirt take an end back", "verdict.go", "&& !m.s.word.ended(mg):", "&& !(m.s.look && m.s.word.ended(mg)):"},
	{"let a cache take an end back", "verdict.go", "old.ended(mg) && w.m.Verdict == VerdictOpen", "old.ended(mg) && w.m.Verdict == VerdictOpen && m.s.look"},
	{"ask again although it has ended", "verdict.go", "errors.Is(ev.Err, ErrNotFound)) && !end {", "errors.Is(ev.Err, ErrNotFound)) && (!end || !m.s.look) {"},
	{"forget an outcome that the next migration replaces", "settle.go", "	m.tellReplaced(stands)\n", ""},
	{"never settle a pending outcome", "verdict.go", "return mg, false, ok && s.ours() == nil", "return mg, false, ok && s.ours() != nil"},
	{"let the ledger's deadline stand beside KubeVirt's", "verdict.go", "limit = s.word.m.Limit", "limit = min(limit, s.word.m.Limit)"},
	{"let time run before KubeVirt has begun", "verdict.go", "if s.word.m.Started.IsZero() {", "if s.word.m.Started.IsZero() && s.look {"},

	// P7: no data lost.
	{"clear a grant that is wanted", "stale.go", "if ev.Err != nil {", "if ev.Err != nil && m.s.look {"},
	{"forget the other node on stale clean-up", "stale.go", "node: m.s.confirming, lost", "node: m.s.confirming[:0], lost"},

	{"write another cluster's ledger", "settle.go", " && before.Cluster == m.s.rules.Cluster {", " {"},
	{"act on a suspicion without asking", "stale.go", "m.start(inflightConfirm, Confirm{Node: m.s.confirming})", "m.doneConfirm(Done{})"},
	{"let a second node in without admission", "admit.go", "if r.admitted == holder {", "if r.admitted != holder {"},
	{"let a second node in that was refused", "admit.go", "if err == nil {", "if err == nil || errors.Is(err, ErrPrecondition) {"},
	{"drop a grant when adopting", "adoption.go", "Grants: oneByOne(a.Grants)", "Grants: oneByOne(a.Grants)[:min(len(a.Grants), 1)]"},
	{"turn a running VM's NQN into another when adopting", "adoption.go", "if row.NQN != m.s.vol.NQN {", "if row.NQN == \"\" {"},
	{"make a new NQN under a running VM", "publish.go", "r.nqn != \"\" && r.nqn == m.s.vol.NQN", "r.nqn != r.nqn[:0] && r.nqn == \"\""},
	{"clear any number of grants", "recheck.go", "if n > max(s.cfg.StaleLimit, 0) || (n > 0 && frozen != nil) {", "if n > 0 && frozen != nil {"},
	{"confirm a suspicion although revokes are frozen", "worker.go", "if done.Err = a.sup.frozen(ctx); done.Err == nil {", "if done.Err = nil; done.Err == nil {"},
	{"compare grants with who was wanted before them", "recheck.go", "\trows, err := s.List(ctx)\n\tif err != nil {\n\t\treturn err\n\t}\n\t// After the rows: whoever is granted had a VolumeAttachment by then.\n\twanted, err := s.cfg.Orchestrator.Wanted()", "\twanted, err := s.cfg.Orchestrator.Wanted()\n\tif err != nil {\n\t\treturn err\n\t}\n\trows, err := s.List(ctx)"},
	{"clear grants although revokes are frozen", "recheck.go", "if n > max(s.cfg.StaleLimit, 0) || (n > 0 && frozen != nil) {", "if n > max(s.cfg.StaleLimit, 0) {"},

	// P6: fence.
	{"use an epoch again", "row.go", "return max(TokenAt(m.now), m.s.vol.Ledger.Epoch+1, m.s.epoch+1)", "return max(m.s.vol.Ledger.Epoch, 1)"},
	{"bounce nobody off", "unpublish.go", `return after.Fencing == FencingHost && lost != ""`, `return after.Fencing == FencingHost && lost == "never"`},
	{"bounce while a lost write may land", "settle.go", "return later(st.bounceAt, st.over)", "return st.bounceAt"},
	{"allow any host", "row.go", "l.Fencing == FencingHost && len(l.Grants) == 1", "l.Fencing == FencingHost && len(l.Grants) == 9"},
	{"leave the export on after the last detach", "row.go", "row.Export = (len(l.Grants) > 0 || l.Fencing == FencingNone) && !l.Off", "row.Export = !l.Off"},
}
