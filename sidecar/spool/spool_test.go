package spool

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"testing"
	"time"
)

// TestOrderAcrossMemoryAndDisk sends bytes through a spool that is far too
// small for them and expects the same bytes in the same order.
func TestOrderAcrossMemoryAndDisk(t *testing.T) {
	dir := t.TempDir()
	s := New(dir, 1, 80<<20)
	rnd := rand.New(rand.NewPCG(1, 2))
	data := make([]byte, 50<<20)
	for i := range data {
		data[i] = byte(rnd.Uint32())
	}
	end := errors.New("end")
	go s.Fill(&jerky{data: data, end: end, rnd: rnd}, func(int) {})
	time.Sleep(50 * time.Millisecond) // let the writer run ahead onto the disk
	var got bytes.Buffer
	p := make([]byte, 70_001)
	for {
		n, err := s.Read(p)
		got.Write(p[:n])
		if err != nil {
			if !errors.Is(err, end) {
				t.Fatalf("Read: %v", err)
			}
			break
		}
	}
	if !bytes.Equal(got.Bytes(), data) {
		t.Fatalf("read %d bytes that differ from the %d written", got.Len(), len(data))
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("%d files are left in the spool's folder", len(left))
	}
}

// TestCapHoldsTheWriterBack fills memory and disk and expects the writer to
// wait, visibly, until bytes are read.
func TestCapHoldsTheWriterBack(t *testing.T) {
	s := New(t.TempDir(), 1, 1<<20)
	go s.Fill(&jerky{data: make([]byte, 8<<20), end: io.EOF, rnd: rand.New(rand.NewPCG(3, 4))}, func(int) {})
	waitFor(t, s.Full)
	total, disk := s.Buffered()
	if total > 1<<20+2*chunkSize+chunkSize || disk > 1<<20 {
		t.Fatalf("%d bytes buffered, %d on disk: over the cap", total, disk)
	}
	n, err := io.Copy(io.Discard, readerOf{s})
	if err != nil || n != 8<<20 {
		t.Fatalf("read %d bytes, %v", n, err)
	}
}

func TestAbortWakesBothSides(t *testing.T) {
	s := New(t.TempDir(), 1, 0)
	done := make(chan struct{})
	go func() {
		s.Fill(&jerky{data: make([]byte, 8<<20), end: io.EOF, rnd: rand.New(rand.NewPCG(5, 6))}, func(int) {})
		close(done)
	}()
	waitFor(t, s.Full)
	s.Abort()
	select {
	case <-done:
	case <-time.After(5 * time.Second):
		t.Fatal("the writer still waits after Abort")
	}
	if _, err := s.Read(make([]byte, 1)); err == nil {
		t.Fatal("Read gave bytes after Abort")
	}
}

type readerOf struct{ s *Spool }

func (r readerOf) Read(p []byte) (int, error) { return r.s.Read(p) }

// jerky returns data in pieces of odd sizes.
type jerky struct {
	data []byte
	end  error
	rnd  *rand.Rand
}

func (j *jerky) Read(p []byte) (int, error) {
	if len(j.data) == 0 {
		return 0, j.end
	}
	n := min(1+j.rnd.IntN(200_000), len(p), len(j.data))
	copy(p, j.data[:n])
	j.data = j.data[n:]
	return n, nil
}

func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	for range 500 {
		if ok() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("waited 5 s in vain")
}
