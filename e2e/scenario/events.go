// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
)

// event counts the events of a claim that have a reason, and a text where one is given.
func event(ctx context.Context, w *world, args []string) error {
	ws, err := parse(args, 2, "saying")
	if err != nil {
		return err
	}
	claim, reason, want := ws.plain[0], ws.plain[1], int32(-1)
	if len(ws.plain) > 2 {
		n, err := strconv.ParseInt(ws.plain[2], 10, 32)
		if err != nil {
			return fmt.Errorf("read the number: %w", err)
		}
		want = int32(n)
	}
	of := fields.AndSelectors(fields.OneTermEqualSelector("involvedObject.name", claim), fields.OneTermEqualSelector("reason", reason))
	return eventually(ctx, func(ctx context.Context) error {
		events, err := w.control.Client().CoreV1().Events(w.namespace).List(ctx, metav1.ListOptions{FieldSelector: of.String()})
		if err != nil {
			return fmt.Errorf("list events: %w", err)
		}
		var got int32
		var said []string
		for _, e := range events.Items {
			said = append(said, e.Message)
			if strings.Contains(e.Message, ws.keyed["saying"]) {
				got += max(e.Count, 1)
			}
		}
		if got == want || want < 0 && got > 0 {
			return nil
		}
		return fmt.Errorf("claim %s has %d such events %s, of %q", claim, got, reason, said)
	})
}
