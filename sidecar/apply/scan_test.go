package apply

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
	"testing"

	"github.com/redis-sync/kubectl-redis-sync/internal/testredis"
)

// TestScanEndsWithAFullDisk: what fails while keys are noted is no lost
// connection, after which the keys are walked through again.
func TestScanEndsWithAFullDisk(t *testing.T) {
	t.Parallel()
	full := &fs.PathError{Op: "write", Path: "marks", Err: syscall.ENOSPC}
	for name, target := range map[string]func(t *testing.T) (*testredis.Server, Writer){
		"standalone": func(t *testing.T) (*testredis.Server, Writer) {
			s := testredis.Start(t)
			return s, NewStandalone(options(s.Addr))
		},
		"cluster": func(t *testing.T) (*testredis.Server, Writer) {
			s := testredis.StartCluster(t, 1, 0).Nodes[0]
			return s, NewCluster(options(s.Addr))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, w := target(t)
			copied(t, w)
			s.Do(t, "SET", "key", "value")
			calls := 0
			err := w.Scan(t.Context(), func(int, []byte) error { calls++; return full })
			if !errors.Is(err, full) || calls != 1 {
				t.Errorf("after %d calls: %v", calls, err)
			}
		})
	}
}

// TestFileErrorsDoNotPass: nothing that is wrong with a file is waited out as if
// it were a connection.
func TestFileErrorsDoNotPass(t *testing.T) {
	_, err := os.Open("/no/such/file")
	if transient(err) {
		t.Errorf("%v counts as one that passes", err)
	}
}
