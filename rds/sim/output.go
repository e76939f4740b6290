// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"bytes"
	"io"
	"strings"
	"time"
)

// An output is what the scripts of a channel print, with the box's ends of lines. When nobody is left
// to read, it goes on taking what comes.
type output struct {
	to    io.Writer // the channel
	end   func()    // ends the connection
	width int       // of the terminal; 0: it wraps nothing
	all   bool      // lines that are not print's are wrapped, too
	cut   bool      // the end of what is printed gets lost, and the connection with it

	buf  bytes.Buffer
	gone bool
}

// Write takes text whose lines end with \n.
func (o *output) Write(p []byte) (int, error) {
	text := string(p)
	if o.all && o.width > 0 {
		var b strings.Builder
		for line := range strings.Lines(text) {
			whole := strings.TrimSuffix(line, "\n")
			wrapped := wrap(whole, o.width, 0, true)
			b.WriteString(strings.TrimSuffix(wrapped, "\n") + line[len(whole):])
		}
		text = b.String()
	}
	o.buf.WriteString(strings.ReplaceAll(text, "\n", "\r\n")) // a Buffer does not fail
	if o.buf.Len() >= batchSize {
		o.flush()
	}
	return len(p), nil
}

// flush writes what was printed. A peer that does not read loses the connection.
func (o *output) flush() {
	if o.gone || o.cut {
		o.buf.Truncate(min(o.buf.Len(), batchSize))
		return
	}
	o.send(o.buf.Bytes())
	o.buf.Reset()
}

func (o *output) send(b []byte) {
	if len(b) == 0 {
		return
	}
	watch := time.AfterFunc(writeTimeout, o.end)
	defer watch.Stop()
	if _, err := o.to.Write(b); err != nil {
		o.gone = true
	}
}

// finish writes the rest, or as much of it as a fault lets through. It reports whether the peer got
// it all.
func (o *output) finish() bool {
	if o.cut && !o.gone {
		o.send(o.buf.Bytes()[:o.buf.Len()/2])
		o.end()
		return false
	}
	o.flush()
	return !o.gone
}
