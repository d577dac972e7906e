// Package images builds the container images of the tests from files of this
// machine, as docker-archive files: no daemon, no registry.
package images

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"path"
	"sort"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// Names of the images. They have a tag that is never "latest", so that the
// default pull policy is IfNotPresent and nothing is pulled.
const (
	RedisImage = "redis-sync-test/redis:7.0"
	AgentImage = "redis-sync-test/agent:dev"
)

// File is one file of an image: a body, or a link when Link is set.
type File struct {
	Path string // absolute
	Mode int64
	Body []byte
	Link string
}

// Write builds an image with one layer and writes it to file as a
// docker-archive under the given name.
func Write(file, imageName string, files []File, config v1.Config) error {
	tag, err := name.NewTag(imageName)
	if err != nil {
		return fmt.Errorf("image name %q: %w", imageName, err)
	}
	layerBody, err := layerTar(files)
	if err != nil {
		return fmt.Errorf("image %s: %w", imageName, err)
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(layerBody)), nil
	})
	if err != nil {
		return fmt.Errorf("image %s: %w", imageName, err)
	}
	img, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return fmt.Errorf("image %s: %w", imageName, err)
	}
	configFile, err := img.ConfigFile()
	if err != nil {
		return fmt.Errorf("image %s: %w", imageName, err)
	}
	configFile = configFile.DeepCopy()
	configFile.OS, configFile.Architecture, configFile.Config = "linux", hostArch, config
	if img, err = mutate.ConfigFile(img, configFile); err != nil {
		return fmt.Errorf("image %s: %w", imageName, err)
	}
	if err := tarball.WriteToFile(file, tag, img); err != nil {
		return fmt.Errorf("write image %s to %s: %w", imageName, file, err)
	}
	return nil
}

// layerTar writes files and the folders above them, sorted and without times,
// so that the same files give the same image.
func layerTar(files []File) ([]byte, error) {
	entries := map[string]*tar.Header{}
	bodies := map[string][]byte{}
	for _, f := range files {
		clean := strings.TrimPrefix(path.Clean(f.Path), "/")
		for dir := path.Dir(clean); dir != "."; dir = path.Dir(dir) {
			if entries[dir] == nil {
				entries[dir] = &tar.Header{Name: dir + "/", Typeflag: tar.TypeDir, Mode: 0o755}
			}
		}
		switch {
		case f.Link != "":
			entries[clean] = &tar.Header{Name: clean, Typeflag: tar.TypeSymlink, Linkname: f.Link, Mode: 0o777}
		case strings.HasSuffix(f.Path, "/"):
			entries[clean] = &tar.Header{Name: clean + "/", Typeflag: tar.TypeDir, Mode: f.Mode}
		default:
			entries[clean] = &tar.Header{Name: clean, Typeflag: tar.TypeReg, Mode: f.Mode, Size: int64(len(f.Body))}
			bodies[clean] = f.Body
		}
	}
	names := make([]string, 0, len(entries))
	for n := range entries {
		names = append(names, n)
	}
	sort.Strings(names)
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, n := range names {
		if err := w.WriteHeader(entries[n]); err != nil {
			return nil, fmt.Errorf("layer entry %s: %w", n, err)
		}
		if _, err := w.Write(bodies[n]); err != nil {
			return nil, fmt.Errorf("layer entry %s: %w", n, err)
		}
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("layer: %w", err)
	}
	return out.Bytes(), nil
}
