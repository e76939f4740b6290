// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"maps"
	"slices"
	"testing"
)

func TestLogin(t *testing.T) {
	s := start(t, Config{})
	c := dial(t, s)
	for _, words := range [][]string{
		{"/login", "=name=admin", "=password=wrong"},
		{"/login", "=name=root", "=password=" + testPassword},
		{"/login", "=name=admin"},
		{"/login"},
	} {
		c.send(words...)
		c.want("!trap", "=message=invalid user name or password (6)")
		c.want("!done")
	}
	c.send("/login", "=name=admin", "=password="+testPassword, ".tag=x")
	c.want("!done", ".tag=x")
	c.must("/system/identity/print")
}

func TestCommandBeforeLogin(t *testing.T) {
	s := start(t, Config{})
	c := dial(t, s)
	c.send("/disk/print")
	c.want("!fatal", "not logged in")
	c.wantClosed()
}

func TestTLS(t *testing.T) {
	c := dialTLS(t, start(t, Config{Identity: "box-7"}))
	rows, _ := c.must("/system/identity/print")
	if want := []row{{"name": "box-7"}}; !slices.EqualFunc(rows, want, maps.Equal) {
		t.Errorf("rows are %v, want %v", rows, want)
	}
}
