package plugin

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/redis-sync/kubectl-redis-sync/internal/fault"
)

// plainInShell are the characters, beside letters and digits of ASCII, that mean
// themselves wherever they stand in a word of a POSIX shell (POSIX.1-2024, XCU
// 2.2), except at the beginning of a command.
const plainInShell = "-_./:,@%+="

// shellWord writes an argument as one word of a POSIX shell.
func shellWord(arg string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune(plainInShell, r)
	}
	if arg != "" && strings.TrimLeftFunc(arg, plain) == "" && arg[0] != '=' { // zsh looks "=name" up
		return arg
	}
	return "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
}

func shellLine(args []string) string {
	words := make([]string, len(args))
	for i, arg := range args {
		words[i] = shellWord(arg)
	}
	return strings.Join(words, " ")
}

// checkTypable refuses a text that no command line shows as it is: who copies it
// from a terminal would get another one.
func checkTypable(what, text string) error {
	if utf8.ValidString(text) && strings.IndexFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) < 0 {
		return nil
	}
	return fault.Refuse("give it another name (kubectl config rename-context)", "%s %q holds a character that cannot be typed", what, text)
}

// ofSite gives the value of a flag that is SITE=VALUE, and may be given for
// several sites between commas (pflag's StringToString, which reads a text with
// more than one '=' as CSV, and takes the quotes off the ends of any other one).
func ofSite(site, value string) (string, error) {
	if strings.Count(value, "=") == 0 {
		if strings.HasSuffix(value, `"`) {
			return "", fault.Refuse("give it another name (kubectl config rename-context)", "%q ends in a quote, which no flag of a site can", value)
		}
		return site + "=" + value, nil
	}
	text := site + "=" + value
	if strings.ContainsAny(text, `",`) {
		text = fmt.Sprintf(`"%s"`, strings.ReplaceAll(text, `"`, `""`))
	}
	return text, nil
}
