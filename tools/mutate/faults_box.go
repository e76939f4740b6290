// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package main

// The box: its sessions, its rows, and what may be believed of its answers.
var faultsOfBox = []fault{
	// Who may write.
	{"change the box without the lease", "gate.go", "if err := g.may(); err != nil {", "if err := g.may(); err != nil && ctx.Err() != nil {"},
	{"ask for the lease when a session is made, and never again", "box.go", "return gate(s, cfg.MayChange), nil", "may := cfg.MayChange\n\t\tif may != nil {\n\t\t\terr = may()\n\t\t}\n\t\treturn s, err"},
	{"ask for the lease before there is a session", "gate.go", "if err := g.may(); err != nil {", "if err := ctx.Err(); err != nil {"},
	{"ask for the lease before there is a session", "send.go", "\tvar a answer\n\t_ = b.observe(", "\tvar a answer\n\tif b.cfg.MayChange != nil {\n\t\tif err := b.cfg.MayChange(); err != nil {\n\t\t\ta.err = unavailable(err)\n\t\t\treturn a\n\t\t}\n\t}\n\t_ = b.observe("},

	// Reads.
	{
		"share a listing that began before the reader asked", "list.go",
		"\t\t\t\tbegin()\n\t\t\t\t// The session is there already", "\t\t\t\tdefer begin()\n\t\t\t\t// The session is there already",
	},
	{"take a row that is missing with its pool for removed", "list.go", "errors.Join(b.complete(snap), snap.late(id))", "snap.late(id)"},
	{"take a row that is late after a restart for removed", "list.go", "errors.Join(b.complete(snap), snap.late(id))", "b.complete(snap)"},
	{"list what is there while a pool is missing", "list.go", "if err := b.complete(snap); err != nil {\n\t\treturn nil,", "if err := b.complete(snap); err != nil && len(snap.volumes) > 1000 {\n\t\treturn nil,"},
	{"list what is there while rows are late after a restart", "list.go", "; len(missing) > 0 {", "; len(missing) > 1000 {"},
	{"take the later of two disks that hold a volume", "snapshot.go", "; twice {", "; twice && false {\n\t\t_ = other"},
	{"keep a row as it was parsed though it has changed", "snapshot.go", "if !slices.Equal(old.re, re) {", "if len(old.re) == 0 || !slices.Equal(old.re[:1], re[:1]) {"},
	{"round a size", "row.go", `n, err := strconv.ParseUint(s, 10, 63)`, "f, err := strconv.ParseFloat(s, 64)\n\tn := uint64(f)"},
	{"use a pool that has failed", "snapshot.go", "if failedState.MatchString(p.state) {", "if failedState.MatchString(p.slot) {"},

	// Writes.
	{"use a listing's .id on a session that is younger", "send.go", "\tif m.born >= before {\n\t\tb.sessions.give(m, false)\n\t\treturn nil,", "\tif m.born >= before && ctx.Err() != nil {\n\t\tb.sessions.give(m, false)\n\t\treturn nil,"},
	{"say that a bounce is over of which half was refused", "grant.go", "err != nil || len(w.Rows) < 3 {\n\t\treturn err", "len(w.Rows) < 3 {\n\t\treturn err"},
	{"write another cluster's row", "grant.go", "case r.ledger.Cluster != b.cfg.Cluster:\n\t\treturn fmt.Errorf(\"disk %q belongs", "case r.ledger.Cluster == \"\":\n\t\treturn fmt.Errorf(\"disk %q belongs"},
	{"write a row that shows a later write", "grant.go", "r.ledger.Gen > first.Gen ||", "r.ledger.Gen > 1000*first.Gen ||"},
	{"take over what was written since", "grant.go", "if r.ledger.Gen != w.Guard {", "if r.ledger.Gen < w.Guard {"},
	{"believe a refusal without a read-back", "grant.go", "\tanswer := firstOf(earlier, last)\n", "\tanswer := firstOf(earlier, last)\n\tif ctx.Err() == nil {\n\t\treturn refusal(answer)\n\t}\n"},
	{"take an unanswered write for one that was not sent", "errors.go", "\treturn unanswered\n}", "\treturn unsent\n}"},
	{"take an interrupted command for a refused one", "errors.go", "if trap.Category == routeros.CategoryInterrupted {", "if trap.Category == routeros.CategoryInterrupted && trap.Message == \"\" {"},
	{"let the rows of a bounce stand in the wrong order", "grant.go", "if !ok || after.err != nil || !after.shows(w.Rows[0]) {", "if !ok || after.err != nil || after.shows(w.Rows[0]) {"},
	{"believe that a long comment is kept", "prove.go", "if n <= b.proven.Load() {", "if n > 0 {"},
	{"leave a ledger that the box has cut off", "prove.go", "[]rowValues{{before.export, before.volume().NQN, before.allowHost, before.comment}}", "[]rowValues{{before.export, before.volume().NQN, before.allowHost, after.comment}}"},
	{"change a row over SSH that holds another file by now", "ssh.go", `[]console.Condition{{Property: "file-path", Value: g.file}, comment}`, `[]console.Condition{comment}`},
	{"change a row over SSH that somebody else has written", "ssh.go", `[]console.Condition{{Property: "file-path", Value: g.file}, comment}`, `[]console.Condition{{Property: "file-path", Value: g.file}, comment}[:1]`},
	{"add a disk over SSH whose file has one", "ssh.go", "Unless: []console.Condition{{Property: \"file-path\", Value: c.file}},", ""},
	{"let the box mount what a guest wrote", "api.go", `"=mount-filesystem=no", `, ""},
	{"let the box mount what a guest wrote, over SSH", "ssh.go", "\t\t\t{Name: \"mount-filesystem\", Value: \"no\"},\n", ""},

	// Disks.
	{"take a disk of another size for the volume", "create.go", "if r.size != spec.Size {", "if r.size < 0 {"},
	{"believe that a disk was made as it was asked for", "create.go", "case v.Size != m.spec.Size:", "case v.Size < 0:"},
	{"believe an add without a read-back", "create.go", "\t\treturn actors.Volume{}, m.unresolved(\"the box acknowledged the disk and does not show it\")", "\t\treturn actors.Volume{ID: m.spec.ID, Exists: true}, nil"},
	{"remove a disk that may be somebody else's", "create.go", `if m.made == "" || m.made != r.id || r.path != m.path {`, `if r.path != m.path {`},
	{"say that the pool is full and leave a file in it", "create.go", "if err := m.b.removeFile(ctx, snap, m.spec.ID, m.path); err != nil {", "if err := ctx.Err(); err != nil {"},
	{"make a disk where it cannot be found again", "create.go", "if !slices.Contains(b.cfg.VolumePaths, dir) {", "if slices.Contains(b.cfg.VolumePaths[:0], dir) {"},
	{"give two volumes a port", "ports.go", "held[r.port]++", "held[r.port+1]++"},
	{"delete a disk that is attached", "delete.go", "if n := len(r.ledger.Grants); n > 0 {", "if n := len(r.ledger.Grants); n > 2 {"},
	{"delete another cluster's disk", "delete.go", "if err := b.sameCluster(r); err != nil {", "if err := r.err; err != nil {"},
	{"delete a file outside of the configured paths", "delete.go", "; !slices.Contains(b.cfg.VolumePaths, dir) {", "; slices.Contains(b.cfg.VolumePaths[:0], dir) {"},
	{"remove a file that a disk still uses", "delete.go", "case ok:\n\t\treturn nil, fmt.Errorf(\"the box acknowledged the removal", "case ok && r.slot == \"\":\n\t\treturn nil, fmt.Errorf(\"the box acknowledged the removal"},
	{"believe an acknowledged removal of a file", "delete.go", "case f == refused && saysMissing(err):", "case f == acknowledged, f == refused && saysMissing(err):"},
	{"take any refusal for proof that a file is gone", "delete.go", "case f == refused && saysMissing(err):", "case f == refused:"},
	{"remove a disk before its export", "delete.go", "if r.export {", "if r.export && r.disabled {"},
	{"shrink a disk", "expand.go", "if r.size >= size {", "if r.size == size {"},
	{"expand past a lost expand that would undo it", "expand.go", "if !ok || size <= l.size ||", "if !ok || size >= l.size ||"},
	{"believe an expand without a read-back", "expand.go", "case r.size == size:", "case answer == nil:"},

	// Sessions.
	{"let grants have the sessions of revokes", "pool.go", "\tkept := max(1, cfg.Sessions/4)", "\tkept := 0"},
	{"let grants go before all others", "pool.go", "u[0].turn < o[0].turn", "u[0].turn > o[0].turn"},
	{"send what others wait for after their time", "gather.go", "if e.deadline.Before(deadline) {", "if deadline.Before(e.deadline) {"},
	{"send others' changes on a session that is too young for them", "gather.go", "young := e.cmd.seen != nil && m.born >= e.cmd.seen.began", "young := e.cmd.seen == first.cmd.seen && m.busy > 99"},
	{"never forget a session whose rights have changed", "renew.go", "\t\t\tm.leaving = true\n", ""},
}
