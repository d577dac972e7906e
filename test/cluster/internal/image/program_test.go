package image

import (
	"archive/tar"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

func TestWriteProgram(t *testing.T) {
	dir := t.TempDir()
	program, archive := filepath.Join(dir, "pause"), filepath.Join(dir, "pause.tar")
	if err := os.WriteFile(program, []byte("program"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := WriteProgram(archive, "localhost/test/pause:1", program); err != nil {
		t.Fatal(err)
	}
	img, err := tarball.ImageFromPath(archive, nil)
	if err != nil {
		t.Fatal(err)
	}
	file, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if file.OS != "linux" || len(file.Config.Entrypoint) != 1 || file.Config.Entrypoint[0] != "/pause" || len(file.RootFS.DiffIDs) != 1 {
		t.Errorf("config: %+v", file)
	}
	layers := mutate.Extract(img)
	defer layers.Close()
	r := tar.NewReader(layers)
	entry, err := r.Next()
	if err != nil || entry.Name != "pause" || entry.Mode != 0o755 {
		t.Fatalf("first file: %+v, %v", entry, err)
	}
	if content, err := io.ReadAll(r); err != nil || string(content) != "program" {
		t.Errorf("content %q, %v", content, err)
	}
	if _, err := r.Next(); !errors.Is(err, io.EOF) {
		t.Errorf("a second file: %v", err)
	}
}
