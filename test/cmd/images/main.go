// Command images writes the test images as docker-archive files into a folder
// and prints their paths.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"github.com/redis-sync/kubectl-redis-sync/test/images"
)

func main() {
	out := flag.String("o", ".", "folder for redis.tar and agent.tar")
	module := flag.String("module", ".", "folder of the test module")
	only := flag.String("only", "", "redis or agent: build this one only")
	flag.Parse()
	if err := run(context.Background(), *out, *module, *only); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out, module, only string) error {
	if only != "agent" {
		file := filepath.Join(out, "redis.tar")
		if err := images.BuildRedis(ctx, file); err != nil {
			return err
		}
		fmt.Println(file)
	}
	if only != "redis" {
		file := filepath.Join(out, "agent.tar")
		if err := images.BuildAgent(ctx, module, file); err != nil {
			return err
		}
		fmt.Println(file)
	}
	return nil
}
