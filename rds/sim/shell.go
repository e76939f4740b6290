// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"bufio"
	"fmt"
	"io"
	"strings"

	"golang.org/x/crypto/ssh"
)

// output returns where scripts of the channel print.
func (c *sshChannel) output() *output {
	width := c.width
	if width == 0 {
		width = defaultWidth
	}
	return &output{to: c.ch, end: c.s.cancel, width: width, all: c.s.box.cfg.Switches.WrapPut}
}

// exec carries out a script and tells how it ended, as far as the box tells.
func (c *sshChannel) exec(src string) error {
	done, err := c.await()
	if err != nil {
		return err
	}
	defer done()
	out := c.output()
	_, failed, err := newCLI(c.s, out).run(src, "")
	if err != nil {
		return err
	}
	if !out.finish() {
		return errDropped
	}
	status := 0
	if failed {
		status = c.s.box.cfg.Switches.ExitStatus
	}
	return c.exit(status)
}

// exit tells the exit status.
func (c *sshChannel) exit(status int) error {
	_, err := c.ch.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{uint32(status)}))
	return err
}

// maxLine is the longest line that is typed, in bytes.
const maxLine = 64 << 10

// shell reads lines and carries them out until /quit or the end of the input. With a terminal it
// echoes what is typed.
func (c *sshChannel) shell() error {
	done, err := c.await()
	if err != nil {
		return err
	}
	defer done()
	out := c.output()
	con := newCLI(c.s, out)
	in := bufio.NewReader(c.ch)
	menu := ""
	for {
		if _, err := fmt.Fprintf(c.ch, "[%s@%s] %s> ", c.s.box.cfg.Username, c.s.box.cfg.Identity, strings.TrimPrefix(menu+" ", " ")); err != nil {
			return err
		}
		line, err := c.readLine(in)
		if err != nil {
			return err
		}
		switch strings.TrimSpace(line) {
		case "/quit", "quit":
			return c.exit(0)
		case "/", "..":
			menu = ""
			continue
		}
		if menu, _, err = con.run(line, menu); err != nil {
			return err
		}
		if !out.finish() {
			return errDropped
		}
	}
}

// readLine reads a line with the few keys that a terminal needs: backspace, ^C and ^D.
func (c *sshChannel) readLine(in *bufio.Reader) (string, error) {
	var line []byte
	for {
		b, err := in.ReadByte()
		if err != nil {
			return "", err
		}
		echo := string(b)
		switch {
		case b == '\n' && len(line) == 0 && c.pty:
			continue // of a \r\n
		case b == '\r', b == '\n', b == 3:
			if b == 3 {
				line = nil
			}
			return string(line), c.echo("\r\n")
		case b == 4 && len(line) == 0:
			return "", io.EOF
		case b == 0x7f, b == '\b':
			if len(line) == 0 {
				continue
			}
			line, echo = line[:len(line)-1], "\b \b"
		case b < ' ' && b != '\t':
			continue
		case len(line) >= maxLine:
			return "", fmt.Errorf("line of more than %d bytes", maxLine)
		default:
			line = append(line, b)
		}
		if err := c.echo(echo); err != nil {
			return "", err
		}
	}
}

// echo shows what was typed to a terminal.
func (c *sshChannel) echo(text string) error {
	if !c.pty {
		return nil
	}
	_, err := io.WriteString(c.ch, text)
	return err
}
