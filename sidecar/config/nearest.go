package config

import (
	"reflect"
	"strings"

	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
)

// knownKeys lists every key of sync.toml as table.key.
func knownKeys() []string {
	var keys []string
	t := reflect.TypeFor[wire.SyncFile]()
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("toml"), ",")
		keys = append(keys, name)
		inner := f.Type
		if inner.Kind() == reflect.Pointer {
			inner = inner.Elem()
		}
		if inner.Kind() != reflect.Struct {
			continue
		}
		for k := range inner.NumField() {
			sub, _, _ := strings.Cut(inner.Field(k).Tag.Get("toml"), ",")
			keys = append(keys, name+"."+sub)
		}
	}
	return keys
}

// nearest returns the known key that is fewest edits away from key, or "" when
// none is close. Keys of the same table are preferred.
func nearest(key string, known []string) string {
	best, bestDist := "", 2+len(key)/3
	table, last, _ := strings.Cut(key, ".")
	for _, k := range known {
		d := distance(key, k)
		kt, kl, ok := strings.Cut(k, ".")
		if ok && last != "" && kt != table {
			// The right name in the wrong table.
			if dl := distance(last, kl); dl <= 1 {
				d = min(d, dl+1)
			}
		}
		if d < bestDist {
			best, bestDist = k, d
		}
	}
	return best
}

// distance is the Levenshtein distance.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diag := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diag
			if a[i] != b[j] {
				cost++
			}
			diag = row[j+1]
			row[j+1] = min(cost, diag+1, row[j]+1)
		}
	}
	return row[len(b)]
}
