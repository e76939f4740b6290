// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"regexp"
	"strings"
	"time"
	"unicode"
)

// Off as an address of a Config means that nothing listens.
const Off = "off"

// A Config describes a simulated box. Only Dir must be set.
type Config struct {
	// Dir holds the files of the disks, the configuration and the TLS certificate, and is made if it
	// is missing. Two boxes must not share it.
	Dir string
	// Capacity is the size of the pool in bytes; zero is 1 TiB. The files are sparse: the host's
	// file system may be smaller.
	Capacity int64
	// Pool is the slot and the mount point of the pool; zero is "raid10".
	Pool string
	// Filesystem of the pool, "btrfs" or "xfs"; zero is "btrfs".
	Filesystem string
	// PoolState is what the row of the pool says its state is, such as "degraded"; empty: clean, or what
	// Switches.Resync says. It has no other consequence.
	PoolState string
	// PoolMissing leaves the pool away until Sim.Change, with its files. The disks are rows without an export.
	PoolMissing bool
	// Storage is how the package rose-storage stands. Unless it is Installed, there are no disks of type file,
	// and no commands for them.
	Storage Package
	// Identity is the box's name; zero is "rds-sim".
	Identity string
	// Version of RouterOS that the box claims; zero is "7.20.4 (stable)".
	Version string

	// Username of the one account; zero is "admin".
	Username string
	// Password of the account. It may be empty only while every address is a loopback address.
	Password string
	// Policies of the account's group, with commas in between, as RouterOS writes them: read,write,api,!ftp.
	// What is not named is withheld. Empty: all of them, which is the group full.
	Policies string
	// AuthorizedKeys are the account's keys for SSH, in the form of an authorized_keys file. Those that
	// are not RSA of at least 2048 bits or Ed25519 never let anyone in. None: the password alone.
	AuthorizedKeys []byte

	// APIAddr, TLSAddr and SSHAddr are where the API listens, plain and over TLS, and SSH; zero is
	// 127.0.0.1:0 and Off is nowhere.
	APIAddr, TLSAddr, SSHAddr string
	// Listen opens the ports of sessions and exports. Nil: those of this machine.
	Listen func(ctx context.Context, network, address string) (net.Listener, error)
	// NoCertificate leaves api-ssl without a certificate, until Sim.Change: it refuses every client.
	NoCertificate bool
	// NVMeHost is the address on which exports listen, at the port of their disk; zero is 127.0.0.1.
	NVMeHost string

	// MaxSessions is how many connections of the API and SSH there may be together; one more is closed
	// at once. Zero is 20.
	MaxSessions int
	// Concurrency is how many commands are served at the same time; zero is 8.
	Concurrency int
	// ServiceTime is how long each command takes before it takes effect; zero is no time. The find and
	// get of a script take none.
	ServiceTime time.Duration
	// ExecTime is how long a script takes over SSH before it begins, besides its commands; zero is no
	// time.
	ExecTime time.Duration

	// Switches choose among what a real box might do.
	Switches Switches
	// Fault is asked once for each command that the box knows, but for /cancel and /quit, in the order
	// in which a connection sent them; of a script, for each command of a menu when its turn comes. A
	// zero Fault leaves it to those of Sim.Inject. It must not block. The arguments of /login are not shown to it.
	// Nil: no faults.
	Fault func(Command) Fault
	// Changed is told of each row that a command has changed, before the command is answered: as it was
	// and as it is, with an empty ID where there is none. It is called from one goroutine, and must not
	// block. What a reboot loses it is not told of. Nil: nobody is told.
	Changed func(old, next Disk)
	// Logger receives what the box has to say; nil discards it. It never sees an argument of a
	// command.
	Logger *slog.Logger
}

// A Choice is what the box does with a name that is taken.
type Choice int

// The choices.
const (
	Refuse Choice = iota // trap
	Accept               // have two of that name
	Rename               // take the first of name-1, name-2 and so on that is free
)

// Switches are the unknowns of a real box. The zero value of each is what the evidence suggests,
// or what is safest to find out about first.
type Switches struct {
	// DuplicateSlot is what an add does with the slot of another row.
	DuplicateSlot Choice
	// RefuseFile refuses an add whose file is there already, and BlankFile empties that file first.
	// By default the file is used with what it holds, and grows if it is smaller than file-size.
	RefuseFile, BlankFile bool
	// SharedFile lets a second row use the file of another; by default that is refused.
	SharedFile bool
	// LeaveFile leaves the file of an add behind that is refused for its slot or its NQN; by default
	// what is refused leaves nothing.
	LeaveFile bool
	// SlotLimit is the longest slot in bytes: zero is 32, negative is no limit.
	SlotLimit int
	// CommentLimit is the longest comment in bytes: zero is no limit. CutComment cuts a longer one
	// off without a word instead of refusing it.
	CommentLimit int
	CutComment   bool
	// Shrink lets a set make a disk smaller, which cuts its data off; by default that is refused.
	Shrink bool
	// NeedDirectory refuses an add into a directory that is missing; by default it is made.
	NeedDirectory bool
	// HideExport leaves the nvme-tcp-server properties out of the rows that are not exported.
	HideExport bool
	// Unordered lets the commands of one connection overtake each other.
	Unordered bool

	// RightsAtLogin leaves a session the policies that its account had when it logged in; by default a change
	// of them counts at once.
	RightsAtLogin bool
	// FilesNeedFTP asks for the policy ftp to change files, besides write.
	FilesNeedFTP bool
	// UsersNeedPolicy asks for the policy of that name to list users and groups, besides read.
	UsersNeedPolicy bool

	// PlainPool keeps the pool on a box without rose-storage, as a disk that the box can mount alone; by
	// default it is a RAID, which goes with the package.
	PlainPool bool
	// NoDiskMenu takes the whole menu /disk along with rose-storage; by default what is lost of it are the
	// types and parameters.
	NoDiskMenu bool

	// ExitStatus is the exit status of a script that failed, over SSH; zero is 0, as of one that did
	// not.
	ExitStatus int
	// KeysOnly refuses the password over SSH when there are AuthorizedKeys; by default both will do.
	KeysOnly bool
	// ParallelChannels serves the channels of one SSH connection at the same time; by default each
	// waits for the end of the one before.
	ParallelChannels bool
	// EndScripts ends a script with its connection, between two of its commands; by default it goes
	// on.
	EndScripts bool
	// LateWrites is how much later a change takes effect whose connection has ended; zero is as if it
	// had not.
	LateWrites time.Duration
	// WrapPut wraps what :put prints, too; by default only what print does.
	WrapPut bool
	// HardWrap breaks lines exactly at the last column; by default at the last space, if there is one.
	HardWrap bool

	// DefaultNQN is what stands before the slot in the NQN of an export that names none; zero is
	// "nqn.2026-09.com.mikrotik:rds-sim.". NeedNQN refuses such an export.
	DefaultNQN string
	NeedNQN    bool
	// ExportDelay is how long after an add or set an export begins to serve; zero is at once. Until
	// then its port is as it would be without it.
	ExportDelay time.Duration
	// KeepOnExportOff leaves live connections alone when an export is turned off; by default they
	// end, without a flush. Removing a row ends them always.
	KeepOnExportOff bool
	// KeepOnNQNChange leaves live connections alone when the NQN of an export changes, and lets none of
	// the old name in any more; by default they end.
	KeepOnNQNChange bool
	// DropOnAllowChange ends the live connections of hosts that a change of the allow list leaves
	// out; by default, as in Linux, the list counts only when a host connects.
	DropOnAllowChange bool
	// AllowList takes nvme-tcp-server-allow-host-name for a list of names with commas in between; by
	// default it is one name.
	AllowList bool
	// Retry lets hosts retry refused connects; by default refusals say "do not retry", as in Linux.
	Retry bool
	// PortStaysOpen leaves a port open when its last export has ended; by default it is closed.
	PortStaysOpen bool
	// NoResizeEvent tells connected hosts nothing of a new size; by default they get an event.
	NoResizeEvent bool
	// NewUUID gives a namespace another UUID each time its export begins; by default it keeps one.
	NewUUID bool

	// PoolDelay is how long the pool is missing after a reboot, with its row, its files and all disks;
	// zero is no time.
	PoolDelay time.Duration
	// DiskDelay is how long each disk takes to come after a reboot, one after the other, by their .id
	// and behind PoolDelay; zero is no time. A disk that is not there is not exported.
	DiskDelay time.Duration
	// HideLate leaves disks that have not come yet out of the table; by default they are rows without
	// an export.
	HideLate bool
	// Resync is how long the state of the pool tells of a repair after a reboot; zero is no time,
	// negative is always.
	Resync time.Duration
	// RenumberIDs gives each disk another .id at a reboot; by default they stay.
	RenumberIDs bool
}

// poolForm is what a pool may be called: it is a directory of the host.
var poolForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,31}$`)

// withDefaults returns the configuration with its zero values filled in, or an error that says what
// to change.
func (c Config) withDefaults() (Config, error) {
	for _, d := range []struct {
		to   *string
		zero string
	}{
		{&c.Pool, "raid10"},
		{&c.Filesystem, "btrfs"},
		{&c.Identity, "rds-sim"},
		{&c.Version, "7.20.4 (stable)"},
		{&c.Username, "admin"},
		{&c.APIAddr, "127.0.0.1:0"},
		{&c.TLSAddr, "127.0.0.1:0"},
		{&c.SSHAddr, "127.0.0.1:0"},
		{&c.NVMeHost, "127.0.0.1"},
	} {
		if *d.to == "" {
			*d.to = d.zero
		}
	}
	if c.Capacity == 0 {
		c.Capacity = 1 << 40
	}
	if c.MaxSessions == 0 {
		c.MaxSessions = 20
	}
	if c.Concurrency == 0 {
		c.Concurrency = 8
	}
	if c.Switches.SlotLimit == 0 {
		c.Switches.SlotLimit = 32
	}
	if c.Listen == nil {
		c.Listen = new(net.ListenConfig).Listen
	}
	if c.Fault == nil {
		c.Fault = func(Command) Fault { return Fault{} }
	}
	if c.Changed == nil {
		c.Changed = func(Disk, Disk) {}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c, c.check()
}

func (c Config) check() error {
	switch {
	case c.Dir == "":
		return errors.New("no directory is given for the box's disks")
	case c.Capacity < 0:
		return fmt.Errorf("capacity of %d bytes is negative", c.Capacity)
	case !poolForm.MatchString(c.Pool):
		return fmt.Errorf("pool name %.64q is not 1 to 32 letters, digits, - and _", c.Pool)
	case c.Filesystem != "btrfs" && c.Filesystem != "xfs":
		return fmt.Errorf("file system %.64q is not btrfs or xfs", c.Filesystem)
	case len(c.PoolState) > 64 || strings.ContainsFunc(c.PoolState, unicode.IsControl):
		return fmt.Errorf("pool state %.64q is not at most 64 bytes of text", c.PoolState)
	case c.Storage < Installed || c.Storage > Missing:
		return fmt.Errorf("storage %d is not the state of a package", c.Storage)
	case c.MaxSessions < 0, c.Concurrency < 0, c.ServiceTime < 0, c.ExecTime < 0, c.Switches.ExportDelay < 0,
		c.Switches.LateWrites < 0, c.Switches.PoolDelay < 0, c.Switches.DiskDelay < 0, c.Switches.ExitStatus < 0:
		return errors.New("limits and times must not be negative")
	}
	if _, err := parsePolicies(c.Policies); err != nil {
		return fmt.Errorf("policies: %w", err)
	}
	if _, err := netip.ParseAddr(c.NVMeHost); err != nil {
		return fmt.Errorf("NVMe host %.64q is not an IP address", c.NVMeHost)
	}
	if strings.ContainsAny(c.Username+c.Password, "\x00") {
		return errors.New("user name and password must not hold a zero byte")
	}
	for _, addr := range []string{c.APIAddr, c.TLSAddr, c.SSHAddr} {
		if addr == Off {
			continue
		}
		host, _, err := net.SplitHostPort(addr)
		if err != nil {
			return fmt.Errorf("address %.64q is not host:port: %w", addr, err)
		}
		if c.Password == "" && !loopback(host) {
			return fmt.Errorf("address %.64q is not a loopback address, which an empty password needs", addr)
		}
	}
	return nil
}

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}
