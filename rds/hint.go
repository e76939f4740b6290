// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package rds

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"regexp"

	"github.com/rds-csi/rds-csi/rds/console"
	"github.com/rds-csi/rds-csi/rds/routeros"
)

// A hint is an error that lasts until a person changes a setting, with what to change.
type hint struct {
	err    error
	change string
}

// Error returns the error's text and what to change.
func (h *hint) Error() string { return h.err.Error() + "; " + h.change }

// Unwrap returns the error.
func (h *hint) Unwrap() error { return h.err }

// mustMend reports whether an error carries a hint.
func mustMend(err error) bool {
	var h *hint
	return errors.As(err, &h)
}

// Texts of refusals, lower case, over the API and on the console.
var (
	deniedText  = regexp.MustCompile(`permission|not allowed|not permitted`)
	unknownText = regexp.MustCompile(`no such command|bad command name|unknown (parameter|property)|expected end of command|does not match any value of type`)
)

// lacksRights and lacksPackage report what no retry mends.
func lacksRights(err error) bool  { return deniedText.MatchString(trapText(err)) }
func lacksPackage(err error) bool { return unknownText.MatchString(trapText(err)) }

// explain adds to a refusal what to change, where that is known.
func explain(err error) error {
	switch {
	case lacksRights(err):
		return &hint{err, "give the group of the account (--rds-user) the policies api or ssh, read and write, and ftp where files cannot be removed"}
	case lacksPackage(err):
		return &hint{err, "install the package rose-storage on the box (--rds-address), in the version of its RouterOS"}
	}
	return err
}

// explainConnect adds to a failure to connect what to change, where that is known.
func explainConnect(err error, cfg Config) error {
	var (
		noTLS    tls.RecordHeaderError
		untrusty *tls.CertificateVerificationError
		name     x509.HostnameError
	)
	var hostKey *console.HostKeyError
	switch {
	case errors.Is(err, routeros.ErrLogin) && cfg.Transport == SSH:
		return &hint{err, "check --rds-user, --rds-ssh-key-file or --rds-password-file, and that the account's group has the policy ssh"}
	case errors.Is(err, routeros.ErrLogin):
		return &hint{err, "check --rds-user, --rds-password-file, and that the account's group has the policy api"}
	case errors.As(err, &hostKey), errors.Is(err, console.ErrConfig):
		return &hint{err, "check --rds-ssh-host-key, --rds-ssh-known-hosts, --rds-ssh-key-file and --rds-password-file"}
	case errors.As(err, &name):
		return &hint{err, "the box's certificate is for another name: connect to one that it holds (--rds-address), or give the box one for this address"}
	case errors.As(err, &untrusty):
		return &hint{err, "the box's certificate is not trusted: name the authority that signed it (--rds-ca-file), or give the box another"}
	case errors.As(err, &noTLS):
		return &hint{err, "the port does not speak TLS: name that of api-ssl (--rds-address), or choose the API without TLS (--rds-plain)"}
	case isAlert(err) && cfg.TLS != nil:
		return &hint{err, "the box refuses TLS, as it does without a certificate: give its service api-ssl one"}
	}
	return err
}

// isAlert reports whether the peer ended a TLS handshake with an alert, whose type crypto/tls keeps to itself.
func isAlert(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "remote error"
}
