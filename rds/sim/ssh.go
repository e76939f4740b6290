// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

// maxChannels is how many channels one SSH connection may have.
const maxChannels = 10

// transportSSH is the Transport of a command that came over SSH.
const transportSSH = "ssh"

// sshConfig returns what the connections of a boot have in common. The logins are each connection's.
func (b *boot) sshConfig() (*ssh.ServerConfig, error) {
	if _, err := b.cfg.authorized(); err != nil {
		return nil, err
	}
	conf := &ssh.ServerConfig{
		ServerVersion:           "SSH-2.0-ROSSSH",
		PublicKeyAuthAlgorithms: []string{ssh.KeyAlgoED25519, ssh.KeyAlgoRSASHA256, ssh.KeyAlgoRSASHA512},
	}
	conf.AddHostKey(b.hostKey)
	return conf, nil
}

// An sshSession is one SSH connection.
type sshSession struct {
	box    *boot
	raw    net.Conn
	number uint64
	log    *slog.Logger
	conf   ssh.ServerConfig
	rights policies      // of the account when it logged in
	width  int           // columns that the user name asks for; 0: none
	turn   chan struct{} // held by the channel that is served; one place

	ctx    context.Context // ends with the connection
	cancel context.CancelFunc
}

func newSSHSession(ctx context.Context, box *boot, conn net.Conn, conf *ssh.ServerConfig, number uint64) *sshSession {
	s := &sshSession{
		box: box, raw: conn, number: number, conf: *conf, turn: make(chan struct{}, 1),
		log: box.log.With("session", number, "peer", conn.RemoteAddr().String()),
	}
	s.ctx, s.cancel = context.WithCancel(ctx)
	keys, err := box.cfg.authorized()
	if len(keys) > 0 && err == nil {
		s.conf.PublicKeyCallback = func(meta ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
			return nil, s.login(meta, func(_ state, name string) bool {
				return same(name, box.cfg.Username) && keys[string(key.Marshal())] && usable(key)
			})
		}
	}
	if len(keys) == 0 || !box.cfg.Switches.KeysOnly {
		s.conf.PasswordCallback = func(meta ssh.ConnMetadata, password []byte) (*ssh.Permissions, error) {
			return nil, s.login(meta, func(st state, name string) bool { return st.authenticate(box.cfg, name, string(password)) })
		}
	}
	return s
}

// login carries out a login that check decides on. What follows a + in the user name are options of
// the console.
func (s *sshSession) login(meta ssh.ConnMetadata, check func(st state, name string) bool) error {
	const login = "/login"
	s.box.counts.add(login)
	name, options, _ := strings.Cut(meta.User(), "+")
	fault := s.box.fault(Command{Name: login, Session: s.number, Transport: transportSSH})
	err := fault.do(s.ctx, s.cancel, func() (err error) {
		s.rights, err = s.box.login(transportSSH, func(st state) bool { return check(st, name) })
		return err
	})
	if err != nil {
		s.log.Warn("SSH login failed")
		return err
	}
	s.width = consoleWidth(options)
	return nil
}

// consoleWidth reads the width of a terminal from the options of a user name, such as cet512w; 0:
// none is given.
func consoleWidth(options string) int {
	before, _, ok := strings.Cut(options, "w")
	if !ok {
		return 0
	}
	n, err := strconv.Atoi(before[strings.LastIndexFunc(before, func(r rune) bool { return r < '0' || r > '9' })+1:])
	if err != nil || n < 1 || n > 1<<16 {
		return 0
	}
	return n
}

// end ends the connection.
func (s *sshSession) end() { s.cancel() }

// run serves the connection until it ends.
func (s *sshSession) run(leave func()) {
	defer func() { _ = s.raw.Close() }()
	defer s.cancel()
	defer leave()
	defer context.AfterFunc(s.ctx, func() { _ = s.raw.Close() })()
	if err := s.raw.SetDeadline(time.Now().Add(loginTimeout)); err != nil {
		return
	}
	conn, channels, requests, err := ssh.NewServerConn(s.box.gate.through(s.raw, s.ctx.Done()), &s.conf)
	if err != nil {
		s.log.Debug("SSH session does not begin", "error", err)
		return
	}
	defer func() { _ = conn.Close() }()
	if err := s.raw.SetDeadline(time.Time{}); err != nil {
		return
	}
	s.log.Debug("SSH session begins")
	s.box.wg.Go(func() { ssh.DiscardRequests(requests) })
	places := make(chan struct{}, maxChannels)
	for nc := range channels {
		s.channel(nc, places)
	}
	s.log.Debug("SSH session ends")
}

// channel begins to serve a channel, if it is a session and there is a place.
func (s *sshSession) channel(nc ssh.NewChannel, places chan struct{}) {
	if nc.ChannelType() != "session" {
		_ = nc.Reject(ssh.UnknownChannelType, "unknown channel type") // fails only without a connection
		return
	}
	select {
	case places <- struct{}{}:
	default:
		_ = nc.Reject(ssh.ResourceShortage, "too many channels")
		return
	}
	ch, requests, err := nc.Accept()
	if err != nil {
		<-places
		return
	}
	// A script may outlive its connection, but not the boot.
	s.box.wg.Go(func() {
		defer func() { <-places }()
		c := &sshChannel{s: s, ch: ch, width: s.width}
		defer func() { _ = ch.Close() }()
		if err := c.serve(requests); err != nil && !errors.Is(err, errDropped) {
			s.log.Debug("SSH channel ends", "error", err)
		}
	})
}

// An sshChannel is one channel of a connection.
type sshChannel struct {
	s     *sshSession
	ch    ssh.Channel
	width int // of the terminal; 0: not known
	pty   bool
}

// defaultWidth is how wide the box takes a terminal to be that says nothing.
const defaultWidth = 80

// serve answers the requests of a channel until it has carried out a script, or a shell has ended.
func (c *sshChannel) serve(requests <-chan *ssh.Request) error {
	for r := range requests {
		switch r.Type {
		case "pty-req":
			c.pty = true
			if w := ptyWidth(r.Payload); c.width == 0 && w > 0 {
				c.width = w
			}
			answerRequest(r, true)
		case "env", "window-change":
			answerRequest(r, r.Type == "window-change")
		case "exec", "shell":
			var exec struct{ Script string }
			if r.Type == "exec" && ssh.Unmarshal(r.Payload, &exec) != nil {
				answerRequest(r, false)
				continue
			}
			answerRequest(r, true)
			c.s.box.wg.Go(func() { ssh.DiscardRequests(requests) })
			if r.Type == "shell" {
				return c.shell()
			}
			return c.exec(exec.Script)
		default:
			answerRequest(r, false)
		}
	}
	return nil
}

// answerRequest answers a request that wants it.
func answerRequest(r *ssh.Request, ok bool) {
	if r.WantReply {
		_ = r.Reply(ok, nil) // fails only without a connection
	}
}

// ptyWidth reads the columns of a pty-req.
func ptyWidth(payload []byte) int {
	var p struct {
		Term          string
		Width, Height uint32
		PixelWidth    uint32
		PixelHeight   uint32
		Modes         string
	}
	if ssh.Unmarshal(payload, &p) != nil || p.Width > 1<<16 {
		return 0
	}
	return int(p.Width)
}

// await waits for the channel's turn, and returns what ends it.
func (c *sshChannel) await() (func(), error) {
	if c.s.box.cfg.Switches.ParallelChannels {
		return func() {}, nil
	}
	select {
	case c.s.turn <- struct{}{}:
		return func() { <-c.s.turn }, nil
	case <-c.s.ctx.Done():
		return nil, c.s.ctx.Err()
	}
}
