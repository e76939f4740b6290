// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// end takes down what a scenario has made, and returns what was told of its migrations, which all have ended.
func (w *world) end(ctx context.Context) (said told, err error) {
	if w.driver != nil {
		if err := w.detachAll(ctx); err != nil {
			return said, err
		}
		// While there are claims: without them, events have nothing to be about.
		if said, err = w.settle(ctx); err != nil {
			return said, fmt.Errorf("what is told of migrations: %w", err)
		}
	}
	return said, w.leaveNothing(ctx)
}

// detachAll deletes all pods, and waits until nothing is attached.
func (w *world) detachAll(ctx context.Context) error {
	err := w.control.Client().CoreV1().Pods(w.namespace).DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("delete all pods: %w", err)
	}
	return eventually(ctx, func(ctx context.Context) error {
		attachments, err := w.control.Client().StorageV1().VolumeAttachments().List(ctx, metav1.ListOptions{})
		if err != nil {
			return fmt.Errorf("list attachments: %w", err)
		}
		if n := len(attachments.Items); n > 0 {
			return fmt.Errorf("%d attachments are left", n)
		}
		return nil
	})
}
