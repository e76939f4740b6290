// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package main

// CSI: what is asked for, what is answered, and what a node does about it.
var faultsOfCSI = []fault{
	// What is asked for.
	{"accept ReadWriteMany with a filesystem", "capability.go", "if !u.block {\n\t\t\treturn fmt.Errorf(\"ReadWriteMany", "if !u.block && u.fsType == \"xfs\" {\n\t\t\treturn fmt.Errorf(\"ReadWriteMany"},
	{"publish ReadWriteMany with a filesystem", "publish.go", "use, err := parseCapability(req.GetVolumeCapability())\n\tif err != nil {", "use, err := parseCapability(req.GetVolumeCapability())\n\tif err != nil && req.GetVolumeCapability().GetMount() != nil {\n\t\tuse.access, err = actors.AccessShared, nil\n\t}\n\tif err != nil {"},
	{"validate ReadWriteMany with a filesystem", "validate.go", "use, err := parseCapabilities(req.GetVolumeCapabilities())\n\tif err != nil {", "use, err := parseCapabilities(req.GetVolumeCapabilities())\n\tif err != nil && req.GetVolumeCapabilities()[0].GetBlock() != nil {"},
	{"stage ReadWriteMany with a filesystem", "node_request.go", "case mode == csipb.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER && c.GetMount() != nil:", "case mode == csipb.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER && c.GetMount() != nil:\n\t\treturn access{Mode: mode, FS: defaultFSType}, nil\n\tcase mode == csipb.VolumeCapability_AccessMode_UNKNOWN && c == nil:"},
	{"let many nodes read a volume of one reader", "capability.go", "u.access, u.readOnly = actors.AccessSingle, true", "u.access, u.readOnly = actors.AccessReader, true"},
	{"let a reader write", "publish.go", "if use.readOnly {\n\t\tout", "if use.readOnly && use.block {\n\t\tout"},
	{"hand a VM's disk out as a filesystem", "publish.go", "case fs == \"\" && !use.block:", "case fs == \"\" && !use.block && use.fsType != \"\":"},
	{"hand a filesystem out as a VM's disk", "publish.go", "case use.block:\n\t\treturn fmt.Errorf(\"volume %s was made for", "case use.block && fs == \"\":\n\t\treturn fmt.Errorf(\"volume %s was made for"},
	{"publish the volume of another box", "publish.go", "a != \"\" && !c.servesAddress(a) {", "a == \"?\" && !c.servesAddress(a) {"},
	{"take a volume of another size for the one that is asked for", "create.go", "case !r.sizes.holds(v.Size):", "case v.Size == 0:"},
	{"take a volume with less fencing for the one that is asked for", "create.go", "case v.Ledger.Fencing != p.fencing:", "case v.Ledger.Fencing > p.fencing:"},
	{"take the older driver's volume for a new one", "create.go", "\tif !v.Ours {", "\tif !v.Ours && v.Size == 0 {"},
	{"delete another cluster's volume", "delete.go", "\tif err := c.checkOwner(v); err != nil {", "\tif err := c.checkOwner(v); err != nil && !v.Ours {"},
	{"shrink a volume", "expand.go", "if err != nil || v.Size >= size {", "if err != nil || v.Size == size {"},
	{"believe an expansion that does not show", "expand.go", "if err == nil && v.Size < size {", "if err == nil && v.Size < 0 {"},
	{"take a node that cannot be for one that is gone", "unpublish.go", "if node, err = checkNodeID(req.GetNodeId()); err != nil {\n\t\t\treturn nil, err", "if node, err = checkNodeID(req.GetNodeId()); err != nil {\n\t\t\treturn &csipb.ControllerUnpublishVolumeResponse{}, nil"},
	{"serve while another controller leads", "controller.go", "if !c.cfg.Ready() {", "if !c.cfg.Ready() && c.cfg.BoxAddress == \"\" {"},
	{"list in part", "list.go", "if v.Exists && c.checkOwner(v) == nil {", "if v.Exists && c.checkOwner(v) == nil && len(v.Ledger.Grants) < 2 {"},

	// What is answered.
	{"say NotFound of an unreachable box", "status.go", "{actors.ErrUnavailable, codes.Unavailable}", "{actors.ErrUnavailable, codes.NotFound}"},
	{"say Internal of what may have happened", "status.go", "{actors.ErrUnresolved, codes.Unavailable}", "{actors.ErrUnresolved, codes.Internal}"},
	{"say a final code of what may have happened", "status.go", "\t{actors.ErrUnresolved, codes.Unavailable},\n\t{actors.ErrUnavailable, codes.Unavailable},\n\t{actors.ErrBusy, codes.Aborted},\n\t{actors.ErrInvalid, codes.InvalidArgument},", "\t{actors.ErrInvalid, codes.InvalidArgument},\n\t{actors.ErrUnresolved, codes.Unavailable},\n\t{actors.ErrUnavailable, codes.Unavailable},\n\t{actors.ErrBusy, codes.Aborted},"},
	{"delete what cannot be looked up", "delete.go", "if err != nil && !errors.Is(err, actors.ErrNotFound) {", "if err != nil && !errors.Is(err, actors.ErrNotFound) && !errors.Is(err, actors.ErrUnavailable) {"},
	{"unpublish what cannot be looked up", "unpublish.go", "; err != nil && !errors.Is(err, actors.ErrNotFound) {", "; err != nil && !errors.Is(err, actors.ErrNotFound) && !errors.Is(err, actors.ErrUnavailable) {"},
	{"tell a secret", "redact.go", "return secret || f.Name()", "return secret && f.Name() == \"\" || f.Name()"},

	// On a node.
	{"unstage a volume that is published", "node_stage.go", "if len(published) > 0 {\n\t\t\treturn fmt.Errorf(\"volume %s is still published", "if len(published) > 1 {\n\t\t\treturn fmt.Errorf(\"volume %s is still published"},
	{"unmount somebody else's filesystem", "node_stage.go", "\tif !entry.Stale && !hasDevice(conns, entry.Num) {\n\t\treturn fmt.Errorf(\"staging path", "\tif !entry.Stale && len(conns) > 99 {\n\t\treturn fmt.Errorf(\"staging path"},
	{"leave a connection after the unstage", "node_stage.go", "\tfor _, c := range conns {\n\t\tif err := n.devices.Disconnect(ctx, c.NQN); err != nil {\n\t\t\treturn fmt.Errorf(\"disconnect", "\tfor _, c := range conns {\n\t\tif rec == nil {\n\t\t\tcontinue\n\t\t}\n\t\tif err := n.devices.Disconnect(ctx, c.NQN); err != nil {\n\t\t\treturn fmt.Errorf(\"disconnect"},
	{"stage beside an earlier attachment", "node_stage.go", "if c.NQN == s.target.NQN {\n\t\t\tcontinue", "if c.NQN != \"\" {\n\t\t\tcontinue"},
	{"use a device that is smaller than the volume", "node_stage.go", "if dev.Size < s.target.Size {", "if dev.Size < 0 {"},
	{"connect before it is noted", "node_stage.go", "\tif err := n.records.save(rec); err != nil {\n\t\treturn err\n\t}\n\t// A connection without", "\t// A connection without"},
	{"publish before it is noted", "node_publish.go", "\tif err := n.records.save(rec); err != nil {\n\t\treturn err\n\t}\n\treturn n.place(ctx, dev, p)", "\tif err := n.place(ctx, dev, p); err != nil {\n\t\treturn err\n\t}\n\treturn n.records.save(rec)"},
	{"publish another device that is mounted there", "node_publish.go", "if !entry.Mounted || entry.Num != dev.Num {", "if !entry.Mounted {"},
	{"leave a device node that is another volume's by now", "node_publish.go", "case entry.Kind == nvme.KindBlock && entry.Num == dev.Num && (", "case entry.Kind == nvme.KindBlock && ("},
	{"leave a lost device's node to the next volume of its number", "node_stage.go", "case entry.Kind == nvme.KindBlock && !entry.Mounted:\n\t\t\tn.log", "case entry.Kind == nvme.KindBlock && !entry.Mounted && entry.Stale:\n\t\t\tn.log"},
	{"publish for writing what is staged to be read", "node_publish.go", "case rec.Access.ReadOnly && !p.ReadOnly:", "case rec.Access.ReadOnly && !p.ReadOnly && rec.Access.Block:"},
	{"publish a volume of one target twice", "node_publish.go", "&& !p.Access.manyTargets() {", "&& p.Access.FS == \"?\" {"},
	{"delete a file that no publishing made", "node_stage.go", "info.Mode().IsRegular() && info.Size() > 0 {", "info.Mode().IsRegular() && info.Size() < 0 {"},
	{"connect to a subsystem that is not the volume's", "node_context.go", "if _, ok := actors.NQNPrefix(nqn, id); !ok {", "if nqn == \"\" {"},
	{"connect as another node", "node_context.go", "host.NQN == \"\" || host == published {", "host.NQN != \"?\" {"},
	{"let options of the kernel into an address", "node_context.go", "(err != nil || addr.Zone() != \"\") && !hostnameForm", "(err != nil || addr.Zone() == \"?\") && !hostnameForm"},
	{"believe a damaged record", "node_record.go", "r.Version != recordVersion || r.Volume != id || !ok {", "r.Version != recordVersion || !ok {"},

	// What is watched.
	{"begin anew after a look that saw nothing", "node_seen.go", "case s.hidden != nil && s.hidden.finding.condition == f.condition:", "case s.hidden != nil && s.hidden.finding.condition == f.condition && f.condition == \"\":"},
	{"tell at once that the kernel reconnects", "node_seen.go", "return s.finding.condition != Waiting || now.Sub(s.since) >= patience", "return s.finding.condition != Waiting || now.Sub(s.since) >= 0"},
	{"ask at once whether a volume that waits is over", "node_seen.go", "\t\t\tleft = patience\n", "\t\t\tleft = settle\n"},
	{"ask a target that refuses this host ever more seldom", "node_seen.go", "case errors.Is(err, errStands) && errors.Is(err, nvme.ErrHostRefused):", "case errors.Is(err, errStands) && errors.Is(err, nvme.ErrHostRefused) && now.IsZero():"},
	{"repair without a pause", "node_seen.go", "s.next = now.Add(min(", "s.next = now.Add(0 * min("},
}

// NVMe: which device is the volume, who uses it, and whether it is blank.
var faultsOfNVMe = []fault{
	{"format a device that cannot be read", "format.go", "\tif err != nil {\n\t\treturn \"\", fmt.Errorf(\"read device", "\tif err != nil && dev.Size > 0 {\n\t\town, err = blank, nil\n\t}\n\tif err != nil {\n\t\treturn \"\", fmt.Errorf(\"read device"},
	{"format a device that blkid cannot read", "format.go", "\tif err != nil {\n\t\treturn \"\", fmt.Errorf(\"identify device", "\tif err != nil && own != blank {\n\t\treturn \"\", fmt.Errorf(\"identify device"},
	{"format what blkid does not know", "format.go", "case own == blank && theirs == \"\":", "case theirs == \"\":"},
	{"format what reads as blank though blkid knows it", "format.go", "case own == blank && theirs == \"\":", "case own == blank:"},
	{"format a device whose end is not blank", "format.go", "case zero(start) && zero(end):", "case zero(start):"},
	{"format a device whose start is not blank", "format.go", "case zero(start) && zero(end):", "case zero(end):"},
	{"format after one look", "format.go", "\tif again != blank {", "\tif again == \"\" {"},
	{"format while the connection is lost", "format.go", "case !live:", "case !live && now.Size < 0:"},
	{"format although the connection was lost at the last look", "format.go", "\tif err := m.check(dev); err != nil { // the reads above were of a live controller", "\tif err := ctx.Err(); err != nil { // the reads above were of a live controller"},
	{"format a device that has another size by now", "format.go", "case now.Size != dev.Size:", "case now.Size < 0:"},
	{"format for a reader", "format.go", "if f.ReadOnly || dev.ReadOnly {\n\t\treturn errReadOnly(dev, blank)", "if f.ReadOnly && dev.ReadOnly {\n\t\treturn errReadOnly(dev, blank)"},
	{"mount another filesystem than was asked for", "format.go", "\tcase found == f.Type:\n", "\tcase found == \"ext4\", found == \"xfs\":\n"},
	{"repair what fsck wants a person for", "format.go", "case exit.ExitStatus()&fsckUncorrected != 0:", "case exit.ExitStatus() == fsckUncorrected+1:"},
	{"believe the mount that was made", "format.go", "\tif !entry.Mounted || entry.Num != dev.Num {\n\t\treturn fmt.Errorf(\"mounted device", "\tif !entry.Mounted {\n\t\treturn fmt.Errorf(\"mounted device"},

	{"disconnect a device that is held", "disconnect.go", "case errors.As(err, &users):", "case errors.As(err, &users):\n\t\t\tcontinue\n\t\tcase users != nil:"},
	{"disconnect a device whose users cannot be told", "disconnect.go", "\t\tdefault:\n\t\t\treturn fmt.Errorf(\"whether", "\t\tdefault:\n\t\t\tif ctx.Err() == nil {\n\t\t\t\tcontinue\n\t\t\t}\n\t\t\treturn fmt.Errorf(\"whether"},
	{"look for mounts in one name space", "users.go", `[]string{"self", "1"}`, `[]string{"self"}`},
	{"overlook device mapper", "users.go", `num.String(), "holders")`, `num.String(), "slaves")`},
	{"overlook loop devices", "users.go", "{d.mounters, d.drivers, d.loops, d.openers}", "{d.mounters, d.drivers, d.openers}"},
	{"overlook a VM that has the device open", "users.go", "{d.mounters, d.drivers, d.loops, d.openers}", "{d.mounters, d.drivers, d.loops}"},
	{"overlook partitions", "users.go", "\t\tnums = append(nums, num)\n", "\t\t_ = num\n"},
	{"overlook a mount that is out of sight", "users.go", "case errors.Is(err, syscall.EBUSY):", "case errors.Is(err, syscall.EBUSY):\n\t\treturn nil\n\tcase errors.Is(err, syscall.EALREADY):"},
	{"say that it is disconnected before it is", "disconnect.go", "return d.waitGone(ctx, nqn, d.deleteAll(sub))\n}\n\n// deleteAll", "_ = d.deleteAll(sub)\n\treturn ctx.Err()\n}\n\n// deleteAll"},
	{"disconnect by a name that is another controller's by now", "connect.go", "if err != nil || !ok || nqn != c.nqn {", "if err != nil || !ok || nqn == \"\" {"},

	{"take a device by its name", "connect.go", "if num != dev.Num {", "if num.Major != dev.Num.Major {"},
	{"take the first of two namespaces", "devices.go", "\tcase 1:\n", "\tcase 1, 2:\n"},
	{"take the paths of a device for devices", "sysfs.go", "regexp.MustCompile(`^nvme[0-9]+n[0-9]+$`)", "regexp.MustCompile(`^nvme[0-9]+(c[0-9]+)?n[0-9]+$`)"},
	{"use a device that is smaller than its volume", "connect.go", "if dev.Size < t.Size {", "if dev.Size < 0 {"},
	{"let a reader have a device that it can write", "connect.go", "if dev.ReadOnly != t.ReadOnly {", "if dev.ReadOnly && !t.ReadOnly {"},
	{"make a node of another device", "mounts.go", "if err == nil && num != dev.Num {", "if err == nil && num.Major == 0 {"},
	{"let options of the kernel into an NQN", "fabrics.go", "r <= ' ' || r > '~' || r == ','", "r <= ' ' || r > '~'"},
	{"take a state that is not known for live", "sysfs.go", "\treturn StateConnecting\n}", "\treturn StateLive\n}"},
	{"touch whatever has the NQN as its beginning", "devices.go", "func(s string) bool { return s == nqn }", "func(s string) bool { return len(s) >= len(nqn) && s[:len(nqn)] == nqn }"},
}
