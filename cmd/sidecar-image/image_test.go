package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// program compiles a small static Linux program and returns its path.
func program(t *testing.T, goarch string) string {
	t.Helper()
	dir := t.TempDir()
	src := filepath.Join(dir, "main.go")
	if err := os.WriteFile(src, []byte("package main\n\nfunc main() { println(\"hello\") }\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(dir, "program-"+goarch)
	cmd := exec.Command("go", "build", "-o", out, src)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+goarch)
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, text)
	}
	return out
}

func runCommand(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	err := run(t.Context(), args, &out, io.Discard)
	return out.String(), err
}

// rootFS reads the files of an image.
func rootFS(t *testing.T, img v1.Image) map[string]*tar.Header {
	t.Helper()
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]*tar.Header{}
	for _, l := range layers {
		r, err := l.Uncompressed()
		if err != nil {
			t.Fatal(err)
		}
		for tr := tar.NewReader(r); ; {
			h, err := tr.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			files[h.Name] = h
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

func TestDockerArchive(t *testing.T) {
	binary := program(t, "amd64")
	ca := filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(ca, []byte("-----BEGIN CERTIFICATE-----\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "dist", "sidecar.tar")
	args := []string{"--output", out, "--binary", binary, "--platform", "linux/amd64", "--version", "v1.2.3", "--ca-certificates", ca}
	text, err := runCommand(t, args...)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(text, "redis-sync-sidecar:dev linux/amd64: ") || !strings.Contains(text, "MB compressed, sha256:") {
		t.Errorf("output %q names no size and digest", text)
	}
	img, err := tarball.ImageFromPath(out, nil)
	if err != nil {
		t.Fatal(err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if config.OS != "linux" || config.Architecture != "amd64" || config.Config.User != "65532:65532" ||
		config.Config.WorkingDir != "/" || config.Config.Entrypoint[0] != "/redis-sync-sidecar" ||
		config.Config.Labels["org.opencontainers.image.version"] != "v1.2.3" {
		t.Errorf("configuration: %+v", config)
	}
	files := rootFS(t, img)
	for name, mode := range map[string]int64{
		"redis-sync-sidecar": 0o755, "etc/passwd": 0o644, "etc/group": 0o644, "data/": 0o755,
		"etc/ssl/certs/ca-certificates.crt": 0o644,
	} {
		if files[name] == nil || files[name].Mode != mode {
			t.Errorf("file %s: %+v, want mode %o", name, files[name], mode)
		}
	}
	if files["data/"] != nil && files["data/"].Uid != 65532 {
		t.Errorf("/data belongs to %d, want 65532", files["data/"].Uid)
	}

	first, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := runCommand(t, args...); err != nil {
		t.Fatal(err)
	}
	second, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first, second) {
		t.Error("the same binary gives another archive: the build is not reproducible")
	}
}

func TestOCILayout(t *testing.T) {
	binary := program(t, "arm64")
	out := filepath.Join(t.TempDir(), "layout")
	if _, err := runCommand(t, "--format", "oci", "--output", out, "--binary", binary, "--platform", "linux/arm64"); err != nil {
		t.Fatal(err)
	}
	path, err := layout.FromPath(out)
	if err != nil {
		t.Fatal(err)
	}
	index, err := path.ImageIndex()
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if len(manifest.Manifests) != 1 || !strings.HasSuffix(manifest.Manifests[0].Annotations[refAnnotation], "redis-sync-sidecar:dev") {
		t.Fatalf("index: %+v", manifest)
	}
	img, err := path.Image(manifest.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	if files := rootFS(t, img); files["redis-sync-sidecar"] == nil {
		t.Errorf("the image lacks the binary: %v", files)
	}
}

// TestWriteIndex writes two platforms without compiling the replicator twice.
func TestWriteIndex(t *testing.T) {
	var images []image
	opts := options{format: formatOCI, tag: "example.org/sidecar:v1", output: filepath.Join(t.TempDir(), "layout")}
	for _, arch := range []string{"amd64", "arm64"} {
		body, err := os.ReadFile(program(t, arch))
		if err != nil {
			t.Fatal(err)
		}
		img, err := build(opts, "linux/"+arch, body)
		if err != nil {
			t.Fatal(err)
		}
		images = append(images, img)
	}
	if err := write(opts, images); err != nil {
		t.Fatal(err)
	}
	path, err := layout.FromPath(opts.output)
	if err != nil {
		t.Fatal(err)
	}
	outer, err := path.ImageIndex()
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := outer.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	inner, err := outer.ImageIndex(manifest.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	list, err := inner.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	var platforms []string
	for _, m := range list.Manifests {
		platforms = append(platforms, m.Platform.String())
	}
	if strings.Join(platforms, " ") != "linux/amd64 linux/arm64" {
		t.Errorf("platforms %v", platforms)
	}
	if err := write(opts, images); err == nil {
		t.Error("a layout was written over another one")
	}
}

func TestRefusals(t *testing.T) {
	binary := program(t, "amd64")
	out := filepath.Join(t.TempDir(), "x.tar")
	text := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(text, []byte("#!/bin/sh\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"no output":           {nil, "--output is required"},
		"unknown format":      {[]string{"--output", out, "--format", "zip"}, `--format "zip"`},
		"unknown platform":    {[]string{"--output", out, "--platform", "windows/amd64"}, `--platform "windows/amd64"`},
		"two in one archive":  {[]string{"--output", out, "--platform", "linux/amd64,linux/arm64"}, "one platform"},
		"other processor":     {[]string{"--output", out, "--platform", "linux/arm64", "--binary", binary}, "EM_X86_64, expected EM_AARCH64"},
		"no program":          {[]string{"--output", out, "--platform", "linux/amd64", "--binary", text}, "no Linux program"},
		"needs a loader":      {[]string{"--output", out, "--platform", "linux/" + runtime.GOARCH, "--binary", "/bin/sh"}, "dynamic loader"},
		"too large":           {[]string{"--output", out, "--platform", "linux/amd64", "--binary", binary, "--max-size", "1000"}, "more than the 1000 allowed"},
		"bad tag":             {[]string{"--output", out, "--platform", "linux/amd64", "--binary", binary, "--tag", "A B"}, `--tag "A B"`},
		"unexpected argument": {[]string{"--output", out, "x"}, `unexpected argument "x"`},
	} {
		t.Run(name, func(t *testing.T) {
			if name == "needs a loader" && runtime.GOOS != "linux" {
				t.Skip("needs a dynamically linked Linux program")
			}
			_, err := runCommand(t, c.args...)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one with %q", err, c.want)
			}
			if _, statErr := os.Stat(out); statErr == nil {
				t.Error("a refused build left a file")
			}
		})
	}
}
