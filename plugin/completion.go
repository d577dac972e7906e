package plugin

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/redis-sync/kubectl-redis-sync/internal/execute"
	"github.com/redis-sync/kubectl-redis-sync/internal/pair"
)

// completionTimeout is how long a shell may hang at the tab key.
const completionTimeout = 3 * time.Second

// completeWith adds completions to a verb: the names of pairs, contexts, the
// sites of the named pair, and words of a fixed list. A completion that
// cannot be found out is none: nothing but candidates may be printed.
func (o *Options) completeWith(cmd *cobra.Command, formats ...string) {
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return o.pairNames(cmd.Context(), prefix), cobra.ShellCompDirectiveNoFileComp
	}
	words := map[string][]string{
		"output":     formats,
		"stale-keys": {string(pair.StaleKeysKeep), string(pair.StaleKeysPrune), string(pair.StaleKeysRefuse)},
		"access":     {string(pair.AccessNodePort), string(pair.AccessClusterIP), string(pair.AccessLoadBalancer)},
	}
	for flag, list := range words {
		o.completeFlag(cmd, flag, func(context.Context, []string, string) []string { return list })
	}
	for _, flag := range []string{"source", "target"} {
		o.completeFlag(cmd, flag, func(_ context.Context, _ []string, prefix string) []string {
			return startingWith(o.contexts("/"), prefix)
		})
	}
	o.completeFlag(cmd, "site-context", func(ctx context.Context, args []string, prefix string) []string {
		site, _, named := strings.Cut(prefix, "=")
		if named {
			var all []string
			for _, name := range o.contexts("") {
				all = append(all, site+"="+name)
			}
			return startingWith(all, prefix)
		}
		return startingWith(o.siteNames(ctx, args, "="), prefix)
	})
}

func (o *Options) completeFlag(cmd *cobra.Command, flag string, list func(ctx context.Context, args []string, prefix string) []string) {
	if cmd.Flags().Lookup(flag) == nil {
		return
	}
	err := cmd.RegisterFlagCompletionFunc(flag, func(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
		return list(cmd.Context(), args, prefix), cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	})
	if err != nil {
		panic(err) // the same flag twice: a test makes every command
	}
}

func startingWith(all []string, prefix string) []string {
	return slices.DeleteFunc(slices.Clone(all), func(s string) bool { return !strings.HasPrefix(s, prefix) })
}

// contexts of the kubeconfig, each with a suffix.
func (o *Options) contexts(suffix string) []string {
	config, err := o.ConfigFlags.ToRawKubeConfigLoader().RawConfig()
	if err != nil {
		return nil
	}
	var names []string
	for name := range config.Contexts {
		names = append(names, name+suffix)
	}
	slices.Sort(names)
	return names
}

func (o *Options) pairNames(ctx context.Context, prefix string) []string {
	ctx, cancel := context.WithTimeout(ctx, completionTimeout)
	defer cancel()
	client, err := o.connector()("", "", "", "")
	if err != nil {
		return nil
	}
	records, err := client.ConfigMaps(ctx, client.Namespace(), pair.LabelManagedBy+"="+pair.ManagedBy)
	if err != nil {
		return nil
	}
	var names []string
	for i := range records {
		if name := records[i].Labels[pair.LabelPair]; records[i].Name == pair.RecordName(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return startingWith(names, prefix)
}

// siteNames are the sites of the pair that the arguments name.
func (o *Options) siteNames(ctx context.Context, args []string, suffix string) []string {
	if len(args) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, completionTimeout)
	defer cancel()
	request, err := o.request(args[0], pair.VerbStatus, siteFlags{})
	if err != nil {
		return nil
	}
	names, err := execute.SiteNames(ctx, o.connector(), request)
	if err != nil {
		return nil
	}
	for i := range names {
		names[i] += suffix
	}
	return names
}
