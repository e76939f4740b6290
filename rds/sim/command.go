// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import "strings"

// A Command is a sentence that a client sent, taken apart.
type Command struct {
	// Name is the command's path, such as "/disk/set".
	Name string
	// Args are the attributes in the order in which they came, without the API's own.
	Args []Arg
	// Session counts the connections of a box from 1.
	Session uint64
	// Transport is "api", plain or over TLS, or "ssh"; "nvme" of what a host asks for.
	Transport string

	rights   policies // of the session
	tag      string
	tagged   bool
	queries  []string
	proplist []string // nil: all properties
}

// An Arg is an attribute of a command.
type Arg struct{ Name, Value string }

// Arg returns the value of an attribute, or "".
func (c Command) Arg(name string) string {
	value, _ := c.arg(name)
	return value
}

func (c Command) arg(name string) (value string, ok bool) {
	for _, a := range c.Args {
		if a.Name == name {
			return a.Value, true
		}
	}
	return "", false
}

// parseCommand takes a sentence apart. It returns as much of the command as it could read, so that
// the tag is known, with an error that refuses it.
func parseCommand(words []string) (Command, error) {
	c := Command{Name: words[0]}
	var err error
	for _, w := range words[1:] {
		switch {
		case strings.HasPrefix(w, ".tag="):
			c.tag, c.tagged = w[len(".tag="):], true
		case strings.HasPrefix(w, "?"):
			c.queries = append(c.queries, w[1:])
		case strings.HasPrefix(w, "=.proplist="):
			c.proplist = append([]string{}, splitList(w[len("=.proplist="):])...)
		case strings.HasPrefix(w, "=") && len(w) > 1:
			name, value, _ := strings.Cut(w[1:], "=")
			c.setArg(name, value)
		default:
			err = errParameter
		}
	}
	if !strings.HasPrefix(c.Name, "/") {
		err = errNoCommand
	}
	return c, err
}

// setArg appends an attribute. The last of several of one name counts.
func (c *Command) setArg(name, value string) {
	for i, a := range c.Args {
		if a.Name == name {
			c.Args[i].Value = value
			return
		}
	}
	c.Args = append(c.Args, Arg{name, value})
}

// take removes an attribute and returns its value.
func (c *Command) take(name string) (value string, ok bool) {
	for i, a := range c.Args {
		if a.Name == name {
			// The slice may be shared with whoever was shown the command.
			c.Args = append(append([]Arg{}, c.Args[:i]...), c.Args[i+1:]...)
			return a.Value, true
		}
	}
	return "", false
}

// splitList splits a list with commas in between; an empty string is an empty list.
func splitList(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, ",")
}
