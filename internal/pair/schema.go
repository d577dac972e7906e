package pair

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"sort"
	"strings"
)

// unknownKeys lists the keys of a decoded JSON value that type t does not
// have, each with its path and the nearest key that it does have.
func unknownKeys(t reflect.Type, value any, path string) []string {
	t = indirect(t)
	switch v := value.(type) {
	case map[string]any:
		switch {
		case decodesItself(t):
			return nil
		case t.Kind() == reflect.Map:
			return inMap(t.Elem(), v, path)
		case t.Kind() == reflect.Struct:
			return inStruct(t, v, path)
		}
	case []any:
		if t.Kind() != reflect.Slice {
			return nil
		}
		var unknown []string
		for i, element := range v {
			unknown = append(unknown, unknownKeys(t.Elem(), element, fmt.Sprintf("%s[%d]", path, i))...)
		}
		return unknown
	}
	return nil
}

func inMap(elem reflect.Type, object map[string]any, path string) []string {
	var unknown []string
	for _, key := range sortedKeys(object) {
		unknown = append(unknown, unknownKeys(elem, object[key], join(path, key))...)
	}
	return unknown
}

func inStruct(t reflect.Type, object map[string]any, path string) []string {
	fields := jsonFields(t)
	var unknown []string
	for _, key := range sortedKeys(object) {
		field, known := fields[key]
		if known {
			unknown = append(unknown, unknownKeys(field, object[key], join(path, key))...)
			continue
		}
		unknown = append(unknown, fmt.Sprintf("unknown key %s%s", join(path, key), hint(key, sortedKeys(fields))))
	}
	return unknown
}

// keepUnknown copies into fresh what old has and type t does not know, so
// that a rewrite by an older version loses nothing a newer one wrote. Both
// are decoded JSON. Elements of lists are matched by position.
func keepUnknown(t reflect.Type, old, fresh any) {
	t = indirect(t)
	if decodesItself(t) {
		return
	}
	switch oldValue := old.(type) {
	case map[string]any:
		freshValue, ok := fresh.(map[string]any)
		if !ok {
			return
		}
		fields := jsonFields(t)
		for key, oldChild := range oldValue {
			if t.Kind() == reflect.Map {
				keepUnknown(t.Elem(), oldChild, freshValue[key])
				continue
			}
			if field, known := fields[key]; known {
				keepUnknown(field, oldChild, freshValue[key])
			} else {
				freshValue[key] = oldChild
			}
		}
	case []any:
		freshValue, ok := fresh.([]any)
		if !ok || t.Kind() != reflect.Slice {
			return
		}
		for i := range min(len(oldValue), len(freshValue)) {
			keepUnknown(t.Elem(), oldValue[i], freshValue[i])
		}
	}
}

// decodesItself tells types whose JSON is not the one of their fields, such
// as quantities and slot sets.
func decodesItself(t reflect.Type) bool {
	jsonType := reflect.TypeFor[json.Unmarshaler]()
	textType := reflect.TypeFor[interface{ UnmarshalText([]byte) error }]()
	pointer := reflect.PointerTo(t)
	return pointer.Implements(jsonType) || pointer.Implements(textType)
}

func jsonFields(t reflect.Type) map[string]reflect.Type {
	fields := map[string]reflect.Type{}
	if t.Kind() != reflect.Struct {
		return fields
	}
	for i := range t.NumField() {
		field := t.Field(i)
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		switch {
		case field.Anonymous && name == "":
			maps.Copy(fields, jsonFields(indirect(field.Type)))
		case name != "-" && name != "":
			fields[name] = field.Type
		}
	}
	return fields
}

func indirect(t reflect.Type) reflect.Type {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	return keys
}

// hint names the nearest valid key where one is near, else all of them.
func hint(key string, valid []string) string {
	best, distance := "", 1+max(2, len(key)/3)
	for _, candidate := range valid {
		if d := editDistance(strings.ToLower(key), strings.ToLower(candidate)); d < distance {
			best, distance = candidate, d
		}
	}
	if best != "" {
		return fmt.Sprintf(" (did you mean %q?)", best)
	}
	return fmt.Sprintf(" (valid keys: %s)", strings.Join(valid, ", "))
}

// editDistance counts the insertions, deletions and changes between a and b.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			diagonal, row[j] = row[j], min(row[j]+1, row[j-1]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}
