package plugin

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/redis-sync/kubectl-redis-sync/internal/execute"
	"github.com/redis-sync/kubectl-redis-sync/internal/fault"
	"github.com/redis-sync/kubectl-redis-sync/internal/pair"
	"github.com/redis-sync/kubectl-redis-sync/internal/version"
)

const planLong = `
Shows what apply would create, change and delete on each site of a pair, with
the reason, what the checks found, and how much there is to copy. Changes
nothing.

The pair is described by --source and --target, by a pair.yaml (-f), or, once
it exists, by its record alone.

With -o yaml the objects themselves are printed. Ports and addresses that an
API server chooses when a Service is created are shown as ASSIGNED-ON-APPLY
until then. Passwords are shown as *** unless --show-secrets is given.`

// planOptions are the flags of plan.
type planOptions struct {
	*Options
	definition       definitionFlags
	sites            siteFlags
	output           string
	detailedExitCode bool
	showSecrets      bool
}

// NewPlanCommand makes the verb plan.
func NewPlanCommand(o *Options) *cobra.Command {
	p := &planOptions{Options: o}
	cmd := &cobra.Command{
		Use:   "plan PAIR [--source REF --target REF | -f FILE]",
		Short: "Show what apply would do",
		Long:  long(planLong, "plan", 0, 1, 2, 3, 10, 12, 130),
		Example: `  # A new pair
  kubectl redis-sync plan dr1 --source site-a/redis/redis-a --target site-b/redis/redis-b

  # A pair that exists, from either of its clusters
  kubectl redis-sync plan dr1 --context site-b -n redis

  # The objects, for a repository
  kubectl redis-sync plan dr1 -f pair.yaml -o yaml`,
		Args: onePair,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := p.validate(); err != nil {
				return err
			}
			return p.run(cmd.Context(), args[0])
		},
	}
	p.definition.add(cmd)
	p.sites.add(cmd)
	cmd.Flags().StringVarP(&p.output, "output", "o", "", "output format: wide, json or yaml")
	cmd.Flags().BoolVar(&p.detailedExitCode, "detailed-exitcode", false, "exit with 2 when there are changes")
	cmd.Flags().BoolVar(&p.showSecrets, "show-secrets", false, "print passwords with -o yaml")
	p.completeWith(cmd, "wide", "json", "yaml")
	return cmd
}

func (p *planOptions) validate() error {
	return checkOutput(p.output, "wide", "json", "yaml")
}

// checkOutput allows the given formats, and none.
func checkOutput(given string, valid ...string) error {
	if given == "" || slices.Contains(valid, given) {
		return nil
	}
	return fmt.Errorf("--output %q: expected %s", given, strings.Join(valid, ", "))
}

func (p *planOptions) run(ctx context.Context, name string) error {
	world, report, err := p.observe(ctx, name, &p.definition, p.sites, pair.VerbPlan, false)
	if err != nil {
		return err
	}
	defer closeSession(world.Session)
	switch p.output {
	case "yaml":
		err = printManifests(p.Out, world, p.showSecrets)
	case "json":
		err = printJSON(p.Out, report)
	default:
		err = printPlan(p.Options, report, p.output == "wide")
	}
	if err != nil {
		return err
	}
	if err := execute.RefuseOn(report.Findings); err != nil {
		return err
	}
	if p.detailedExitCode && report.Counts.Changes() {
		return silentError{fault.CodeChanges}
	}
	return nil
}

// observe opens a pair, checks the permissions of the verb, and plans.
func (o *Options) observe(ctx context.Context, name string, definition *definitionFlags, sites siteFlags, verb pair.Verb, force bool) (*execute.World, *execute.PlanReport, error) {
	request, err := o.request(name, verb, sites)
	if err != nil {
		return nil, nil, err
	}
	if request.Definition, err = definition.definition(name); err != nil {
		return nil, nil, err
	}
	request.FromFile, request.Adjust = definition.file != "", definition.adjust
	session, err := execute.Open(ctx, o.connector(), request)
	if err != nil {
		return nil, nil, err
	}
	world, report, err := o.plan(ctx, session, verb, force)
	if err != nil {
		closeSession(session)
	}
	return world, report, err
}

func (o *Options) plan(ctx context.Context, session *execute.Session, verb pair.Verb, force bool) (*execute.World, *execute.PlanReport, error) {
	if err := checkLegal(session, verb); err != nil {
		return nil, nil, err
	}
	if err := session.Unreachable(); err != nil {
		return nil, nil, err
	}
	if err := execute.CheckAccess(ctx, session, verb); err != nil {
		return nil, nil, err
	}
	world, err := execute.Observe(ctx, session, execute.NewFinder(), version.Get().SidecarImage)
	if err != nil {
		return nil, nil, err
	}
	report, err := execute.Plan(ctx, world, force)
	return world, report, err
}

// checkLegal refuses a verb that the phase of the pair forbids.
func checkLegal(session *execute.Session, verb pair.Verb) error {
	if session.Record == nil {
		return nil
	}
	legality := pair.Legal(verb, session.Record.Phase, session.Record.Paused)
	if legality.Legal {
		return nil
	}
	return fault.Refuse("look at status", "pair %s is in phase %s: %s is not possible: %s",
		session.Name, session.Record.Phase, verb, legality.Why)
}

func closeSession(session *execute.Session) { session.Close() }
