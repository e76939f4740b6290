// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package k8s

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/rds-csi/rds-csi/actors"
)

// write annotates a volume's PersistentVolume. A dropError is final, any other may pass.
func (a *Annotations) write(ctx context.Context, id actors.VolumeID, grants []actors.Grant) error {
	pv := a.config.Claims.cached(id)
	switch {
	case pv == nil && !a.config.Claims.Synced():
		return fmt.Errorf("look for the PersistentVolume of %s: the cache is not filled yet: %w", id, actors.ErrUnavailable)
	case pv == nil:
		return &dropError{cause: noVolume, err: fmt.Errorf("no PersistentVolume has volume %s: %w", id, actors.ErrNotFound)}
	}
	patch, err := annotation(a.config.Driver, pv, grants)
	if err != nil {
		return &dropError{cause: "rejected", err: err}
	}
	ctx, cancel := context.WithTimeout(ctx, a.config.Timeout)
	defer cancel()
	_, err = a.config.Client.CoreV1().PersistentVolumes().Patch(ctx, pv.Name, types.MergePatchType, patch, metav1.PatchOptions{})
	switch {
	case err == nil:
		return nil
	case Gone(err):
		return &dropError{cause: noVolume, err: err}
	case refused(err):
		return &dropError{cause: "rejected", err: err}
	}
	return fmt.Errorf("annotate PersistentVolume %s: %w", pv.Name, err)
}

// annotation returns the JSON merge patch (RFC 7386) that says who has a volume. The UID keeps it off
// another PersistentVolume that took the name.
func annotation(driver string, pv *corev1.PersistentVolume, grants []actors.Grant) ([]byte, error) {
	values := map[string]any{driver + "/" + AttachedNode: nil, driver + "/" + AttachedAt: nil}
	if len(grants) > 0 {
		nodes, times := make([]string, len(grants)), make([]string, len(grants))
		for i, g := range grants {
			nodes[i], times[i] = string(g.Node), g.At.Time().UTC().Format(time.RFC3339)
		}
		values[driver+"/"+AttachedNode] = strings.Join(nodes, ",")
		values[driver+"/"+AttachedAt] = strings.Join(times, ",")
	}
	meta := map[string]any{"annotations": values}
	if pv.UID != "" {
		meta["uid"] = pv.UID
	}
	return json.Marshal(map[string]any{"metadata": meta})
}
