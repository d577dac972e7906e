package preflight

import (
	"context"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/redis-sync/kubectl-redis-sync/internal/discovery"
	"github.com/redis-sync/kubectl-redis-sync/internal/kube"
	"github.com/redis-sync/kubectl-redis-sync/internal/topology"
)

// Side is one of the two instances.
type Side struct {
	Client      *kube.Client
	Site        string
	Instance    topology.Instance
	Credentials discovery.Credentials
	// Reads are keys of ours that the verbs read there as this user.
	Reads []string
}

// part of a side in the copy.
type part int

const (
	partSource part = iota
	partTarget
)

// Endpoint is an address by which replicators will reach a pod of the source.
type Endpoint struct {
	Site          string // of the source, for findings
	Pod           string
	Host          string
	Port          int
	ServiceExists bool // else nothing listens there yet, and a refusal is no problem
}

// Input of Run.
type Input struct {
	Pair           string // "" = not known, then other pairs on the target are not looked for
	Source, Target Side
	Endpoints      []Endpoint // to be tried from the target's side; none = not checked
	StaleKeys      string     // "" (not chosen), keep or prune
	Established    bool       // the pair exists: what the target holds is its copy
}

// endpoints are those of the input, with the site filled in.
func (in Input) endpoints() []Endpoint {
	out := slices.Clone(in.Endpoints)
	for n := range out {
		if out[n].Site == "" {
			out[n].Site = in.Source.Site
		}
	}
	return out
}

// Result of Run. The facts of a side are zero when it could not be examined;
// a finding then says why.
type Result struct {
	Findings       []topology.Finding
	Source, Target Facts
}

// Check is one question. Its error says that it could not be answered.
type Check struct {
	Name    string
	Run     func(ctx context.Context) ([]topology.Finding, error)
	Decides bool // after an error of this one the later ones have nothing to say
}

// Run makes all checks. Findings come in the order of the checks.
func Run(ctx context.Context, in Input) (Result, error) {
	var result Result
	group, gctx := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		result.Source, err = gather(gctx, in.Source, partSource)
		return err
	})
	group.Go(func() (err error) {
		result.Target, err = gather(gctx, in.Target, partTarget)
		return err
	})
	if err := group.Wait(); err != nil {
		return result, err
	}
	for _, check := range checks(in, &result) {
		findings, err := check.Run(ctx)
		if err != nil {
			return result, fmt.Errorf("check %s: %w", check.Name, err)
		}
		result.Findings = append(result.Findings, findings...)
		if check.Decides && len(topology.Errors(findings)) > 0 {
			break
		}
	}
	return result, nil
}

// checks lists what Run asks, in the order in which a reader wants to know.
func checks(in Input, r *Result) []Check {
	pure := func(f func(Input, Facts, Facts) []topology.Finding) func(context.Context) ([]topology.Finding, error) {
		return func(context.Context) ([]topology.Finding, error) { return f(in, r.Source, r.Target), nil }
	}
	return []Check{
		{Name: "instances", Run: pure(checkInstances)},
		{Name: "identity", Decides: true, Run: func(ctx context.Context) ([]topology.Finding, error) {
			return checkIdentity(ctx, in, r.Source, r.Target)
		}},
		{Name: "other pairs", Run: pure(checkOtherPairs)},
		{Name: "permissions", Run: pure(checkPermissions)},
		{Name: "versions", Run: pure(checkVersions)},
		{Name: "databases", Run: pure(checkDatabases)},
		{Name: "modules", Run: pure(checkModules)},
		{Name: "target content", Run: pure(checkContent)},
		{Name: "target writes", Run: pure(checkWrites)},
		{Name: "target memory", Run: pure(checkMemory)},
		{Name: "source backlog", Run: pure(checkBacklog)},
		{Name: "source output buffer", Run: pure(checkOutputBuffer)},
		{Name: "reachability", Run: func(ctx context.Context) ([]topology.Finding, error) {
			return ProbeReach(ctx, in.Target, in.endpoints())
		}},
	}
}

// finder collects findings of one site.
type finder struct {
	site string
	inst *topology.Instance
	list []topology.Finding
}

func (f *finder) add(severity topology.Severity, object, remedy, format string, args ...any) {
	if object == "" {
		object = "instance " + f.inst.Ref()
	}
	f.list = append(f.list, topology.Finding{
		Severity: severity, Site: f.site, Object: object, Message: fmt.Sprintf(format, args...), Remedy: remedy,
	})
}

func (f *finder) pod(name string) string { return "pod " + f.inst.Namespace + "/" + name }

func findOn(side *Side) *finder { return &finder{site: side.Site, inst: &side.Instance} }
