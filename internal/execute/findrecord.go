package execute

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/redis-sync/kubectl-redis-sync/internal/fault"
	"github.com/redis-sync/kubectl-redis-sync/internal/kube"
	"github.com/redis-sync/kubectl-redis-sync/internal/pair"
)

type foundRecord struct {
	record    *pair.Record
	client    *kube.Client
	namespace string
	site      string
}

// findRecord looks for the record of a pair in the cluster that the command
// line names: in the namespace that it names, else in all of them.
func findRecord(ctx context.Context, connect Connector, req Request) (*foundRecord, error) {
	client, err := connect("", "", "", "")
	if err != nil {
		return nil, err
	}
	namespace := client.Namespace()
	m, err := client.ConfigMap(ctx, namespace, pair.RecordName(req.Name))
	if kube.IsNotFound(err) && !req.NamespaceGiven {
		m, err = recordAnywhere(ctx, client, req.Name, err)
	}
	if kube.IsNotFound(err) {
		return nil, fault.New(fault.CodeNotFound, "name the context and the namespace of one of its sites with --context and -n",
			"no pair %s in namespace %s of context %q%s", req.Name, namespace, client.Context(), othersIn(ctx, client, namespace))
	}
	if err != nil {
		return nil, fmt.Errorf("looking for the record of pair %s: %w", req.Name, err)
	}
	record, err := decodeRecord(m, "in context "+client.Context())
	if err != nil {
		return nil, err
	}
	return &foundRecord{record: record, client: client, namespace: m.Namespace, site: m.Labels[pair.LabelSite]}, nil
}

// recordAnywhere finds the record in whichever namespace it is.
func recordAnywhere(ctx context.Context, client *kube.Client, name string, notFound error) (*corev1.ConfigMap, error) {
	all, err := client.ConfigMaps(ctx, "", pair.Selector(name))
	if kube.IsForbidden(err) {
		return nil, notFound
	}
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(m corev1.ConfigMap) bool { return m.Name != pair.RecordName(name) })
	switch len(all) {
	case 0:
		return nil, notFound
	case 1:
		return &all[0], nil
	}
	var namespaces []string
	for _, m := range all {
		namespaces = append(namespaces, m.Namespace)
	}
	if onePair(all, namespaces) {
		return &all[0], nil
	}
	slices.Sort(namespaces)
	return nil, fault.New(fault.CodeError, "name one of them with -n",
		"pair %s has a record in the namespaces %s of context %q", name, strings.Join(namespaces, ", "), client.Context())
}

// onePair tells whether the records are the copies of one pair whose sites are
// namespaces of one cluster.
func onePair(copies []corev1.ConfigMap, namespaces []string) bool {
	for i := range copies {
		record, err := decodeRecord(&copies[i], "")
		if err != nil {
			return false
		}
		var own []string
		for _, site := range record.Body.Sites {
			own = append(own, site.Namespace)
		}
		for _, namespace := range namespaces {
			if !slices.Contains(own, namespace) {
				return false
			}
		}
	}
	return true
}

// othersIn names the pairs of a namespace, for an error text.
func othersIn(ctx context.Context, client *kube.Client, namespace string) string {
	all, err := client.ConfigMaps(ctx, namespace, pair.LabelManagedBy+"="+pair.ManagedBy)
	if err != nil {
		return ""
	}
	var names []string
	for _, m := range all {
		if name := m.Labels[pair.LabelPair]; m.Name == pair.RecordName(name) {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return " (there is none at all)"
	}
	slices.Sort(names)
	return " (pairs there: " + strings.Join(names, ", ") + ")"
}

// SiteNames gives the names of a pair's sites, as its record says.
func SiteNames(ctx context.Context, connect Connector, req Request) ([]string, error) {
	found, err := findRecord(ctx, connect, req)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, site := range found.record.Body.Spec.Sites {
		names = append(names, site.Name)
	}
	return names, nil
}
