// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package script

import (
	"fmt"
	"slices"
	"strings"
)

// Limits of a script.
const (
	maxSource = 256 << 10 // bytes
	maxDepth  = 100       // blocks, brackets and parentheses in one another
)

// A Script is one that was parsed.
type Script struct {
	body *block
	menu string
}

// Menu returns the menu that the script's last line leaves the console in: "" is the root.
func (s *Script) Menu() string { return s.menu }

// Parse reads a script that begins in a menu, such as "/disk"; "" is the root. The error is a
// *SyntaxError.
func Parse(src, menu string, commands Commands) (*Script, error) {
	p := &parser{src: src, commands: commands, menu: menu}
	if len(src) > maxSource {
		return nil, p.errorAt(0, fmt.Sprintf("script is longer than %d bytes", maxSource))
	}
	b, err := p.statements(0)
	if err != nil {
		return nil, err
	}
	return &Script{body: b, menu: p.menu}, nil
}

// block reads statements up to a closing character, which it takes. A menu that is entered there is
// left at its end.
func (p *parser) block(end byte) (*block, error) {
	menu := p.menu
	b, err := p.statements(end)
	p.menu = menu
	return b, err
}

// statements reads statements up to a character, or the end of the script for 0.
func (p *parser) statements(end byte) (*block, error) {
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer p.leave()
	b := &block{}
	for {
		p.blanks()
		switch c := p.peek(); {
		case p.at >= len(p.src) && end == 0:
			return b, nil
		case p.at >= len(p.src):
			return nil, p.syntax()
		case c == end && end != 0:
			p.at++
			return b, nil
		case c == ';':
			p.at++
		case c == ']' || c == '}' || c == ')':
			return nil, p.syntax()
		case c == '#':
			p.while(func(c byte) bool { return c != '\n' })
		default:
			s, err := p.statement()
			if err != nil {
				return nil, err
			}
			if p.spaces(); !p.ended() {
				return nil, p.errorAt(p.at, "expected end of command")
			}
			if s != nil {
				b.statements = append(b.statements, s)
			}
		}
	}
}

// statement reads one statement; nil: a menu was entered.
func (p *parser) statement() (statement, error) {
	switch {
	case p.has("{"):
		b, err := p.braces()
		if err != nil {
			return nil, err
		}
		return b, nil
	case p.accept(":"):
		at := p.at
		name := p.while(isName)
		if build, ok := builtin(name); ok {
			return p.builtin(build)
		}
		return nil, p.errorAt(at, "bad command name "+name)
	}
	menu := p.menu
	if p.accept("/") {
		menu = ""
	}
	return p.path(menu)
}

// path reads the rest of a path and the command at its end.
func (p *parser) path(menu string) (statement, error) {
	for {
		p.spaces()
		if p.ended() {
			p.menu = menu
			return nil, nil
		}
		at := p.at
		name := p.while(isName)
		path := menu + "/" + name
		switch command, ok := p.commands[path]; {
		case name == "" && p.accept(".."):
			menu = menu[:max(0, strings.LastIndexByte(menu, '/'))]
		case name == "":
			return nil, p.syntax()
		case ok:
			return p.call(path, command)
		case p.commands.menu(path):
			menu = path
		case name == "..":
			menu = menu[:max(0, strings.LastIndexByte(menu, '/'))]
		default:
			if build, ok := builtin(name); ok && menu == p.menu {
				return p.builtin(build)
			}
			return nil, p.errorAt(at, "bad command name "+name)
		}
		p.accept("/")
	}
}

// call reads the arguments of a command. In their brackets, its menu is the current one: set [find].
func (p *parser) call(path string, command Command) (statement, error) {
	menu := p.menu
	p.menu = path[:strings.LastIndexByte(path, '/')]
	c, err := p.arguments(&call{path: path}, command)
	p.menu = menu
	return c, err
}

// arguments is the rest of call.
func (p *parser) arguments(c *call, command Command) (statement, error) {
	if command.Implicit {
		c.where = literal{Bool(true)}
	}
	for {
		p.spaces()
		if p.ended() {
			return c, nil
		}
		taken, err := p.named(c, command)
		if err == nil && !taken {
			err = p.unnamed(c, &command)
		}
		if err != nil {
			return nil, err
		}
	}
}

// named reads an argument with a name, a flag, or where and its conditions, if one is next.
func (p *parser) named(c *call, command Command) (taken bool, err error) {
	at := p.at
	word := p.while(isName)
	switch {
	case word != "" && p.peek() == '=' && slices.Contains(command.Params, word):
		p.at++
		value, err := p.argument()
		c.args = append(c.args, argument{word, value})
		return true, err
	case slices.Contains(command.Flags, word):
		c.flags = append(c.flags, word)
		return true, nil
	case command.Where && word == "where":
		return true, p.where(c, command)
	}
	p.at = at
	if command.Implicit {
		return true, p.where(c, command)
	}
	return false, nil
}

// unnamed reads the next of the arguments that may stand without a name.
func (p *parser) unnamed(c *call, command *Command) error {
	at := p.at
	word := p.while(isName)
	if len(command.Unnamed) == 0 || word != "" && p.peek() == '=' {
		return p.errorAt(at, "expected end of command")
	}
	p.at = at
	value, err := p.value()
	c.args = append(c.args, argument{command.Unnamed[0], value})
	command.Unnamed = command.Unnamed[1:]
	return err
}

// argument reads what is behind a name and its "=", which may be nothing.
func (p *parser) argument() (expr, error) {
	if p.ended() || strings.IndexByte(" \t\r", p.peek()) >= 0 {
		return literal{Text("")}, nil
	}
	return p.value()
}

// where reads conditions up to the end of the command or a word that is one of its others. Conditions
// side by side must all hold.
func (p *parser) where(c *call, command Command) error {
	for {
		p.spaces()
		if p.ended() || p.other(command) {
			break
		}
		e, err := p.expression(true)
		if err != nil {
			return err
		}
		if c.where == nil || c.where == expr(literal{Bool(true)}) {
			c.where = e
		} else {
			c.where = binary{op: "&&", left: c.where, right: e}
		}
	}
	if c.where == nil {
		return p.syntax()
	}
	return nil
}

// other reports whether a flag or a named argument of the command is next.
func (p *parser) other(command Command) bool {
	at := p.at
	defer func() { p.at = at }()
	word := p.while(isName)
	return slices.Contains(command.Flags, word) || p.peek() == '=' && slices.Contains(command.Params, word)
}
