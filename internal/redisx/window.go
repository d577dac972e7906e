package redisx

import (
	"context"
	"errors"
	"strings"
)

// MinReplicas are the two parameters with which a master refuses writes
// (NOREPLICAS) while it has too few good replicas.
type MinReplicas struct {
	ToWrite string // min-replicas-to-write; "0": never
	MaxLag  string // min-replicas-max-lag, seconds; "0": never

	older bool // before 5.0 they are named min-slaves-
}

// MinReplicas reads them.
func (c *Client) MinReplicas(ctx context.Context) (MinReplicas, error) {
	values, err := c.ConfigGet(ctx, "min-*")
	if err != nil {
		return MinReplicas{}, err
	}
	m, ok := minReplicas(values)
	if !ok {
		return m, c.wrap("CONFIG GET", errors.New("the server has no min-replicas-to-write"))
	}
	return m, nil
}

func minReplicas(values map[string]string) (MinReplicas, bool) {
	m := MinReplicas{ToWrite: values["min-replicas-to-write"], MaxLag: values["min-replicas-max-lag"]}
	if m.ToWrite == "" {
		m = MinReplicas{ToWrite: values["min-slaves-to-write"], MaxLag: values["min-slaves-max-lag"], older: true}
	}
	return m, m.ToWrite != "" && m.MaxLag != ""
}

// SetMinReplicas sets them; what MinReplicas gave names them.
func (c *Client) SetMinReplicas(ctx context.Context, m MinReplicas) error {
	word := "replicas"
	if m.older {
		word = "slaves"
	}
	for _, p := range [][2]string{{"min-" + word + "-max-lag", m.MaxLag}, {"min-" + word + "-to-write", m.ToWrite}} {
		if err := c.rdb.ConfigSet(ctx, p[0], p[1]).Err(); err != nil {
			return c.wrap(strings.ToUpper("config set ")+p[0], err)
		}
	}
	return nil
}
