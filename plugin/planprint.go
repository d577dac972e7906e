package plugin

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/redis-sync/kubectl-redis-sync/internal/execute"
	"github.com/redis-sync/kubectl-redis-sync/internal/plan"
)

// printPlan prints a plan for people: the sites, the changes of each, the
// shards, what the checks found, and the sums.
func printPlan(o *Options, r *execute.PlanReport, wide bool) error {
	state := fmt.Sprintf("epoch %d", r.Epoch)
	if r.New {
		state = "new"
	}
	fmt.Fprintf(o.Out, "Pair %s (%s): %s -> %s\n\n", r.Pair, state, r.Primary, r.Standby)
	rows := [][]string{{"SITE", "ROLE", "CONTEXT", "SERVER", "NAMESPACE", "INSTANCE", "OPERATOR", "MODE", "VERSION", "ACCESS"}}
	for _, s := range r.Sites {
		rows = append(rows, []string{
			s.Name, string(s.Role), s.Context, s.Server, s.Namespace, s.Kind + "/" + s.Instance,
			string(s.Operator), string(s.Mode), s.Version, string(s.Access),
		})
	}
	if err := table(o.Out, rows); err != nil {
		return err
	}
	for _, site := range r.Sites {
		if err := printChanges(o, site, r.Changes, wide); err != nil {
			return err
		}
	}
	if err := printShards(o, r); err != nil {
		return err
	}
	if err := o.printFindings(r.Findings, wide); err != nil {
		return err
	}
	copying := "nothing in full, the replicators go on from their checkpoints"
	if r.FullCopy {
		copying = fmt.Sprintf("%d keys, %s in memory; the target holds %d keys", r.SourceKeys, bytesText(r.SourceBytes), r.TargetKeys)
	}
	_, err := fmt.Fprintf(o.Out, "\nTo copy: %s. Keys that only the target has: %s.\nPlan: %d to create, %d to change, %d to delete, %d as they should be.\n",
		copying, r.StaleKeys, r.Counts.Create, r.Counts.Update, r.Counts.Delete, r.Counts.None)
	return err
}

func printChanges(o *Options, site execute.PlanSite, changes []plan.Change, wide bool) error {
	fmt.Fprintf(o.Out, "\nSite %s (context %s, namespace %s)\n", site.Name, site.Context, site.Namespace)
	width := len("OBJECT")
	var own []plan.Change
	for _, c := range changes {
		if c.Site == site.Name {
			own = append(own, c)
			width = max(width, len(c.Kind)+1+len(c.Name))
		}
	}
	if len(own) == 0 {
		_, err := fmt.Fprintln(o.Out, "  no objects")
		return err
	}
	fmt.Fprintf(o.Out, "  %-8s %-*s %s\n", "ACTION", width, "OBJECT", "REASON")
	for _, c := range own {
		reason := c.Reason
		if !wide && len(reason) > 100 {
			reason = reason[:97] + "..."
		}
		fmt.Fprintf(o.Out, "  %s %-*s %s\n", o.paint(string(c.Action), 8), width, c.Kind+"/"+c.Name, escapeLines(reason))
	}
	return nil
}

func printShards(o *Options, r *execute.PlanReport) error {
	fmt.Fprintln(o.Out)
	rows := [][]string{{"SHARD", "SLOTS", "PRIMARY", "REPLICAS", "REPLICATOR"}}
	for _, s := range r.Shards {
		rows = append(rows, []string{strconv.Itoa(s.Shard), s.Slots, s.Primary, strings.Join(s.Replicas, ","), s.Replicator})
	}
	return table(o.Out, rows)
}
