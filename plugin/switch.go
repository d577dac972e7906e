package plugin

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/redis-sync/kubectl-redis-sync/internal/execute"
	"github.com/redis-sync/kubectl-redis-sync/internal/fault"
	"github.com/redis-sync/kubectl-redis-sync/internal/pair"
	"github.com/redis-sync/kubectl-redis-sync/internal/switchover"
	"github.com/redis-sync/kubectl-redis-sync/internal/verify"
	"github.com/redis-sync/kubectl-redis-sync/internal/version"
	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
)

// switchOptions are the flags of the verbs that change roles.
type switchOptions struct {
	*Options
	verb       pair.Verb
	sites      siteFlags
	output     string
	yes        bool
	dryRun     bool
	timeout    time.Duration
	switchover switchover.Options
	verify     string
	rescueFile string
	hooks      string
	hookLimit  time.Duration
}

// switchCommand makes one of these verbs.
func switchCommand(o *Options, verb pair.Verb, short, text string, codes []int, examples string) (*cobra.Command, *switchOptions) {
	s := &switchOptions{Options: o, verb: verb}
	cmd := &cobra.Command{
		Use:     string(verb) + " PAIR",
		Short:   short,
		Long:    long(text, string(verb), codes...),
		Example: examples,
		Args:    onePair,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := s.validate(); err != nil {
				return err
			}
			return s.run(cmd.Context(), args[0])
		},
	}
	s.sites.add(cmd)
	flags := cmd.Flags()
	flags.StringVarP(&s.output, "output", "o", "", "output format: json")
	flags.BoolVarP(&s.yes, "yes", "y", false, "do not ask")
	flags.BoolVar(&s.dryRun, "dry-run", false, "print the steps that would be done now, and do nothing")
	flags.DurationVar(&s.timeout, "timeout", time.Minute, "how long each wait may take")
	s.completeWith(cmd, "json")
	return cmd, s
}

var (
	switchCodes  = []int{0, 1, 3, 4, 6, 10, 11, 12, 130}
	plannedCodes = []int{0, 1, 3, 4, 5, 6, 10, 11, 12, 130} // of verbs that compare the sites
)

// verifyNone leaves the comparison out.
const verifyNone = "none"

func (s *switchOptions) validate() error {
	if err := checkOutput(s.output, "json"); err != nil {
		return err
	}
	switch s.verify {
	case string(wire.VerifySample), string(wire.VerifyFull):
		s.switchover.Verify, s.switchover.VerifyFull = true, s.verify == string(wire.VerifyFull)
	case verifyNone, "": // "" of verbs that have no such flag
	default:
		return fmt.Errorf("--verify %q: expected full, sample or none", s.verify)
	}
	if s.hooks != "" && s.hookLimit <= 0 {
		return fmt.Errorf("--hook-timeout %s: expected a time above 0", s.hookLimit)
	}
	s.switchover.Rescue = s.rescueFile != ""
	return nil
}

// silentFor is how long a site that gave no answer is not asked again.
const silentFor = 20 * time.Second

func (s *switchOptions) run(ctx context.Context, name string) error {
	request, err := s.request(name, s.verb, s.sites)
	if err != nil {
		return err
	}
	request.WithoutPrimary = s.switchover.AcceptDataLoss
	var opened []*execute.Session
	defer func() {
		for _, session := range opened {
			closeSession(session)
		}
	}()
	var asked time.Time
	open := func(ctx context.Context) (*execute.Session, error) {
		// The records are read several times, and nobody can write meanwhile: a
		// site that is silent costs its timeout once.
		if time.Since(asked) > silentFor {
			asked, request.Silent = time.Now(), nil
		}
		session, err := execute.Open(ctx, s.connector(), request)
		if err == nil {
			opened = append(opened, session)
			request.Silent = session.Silent()
		}
		return session, err
	}
	session, err := open(ctx)
	if err != nil {
		return err
	}
	if err := checkLegal(session, s.verb); err != nil && !switchover.Unawaited(session.Record, s.verb) {
		return err
	}
	if err := execute.CheckAccess(ctx, session, s.verb); err != nil {
		return err
	}
	operation, err := execute.NewOperation(s.verb, whoami(), version.Get().Version)
	if err != nil {
		return err
	}
	hook, err := hooksIn(s.hooks, s.hookLimit, name, operation, s.ErrOut)
	if err != nil {
		return err
	}
	ask := s.ask(name)
	confirm := func(p *switchover.Plan) error {
		if !s.yes { // a person takes time: a site that was silent may be back
			asked = time.Time{}
		}
		return ask(p)
	}
	progress, shown := newProgress(s.ErrOut), verifyProgress{out: s.ErrOut}
	first := wire.VerifyMode("")
	if s.verb == pair.VerbRecover && s.verify != verifyNone {
		first = wire.VerifyMode(s.verify)
	}
	result, err := execute.Switch(ctx, session, execute.NewFinder(), execute.SwitchOptions{
		Operation: operation, Switchover: s.switchover, Image: version.Get().SidecarImage, Timeout: s.timeout, DryRun: s.dryRun,
		Progress: progress, Confirm: confirm, Reopen: open, Hook: hook,
		Verify:       execute.VerifyOptions{Progress: shown.progress, Waiting: shown.waiting},
		CompareFirst: first, RescueFile: s.rescueFile,
	})
	progress.Close()
	return s.report(result, err)
}

// ask shows the plan and asks.
func (s *switchOptions) ask(name string) func(*switchover.Plan) error {
	return func(p *switchover.Plan) error {
		fmt.Fprintf(s.ErrOut, "%s of pair %s, in %d steps:\n", s.verb, name, len(p.Steps))
		s.printSteps(p.Steps)
		for _, text := range p.Warnings {
			fmt.Fprintln(s.ErrOut, "warning: "+escapeLines(text))
		}
		if p.Divergence != nil {
			s.printDivergence(s.ErrOut, p.Divergence)
		}
		return s.confirm(s.yes, "Go on?")
	}
}

func (s *switchOptions) printSteps(steps []switchover.Step) {
	for i, step := range steps {
		fmt.Fprintf(s.ErrOut, "  %2d. %s\n", i+1, escapeLines(step.String()))
	}
}

// report prints what a switch reached, also when it stopped in the middle.
func (s *switchOptions) report(r *execute.SwitchResult, err error) error {
	if s.output == "json" && r != nil && (err == nil || len(r.Steps) > 0) {
		if printErr := printJSON(s.Out, r); printErr != nil {
			return printErr
		}
		return err
	}
	if r == nil {
		return err
	}
	if r.DryRun {
		if err != nil {
			return err
		}
		for _, text := range r.Warnings {
			fmt.Fprintln(s.ErrOut, "warning: "+escapeLines(text))
		}
		if r.Divergence != nil {
			s.printDivergence(s.Out, r.Divergence)
		}
		for i, step := range r.Steps {
			if _, err := fmt.Fprintf(s.Out, "%2d. %s\n", i+1, escapeLines(step.String())); err != nil {
				return err
			}
		}
		return nil
	}
	if len(r.Steps) > 0 || err == nil {
		for _, text := range r.Warnings {
			fmt.Fprintln(s.ErrOut, "warning: "+escapeLines(text))
		}
	}
	if r.Verify != nil && r.Divergence == nil && r.Verify.Differences() > 0 {
		if err := verify.WriteText(s.ErrOut, r.Verify); err != nil {
			return err
		}
	}
	if r.Cancelled {
		remedy := "look at status; nothing was switched"
		if len(r.Left) > 0 && r.Left[0].Op == switchover.OpVerify || fault.Has(err, fault.CodeRefused) {
			remedy = fault.Remedy(err)
		}
		return fault.Wrap(fault.ExitCode(err), remedy,
			fmt.Errorf("%w; taken back: site %s is the primary, as before", err, r.Primary))
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(s.Out, summary(r))
	return err
}

// summary is the one line at the end.
func summary(r *execute.SwitchResult) string {
	var b strings.Builder
	fmt.Fprintf(&b, "pair %s: %s done: primary %s, standby %s, phase %s, epoch %d, %.1f s", r.Pair, r.Verb, r.Primary, r.Standby, r.Phase, r.Epoch, r.Seconds)
	if r.UnavailableSeconds > 0 {
		fmt.Fprintf(&b, ", writes refused for %.2f s", r.UnavailableSeconds)
	}
	if len(r.Replicators) > 0 {
		if r.FullCopies == 0 {
			b.WriteString(", no full copy")
		} else {
			fmt.Fprintf(&b, ", %d shards copied in full", r.FullCopies)
		}
	}
	if f := r.Rescue; f != nil {
		fmt.Fprintf(&b, "; rescue file %s holds %d keys in %d bytes", f.File, f.Keys, f.Bytes)
	}
	return b.String()
}

// namesOfDivergence is how many keys of each kind are named before a question.
const namesOfDivergence = 5

// printDivergence says what a full copy would replace, with some names.
func (s *switchOptions) printDivergence(out io.Writer, d *switchover.Divergence) {
	fmt.Fprintln(out, escapeLines(d.String()))
	if d.Found == nil {
		return
	}
	what := map[wire.VerifyKind]string{
		wire.VerifyMissing: "only on " + d.OldPrimary, wire.VerifyExtra: "only on " + d.Primary, wire.VerifyTTL: "another TTL",
		wire.VerifyDifferent: "differs", wire.VerifyUnsettled: "differs",
	}
	printed := map[wire.VerifyKind]int{}
	for _, k := range d.Found.Samples {
		if printed[k.Kind]++; printed[k.Kind] <= namesOfDivergence {
			fmt.Fprintln(out, escapeLines(fmt.Sprintf("  %s: db %d %s %s", what[k.Kind], k.DB, k.Type, k.Key)))
		}
	}
}
