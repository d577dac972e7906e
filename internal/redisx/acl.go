package redisx

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"
)

// ErrNoACL says that a server has no ACLs (before 6.0), or not under that
// name, or that the user may not change them.
var ErrNoACL = errors.New("the server has no ACLs, or the user may not change them")

// ACLUser is a user as ACL LIST words it. Only what it may run is exported;
// hashes of passwords do not leave this package.
type ACLUser struct {
	Name      string
	Commands  []string // "+@all", "-flushall": of the root permissions, in order
	Selectors []string // "(~a:* resetchannels -@all +get)", 7.0 and later

	words []string // all words outside of selectors
}

// ACLUsers lists the users of a server. The error is ErrNoACL where there are
// none.
func (c *Client) ACLUsers(ctx context.Context) ([]ACLUser, error) {
	lines, err := c.rdb.Do(ctx, "ACL", "LIST").StringSlice()
	if err != nil {
		return nil, c.noACL("ACL LIST", err)
	}
	return ParseACLList(lines)
}

// noACL tells the errors of servers that cannot be protected from others.
func (c *Client) noACL(op string, err error) error {
	err = c.wrap(op, err)
	if IsUnknownCommand(err) || IsPermission(err) {
		return fmt.Errorf("%w: %w", ErrNoACL, err)
	}
	return err
}

// ParseACLList reads the lines of ACL LIST: "user NAME WORD WORD (SELECTOR)".
// Names, patterns and passwords hold no spaces; selectors do.
func ParseACLList(lines []string) ([]ACLUser, error) {
	users := make([]ACLUser, 0, len(lines))
	for _, line := range lines {
		rest, ok := strings.CutPrefix(line, "user ")
		if !ok {
			return nil, errors.New("ACL LIST: a line does not begin with \"user\"")
		}
		name, rest, _ := strings.Cut(rest, " ")
		user := ACLUser{Name: name}
		var open []string
		for word := range strings.FieldsSeq(rest) {
			switch {
			case open != nil || strings.HasPrefix(word, "("):
				if open = append(open, word); strings.HasSuffix(word, ")") {
					user.Selectors = append(user.Selectors, strings.Join(open, " "))
					open = nil
				}
				continue
			case word[0] == '+' || word[0] == '-':
				user.Commands = append(user.Commands, word)
			}
			user.words = append(user.words, word)
		}
		if open != nil || len(user.Commands) == 0 {
			return nil, fmt.Errorf("ACL LIST: the line of user %q is not understood", name)
		}
		users = append(users, user)
	}
	return users, nil
}

// Rules are what the user may run, as the server words it: the commands, then
// the selectors.
func (u ACLUser) Rules() string {
	return strings.Join(slices.Concat(u.Commands, u.Selectors), " ")
}

// UserRules remembers what a user might run before and after it lost @write.
// After is empty until the change was seen on the server.
type UserRules struct {
	Before string `json:"before"`
	After  string `json:"after,omitempty"`
}

// noWrite is what a user loses. It covers FLUSHALL, SORT, MIGRATE, RESTORE,
// XREADGROUP, FUNCTION LOAD and the like; commands inside of scripts and
// functions are checked as well (6.0 and later). What a master sends its
// replicas, PSYNC, REPLICAOF, INFO, CONFIG and PUBLISH are not in it, so that
// replication, Sentinel and operators live on.
const noWrite = "-@write"

// Protection is what a server needs so that syncUser alone may write.
type Protection struct {
	// Gaps say, in words, who else may write or what syncUser lacks; empty: it
	// holds.
	Gaps []string
	// Remember is what Undo needs to know, with After missing for the users
	// that are still to be changed. It is to be kept before Commands run.
	Remember map[string]UserRules
	// Commands bring the protection about, in this order.
	Commands [][]string
}

// Protect says what is missing. remembered is what was kept of this server
// before.
func Protect(users []ACLUser, syncUser, password string, remembered map[string]UserRules) Protection {
	p := Protection{Remember: map[string]UserRules{}}
	known := slices.ContainsFunc(users, func(u ACLUser) bool { return u.Name == syncUser })
	if want := syncUserWords(users, password); !known || !isSyncUser(users, syncUser, want) {
		p.Commands = append(p.Commands, slices.Concat([]string{"ACL", "SETUSER", syncUser, "reset"}, want))
		p.Gaps = append(p.Gaps, "user "+syncUser+" is missing or has lost rights")
	}
	for _, u := range users {
		if u.Name == syncUser {
			continue
		}
		now := u.Rules()
		old, have := remembered[u.Name]
		if have && now == old.After {
			p.Remember[u.Name] = old
			continue
		}
		next := UserRules{Before: now}
		switch {
		case have && old.After == "" && now != old.Before:
			next.Before = old.Before // we were interrupted after the change
		case known && slices.Contains(u.Commands, noWrite):
			// Ours, but the rules were changed since, or are not remembered.
			next.Before = withoutNoWrite(u)
		}
		p.Remember[u.Name] = next
		p.Commands = append(p.Commands, protectCommand(u))
		p.Gaps = append(p.Gaps, "user "+u.Name+" may write")
	}
	return p
}

func protectCommand(u ACLUser) []string {
	command := []string{"ACL", "SETUSER", u.Name, noWrite}
	if len(u.Selectors) > 0 {
		command = append(command, "clearselectors")
	}
	for _, s := range u.Selectors {
		command = append(command, strings.TrimSuffix(s, ")")+" "+noWrite+")")
	}
	return command
}

// withoutNoWrite takes our words out of a user's rules again.
func withoutNoWrite(u ACLUser) string {
	u.Commands = slices.DeleteFunc(slices.Clone(u.Commands), func(w string) bool { return w == noWrite })
	u.Selectors = slices.Clone(u.Selectors)
	for i, s := range u.Selectors {
		u.Selectors[i] = strings.ReplaceAll(s, " "+noWrite, "")
	}
	return u.Rules()
}

// syncUserWords are the rules of the dedicated user. Channels are known since
// 6.2: then every line of ACL LIST says something of them.
func syncUserWords(users []ACLUser, password string) []string {
	words := []string{"on", "#" + passwordHash(password), "~*", "+@all"}
	for _, u := range users {
		for _, w := range u.words {
			if w[0] == '&' || w == "resetchannels" || w == "allchannels" {
				return append(words, "&*")
			}
		}
	}
	return words
}

// passwordHash is how ACL rules spell a password.
func passwordHash(password string) string {
	sum := sha256.Sum256([]byte(password))
	return hex.EncodeToString(sum[:])
}

// isSyncUser tells whether the user is as it has to be: all of the words, and
// no other password, pattern or rule.
func isSyncUser(users []ACLUser, name string, want []string) bool {
	i := slices.IndexFunc(users, func(u ACLUser) bool { return u.Name == name })
	if i < 0 || len(users[i].Selectors) > 0 {
		return false
	}
	for _, w := range want {
		if !slices.Contains(users[i].words, w) {
			return false
		}
	}
	for _, w := range users[i].words {
		if strings.ContainsRune("#~%&+-", rune(w[0])) && !slices.Contains(want, w) || w == "nopass" || w == "off" {
			return false
		}
	}
	return true
}

// Undo is what ends a protection.
type Undo struct {
	Commands [][]string
	// Notes name users whose rules somebody changed while they were protected.
	Notes []string
	// Want are the rules that each changed user has afterwards.
	Want map[string]string
}

// Unprotect says how every user gets back what it might run before, and
// removes syncUser, which ends its connections. Passwords, patterns and flags
// stay as they are now.
func Unprotect(users []ACLUser, syncUser string, remembered map[string]UserRules) Undo {
	undo := Undo{Want: map[string]string{}}
	known := slices.ContainsFunc(users, func(u ACLUser) bool { return u.Name == syncUser })
	for _, u := range users {
		if u.Name == syncUser {
			continue
		}
		now := u.Rules()
		old, have := remembered[u.Name]
		ours := slices.Contains(u.Commands, noWrite)
		var want string
		switch {
		case !known && !have:
			continue // never protected by us
		case have && (now == old.Before || !known && !ours):
			continue // the server was made anew, or the user was
		case have && (now == old.After || old.After == ""):
			want = old.Before
		case ours:
			want = withoutNoWrite(u)
			undo.Notes = append(undo.Notes, "the rules of user "+u.Name+" were changed while it was protected; it keeps them, and may write again")
		case have:
			want = old.Before
			undo.Notes = append(undo.Notes, "the rules of user "+u.Name+" were changed while it was protected; it may run what it might before")
		default:
			continue
		}
		undo.Commands = append(undo.Commands, setRules(u, want))
		undo.Want[u.Name] = want
	}
	if known {
		undo.Commands = append(undo.Commands, []string{"ACL", "DELUSER", syncUser})
	}
	return undo
}

// setRules gives a user these rules in one command. They begin with +@all or
// -@all, as the server words them, so nothing else is left of the old ones.
func setRules(u ACLUser, rules string) []string {
	command := []string{"ACL", "SETUSER", u.Name}
	parsed, err := ParseACLList([]string{"user " + u.Name + " " + rules})
	if err != nil { // rules were read from a server
		return append(command, strings.Fields(rules)...)
	}
	command = append(command, parsed[0].Commands...)
	if len(u.Selectors) > 0 || len(parsed[0].Selectors) > 0 {
		command = append(command, "clearselectors")
	}
	return append(command, parsed[0].Selectors...)
}

// RunACL runs ACL commands in order. Their arguments hold hashes and are not
// shown in errors. The error is ErrNoACL where the user may not.
func (c *Client) RunACL(ctx context.Context, commands [][]string) error {
	for _, command := range commands {
		args := make([]any, len(command))
		for i, a := range command {
			args[i] = a
		}
		if err := c.rdb.Do(ctx, args...).Err(); err != nil {
			op := strings.Join(command[:min(3, len(command))], " ")
			var reply redis.Error
			if errors.As(err, &reply) && !IsPermission(c.wrap(op, err)) && !IsUnknownCommand(err) {
				err = errors.New("the server refused the rules") // its words repeat an argument
			}
			return c.noACL(op, err)
		}
	}
	return nil
}
