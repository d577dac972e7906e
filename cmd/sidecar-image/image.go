package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"debug/elf"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

const (
	binaryPath = "/redis-sync-sidecar"
	// userID is the "nonroot" of the distroless images, which pod policies know.
	userID = 65532

	passwd = "root:x:0:0:root:/:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/:/sbin/nologin\n"
	group  = "root:x:0:\nnonroot:x:65532:\n"
)

// image is an assembled image for one platform.
type image struct {
	v1.Image
	platform string
	digest   v1.Hash
	size     int64 // compressed: layers and configuration
}

// assemble makes one image for each platform.
func assemble(ctx context.Context, opts options, log io.Writer) ([]image, error) {
	images := make([]image, 0, len(opts.platforms))
	for _, platform := range opts.platforms {
		binary, err := binaryFor(ctx, opts, platform, log)
		if err != nil {
			return nil, fmt.Errorf("image for %s: %w", platform, err)
		}
		img, err := build(opts, platform, binary)
		if err != nil {
			return nil, fmt.Errorf("image for %s: %w", platform, err)
		}
		images = append(images, img)
	}
	return images, nil
}

func build(opts options, platform string, binary []byte) (image, error) {
	if err := checkStatic(binary, platform); err != nil {
		return image{}, err
	}
	files := []file{
		{name: "data/", mode: 0o755, owner: userID}, // the spool, where no volume is mounted
		{name: "etc/", mode: 0o755},
		{name: "etc/group", mode: 0o644, body: []byte(group)},
		{name: "etc/passwd", mode: 0o644, body: []byte(passwd)},
	}
	if opts.caFile != "" {
		bundle, err := os.ReadFile(opts.caFile)
		if err != nil {
			return image{}, fmt.Errorf("certificate authorities: %w", err)
		}
		files = append(files,
			file{name: "etc/ssl/", mode: 0o755},
			file{name: "etc/ssl/certs/", mode: 0o755},
			file{name: "etc/ssl/certs/ca-certificates.crt", mode: 0o644, body: bundle})
	}
	files = append(files, file{name: strings.TrimPrefix(binaryPath, "/"), mode: 0o755, body: binary})

	body, err := layerTar(files, opts.created)
	if err != nil {
		return image{}, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(body)), nil
	}, tarball.WithCompressionLevel(gzip.BestCompression), tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return image{}, fmt.Errorf("layer: %w", err)
	}
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	img, err := mutate.Append(base, mutate.Addendum{
		Layer:   layer,
		History: v1.History{Created: v1.Time{Time: opts.created}, CreatedBy: "cmd/sidecar-image"},
	})
	if err != nil {
		return image{}, fmt.Errorf("append the layer: %w", err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		return image{}, fmt.Errorf("configuration: %w", err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, _ = strings.Cut(platform, "/")
	config.Created = v1.Time{Time: opts.created}
	config.Config = v1.Config{
		Entrypoint: []string{binaryPath},
		User:       fmt.Sprintf("%d:%d", userID, userID),
		WorkingDir: "/",
		Labels:     labels(opts),
	}
	if img, err = mutate.ConfigFile(img, config); err != nil {
		return image{}, fmt.Errorf("configuration: %w", err)
	}
	return measure(img, platform)
}

func measure(img v1.Image, platform string) (image, error) {
	manifest, err := img.Manifest()
	if err != nil {
		return image{}, fmt.Errorf("manifest: %w", err)
	}
	digest, err := img.Digest()
	if err != nil {
		return image{}, fmt.Errorf("digest: %w", err)
	}
	size := manifest.Config.Size
	for _, l := range manifest.Layers {
		size += l.Size
	}
	return image{Image: img, platform: platform, digest: digest, size: size}, nil
}

func labels(opts options) map[string]string {
	all := map[string]string{
		"org.opencontainers.image.title":       "redis-sync-sidecar",
		"org.opencontainers.image.description": "Replicator of kubectl redis-sync: copies one shard of a Redis into another Redis",
		"org.opencontainers.image.licenses":    "Apache-2.0",
		"org.opencontainers.image.source":      "https://github.com/redis-sync/kubectl-redis-sync",
		"org.opencontainers.image.version":     opts.version,
		"org.opencontainers.image.created":     opts.created.Format(time.RFC3339),
	}
	if opts.commit != "" {
		all["org.opencontainers.image.revision"] = opts.commit
	}
	return all
}

// file is one entry of the layer; a name that ends in a slash is a folder.
type file struct {
	name  string
	mode  int64
	owner int
	body  []byte
}

func layerTar(files []file, modified time.Time) ([]byte, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, f := range files {
		header := &tar.Header{
			Name: f.name, Mode: f.mode, Uid: f.owner, Gid: f.owner,
			Size: int64(len(f.body)), ModTime: modified, Typeflag: tar.TypeReg,
		}
		if strings.HasSuffix(f.name, "/") {
			header.Typeflag = tar.TypeDir
		}
		if err := w.WriteHeader(header); err != nil {
			return nil, fmt.Errorf("layer entry %s: %w", f.name, err)
		}
		if _, err := w.Write(f.body); err != nil {
			return nil, fmt.Errorf("layer entry %s: %w", f.name, err)
		}
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("layer: %w", err)
	}
	return out.Bytes(), nil
}

// checkStatic refuses a binary that could not run in an otherwise empty
// image: another system, another processor, or one that needs a loader.
func checkStatic(binary []byte, platform string) error {
	f, err := elf.NewFile(bytes.NewReader(binary))
	if err != nil {
		return fmt.Errorf("the binary is no Linux program: %w", err)
	}
	want := map[string]elf.Machine{"linux/amd64": elf.EM_X86_64, "linux/arm64": elf.EM_AARCH64}[platform]
	if f.Machine != want {
		return fmt.Errorf("the binary is for %v, expected %v", f.Machine, want)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return fmt.Errorf("the binary needs a dynamic loader; build it with CGO_ENABLED=0")
		}
	}
	return nil
}
