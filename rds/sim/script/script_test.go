// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package script

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A shelf is a box of books.
type shelf struct{ log []string }

var books = []Row{
	{{".id", Text("*1")}, {"name", Text("one")}, {"pages", Number(100)}, {"lent", Bool(false)}},
	{{".id", Text("*2")}, {"name", Text("two")}, {"pages", Number(90)}, {"lent", Bool(true)}, {"comment", Text("a b")}},
	{{".id", Text("*3")}, {"name", Text("007")}, {"pages", Number(7)}, {"lent", Bool(false)}},
}

var library = Commands{
	"/book/print":      {Flags: []string{"detail", "as-value"}, Params: []string{"proplist"}, Where: true},
	"/book/find":       {Where: true, Implicit: true},
	"/book/get":        {Params: []string{"numbers", "value-name"}, Unnamed: []string{"numbers", "value-name"}},
	"/book/set":        {Params: []string{"numbers", "name", "comment"}, Unnamed: []string{"numbers"}},
	"/book/shop/print": {},
}

// errBroken ends a script.
var errBroken = errors.New("broken")

func (s *shelf) Run(_ context.Context, c Call) (Value, error) {
	var rows List
	for _, r := range books {
		ok := true
		if c.Filter != nil {
			var err error
			if ok, err = c.Filter(r); err != nil {
				return nil, err
			}
		}
		if ok {
			rows = append(rows, r)
		}
	}
	switch c.Path {
	case "/book/find":
		for i, r := range rows {
			rows[i] = r.(Row).Get(".id") //nolint:errcheck // they are all rows
		}
		return rows, nil
	case "/book/get":
		for _, r := range books {
			if r.Get("name").String() == c.Arg("numbers").String() || r.Get(".id").String() == c.Arg("numbers").String() {
				return r.Get(c.Arg("value-name").String()), nil
			}
		}
		return nil, fail("no such item")
	case "/book/set":
		if c.Arg("name").String() == "broken" {
			return nil, errBroken
		}
		s.log = append(s.log, fmt.Sprint(c.Args))
	case "/book/print":
		if c.Has("as-value") {
			return rows, nil
		}
		_, err := fmt.Fprintf(c.Out, "%d books\n", len(rows))
		return Nothing{}, err
	}
	return Nothing{}, nil
}

// run parses and carries out a script, and returns what it prints, with the error at the end.
func run(t *testing.T, src string) (string, *shelf) {
	t.Helper()
	var out bytes.Buffer
	box := &shelf{}
	s, err := Parse(src, "", library)
	if err == nil {
		err = NewConsole(box).Run(t.Context(), s, &out)
	}
	if err != nil {
		out.WriteString(err.Error())
	}
	return out.String(), box
}

// TestScript holds what scripts print.
func TestScript(t *testing.T) {
	for _, tt := range []struct{ name, src, want string }{
		{"text", `:put "a b"; :put bare;:put ""`, "a b\nbare\n\n"},
		{"escapes", `:put "\"\\\$\41\n\_x\
   y"`, "\"\\$A\n xy\n"},
		{"interpolation", `:local a 5; :put "a=$a $[:len "xyz"] $($a + 1)."`, "a=5 3 6.\n"},
		{"concatenation", `:put ("a" . 1 . true . [:len "xx"])`, "a1true2\n"},
		{"arithmetic", `:put (2+3*4-10/3%2);:put (-5+2)`, "13\n-3\n"},
		{"precedence", `:put (1=1 && "a"="b" || "x"~"^x\$" and 2<10)`, "true\n"},
		{"numbers as text", `:put ("10">"9");:put ("a">"b")`, "true\nfalse\n"},
		{"booleans", `:put (yes=true);:put ("yes"=true);:put (!(1=2))`, "true\ntrue\ntrue\n"},
		{"variables", `:local a 1;{:local a 2;:put $a;:set a 3;:put $a};:put $a`, "2\n3\n1\n"},
		{"outer variable", `:local s "";:foreach i in={1;2;3} do={:set s ($s . $i)};:put $s`, "123\n"},
		{"unknown variable", `:put "<$nope>"`, "<>\n"},
		{"set of an unknown variable", `:set nope 1`, "no such variable nope"},
		{"global", `:global g 7;{:put $g}`, "7\n"},
		{"if", `:if (1=1) do={:put yes} else={:put no};:if (1=2) do={:put yes} else={:put no}`, "true\nfalse\n"},
		{"if of no condition", `:if (5) do={:put x}`, "conditional not boolean"},
		{"for", `:for i from=1 to=3 do={:put $i};:for i from=2 to=0 step=-2 do={:put $i}`, "1\n2\n3\n2\n0\n"},
		{"while", `:local i 0;:while ($i<2) do={:set i ($i+1);:put $i}`, "1\n2\n"},
		{"do while", `:local i 0;:do {:set i ($i+1)} while=($i<5);:put $i`, "5\n"},
		{"on-error", `:do {/book get nope name;:put x} on-error={:put caught}; :put on`, "caught\non\n"},
		{"onerror", `:onerror e in={:error "oops"} do={:put "<$e>"};:onerror e in={:put fine} do={:put x}`, "<oops>\nfine\n"},
		{"error", `:put a;:error "oops";:put b`, "a\noops"},
		{"return", `:put [:put a;:return 5;:put b];:put c;:return 1;:put d`, "a\n5\nc\n"},
		{"array", `:local a {"x";"y"="z"};:put ($a->"y");:put [:len {1;2;3}];:put ({1;2}->1);:put {}`, "z\n3\n2\n\n"},
		{"pick", `:put [:pick "abcdef" 1 3];:put [:pick "abc" 1];:put [:pick "abc" 2 99];:put [:pick {1;2;3} 1]`, "bc\nb\nc\n2\n"},
		{"find", `:put [:find "abc" "c"];:put [:typeof [:find "abc" "z"]]`, "2\nnothing\n"},
		{"types", `:put [:typeof 5];:put [:typeof "5"];:put [:typeof [:tostr 5]];:put [:typeof ([:tonum "5"]+0)];:put [:typeof {1}]`, "num\nstr\nstr\nnum\narray\n"},
		{"comments", "# nothing\n:put a # b", "expected end of command (line 2 column 8)"},
		{"comment lines", "# nothing\n:put a\n  # b\n\n;;:put c", "a\nc\n"},
		{"command", `/book print;/book/print detail where lent;/book print where !lent pages>50`, "3 books\n1 books\n1 books\n"},
		{"as-value", `:put [/book print as-value where name=two]`, ".id=*2;name=two;pages=90;lent=true;comment=a b\n"},
		{"quiet as-value", `/book print as-value`, ""},
		{"find in a menu", `/book set [find name="two"] comment="x;y"`, ""},
		{"where", `:put [/book find where (name="one" or comment~"^a") and lent=no];:put [/book find where .id=*3];:put [/book find where name=007]`, "*1\n*3\n*3\n"},
		{"where with a variable", `:local n two;:put [/book find where name=$n];:put [/book find where comment~"."];:put [:len [/book find]]`, "*2\n*2\n3\n"},
		{"where before flags", `:put [:len [/book print where pages<100 as-value proplist=name]]`, "2\n"},
		{"get", `:put [/book get two comment];:put [/book get *2 value-name=pages];:put [:typeof [/book get one comment]]`, "a b\n90\nnothing\n"},
		{"menu", "/book\nprint\nshop print\n..\n:put x\nbook print", "3 books\nx\n3 books\n"},
		{"in", `:put (2 in {1;2});:put ("z" in {"a"})`, "true\nfalse\n"},
		{"regexp", `:put ("x"~"(")`, "bad regexp"},
		{"division", `:put (1/0)`, "division by zero"},
		{"bad command", `:put a;/book frob`, "bad command name frob (line 1 column 14)"},
		{"bad menu", `/film print`, "bad command name film (line 1 column 2)"},
		{"bad language", `:frob`, "bad command name frob (line 1 column 2)"},
		{"bad argument", `:put a;/book set one colour=red`, "expected end of command (line 1 column 22)"},
		{"bad argument in a block", ":if (1=1) do={\n /book set one colour=red }", "expected end of command (line 2 column 16)"},
		{"open string", `:put "a`, "syntax error (line 1 column 6)"},
		{"open block", `:if (1=1) do={:put a`, "syntax error (line 1 column 21)"},
		{"stray bracket", `:put a;]`, "syntax error (line 1 column 8)"},
		{"bad escape", `:put "\q"`, "syntax error (line 1 column 7)"},
		{"missing condition", `/book print where`, "syntax error (line 1 column 18)"},
		{"broken", `:do {/book set one name=broken} on-error={:put caught}`, "broken"},
		{"endless", `:while (true) do={}`, "script takes too many steps"},
		{"growth", `:local a "xxxxxxxx";:while (true) do={:set a ($a . $a)}`, "text is longer than 1048576 bytes"},
		{"depth", strings.Repeat("(", 500), "script is nested too deep (line 1 column 1)"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			src := tt.src
			if tt.name == "depth" {
				src = ":put " + src
				if got, _ := run(t, src); !strings.Contains(got, "nested too deep") {
					t.Errorf("%q prints %q", src, got)
				}
				return
			}
			if got, _ := run(t, src); got != tt.want {
				t.Errorf("%q prints %q, want %q", src, got, tt.want)
			}
		})
	}
}

// TestNothingBeforeSyntax shows that a script which cannot be read as a whole does nothing.
func TestNothingBeforeSyntax(t *testing.T) {
	const src = `/book set one comment=x;/book set two colour=x`
	if _, box := run(t, src); len(box.log) > 0 {
		t.Errorf("%q did %q", src, box.log)
	}
	_, box := run(t, `/book set one comment="a;b" name=1;/book set [find lent] comment=("x" . "y");/book set "two" comment=`)
	want := "[[{numbers one} {comment a;b} {name 1}] [{numbers *2} {comment xy}] [{numbers two} {comment }]]"
	if got := fmt.Sprint(box.log); got != want {
		t.Errorf("the box did %s, want %s", got, want)
	}
}

// TestDelay shows that :delay takes its time and ends with its context.
func TestDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := Parse(":delay 1s;:delay 500ms;:delay 3", "", library)
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if err := NewConsole(&shelf{}).Run(t.Context(), s, io.Discard); err != nil || time.Since(began) != 4500*time.Millisecond {
			t.Errorf("took %v, %v", time.Since(began), err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := NewConsole(&shelf{}).Run(ctx, s, io.Discard); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("with a deadline: %v", err)
		}
	})
}

// TestGlobals shows that a console keeps its variables from script to script.
func TestGlobals(t *testing.T) {
	c := NewConsole(&shelf{})
	var out bytes.Buffer
	for _, src := range []string{":global g 1", ":set g 2", ":put $g"} {
		s, err := Parse(src, "", library)
		if err == nil {
			err = c.Run(t.Context(), s, &out)
		}
		if err != nil {
			t.Errorf("%q: %v", src, err)
		}
	}
	if out.String() != "2\n" {
		t.Errorf("prints %q", &out)
	}
}

// FuzzScript shows that no script makes the interpreter panic or run for ever, and that an error has a
// place in the script.
func FuzzScript(f *testing.F) {
	for _, src := range []string{
		`:onerror e in={:if ([:tostr [/book get *2 value-name=comment]]="x") do={/book set *2 name="n"} else={:put "stale"}} do={:put ("e" . [:len $e] . ":" . $e)}`,
		`:local n 0;:foreach d in=[/book print detail as-value where (lent=yes) or (comment~".")] do={:foreach k in={".id";"name"} do={:put ($d->$k)};:set n ($n+1)}`,
		"/book\nset [find name~\"^o\" and !lent] comment=(\"a\\41\" . $x)\n# end\n:do {:error \"x\"} on-error={:put \"$[:pick \"abc\" 0 1]\"}",
		`:for i from=3 to=1 step=-1 do={:put (-$i*2%3 . {"a"=1;2})};:while (false) do={};:return "\"\$"`,
		`:global a "$($b)$"c d"";:set a ($a->1);:put [:find $a "x"];:typeof [:nothing]`,
	} {
		f.Add(src)
	}
	f.Fuzz(func(t *testing.T, src string) {
		if strings.Contains(src, "delay") || strings.Contains(src, "while") || strings.Contains(src, "for ") {
			src = strings.NewReplacer("delay", "put", "while", "put", "for ", "put ").Replace(src)
		}
		s, err := Parse(src, "", library)
		if err != nil {
			var syntax *SyntaxError
			if !errors.As(err, &syntax) || syntax.Line < 1 || syntax.Column < 1 || syntax.Line > strings.Count(src, "\n")+1 {
				t.Fatalf("%q: %v", src, err)
			}
			return
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		err = NewConsole(&shelf{}).Run(ctx, s, io.Discard)
		if _, ok := handled(err); err != nil && !ok && !errors.Is(err, errBroken) {
			t.Fatalf("%q: %v", src, err)
		}
	})
}
