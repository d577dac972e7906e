package apply

import (
	"context"
	"strconv"

	"github.com/redis-sync/kubectl-redis-sync/sidecar/conn"
)

// Dropped counts the keys that a server has dropped by itself since it
// started, or since CONFIG RESETSTAT.
type Dropped struct {
	RunID            string // of the server
	Evicted, Expired int64
}

func droppedBy(c *conn.Conn, runID string) (Dropped, error) {
	d := Dropped{RunID: runID}
	info, err := c.Info("stats")
	if err != nil {
		return d, err
	}
	// A server that hides one of them counts as one that drops nothing.
	d.Evicted, _ = strconv.ParseInt(info["evicted_keys"], 10, 64)
	d.Expired, _ = strconv.ParseInt(info["expired_keys"], 10, 64)
	return d, nil
}

// Dropped asks the master. Nothing may be in flight.
func (s *Standalone) Dropped(ctx context.Context) (list []Dropped, err error) {
	err = s.alone(ctx, func() error {
		d, err := droppedBy(s.c, s.runID)
		list = []Dropped{d}
		return err
	})
	return list, err
}

// Dropped asks all masters. Nothing may be in flight.
func (t *Cluster) Dropped(ctx context.Context) (list []Dropped, err error) {
	err = t.again(ctx, func() error {
		list = list[:0]
		for _, n := range t.nodes {
			if n.c == nil {
				return errGone
			}
			d, err := droppedBy(n.c, n.runID)
			if err != nil {
				return err
			}
			list = append(list, d)
		}
		return nil
	})
	return list, err
}
