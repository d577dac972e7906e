// Command web is what the test of the clusters runs in pods. As a server it
// keeps a value in /data and in /empty; "web get URL" is a client, for images
// that have no other, and "web follow URL" one that never gives up.
package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

const timeout = 3 * time.Second

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 2 && args[0] == "get" {
		return get(args[1], timeout)
	}
	if len(args) == 2 && args[0] == "follow" {
		return get(args[1], 0)
	}
	http.HandleFunc("PUT /{value}", put)
	http.HandleFunc("GET /", show)
	http.HandleFunc("GET /tick", tick)
	// A connection without a request stays open while its site is switched off,
	// however long that takes on a slow machine.
	server := &http.Server{Addr: ":8080", ReadHeaderTimeout: time.Hour}
	fmt.Println("serving")
	return server.ListenAndServe()
}

func get(url string, timeout time.Duration) error {
	client := &http.Client{Timeout: timeout}
	resp, err := client.Get(url)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(os.Stdout, resp.Body)
	return err
}

var files = []string{"/data/value", "/empty/value"}

func put(w http.ResponseWriter, r *http.Request) {
	for _, file := range files {
		if err := os.WriteFile(file, []byte(r.PathValue("value")), 0o600); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
	}
}

func show(w http.ResponseWriter, _ *http.Request) {
	for _, file := range files {
		value, err := os.ReadFile(file)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		fmt.Fprintf(w, "%s=%s\n", file, value)
	}
}

// tick writes on one connection for as long as the client listens.
func tick(w http.ResponseWriter, r *http.Request) {
	for r.Context().Err() == nil {
		fmt.Fprintln(w, "tick")
		if err := http.NewResponseController(w).Flush(); err != nil {
			return
		}
		time.Sleep(timeout / 30)
	}
}
