// Package pause waits, unless the work is called off.
package pause

import (
	"context"
	"time"
)

// For waits for d, or returns the cause of ctx when that ends before.
func For(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}
