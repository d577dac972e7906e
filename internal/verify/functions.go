package verify

import (
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"

	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
)

// library is the code of one function library.
type library [sha256.Size]byte

// libraries lists the function libraries of each server of a side.
func (s *side) libraries(ctx context.Context) ([]map[string]library, error) {
	all := make([]map[string]library, len(s.Nodes))
	for i := range s.Nodes {
		code, err := s.functionCode(ctx, i)
		if err != nil {
			return nil, err
		}
		all[i] = make(map[string]library, len(code))
		for name, text := range code {
			all[i][name] = sha256.Sum256([]byte(text))
		}
	}
	return all, nil
}

// functionCode gives the code of a server's function libraries, by name. A
// server without functions has none.
func (s *side) functionCode(ctx context.Context, node int) (map[string]string, error) {
	code := map[string]string{}
	if !s.caps[node].functions {
		return code, nil
	}
	replies, err := s.ask(ctx, node, 0, [][]string{{"FUNCTION", "LIST", "WITHCODE"}})
	if err != nil {
		return nil, err
	}
	if refused, ok := replies[0].(error); ok {
		return nil, s.refusal(node, "FUNCTION LIST", refused)
	}
	list, err := asList(replies[0])
	if err != nil {
		return nil, fmt.Errorf("verify: site %s: %s: FUNCTION LIST: %w", s.Name, s.Nodes[node].Name(), err)
	}
	for _, member := range list {
		info, err := asMap(member)
		if err != nil {
			return nil, fmt.Errorf("verify: site %s: %s: FUNCTION LIST: %w", s.Name, s.Nodes[node].Name(), err)
		}
		name, errName := asString(info["library_name"])
		text, errCode := asString(info["library_code"])
		if errName != nil || errCode != nil {
			return nil, fmt.Errorf("verify: site %s: %s: FUNCTION LIST: a library without name or code", s.Name, s.Nodes[node].Name())
		}
		code[name] = text
	}
	return code, nil
}

// compareFunctions compares the libraries. Every server of the target must
// hold each library that any server of the source holds, because a function
// can be called on any key.
func compareFunctions(ctx context.Context, source, target *side) (wire.VerifyFunctions, error) {
	var result wire.VerifyFunctions
	there, err := source.libraries(ctx)
	if err != nil {
		return result, err
	}
	here, err := target.libraries(ctx)
	if err != nil {
		return result, err
	}
	want := map[string]library{}
	for _, libs := range there {
		maps.Copy(want, libs)
	}
	result.Compared = len(want)
	for name, code := range want {
		kind := Kind("")
		for _, libs := range there {
			// The source's own servers disagree: no target can equal them all.
			if other, ok := libs[name]; ok && other != code {
				kind = Different
			}
		}
		for _, libs := range here {
			switch other, ok := libs[name]; {
			case !ok:
				kind = Missing
			case other != code && kind == "":
				kind = Different
			}
		}
		switch kind {
		case Missing:
			result.Missing = append(result.Missing, name)
		case Different:
			result.Different = append(result.Different, name)
		}
	}
	for _, libs := range here {
		for name := range libs {
			if _, ok := want[name]; !ok && !slices.Contains(result.Extra, name) {
				result.Extra = append(result.Extra, name)
			}
		}
	}
	slices.Sort(result.Missing)
	slices.Sort(result.Extra)
	slices.Sort(result.Different)
	return result, nil
}
