// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/rds-csi/rds-csi/rds"
	"github.com/rds-csi/rds-csi/rds/console"
)

// shell opens a connection over SSH of its own, or says why there is none.
func (b *bench) shell(ctx context.Context) (*console.Client, error) {
	cfg := b.settings(rds.SSH)
	if cfg == nil {
		return nil, &moot{"SSH is not what the flags configure"}
	}
	return rds.DialSSH(ctx, *cfg)
}

// askStatus runs scripts that fail.
func askStatus(ctx context.Context, b *bench) error {
	c, err := b.shell(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	caught, err := c.Exec(ctx, `:onerror e in={:error "doctor"} do={:put "caught $e"}`)
	if err != nil {
		return err
	}
	b.tell(":onerror gives %q", strings.TrimSpace(caught.Text))
	failed, err := c.Exec(ctx, `:error "doctor"`)
	if err != nil {
		return err
	}
	unread, err := c.Exec(ctx, `/no-such-command-of-doctor`)
	if err != nil {
		return err
	}
	b.refused(`:error "doctor"`, strings.TrimSpace(failed.Text))
	b.refused(`/no-such-command-of-doctor`, strings.TrimSpace(unread.Text))
	if !failed.Exited {
		b.tell("a script that failed ends without an exit status")
		return nil
	}
	b.settle("ExitStatus", strconv.Itoa(failed.Status), ":error gives %d and %q; a command that there is not gives %d and %q",
		failed.Status, strings.TrimSpace(failed.Text), unread.Status, strings.TrimSpace(unread.Text))
	return nil
}

// longLine is how many bytes are printed where the console may break lines.
const longLine = 300

// askWrap prints a long line, and a row that does not fit into one.
func askWrap(ctx context.Context, b *bench) error {
	c, err := b.shell(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	put, err := c.Exec(ctx, `:put "`+strings.Repeat("=", longLine)+`"`)
	if err != nil {
		return err
	}
	pieces := outputLines(put.Text)
	b.settleBool("WrapPut", len(pieces) > 1, fmt.Sprintf("a line of %d bytes comes in %d pieces, the first of %d", longLine, len(pieces), longest(pieces)),
		fmt.Sprintf("a line of %d bytes comes whole", longLine))
	d, err := b.add(ctx, spec{})
	if err != nil {
		return err
	}
	row, err := c.Exec(ctx, `/disk print detail where slot="`+d.spec.slot+`"`)
	if err != nil {
		return err
	}
	lines := rowLines(row.Text)
	width, short := longest(lines), 0
	for _, l := range lines[:max(0, len(lines)-1)] {
		if len(l) < width {
			short++
		}
	}
	if len(lines) < 3 {
		return fmt.Errorf("a row is printed in %d lines, which are not broken: %q", len(lines), row.Text)
	}
	seen := fmt.Sprintf("a row is printed in lines of up to %d bytes, %d of the %d that go on are shorter", width, short, len(lines)-1)
	b.settleBool("HardWrap", short == 0, seen, seen)
	return nil
}

// rowLines returns the lines of a row's properties, of which each but the last goes on in the next: what
// stands behind the legend, which has no indent, and behind the comment.
func rowLines(text string) (lines []string) {
	for _, l := range outputLines(text) {
		switch {
		case strings.Contains(l, ";;;"), !strings.HasPrefix(l, " "):
			lines = nil
		default:
			lines = append(lines, l)
		}
	}
	return lines
}

// outputLines returns the lines of an output, without empty ones at its end.
func outputLines(text string) []string {
	return strings.Split(strings.TrimRight(strings.ReplaceAll(text, "\r\n", "\n"), "\n"), "\n")
}

func longest(lines []string) (n int) {
	for _, l := range lines {
		n = max(n, len(l))
	}
	return n
}

// channelTime is how long each of two scripts takes.
const channelTime = 1500 * time.Millisecond

// askChannels runs two scripts on one connection at the same time.
func askChannels(ctx context.Context, b *bench) error {
	c, err := b.shell(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	line := fmt.Sprintf(":delay %dms;:put done", channelTime.Milliseconds())
	begin := time.Now()
	if _, err := c.ExecTogether(ctx, line, line); err != nil {
		return fmt.Errorf("two channels at the same time: %w", err)
	}
	took := time.Since(begin)
	// One behind the other takes at least twice the time.
	seen := fmt.Sprintf("two scripts that wait %v each took %v on two channels", channelTime, round(took))
	b.settleBool("ParallelChannels", took < 2*channelTime, seen, seen)
	return nil
}

// askEnd ends the connection of a script between two of its commands.
func askEnd(ctx context.Context, b *bench) error {
	c, err := b.shell(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	d, err := b.add(ctx, spec{comment: "/"})
	if err != nil {
		return err
	}
	mark := markOf(b.run)
	pausing := b.Patience
	script := fmt.Sprintf(`/disk set %s comment="%s/first";:delay %dms;:if ([:tostr [/disk get %s value-name=comment]]="%s/first") do={/disk set %s comment="%s/second"}`,
		d.id, mark, pausing.Milliseconds(), d.id, mark, d.id, mark)
	ended := make(chan error, 1)
	go func() {
		_, err := c.Exec(ctx, script)
		ended <- err
	}()
	err = b.shows(ctx, d, mark+"/first", b.Startup)
	c.Close()
	if whole := <-ended; whole == nil && err == nil {
		return errors.New("the script had ended before its connection did")
	}
	if err != nil {
		return err
	}
	err = b.shows(ctx, d, mark+"/second", pausing+b.Patience)
	switch {
	case err == nil:
		b.settle("EndScripts", "false", "a script whose connection ended in its middle went on to its end")
	case ctx.Err() != nil || refusal(err) != nil:
		return err
	default:
		b.settle("EndScripts", "true", "of a script whose connection ended in its middle, nothing more was seen within %v", pausing+b.Patience)
	}
	return nil
}

// shows waits until the comment of a disk is as wanted.
func (b *bench) shows(ctx context.Context, d disk, comment string, within time.Duration) error {
	limit := time.Now().Add(within)
	for {
		r, err := b.row(ctx, d)
		switch {
		case err != nil:
			return err
		case r.Get("comment") == comment:
			return nil
		case time.Now().After(limit):
			return fmt.Errorf("the comment did not become %q within %v", comment, within)
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
}

// askLogin tries the password of an account that has a key.
func askLogin(ctx context.Context, b *bench) error {
	cfg := b.settings(rds.SSH)
	if cfg == nil {
		return &moot{"SSH is not what the flags configure"}
	}
	alone := *cfg
	alone.SSH.Signer, alone.ReadKey = nil, nil
	if cfg.SSH.Signer == nil && cfg.ReadKey == nil || alone.Password == "" && alone.ReadPassword == nil {
		return &moot{"it takes both a key and a password"}
	}
	withKey, err := b.shell(ctx)
	if err != nil {
		return err
	}
	withKey.Close()
	c, err := rds.DialSSH(ctx, alone)
	if err == nil {
		c.Close()
		b.settle("KeysOnly", "false", "the password alone lets the account in, too")
		return nil
	}
	_, seen := rds.Advice(err)
	b.settle("KeysOnly", "true", "the password alone is refused: %v", seen)
	return nil
}
