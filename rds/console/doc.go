// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

// Package console speaks to RouterOS over SSH, for those who have only that, and for the keys of an
// SSH user. It stands beside package routeros, with the same three fates of a command: not sent,
// unanswered, refused.
//
// [Client] is one connection, which carries one command at a time. A command is a script of statements
// ([List], [Add], [Set], [Remove], [RemoveFile]), up to [MaxBatch] of them, each of which gets its own
// answer. [ParsePrint] and [ParseAsValue] read what the console prints for people.
//
// # Scripts
//
// A script is one line, sent as one exec request without a pty. N stands for eight hex digits that are
// new for each script, so that nothing on the box can be taken for an answer:
//
//	:put "@N:begin:====…";S0;S1;…;:put "@N:end;2;"
//
// The first line is 300 bytes long. Where the console wraps lines, it comes back in pieces, which tells
// the width; without it nothing has run, since RouterOS parses a script before it begins. The last line
// proves that the output is whole, and holds the number of statements. Each statement, with its index i
// in the script, is
//
//	:onerror e in={BODY} do={:put ("@N:i:error;" . [:len $e] . ":" . $e . ";")}
//
// so that one that fails keeps no other from running (:onerror is of RouterOS 7.13; unlike :do with
// on-error it tells the text). Its answer is exactly one of
//
//	@N:i:ok;LEN:VALUE;       done; VALUE is what was made or counted, or empty
//	@N:i:stale;              a guard did not hold, nothing was done
//	@N:i:error;LEN:TEXT;     refused with the box's text
//
// where LEN is the length of what follows in bytes, so that a value can hold anything. The bodies are,
// for the menu /disk:
//
// List, all rows that fulfil one of the conditions; property~"." is one that is set:
//
//	:local n 0;:foreach d in=[/disk print detail as-value where (type="file") or (mount-point~".")] do={
//	:local s "";:foreach k in={".id";"type";"comment"} do={:local v [:tostr ($d->$k)];
//	:if ([:len $v]>0) do={:set s ($s . $k . "=" . [:len $v] . ":" . $v . ";")}};
//	:put ("@N:i:row;" . $s . ";");:set n ($n+1)};:put ("@N:i:ok;" . [:len [:tostr $n]] . ":" . $n . ";")
//
// (on one line and without a space or break where it is broken here). A row comes as
//
//	@N:i:row;.id=2:*5;type=4:file;comment=3:abc;;
//
// without the properties that are empty or not set, and the value of its ok is the number of rows.
//
// Add, unless a row fulfils one of the conditions; the value of its ok is the .id:
//
//	:if ([:len [/disk find where (file-path="/raid10/a.img")]]=0) do={:local v [:tostr [/disk add type="file"
//	slot="a" file-size="1073741824"]];:put ("@N:i:ok;" . [:len $v] . ":" . $v . ";")} else={:put "@N:i:stale;"}
//
// Set, if all guards hold (equal, begins with, does not begin with):
//
//	:if (([:tostr [/disk get *5 value-name=file-path]]="/raid10/a.img") and
//	([:tostr [:pick [:tostr [/disk get *5 value-name=comment]] 0 11]]="rds-csi.1/a") and
//	([:tostr [:pick [:tostr [/disk get *5 value-name=comment]] 0 8]]!="other.8/")) do={
//	/disk set *5 nvme-tcp-export="no" comment="x";:put "@N:i:ok;0:;"} else={:put "@N:i:stale;"}
//
// A Set of two changes, as of an export that is turned off and on again, guards once and tells when the
// first was done:
//
//	:if (…) do={/disk set *5 nvme-tcp-export="no" comment="x";:put "@N:i:step;";/disk set *5
//	nvme-tcp-export="yes" comment="y";:put "@N:i:ok;0:;"} else={:put "@N:i:stale;"}
//
// Remove, and RemoveFile, whose name has no leading slash; without guards there is no :if:
//
//	:if (…) do={/disk remove *5;:put "@N:i:ok;0:;"} else={:put "@N:i:stale;"}
//	/file remove numbers="raid10/a.img";:put "@N:i:ok;0:;"
//
// Every value stands in double quotes and is made of the letters, digits and punctuation that
// [CheckWord] lets pass, none of which the console interprets; an .id is an asterisk and hex digits.
//
// # Concurrency
//
// A Client may be used from any number of goroutines. Its commands run one after the other, in the order
// in which they were called for: RouterOS stalls when several share a connection. Close waits for the
// client's goroutines.
//
// # Cancellation
//
// A context bounds the wait for the connection and the command. A command that is given up after it
// was sent leaves the connection in an unknown state, so it ends the connection: the box may go on with
// the script all the same. See [ErrNotSent] and [ErrUnanswered].
package console
