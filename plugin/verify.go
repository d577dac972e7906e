package plugin

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/redis-sync/kubectl-redis-sync/internal/execute"
	"github.com/redis-sync/kubectl-redis-sync/internal/fault"
	"github.com/redis-sync/kubectl-redis-sync/internal/pair"
	"github.com/redis-sync/kubectl-redis-sync/internal/plan"
	"github.com/redis-sync/kubectl-redis-sync/internal/verify"
	"github.com/redis-sync/kubectl-redis-sync/internal/version"
	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
)

const verifyLong = `
Compares the data of both sites of a pair, key by key: which keys the standby
lacks, which only it has, which have another type or value, and which another
deadline (TTL). Nothing is written to either side.

A Job beside the standby does it, with the addresses and the credentials of the
replicators, and is removed at the end. Only the standby's API server is needed
for that.

Writes may go on. What differs at first is read again, after the standby has
applied what the primary had written until then; a key counts as different when
it still is. Keys that keep changing get no verdict (unsettled), which counts as
a difference. While nothing is written the result is exact, and says so. Keys
that are created behind the comparison's back are not looked at.

Deadlines within --ttl-tolerance of each other count as the same. Of streams,
delivery counts and times are not compared: Redis does not replicate them
faithfully. The keys of this tool (redis-sync:*) are left out.

With --mode sample, keys of both sides are chosen at random: quick, and no proof.`

// verifyOptions are the flags of verify.
type verifyOptions struct {
	*Options
	sites     siteFlags
	output    string
	mode      string
	sample    int
	rounds    int
	tolerance time.Duration
	timeout   time.Duration
}

// NewVerifyCommand makes the verb verify.
func NewVerifyCommand(o *Options) *cobra.Command {
	v := &verifyOptions{Options: o}
	cmd := &cobra.Command{
		Use:   "verify PAIR",
		Short: "Compare the data of both sites",
		Long:  long(verifyLong, "verify", 0, 1, 3, 4, 5, 10, 12, 130),
		Example: `  # Everything
  kubectl redis-sync verify dr1 --context site-b -n redis

  # 100000 keys of each side, for a script
  kubectl redis-sync verify dr1 --mode sample --sample 100000 -o json`,
		Args: onePair,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := v.validate(); err != nil {
				return err
			}
			return v.run(cmd.Context(), args[0])
		},
	}
	v.sites.add(cmd)
	flags := cmd.Flags()
	flags.StringVarP(&v.output, "output", "o", "", "output format: json or yaml")
	flags.StringVar(&v.mode, "mode", string(wire.VerifyFull), "what to compare: full or sample")
	flags.IntVar(&v.sample, "sample", wire.DefaultVerifySample, "keys of each side, with --mode sample")
	flags.IntVar(&v.rounds, "rounds", wire.DefaultVerifyRounds, "how often keys that differ are read at most, the first time included")
	flags.DurationVar(&v.tolerance, "ttl-tolerance", wire.DefaultVerifyTTLTolerance, "by how much deadlines may differ")
	flags.DurationVar(&v.timeout, "timeout", wire.DefaultVerifyTimeout, "how long it may take")
	v.completeWith(cmd, "json", "yaml")
	v.completeFlag(cmd, "mode", func(context.Context, []string, string) []string {
		return []string{string(wire.VerifyFull), string(wire.VerifySample)}
	})
	return cmd
}

func (v *verifyOptions) validate() error {
	if err := checkOutput(v.output, "json", "yaml"); err != nil {
		return err
	}
	switch {
	case v.mode != string(wire.VerifyFull) && v.mode != string(wire.VerifySample):
		return fmt.Errorf("--mode %q: expected full or sample", v.mode)
	case v.sample < 1:
		return fmt.Errorf("--sample %d: expected 1 or more", v.sample)
	case v.rounds < 1:
		return fmt.Errorf("--rounds %d: expected 1 or more", v.rounds)
	case v.tolerance <= 0 || v.timeout <= 0:
		return fmt.Errorf("--ttl-tolerance and --timeout: expected more than 0")
	}
	return nil
}

func (v *verifyOptions) run(ctx context.Context, name string) error {
	request, err := v.request(name, pair.VerbVerify, v.sites)
	if err != nil {
		return err
	}
	session, err := execute.Open(ctx, v.connector(), request)
	if err != nil {
		return err
	}
	defer closeSession(session)
	if err := checkLegal(session, pair.VerbVerify); err != nil {
		return err
	}
	if err := session.Standby().Err; err != nil {
		return err
	}
	if err := execute.CheckAccess(ctx, session, pair.VerbVerify); err != nil {
		return err
	}
	operation, err := execute.NewOperation(pair.VerbVerify, whoami(), version.Get().Version)
	if err != nil {
		return err
	}
	shown := verifyProgress{out: v.ErrOut}
	result, err := execute.Verify(ctx, session, execute.VerifyOptions{
		Verify: plan.Verify{
			Mode: wire.VerifyMode(v.mode), SampleKeys: v.sample, Rounds: v.rounds, TTLTolerance: v.tolerance, Timeout: v.timeout,
		},
		Run: operation.ID, Progress: shown.progress, Waiting: shown.waiting,
	})
	if result != nil {
		// What was found counts, also when the Job could not be removed.
		if printErr := v.print(result); printErr != nil {
			return printErr
		}
	}
	if err != nil {
		return err
	}
	if !result.Equal() {
		return silentError{fault.CodeDiffers}
	}
	return nil
}

func (v *verifyOptions) print(result *wire.VerifyResult) error {
	switch v.output {
	case "json":
		return printJSON(v.Out, result)
	case "yaml":
		return printYAML(v.Out, result)
	default:
		return verify.WriteText(v.Out, result)
	}
}

// verifyProgress prints a line when something has changed and the interval
// has passed.
type verifyProgress struct {
	out  io.Writer
	last string
	at   time.Time
}

func (p *verifyProgress) waiting(reason string) { p.line("   " + reason) }

func (p *verifyProgress) progress(now wire.VerifyProgress) {
	p.line(fmt.Sprintf("   round %d: %d of about %d keys, %d differ so far", now.Round, now.Done, max(now.Total, now.Done), now.Suspects))
}

func (p *verifyProgress) line(text string) {
	if text == p.last || time.Since(p.at) < lineInterval {
		return
	}
	p.last, p.at = text, time.Now()
	fmt.Fprintln(p.out, escapeLines(text))
}
