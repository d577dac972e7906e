package cli

import (
	"context"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/redis-sync/kubectl-redis-sync/test/cluster/internal/cluster"
	"github.com/redis-sync/kubectl-redis-sync/test/cluster/internal/machine"
	"github.com/redis-sync/kubectl-redis-sync/test/cluster/internal/network"
	"github.com/redis-sync/kubectl-redis-sync/test/cluster/internal/site"
)

// statusTimeout bounds the question to a site that does not answer.
const statusTimeout = 5 * time.Second

func newStatus() *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show the clusters and what is cut",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			sites, err := site.All()
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			if len(sites) == 0 {
				fmt.Fprintln(out, "no clusters")
				return nil
			}
			w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "SITE\tMACHINE\tADDRESS\tPODS\tSINCE")
			for _, s := range sites {
				pid, err := machine.Running(s)
				if err != nil {
					return err
				}
				if pid == 0 {
					fmt.Fprintf(w, "%s\toff\t%s\t-\t-\n", s.Name, s.NodeIP())
					continue
				}
				since, err := machine.Started(s)
				if err != nil {
					return err
				}
				fmt.Fprintf(w, "%s\tprocess %d\t%s\t%s\t%s\n", s.Name, pid, s.NodeIP(),
					pods(cmd.Context(), s), since.Format(time.DateTime))
			}
			if err := w.Flush(); err != nil {
				return err
			}
			cuts, err := network.Cuts(sites)
			for _, c := range cuts {
				fmt.Fprintln(out, c)
			}
			return err
		},
	}
}

// pods counts a site's pods, or says why that cannot be done.
func pods(ctx context.Context, s site.Site) string {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	client, err := cluster.Client(s)
	if err != nil {
		return err.Error()
	}
	list, err := client.CoreV1().Pods("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return "no answer"
	}
	return fmt.Sprint(len(list.Items))
}
