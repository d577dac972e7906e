package plugin

import (
	"fmt"
	"strings"

	"github.com/redis-sync/kubectl-redis-sync/manifests"
)

// exitTexts say what the exit codes mean; each verb lists its own.
var exitTexts = map[int]string{
	0:   "done, or nothing to do",
	1:   "error",
	2:   "there are changes (only with --detailed-exitcode)",
	3:   "refused by a safety check, nothing done",
	4:   "timed out, state as reported",
	5:   "the sides differ",
	6:   "stopped in the middle, run again to go on",
	10:  "no such pair or instance",
	11:  "another operation changed the pair meanwhile",
	12:  "authentication or RBAC",
	130: "interrupted",
}

// long makes the help text of a verb: what it does, the permissions it needs,
// its exit codes.
func long(text, verb string, codes ...int) string {
	var b strings.Builder
	b.WriteString(strings.TrimSpace(text))
	table, err := manifests.Table(verb)
	if err != nil {
		panic(err) // an embedded file is missing or broken: a test reads them all
	}
	fmt.Fprintf(&b, "\n\nRBAC (ClusterRoles in manifests/rbac/%s.yaml)\n%s\n\nEXIT STATUS\n", verb, table)
	for _, code := range codes {
		fmt.Fprintf(&b, "  %-4d %s\n", code, exitTexts[code])
	}
	return strings.TrimRight(b.String(), "\n")
}
