// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package rds

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/rds-csi/rds-csi/rds/routeros"
	language "github.com/rds-csi/rds-csi/rds/sim/script"
)

// The transports, as subtests are called.
const (
	wireAPI = "API"
	wireTLS = "TLS"
	wireSSH = "SSH"
)

var transports = []string{wireAPI, wireTLS, wireSSH}

// overFakes runs a test over each transport, with a fake box of its own in a synctest bubble of its own.
func overFakes(t *testing.T, test func(*testing.T, *fakeBox)) {
	t.Helper()
	for _, over := range transports {
		t.Run(over, func(t *testing.T) { inBubble(t, over, test) })
	}
}

// overAPIs is overFakes for what is the API's own, plain and with TLS.
func overAPIs(t *testing.T, test func(*testing.T, *fakeBox)) {
	t.Helper()
	for _, over := range []string{wireAPI, wireTLS} {
		t.Run(over, func(t *testing.T) { inBubble(t, over, test) })
	}
}

// overScripts is overFakes for what is SSH's own.
func overScripts(t *testing.T, test func(*testing.T, *fakeBox)) {
	t.Helper()
	inBubble(t, wireSSH, test)
}

func inBubble(t *testing.T, over string, test func(*testing.T, *fakeBox)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(t, newFakeBox(t, over)) })
}

// A face is how a fake box is spoken to.
type face struct {
	settings func(*Config)                   // of who speaks to it
	serve    func(f *fakeBox, conn net.Conn) // until the connection ends
}

func newFace(t *testing.T, over string) face {
	t.Helper()
	key := newKey(t)
	switch over {
	case wireAPI:
		return face{func(*Config) {}, (*fakeBox).serveAPI}
	case wireTLS:
		certificate, roots := selfSigned(t)
		return face{
			func(cfg *Config) { cfg.TLS = &tls.Config{ServerName: "rds", RootCAs: roots} },
			func(f *fakeBox, conn net.Conn) {
				f.serveAPI(tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS13}))
			},
		}
	case wireSSH:
		return face{
			func(cfg *Config) { cfg.Transport, cfg.SSH.HostKey = SSH, ssh.FingerprintSHA256(key.PublicKey()) },
			func(f *fakeBox, conn net.Conn) { f.serveSSH(conn, key) },
		}
	}
	t.Fatalf("no transport %q", over)
	return face{}
}

// selfSigned returns a certificate for the name "rds", which is valid by the clock of the bubble.
func selfSigned(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"rds"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		BasicConstraintsValid: true, IsCA: true,
	}
	der, err := x509.CreateCertificate(nil, template, template, public, private)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(parsed)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private}, roots
}

// dial opens a connection, in memory.
func (f *fakeBox) dial(context.Context, string, string) (net.Conn, error) {
	ours, near := net.Pipe()
	far, theirs := net.Pipe()
	f.change(func() {
		f.conns[ours] = true
		f.accepted = append(f.accepted, ours)
	})
	f.serving.Go(func() { pump(far, near) })
	f.serving.Go(func() { pump(near, far) })
	f.serving.Go(func() {
		defer func() { _ = ours.Close() }()
		f.face.serve(f, ours)
	})
	return theirs, nil
}

// pump carries bytes from one pipe to another until either ends. It takes them before the other side
// reads, as a network does: SSH begins with a write of both sides.
func pump(to, from net.Conn) {
	under := make(chan []byte, 4096)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer func() { _ = to.Close() }()
		for b := range under {
			if _, err := to.Write(b); err != nil {
				_ = from.Close()
				break
			}
		}
		for range under { // of whoever reads, until it has noticed
		}
	}()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			under <- slices.Clone(buf[:n])
		}
		if err != nil {
			break
		}
	}
	close(under)
	<-ended
}

// serveAPI answers the sentences of a connection.
func (f *fakeBox) serveAPI(conn net.Conn) {
	r := routeros.NewReader(conn)
	for {
		words, err := r.ReadSentence()
		if err != nil {
			return
		}
		cmd, tag := words[:len(words)-1], words[len(words)-1]
		rows, reply := f.answer(cmd)
		if slices.Equal(reply, drop) {
			return
		}
		if reply == nil {
			continue
		}
		var out []byte
		for _, d := range rows {
			out = routeros.AppendSentence(out, append([]string{"!re", tag}, d.row()...)...)
		}
		out = routeros.AppendSentence(out, append(reply, tag)...)
		if _, err := conn.Write(out); err != nil {
			return
		}
	}
}

// serveSSH carries out the scripts of a connection.
func (f *fakeBox) serveSSH(conn net.Conn, key ssh.Signer) {
	cfg := &ssh.ServerConfig{PasswordCallback: func(meta ssh.ConnMetadata, password []byte) (*ssh.Permissions, error) {
		_, reply := f.answer([]string{"/login", "=name=" + meta.User(), "=password=" + string(password)})
		if !slices.Equal(reply, done) {
			return nil, errors.New("refused")
		}
		return nil, nil
	}}
	cfg.AddHostKey(key)
	peer, channels, requests, err := ssh.NewServerConn(conn, cfg)
	if err != nil {
		return
	}
	f.serving.Go(func() { ssh.DiscardRequests(requests) })
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for nc := range channels {
		ch, requests, err := nc.Accept()
		if err != nil {
			break
		}
		f.serving.Go(func() { f.serveExec(ctx, peer, ch, requests) })
	}
}

// serveExec carries out the script of a channel. Where a command of it is to have no answer, it waits for
// the end of the connection.
func (f *fakeBox) serveExec(ctx context.Context, peer ssh.Conn, ch ssh.Channel, requests <-chan *ssh.Request) {
	defer func() { _ = ch.Close() }()
	var exec struct{ Script string }
	r, ok := <-requests
	if !ok || r.Type != "exec" || ssh.Unmarshal(r.Payload, &exec) != nil || r.Reply(true, nil) != nil {
		return
	}
	s, err := language.Parse(exec.Script, "", fakeCommands)
	if err == nil {
		err = language.NewConsole(fakeConsole{f}).Run(ctx, s, ch)
	}
	var refusal *language.Failure
	var syntax *language.SyntaxError
	switch {
	case errors.As(err, &refusal), errors.As(err, &syntax):
		_, _ = io.WriteString(ch, err.Error()+"\n")
	case errors.Is(err, errSilent):
		<-ctx.Done()
		return
	case err != nil:
		_ = peer.Close()
		return
	}
	_, _ = ch.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{0}))
}

var (
	errSilent  = errors.New("no answer")
	errDropped = errors.New("connection dropped")
)

// fakeCommands are what scripts may say to a fake box.
var fakeCommands = func() language.Commands {
	values := []string{
		"numbers", "type", "slot", "comment", "file-path", "file-size", "mount-filesystem", "nvme-tcp-export",
		"nvme-tcp-server-port", "nvme-tcp-server-nqn", "nvme-tcp-server-allow-host-name",
	}
	return language.Commands{
		"/system/resource/get": {Params: []string{"value-name"}},
		"/disk/print":          {Flags: []string{"detail", "as-value"}, Where: true},
		"/disk/find":           {Where: true, Implicit: true},
		"/disk/get":            {Params: []string{"numbers", "value-name"}, Unnamed: []string{"numbers", "value-name"}},
		"/disk/add":            {Params: values},
		"/disk/set":            {Params: values, Unnamed: []string{"numbers"}},
		"/disk/remove":         {Params: []string{"numbers"}, Unnamed: []string{"numbers"}},
		"/file/remove":         {Params: []string{"numbers"}},
	}
}()

// A fakeConsole is a fake box as scripts see it.
type fakeConsole struct{ f *fakeBox }

// Run implements the Box of package script.
func (c fakeConsole) Run(_ context.Context, call language.Call) (language.Value, error) {
	switch call.Path {
	case "/disk/find":
		return c.list(c.f.rows(), call.Filter, func(r language.Row) language.Value { return r.Get(".id") })
	case "/disk/get":
		return c.get(call)
	case "/system/resource/get":
		call = language.Call{Path: "/system/resource/print"}
	}
	cmd := []string{call.Path}
	for _, a := range call.Args {
		name := a.Name
		if name == "numbers" && strings.HasPrefix(call.Path, "/disk/") {
			name = ".id"
		}
		cmd = append(cmd, "="+name+"="+a.Value.String())
	}
	rows, reply := c.f.answer(cmd)
	switch {
	case reply == nil:
		return nil, errSilent
	case slices.Equal(reply, drop):
		return nil, errDropped
	case reply[0] == "!done" && call.Path == "/disk/print":
		return c.list(rows, call.Filter, func(r language.Row) language.Value { return r })
	case reply[0] == "!done" && len(rows) == 1:
		return language.Text(rows[0]["uptime"]), nil
	case reply[0] == "!done":
		return language.Text(routeros.Row(reply[1:]).Get("ret")), nil
	}
	return nil, &language.Failure{Message: routeros.Row(reply[1:]).Get("message")}
}

// list returns of each row that passes the filter what pick takes from it.
func (c fakeConsole) list(rows []attrs, filter func(language.Row) (bool, error), pick func(language.Row) language.Value) (language.Value, error) {
	found := language.List{}
	for _, d := range rows {
		row := d.typed()
		if ok, err := filter(row); err != nil {
			return nil, err
		} else if ok {
			found = append(found, pick(row))
		}
	}
	return found, nil
}

func (c fakeConsole) get(call language.Call) (language.Value, error) {
	for _, d := range c.f.rows() {
		if d[".id"] == call.Arg("numbers").String() {
			return d.typed().Get(call.Arg("value-name").String()), nil
		}
	}
	return nil, &language.Failure{Message: "no such item"}
}

// rows returns all rows as they are now.
func (f *fakeBox) rows() (rows []attrs) {
	f.do([]string{"/disk/print"}, &rows)
	return rows
}

// typed returns a row with the console's types.
func (a attrs) typed() language.Row {
	var row language.Row
	for _, w := range a.row() {
		name, value, _ := strings.Cut(w[1:], "=")
		field := language.Field{Name: name, Value: language.Text(value)}
		if n, err := strconv.ParseInt(value, 10, 64); err == nil && strings.HasSuffix(name, "size") {
			field.Value = language.Number(n)
		}
		if value == "true" || value == "false" {
			field.Value = language.Bool(value == "true")
		}
		row = append(row, field)
	}
	return row
}
