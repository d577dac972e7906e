// Command sidecar-image builds the container image of the replicator without
// a container daemon and without a registry: a static binary on an empty root
// file system, as a docker-archive file or as an OCI layout.
//
//	go run ./cmd/sidecar-image --output dist/sidecar.tar
//	go run ./cmd/sidecar-image --format oci --platform linux/amd64,linux/arm64 --output dist/sidecar-oci
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// defaultMaxSize is what the image may weigh, compressed: it is pulled onto a
// node in the middle of a disaster.
const defaultMaxSize = 12_000_000

// options are the command's flags.
type options struct {
	output    string
	format    string
	tag       string
	platforms []string
	binary    string // instead of building one
	version   string
	commit    string
	caFile    string
	maxSize   int64
	created   time.Time
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	opts, err := parse(args, stderr)
	if err != nil {
		return err
	}
	images, err := assemble(ctx, opts, stderr)
	if err != nil {
		return err
	}
	for _, img := range images {
		if img.size > opts.maxSize {
			return fmt.Errorf("image for %s: %d bytes compressed, more than the %d allowed by --max-size", img.platform, img.size, opts.maxSize)
		}
	}
	if err := write(opts, images); err != nil {
		return err
	}
	for _, img := range images {
		fmt.Fprintf(stdout, "%s %s %s: %.1f MB compressed, %s\n", opts.output, opts.tag, img.platform, float64(img.size)/1e6, img.digest)
	}
	return nil
}

func parse(args []string, stderr io.Writer) (options, error) {
	opts := options{created: time.Unix(0, 0).UTC()}
	flags := flag.NewFlagSet("sidecar-image", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&opts.output, "output", "", "file (docker) or folder (oci) to write; required")
	flags.StringVar(&opts.format, "format", formatDocker, "docker: a docker-archive file, one platform; oci: an OCI image layout, one or more platforms")
	flags.StringVar(&opts.tag, "tag", "redis-sync-sidecar:dev", "name and tag of the image")
	platforms := flags.String("platform", "linux/"+runtime.GOARCH, "comma-separated list of linux/amd64 and linux/arm64")
	flags.StringVar(&opts.binary, "binary", "", "put this static binary into the image instead of building cmd/redis-sync-sidecar")
	flags.StringVar(&opts.version, "version", "dev", "version that the binary and the image's labels carry")
	flags.StringVar(&opts.commit, "commit", "", "commit that the binary and the image's labels carry")
	flags.StringVar(&opts.caFile, "ca-certificates", "", "PEM file of the public certificate authorities to include (none by default: sync.toml names its own)")
	flags.Int64Var(&opts.maxSize, "max-size", defaultMaxSize, "fail when an image is larger, in bytes, compressed")
	if err := flags.Parse(args); err != nil {
		return options{}, err
	}
	opts.platforms = strings.Split(*platforms, ",")
	// The reproducible-builds convention: without it the image is dated 1970,
	// so that the same sources give the same digest.
	if epoch := os.Getenv("SOURCE_DATE_EPOCH"); epoch != "" {
		seconds, err := strconv.ParseInt(epoch, 10, 64)
		if err != nil {
			return options{}, fmt.Errorf("SOURCE_DATE_EPOCH=%q: expected seconds since 1970", epoch)
		}
		opts.created = time.Unix(seconds, 0).UTC()
	}
	return opts, opts.validate(flags.Args())
}

func (o options) validate(rest []string) error {
	if len(rest) > 0 {
		return fmt.Errorf("unexpected argument %q", rest[0])
	}
	if o.output == "" {
		return errors.New("--output is required")
	}
	if o.format != formatDocker && o.format != formatOCI {
		return fmt.Errorf("--format %q: expected %s or %s", o.format, formatDocker, formatOCI)
	}
	seen := map[string]bool{}
	for _, p := range o.platforms {
		if p != "linux/amd64" && p != "linux/arm64" {
			return fmt.Errorf("--platform %q: expected linux/amd64 or linux/arm64", p)
		}
		if seen[p] {
			return fmt.Errorf("--platform names %s twice", p)
		}
		seen[p] = true
	}
	if len(o.platforms) > 1 && o.format == formatDocker {
		return errors.New("--format docker holds one platform; use --format oci for several")
	}
	if len(o.platforms) > 1 && o.binary != "" {
		return errors.New("--binary is for one platform")
	}
	return nil
}
