package verify

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// stream reads a stream with its groups. Parts of it exist on newer servers
// only and are compared where both sides have them.
func (r *reader) stream(ctx context.Context) (content, error) {
	reply, err := r.ask(ctx, "XINFO", "STREAM", r.key)
	if err != nil {
		return nil, err
	}
	info, err := asMap(reply)
	if err != nil {
		return nil, fmt.Errorf("XINFO STREAM: %w", err)
	}
	length, err := asInt(info["length"])
	if err != nil {
		return nil, fmt.Errorf("XINFO STREAM: length: %w", err)
	}
	entries, err := r.entries(ctx, length)
	if err != nil {
		return nil, err
	}
	c := content{entries.part("entries")}
	for _, field := range []string{"last-generated-id", "max-deleted-entry-id", "entries-added"} {
		value, ok := info[field]
		if !ok {
			continue
		}
		single := newSequence()
		single.add(fmt.Sprint(value))
		c = append(c, single.part(field))
	}
	groups, err := r.groups(ctx)
	if err != nil {
		return nil, err
	}
	return append(c, groups...), nil
}

func (r *reader) entries(ctx context.Context, length int64) (*sequence, error) {
	digest, step := newSequence(), newWindow()
	for from := "-"; ; {
		reply, err := r.ask(ctx, "XRANGE", r.key, from, "+", "COUNT", strconv.FormatInt(step.count, 10))
		if err != nil {
			return nil, err
		}
		list, err := asList(reply)
		if err != nil {
			return nil, fmt.Errorf("XRANGE: %w", err)
		}
		var all []string
		for _, member := range list {
			entry, err := asList(member)
			if err != nil || len(entry) != 2 {
				return nil, fmt.Errorf("XRANGE: expected an id and fields: %w", unexpected("two members", member))
			}
			id, err := asString(entry[0])
			if err != nil {
				return nil, fmt.Errorf("XRANGE: id: %w", err)
			}
			fields, err := asStrings(entry[1])
			if err != nil {
				return nil, fmt.Errorf("XRANGE: fields: %w", err)
			}
			digest.add(append([]string{id}, fields...)...)
			all = append(all, fields...)
			if from, err = nextID(id); err != nil {
				return nil, err
			}
		}
		if int64(len(list)) < step.count || from == "" {
			break
		}
		step.took(all)
	}
	if digest.count != length {
		return nil, errChanged
	}
	return digest, nil
}

// groups reads the consumer groups, their consumers and pending entries.
func (r *reader) groups(ctx context.Context) (content, error) {
	reply, err := r.ask(ctx, "XINFO", "GROUPS", r.key)
	if err != nil {
		return nil, err
	}
	list, err := asList(reply)
	if err != nil {
		return nil, fmt.Errorf("XINFO GROUPS: %w", err)
	}
	var groups, consumers, pending multiset
	for _, member := range list {
		info, err := asMap(member)
		if err != nil {
			return nil, fmt.Errorf("XINFO GROUPS: %w", err)
		}
		name, err := asString(info["name"])
		if err != nil {
			return nil, fmt.Errorf("XINFO GROUPS: name: %w", err)
		}
		last, err := asString(info["last-delivered-id"])
		if err != nil {
			return nil, fmt.Errorf("XINFO GROUPS: last-delivered-id: %w", err)
		}
		if read, ok := info["entries-read"]; ok && r.delivery {
			groups.add(name, last, fmt.Sprint(read))
		} else {
			groups.add(name, last)
		}
		if err := r.consumers(ctx, name, &consumers); err != nil {
			return nil, err
		}
		count, err := asInt(info["pending"])
		if err != nil {
			return nil, fmt.Errorf("XINFO GROUPS: pending: %w", err)
		}
		before := pending.count
		if err := r.pending(ctx, name, &pending); err != nil {
			return nil, err
		}
		if pending.count-before != count {
			return nil, errChanged
		}
	}
	return content{groups.part("groups"), consumers.part("consumers"), pending.part("pending entries")}, nil
}

func (r *reader) consumers(ctx context.Context, group string, digest *multiset) error {
	reply, err := r.ask(ctx, "XINFO", "CONSUMERS", r.key, group)
	if err != nil {
		return err
	}
	list, err := asList(reply)
	if err != nil {
		return fmt.Errorf("XINFO CONSUMERS: %w", err)
	}
	for _, member := range list {
		info, err := asMap(member)
		if err != nil {
			return fmt.Errorf("XINFO CONSUMERS: %w", err)
		}
		name, err := asString(info["name"])
		if err != nil {
			return fmt.Errorf("XINFO CONSUMERS: name: %w", err)
		}
		digest.add(group, name)
	}
	return nil
}

// pendingWindow is the number of pending entries to ask for at once; they are
// small.
const pendingWindow = 1000

func (r *reader) pending(ctx context.Context, group string, digest *multiset) error {
	for from := "-"; ; {
		reply, err := r.ask(ctx, "XPENDING", r.key, group, from, "+", strconv.Itoa(pendingWindow))
		if err != nil {
			return err
		}
		list, err := asList(reply)
		if err != nil {
			return fmt.Errorf("XPENDING: %w", err)
		}
		for _, member := range list {
			entry, err := asList(member)
			if err != nil || len(entry) != 4 {
				return fmt.Errorf("XPENDING: %w", unexpected("id, consumer, idle time and deliveries", member))
			}
			id, err := asString(entry[0])
			if err != nil {
				return fmt.Errorf("XPENDING: id: %w", err)
			}
			consumer, err := asString(entry[1])
			if err != nil {
				return fmt.Errorf("XPENDING: consumer: %w", err)
			}
			if r.delivery {
				digest.add(group, id, consumer, fmt.Sprint(entry[3]))
			} else {
				digest.add(group, id, consumer)
			}
			if from, err = nextID(id); err != nil {
				return err
			}
		}
		if len(list) < pendingWindow || from == "" {
			return nil
		}
	}
}

// nextID is the smallest id after id, or "" after the greatest. The "(" form
// of an exclusive range exists only since 6.2.
func nextID(id string) (string, error) {
	millis, seq, ok := strings.Cut(id, "-")
	m, errM := strconv.ParseUint(millis, 10, 64)
	s, errS := strconv.ParseUint(seq, 10, 64)
	switch {
	case !ok || errM != nil || errS != nil:
		return "", fmt.Errorf("stream id of another form than MS-SEQ")
	case s < math.MaxUint64:
		return fmt.Sprintf("%d-%d", m, s+1), nil
	case m < math.MaxUint64:
		return fmt.Sprintf("%d-0", m+1), nil
	}
	return "", nil
}
