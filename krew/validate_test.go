package krew_test

import (
	"errors"
	"fmt"
	"path"
	"regexp"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/yaml"
)

// manifest is the part of krew's Plugin that krew itself checks. krew reads
// strictly: a field that is not here is an error there, too.
type manifest struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Name string `json:"name"`
	} `json:"metadata"`
	Spec struct {
		Version          string     `json:"version"`
		Homepage         string     `json:"homepage"`
		ShortDescription string     `json:"shortDescription"`
		Description      string     `json:"description"`
		Caveats          string     `json:"caveats"`
		Platforms        []platform `json:"platforms"`
	} `json:"spec"`
}

type platform struct {
	URI      string                `json:"uri"`
	Sha256   string                `json:"sha256"`
	Selector *metav1.LabelSelector `json:"selector"`
	Files    []struct {
		From string `json:"from"`
		To   string `json:"to"`
	} `json:"files"`
	Bin string `json:"bin"`
}

var (
	safeName = regexp.MustCompile(`^[\w-]+$`)
	checksum = regexp.MustCompile(`^[a-f0-9]{64}$`)
	semver   = regexp.MustCompile(`^v(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?$`)
)

// supported are the platforms that we release for; krew knows more.
var supported = []string{"linux/amd64", "linux/arm64", "darwin/amd64", "darwin/arm64", "windows/amd64", "windows/arm64"}

// validate applies the rules of krew's own validation and of its index's
// checks: names, version, checksums, selectors, the files of each platform,
// no two platforms for one machine, a license among the files.
func validate(body []byte, fileName string) (manifest, []error) {
	var m manifest
	if err := yaml.UnmarshalStrict(body, &m); err != nil {
		return m, []error{err}
	}
	var errs []error
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }

	if m.APIVersion != "krew.googlecontainertools.github.com/v1alpha2" {
		fail("apiVersion %q", m.APIVersion)
	}
	if m.Kind != "Plugin" {
		fail("kind %q", m.Kind)
	}
	if !safeName.MatchString(m.Metadata.Name) {
		fail("name %q is unsafe", m.Metadata.Name)
	}
	if m.Metadata.Name != fileName {
		fail("name %q, but the file is named %q", m.Metadata.Name, fileName)
	}
	if !semver.MatchString(m.Spec.Version) {
		fail("version %q is no semantic version with a leading v", m.Spec.Version)
	}
	if m.Spec.ShortDescription == "" || strings.ContainsAny(m.Spec.ShortDescription, "\r\n") {
		fail("shortDescription must be one line, and there")
	}
	if len(m.Spec.Platforms) == 0 {
		fail("platforms must not be empty")
	}
	matched := map[string]int{}
	for i, p := range m.Spec.Platforms {
		for _, err := range p.validate(matched) {
			fail("platform %d: %w", i, err)
		}
	}
	for _, name := range supported {
		switch n := matched[name]; {
		case n == 0:
			fail("no platform for %s", name)
		case n > 1:
			fail("%d platforms overlap: all are for %s", n, name)
		}
	}
	return m, errs
}

// validate checks one platform and counts in matched which machines it is for.
func (p platform) validate(matched map[string]int) []error {
	var errs []error
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }

	if !strings.HasPrefix(p.URI, "https://") || !strings.HasSuffix(p.URI, ".tar.gz") && !strings.HasSuffix(p.URI, ".zip") {
		fail("uri %q must be https and a .zip or .tar.gz", p.URI)
	}
	if !checksum.MatchString(p.Sha256) {
		fail("sha256 %q", p.Sha256)
	}
	hits, err := p.matches()
	if err != nil {
		fail("selector: %w", err)
	} else if len(hits) == 0 {
		fail("selector matches no supported platform")
	}
	windows := false
	for _, h := range hits {
		matched[h]++
		windows = windows || strings.HasPrefix(h, "windows/")
	}
	switch {
	case p.Bin == "":
		fail("bin must not be empty")
	case !isInside(p.Bin):
		fail("bin %q is outside of the plugin's folder", p.Bin)
	case windows && path.Ext(p.Bin) != ".exe":
		fail("bin %q must end in .exe on Windows", p.Bin)
	}
	// Without files krew extracts all; an empty list is an error.
	if len(p.Files) == 0 {
		fail("files must not be empty")
	}
	license, bin := false, false
	for _, f := range p.Files {
		if f.From == "" || f.To == "" {
			fail("files: from %q, to %q", f.From, f.To)
		}
		if !isInside(f.To) {
			fail("files: to %q is outside of the plugin's folder", f.To)
		}
		base := path.Base(f.From)
		license = license || strings.HasPrefix(strings.ToUpper(base), "LICENSE")
		bin = bin || path.Join(f.To, base) == path.Clean(p.Bin)
	}
	if !license {
		fail("files: no LICENSE is extracted")
	}
	if !bin {
		fail("bin %q is not among the files", p.Bin)
	}
	return errs
}

// matches lists the supported machines that the selector is for.
func (p platform) matches() ([]string, error) {
	if p.Selector == nil || len(p.Selector.MatchLabels)+len(p.Selector.MatchExpressions) == 0 {
		return nil, errors.New("it must not be empty")
	}
	keys := make([]string, 0, 2)
	for k := range p.Selector.MatchLabels {
		keys = append(keys, k)
	}
	for _, e := range p.Selector.MatchExpressions {
		keys = append(keys, e.Key)
	}
	for _, k := range keys {
		if k != "os" && k != "arch" {
			return nil, fmt.Errorf("label %q is neither os nor arch", k)
		}
	}
	selector, err := metav1.LabelSelectorAsSelector(p.Selector)
	if err != nil {
		return nil, err
	}
	var hits []string
	for _, name := range supported {
		osName, arch, _ := strings.Cut(name, "/")
		if selector.Matches(labels.Set{"os": osName, "arch": arch}) {
			hits = append(hits, name)
		}
	}
	return hits, nil
}

// isInside says whether a relative path stays below its folder.
func isInside(p string) bool {
	clean := path.Clean(p)
	return !path.IsAbs(clean) && clean != ".." && !strings.HasPrefix(clean, "../")
}
