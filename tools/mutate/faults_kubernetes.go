// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package main

// The cluster: who leads, who is wanted where, and which nodes are fenced or gone.
var faultsOfKubernetes = []fault{
	// The lease.
	{"begin a write that may outlast the lease", "lease.go", "if l.left() < l.config.WriteTimeout || l.waits() > 0 {", "if l.left() <= 0 || l.waits() > 0 {"},
	{"count a lease from the answer to its renewal", "lease.go", "t.lease.renewed, t.lease.taken = sent, false", "t.lease.renewed, t.lease.taken = sent.Add(time.Since(sent)), false"},
	{"write on under a lease that is seen to be another's", "lease.go", "t.lease.taken = true", "t.lease.taken = false"},
	{"take a lost lease for an orderly end", "lease.go", "if end.lost {", "if end.lost && end.err != nil {"},
	{"ask too late whether the lease was lost", "lease.go", "\t\t\t\tlost := elected.Err() != nil && held.Err() == nil\n\t\t\t\trelease()", "\t\t\t\trelease()\n\t\t\t\tlost := elected.Err() != nil && held.Err() == nil"},
	{"give the lease back before the leader has drained", "lease.go", "context.WithCancel(context.WithoutCancel(ctx))", "context.WithCancel(ctx)"},
	{"keep the lease for good", "lease.go", `record.HolderIdentity, record.LeaseDurationSeconds = "", 1`, `record.LeaseDurationSeconds = 1`},
	{"seize the lease without waiting", "seize.go", "l.after = time.Now().Add(wait)", "l.after = time.Now()"},
	{"lead before whoever the lease was taken from has stopped", "seize.go", "time.NewTimer(l.waits())", "time.NewTimer(0)"},
	{"write before whoever the lease was taken from has stopped", "lease.go", "if l.left() < l.config.WriteTimeout || l.waits() > 0 {", "if l.left() < l.config.WriteTimeout {"},
	{"seize for as long as one's own lease lasts", "seize.go", "max(time.Duration(record.LeaseDurationSeconds)*time.Second, l.duration)", "l.duration"},
	{"take what freezes revokes for a slip", "seize.go", `case !set, value == "on":`, `case !set, value != "off":`},
	{"revoke where it cannot be told whether that is frozen", "seize.go", "\tif err != nil {\n\t\treturn fmt.Errorf(\"read from the lease", "\tif err != nil && ctx.Err() == nil {\n\t\treturn nil\n\t}\n\tif err != nil {\n\t\treturn fmt.Errorf(\"read from the lease"},

	// What is left over.
	{"judge by the cache what is left over", "stale.go", "va, err := a.config.Client.StorageV1().VolumeAttachments().Get(ctx, name, metav1.GetOptions{})", "object, _, err := a.informer.GetStore().GetByKey(name)\n\tva, _ := object.(*storagev1.VolumeAttachment)\n\tif va == nil {\n\t\treturn nil, ctx.Err()\n\t}"},
	{"take a proxy's 404 for gone", "client.go", " && !errors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse)", ""},
	{"cut off a node that lists the volume in use", "stale.go", "case uses(object, id, a.config.Driver):", `case uses(object, id, ""):`},
	{"look at the node last", "stale.go", "\tif lost, err = a.unused(ctx, id, node); err != nil {\n\t\treturn \"\", err\n\t}\n\t// The absence of VolumeAttachments is read last: nothing that was seen is older.\n\tif err := a.unwanted(ctx, id, node); err != nil {\n\t\treturn \"\", err\n\t}", "\tif err := a.unwanted(ctx, id, node); err != nil {\n\t\treturn \"\", err\n\t}\n\tif lost, err = a.unused(ctx, id, node); err != nil {\n\t\treturn \"\", err\n\t}"},
	{"take what cannot be read for left over", "stale.go", "\tcase err != nil:\n\t\treturn nil, fmt.Errorf(\"read VolumeAttachment", "\tcase err != nil && ctx.Err() != nil:\n\t\treturn nil, fmt.Errorf(\"read VolumeAttachment"},
	{"look for the usual name alone", "stale.go", "for _, cached := range a.cached(byNode, string(node)) {", "for _, cached := range a.cached(byNode, usual) {"},
	{"believe a VolumeAttachment that was replaced", "stale.go", "case !sameSpec(va, cached):", "case va.Name != cached.Name:"},
	{"clear grants although an attachment cannot be mapped", "attachments.go", "case fault.passes:", "case fault.passes && len(wanted) > 1000:"},
	{"forget an attachment whose PersistentVolume was not seen", "locate.go", "passes: true,", "passes: false,"},
	{"tell who is wanted before the caches are filled", "attachments.go", "if !a.Synced() {", "if !a.informer.HasSynced() {"},
	{"count an attachment that is being made for none", "attachments.go", "if !ok || va.Spec.Attacher != a.config.Driver {\n\t\t\tcontinue", "if !ok || va.Spec.Attacher != a.config.Driver || !va.Status.Attached {\n\t\t\tcontinue"},
	{"count other drivers' attachments", "attachments.go", "if !ok || va.Spec.Attacher != a.config.Driver {\n\t\t\tcontinue", "if !ok {\n\t\t\tcontinue"},
	{"tell nobody that an attachment has gone", "attachments_cache.go", "\ta.forget(va.Name)\n\ta.config.Changed()", "\ta.forget(va.Name)"},
	{"tell nobody that an attachment was replaced", "attachments_cache.go", "is.UID == was.UID && sameSpec(is, was)", "is.Name == was.Name"},

	// Nodes.
	{"grant to a node that is out of service", "nodes.go", "case outOfService(object):\n\t\treturn \"\", fmt.Errorf(\"node %s is fenced", "case outOfService(object) && object.Name == \"\":\n\t\treturn \"\", fmt.Errorf(\"node %s is fenced"},
	{"grant for an attachment that is being deleted", "nodes.go", "case attachment.DeletionTimestamp != nil:", "case attachment.DeletionTimestamp != nil && attachment.Name == \"\":"},
	{"grant for an attachment that is gone", "nodes.go", "case Gone(err):\n\t\treturn \"\", fmt.Errorf(\"no VolumeAttachment", "case Gone(err) && ctx.Err() == nil:\n\t\treturn \"\", nil\n\tcase Gone(err):\n\t\treturn \"\", fmt.Errorf(\"no VolumeAttachment"},
	{"grant for another node's attachment", "nodes.go", " || attachment.Spec.NodeName != string(node):", ":"},
	{"take a node that cannot be read for a healthy one", "nodes.go", `return fmt.Sprintf("node could not be read: %.160s", err)`, `return fmt.Sprintf("%.0s", err)`},
	{"take a node that is gone for a healthy one", "nodes.go", "case Gone(err):\n\t\treturn nodeGone\n\tcase err != nil:\n\t\treturn fmt", "case Gone(err):\n\t\treturn \"\"\n\tcase err != nil:\n\t\treturn fmt"},
	{"take a node that is not ready for a healthy one", "nodes.go", "c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue", "c.Type == corev1.NodeReady && c.Status != corev1.ConditionFalse"},
	{"take a node that uses the volume for one that let it go", "nodes.go", `case unwell(object) == "" && uses(object, id, n.driver):`, `case unwell(object) != "" && uses(object, id, n.driver):`},

	// Adoption, and who was there first.
	{"take the newer attachment for the older", "adopt.go", "x.CreationTimestamp.Compare(y.CreationTimestamp.Time)", "y.CreationTimestamp.Compare(x.CreationTimestamp.Time)"},
	{"adopt by the cache", "adopt.go", "pv, err := a.config.Client.CoreV1().PersistentVolumes().Get(ctx, name, metav1.GetOptions{})", "pv, err := a.config.Claims.named(name), ctx.Err()\n\t\tif pv == nil {\n\t\t\tcontinue\n\t\t}"},
	{"adopt a volume that no PersistentVolume has", "adopt.go", "if len(found) == 0 {", "if len(found) == 0 && ctx.Err() == nil {\n\t\tfound = append(found, &corev1.PersistentVolume{Spec: corev1.PersistentVolumeSpec{\n\t\t\tAccessModes:            []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},\n\t\t\tPersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{}},\n\t\t}})\n\t}\n\tif len(found) == 0 {"},
	{"adopt a filesystem as a shared volume", "adopt.go", "case block && has(corev1.ReadWriteMany):", "case (block || pv.Name != \"\") && has(corev1.ReadWriteMany):"},
	{"adopt a grant to one node too many", "adopt.go", "\tcase actors.AccessSingle:\n\t\tmost = 1", "\tcase actors.AccessSingle:\n\t\tmost = 2"},
	{"adopt a grant that was never made", "adopt.go", "return va.Spec.Attacher != a.config.Driver || !va.Status.Attached", "return va.Spec.Attacher != a.config.Driver"},
	{"share a list of attachments that began before the reader asked", "listing.go", "\tl.close() // who asks from now on asked too late for this one\n\tf.items, f.err = l.read(ctx)", "\tf.items, f.err = l.read(ctx)\n\tl.close()"},
}
