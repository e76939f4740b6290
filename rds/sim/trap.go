// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import "fmt"

// A trap is an answer that refuses a command, in RouterOS's words where they are known.
type trap struct {
	category category
	message  string
}

// category is a trap's category by the API's manual; none is sent for uncategorized.
type category int

const (
	missingItem   category = 0
	badArgument   category = 1
	interrupted   category = 2
	generalError  category = 4
	apiError      category = 5
	uncategorized category = -1
)

func (t *trap) Error() string { return t.message }

var (
	errNoCommand   = &trap{uncategorized, "no such command"}
	errNoMenu      = &trap{missingItem, "no such command prefix"}
	errNoItem      = &trap{missingItem, "no such item"}
	errParameter   = &trap{uncategorized, "unknown parameter"}
	errInterrupted = &trap{interrupted, "interrupted"}
	errCredentials = &trap{uncategorized, "invalid user name or password (6)"}
	errRights      = &trap{uncategorized, "not enough permissions (9)"}
	errNoSpace     = failure("not enough space")
)

func failure(format string, args ...any) *trap {
	return &trap{uncategorized, "failure: " + fmt.Sprintf(format, args...)}
}

func missing(argument string) *trap { return &trap{badArgument, "missing =" + argument + "="} }

func mismatch(argument string) *trap {
	return &trap{badArgument, "input does not match any value of " + argument}
}

func invalid(argument string) *trap {
	return &trap{badArgument, "invalid value for argument " + argument}
}

func outOfRange(argument string, low, high int64) *trap {
	return &trap{badArgument, fmt.Sprintf("value of %s out of range (%d..%d)", argument, low, high)}
}
