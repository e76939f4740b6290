// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// diskID is the number behind a row's .id, which is written as an asterisk and hex digits.
type diskID uint64

func (id diskID) String() string { return "*" + strings.ToUpper(strconv.FormatUint(uint64(id), 16)) }

// poolID is the row of the pool. The first disk is the next.
const poolID diskID = 1

// defaultPort is the NVMe/TCP port of an export that names none.
const defaultPort = 4420

// defaultNQN is before the slot in the NQN of an export that names none, if no switch says otherwise.
const defaultNQN = "nqn.2026-09.com.mikrotik:rds-sim."

// The longest values that the box takes, in bytes. NVMe Base 2.0, 4.5, bounds an NQN.
const (
	maxNQN      = 223
	maxFilePath = 512
	maxPassword = 255
)

// minPort keeps exports away from the host's privileged ports.
const minPort = 1024

// inert are the properties that are kept and shown and do nothing here.
var inert = [...]string{
	"mount-read-only", "compress", "iscsi-export", "nfs-sharing", "smb-sharing", "media-sharing", "swap",
}

// A disk is a row of the table of type file. It is comparable, so that two tables can be told
// apart row by row.
type disk struct {
	ID              diskID           `json:"id"`
	Slot            string           `json:"slot"`
	Comment         string           `json:"comment,omitempty"`
	Disabled        bool             `json:"disabled,omitempty"`
	File            string           `json:"file"` // without a leading slash
	Size            int64            `json:"size"` // of the file; the property file-size
	Offset          int64            `json:"offset,omitempty"`
	MountFilesystem bool             `json:"mount-filesystem"`
	Export          bool             `json:"export,omitempty"`
	Port            uint16           `json:"port,omitempty"` // 0: unset
	NQN             string           `json:"nqn,omitempty"`  // empty: unset
	AllowHost       string           `json:"allow-host,omitempty"`
	Password        string           `json:"password,omitempty"`
	Inert           [len(inert)]bool `json:"inert"`
}

// port is where an export of the disk is served.
func (d disk) port() uint16 {
	if d.Port == 0 {
		return defaultPort
	}
	return d.Port
}

// nqn is the name under which an export of the disk is served.
func (d disk) nqn(sw Switches) string {
	switch {
	case d.NQN != "":
		return d.NQN
	case sw.DefaultNQN != "":
		return sw.DefaultNQN + d.Slot
	}
	return defaultNQN + d.Slot
}

// bytes is the size of the block device: whole blocks of 512 behind the offset.
func (d disk) bytes() int64 { return max(0, d.Size-d.Offset) &^ 511 }

// exported reports whether hosts should find the disk.
func (d disk) exported() bool { return d.Export && !d.Disabled }

// assign sets one property of a row from its text.
func (d *disk) assign(name, value string, sw Switches) error {
	if !utf8.ValidString(value) {
		return invalid(name) // the configuration is saved as JSON
	}
	switch name {
	case "slot":
		return d.assignSlot(value, sw)
	case "comment":
		return d.assignComment(value, sw)
	case "file-size":
		return assignSize(&d.Size, name, value)
	case "file-offset":
		return assignSize(&d.Offset, name, value)
	case "nvme-tcp-server-port":
		return d.assignPort(value)
	case "nvme-tcp-server-nqn":
		return assignText(&d.NQN, name, value, maxNQN)
	case "nvme-tcp-server-allow-host-name":
		return assignText(&d.AllowHost, name, value, 4*maxNQN)
	case "nvme-tcp-server-password":
		return assignText(&d.Password, name, value, maxPassword)
	case "disabled":
		return assignBool(&d.Disabled, name, value)
	case "mount-filesystem":
		return assignBool(&d.MountFilesystem, name, value)
	case "nvme-tcp-export":
		return assignBool(&d.Export, name, value)
	}
	if i := slices.Index(inert[:], name); i >= 0 {
		return assignBool(&d.Inert[i], name, value)
	}
	return errParameter
}

func (d *disk) assignSlot(value string, sw Switches) error {
	if value == "" || strings.HasPrefix(value, "*") || strings.ContainsFunc(value, func(r rune) bool { return r <= ' ' || r == ',' || r == 0x7f }) {
		return invalid("slot")
	}
	if sw.SlotLimit > 0 && len(value) > sw.SlotLimit {
		return failure("slot name longer than %d", sw.SlotLimit)
	}
	d.Slot = value
	return nil
}

func (d *disk) assignComment(value string, sw Switches) error {
	if sw.CommentLimit > 0 && len(value) > sw.CommentLimit {
		if !sw.CutComment {
			return failure("comment longer than %d", sw.CommentLimit)
		}
		value = strings.ToValidUTF8(value[:sw.CommentLimit], "")
	}
	d.Comment = value
	return nil
}

func (d *disk) assignPort(value string) error {
	n, err := strconv.ParseUint(value, 10, 32)
	if err != nil {
		return invalid("nvme-tcp-server-port")
	}
	if n < minPort || n > 65535 {
		return outOfRange("nvme-tcp-server-port", minPort, 65535)
	}
	d.Port = uint16(n)
	return nil
}

func assignSize(to *int64, name, value string) error {
	n, err := ParseSize(value)
	if err != nil {
		return invalid(name)
	}
	*to = n
	return nil
}

func assignBool(to *bool, name, value string) error {
	b, ok := parseBool(value)
	if !ok {
		return mismatch(name)
	}
	*to = b
	return nil
}

// assignText takes any text without spaces and control characters up to a length.
func assignText(to *string, name, value string, most int) error {
	if len(value) > most {
		return failure("%s longer than %d", name, most)
	}
	if strings.ContainsFunc(value, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return invalid(name)
	}
	*to = value
	return nil
}

// defaultSlot is the slot of an add that names none, by the pattern that was seen on a real box.
func defaultSlot(file string) string { return "file-" + strings.ReplaceAll(file, "/", "-") }

// uniqueSlot returns the first of slot, slot-1, slot-2 and so on that is not taken.
func uniqueSlot(slot string, taken func(string) bool) string {
	name := slot
	for i := 1; taken(name); i++ {
		name = fmt.Sprintf("%s-%d", slot, i)
	}
	return name
}
