package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/redis-sync/kubectl-redis-sync/test/load"
)

// target are the flags that say which Redis; the password comes from the
// variable REDIS_PASSWORD.
type target struct{ mode, addresses *string }

func targetFlags(flags *flag.FlagSet) target {
	return target{
		mode:      flags.String("mode", "cluster", "cluster, sentinel or standalone"),
		addresses: flags.String("addresses", "", "host:port, comma separated"),
	}
}

func (t target) connect() (redis.UniversalClient, error) {
	return load.Connect(*t.mode, *t.addresses, os.Getenv("REDIS_PASSWORD"))
}

// fill writes the data set and prints one line of JSON.
func fill(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("load", flag.ExitOnError)
	where := targetFlags(flags)
	n := flags.Int("n", 1000, "keys beside the corner cases")
	seed := flags.Uint64("seed", 1, "of the random values")
	if err := flags.Parse(args); err != nil {
		return err
	}
	client, err := where.connect()
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }()
	filled, err := load.Fill(ctx, client, *n, *seed)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(filled)
}

// write runs live writers until SIGTERM, POST /stop or the end of the
// duration; GET /stats tells the counts, and the last line of the log holds
// them too.
func write(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("write", flag.ExitOnError)
	where := targetFlags(flags)
	workers := flags.Int("workers", 4, "connections that write")
	first := flags.Int("first", 0, "number of the first worker, in the names of its keys")
	rate := flags.Int("rate", 300, "steps a second, all workers together")
	duration := flags.Duration("duration", time.Hour, "end")
	listen := flags.String("listen", ":8080", "address of /stats and /stop")
	seed := flags.Uint64("seed", 1, "of the random choices")
	if err := flags.Parse(args); err != nil {
		return err
	}
	client, err := where.connect()
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }()
	writers := &load.Writers{Client: client, Workers: *workers, First: *first, Rate: *rate, Seed: *seed}
	running, stop := context.WithTimeout(ctx, *duration)
	defer stop()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /stats", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, writers.Stats()) })
	stopped := make(chan struct{})
	mux.HandleFunc("POST /stop", func(w http.ResponseWriter, _ *http.Request) {
		stop()
		<-stopped
		writeJSON(w, writers.Stats())
	})
	server := &http.Server{Addr: *listen, Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.ListenAndServe() }()
	err = writers.Run(running)
	close(stopped)
	if err != nil {
		return err
	}
	if err := json.NewEncoder(os.Stdout).Encode(writers.Stats()); err != nil {
		return err
	}
	// Graceful, so that the answer to /stop still gets out.
	closing, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := server.Shutdown(closing); err != nil {
		return fmt.Errorf("stop listening: %w", err)
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("listen on %s: %w", *listen, err)
	}
	return nil
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(v); err != nil {
		fmt.Fprintln(os.Stderr, "error: answer:", err)
	}
}
