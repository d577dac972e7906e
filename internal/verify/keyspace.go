package verify

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
)

// keyCount is what INFO keyspace says of one database of a server.
type keyCount struct {
	keys int64
	// dated says that some of the keys have a deadline, or that the server
	// does not tell.
	dated bool
}

// databases are those of the servers of a side that hold keys: the first index
// is that of the server.
type databases []map[int]keyCount

// all lists the databases of a side.
func (d databases) all() []int {
	var list []int
	for _, node := range d {
		for db := range node {
			if !slices.Contains(list, db) {
				list = append(list, db)
			}
		}
	}
	slices.Sort(list)
	return list
}

func (d databases) total() int64 {
	total := int64(0)
	for _, node := range d {
		for _, count := range node {
			total += count.keys
		}
	}
	return total
}

// dated says whether keys of a database have deadlines.
func (d databases) dated(db int) bool {
	return slices.ContainsFunc(d, func(node map[int]keyCount) bool { return node[db].dated })
}

// keyspace lists the databases that hold keys, and adds their sizes to the
// total of the progress.
func (r *run) keyspace(ctx context.Context, s *side, out *wire.VerifySideResult) (databases, error) {
	found, err := s.keyspace(ctx)
	if err != nil {
		return nil, err
	}
	out.Name, out.Databases = s.Name, found.all()
	for _, node := range s.Nodes {
		out.Servers = append(out.Servers, node.Name())
	}
	r.progress.Total += found.total()
	return found, nil
}

// keyspace asks every server of a side for its databases.
func (s *side) keyspace(ctx context.Context) (databases, error) {
	found := make(databases, len(s.Nodes))
	for i, node := range s.Nodes {
		replies, err := s.ask(ctx, i, 0, [][]string{{"INFO", "keyspace"}})
		if err != nil {
			return nil, err
		}
		if refused, ok := replies[0].(error); ok {
			return nil, s.refusal(i, "INFO keyspace", refused)
		}
		text, err := asString(replies[0])
		if err != nil {
			return nil, fmt.Errorf("verify: site %s: %s: INFO keyspace: %w", s.Name, node.Name(), err)
		}
		if found[i], err = parseKeyspace(text); err != nil {
			return nil, fmt.Errorf("verify: site %s: %s: INFO keyspace: %w", s.Name, node.Name(), err)
		}
	}
	return found, nil
}

// parseKeyspace reads lines such as "db0:keys=3,expires=1,avg_ttl=2000".
func parseKeyspace(text string) (map[int]keyCount, error) {
	found := map[int]keyCount{}
	for line := range strings.Lines(text) {
		name, rest, ok := strings.Cut(strings.TrimSpace(line), ":keys=")
		if !ok {
			continue
		}
		count, rest, _ := strings.Cut(rest, ",")
		db, errDB := strconv.Atoi(strings.TrimPrefix(name, "db"))
		keys, errKeys := strconv.ParseInt(count, 10, 64)
		if errDB != nil || errKeys != nil {
			return nil, fmt.Errorf("unknown line %q", line)
		}
		found[db] = keyCount{keys: keys, dated: !strings.HasPrefix(rest+",", "expires=0,")}
	}
	return found, nil
}
