package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Values of --format.
const (
	formatDocker = "docker"
	formatOCI    = "oci"
)

// refAnnotation names an image inside an OCI layout; containerd and podman
// take it as the tag when they import the layout.
const refAnnotation = "org.opencontainers.image.ref.name"

func write(opts options, images []image) error {
	tag, err := name.NewTag(opts.tag)
	if err != nil {
		return fmt.Errorf("--tag %q: %w", opts.tag, err)
	}
	if err := os.MkdirAll(filepath.Dir(opts.output), 0o755); err != nil {
		return fmt.Errorf("folder of --output: %w", err)
	}
	if opts.format == formatDocker {
		return writeDocker(opts.output, tag, images[0])
	}
	return writeLayout(opts.output, tag, images)
}

// writeDocker replaces the file in one step, so that an interrupted build
// leaves no half archive behind.
func writeDocker(path string, tag name.Tag, img image) error {
	partial := path + ".partial"
	if err := tarball.WriteToFile(partial, tag, img.Image); err != nil {
		_ = os.Remove(partial) // the first error is the one to report
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Rename(partial, path); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// writeLayout writes a new OCI layout whose index holds one entry: the image,
// or with several platforms an index of images.
func writeLayout(dir string, tag name.Tag, images []image) error {
	if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
		return fmt.Errorf("--output %s: the folder is not empty; remove it first", dir)
	}
	path, err := layout.Write(dir, empty.Index)
	if err != nil {
		return fmt.Errorf("write the layout %s: %w", dir, err)
	}
	annotate := layout.WithAnnotations(map[string]string{refAnnotation: tag.Name()})
	if len(images) == 1 {
		if err := path.AppendImage(images[0].Image, annotate); err != nil {
			return fmt.Errorf("write the layout %s: %w", dir, err)
		}
		return nil
	}
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, one := range images {
		platform, err := v1.ParsePlatform(one.platform)
		if err != nil {
			return fmt.Errorf("platform %s: %w", one.platform, err)
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: one.Image, Descriptor: v1.Descriptor{Platform: platform}})
	}
	if err := path.AppendIndex(index, annotate); err != nil {
		return fmt.Errorf("write the layout %s: %w", dir, err)
	}
	return nil
}
