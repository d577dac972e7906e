package route

import (
	"strings"
	"testing"
)

func TestKeys(t *testing.T) {
	for command, want := range map[string]string{
		"SET k v":                                 "k",
		"del a b c":                               "a b c",
		"MSET a 1 b 2":                            "a b",
		"MSETEX 2 a 1 b 2 EX 10":                  "a b",
		"RENAME a b":                              "a b",
		"BITOP AND d a b":                         "d a b",
		"ZUNIONSTORE d 2 a b WEIGHTS 1 2":         "d a b",
		"EVAL script 2 a b arg":                   "a b",
		"EVAL script 0 arg":                       "",
		"XGROUP CREATE s g 0":                     "s",
		"SORT a BY x STORE d":                     "a d",
		"GEORADIUS g 1 2 3 km STOREDIST d":        "g d",
		"BLPOP a b 0":                             "a b",
		"LMPOP 2 a b LEFT":                        "a b",
		"PEXPIREAT k 1":                           "k",
		"HPEXPIREAT h 1 FIELDS 1 f":               "h",
		"RESTORE-ASKING k 0 payload":              "k",
		"GEOSEARCHSTORE d s FROMLONLAT 1 2 BYBOX": "d s",
	} {
		var args [][]byte
		for w := range strings.FieldsSeq(command) {
			args = append(args, []byte(w))
		}
		at, err := Keys(nil, args)
		if err != nil {
			t.Errorf("%s: %v", command, err)
			continue
		}
		var got []string
		for _, i := range at {
			got = append(got, string(args[i]))
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: keys %q, want %q", command, got, want)
		}
	}
}

func TestKeysOfHostileCommands(t *testing.T) {
	for _, command := range []string{"NOSUCHCOMMAND k", "SET", "EVAL s 5 a", "EVAL s -1 a", "EVAL s x a", "ZUNIONSTORE d 9223372036854775807 a", "MSETEX 4611686018427387904 a 1", "RENAME a", strings.Repeat("X", 100) + " k"} {
		var args [][]byte
		for w := range strings.FieldsSeq(command) {
			args = append(args, []byte(w))
		}
		if at, err := Keys(nil, args); err == nil {
			t.Errorf("%.40s: accepted with keys at %v", command, at)
		}
	}
}

// TestSlot has values of CLUSTER KEYSLOT of Redis 7.0.
func TestSlot(t *testing.T) {
	for key, want := range map[string]int{"foo": 12182, "bar": 5061, "{foo}bar": 12182, "foo{}{bar}": 8363, "{}": 15257, "": 0, "123456789": 12739} {
		if got := Slot([]byte(key)); got != want {
			t.Errorf("slot of %q is %d, want %d", key, got, want)
		}
	}
}

func TestParseNodes(t *testing.T) {
	text := `a1 10.0.0.1:6379@16379,host-1 myself,master - 0 0 1 connected 0-99 200 [5->-b2]
b2 10.0.0.2:6379@16379 slave a1 0 0 1 connected
c3 :0@0 master,noaddr - 0 0 1 disconnected
d4 10.0.0.4:6379 master,fail - 0 0 1 connected 300-400
`
	nodes, err := ParseNodes(text, "self:1")
	if err != nil {
		t.Fatal(err)
	}
	if len(nodes) != 4 || nodes[0].Addr != "10.0.0.1:6379" || nodes[0].Slots.String() != "0-99,200" || !nodes[0].Migrating || !nodes[1].Is("slave") || nodes[2].Usable() || nodes[3].Usable() {
		t.Errorf("read %+v", nodes)
	}
	if _, err := ParseNodes("too short\n", ""); err == nil {
		t.Error("a line of two fields was accepted")
	}
}

// TestLookup finds every command of the table in any case, and nothing that
// differs from one in a byte or in its length.
func TestLookup(t *testing.T) {
	list := makeTable()
	for name, want := range list {
		for _, n := range []string{name, strings.ToUpper(name), strings.ToUpper(name[:1]) + name[1:]} {
			if got := lookup([]byte(n)); *got != want {
				t.Errorf("%s: %+v, want %+v", n, *got, want)
			}
		}
		others := []string{name + "x", name[:len(name)-1], name + strings.Repeat("x", 25)}
		for i := range name {
			others = append(others, name[:i]+"_"+name[i+1:], name[:i]+"\x00"+name[i+1:], name[:i]+"5"+name[i+1:])
		}
		for _, n := range others {
			_, listed := list[n]
			if found := lookup([]byte(n)) != &unknown; found != listed {
				t.Errorf("%q: found %v, listed %v", n, found, listed)
			}
		}
	}
}
