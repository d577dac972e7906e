// Package krew_test checks the release template of the krew plugin manifest.
package krew_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"text/template"

	"sigs.k8s.io/yaml"
)

const (
	templateFile = "redis-sync.yaml"
	sampleTag    = "v0.1.2"
	sampleSum    = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
)

// render does what krew-release-bot does with the template, with sum in place
// of the checksums of released archives.
func render(t *testing.T, text, tag, sum string) []byte {
	t.Helper()
	parsed, err := template.New(templateFile).Funcs(template.FuncMap{
		"addURIAndSha": func(uri, tag string) (string, error) {
			inner, err := template.New("uri").Parse(uri)
			if err != nil {
				return "", err
			}
			var out strings.Builder
			if err := inner.Execute(&out, map[string]string{"TagName": tag}); err != nil {
				return "", err
			}
			return fmt.Sprintf("uri: %s\n    sha256: %s", out.String(), sum), nil
		},
	}).Option("missingkey=error").Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := parsed.Execute(&out, map[string]string{"TagName": tag}); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func source(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(templateFile)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestTemplate(t *testing.T) {
	body := render(t, source(t), sampleTag, sampleSum)
	m, errs := validate(body, strings.TrimSuffix(templateFile, ".yaml"))
	for _, err := range errs {
		t.Error(err)
	}
	if t.Failed() {
		t.Fatalf("rendered:\n%s", body)
	}
	for _, platform := range m.Spec.Platforms {
		osName, arch := platform.Selector.MatchLabels["os"], platform.Selector.MatchLabels["arch"]
		want := fmt.Sprintf("/%s/kubectl-redis_sync_%s_%s_%s.tar.gz", sampleTag, sampleTag, osName, arch)
		if !strings.HasSuffix(platform.URI, want) {
			t.Errorf("%s/%s: uri %s does not end in %s", osName, arch, platform.URI, want)
		}
		var files []string
		for _, f := range platform.Files {
			files = append(files, f.From)
		}
		if !slices.Contains(files, "kubectl_complete-redis_sync") {
			t.Errorf("%s/%s: files %v lack the completion", osName, arch, files)
		}
	}
}

// TestRules breaks the manifest in one way at a time: a rule that nothing can
// break checks nothing.
func TestRules(t *testing.T) {
	good := string(render(t, source(t), sampleTag, sampleSum))
	for name, c := range map[string]struct{ from, to, want string }{
		"other API version":       {"v1alpha2", "v1", "apiVersion"},
		"other kind":              {"kind: Plugin", "kind: Pod", "kind"},
		"name unlike the file":    {"name: redis-sync", "name: redissync", "file is named"},
		"unsafe name":             {"name: redis-sync", "name: redis sync", "unsafe"},
		"version without v":       {"version: v0.1.2", "version: 0.1.2", "version"},
		"version in two parts":    {"version: v0.1.2", "version: v0.1", "version"},
		"no short description":    {"shortDescription: Keep a Redis in another cluster an up-to-date copy", "shortDescription: \"\"", "shortDescription"},
		"two-line description":    {"shortDescription: Keep a", "shortDescription: \"Keep\\na\" #", "one line"},
		"short checksum":          {"sha256: " + sampleSum, "sha256: abc", "sha256"},
		"unknown archive":         {".tar.gz", ".rar", "tar.gz"},
		"no bin":                  {"bin: kubectl-redis_sync\n", "binary: kubectl-redis_sync\n", "unknown field"},
		"bin without exe":         {"bin: kubectl-redis_sync.exe", "bin: kubectl-redis_sync", ".exe"},
		"bin that no file brings": {"bin: kubectl-redis_sync\n", "bin: other\n", "not among"},
		"bin outside":             {"bin: kubectl-redis_sync\n", "bin: ../kubectl-redis_sync\n", "outside"},
		"empty selector":          {"matchLabels:\n        os: linux\n        arch: amd64", "matchLabels: {}", "selector"},
		"unknown label":           {"os: linux\n        arch: amd64", "os: linux\n        cpu: amd64", "label"},
		"unsupported platform":    {"os: linux\n        arch: amd64", "os: linux\n        arch: s390x", "matches no supported"},
		"platforms overlap":       {"os: linux\n        arch: amd64", "os: linux", "overlap"},
		"platform missing":        {"os: windows\n        arch: arm64", "os: windows\n        arch: amd64", "no platform for windows/arm64"},
		"no LICENSE":              {"from: LICENSE", "from: README.md", "LICENSE"},
		"no files":                {"    files:\n    - from: kubectl-redis_sync\n      to: .\n    - from: LICENSE\n      to: .\n    - from: kubectl_complete-redis_sync\n      to: .\n", "    files: []\n", "files"},
	} {
		t.Run(name, func(t *testing.T) {
			bad := strings.ReplaceAll(good, c.from, c.to)
			if bad == good {
				t.Fatalf("%q is not in the manifest", c.from)
			}
			_, errs := validate([]byte(bad), "redis-sync")
			if len(errs) == 0 || !strings.Contains(errors.Join(errs...).Error(), c.want) {
				t.Errorf("errors %v, want one about %q", errs, c.want)
			}
		})
	}
}

// TestArchives checks built archives against the manifest. `make
// release-archives` builds them and sets RELEASE_ARCHIVES.
func TestArchives(t *testing.T) {
	dir, tag := os.Getenv("RELEASE_ARCHIVES"), os.Getenv("RELEASE_TAG")
	if dir == "" {
		t.Skip("NOT RUN: RELEASE_ARCHIVES names no folder with archives (make release-archives)")
	}
	var m manifest
	if err := yaml.UnmarshalStrict(render(t, source(t), tag, sampleSum), &m); err != nil {
		t.Fatal(err)
	}
	checked := 0
	for _, platform := range m.Spec.Platforms {
		file := filepath.Join(dir, path.Base(platform.URI))
		names, err := archiveFiles(file)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		checked++
		for _, f := range platform.Files {
			if !slices.Contains(names, f.From) {
				t.Errorf("%s holds %v, not %s", file, names, f.From)
			}
		}
	}
	if checked == 0 {
		t.Errorf("no archive of the manifest's names is in %s", dir)
	}
}

func archiveFiles(file string) ([]string, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	var names []string
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return names, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		names = append(names, path.Clean(h.Name))
	}
}

func TestCompletionFile(t *testing.T) {
	// kubectl looks for this very name: dashes of the plugin are underscores.
	info, err := os.Stat("kubectl_complete-redis_sync")
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode()&0o111 == 0 {
		t.Error("kubectl_complete-redis_sync is not executable")
	}
}
