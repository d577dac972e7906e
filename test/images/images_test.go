package images

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// TestRedisImageHasWhatPodsCall builds the image and looks into it.
func TestRedisImageHasWhatPodsCall(t *testing.T) {
	if _, err := exec.LookPath("redis-server"); err != nil {
		t.Skip("SKIPPED: redis-server is not installed")
	}
	file := filepath.Join(t.TempDir(), "redis.tar")
	if err := BuildRedis(context.Background(), file); err != nil {
		t.Fatal(err)
	}
	tag, err := name.NewTag(RedisImage)
	if err != nil {
		t.Fatal(err)
	}
	img, err := tarball.ImageFromPath(file, &tag)
	if err != nil {
		t.Fatal(err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if config.Config.WorkingDir != "/data" {
		t.Errorf("working directory %q: the pods of a RedisFailover need /data", config.Config.WorkingDir)
	}
	reader := mutate.Extract(img)
	defer reader.Close()
	found := map[string]*tar.Header{}
	for archive := tar.NewReader(reader); ; {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		found["/"+strings.TrimSuffix(h.Name, "/")] = h
	}
	for _, want := range []string{
		"/data", "/tmp", "/usr/bin/redis-server", "/usr/bin/redis-cli", "/usr/lib/redis/redis-server",
		"/usr/bin/sh", "/usr/bin/hostname", "/usr/bin/awk", "/usr/bin/grep", "/usr/bin/cp", "/usr/bin/entrypoint.sh", "/usr/bin/healthcheck.sh",
	} {
		if found[want] == nil {
			t.Errorf("no %s in the image", want)
		}
	}
	loader := false
	for path := range found {
		loader = loader || strings.Contains(path, "ld-linux")
	}
	if !loader {
		t.Error("no dynamic loader in the image")
	}
}

func TestLayerIsTheSameEveryTime(t *testing.T) {
	files := []File{{Path: "/b/c", Mode: 0o755, Body: []byte("x")}, {Path: "/a", Link: "b/c"}}
	one, err := layerTar(files)
	if err != nil {
		t.Fatal(err)
	}
	two, err := layerTar([]File{files[1], files[0]})
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(one, two) {
		t.Error("the order of files changes the layer")
	}
}
