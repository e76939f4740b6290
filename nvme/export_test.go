// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package nvme

import "context"

// What tests look at from outside.
var (
	ConnectFabrics = connectFabrics
	ConnectError   = connectError
)

// WriteAttr writes an attribute of a controller as it was seen earlier.
func (d *Devices) WriteAttr(name, nqn, attr string) error {
	return d.writeAttr(controller{name: name, nqn: nqn}, attr)
}

// WaitMount waits for what Mount began with a device, whoever gave it up.
func (m *Mounts) WaitMount(ctx context.Context, num DevNum) error {
	return m.calls.wait(ctx, "mount device "+num.String())
}
