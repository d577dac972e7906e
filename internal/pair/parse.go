package pair

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"sigs.k8s.io/yaml"
)

// Parse reads a pair.yaml. Every key must be known; a misspelt one is
// answered with the nearest valid key. Defaults are not set here: see
// Pair.Default.
func Parse(text []byte) (Pair, error) {
	data, err := yaml.YAMLToJSONStrict(text)
	if err != nil {
		return Pair{}, fmt.Errorf("not valid YAML: %w", err)
	}
	var generic any
	if err := json.Unmarshal(data, &generic); err != nil {
		return Pair{}, fmt.Errorf("not valid YAML: %w", err)
	}
	if _, isObject := generic.(map[string]any); !isObject {
		return Pair{}, fmt.Errorf("expected an object with apiVersion: %s and kind: %s", APIVersion, Kind)
	}
	if unknown := unknownKeys(reflect.TypeFor[Pair](), generic, ""); len(unknown) > 0 {
		return Pair{}, errors.New(strings.Join(unknown, "; "))
	}
	var p Pair
	if err := json.Unmarshal(data, &p); err != nil {
		return Pair{}, typeError(err)
	}
	return p, p.checkHeader()
}

// typeError says which key has a value of the wrong type.
func typeError(err error) error {
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) {
		return fmt.Errorf("key %s: expected %s, got %s", wrong.Field, wrong.Type, wrong.Value)
	}
	return err
}

func (p Pair) checkHeader() error {
	if p.APIVersion != APIVersion {
		return fmt.Errorf("apiVersion %q: expected %q", p.APIVersion, APIVersion)
	}
	if p.Kind != Kind {
		return fmt.Errorf("kind %q: expected %q", p.Kind, Kind)
	}
	return nil
}

// Default fills what can be left out.
func (p Pair) Default() Pair {
	sites := make([]Site, len(p.Spec.Sites))
	copy(sites, p.Spec.Sites)
	for i := range sites {
		if sites[i].Name == "" {
			sites[i].Name = sites[i].Instance.Name
		}
	}
	p.Spec.Sites = sites
	if p.Spec.PreferredPrimary == "" && len(sites) > 0 {
		p.Spec.PreferredPrimary = sites[0].Name
	}
	return p
}
