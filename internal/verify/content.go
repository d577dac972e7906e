package verify

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
)

// reader reads the content of one key on one side.
type reader struct {
	*side
	db       int
	key      string
	delivery bool // Options.StreamDelivery
}

func (r *reader) ask(ctx context.Context, args ...string) (any, error) {
	return r.askOne(ctx, r.db, r.key, args...)
}

// errNoContent says that a type can be compared by its payload only.
var errNoContent = errors.New("a type of a module")

// content reads the whole value in ranges and returns its digests. The error
// is errChanged when the value was not the same from beginning to end.
func (r *reader) content(ctx context.Context, typ string) (content, error) {
	var (
		c   content
		err error
	)
	switch typ {
	case "string":
		c, err = r.text(ctx)
	case "list":
		c, err = r.list(ctx)
	case "hash":
		c, err = r.unordered(ctx, "HLEN", "HSCAN", r.addHash)
	case "set":
		c, err = r.unordered(ctx, "SCARD", "SSCAN", addSet)
	case "zset":
		c, err = r.unordered(ctx, "ZCARD", "ZSCAN", addSorted)
	case "stream":
		c, err = r.stream(ctx)
	default:
		return nil, errNoContent
	}
	if err != nil && !errors.Is(err, errChanged) {
		return nil, fmt.Errorf("verify: site %s: key %s: %w", r.Name, escape(r.key), err)
	}
	return c, err
}

// number asks for a number, such as a length.
func (r *reader) number(ctx context.Context, args ...string) (int64, error) {
	reply, err := r.ask(ctx, args...)
	if err != nil {
		return 0, err
	}
	return asInt(reply)
}

func (r *reader) text(ctx context.Context) (content, error) {
	length, err := r.number(ctx, "STRLEN", r.key)
	if err != nil {
		return nil, err
	}
	digest := newSequence()
	for from := int64(0); from < length; from += replyBudget {
		to := min(from+replyBudget, length) - 1
		reply, err := r.ask(ctx, "GETRANGE", r.key, strconv.FormatInt(from, 10), strconv.FormatInt(to, 10))
		if err != nil {
			return nil, err
		}
		chunk, err := asString(reply)
		if err != nil {
			return nil, err
		}
		if int64(len(chunk)) != to-from+1 {
			return nil, errChanged
		}
		digest.add(chunk)
	}
	return content{digest.part("value")}, nil
}

func (r *reader) list(ctx context.Context) (content, error) {
	length, err := r.number(ctx, "LLEN", r.key)
	if err != nil {
		return nil, err
	}
	digest, step := newSequence(), newWindow()
	for from := int64(0); from < length; {
		to := min(from+step.count, length) - 1
		reply, err := r.ask(ctx, "LRANGE", r.key, strconv.FormatInt(from, 10), strconv.FormatInt(to, 10))
		if err != nil {
			return nil, err
		}
		members, err := asStrings(reply)
		if err != nil {
			return nil, err
		}
		if int64(len(members)) != to-from+1 {
			return nil, errChanged
		}
		for _, m := range members {
			digest.add(m)
		}
		step.took(members)
		from = to + 1
	}
	return content{digest.part("elements")}, nil
}

// unordered reads a hash, set or sorted set with its scan command.
func (r *reader) unordered(ctx context.Context, lengthCommand, scanCommand string, add func(context.Context, *multiset, []string) error) (content, error) {
	// A second try keeps the set of what it saw: the first one may have been
	// given an element twice.
	for _, digest := range []*multiset{{}, {seen: map[[16]byte]struct{}{}}} {
		step := newWindow()
		for cursor := "0"; ; {
			reply, err := r.ask(ctx, scanCommand, r.key, cursor, "COUNT", strconv.FormatInt(step.count, 10))
			if err != nil {
				return nil, err
			}
			var members []string
			if cursor, members, err = asScan(reply); err != nil {
				return nil, err
			}
			if err := add(ctx, digest, members); err != nil {
				return nil, err
			}
			step.took(members)
			if cursor == "0" {
				break
			}
		}
		length, err := r.number(ctx, lengthCommand, r.key)
		if err != nil {
			return nil, err
		}
		if digest.count == length {
			return content{digest.part("elements")}, nil
		}
	}
	return nil, errChanged
}

// addHash adds fields and values, and the deadlines of those fields that have
// one of their own.
func (r *reader) addHash(ctx context.Context, digest *multiset, members []string) error {
	if len(members)%2 != 0 {
		return fmt.Errorf("HSCAN: expected fields and values, got %d members", len(members))
	}
	deadlines := make([]int64, len(members)/2)
	if r.caps[r.owner(r.key)].fieldTTL && len(members) > 0 {
		command := []string{"HPEXPIRETIME", r.key, "FIELDS", strconv.Itoa(len(members) / 2)}
		for i := 0; i < len(members); i += 2 {
			command = append(command, members[i])
		}
		reply, err := r.ask(ctx, command...)
		if err != nil {
			return err
		}
		list, err := asList(reply)
		if err != nil {
			return err
		}
		if len(list) != len(deadlines) {
			return errChanged
		}
		for i, member := range list {
			if deadlines[i], err = asInt(member); err != nil {
				return err
			}
		}
	}
	for i, deadline := range deadlines {
		if deadline > 0 {
			digest.add(members[2*i], members[2*i+1], strconv.FormatInt(deadline, 10))
		} else {
			digest.add(members[2*i], members[2*i+1])
		}
	}
	return nil
}

func addSet(_ context.Context, digest *multiset, members []string) error {
	for _, m := range members {
		digest.add(m)
	}
	return nil
}

// addSorted adds members with the bits of their scores: two servers may print
// the same number differently.
func addSorted(_ context.Context, digest *multiset, members []string) error {
	if len(members)%2 != 0 {
		return fmt.Errorf("ZSCAN: expected members and scores, got %d members", len(members))
	}
	for i := 0; i < len(members); i += 2 {
		score, err := strconv.ParseFloat(members[i+1], 64)
		if err != nil {
			return fmt.Errorf("ZSCAN: %w", errors.New("a score is no number"))
		}
		digest.add(members[i], strconv.FormatUint(math.Float64bits(score), 16))
	}
	return nil
}
