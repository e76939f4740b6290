// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package main

// The driver: that its parts are put together.
var faultsOfDriver = []fault{
	{"hand the box no lease", "driver.go", "if d.around.lease != nil {\n\t\tcfg.MayChange", "if d.around.lease != nil && d.cfg.quiet < 0 {\n\t\tcfg.MayChange"},
	{"be ready without the lease", "driver.go", "return d.leads() && (d.around.synced", "return (d.around.synced"},
	{"hand the actors no quiet time", "driver.go", "CommandTimeout: d.cfg.commandTimeout, Quiet: d.cfg.quiet,", "CommandTimeout: d.cfg.commandTimeout,"},
	{"begin without a quiet time", "controller.go", ", quiet: f.commandTimeout,", ","},
	{"hand the actors nothing that freezes revokes", "kubernetes.go", "\t\taround.frozen = lease.Frozen\n", "\t\t_ = lease.Frozen\n"},
	{"be ready before the caches are filled", "kubernetes.go", "synced: attachments.Synced,", "synced: func() bool { return true },"},
	{"tell the actors nothing of attachments that go", "kubernetes.go", "Changed: news.Recheck,", "Changed: func() {},"},
	{"tell the actors nothing of a box that comes back", "driver.go", "if up && d.sup != nil {", "if up && d.sup != nil && d.cfg.quiet < 0 {"},
}

// What people decide by hand.
var faultsOfOperator = []fault{
	{"write by hand without the lease", "operator_session.go", "may = s.lease.MayWrite", "may = nil"},
	{"write by hand beside the controller", "operator_session.go", "return v, s.lease.Run(ctx, lead)", "return v, lead(ctx)"},
	{"decide by hand without a quiet time", "operator_session.go", ", Quiet: s.flags.commandTimeout,", ","},
	{"take the lease from one's own pod", "operator_session.go", "if strings.HasPrefix(holder, host+\"_\") {", "if strings.HasPrefix(holder, \"?\"+host) {"},
}
