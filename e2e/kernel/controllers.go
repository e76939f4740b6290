// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"context"
	"errors"
	"path"
	"strings"
	"sync"

	"github.com/rds-csi/rds-csi/e2e/guest"
	"github.com/rds-csi/rds-csi/e2e/guest/api"
	"github.com/rds-csi/rds-csi/e2e/guest/wire"
)

// controllers is where a kernel shows its NVMe controllers.
const controllers = "/sys/class/nvme"

// Controllers returns an attribute of each NVMe controller that a node has, such as state, by the controller's name. The
// kernel and the node plugin may delete one at any time: then it is empty.
func Controllers(ctx context.Context, n *guest.Node, attribute string) (map[string]string, error) {
	var names api.Names
	if err := n.Call(ctx, api.List, api.Path{Path: controllers}, &names); err != nil {
		return nil, err
	}
	found := make(map[string]string, len(names.Names))
	for _, name := range names.Names {
		text, err := read(ctx, n, path.Join(controllers, name, attribute))
		if going := new(wire.RemoteError); err != nil && !errors.As(err, going) {
			return nil, err
		}
		found[name] = strings.TrimSpace(text)
	}
	return found, nil
}

// DeleteControllers has a node's kernel delete NVMe controllers, all at once, since it takes its time with each of which the
// box does not answer. Those that others delete meanwhile are no error.
func DeleteControllers(ctx context.Context, n *guest.Node, names ...string) error {
	errs := make([]error, len(names))
	var deleting sync.WaitGroup
	for i, name := range names {
		deleting.Go(func() {
			errs[i] = n.Call(ctx, api.Write, api.Content{Path: path.Join(controllers, name, "delete_controller"), Data: []byte("1")}, nil)
		})
	}
	deleting.Wait()
	there, err := Controllers(ctx, n, "state")
	if err != nil {
		return errors.Join(err, errors.Join(errs...))
	}
	for i, name := range names {
		if there[name] == "" {
			errs[i] = nil
		}
	}
	return errors.Join(errs...)
}
