package plugin

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/redis-sync/kubectl-redis-sync/internal/execute"
	"github.com/redis-sync/kubectl-redis-sync/internal/pair"
)

const waitLong = `
Waits until a pair is as it should be, and says on standard error what it still
waits for. It changes nothing. --for is one of

  in-sync        every replicator is in sync
  complete       the standby holds a complete copy, if an old one
  phase=PHASE    the phase that the last command left in the record
  live=PHASE     the phase that the replicators are in now (status shows both)
  primary=SITE   this site is the primary, and no switch is under way
  delete         the pair is gone

A site that does not answer is waited for as well. A replicator that stopped at
something that waiting does not mend ends the wait with exit code 1.

Plain kubectl can wait, too:

  kubectl wait --for=condition=Available deploy -l redis-sync.io/pair=PAIR
  kubectl wait --for=jsonpath='{.data.phase}'=InSync configmap/redis-sync-PAIR`

const verbWait = pair.Verb("wait")

// waitOptions are the flags of wait.
type waitOptions struct {
	*Options
	sites     siteFlags
	output    string
	condition string
	timeout   time.Duration
}

// NewWaitCommand makes the verb wait.
func NewWaitCommand(o *Options) *cobra.Command {
	w := &waitOptions{Options: o}
	cmd := &cobra.Command{
		Use:   "wait PAIR",
		Short: "Wait until a pair is in sync, or in a phase",
		Long:  long(waitLong, string(verbWait), 0, 1, 4, 10, 12, 130),
		Example: `  kubectl redis-sync wait dr1 --context site-b -n redis

  # For ten minutes at most, until a switch has ended
  kubectl redis-sync wait dr1 --for=primary=redis-b --timeout=10m

  # Only look
  kubectl redis-sync wait dr1 --for=phase=InSync --timeout=0`,
		Args: onePair,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkOutput(w.output, "json"); err != nil {
				return err
			}
			if w.timeout < 0 {
				return errors.New("--timeout: less than 0")
			}
			return w.run(cmd.Context(), args[0])
		},
	}
	w.sites.add(cmd)
	flags := cmd.Flags()
	flags.StringVar(&w.condition, "for", "in-sync", "what to wait for: in-sync, complete, phase=PHASE, live=PHASE, primary=SITE or delete")
	flags.StringVarP(&w.output, "output", "o", "", "output format: json")
	flags.DurationVar(&w.timeout, "timeout", 30*time.Minute, "how long to wait; 0 looks once")
	w.completeWith(cmd, "json")
	w.completeFlag(cmd, "for", func(context.Context, []string, string) []string {
		var words []string
		for _, word := range execute.ConditionWords {
			if word == "phase=PHASE" {
				for _, phase := range pair.Phases {
					words = append(words, "phase="+string(phase))
				}
				continue
			}
			words = append(words, word)
		}
		return words
	})
	return cmd
}

func (w *waitOptions) run(ctx context.Context, name string) error {
	condition, err := execute.ParseCondition(w.condition)
	if err != nil {
		return fmt.Errorf("--for: %w", err)
	}
	request, err := w.request(name, verbWait, w.sites)
	if err != nil {
		return err
	}
	shown := waitNotice{options: w}
	result, err := execute.WaitFor(ctx, execute.WaitOptions{
		Pair: name, For: condition, Timeout: w.timeout, Waiting: shown.say,
		Open: func(ctx context.Context) (*execute.Session, error) { return execute.Open(ctx, w.connector(), request) },
	})
	if w.output == "json" {
		return errors.Join(printJSON(w.Out, result), err)
	}
	if err != nil {
		return err
	}
	if condition.Deleted() {
		_, err = fmt.Fprintf(w.Out, "pair %s is gone, after %.1f s\n", name, result.Seconds)
		return err
	}
	_, err = fmt.Fprintf(w.Out, "pair %s: %s, after %.1f s: phase %s, live %s, epoch %d, primary %s\n",
		name, condition, result.Seconds, result.Phase, result.Live, result.Epoch, result.Primary)
	return err
}

// waitNotice says what a wait waits for: when that changes, and not too often.
type waitNotice struct {
	options *waitOptions
	text    string
	at      time.Time
}

// sayAgain is how long a text stands before another one is shown.
const sayAgain = 2 * time.Second

func (s *waitNotice) say(text string) {
	if text == s.text || time.Since(s.at) < sayAgain {
		return
	}
	s.text, s.at = text, time.Now()
	fmt.Fprintln(s.options.ErrOut, "waiting: "+escapeLines(text))
}
