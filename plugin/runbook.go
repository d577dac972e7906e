package plugin

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/redis-sync/kubectl-redis-sync/internal/execute"
	"github.com/redis-sync/kubectl-redis-sync/internal/pair"
	"github.com/redis-sync/kubectl-redis-sync/internal/switchover"
)

const runbookLong = `
Prints how to switch this pair, with its names and contexts: planned failover,
failover without the primary, recover, failback, and what to do when a switch
stopped in the middle. The steps are those that the verbs do in a pair that is
in order; --dry-run of a verb prints those that it would do now.

It needs the record only, so it works while a site does not answer. Print it
before you need it.`

const verbRunbook = pair.Verb("runbook")

// runbookOptions are the flags of runbook.
type runbookOptions struct {
	*Options
	sites  siteFlags
	output string
}

// NewRunbookCommand makes the verb runbook.
func NewRunbookCommand(o *Options) *cobra.Command {
	r := &runbookOptions{Options: o}
	cmd := &cobra.Command{
		Use:   "runbook PAIR",
		Short: "Print how to switch a pair and back",
		Long:  long(runbookLong, string(verbRunbook), 0, 1, 3, 10, 12, 130),
		Example: `  kubectl redis-sync runbook dr1 --context site-b -n redis

  kubectl redis-sync runbook dr1 --context site-b -n redis -o markdown > dr1.md`,
		Args: onePair,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkOutput(r.output, "text", "markdown"); err != nil {
				return err
			}
			return r.run(cmd.Context(), args[0])
		},
	}
	r.sites.add(cmd)
	cmd.Flags().StringVarP(&r.output, "output", "o", "text", "output format: text or markdown")
	r.completeWith(cmd, "text", "markdown")
	return cmd
}

func (r *runbookOptions) run(ctx context.Context, name string) error {
	request, err := r.request(name, verbRunbook, r.sites)
	if err != nil {
		return err
	}
	session, err := execute.Open(ctx, r.connector(), request)
	if err != nil {
		return err
	}
	defer session.Close()
	book, err := newRunbook(session, value(r.ConfigFlags.KubeConfig))
	if err != nil {
		return err
	}
	text := book.text()
	if r.output == "markdown" {
		text = book.markdown()
	}
	_, err = fmt.Fprint(r.Out, text)
	return err
}

// runbook is what is printed.
type runbook struct {
	pair     string
	sites    [][]string // rows of a table
	notes    []string
	chapters []chapter
}

type chapter struct {
	title    string
	about    []string // paragraphs
	commands []command
	stepsOf  string // what does the steps; "" without steps
	steps    []switchover.Step
	after    []string
}

type command struct{ why, line string }

// newRunbook writes the chapters for a pair, whose commands name the kubeconfig
// file that the command line named.
func newRunbook(s *execute.Session, kubeconfig string) (*runbook, error) {
	expected, err := switchover.Expect(s.Record)
	if err != nil {
		return nil, err
	}
	preferred := s.Spec.PreferredPrimary
	other, _ := s.Spec.Other(preferred)
	b := &runbook{pair: s.Name}
	w, err := newWriter(s, preferred, other.Name, kubeconfig)
	if err != nil {
		return nil, err
	}
	b.sites = append(b.sites, []string{"SITE", "NOW", "CONTEXT", "NAMESPACE", "INSTANCE", "API SERVER"})
	for _, party := range s.InOrder() {
		name := party.Site.Name
		state := s.Record.Body.Sites[name]
		role := string(s.Record.Role(name))
		if name == preferred {
			role += ", preferred"
		}
		b.sites = append(b.sites, []string{name, role, party.Site.Context, state.Namespace, state.Kind + "/" + state.Instance, state.Server})
		if party.Err != nil {
			b.notes = append(b.notes, fmt.Sprintf("Site %s does not answer now (%v): what is said of it is from the record.", name, party.Err))
		}
	}
	b.notes = append(b.notes, fmt.Sprintf("Phase %s, epoch %d when this was printed; the steps count on from there.", s.Record.Phase, s.Record.Epoch))
	for _, warning := range expected.Warnings {
		b.notes = append(b.notes, warning+".")
	}
	b.chapters = []chapter{
		w.look(), w.failover(expected), w.forced(expected), w.recover(expected), w.failback(expected), w.interrupted(expected),
	}
	return b, nil
}
