package cli

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/redis-sync/kubectl-redis-sync/test/cluster/internal/site"
)

// lock lets one changing command run at a time. "down" deletes the file under
// the feet of those that wait for it; they notice and lock the new one.
func lock() (unlock func(), err error) {
	path := filepath.Join(site.StateDir, "lock")
	for {
		if err := os.MkdirAll(site.StateDir, 0o755); err != nil {
			return nil, err
		}
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
		if err != nil {
			return nil, err
		}
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		held, err := f.Stat()
		if err != nil {
			f.Close()
			return nil, err
		}
		if now, err := os.Stat(path); err == nil && os.SameFile(held, now) {
			return func() { f.Close() }, nil
		}
		f.Close()
	}
}
