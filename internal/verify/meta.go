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
	typ      string
	deadline int64 // Unix milliseconds, or noDeadline
	exact    bool  // the deadline comes from PEXPIRETIME, not from two clocks
	size     int64 // estimated memory; MaxInt64 when the server does not say
}

// metas reads type, deadline and size of keys.
func (s *side) metas(ctx context.Context, db int, keys []string) ([]meta, error) {
	out := make([]meta, len(keys))
	if !s.has(db) {
		return out, nil
	}
	replies, err := s.askKeyed(ctx, db, keys, func(node int, key string) [][]string {
		commands := [][]string{{"TYPE", key}}
		if s.caps[node].pexpiretime {
			commands = append(commands, []string{"PEXPIRETIME", key})
		} else {
			commands = append(commands, []string{"PTTL", key}, []string{"TIME"})
		}
		if s.caps[node].sizeEstimate {
			commands = append(commands, []string{"MEMORY", "USAGE", key, "SAMPLES", "5"})
		}
		return commands
	})
	if err != nil {
		return nil, err
	}
	for i, key := range keys {
		if out[i], err = parseMeta(replies[i], s.caps[s.owner(key)]); err != nil {
			return nil, fmt.Errorf("verify: site %s: key %s: %w", s.Name, escape(key), err)
		}
	}
	return out, nil
}

func parseMeta(replies []any, caps capabilities) (meta, error) {
	m := meta{size: math.MaxInt64, exact: caps.pexpiretime}
	var err error
	if m.typ, err = asString(replies[0]); err != nil {
		return m, err
	}
	m.exists = m.typ != "none"
	if m.deadline, err = asInt(replies[1]); err != nil {
		return m, err
	}
	next := replies[2:]
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
	if m.deadline < 0 {
		// -2 says that the key went away after TYPE.
		m.exists = m.exists && m.deadline == noDeadline
		m.deadline = noDeadline
	}
	if caps.sizeEstimate && next[0] != nil {
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

// exist says which keys exist.
func (s *side) exist(ctx context.Context, db int, keys []string) ([]bool, error) {
	out := make([]bool, len(keys))
	if !s.has(db) {
		return out, nil
	}
	replies, err := s.askKeyed(ctx, db, keys, func(_ int, key string) [][]string {
		return [][]string{{"EXISTS", key}}
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

// dumpFooter is the version (2 bytes) and the checksum (8) that end a payload.
const dumpFooter = 10

// dumps reads the DUMP payloads of keys without their footers; nil means that
// the key is gone.
func (s *side) dumps(ctx context.Context, db int, keys []string) ([][]byte, error) {
	replies, err := s.askKeyed(ctx, db, keys, func(_ int, key string) [][]string {
		return [][]string{{"DUMP", key}}
	})
	if err != nil {
		return nil, err
	}
	out := make([][]byte, len(keys))
	for i, reply := range replies {
		if reply[0] == nil {
			continue
		}
		payload, err := asString(reply[0])
		if err == nil && len(payload) < dumpFooter {
			err = fmt.Errorf("DUMP payload of %d bytes", len(payload))
		}
		if err != nil {
			return nil, fmt.Errorf("verify: site %s: key %s: %w", s.Name, escape(keys[i]), err)
		}
		out[i] = []byte(payload[:len(payload)-dumpFooter])
	}
	return out, nil
}

// fingerprint identifies the state of a key on one side well enough to see
// whether it changed between two rounds. The zero value is an absent key.
type fingerprint [sha256.Size]byte

func (m meta) fingerprint(value []byte) fingerprint {
	if !m.exists {
		return fingerprint{}
	}
	h := sha256.New()
	fmt.Fprintf(h, "%s %t ", m.typ, m.deadline == noDeadline)
	if m.exact {
		fmt.Fprintf(h, "%d ", m.deadline)
	}
	h.Write(value)
	return fingerprint(h.Sum(nil))
}
