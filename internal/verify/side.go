package verify

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"
)

// Node runs commands on one Redis server. It is used by several goroutines at
// once.
type Node interface {
	// Name is the pod name or the address, for errors.
	Name() string
	// Pipeline sends the commands together, in order, with database db
	// selected, and returns one reply for each: string (any bytes), int64,
	// nil, []any, or an error that the server sent in reply to that command.
	// The error it returns itself is that of a broken connection. A node may
	// give ErrTooLarge in the place of a reply that it does not want to hold.
	Pipeline(ctx context.Context, db int, commands [][]string) ([]any, error)
}

// Side is one of the two instances to compare.
type Side struct {
	// Name is the site's name.
	Name string
	// Nodes are the servers that hold the data: the masters of a cluster, or
	// one server.
	Nodes []Node
	// Cluster says that there is only database 0.
	Cluster bool
	// Owner gives the index in Nodes of the server that serves a key. It may
	// be nil with a single node. SlotOwner makes one.
	Owner func(key string) int
}

func (s *Side) validate() error {
	switch {
	case len(s.Nodes) == 0:
		return fmt.Errorf("verify: site %s: no server to read from", s.Name)
	case len(s.Nodes) > 1 && s.Owner == nil:
		return fmt.Errorf("verify: site %s: %d servers, and nothing says which one serves a key", s.Name, len(s.Nodes))
	}
	return nil
}

// side is a Side with what was learnt about its servers.
type side struct {
	Side
	caps []capabilities  // of Nodes
	ours map[string]bool // keys of ours that were seen
}

// capabilities says which newer commands a server knows.
type capabilities struct {
	pexpiretime  bool // 7.0
	functions    bool // 7.0
	fieldTTL     bool // hash-field deadlines: Redis 7.4, Valkey 9
	sizeEstimate bool // MEMORY USAGE
	texts        bool // MGET
}

// open asks every server what it can do. Each probe reads a key of a name
// that nobody uses; its existence would not matter.
func open(ctx context.Context, given Side) (*side, error) {
	s := &side{Side: given, caps: make([]capabilities, len(given.Nodes))}
	for i := range s.Nodes {
		key, err := s.probeKey(i)
		if err != nil {
			return nil, err
		}
		replies, err := s.ask(ctx, i, 0, [][]string{
			{"PEXPIRETIME", key},
			{"MEMORY", "USAGE", key},
			{"MGET", key},
			{"FUNCTION", "LIST", "LIBRARYNAME", "none"},
			{"HPEXPIRETIME", key, "FIELDS", "1", "f"},
		})
		if err != nil {
			return nil, err
		}
		known := make([]bool, len(replies))
		for j, r := range replies {
			refused, isErr := r.(error)
			known[j] = !isErr
			// The first three have a substitute where they are not permitted.
			// Without the others something would be left out silently.
			if isErr && !isUnknown(refused) && (j > 2 || !isDenied(refused)) {
				return nil, fmt.Errorf("verify: site %s: %s: %w", s.Name, s.Nodes[i].Name(), refused)
			}
		}
		s.caps[i] = capabilities{pexpiretime: known[0], sizeEstimate: known[1], texts: known[2], functions: known[3], fieldTTL: known[4]}
	}
	return s, nil
}

// all says whether every server can do something.
func (s *side) all(can func(capabilities) bool) bool {
	return !slices.ContainsFunc(s.caps, func(c capabilities) bool { return !can(c) })
}

// probeKey finds a key name that node i serves.
func (s *side) probeKey(i int) (string, error) {
	const tries = 1 << 20 // a node with one slot of 16384 is found long before
	for n := range tries {
		key := "redis-sync:probe:" + strconv.Itoa(n)
		if s.owner(key) == i {
			return key, nil
		}
	}
	return "", fmt.Errorf("verify: site %s: %s serves no slot", s.Name, s.Nodes[i].Name())
}

func (s *side) owner(key string) int {
	if s.Owner == nil {
		return 0
	}
	return s.Owner(key)
}

// has reports whether the side has a database of this number at all.
func (s *side) has(db int) bool { return db == 0 || !s.Cluster }

// ask runs commands on one node; error replies are left in place.
func (s *side) ask(ctx context.Context, node, db int, commands [][]string) ([]any, error) {
	if node < 0 || node >= len(s.Nodes) {
		return nil, fmt.Errorf("verify: site %s: no server serves the slot of a key; its slots changed or are not covered", s.Name)
	}
	replies, err := s.Nodes[node].Pipeline(ctx, db, commands)
	if err != nil {
		return nil, fmt.Errorf("verify: site %s: %s: %s: %w", s.Name, s.Nodes[node].Name(), commands[0][0], err)
	}
	if len(replies) != len(commands) {
		return nil, fmt.Errorf("verify: site %s: %s: %d replies to %d commands", s.Name, s.Nodes[node].Name(), len(replies), len(commands))
	}
	return replies, nil
}

// askOne runs one command on the node of a key; an error reply is an error.
func (s *side) askOne(ctx context.Context, db int, key string, args ...string) (any, error) {
	node := s.owner(key)
	replies, err := s.ask(ctx, node, db, [][]string{args})
	if err != nil {
		return nil, err
	}
	if refused, ok := replies[0].(error); ok {
		return nil, s.refusal(node, args[0], refused)
	}
	return replies[0], nil
}

// askKeyed runs the commands that perKey appends for each key on the key's
// node, all nodes at the same time, and returns the replies of each key
// together. An error reply is an error.
func (s *side) askKeyed(ctx context.Context, db int, keys []string, perKey func(commands [][]string, node int, key string) [][]string) ([][]any, error) {
	byNode := make([][]int, len(s.Nodes))
	for i, key := range keys {
		n := s.owner(key)
		if n < 0 || n >= len(s.Nodes) {
			return nil, fmt.Errorf("verify: site %s: no server serves the slot of key %s", s.Name, escape(key))
		}
		byNode[n] = append(byNode[n], i)
	}
	out := make([][]any, len(keys))
	group, ctx := errgroup.WithContext(ctx)
	for node, indexes := range byNode {
		if len(indexes) == 0 {
			continue
		}
		group.Go(func() error {
			commands := make([][]string, 0, 2*len(indexes))
			ends := make([]int, len(indexes))
			for j, i := range indexes {
				commands = perKey(commands, node, keys[i])
				ends[j] = len(commands)
			}
			replies, err := s.ask(ctx, node, db, commands)
			if err != nil {
				return err
			}
			for j, reply := range replies {
				if refused, ok := reply.(error); ok && !errors.Is(refused, ErrTooLarge) {
					return s.refusal(node, commands[j][0], refused)
				}
			}
			from := 0
			for j, i := range indexes {
				out[i], from = replies[from:ends[j]], ends[j]
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return out, nil
}

// refusal wraps an error reply. What only says that the key changed its type
// or went away between two reads becomes errChanged.
func (s *side) refusal(node int, command string, err error) error {
	text := err.Error()
	if strings.HasPrefix(text, "WRONGTYPE") || strings.Contains(text, "no such key") || strings.HasPrefix(text, "NOGROUP") {
		return errChanged
	}
	return fmt.Errorf("verify: site %s: %s: %s: %w", s.Name, s.Nodes[node].Name(), command, err)
}

// ErrTooLarge stands for the reply to a DUMP that was not kept, because of its
// size. The value is then read in ranges.
var ErrTooLarge = errors.New("the reply is too large to be held")

// errChanged says that a key changed while it was being read.
var errChanged = errors.New("changed while it was being read")

func isUnknown(err error) bool {
	text := strings.ToLower(err.Error())
	return strings.Contains(text, "unknown command") || strings.Contains(text, "unknown subcommand")
}

func isDenied(err error) bool { return strings.HasPrefix(err.Error(), "NOPERM") }
