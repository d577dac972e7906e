package redisx

import (
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestParseACLList(t *testing.T) {
	users, err := ParseACLList([]string{
		"user default on nopass sanitize-payload ~* &* +@all",
		"user app on #5e88 ~app:* resetchannels -@all +@read +set (~b:* resetchannels -@all +get) (%R~c:* -@all +@all)",
	})
	if err != nil {
		t.Fatal(err)
	}
	app := users[1]
	if app.Name != "app" || !slices.Equal(app.Commands, []string{"-@all", "+@read", "+set"}) ||
		!slices.Equal(app.Selectors, []string{"(~b:* resetchannels -@all +get)", "(%R~c:* -@all +@all)"}) {
		t.Errorf("got %+v", app)
	}
	if got := app.Rules(); got != "-@all +@read +set (~b:* resetchannels -@all +get) (%R~c:* -@all +@all)" {
		t.Errorf("rules %q", got)
	}
	if strings.Contains(app.Rules(), "5e88") {
		t.Error("the rules hold a hash")
	}
	for _, bad := range []string{"app on", "user app on nopass ~*", "user app on -@all (~a +get", ""} {
		if _, err := ParseACLList([]string{bad}); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}

// TestProtectRemembers goes through what may have happened between two looks
// at one user.
func TestProtectRemembers(t *testing.T) {
	const pw = "geheim"
	sync := "user redis-sync on #" + passwordHash(pw) + " ~* &* +@all"
	parse := func(lines ...string) []ACLUser {
		users, err := ParseACLList(lines)
		if err != nil {
			t.Fatal(err)
		}
		return users
	}
	for name, test := range map[string]struct {
		users      []ACLUser
		remembered map[string]UserRules
		want       UserRules
		gaps       int
	}{
		"first time":           {parse("user app on ~* +@all"), nil, UserRules{"+@all", ""}, 2},
		"as we left it":        {parse("user app on ~* +@all -@write", sync), map[string]UserRules{"app": {"+@all", "+@all -@write"}}, UserRules{"+@all", "+@all -@write"}, 0},
		"pod made anew":        {parse("user app on ~* +@all"), map[string]UserRules{"app": {"+@all", "+@all -@write"}}, UserRules{"+@all", ""}, 2},
		"interrupted before":   {parse("user app on ~* -@all +@list", sync), map[string]UserRules{"app": {"-@all +@list", ""}}, UserRules{"-@all +@list", ""}, 1},
		"interrupted after":    {parse("user app on ~* -@all", sync), map[string]UserRules{"app": {"-@all +@list", ""}}, UserRules{"-@all +@list", ""}, 1},
		"memory lost":          {parse("user app on ~* +@all -@write", sync), nil, UserRules{"+@all", ""}, 1},
		"their own rule":       {parse("user app on ~* +@all -@write"), nil, UserRules{"+@all -@write", ""}, 2},
		"changed by others":    {parse("user app on ~* +@all -@write +set", sync), map[string]UserRules{"app": {"+@all", "+@all -@write"}}, UserRules{"+@all +set", ""}, 1},
		"given back by others": {parse("user app on ~* +@all -keys", sync), map[string]UserRules{"app": {"+@all", "+@all -@write"}}, UserRules{"+@all -keys", ""}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			p := Protect(test.users, "redis-sync", pw, test.remembered)
			if p.Remember["app"] != test.want || len(p.Gaps) != test.gaps || len(p.Commands) != test.gaps {
				t.Errorf("remembers %+v, gaps %q, commands %d; want %+v and %d", p.Remember, p.Gaps, len(p.Commands), test.want, test.gaps)
			}
			if strings.Contains(strings.Join(p.Gaps, " "), passwordHash(pw)) {
				t.Error("a gap shows a hash")
			}
		})
	}
}

func TestSyncUserIsChecked(t *testing.T) {
	const pw = "geheim"
	hash := "#" + passwordHash(pw)
	for line, want := range map[string]bool{
		"user redis-sync on " + hash + " ~* &* +@all":                  true,
		"user redis-sync on sanitize-payload " + hash + " ~* &* +@all": true,
		"user redis-sync off " + hash + " ~* &* +@all":                 false,
		"user redis-sync on #00 ~* &* +@all":                           false,
		"user redis-sync on " + hash + " #00 ~* &* +@all":              false,
		"user redis-sync on nopass ~* &* +@all":                        false,
		"user redis-sync on " + hash + " ~app:* &* +@all":              false,
		"user redis-sync on " + hash + " ~* resetchannels +@all":       false,
		"user redis-sync on " + hash + " ~* &* +@all -flushall":        false,
		"user redis-sync on " + hash + " ~* &* +@all (~* &* +@all)":    false,
	} {
		users, err := ParseACLList([]string{"user default on nopass ~* &* +@all", line})
		if err != nil {
			t.Fatal(err)
		}
		if got := isSyncUser(users, "redis-sync", syncUserWords(users, pw)); got != want {
			t.Errorf("%s: got %v", line, got)
		}
	}
}

func TestUnprotect(t *testing.T) {
	parse := func(lines ...string) []ACLUser {
		users, err := ParseACLList(lines)
		if err != nil {
			t.Fatal(err)
		}
		return users
	}
	const sync = "user redis-sync on #00 ~* &* +@all"
	remembered := map[string]UserRules{"app": {"+@all", "+@all -@write"}}
	for name, test := range map[string]struct {
		users      []ACLUser
		remembered map[string]UserRules
		want       map[string]string
		commands   int
		notes      int
	}{
		"as we left it":      {parse("user app on ~* +@all -@write", sync), remembered, map[string]string{"app": "+@all"}, 2, 0},
		"again":              {parse("user app on ~* +@all"), remembered, map[string]string{}, 0, 0},
		"pod made anew":      {parse("user app on ~* -@all"), remembered, map[string]string{}, 0, 0},
		"changed by others":  {parse("user app on ~* +@all -@write -keys", sync), remembered, map[string]string{"app": "+@all -keys"}, 2, 1},
		"reworded by others": {parse("user app on ~* -@all +get", sync), remembered, map[string]string{"app": "+@all"}, 2, 1},
		"memory lost":        {parse("user app on ~* +@all -@write (~a +@all -@write)", sync), nil, map[string]string{"app": "+@all (~a +@all)"}, 2, 1},
		"never protected":    {parse("user app on ~* +@all -@write"), nil, map[string]string{}, 0, 0},
		"interrupted":        {parse("user app on ~* +@all -@write", sync), map[string]UserRules{"app": {"+@all", ""}}, map[string]string{"app": "+@all"}, 2, 0},
	} {
		t.Run(name, func(t *testing.T) {
			undo := Unprotect(test.users, "redis-sync", test.remembered)
			if !reflect.DeepEqual(undo.Want, test.want) || len(undo.Commands) != test.commands || len(undo.Notes) != test.notes {
				t.Errorf("got %v, %d commands, notes %q", undo.Want, len(undo.Commands), undo.Notes)
			}
		})
	}
}
