package plugin

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/redis-sync/kubectl-redis-sync/internal/execute"
	"github.com/redis-sync/kubectl-redis-sync/internal/fault"
	"github.com/redis-sync/kubectl-redis-sync/internal/pair"
)

const statusLong = `
Shows the live state of a pair: what the replicators say of themselves, beside
the phase that the last command left in the record, what is possible now, and
what is wrong. Where you may do what discover needs, it asks the servers, too:
whether the standby is protected, whether the primary takes writes, and whether
both are the instances that the record knows.

A site that does not answer is part of the report, and the exit code is 1.`

// statusOptions are the flags of status.
type statusOptions struct {
	*Options
	sites    siteFlags
	output   string
	watch    bool
	interval time.Duration
	verbs    []pair.Verb
}

// NewStatusCommand makes the verb status.
func NewStatusCommand(o *Options) *cobra.Command {
	s := &statusOptions{Options: o}
	cmd := &cobra.Command{
		Use:   "status PAIR",
		Short: "Show the live state of a pair",
		Long:  long(statusLong, "status", 0, 1, 10, 12, 130),
		Example: `  kubectl redis-sync status dr1 --context site-b -n redis

  # Until it is interrupted
  kubectl redis-sync status dr1 -w

  # For a script
  kubectl redis-sync status dr1 -o json`,
		Args: onePair,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkOutput(s.output, "wide", "json", "yaml"); err != nil {
				return err
			}
			if s.watch && (s.output == "json" || s.output == "yaml") {
				return errors.New("--watch does not go with -o " + s.output)
			}
			s.verbs = verbsOf(cmd.Root())
			return s.run(cmd.Context(), args[0])
		},
	}
	s.sites.add(cmd)
	cmd.Flags().StringVarP(&s.output, "output", "o", "", "output format: wide, json or yaml")
	cmd.Flags().BoolVarP(&s.watch, "watch", "w", false, "show it again and again")
	cmd.Flags().DurationVar(&s.interval, "interval", 2*time.Second, "how often, with --watch")
	s.completeWith(cmd, "wide", "json", "yaml")
	return cmd
}

// verbsOf are the verbs of the state machine that this program has.
func verbsOf(root *cobra.Command) []pair.Verb {
	var verbs []pair.Verb
	for _, verb := range pair.Verbs {
		for _, cmd := range root.Commands() {
			if cmd.Name() == string(verb) {
				verbs = append(verbs, verb)
			}
		}
	}
	return verbs
}

func (s *statusOptions) run(ctx context.Context, name string) error {
	request, err := s.request(name, pair.VerbStatus, s.sites)
	if err != nil {
		return err
	}
	inspector := &execute.Inspector{Finder: execute.NewFinder(), Every: inspectEvery}
	for {
		err := s.once(ctx, request, inspector)
		if !s.watch {
			return err
		}
		if err != nil && fault.ExitCode(err) != fault.CodeError {
			return err
		}
		if err != nil && ctx.Err() == nil {
			printError(s.ErrOut, err, false)
		}
		select {
		case <-ctx.Done():
			return nil // the user has seen enough
		case <-time.After(s.interval):
		}
	}
}

// inspectEvery is how often the servers themselves are asked, with --watch.
const inspectEvery = 15 * time.Second

func (s *statusOptions) once(ctx context.Context, request execute.Request, inspector *execute.Inspector) error {
	session, err := execute.Open(ctx, s.connector(), request)
	if err != nil {
		return err
	}
	defer closeSession(session)
	report, err := execute.Status(ctx, session, s.verbs, inspector)
	if err != nil {
		return err
	}
	switch s.output {
	case "json":
		err = printJSON(s.Out, report)
	case "yaml":
		err = printYAML(s.Out, report)
	default:
		if s.watch && isTerminal(s.Out) {
			fmt.Fprint(s.Out, "\x1b[H\x1b[2J")
		}
		err = printStatus(s.Options, report, s.output == "wide")
	}
	if err != nil {
		return err
	}
	return session.Unreachable()
}

func printStatus(o *Options, r *execute.StatusReport, wide bool) error {
	fmt.Fprintf(o.Out, "Pair %s: %s (record: %s%s), epoch %d, %s -> %s\n\n", r.Pair, o.paint(string(r.Live), 0), r.Phase,
		failedStep(r), r.Epoch, r.Primary, r.Standby)
	rows := [][]string{{"SITE", "ROLE", "CONTEXT", "NAMESPACE", "INSTANCE", "MODE", "REACHABLE"}}
	for _, site := range r.Sites {
		reachable := "yes"
		if !site.Reachable {
			reachable = "no"
		}
		rows = append(rows, []string{site.Name, string(site.Role), site.Context, site.Namespace, site.Kind + "/" + site.Instance, string(site.Mode), reachable})
	}
	if err := table(o.Out, rows); err != nil {
		return err
	}
	fmt.Fprintln(o.Out)
	if err := table(o.Out, shardRows(r, wide)); err != nil {
		return err
	}
	if err := o.printFindings(r.Findings, true); err != nil {
		return err
	}
	return printVerbs(o, r, wide)
}

func failedStep(r *execute.StatusReport) string {
	if r.FailedStep == "" {
		return ""
	}
	return " at " + r.FailedStep
}

func shardRows(r *execute.StatusReport, wide bool) [][]string {
	head := []string{"SHARD", "SLOTS", "PHASE", "IN-SYNC", "LAG", "KEYS", "SOURCE", "POD"}
	if wide {
		head = append(head, "BYTES", "OFFSET", "DELIVERY", "TARGET", "RECONNECTS", "RESTARTS", "NODE", "VERSION")
	}
	rows := [][]string{head}
	for _, s := range r.Shards {
		row := []string{strconv.Itoa(s.Shard), s.Slots, "", "no", "", "", "", s.Pod}
		if s.Problem != "" {
			row[2] = "not running"
			if s.Status == nil && r.Paused && s.Replicas == 0 {
				row[2] = "paused"
			}
		}
		st := s.Status
		if st == nil {
			rows = append(rows, pad(row, len(head)))
			continue
		}
		row[2] = string(st.Phase)
		if st.InSync {
			row[3] = "yes"
		}
		row[4] = fmt.Sprintf("%s/%.1fs", bytesText(st.LagBytes), st.LagSeconds)
		row[5] = strconv.FormatInt(st.FullSync.Keys, 10)
		row[6] = st.Source.Address
		if st.Source.Role != "" {
			row[6] += " (" + st.Source.Role + ")"
		}
		if wide {
			row = append(row, bytesText(st.FullSync.Bytes), strconv.FormatInt(st.AppliedOffset, 10), string(st.Delivery), st.Target.Address,
				strconv.FormatInt(st.Stream.Reconnects, 10), strconv.Itoa(int(s.Restarts)), s.Node, st.Version)
		}
		rows = append(rows, row)
	}
	return rows
}

func pad(row []string, length int) []string {
	for len(row) < length {
		row = append(row, "")
	}
	return row
}

func printVerbs(o *Options, r *execute.StatusReport, wide bool) error {
	var legal []string
	for _, v := range r.Verbs {
		if v.Legal {
			legal = append(legal, string(v.Verb))
		}
	}
	_, err := fmt.Fprintf(o.Out, "\nPossible now: %s\n", strings.Join(legal, ", "))
	for _, v := range r.Verbs {
		if wide && !v.Legal {
			_, err = fmt.Fprintf(o.Out, "  not %s: %s\n", v.Verb, v.Why)
		}
	}
	return err
}
