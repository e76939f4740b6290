// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/crypto/ssh"
)

// hostKeyFile is the name of the SSH host key in the box's directory. Another key that is put there,
// such as an RSA one, is used.
const hostKeyFile = "ssh_host_key"

// openHostKey reads the box's host key, or makes one. It stays the same as long as the directory
// does.
func openHostKey(dir string) (ssh.Signer, error) {
	name := filepath.Join(dir, hostKeyFile)
	b, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		if b, err = newHostKey(); err == nil {
			err = os.WriteFile(name, b, 0o600)
		}
		if err != nil {
			return nil, fmt.Errorf("make the box's host key: %w", err)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("read the box's host key: %w", err)
	}
	signer, err := ssh.ParsePrivateKey(b)
	if err != nil {
		return nil, fmt.Errorf("read the box's host key %s: %w", name, err)
	}
	return signer, nil
}

// newHostKey makes a host key, in OpenSSH's form.
func newHostKey() ([]byte, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	block, err := ssh.MarshalPrivateKey(key, "rds-sim")
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(block), nil
}

// minRSA is the shortest RSA key that lets anyone in, in bits.
const minRSA = 2048

// authorized reads the keys that let the account in.
func (c Config) authorized() (map[string]bool, error) {
	keys := map[string]bool{}
	for rest := c.AuthorizedKeys; ; {
		key, _, _, more, err := ssh.ParseAuthorizedKey(rest)
		if err != nil {
			if len(keys) == 0 && len(rest) > 0 {
				return nil, fmt.Errorf("read the authorized keys: %w", err)
			}
			return keys, nil
		}
		keys[string(key.Marshal())] = true
		rest = more
	}
}

// usable reports whether RouterOS takes a user's key: ECDSA is refused.
func usable(key ssh.PublicKey) bool {
	switch key.Type() {
	case ssh.KeyAlgoED25519:
		return true
	case ssh.KeyAlgoRSA:
		crypto, ok := key.(ssh.CryptoPublicKey)
		if !ok {
			return false
		}
		k, ok := crypto.CryptoPublicKey().(*rsa.PublicKey)
		return ok && k.N.BitLen() >= minRSA
	}
	return false
}
