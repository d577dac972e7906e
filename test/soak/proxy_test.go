package soak

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net"
	"testing"
	"time"
)

// TestRewriter feeds a text with ports in pieces of every size.
func TestRewriter(t *testing.T) {
	in := "+abc 127.0.0.1:12345@22345 127.0.0.1:1234 127.0.0.1:99999\r\n*2\r\n$9\r\n127.0.0.1\r\n$5\r\n12345\r\n-MOVED 1 127.0.0.1:12345\r\n127.0.0.1:123x\r\n"
	want := "+abc 127.0.0.1:31234@22345 127.0.0.1:1234 127.0.0.1:99999\r\n*2\r\n$9\r\n127.0.0.1\r\n$5\r\n31234\r\n-MOVED 1 127.0.0.1:31234\r\n127.0.0.1:123x\r\n"
	for size := 1; size <= len(in); size++ {
		r := &portRewriter{ports: map[string]string{"12345": "31234"}}
		var got []byte
		for rest := []byte(in); len(rest) > 0; {
			n := min(size, len(rest))
			got = append(got, r.rewrite(bytes.Clone(rest[:n]))...)
			rest = rest[n:]
		}
		if string(got) != want || len(r.rest) != 0 {
			t.Fatalf("in pieces of %d bytes:\n got %q and keeps %q\nwant %q", size, got, r.rest, want)
		}
	}
}

// sink is a server that keeps what it reads.
type sink struct {
	ln  net.Listener
	got chan []byte
}

func newSink(t *testing.T) *sink {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &sink{ln: ln, got: make(chan []byte, 1)}
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			p, _ := io.ReadAll(c) // the connection may be reset: what came before counts
			_ = c.Close()
			s.got <- p
		}
	}()
	return s
}

func (s *sink) read(t *testing.T) []byte {
	t.Helper()
	select {
	case p := <-s.got:
		return p
	case <-time.After(10 * time.Second):
		t.Fatal("the connection did not end")
		return nil
	}
}

func send(t *testing.T, addr string, p []byte) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if _, err := c.Write(p); err != nil {
		t.Fatal(err)
	}
	return c
}

func proxyTo(t *testing.T, s *sink) *proxy {
	t.Helper()
	p, err := newProxy(s.ln.Addr().String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.close)
	return p
}

func TestProxyPassesAll(t *testing.T) {
	s := newSink(t)
	p := proxyTo(t, s)
	data := make([]byte, 5<<20)
	for i := range data {
		data[i] = byte(rand.Uint32())
	}
	_ = send(t, p.addr, data).Close()
	if got := s.read(t); !bytes.Equal(got, data) {
		t.Fatalf("%d of %d bytes arrived, or others", len(got), len(data))
	}
}

func TestProxyCutsAtTheByte(t *testing.T) {
	s := newSink(t)
	p := proxyTo(t, s)
	c := send(t, p.addr, []byte("0123"))
	waitFor(t, "the connection through the proxy", func() bool { return p.cutAfter(toServer, 1<<20) == 1 })
	time.Sleep(50 * time.Millisecond) // the first bytes have passed
	p.cutAfter(toServer, 3)
	if _, err := c.Write([]byte("456789")); err != nil {
		t.Fatal(err)
	}
	if got := s.read(t); string(got) != "0123456" {
		t.Fatalf("%q arrived before the cut, want 0123456", got)
	}
}

// TestProxyKeepsHeldBytes lets the sender die before its bytes are let go.
func TestProxyKeepsHeldBytes(t *testing.T) {
	s := newSink(t)
	p := proxyTo(t, s)
	c := send(t, p.addr, []byte("first "))
	waitFor(t, "the connection through the proxy", func() bool { return p.each(func(*proxyLink) {}) == 1 })
	time.Sleep(50 * time.Millisecond)
	release := p.hold(toServer)
	if _, err := c.Write([]byte("held")); err != nil {
		t.Fatal(err)
	}
	time.Sleep(50 * time.Millisecond)
	_ = c.Close()
	select {
	case got := <-s.got:
		t.Fatalf("the connection ended while it was held, with %q", got)
	case <-time.After(200 * time.Millisecond):
	}
	if n := release(); n != len("held") {
		t.Errorf("%d bytes were held, want %d", n, len("held"))
	}
	if got := s.read(t); string(got) != "first held" {
		t.Fatalf("%q arrived, want %q", got, "first held")
	}
}

func TestProxyRefuses(t *testing.T) {
	s := newSink(t)
	p := proxyTo(t, s)
	p.refuse(300 * time.Millisecond)
	c, err := net.Dial("tcp", p.addr)
	if err == nil {
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(5 * time.Second))
		if _, err = c.Read(make([]byte, 1)); err == nil {
			t.Fatal("a refused connection answered")
		}
	}
	time.Sleep(350 * time.Millisecond)
	_ = send(t, p.addr, []byte("x")).Close()
	if got := s.read(t); string(got) != "x" {
		t.Fatalf("%q arrived after the refusal, want x", got)
	}
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no %s within 5 s", what)
		}
	}
}
