package apply

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis-sync/kubectl-redis-sync/sidecar/conn"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/resp"
)

// scriptError is the command at which a batch ended.
type scriptError struct {
	at  int // commands that ran before it
	err error
}

// scriptAnswer reads what batchScript returns, for a batch of n commands.
func scriptAnswer(r *resp.Reply, n int) (failed *scriptError, missing []int, err error) {
	bad := &resp.ReadError{Err: fmt.Errorf("%w: the answer to a batch is not what its script returns", resp.ErrProtocol)}
	if r.Kind != '*' || len(r.Elems) < 2 || r.Elems[0].Kind != '$' {
		return nil, nil, bad
	}
	for _, e := range r.Elems[1:] {
		if e.Kind != ':' || e.Int < 1 || e.Int > int64(n) {
			return nil, nil, bad
		}
		missing = append(missing, int(e.Int)-1)
	}
	text := r.Elems[0].Text
	if text == "" {
		return nil, missing, nil
	}
	return &scriptError{missing[0], targetError(text)}, missing[1:], nil
}

// bareError takes away where in the script a command was refused before it ran,
// which servers before 7.0 write in front of the error: "@user_script: 20: -OOM
// command not allowed" (luaPushError in scripting.c).
func bareError(text string) string {
	_, at, found := strings.Cut(text, "@user_script: ")
	if _, code, coded := strings.Cut(at, ": -"); found && coded {
		return strings.TrimSpace(code)
	}
	return text
}

// deniedInScript knows how servers word a command of a script that the user
// may not run: 6.0 and 7.0, then 7.2 and later (scriptVerifyACL in script.c).
func deniedInScript(text string) bool {
	return strings.Contains(text, "user executing the script can't run this command") || strings.Contains(text, "ACL failure in script")
}

// resolve applies commands one at a time, in the order of the stream,
// wherever their slots are by now.
func (t *Cluster) resolve(ctx context.Context, loose []looseCommand, cause error) error {
	sortLoose(loose)
	loose = t.whole(loose)
	var b backoff
	moved := -1 // the command for which the nodes were asked anew last
	for i := 0; i < len(loose); {
		err := cause
		if cause == nil {
			err = t.one(&loose[i])
		}
		cause = nil
		if err == nil {
			b = backoff{}
			i++
			continue
		}
		var read *resp.ReadError
		if resp.IsCode(err, "MOVED", "CLUSTERDOWN", "READONLY", "MASTERDOWN", "NOPERM", "NOAUTH") || errors.As(err, &read) || !serverSaid(err) && transient(err) {
			if moved == i { // asking did not help: a slot between two nodes takes its time
				if err := retry(ctx, t.o.Waiting, &b, err); err != nil {
					return err
				}
			}
			moved = i
			old := append([]*clusterNode(nil), t.nodes...)
			if err := t.reconnect(ctx, err); err != nil {
				return err
			}
			for _, o := range old {
				if t.node(o.id, o.runID) == nil {
					return ErrRewound
				}
			}
			continue
		}
		if err := retry(ctx, t.o.Waiting, &b, err); err != nil {
			return err
		}
	}
	t.o.Waiting(nil)
	return nil
}

func serverSaid(err error) bool {
	var server *resp.ServerError
	return errors.As(err, &server)
}

// one applies one command on the node that has its slot, or, while the slot
// is on the move, on the node that takes it over.
func (t *Cluster) one(c *looseCommand) error {
	n := t.owner[c.slot]
	if c.kind != settled && n.done(c.slot, c.end) {
		return nil
	}
	if n.c == nil {
		return errGone
	}
	t.ahead = max(t.ahead, c.end)
	t.sentInTx = t.sentInTx || t.inTx // it may note a pending key
	// Where is the key? A script only says "not here".
	_, err := n.c.Do("EXISTS", c.key)
	if resp.IsCode(err, "ASK") {
		return t.ask(c, err)
	}
	if err != nil {
		return err
	}
	if c.mark < c.end {
		if _, err := n.c.Do(t.tellAhead(n)...); err != nil {
			return err
		}
	}
	field := frontierOffset
	if c.mark <= n.frontier {
		field = frontierSlot + strconv.Itoa(c.slot)
	}
	if err := t.run(n, n.c, c, field); err != nil {
		return err
	}
	n.moved(c.slot, c.mark)
	return nil
}

// run sends one command with its frontier over a connection to the node n.
func (t *Cluster) run(n *clusterNode, over *conn.Conn, c *looseCommand, field string) error {
	if c.kind == direct {
		return t.runScript(n, over, c, field, field != frontierOffset)
	}
	out := t.script(nil, n, field, []nodeCommand{c.nodeCommand}, c.raw)
	if err := t.o.write(over, out); err != nil {
		var data *DataError
		if errors.As(err, &data) { // it names the script
			return dataError(c.raw, 0, data.Err)
		}
		return err
	}
	r, err := resp.ReadReply(over.W)
	if err != nil {
		return &resp.ReadError{Err: err}
	}
	if err := r.Err(); err != nil {
		if unreadable(err) {
			return dataError(c.raw, 0, err)
		}
		return err
	}
	if r.Kind == ':' {
		return nil
	}
	failed, missing, err := scriptAnswer(&r, 1)
	if err != nil {
		return err
	}
	if len(missing) > 0 {
		t.expired(c.key)
	}
	if failed == nil {
		return nil
	}
	if !transient(failed.err) {
		return dataError(c.raw, 0, failed.err)
	}
	return failed.err
}

// ask applies a command on the node that is importing the key's slot.
func (t *Cluster) ask(c *looseCommand, asked error) error {
	var server *resp.ServerError
	if !errors.As(asked, &server) {
		return asked
	}
	_, addr, ok := strings.Cut(server.Text, " ")
	if !ok {
		return asked
	}
	var to *clusterNode
	for _, n := range t.nodes {
		if n.addr == addr {
			to = n
		}
	}
	if to == nil || to.c == nil { // a node that had no slots when we connected
		return &resp.ServerError{Code: "MOVED", Text: "to a node that was not known"}
	}
	if _, err := to.c.Do("ASKING"); err != nil {
		return err
	}
	return t.run(to, to.c, c, frontierSlot+strconv.Itoa(c.slot))
}
