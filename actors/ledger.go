// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package actors

import (
	"cmp"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// A Token is a point in time in Unix milliseconds, in base 36 when written. As an epoch it is never
// used twice for one volume, so that neither a restored backup nor a box that lost its last seconds
// of configuration revives an old NQN.
type Token int64

// TokenAt returns the token of t. For a time up to 1970, as of a machine without a clock, it is 1: 0
// and less have no written form.
func TokenAt(t time.Time) Token { return max(1, Token(t.UnixMilli())) }

// Time returns the token's time.
func (t Token) Time() time.Time { return time.UnixMilli(int64(t)) }

// String returns the token in base 36.
func (t Token) String() string { return strconv.FormatInt(int64(t), 36) }

// parseToken reads the form of String: no sign, no leading zero.
func parseToken(s string) (Token, error) {
	n, err := strconv.ParseInt(s, 36, 64)
	if err != nil || n <= 0 || Token(n).String() != s {
		return 0, fmt.Errorf("%.16q is not a token", s)
	}
	return Token(n), nil
}

// A Grant is one node's right to use a volume.
type Grant struct {
	Node NodeID
	At   Token // when it was granted
}

// A Ledger is what the driver must find again after a crash. It stands in the comment of the
// volume's disk row and is written in the same command as the change that it records.
type Ledger struct {
	Cluster string  // first 12 hex digits of the cluster's UID
	Gen     uint64  // counts the writes of this row, from 1
	Epoch   Token   // of the NQN; 0 where the NQN has none
	Fencing Fencing // of the StorageClass
	Timeout int     // seconds that a migration may take: 30 to 3600
	Port    uint16  // NVMe/TCP port, as a row may hide it while the export is off; 0: not recorded
	Access  Access  // of all grants; AccessNone without any
	Grants  []Grant // in the order they were made
	Told    string  // outcome of a migration that was told, or is pending: <kind>.<token of its target's grant>
	Left    NodeID  // while the outcome is pending: the one of its two nodes that was detached
	Bounce  Token   // when the export was last bounced to shed a lost node
	Off     bool    // the Bounce is not over: the export must be turned on again, or go off once more if it is on
	Prefix  string  // of the NQN, as a row may hide that too; empty: DefaultNQNPrefix; "-": another one, which the row shows
}

// MaxLedger is the length in bytes of the longest ledger of a volume with at most two grants whose
// nodes have 63-character names, or at most one and a Prefix of MaxNQNPrefix. A ReadOnlyMany volume's
// ledger grows with its nodes. A Prefix beside two names, which is there for the instant in which an
// export is bounced that two nodes have or had, may exceed it.
const MaxLedger = 255

// MaxNQNPrefix is the length in bytes of the longest prefix of NQNs that a StorageClass may name.
const MaxNQNPrefix = 77

// prefixShown stands for a prefix for which a ledger of several grants has no room. Such an export is on,
// so that the row shows it.
const prefixShown = "-"

// maxPrefix leaves room in the 223 bytes of an NQN (NVMe Base 2.0, 4.5) for ":", a volume ID, "." and
// an epoch. It is what a ledger may hold, since a volume that has such an NQN must be written still.
const maxPrefix = 223 - 1 - 40 - 1 - 13

const ledgerVersion = "rds-csi.1"

// prefixKey begins a ledger's last field, which takes the rest.
const prefixKey = "/q:"

var clusterForm = regexp.MustCompile(`^[0-9a-f]{12}$`)

// toldForm bounds what Told may hold to the alphabet that RouterOS takes without quoting.
var toldForm = regexp.MustCompile(`^(success|failed|timeout|` + pendingKind + `)\.[0-9a-z]{1,13}$`)

// prefixForm is that of an NQN's beginning, in the alphabet of ledgers.
var prefixForm = regexp.MustCompile(`^nqn\.[A-Za-z0-9._:/-]*$`)

// CheckCluster reports ErrInvalid unless s is the 12 hex digits that a ledger records.
func CheckCluster(s string) error {
	if !clusterForm.MatchString(s) {
		return fmt.Errorf("cluster ID %.32q is not 12 lower-case hex digits: %w", s, ErrInvalid)
	}
	return nil
}

// String encodes the ledger in the alphabet [A-Za-z0-9._:/-], which no RouterOS console
// interprets.
func (l Ledger) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s/c:%s/g:%s/f:%c/t:%d", ledgerVersion, l.Cluster, strconv.FormatUint(l.Gen, 36), l.Fencing, l.Timeout)
	if l.Port != 0 {
		fmt.Fprintf(&b, "/p:%s", strconv.FormatUint(uint64(l.Port), 36))
	}
	if l.Epoch != 0 {
		fmt.Fprintf(&b, "/e:%s", l.Epoch)
	}
	if l.Access != AccessNone {
		fmt.Fprintf(&b, "/m:%c", l.Access)
	}
	for _, g := range l.Grants {
		fmt.Fprintf(&b, "/n:%s:%s", g.Node, g.At)
	}
	if l.Told != "" {
		fmt.Fprintf(&b, "/o:%s", l.Told)
	}
	if l.Left != "" {
		fmt.Fprintf(&b, "/d:%s", l.Left)
	}
	if l.Bounce != 0 {
		key := 'b'
		if l.Off {
			key = 'B'
		}
		fmt.Fprintf(&b, "/%c:%s", key, l.Bounce)
	}
	if l.Prefix != "" {
		b.WriteString(prefixKey + l.Prefix) // last, since it may hold what separates fields
	}
	return b.String()
}

// ParseLedger decodes a disk row's comment. ours is false, without an error, for a comment that
// is no ledger: another administrator's, or none. A comment that begins like a ledger and is
// damaged, or of a later version, is an ErrPrecondition: such a row must be left alone.
func ParseLedger(comment string) (l Ledger, ours bool, err error) {
	if !strings.HasPrefix(comment, "rds-csi.") {
		return Ledger{}, false, nil
	}
	if version, _, _ := strings.Cut(comment, "/"); version != ledgerVersion {
		return Ledger{}, true, fmt.Errorf("ledger version %.16q is not %s, run the release of the driver that wrote it: %w", version, ledgerVersion, ErrPrecondition)
	}
	head, prefix, _ := strings.Cut(comment, prefixKey)
	l.Prefix = prefix
	for _, field := range strings.Split(head, "/")[1:] {
		if err := l.parseField(field); err != nil {
			return Ledger{}, true, fmt.Errorf("ledger field %.90q: %v: %w", field, err, ErrPrecondition) //nolint:errorlint // of one kind only
		}
	}
	// Whatever was accepted but would be written back in another form is damage: a field twice, out
	// of order, or left out.
	if l.String() != comment {
		return Ledger{}, true, fmt.Errorf("ledger %.300q is not in its canonical form: %w", comment, ErrPrecondition)
	}
	if err := l.check(); err != nil {
		return Ledger{}, true, fmt.Errorf("ledger %.300q: %v: %w", comment, err, ErrPrecondition) //nolint:errorlint // of one kind only
	}
	return l, true, nil
}

func (l *Ledger) parseField(field string) (err error) {
	key, value, _ := strings.Cut(field, ":")
	switch key {
	case "c":
		l.Cluster = value
	case "g":
		l.Gen, err = strconv.ParseUint(value, 36, 64)
	case "f":
		l.Fencing = Fencing(letter(value))
	case "t":
		l.Timeout, err = strconv.Atoi(value)
	case "p":
		var port uint64
		port, err = strconv.ParseUint(value, 36, 16)
		l.Port = uint16(port)
	case "e":
		l.Epoch, err = parseToken(value)
	case "m":
		l.Access = Access(letter(value))
	case "n":
		node, at, _ := strings.Cut(value, ":")
		g := Grant{Node: NodeID(node)}
		if g.At, err = parseToken(at); err == nil {
			err = g.Node.Check()
		}
		l.Grants = append(l.Grants, g)
	case "o":
		l.Told = value
	case "d":
		l.Left = NodeID(value)
		err = l.Left.Check()
	case "b", "B":
		l.Off = key == "B"
		l.Bounce, err = parseToken(value)
	default:
		err = fmt.Errorf("unknown key")
	}
	return err
}

// letter returns the one byte of s, or 0, which stands for no mode.
func letter(s string) byte {
	if len(s) != 1 {
		return 0
	}
	return s[0]
}

// check reports what makes a ledger one that this driver never wrote.
func (l Ledger) check() error {
	if err := CheckCluster(l.Cluster); err != nil {
		return err
	}
	switch {
	case l.Gen == 0:
		return fmt.Errorf("gen is 0")
	case l.Fencing != FencingEpoch && l.Fencing != FencingHost && l.Fencing != FencingNone:
		return fmt.Errorf("unknown fencing mode")
	case l.Timeout < MinTimeout || l.Timeout > MaxTimeout:
		return fmt.Errorf("migration timeout of %d s", l.Timeout)
	case l.Told != "" && !toldForm.MatchString(l.Told):
		return fmt.Errorf("unknown migration outcome")
	case l.Prefix == DefaultNQNPrefix:
		return fmt.Errorf("the default NQN prefix is written out")
	case l.Prefix != "" && l.Prefix != prefixShown && (len(l.Prefix) > maxPrefix || !prefixForm.MatchString(l.Prefix)):
		return fmt.Errorf("NQN prefix that is not \"nqn.\" and up to %d bytes in all", maxPrefix)
	}
	if err := l.checkPending(); err != nil {
		return err
	}
	return l.checkGrants()
}

// checkPending reports an outcome that is pending without the two nodes it is about.
func (l Ledger) checkPending() error {
	_, pending := l.pending()
	switch waits := strings.HasPrefix(l.Told, pendingKind+"."); {
	case waits != pending, pending != (l.Left != ""):
		return fmt.Errorf("migration outcome %q with %d grants and %q detached", l.Told, len(l.Grants), l.Left)
	case l.Granted(l.Left):
		return fmt.Errorf("node %s is both granted and detached", l.Left)
	}
	return nil
}

// checkGrants reports grants that were never made.
func (l Ledger) checkGrants() error {
	most := 0
	switch l.Access {
	case AccessNone:
	case AccessSingle:
		most = 1
	case AccessShared:
		most = 2
	case AccessReader:
		most = len(l.Grants)
	default:
		return fmt.Errorf("unknown access mode")
	}
	if len(l.Grants) > most || (l.Access != AccessNone && len(l.Grants) == 0) {
		return fmt.Errorf("%d grants in mode %v", len(l.Grants), l.Access)
	}
	for i, g := range l.Grants {
		if l.grant(g.Node) != i {
			return fmt.Errorf("node %s is granted twice", g.Node)
		}
	}
	return nil
}

// The bounds of Ledger.Timeout in seconds, and its default, by the StorageClass parameter
// migrationTimeoutSeconds.
const (
	MinTimeout     = 30
	MaxTimeout     = 3600
	DefaultTimeout = 300
)

// grant returns the index of a node's grant, or -1.
func (l Ledger) grant(node NodeID) int {
	for i, g := range l.Grants {
		if g.Node == node {
			return i
		}
	}
	return -1
}

// NQN returns the volume's NQN, for a row that hides it. It is empty where only the row can tell: somebody
// else turned the export off that two nodes have.
func (l Ledger) NQN(id VolumeID) string {
	if l.Prefix == prefixShown {
		return ""
	}
	return NQN(cmp.Or(l.Prefix, DefaultNQNPrefix), id, l.Epoch)
}

// Granted reports whether the node is in the ledger.
func (l Ledger) Granted(node NodeID) bool { return l.grant(node) >= 0 }
