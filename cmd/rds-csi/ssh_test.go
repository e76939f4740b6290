// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/rds-csi/rds-csi/rds/sim"
)

// sshKeys are private keys by what they are.
func sshKeys(t *testing.T) map[string]crypto.Signer {
	t.Helper()
	_, ed, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	long, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	short, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return map[string]crypto.Signer{"Ed25519": ed, "RSA": long, "short RSA": short, "ECDSA": ec}
}

// keyFile writes a private key as ssh-keygen does and returns the file's name.
func keyFile(t *testing.T, dir, name string, key crypto.Signer) string {
	t.Helper()
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, name)
	if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func publicOf(t *testing.T, key crypto.Signer) ssh.PublicKey {
	t.Helper()
	public, err := ssh.NewPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return public
}

// sshFlags are those that name a box over SSH, without how to know it.
func sshFlags(box *sim.Sim, more ...string) []string {
	return append([]string{
		"--rds-transport=ssh", "--rds-address=" + box.SSHAddr(), "--nodes=node-a", "--cluster-id=0123456789ab", "--command-timeout=1s",
	}, more...)
}

// A box is known by its pinned key, by that key's fingerprint, or by a known_hosts file, whatever the type
// of its key, and the account gets in by its key alone or by its password.
func TestSSHLogins(t *testing.T) {
	t.Parallel()
	keys := sshKeys(t)
	for _, host := range []string{"Ed25519", "RSA"} {
		for _, account := range []string{"Ed25519", "RSA", "password"} {
			t.Run(host+" host key, "+account, func(t *testing.T) {
				t.Parallel()
				dir := t.TempDir()
				keyFile(t, dir, "ssh_host_key", keys[host])
				cfg, login := sim.Config{}, []string(nil)
				if key := keys[account]; key != nil {
					cfg.AuthorizedKeys, cfg.Switches.KeysOnly = ssh.MarshalAuthorizedKey(publicOf(t, key)), true
					login = []string{"--rds-password-file=", "--rds-ssh-key-file=" + keyFile(t, t.TempDir(), "key", key)}
				}
				box := startSuchBox(t, dir, sim.LoopbackHost()+":0", cfg)
				for i, known := range []string{
					"--rds-ssh-host-key=" + strings.TrimSpace(string(ssh.MarshalAuthorizedKey(box.HostKey()))),
					"--rds-ssh-host-key=" + ssh.FingerprintSHA256(box.HostKey()),
					"--rds-ssh-known-hosts=" + knownHosts(t, box),
				} {
					p := startProcess(t, sshFlags(box, append(login, known)...)...)
					id := fmt.Sprintf("pvc-2f6c7a52-9d0e-4e0b-8f11-3c9d8e7f6a1%d", i)
					if err := insist(t, func(ctx context.Context) error { return p.create(ctx, id) }); err != nil {
						t.Errorf("%s: %v", known, err)
					}
					p.stop()
				}
			})
		}
	}
}

// A box with another host key is not logged in to, and the error names the flag.
func TestSSHAnotherHost(t *testing.T) {
	t.Parallel()
	box := startBox(t, t.TempDir(), sim.LoopbackHost()+":0")
	other := publicOf(t, sshKeys(t)["Ed25519"])
	file := filepath.Join(t.TempDir(), "known_hosts")
	if err := os.WriteFile(file, []byte(knownhosts.Line([]string{box.SSHAddr()}, other)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for flag, value := range map[string]string{"--rds-ssh-host-key": ssh.FingerprintSHA256(other), "--rds-ssh-known-hosts": file} {
		p := startProcess(t, sshFlags(box, flag+"="+value)...)
		err := p.create(t.Context(), restartVolume)
		if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), flag) || !strings.Contains(err.Error(), ssh.FingerprintSHA256(box.HostKey())) {
			t.Errorf("CreateVolume on a box with another key = %v, want Unavailable, %s and the key that was shown", err, flag)
		}
		p.stop()
	}
	if n := box.Commands()["/login"]; n != 0 {
		t.Errorf("%d logins were tried on a box that is not trusted", n)
	}
}

// A key of a type that RouterOS refuses is said at the start, with what to use.
func TestSSHKeysThatAreRefused(t *testing.T) {
	t.Parallel()
	keys := sshKeys(t)
	for _, name := range []string{"short RSA", "ECDSA"} {
		var said bytes.Buffer
		code := run(t.Context(), []string{
			"controller", "--kubernetes=false", "--nodes=node-a", "--cluster-id=0123456789ab", "--rds-address=127.0.0.1:1", "--rds-user=admin",
			"--rds-transport=ssh", "--rds-ssh-host-key=SHA256:" + strings.Repeat("A", 43),
			"--rds-ssh-key-file=" + keyFile(t, t.TempDir(), "key", keys[name]),
		}, &said, &said)
		for _, want := range []string{"--rds-ssh-key-file", "Ed25519", "RSA of 2048 bits"} {
			if code != exitUsage || !strings.Contains(said.String(), want) {
				t.Errorf("%s: exit code %d and %q, want %q in it", name, code, said.String(), want)
			}
		}
	}
}

// On one SSH connection a command begins when the one before has ended, also on a box that would serve them
// side by side.
func TestSSHOneCommandAtATime(t *testing.T) {
	t.Parallel()
	const service = 20 * time.Millisecond
	var mu sync.Mutex
	last, sessions := map[uint64]time.Time{}, map[uint64]bool{}
	box := startSuchBox(t, t.TempDir(), sim.LoopbackHost()+":0", sim.Config{
		ServiceTime: service, Concurrency: 64, Switches: sim.Switches{ParallelChannels: true},
		Fault: func(c sim.Command) sim.Fault {
			if c.Name != "/disk/print" && c.Name != "/disk/add" {
				return sim.Fault{} // takes no time
			}
			mu.Lock()
			defer mu.Unlock()
			now := time.Now()
			if before, ok := last[c.Session]; ok && now.Sub(before) < service {
				t.Errorf("%s began %v after the command before it, which takes %v", c.Name, now.Sub(before), service)
			}
			last[c.Session], sessions[c.Session] = now, true
			return sim.Fault{}
		},
	})
	p := startProcess(t, sshFlags(box, "--rds-ssh-known-hosts="+knownHosts(t, box), "--command-timeout=5s")...)
	p.awaitQuiet(t)
	var creates sync.WaitGroup
	for n := range 30 {
		creates.Go(func() {
			if err := p.create(t.Context(), fmt.Sprintf("pvc-2f6c7a52-9d0e-4e0b-8f11-3c9d8e7f6a%02d", n)); err != nil {
				t.Error(err)
			}
		})
	}
	creates.Wait()
	mu.Lock()
	defer mu.Unlock()
	if len(sessions) < 2 {
		t.Errorf("%d connections were used", len(sessions))
	}
}

// A box that says nothing any more keeps nobody waiting: each request ends with the command's deadline,
// though it has none of its own, and the box is used again when it speaks again.
func TestABoxThatFallsSilent(t *testing.T) {
	overEach(t, func(t *testing.T, over string) {
		box := startBox(t, t.TempDir(), sim.LoopbackHost()+":0")
		p := startOver(t, box, over, "--nodes=node-a", "--cluster-id=0123456789ab", "--command-timeout=1s")
		p.awaitQuiet(t)
		if err := p.create(t.Context(), restartVolume); err != nil {
			t.Fatal(err)
		}
		box.FreezeSessions()
		for what, err := range map[string]error{
			"publish": p.publish(t.Context(), restartVolume, "node-a"),
			"create":  p.create(t.Context(), "pvc-2f6c7a52-9d0e-4e0b-8f11-3c9d8e7f6a02"),
		} {
			if status.Code(err) != codes.Unavailable && status.Code(err) != codes.Aborted {
				t.Errorf("%s on a box that is silent: %v", what, err)
			}
		}
		box.ThawSessions()
		if err := insist(t, func(ctx context.Context) error { return p.publish(ctx, restartVolume, "node-a") }); err != nil {
			t.Error(err)
		}
	})
}
