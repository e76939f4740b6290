// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"strings"
	"testing"
)

// framed is a statement as the driver's console client sends it: one that fails keeps no other from
// running.
func framed(index, body string) string {
	return `:onerror e in={` + body + `} do={:put ("@0a0a0a0a:` + index + `:error;" . [:len $e] . ":" . $e . ";")}`
}

// guarded is a body that runs if the guards hold.
func guarded(guards, body string) string {
	return `:if (` + guards + `) do={` + body + `} else={:put "@0a0a0a0a:1:stale;"}`
}

// TestClientStatements carries out the statements of the driver's console client as they are.
func TestClientStatements(t *testing.T) {
	const list = `:local n 0;:foreach d in=[/disk print detail as-value where (type="file") or (mount-point~".")] do={` +
		`:local s "";:foreach k in={".id";"type";"comment"} do={:local v [:tostr ($d->$k)];` +
		`:if ([:len $v]>0) do={:set s ($s . $k . "=" . [:len $v] . ":" . $v . ";")}};` +
		`:put ("@0a0a0a0a:1:row;" . $s . ";");:set n ($n+1)};:put ("@0a0a0a0a:1:ok;" . [:len [:tostr $n]] . ":" . $n . ";")`
	const add = `:if ([:len [/disk find where (file-path="/raid10/a.img")]]=0) do={:local v [:tostr [/disk add type="file" ` +
		`slot="a" file-path="/raid10/a.img" file-size="1073741824" comment="rds-csi.1/a"]];:put ("@0a0a0a0a:1:ok;" . [:len $v] . ":" . $v . ";")} else={:put "@0a0a0a0a:1:stale;"}`
	guards := func(comment string) string {
		return `([:tostr [/disk get *2 value-name=file-path]]="/raid10/a.img") and ` +
			`([:tostr [:pick [:tostr [/disk get *2 value-name=comment]] 0 11]]="` + comment + `") and ` +
			`([:tostr [:pick [:tostr [/disk get *2 value-name=comment]] 0 8]]!="other.8/")`
	}
	const ok, stale = "@0a0a0a0a:1:ok;0:;\n", "@0a0a0a0a:1:stale;\n"
	const set = `/disk set *2 nvme-tcp-export="no" comment="rds-csi.2/a";:put "@0a0a0a0a:1:ok;0:;"`
	twice := `/disk set *2 nvme-tcp-export="no" comment="x";:put "@0a0a0a0a:1:step;";/disk set *2 nvme-tcp-export="yes" comment="y";:put "@0a0a0a0a:1:ok;0:;"`
	s := start(t, Config{NVMeHost: LoopbackHost()})
	c := loginSSH(t, s)
	for _, tt := range []struct{ name, body, want string }{
		{"list", list, "@0a0a0a0a:1:row;.id=2:*1;type=4:raid;;\n@0a0a0a0a:1:ok;1:1;\n"},
		{"add", add, "@0a0a0a0a:1:ok;2:*2;\n"},
		{"add again", add, stale},
		{"list", list, "@0a0a0a0a:1:row;.id=2:*1;type=4:raid;;\n@0a0a0a0a:1:row;.id=2:*2;type=4:file;comment=11:rds-csi.1/a;;\n@0a0a0a0a:1:ok;1:2;\n"},
		{"set", guarded(guards("rds-csi.1/a"), set), ok},
		{"set with an old guard", guarded(guards("rds-csi.1/a"), set), stale},
		{"set of what is not there", strings.ReplaceAll(set, "*2", "*9"), "@0a0a0a0a:1:error;12:no such item;\n"},
		{"set of two", guarded(guards("rds-csi.2/a"), twice), "@0a0a0a0a:1:step;\n" + ok},
		{"remove", guarded(`[:tostr [/disk get *2 value-name=comment]]="y"`, `/disk remove *2;:put "@0a0a0a0a:1:ok;0:;"`), ok},
		{"remove again", guarded(`[:tostr [/disk get *2 value-name=comment]]="y"`, `/disk remove *2;:put "@0a0a0a0a:1:ok;0:;"`), "@0a0a0a0a:1:error;12:no such item;\n"},
		{"remove the file", `/file remove numbers="raid10/a.img";:put "@0a0a0a0a:1:ok;0:;"`, ok},
		{"remove the file again", `/file remove numbers="raid10/a.img";:put "@0a0a0a0a:1:ok;0:;"`, "@0a0a0a0a:1:error;12:no such item;\n"},
	} {
		c.t.Log(tt.name)
		begin := ":put \"@0a0a0a0a:begin:" + strings.Repeat("=", 83) + "\";"
		c.prints("@0a0a0a0a:begin:"+strings.Repeat("=", 83)+"\n"+tt.want+"@0a0a0a0a:2:ok;0:;\n@0a0a0a0a:end;2;\n",
			begin+framed("1", tt.body)+";"+framed("2", `:put "@0a0a0a0a:2:ok;0:;"`)+`;:put "@0a0a0a0a:end;2;"`)
	}
}

// TestWrapPut shows what the switch does to a long line, and that a wide terminal mends it.
func TestWrapPut(t *testing.T) {
	s := start(t, Config{Switches: Switches{WrapPut: true}})
	line := strings.Repeat("x", 100)
	loginSSH(t, s).prints(line[:80]+"\n"+line[80:]+"\n", `:put "`+line+`"`)
	loginSSH(t, start(t, Config{})).prints(line+"\n", `:put "`+line+`"`)
}

// TestWrap holds where a line is broken.
func TestWrap(t *testing.T) {
	for _, tt := range []struct {
		line string
		hard bool
		want string
	}{
		{"a bb ccc dddd", false, "a bb ccc\n  dddd\n"},
		{"a bb ccc dddd", true, "a bb ccc d\n  ddd\n"},
		{"abcdefghijklmnopqrs", false, "abcdefghij\n  klmnopqr\n  s\n"},
		{"size=1 099 511 627 776", false, "size=1 099\n  511 627\n  776\n"},
		{"", false, "\n"},
		{"exactly te", false, "exactly te\n"},
	} {
		if got := wrap(tt.line, 10, 2, tt.hard); got != tt.want {
			t.Errorf("wrap(%q, hard %v) = %q, want %q", tt.line, tt.hard, got, tt.want)
		}
	}
	if got := wrap("anything", 0, 2, true); got != "anything\n" {
		t.Errorf("without a width: %q", got)
	}
}
