// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package console

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// A HostKeyError says that the box has another key than the one that is trusted, or that none is. It may
// be another box, or somebody between.
type HostKeyError struct {
	Address     string
	Type        string // of the key that the box showed
	Fingerprint string // of it: "SHA256:…"
	Setting     string // that decides: "HostKey", or "KnownHosts" with the path of the file
	Unknown     bool   // no key is known for the address
}

// Error names the setting to change.
func (e *HostKeyError) Error() string {
	if e.Unknown {
		return fmt.Sprintf("the host key of %s, %s %s, is not known: if it is the box's, add it to %s", e.Address, e.Type, e.Fingerprint, e.Setting)
	}
	return fmt.Sprintf("the host key of %s, %s %s, is not the one that is trusted: if the box has a new key, change %s", e.Address, e.Type, e.Fingerprint, e.Setting)
}

// A trust decides whether a host key is the box's.
type trust struct {
	check      ssh.HostKeyCallback
	algorithms []string // to ask for: a box with several keys must show the one that is known
	seen       ssh.PublicKey
	err        error // of the check
}

// newTrust reads the settings. The error is ErrConfig.
func newTrust(cfg Config) (*trust, error) {
	t := &trust{}
	var check ssh.HostKeyCallback
	var err error
	if cfg.KnownHosts != "" {
		check, t.algorithms, err = fromKnownHosts(cfg.KnownHosts, cfg.Address)
	} else {
		check, t.algorithms, err = fromPin(cfg.HostKey, cfg.Address)
	}
	if err != nil {
		return nil, err
	}
	t.check = func(host string, remote net.Addr, key ssh.PublicKey) error {
		t.seen = key
		t.err = check(host, remote, key)
		return t.err
	}
	return t, nil
}

var (
	rsaAlgorithms = []string{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256}
	allAlgorithms = append([]string{ssh.KeyAlgoED25519}, rsaAlgorithms...)
)

// algorithmsFor returns the signatures that a host key of a type makes.
func algorithmsFor(keyType string) []string {
	switch keyType {
	case ssh.KeyAlgoED25519:
		return []string{ssh.KeyAlgoED25519}
	case ssh.KeyAlgoRSA:
		return rsaAlgorithms
	}
	return nil
}

func fromPin(pin, address string) (ssh.HostKeyCallback, []string, error) {
	mismatch := func(key ssh.PublicKey) error {
		return &HostKeyError{Address: address, Type: key.Type(), Fingerprint: ssh.FingerprintSHA256(key), Setting: "HostKey"}
	}
	pin = strings.TrimSpace(pin)
	if digest, ok := strings.CutPrefix(pin, "SHA256:"); ok {
		if sum, err := base64.RawStdEncoding.DecodeString(digest); err != nil || len(sum) != 32 {
			return nil, nil, fmt.Errorf("%w: HostKey %.80q is no fingerprint of a key", ErrConfig, pin)
		}
		return func(_ string, _ net.Addr, key ssh.PublicKey) error {
			if ssh.FingerprintSHA256(key) != pin {
				return mismatch(key)
			}
			return nil
		}, allAlgorithms, nil
	}
	want, _, _, rest, err := ssh.ParseAuthorizedKey([]byte(pin))
	if err != nil || len(bytes.TrimSpace(rest)) > 0 {
		return nil, nil, fmt.Errorf("%w: HostKey is neither one line such as \"ssh-ed25519 AAAA…\" nor a fingerprint \"SHA256:…\"", ErrConfig)
	}
	algorithms := algorithmsFor(want.Type())
	if algorithms == nil {
		return nil, nil, fmt.Errorf("%w: HostKey is %s, the host keys of RouterOS are Ed25519 or RSA", ErrConfig, want.Type())
	}
	return func(_ string, _ net.Addr, key ssh.PublicKey) error {
		if !bytes.Equal(key.Marshal(), want.Marshal()) {
			return mismatch(key)
		}
		return nil
	}, algorithms, nil
}

func fromKnownHosts(file, address string) (ssh.HostKeyCallback, []string, error) {
	known, err := knownhosts.New(file)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: KnownHosts: %w", ErrConfig, err)
	}
	setting := "KnownHosts " + file
	check := func(host string, remote net.Addr, key ssh.PublicKey) error {
		err := known(host, remote, key)
		if err == nil {
			return nil
		}
		e := &HostKeyError{Address: address, Type: key.Type(), Fingerprint: ssh.FingerprintSHA256(key), Setting: setting}
		var unknown *knownhosts.KeyError
		e.Unknown = errors.As(err, &unknown) && len(unknown.Want) == 0
		return e
	}
	return check, knownAlgorithms(known, address), nil
}

// knownAlgorithms returns the algorithms of the keys that are known for an address; all, where none is.
func knownAlgorithms(known ssh.HostKeyCallback, address string) []string {
	var want *knownhosts.KeyError
	if err := known(address, noAddr{}, noKey{}); !errors.As(err, &want) {
		return allAlgorithms
	}
	var algorithms []string
	for _, k := range want.Want {
		for _, a := range algorithmsFor(k.Key.Type()) {
			if !slices.Contains(algorithms, a) {
				algorithms = append(algorithms, a)
			}
		}
	}
	if algorithms == nil {
		return allAlgorithms
	}
	return algorithms
}

// noKey is a key that nobody has. Asking for it shows which ones are known.
type noKey struct{}

func (noKey) Type() string                        { return "none" }
func (noKey) Marshal() []byte                     { return nil }
func (noKey) Verify([]byte, *ssh.Signature) error { return errors.New("no key") }

// noAddr is the address of no connection.
type noAddr struct{}

func (noAddr) Network() string { return "tcp" }
func (noAddr) String() string  { return "0.0.0.0:0" }
