// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package console

import (
	"errors"
	"fmt"
	"regexp"
)

// maxWord is the longest value in bytes. NQNs have 223, ledgers of many readers the most.
const maxWord = 8192

// CheckWord reports an error unless s may stand in a script: up to 8192 letters, digits, '.', '_', ':',
// '/' and '-', none of which the console interprets. It holds the alphabet of the comments that the driver
// writes. Everything that a script is made of from outside passes here, an .id excepted.
func CheckWord(s string) error {
	if len(s) > maxWord {
		return fmt.Errorf("%d bytes are more than %d", len(s), maxWord)
	}
	for i := range len(s) {
		if !plain(s[i]) {
			return fmt.Errorf("byte %#02x is none of letters, digits, '.', '_', ':', '/' and '-'", s[i])
		}
	}
	return nil
}

func plain(b byte) bool {
	switch {
	case 'a' <= b && b <= 'z', 'A' <= b && b <= 'Z', '0' <= b && b <= '9':
		return true
	}
	switch b {
	case '.', '_', ':', '/', '-':
		return true
	}
	return false
}

var (
	idForm       = regexp.MustCompile(`^\*[0-9A-F]{1,16}$`)
	menuForm     = regexp.MustCompile(`^(/[a-z][a-z0-9-]{0,31}){1,8}$`)
	propertyForm = regexp.MustCompile(`^(\.id|[a-z][a-z0-9-]{0,63})$`)
)

func checkMenu(menu string) error {
	if !menuForm.MatchString(menu) {
		return fmt.Errorf("%.64q is no menu", menu)
	}
	return nil
}

// checkItem checks the menu and the .id of a statement about one row.
func checkItem(menu, id string) error {
	if !idForm.MatchString(id) {
		return fmt.Errorf("%.32q is no .id", id)
	}
	return checkMenu(menu)
}

func checkProperty(name string) error {
	if !propertyForm.MatchString(name) {
		return fmt.Errorf("%.64q is no property", name)
	}
	return nil
}

// quote returns a value as a script holds it. The error names the property and not the value, which may
// be a password.
func quote(property, value string) (string, error) {
	if err := checkProperty(property); err != nil {
		return "", err
	}
	if err := CheckWord(value); err != nil {
		return "", fmt.Errorf("%s: %w", property, err)
	}
	return `"` + value + `"`, nil
}

var errEmpty = errors.New("nothing to do")
