// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"fmt"
	"os"
	"sync/atomic"
)

var lastLoopback atomic.Uint32

// LoopbackHost returns another loopback address at each call, which no other process is likely to
// use: as Config.NVMeHost it lets tests export at any port while others run. It needs a system on
// which all of 127.0.0.0/8 is this machine, as Linux is.
func LoopbackHost() string {
	n := uint32(os.Getpid())<<8 + lastLoopback.Add(1)
	return fmt.Sprintf("127.%d.%d.%d", 1+n>>16%254, n>>8&0xff, 1+n%254)
}
