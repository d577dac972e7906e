package verify

import (
	"fmt"
	"strconv"
)

// asString reads a bulk or simple string.
func asString(reply any) (string, error) {
	if s, ok := reply.(string); ok {
		return s, nil
	}
	return "", unexpected("a string", reply)
}

// asInt reads an integer, also one in a string.
func asInt(reply any) (int64, error) {
	switch v := reply.(type) {
	case int64:
		return v, nil
	case string:
		return strconv.ParseInt(v, 10, 64)
	}
	return 0, unexpected("an integer", reply)
}

func asList(reply any) ([]any, error) {
	if list, ok := reply.([]any); ok {
		return list, nil
	}
	return nil, unexpected("a list", reply)
}

func asStrings(reply any) ([]string, error) {
	list, err := asList(reply)
	if err != nil {
		return nil, err
	}
	out := make([]string, len(list))
	for i, member := range list {
		if out[i], err = asString(member); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// asMap reads a flat list of names and values.
func asMap(reply any) (map[string]any, error) {
	list, err := asList(reply)
	if err != nil {
		return nil, err
	}
	if len(list)%2 != 0 {
		return nil, fmt.Errorf("expected pairs, got %d members", len(list))
	}
	out := make(map[string]any, len(list)/2)
	for i := 0; i < len(list); i += 2 {
		name, err := asString(list[i])
		if err != nil {
			return nil, err
		}
		out[name] = list[i+1]
	}
	return out, nil
}

// asScan reads the reply of SCAN and its kin.
func asScan(reply any) (cursor string, members []string, err error) {
	list, err := asList(reply)
	if err != nil {
		return "", nil, err
	}
	if len(list) != 2 {
		return "", nil, fmt.Errorf("expected a cursor and a list, got %d members", len(list))
	}
	if cursor, err = asString(list[0]); err != nil {
		return "", nil, err
	}
	members, err = asStrings(list[1])
	return cursor, members, err
}

// unexpected does not print the reply, which may hold a value.
func unexpected(want string, reply any) error {
	return fmt.Errorf("expected %s, got %T", want, reply)
}

// longestName is how much of a key name is printed, in bytes.
const longestName = 256

// escape makes a key name safe to print: quoted, with control characters and
// what is no UTF-8 as escapes. A name may be as long as a value; more than
// longestName bytes of it are cut.
func escape(key string) string {
	if len(key) > longestName {
		return fmt.Sprintf("%s... (%d bytes)", strconv.Quote(key[:longestName]), len(key))
	}
	return strconv.Quote(key)
}
