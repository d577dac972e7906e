package verify

import (
	"context"
	"crypto/sha256"
	"fmt"
	"math"
)

// noDeadline is the deadline of a key without one.
const noDeadline = int64(-1)

// meta is what is known of a key without its value.
type meta struct {
	exists   bool
	deadline int64 // Unix milliseconds, or noDeadline
	exact    bool  // the deadline comes from PEXPIRETIME, not from two clocks
	size     int64 // estimated memory; 0 when not asked for, MaxInt64 when the server does not say
}

// typeNone is what TYPE says of a key that does not exist.
const typeNone = "none"

// metas reads whether keys exist, their deadlines and, with sizes, how large
// their values are.
func (s *side) metas(ctx context.Context, db int, keys []string, sizes bool) ([]meta, error) {
	out := make([]meta, len(keys))
	if !s.has(db) {
		return out, nil
	}
	replies, err := s.askKeyed(ctx, db, keys, func(commands [][]string, node int, key string) [][]string {
		if s.caps[node].pexpiretime {
			commands = append(commands, []string{"PEXPIRETIME", key})
		} else {
			commands = append(commands, []string{"PTTL", key}, []string{"TIME"})
		}
		if sizes && s.caps[node].sizeEstimate {
			commands = append(commands, []string{"MEMORY", "USAGE", key})
		}
		return commands
	})
	if err != nil {
		return nil, err
	}
	for i, key := range keys {
		if out[i], err = parseMeta(replies[i], s.caps[s.owner(key)], sizes); err != nil {
			return nil, fmt.Errorf("verify: site %s: key %s: %w", s.Name, escape(key), err)
		}
	}
	return out, nil
}

func parseMeta(replies []any, caps capabilities, sizes bool) (meta, error) {
	m := meta{exact: caps.pexpiretime}
	if sizes {
		m.size = math.MaxInt64
	}
	var err error
	if m.deadline, err = asInt(replies[0]); err != nil {
		return m, err
	}
	next := replies[1:]
	if !caps.pexpiretime {
		if m.deadline >= 0 {
			now, err := parseTime(next[0])
			if err != nil {
				return m, err
			}
			m.deadline += now
		}
		next = next[1:]
	}
	// PTTL and PEXPIRETIME say -1 without a deadline, -2 without a key.
	m.exists = m.deadline >= noDeadline
	if m.deadline < 0 {
		m.deadline = noDeadline
	}
	if sizes && caps.sizeEstimate && next[0] != nil {
		if m.size, err = asInt(next[0]); err != nil {
			return m, err
		}
	}
	return m, nil
}

// parseTime reads the reply of TIME as Unix milliseconds.
func parseTime(reply any) (int64, error) {
	list, err := asList(reply)
	if err != nil {
		return 0, err
	}
	if len(list) != 2 {
		return 0, fmt.Errorf("expected seconds and microseconds, got %d members", len(list))
	}
	seconds, err := asInt(list[0])
	if err != nil {
		return 0, err
	}
	micros, err := asInt(list[1])
	return seconds*1000 + micros/1000, err
}

// types reads the types of keys.
func (s *side) types(ctx context.Context, db int, keys []string) ([]string, error) {
	out := make([]string, len(keys))
	replies, err := s.askKeyed(ctx, db, keys, func(commands [][]string, _ int, key string) [][]string {
		return append(commands, []string{"TYPE", key})
	})
	if err != nil {
		return nil, err
	}
	for i, reply := range replies {
		if out[i], err = asString(reply[0]); err != nil {
			return nil, fmt.Errorf("verify: site %s: TYPE: %w", s.Name, err)
		}
	}
	return out, nil
}

// exist says which keys exist.
func (s *side) exist(ctx context.Context, db int, keys []string) ([]bool, error) {
	out := make([]bool, len(keys))
	if !s.has(db) {
		return out, nil
	}
	replies, err := s.askKeyed(ctx, db, keys, func(commands [][]string, _ int, key string) [][]string {
		return append(commands, []string{"EXISTS", key})
	})
	if err != nil {
		return nil, err
	}
	for i, reply := range replies {
		n, err := asInt(reply[0])
		if err != nil {
			return nil, fmt.Errorf("verify: site %s: EXISTS: %w", s.Name, err)
		}
		out[i] = n > 0
	}
	return out, nil
}

// texts reads strings: a string, ErrTooLarge, or nil for a key that is gone or
// of another type. MGET is no error for those, and costs the server a fraction
// of a DUMP.
func (s *side) texts(ctx context.Context, db int, keys []string) ([]any, error) {
	if s.Cluster {
		// One command may have keys of one slot only.
		replies, err := s.askKeyed(ctx, db, keys, func(commands [][]string, _ int, key string) [][]string {
			return append(commands, []string{"MGET", key})
		})
		if err != nil {
			return nil, err
		}
		out := make([]any, len(keys))
		for i, reply := range replies {
			one, err := asTexts(reply[0], 1)
			if err != nil {
				return nil, fmt.Errorf("verify: site %s: MGET: %w", s.Name, err)
			}
			out[i] = one[0]
		}
		return out, nil
	}
	replies, err := s.ask(ctx, 0, db, [][]string{append([]string{"MGET"}, keys...)})
	if err != nil {
		return nil, err
	}
	if refused, ok := replies[0].(error); ok {
		return nil, s.refusal(0, "MGET", refused)
	}
	out, err := asTexts(replies[0], len(keys))
	if err != nil {
		return nil, fmt.Errorf("verify: site %s: MGET: %w", s.Name, err)
	}
	return out, nil
}

func asTexts(reply any, n int) ([]any, error) {
	list, err := asList(reply)
	if err == nil && len(list) != n {
		err = fmt.Errorf("expected %d values, got %d", n, len(list))
	}
	return list, err
}

// sizes reads whether keys exist, and how large their values are. The deadlines
// are those of keys that have none.
func (s *side) sizes(ctx context.Context, db int, keys []string) ([]meta, error) {
	out := make([]meta, len(keys))
	replies, err := s.askKeyed(ctx, db, keys, func(commands [][]string, _ int, key string) [][]string {
		return append(commands, []string{"MEMORY", "USAGE", key})
	})
	if err != nil {
		return nil, err
	}
	for i, reply := range replies {
		out[i].deadline = noDeadline
		if reply[0] == nil {
			continue
		}
		out[i].exists = true
		if out[i].size, err = asInt(reply[0]); err != nil {
			return nil, fmt.Errorf("verify: site %s: MEMORY USAGE: %w", s.Name, err)
		}
	}
	return out, nil
}

// dumpFooter is the version (2 bytes) and the checksum (8) that end a payload
// (cluster.c, createDumpPayload).
const dumpFooter = 10

// tooLarge stands for a payload that was not kept. No payload is like it: the
// first byte of one is its type.
const tooLarge = "\xff"

// dumps reads the DUMP payloads of keys without their footers; "" means that
// the key is gone.
func (s *side) dumps(ctx context.Context, db int, keys []string) ([]string, error) {
	replies, err := s.askKeyed(ctx, db, keys, func(commands [][]string, _ int, key string) [][]string {
		return append(commands, []string{"DUMP", key})
	})
	if err != nil {
		return nil, err
	}
	out := make([]string, len(keys))
	for i, reply := range replies {
		if reply[0] == nil {
			continue
		}
		if reply[0] == any(ErrTooLarge) {
			out[i] = tooLarge
			continue
		}
		payload, err := asString(reply[0])
		if err == nil && len(payload) <= dumpFooter {
			err = fmt.Errorf("DUMP payload of %d bytes", len(payload))
		}
		if err != nil {
			return nil, fmt.Errorf("verify: site %s: key %s: %w", s.Name, escape(keys[i]), err)
		}
		out[i] = payload[:len(payload)-dumpFooter]
	}
	return out, nil
}

// payloadTypes are the types by the first byte of a payload (rdb.h). Of one
// that is not here, TYPE is asked for.
var payloadTypes = map[byte]string{
	0: "string",
	1: "list", 10: "list", 14: "list", 18: "list",
	2: "set", 11: "set", 20: "set",
	3: "zset", 5: "zset", 12: "zset", 17: "zset",
	4: "hash", 9: "hash", 13: "hash", 16: "hash",
	15: "stream", 19: "stream", 21: "stream",
}

// fingerprint identifies the state of a key on one side well enough to see
// whether it changed between two rounds. The zero value is an absent key.
type fingerprint [sha256.Size]byte

func (m meta) fingerprint(typ, value string) fingerprint {
	if !m.exists {
		return fingerprint{}
	}
	h := sha256.New()
	fmt.Fprintf(h, "%s %t ", typ, m.deadline == noDeadline)
	if m.exact {
		fmt.Fprintf(h, "%d ", m.deadline)
	}
	h.Write([]byte(value))
	return fingerprint(h.Sum(nil))
}
