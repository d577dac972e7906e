package plugin

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/redis-sync/kubectl-redis-sync/internal/execute"
	"github.com/redis-sync/kubectl-redis-sync/internal/pair"
	"github.com/redis-sync/kubectl-redis-sync/internal/version"
)

// versionReport is what version prints.
type versionReport struct {
	Client      version.Info        `json:"client"`
	Replicators []replicatorVersion `json:"replicators,omitempty"`
}

type replicatorVersion struct {
	Pod     string `json:"pod"`
	Version string `json:"version"`
}

// NewVersionCommand makes the verb version.
func NewVersionCommand(o *Options) *cobra.Command {
	var output string
	var sites siteFlags
	cmd := &cobra.Command{
		Use:   "version [PAIR]",
		Short: "Print the version of this plugin and of the replicators of a pair",
		Long: `Prints the version of this plugin and the image of the replicators that it
deploys. With the name of a pair, also the versions that its replicators run.
Without it, no cluster is asked.`,
		Example: `  kubectl redis-sync version
  kubectl redis-sync version dr1 --context site-b -n redis -o json`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkOutput(output, "json", "yaml"); err != nil {
				return err
			}
			report := versionReport{Client: version.Get()}
			if len(args) == 1 {
				var err error
				if report.Replicators, err = o.replicatorVersions(cmd.Context(), args[0], sites); err != nil {
					return err
				}
			}
			return printVersion(o, output, report)
		},
	}
	sites.add(cmd)
	cmd.Flags().StringVarP(&output, "output", "o", "", "output format: json or yaml")
	o.completeWith(cmd, "json", "yaml")
	return cmd
}

func (o *Options) replicatorVersions(ctx context.Context, name string, sites siteFlags) ([]replicatorVersion, error) {
	request, err := o.request(name, pair.VerbStatus, sites)
	if err != nil {
		return nil, err
	}
	session, err := execute.Open(ctx, o.connector(), request)
	if err != nil {
		return nil, err
	}
	defer closeSession(session)
	standby := session.Standby()
	if standby.Err != nil {
		return nil, standby.Err
	}
	states, err := execute.Replicators(ctx, standby.Cluster, standby.Site.Namespace, name, standby.Site.Name, session.Record.Body.Shards)
	if err != nil {
		return nil, err
	}
	var versions []replicatorVersion
	for _, state := range states {
		if state.Status != nil {
			versions = append(versions, replicatorVersion{Pod: state.Pod, Version: state.Status.Version})
		}
	}
	return versions, nil
}

func printVersion(o *Options, output string, report versionReport) error {
	switch output {
	case "json":
		return printJSON(o.Out, report)
	case "yaml":
		return printYAML(o.Out, report)
	}
	client := report.Client
	rows := [][]string{
		{"Client:", client.Version},
		{"Commit:", client.Commit},
		{"Built with:", client.GoVersion + " " + client.Platform},
		{"Replicator image:", client.SidecarImage},
	}
	for _, r := range report.Replicators {
		text := r.Version
		if r.Version != client.Version {
			text += " (differs from the client)"
		}
		rows = append(rows, []string{"Replicator " + r.Pod + ":", text})
	}
	if err := table(o.Out, rows); err != nil {
		return fmt.Errorf("printing the version: %w", err)
	}
	return nil
}
