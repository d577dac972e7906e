package redisx

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/redis/go-redis/v9"
)

// Pipeline sends commands together, in order, with database db selected, and
// returns one reply for each: string, int64, nil, []any, or the error that
// the server sent in reply to that command. With that a Client is a
// verify.Node. The error it returns itself is that of the connection, or of
// selecting the database; the commands have run in database 0 then, so this
// is for reading.
func (c *Client) Pipeline(ctx context.Context, db int, commands [][]string) ([]any, error) {
	pipe := c.rdb.Pipeline()
	// The connections of a client are all at database 0. A pipeline uses one
	// of them, and leaves it as it found it: one that breaks is closed.
	if db != 0 {
		pipe.Do(ctx, "SELECT", strconv.Itoa(db))
	}
	for _, args := range commands {
		list := make([]any, len(args))
		for i, a := range args {
			list[i] = a
		}
		pipe.Do(ctx, list...)
	}
	if db != 0 {
		pipe.Do(ctx, "SELECT", "0")
	}
	sent, err := pipe.Exec(ctx)
	var refused redis.Error
	if err != nil && !errors.As(err, &refused) {
		return nil, c.wrap("pipeline", err)
	}
	if db != 0 {
		for _, selected := range []redis.Cmder{sent[0], sent[len(sent)-1]} {
			if err := selected.Err(); err != nil {
				return nil, c.wrap(fmt.Sprintf("SELECT %d", db), err)
			}
		}
		sent = sent[1 : len(sent)-1]
	}
	replies := make([]any, len(sent))
	for i, command := range sent {
		switch reply, err := command.(*redis.Cmd).Result(); {
		case errors.Is(err, redis.Nil):
		case err != nil:
			replies[i] = err
		default:
			replies[i] = reply
		}
	}
	return replies, nil
}
