package verify

import (
	"context"
	"fmt"
)

// Keys looks at single keys of a side.
type Keys struct{ side *side }

// OpenKeys asks the servers of a side what they can do.
func OpenKeys(ctx context.Context, given Side) (*Keys, error) {
	if err := given.validate(); err != nil {
		return nil, err
	}
	s, err := open(ctx, given)
	if err != nil {
		return nil, err
	}
	return &Keys{s}, nil
}

// KeyInfo is what is known of a key without its value.
type KeyInfo struct {
	Exists     bool
	DeadlineMS int64 // Unix milliseconds; 0 for none
	// Size is the server's estimate of the memory that the value takes, in
	// bytes; math.MaxInt64 where the server does not say.
	Size int64
	Node int // index of the server that has it
}

// Look asks for keys of one database.
func (k *Keys) Look(ctx context.Context, db int, keys []string) ([]KeyInfo, error) {
	metas, err := k.side.metas(ctx, db, keys, true)
	if err != nil {
		return nil, err
	}
	infos := make([]KeyInfo, len(metas))
	for i, m := range metas {
		infos[i] = KeyInfo{Exists: m.exists, DeadlineMS: max(m.deadline, 0), Size: m.size, Node: k.side.owner(keys[i])}
	}
	return infos, nil
}

// Functions gives the code of function libraries, by name. Of a library that
// several servers have, it is that of the first.
func (k *Keys) Functions(ctx context.Context, names []string) (map[string]string, error) {
	code := map[string]string{}
	for i := range k.side.Nodes {
		libraries, err := k.side.functionCode(ctx, i)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			if text, ok := libraries[name]; ok && code[name] == "" {
				code[name] = text
			}
		}
	}
	for _, name := range names {
		if code[name] == "" {
			return nil, fmt.Errorf("verify: site %s: function library %s is gone", k.side.Name, escape(name))
		}
	}
	return code, nil
}

// Escape makes the name of a key safe to print: quoted, with control
// characters and what is no UTF-8 as escapes, and cut when it is long.
func Escape(key string) string { return escape(key) }
