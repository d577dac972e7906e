package pair

import (
	"fmt"
	"strings"
	"unicode"
)

// Reference is an instance as the command line names it.
type Reference struct {
	Site      string // "" when not given
	Context   string
	Namespace string
	Kind      string // "" when not given
	Name      string
}

// ParseReference reads [SITE=]CONTEXT/NAMESPACE/[KIND/]NAME. The name of a
// context may itself hold slashes (EKS), so the text is read from its end. A
// kind is told from a namespace by its capital letter.
func ParseReference(text string) (Reference, error) {
	var ref Reference
	rest := text
	if site, after, found := strings.Cut(text, "="); found && !strings.ContainsAny(site, "/:") {
		ref.Site, rest = site, after
	}
	parts := strings.Split(rest, "/")
	take := func() string {
		if len(parts) == 0 {
			return ""
		}
		last := parts[len(parts)-1]
		parts = parts[:len(parts)-1]
		return last
	}
	ref.Name = take()
	if len(parts) > 0 && startsUpper(parts[len(parts)-1]) {
		ref.Kind = take()
	}
	ref.Namespace = take()
	ref.Context = strings.Join(parts, "/")
	if ref.Name == "" || ref.Namespace == "" || ref.Context == "" {
		return Reference{}, fmt.Errorf("%q: expected CONTEXT/NAMESPACE/NAME or CONTEXT/NAMESPACE/KIND/NAME", text)
	}
	return ref, nil
}

func startsUpper(s string) bool {
	for _, r := range s {
		return unicode.IsUpper(r)
	}
	return false
}

// FromReferences makes a pair of two instances; the source becomes the
// preferred primary.
func FromReferences(name string, source, target Reference) Pair {
	p := Pair{APIVersion: APIVersion, Kind: Kind, Metadata: Metadata{Name: name}}
	names := siteNames(source, target)
	for i, ref := range []Reference{source, target} {
		p.Spec.Sites = append(p.Spec.Sites, Site{
			Name:      names[i],
			Context:   ref.Context,
			Namespace: ref.Namespace,
			Instance:  InstanceRef{Name: ref.Name, Kind: ref.Kind},
		})
	}
	p.Spec.PreferredPrimary = names[0]
	return p
}

// siteNames are the instance names; where these are equal, what tells the two
// apart: the contexts, else the namespaces, else the letters a and b.
func siteNames(source, target Reference) [2]string {
	pick := func(suffixA, suffixB string) [2]string {
		names := [2]string{source.Name + suffixA, target.Name + suffixB}
		if source.Site != "" {
			names[0] = source.Site
		}
		if target.Site != "" {
			names[1] = target.Site
		}
		return names
	}
	usable := func(a, b string) bool { return a != b && isLabel(a) && isLabel(b) }
	names := pick("", "")
	switch {
	case names[0] != names[1]:
		return names
	case usable(source.Context, target.Context):
		return pick("-"+source.Context, "-"+target.Context)
	case usable(source.Namespace, target.Namespace):
		return pick("-"+source.Namespace, "-"+target.Namespace)
	default:
		return pick("-a", "-b")
	}
}
