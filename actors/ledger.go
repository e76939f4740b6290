// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package actors

import (
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
	Access  Access  // of all grants; AccessNone without any
	Grants  []Grant // in the order they were made
	Told    string  // outcome of a migration that was told, or is pending: <kind>.<token of its target's grant>
	Bounce  Token   // when the export was last bounced to shed a lost node
	Off     bool    // a bounce is not over: the export must be turned on again, or go off once more if it is on
}

// MaxLedger is the length in bytes of the longest ledger of a volume with at most two grants whose
// nodes have 63-character names. A ReadOnlyMany volume's ledger grows with its nodes.
const MaxLedger = 255

const ledgerVersion = "rds-csi.1"

var clusterForm = regexp.MustCompile(`^[0-9a-f]{12}$`)

// toldForm bounds what Told may hold to the alphabet that RouterOS takes without quoting.
var toldForm = regexp.MustCompile(`^(success|failed|timeout|pending)\.[0-9a-z]{1,13}$`)

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
	if l.Bounce != 0 {
		key := 'b'
		if l.Off {
			key = 'B'
		}
		fmt.Fprintf(&b, "/%c:%s", key, l.Bounce)
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
	fields := strings.Split(comment, "/")
	if fields[0] != ledgerVersion {
		return Ledger{}, true, fmt.Errorf("ledger version %.16q is not %s, run the release of the driver that wrote it: %w", fields[0], ledgerVersion, ErrPrecondition)
	}
	for _, field := range fields[1:] {
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
	}
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

// Granted reports whether the node is in the ledger.
func (l Ledger) Granted(node NodeID) bool { return l.grant(node) >= 0 }
