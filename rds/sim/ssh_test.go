// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// A terminal is one SSH connection of a test.
type terminal struct {
	t    *testing.T
	conn *ssh.Client
}

// dialSSH connects as a user and returns what became of the login.
func dialSSH(t *testing.T, s *Sim, user string, auth ...ssh.AuthMethod) (*terminal, error) {
	t.Helper()
	raw, err := new(net.Dialer).DialContext(t.Context(), "tcp", s.SSHAddr())
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.SetDeadline(time.Now().Add(hang)); err != nil {
		t.Fatal(err)
	}
	conn, channels, requests, err := ssh.NewClientConn(raw, s.SSHAddr(), &ssh.ClientConfig{
		User: user, Auth: auth, HostKeyCallback: ssh.FixedHostKey(s.HostKey()),
	})
	if err != nil {
		_ = raw.Close()
		return nil, err
	}
	c := ssh.NewClient(conn, channels, requests)
	t.Cleanup(func() { _ = c.Close() })
	return &terminal{t: t, conn: c}, nil
}

// loginSSH connects with the password.
func loginSSH(t *testing.T, s *Sim) *terminal {
	t.Helper()
	c, err := dialSSH(t, s, "admin", ssh.Password(testPassword))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// exec carries out a script and returns what it printed, as it came, and how it ended.
func (c *terminal) exec(src string) (string, error) {
	c.t.Helper()
	session, err := c.conn.NewSession()
	if err != nil {
		return "", err
	}
	defer func() { _ = session.Close() }()
	var out bytes.Buffer
	session.Stdout = &out
	var stderr bytes.Buffer
	session.Stderr = &stderr
	err = session.Run(src)
	if stderr.Len() > 0 {
		c.t.Errorf("%q prints %q on the standard error", src, &stderr)
	}
	return out.String(), err
}

// prints carries out a script and checks what it prints, without the carriage returns.
func (c *terminal) prints(want, src string) {
	c.t.Helper()
	got, err := c.exec(src)
	if err != nil {
		c.t.Fatalf("%q: %v", src, err)
	}
	if strings.Count(got, "\n") != strings.Count(got, "\r\n") {
		c.t.Errorf("%q prints %q, with ends of lines that are not CRLF", src, got)
	}
	if got = strings.ReplaceAll(got, "\r", ""); got != want {
		c.t.Errorf("%q prints\n%s\nwant\n%s", src, got, want)
	}
}

// TestSSHLogin holds who is let in.
func TestSSHLogin(t *testing.T) {
	key := func(key any, err error) ssh.Signer {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		s, err := ssh.NewSignerFromKey(key)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	_, private, err := ed25519.GenerateKey(rand.Reader)
	ed := key(private, err)
	long := key(rsa.GenerateKey(rand.Reader, 2048))
	ec := key(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	var keys []byte
	for _, k := range []ssh.Signer{ed, long, ec} {
		keys = append(keys, ssh.MarshalAuthorizedKey(k.PublicKey())...)
	}
	_, private, err = ed25519.GenerateKey(rand.Reader)
	other := key(private, err)
	password, wrong := ssh.Password(testPassword), ssh.Password("wrong")
	for _, tt := range []struct {
		name string
		sw   Switches
		user string
		auth ssh.AuthMethod
		ok   bool
	}{
		{"password", Switches{}, "admin", password, true},
		{"options in the name", Switches{}, "admin+cet512w", password, true},
		{"wrong password", Switches{}, "admin", wrong, false},
		{"wrong user", Switches{}, "root", password, false},
		{"wrong user with a key", Switches{}, "root", ssh.PublicKeys(ed), false},
		{"Ed25519", Switches{}, "admin", ssh.PublicKeys(ed), true},
		{"RSA", Switches{}, "admin", ssh.PublicKeys(long), true},
		{"ECDSA", Switches{}, "admin", ssh.PublicKeys(ec), false},
		{"unknown key", Switches{}, "admin", ssh.PublicKeys(other), false},
		{"password beside keys", Switches{KeysOnly: true}, "admin", password, false},
		{"key without passwords", Switches{KeysOnly: true}, "admin", ssh.PublicKeys(ed), true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := start(t, Config{AuthorizedKeys: keys, Switches: tt.sw})
			c, err := dialSSH(t, s, tt.user, tt.auth)
			if (err == nil) != tt.ok {
				t.Fatalf("login: %v, want success %v", err, tt.ok)
			}
			if tt.ok {
				c.prints("x\n", `:put "x"`)
			}
		})
	}
}

// TestSSHUsableKeys holds the keys that RouterOS takes.
func TestSSHUsableKeys(t *testing.T) {
	short := "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQC5cmFuZG9tLWJ5dGVzLWZvci1hLXRlc3Qta2V5LW9mLTEwMjQtYml0cy1hcmUtZmluZS1oZXJlLWFzLW5vYm9keS1zaWducy13aXRoLWl0LWV2ZXItYW5kLXRoZS1sZW5ndGgtaXMtYWxsLXRoYXQtY291bnRzLWZvci10aGlzLWNoZWNrLTEyMzQ1Njc4OQ=="
	k, _, _, _, err := ssh.ParseAuthorizedKey([]byte(short))
	if err == nil && usable(k) {
		t.Error("an RSA key of about 1000 bits is taken")
	}
	if _, err := (Config{AuthorizedKeys: []byte("nonsense")}).authorized(); err == nil {
		t.Error("nonsense is taken for keys")
	}
}

// TestHostKeyStays shows that the host key is the directory's.
func TestHostKeyStays(t *testing.T) {
	dir := t.TempDir()
	s := start(t, Config{Dir: dir})
	first := s.HostKey().Marshal()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if second := start(t, Config{Dir: dir}).HostKey().Marshal(); !bytes.Equal(first, second) {
		t.Error("the host key changed")
	}
}

// TestExec holds what an operator's commands print without a terminal.
func TestExec(t *testing.T) {
	s := start(t, Config{Capacity: 1 << 44})
	c := loginSSH(t, s)
	c.prints("", `/disk add type=file slot="vm-1" file-path=/raid10/vm-1.img file-size=1T mount-filesystem=no nvme-tcp-export=no comment="two words"`)
	c.prints(`Flags: B - BLOCK-DEVICE
 0 B  ;;; two words
      type=file slot="vm-1" slot-default="" parent="" fs=-
      model="/raid10/vm-1.img" size=1 099 511 627 776 mount-filesystem=no
      sector-size=512 raid-master=none nvme-tcp-export=no mount-read-only=no
      compress=no iscsi-export=no nfs-sharing=no smb-sharing=no media-sharing=no
      swap=no file-path=/raid10/vm-1.img file-size=1024.0GiB file-offset=0
`, "/disk print detail where slot=vm-1")
	c.prints("Flags: B - BLOCK-DEVICE; M - MOUNTED; t - NVME-TCP-EXPORT\n", "/disk/print detail where slot=none")
	c.prints("no such item\n", "/disk set nope comment=x")
	c.prints("bad command name frob (line 1 column 7)\n", `/disk frob`)
	c.prints("expected end of command (line 1 column 16)\n", `/disk set vm-1 colour=red`)
	c.prints("failure: already have such slot\n", `/disk add type=file slot=vm-1 file-path=/raid10/b file-size=1G`)
	c.prints("missing value(s) of argument(s) type\n", `/disk add slot=x`)
	c.prints("1\ntrue\n1099511627776\n", `:put [:len [/disk find where slot="vm-1"]];:put ([/disk get vm-1 nvme-tcp-export]=false);:put [/disk get [find where slot=vm-1] size]`)
	c.prints(".id=*2;slot=vm-1;size=1099511627776\n", `:put [/disk print as-value where comment~"^two" proplist=slot,size]`)
	c.prints("  name: rds-sim\n", "/system identity print")
	c.prints("", `/disk print as-value`)
	c.prints("2\n", `/disk print count-only`)
	c.prints("", `/disk set [find where slot=none] comment=x`)
	c.prints("", `/disk print count-only where slot=none; /disk set 1 comment=numbered`[38:])
	if got := s.Disks()[0].Comment; got != "numbered" {
		t.Errorf("comment is %q", got)
	}
	c.prints("no such item\n", `/file remove "/raid10/vm-1.img"`)
	c.prints("", `/disk remove [find where slot=vm-1];/file remove numbers="raid10/vm-1.img"`)
	if len(s.Disks()) != 0 || len(s.Files()) != 0 {
		t.Errorf("disks %v and files %v are left", s.Disks(), s.Files())
	}
	if got := s.Commands(); got["/disk/set"] != 2 || got["/login"] != 1 {
		t.Errorf("commands were %v", got)
	}
}

// TestExitStatus shows that a failure is told on the standard output alone, unless a switch says
// otherwise.
func TestExitStatus(t *testing.T) {
	for _, status := range []int{0, 1} {
		c := loginSSH(t, start(t, Config{Switches: Switches{ExitStatus: status}}))
		for _, src := range []string{"/disk remove none", "/nope", `:error "x"`} {
			_, err := c.exec(src)
			var exit *ssh.ExitError
			if got := errors.As(err, &exit) && exit.ExitStatus() == 1; got != (status == 1) || !got && err != nil {
				t.Errorf("%q with exit status %d: %v", src, status, err)
			}
		}
		if _, err := c.exec(`:put "x"`); err != nil {
			t.Error(err)
		}
	}
}

// TestShell types at a prompt.
func TestShell(t *testing.T) {
	s := start(t, Config{})
	c := loginSSH(t, s)
	session, err := c.conn.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	if err := session.RequestPty("xterm", 24, 200, nil); err != nil {
		t.Fatal(err)
	}
	in, err := session.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	session.Stdout = &out
	if err := session.Shell(); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"/disk\r", "print count-onlyx\b\r", "/\r", ":error oops\r", "/quit\r"} {
		if _, err := io.WriteString(in, line); err != nil {
			t.Fatal(err)
		}
	}
	if err := session.Wait(); err != nil {
		t.Fatal(err)
	}
	want := "[admin@rds-sim] > /disk\r\n[admin@rds-sim] /disk > print count-onlyx\b \b\r\n1\r\n[admin@rds-sim] /disk > /\r\n" +
		"[admin@rds-sim] > :error oops\r\noops\r\n[admin@rds-sim] > /quit\r\n"
	if out.String() != want {
		t.Errorf("terminal shows %q, want %q", &out, want)
	}
}

// TestSharedSessions shows that the API and SSH count together.
func TestSharedSessions(t *testing.T) {
	s := start(t, Config{MaxSessions: 2})
	api, term := login(t, s), loginSSH(t, s)
	if _, err := dialSSH(t, s, "admin", ssh.Password(testPassword)); err == nil {
		t.Error("a third session is let in")
	}
	dial(t, s).wantClosed()
	api.send("/quit")
	api.want("!fatal", "session terminated on request")
	api.wantClosed()
	loginSSH(t, s).prints("x\n", ":put x")
	term.prints("x\n", ":put x")
	if err := s.Reboot(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := term.exec(":put x"); err == nil {
		t.Error("a session outlives a reboot")
	}
	loginSSH(t, s).prints("x\n", ":put x")
}

// TestChannels shows that the channels of a connection wait for each other, unless a switch lets
// them go.
func TestChannels(t *testing.T) {
	for _, parallel := range []bool{false, true} {
		hold, held := make(chan struct{}), make(chan struct{})
		s := start(t, Config{Switches: Switches{ParallelChannels: parallel}, Fault: func(c Command) Fault {
			if c.Name != "/system/identity/print" {
				return Fault{}
			}
			close(held)
			return Fault{Hold: hold}
		}})
		c := loginSSH(t, s)
		first := make(chan error, 1)
		go func() {
			_, err := c.exec("/system identity print")
			first <- err
		}()
		<-held
		second, err := c.conn.NewSession()
		if err != nil {
			t.Fatal(err)
		}
		if err := second.Start("/disk print count-only"); err != nil {
			t.Fatal(err)
		}
		if parallel {
			if err := second.Wait(); err != nil {
				t.Error(err)
			}
		} else {
			for range 10 { // what could overtake has time to
				loginSSH(t, s).prints("x\n", ":put x")
			}
			if n := s.Commands()["/disk/print"]; n > 0 {
				t.Error("the second channel overtook the first")
			}
		}
		close(hold)
		if err := <-first; err != nil {
			t.Error(err)
		}
		if !parallel {
			if err := second.Wait(); err != nil {
				t.Error(err)
			}
		}
	}
}
