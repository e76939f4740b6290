// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package console

import (
	"fmt"
	"strings"
)

// ParseAsValue reads what ":put [/disk print as-value]" prints: properties with semicolons in between, all
// rows in one line, each of which begins with its .id. The form cannot tell a semicolon in a value from
// one after it, so it is for values that have none; where that shows, it is refused. The error is as that
// of [ParsePrint].
func ParseAsValue(out string) ([]map[string]string, error) {
	if t := refusal(out); t != nil {
		return nil, t
	}
	if out != "" && !strings.HasSuffix(out, "\n") {
		return nil, ErrTruncated
	}
	var lines []string
	for _, line := range unbreak(out) {
		if line != "" {
			lines = append(lines, line)
		}
	}
	switch len(lines) {
	case 0:
		return nil, nil
	case 1:
	default:
		return nil, fmt.Errorf("values in %d lines: %w", len(lines), ErrMalformed)
	}
	var rows []map[string]string
	for _, part := range strings.Split(lines[0], ";") {
		name, value, found := strings.Cut(part, "=")
		if !found || !printedForm.MatchString(name) {
			return nil, fmt.Errorf("%.60q is no property: %w", part, ErrMalformed)
		}
		if name == ".id" {
			rows = append(rows, map[string]string{})
		}
		if len(rows) == 0 {
			return nil, fmt.Errorf("the first property is %s, not .id: %w", name, ErrMalformed)
		}
		row := rows[len(rows)-1]
		if _, twice := row[name]; twice {
			return nil, fmt.Errorf("%s comes twice in a row: %w", name, ErrMalformed)
		}
		row[name] = value
	}
	return rows, nil
}
