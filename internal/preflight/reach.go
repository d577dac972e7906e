package preflight

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/redis-sync/kubectl-redis-sync/internal/kube"
	"github.com/redis-sync/kubectl-redis-sync/internal/topology"
)

// probeTimeout bounds one attempt to reach the source from the target's side.
const probeTimeout = 3 * time.Second

// outcome of one probe.
type outcome int

const (
	outcomeAnswers outcome = iota // something answered
	outcomeRefused                // the host answered, nothing listens
	outcomeSilent                 // no answer
	outcomeNoTool                 // the container has no redis-cli
)

// ProbeReach tries, from a data pod of the target, every address by which the
// replicators will reach the source: they run beside the target, so what the
// user's machine can reach says nothing.
func ProbeReach(ctx context.Context, target Side, endpoints []Endpoint) ([]topology.Finding, error) {
	if len(endpoints) == 0 {
		return nil, nil
	}
	f := findOn(&target)
	source := "the source"
	if endpoints[0].Site != "" {
		source = "site " + endpoints[0].Site
	}
	pod := probePod(&target.Instance)
	if pod == "" {
		f.add(topology.SeverityInfo, "", "", "could not check whether it reaches %s: no data pod is ready to be asked", source)
		return f.list, nil
	}
	outcomes := make([]outcome, len(endpoints))
	texts := make([]string, len(endpoints))
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(8)
	for n, e := range endpoints {
		group.Go(func() (err error) {
			outcomes[n], texts[n], err = probe(gctx, target, pod, e)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		if kube.IsAuth(err) {
			f.add(topology.SeverityInfo, f.pod(pod), "allow create and get on pods/exec in namespace "+target.Instance.Namespace+" to have it checked",
				"could not check whether it reaches %s: exec in pods is not allowed", source)
			return f.list, nil
		}
		return nil, err
	}
	for n, e := range endpoints {
		at := net.JoinHostPort(e.Host, strconv.Itoa(e.Port))
		switch {
		case outcomes[n] == outcomeNoTool:
			f.add(topology.SeverityInfo, f.pod(pod), "", "could not check whether it reaches %s: its container has no redis-cli", source)
			return f.list, nil
		case outcomes[n] == outcomeSilent:
			f.add(topology.SeverityError, f.pod(pod),
				"open this address for the nodes of site "+target.Site+", or give another one with --node-address SITE=ADDRESS",
				"does not reach pod %s of %s at %s: %s", e.Pod, source, at, texts[n])
		case outcomes[n] == outcomeRefused && e.ServiceExists:
			f.add(topology.SeverityError, f.pod(pod), "check the Service, its node port and the address",
				"does not reach pod %s of %s at %s: the host answers, but nothing listens on the port", e.Pod, source, at)
		}
	}
	return f.list, nil
}

func probePod(inst *topology.Instance) string {
	for _, p := range inst.Pods {
		if p.Ready {
			return p.Name
		}
	}
	return ""
}

// probe runs redis-cli in the pod: any word of the far side is an answer, be
// it that a password is missing.
func probe(ctx context.Context, target Side, pod string, e Endpoint) (outcome, string, error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	var stdout, stderr string
	var err error
	for _, tool := range []string{"redis-cli", "valkey-cli"} {
		stdout, stderr, err = target.Client.Exec(ctx, target.Instance.Namespace, pod, target.Instance.Container,
			[]string{tool, "-h", e.Host, "-p", strconv.Itoa(e.Port), "ping"})
		if !noSuchProgram(err, stderr) {
			break
		}
	}
	switch {
	case kube.IsAuth(err):
		return 0, "", err
	case noSuchProgram(err, stderr):
		return outcomeNoTool, "", nil
	}
	return judge(stdout+"\n"+stderr, err)
}

func judge(text string, err error) (outcome, string, error) {
	lower := strings.ToLower(text)
	switch {
	case strings.Contains(lower, "connection refused"):
		return outcomeRefused, "", nil
	case strings.Contains(lower, "could not connect"):
		line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
		if at := strings.LastIndex(line, ": "); at >= 0 {
			line = line[at+2:]
		}
		return outcomeSilent, line, nil
	case strings.TrimSpace(text) != "":
		return outcomeAnswers, "", nil // PONG, NOAUTH, or an error of a server that speaks TLS
	case errors.Is(err, context.DeadlineExceeded):
		return outcomeSilent, fmt.Sprintf("no answer within %s", probeTimeout), nil
	case err != nil:
		return 0, "", err
	default:
		return outcomeSilent, "redis-cli said nothing", nil
	}
}

func noSuchProgram(err error, stderr string) bool {
	if err == nil {
		return false
	}
	text := err.Error() + stderr
	return strings.Contains(text, "executable file not found") || strings.Contains(text, "no such file or directory") ||
		strings.Contains(text, "exit code 127")
}
