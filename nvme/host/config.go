// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"math"
	"net"
	"time"

	"github.com/google/uuid"

	"github.com/rds-csi/rds-csi/nvme/tcp"
)

// The defaults of Config, which are those of the Linux initiator and nvme-cli.
const (
	DefaultPort           = "4420"
	DefaultQueueDepth     = 128
	DefaultKeepAlive      = 5 * time.Second
	DefaultReconnectDelay = 10 * time.Second
	DefaultCtrlLoss       = 600 * time.Second
	DefaultAdminTimeout   = 60 * time.Second
	DefaultIOTimeout      = 30 * time.Second
)

// The bounds of Config.
const (
	MaxQueues     = 4
	MaxQueueDepth = 1024
	maxNQN        = tcp.MaxNQN
	maxKeepAlive  = math.MaxUint32 * time.Millisecond // what the Connect command can say
)

// shutdownTimeout bounds what Close waits for a target: commands in flight and the shutdown
// handshake. It is the kernel's nvme_core.shutdown_timeout.
const shutdownTimeout = 5 * time.Second

// A Config says what to connect to, and how. Address, SubsystemNQN, HostNQN and HostID are required.
type Config struct {
	Address      string    // host:port, or a host alone for port 4420
	SubsystemNQN string    // at most 223 bytes
	HostNQN      string    // at most 223 bytes
	HostID       uuid.UUID // not zero; one per host NQN

	NSID       uint32 // the namespace to use; zero: the first active one
	Queues     int    // I/O queues, 1 to 4; zero: 1. The target may grant fewer.
	QueueDepth int    // commands in flight per I/O queue, 1 to 1024; zero: 128. The target may allow fewer.

	// KeepAlive is the keep-alive timeout (KATO), at least 1 ms. Zero: 5 s. Negative: none, so that a
	// frozen target is noticed only by IOTimeout.
	KeepAlive time.Duration
	// ReconnectDelay is the time from a lost connection to the first attempt, and from each failed
	// attempt to the next. Zero: 10 s. Negative is refused.
	ReconnectDelay time.Duration
	// CtrlLossTimeout divided by ReconnectDelay, rounded up, is the number of attempts after which
	// the controller is gone (ctrl_loss_tmo). Zero: 600 s. Negative: it never gives up.
	CtrlLossTimeout time.Duration
	// HonorDNR gives up at the first refusal that says "do not retry", as Linux does from 6.10.
	// False: goes on trying, as Linux 6.1 does.
	HonorDNR bool

	AdminTimeout time.Duration // of dialing and of each admin and connect command; zero: 60 s
	IOTimeout    time.Duration // of an I/O command, after which the connection is dropped; zero: 30 s

	HeaderDigest bool // CRC32C over PDU headers; the target must agree
	DataDigest   bool // CRC32C over PDU data; the target must agree

	// Dial makes a connection; the network is "tcp". It must end with its context. Nil: net.Dialer.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	// OnState is told each change of state, in order. OnNamespace is told each change of the
	// namespace, of its size above all; now is zero when it is gone. Both are called one at a time,
	// by Connect and then by the goroutine that owns the controller: they must not block and must
	// not call Close. Nil: not told.
	OnState     func(old, now State)
	OnNamespace func(old, now Namespace)

	Logger *slog.Logger // nil: discards
}

// withDefaults returns the config with every zero replaced that stands for something.
func (c Config) withDefaults() Config {
	if _, _, err := net.SplitHostPort(c.Address); err != nil && c.Address != "" {
		c.Address = net.JoinHostPort(c.Address, DefaultPort)
	}
	c.Queues = cmp.Or(c.Queues, 1)
	c.QueueDepth = cmp.Or(c.QueueDepth, DefaultQueueDepth)
	c.KeepAlive = cmp.Or(c.KeepAlive, DefaultKeepAlive)
	c.ReconnectDelay = cmp.Or(c.ReconnectDelay, DefaultReconnectDelay)
	c.CtrlLossTimeout = cmp.Or(c.CtrlLossTimeout, DefaultCtrlLoss)
	c.AdminTimeout = cmp.Or(c.AdminTimeout, DefaultAdminTimeout)
	c.IOTimeout = cmp.Or(c.IOTimeout, DefaultIOTimeout)
	if c.Dial == nil {
		c.Dial = new(net.Dialer).DialContext
	}
	if c.OnState == nil {
		c.OnState = func(State, State) {}
	}
	if c.OnNamespace == nil {
		c.OnNamespace = func(Namespace, Namespace) {}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	c.Logger = c.Logger.With("subsystem", c.SubsystemNQN, "address", c.Address)
	return c
}

// check reports what is missing or out of range.
func (c Config) check() error {
	switch {
	case c.Address == "":
		return fmt.Errorf("%w: no address to connect to", ErrConfig)
	case !validNQN(c.SubsystemNQN):
		return fmt.Errorf("%w: subsystem NQN %.64q must begin with nqn. and have at most %d bytes", ErrConfig, c.SubsystemNQN, maxNQN)
	case !validNQN(c.HostNQN):
		return fmt.Errorf("%w: host NQN %.64q must begin with nqn. and have at most %d bytes", ErrConfig, c.HostNQN, maxNQN)
	case c.HostID == uuid.Nil:
		return fmt.Errorf("%w: the host ID is zero; give each host NQN one of its own", ErrConfig)
	case c.Queues < 1 || c.Queues > MaxQueues:
		return fmt.Errorf("%w: %d I/O queues, want 1 to %d", ErrConfig, c.Queues, MaxQueues)
	case c.QueueDepth < 1 || c.QueueDepth > MaxQueueDepth:
		return fmt.Errorf("%w: queue depth %d, want 1 to %d", ErrConfig, c.QueueDepth, MaxQueueDepth)
	case c.KeepAlive > 0 && (c.KeepAlive < time.Millisecond || c.KeepAlive > maxKeepAlive):
		return fmt.Errorf("%w: keep-alive timeout %v, want %v to %v", ErrConfig, c.KeepAlive, time.Millisecond, maxKeepAlive)
	case c.ReconnectDelay < 0:
		return fmt.Errorf("%w: reconnect delay %v is negative", ErrConfig, c.ReconnectDelay)
	case c.AdminTimeout < 0 || c.IOTimeout < 0:
		return fmt.Errorf("%w: a timeout is negative", ErrConfig)
	}
	return nil
}

// validNQN reports whether s may stand in a Connect command: the field ends at the first zero byte.
func validNQN(s string) bool {
	if len(s) < len("nqn.") || s[:4] != "nqn." || len(s) > maxNQN {
		return false
	}
	for _, b := range []byte(s) {
		if b < ' ' {
			return false
		}
	}
	return true
}
