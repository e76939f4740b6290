// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package console

import "strings"

// minWidth is the narrowest console that is reckoned with: the mark of the first line must be whole.
const minWidth = 20

// unwrap finds the first line of a script's output and returns what comes after it, with the breaks taken
// out that the console made where a line was too wide for it. begun is false where the first line is not
// there. Text before it, as a login message, is dropped.
func unwrap(out, nonce string) (rest string, begun bool) {
	for from := 0; ; {
		i := strings.Index(out[from:], "@"+nonce+":begin:")
		if i < 0 {
			return "", false
		}
		if i += from; i == 0 || out[i-1] == '\n' || out[i-1] == '\r' {
			return measure(out[i:], ruler(nonce))
		}
		from = i + 1
	}
}

// measure tells from the first line how wide the console is.
func measure(out, first string) (rest string, begun bool) {
	line, rest, _ := cutLine(out)
	if line == first {
		return rest, true
	}
	width := len(line)
	if width < minWidth {
		return "", false
	}
	joined, size := line, width
	for size == width && len(joined) < len(first) {
		line, rest, _ = cutLine(rest)
		joined, size = joined+line, len(line)
	}
	if joined != first {
		return "", false
	}
	return join(rest, width), true
}

// join takes out the breaks after lines that are exactly so wide.
func join(out string, width int) string {
	var b strings.Builder
	for out != "" {
		line, rest, broken := cutLine(out)
		b.WriteString(line)
		if broken && len(line) != width {
			b.WriteString(out[len(line) : len(out)-len(rest)])
		}
		out = rest
	}
	return b.String()
}

// cutLine returns the first line without its break, what comes after it, and whether there was a break.
func cutLine(s string) (line, rest string, broken bool) {
	line, rest, broken = strings.Cut(s, "\n")
	if broken {
		line = strings.TrimSuffix(line, "\r")
	}
	return line, rest, broken
}
