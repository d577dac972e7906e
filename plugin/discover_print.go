package plugin

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"k8s.io/cli-runtime/pkg/printers"
	"sigs.k8s.io/yaml"

	"github.com/redis-sync/kubectl-redis-sync/internal/topology"
)

// instanceList is the result of discover in machine formats.
type instanceList struct {
	APIVersion string              `json:"apiVersion"`
	Kind       string              `json:"kind"`
	Items      []topology.Instance `json:"items"`
}

// notesWidth bounds the NOTES column outside of -o wide.
const notesWidth = 100

func (d *discoverOptions) print(all []topology.Instance) error {
	switch d.output {
	case "json", "yaml":
		return printInstances(d.Out, all, d.output)
	}
	if len(all) == 0 {
		where := "in namespace " + d.namespace
		if d.allNamespaces {
			where = "in any namespace"
		}
		_, err := fmt.Fprintf(d.ErrOut, "no Redis instance found %s\n", where)
		return err
	}
	return printInstanceTable(d.Out, all, d.output == "wide")
}

func printInstances(w io.Writer, all []topology.Instance, format string) error {
	if all == nil {
		all = []topology.Instance{}
	}
	raw, err := json.MarshalIndent(instanceList{"redis-sync.io/v1alpha1", "InstanceList", all}, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the instances: %w", err)
	}
	raw = append(raw, '\n')
	if format == "yaml" {
		if raw, err = yaml.JSONToYAML(raw); err != nil {
			return fmt.Errorf("encode the instances: %w", err)
		}
	}
	_, err = w.Write(raw)
	return err
}

func printInstanceTable(w io.Writer, all []topology.Instance, wide bool) error {
	table := printers.GetNewTabWriter(w)
	columns := []string{"NAMESPACE", "NAME", "KIND", "OPERATOR", "MODE", "SHARDS", "PRIMARIES", "ACCESS", "AUTH", "VERSION"}
	if wide {
		columns = append(columns, "PORT", "REPLICAS", "SECRET", "SERVICE", "SENTINEL")
	}
	fmt.Fprintln(table, strings.Join(append(columns, "NOTES"), "\t"))
	for i := range all {
		inst := &all[i]
		row := []string{
			inst.Namespace, inst.Name, inst.Kind, string(inst.Operator), string(inst.Mode),
			shardCount(inst), orDash(strings.Join(inst.PrimaryPods(), ",")), orDash(inst.Access), authOf(inst), orDash(inst.Version),
		}
		if wide {
			row = append(row, fmt.Sprint(inst.Port), orDash(replicasOf(inst)), orDash(secretOf(inst)), orDash(inst.WriteService), orDash(sentinelOf(inst)))
		}
		row = append(row, notesOf(inst, wide))
		for n := range row {
			row[n] = escapeCell(row[n])
		}
		fmt.Fprintln(table, strings.Join(row, "\t"))
	}
	return table.Flush()
}

func shardCount(inst *topology.Instance) string {
	if len(inst.Shards) == 0 {
		return "?"
	}
	return fmt.Sprint(len(inst.Shards))
}

func replicasOf(inst *topology.Instance) string {
	var parts []string
	for _, s := range inst.Shards {
		parts = append(parts, strings.Join(s.Replicas, "+"))
	}
	return strings.Trim(strings.Join(parts, ","), ",")
}

func authOf(inst *topology.Instance) string {
	auth := "none"
	if inst.Password != nil {
		auth = "password"
	}
	if inst.Username != "" {
		auth = "user " + inst.Username
	}
	if inst.TLS {
		auth += "+tls"
	}
	return auth
}

func secretOf(inst *topology.Instance) string {
	if inst.Password == nil {
		return ""
	}
	return inst.Password.Name + "/" + inst.Password.Key
}

func sentinelOf(inst *topology.Instance) string {
	if inst.Sentinel == nil {
		return ""
	}
	return fmt.Sprintf("%s:%d/%s", inst.Sentinel.Service, inst.Sentinel.Port, inst.Sentinel.MasterSet)
}

// notesOf puts the findings into one cell: errors first, then the stale
// labels in short, then the rest.
func notesOf(inst *topology.Instance, wide bool) string {
	var errs, others, stale []string
	for _, p := range inst.StalePods() {
		stale = append(stale, fmt.Sprintf("%s (says %s, is %s)", p.Name, p.RoleSaid, p.Role))
	}
	for _, f := range inst.Findings {
		switch {
		case f.Severity == topology.SeverityError:
			errs = append(errs, "error: "+aboutOf(inst, f)+f.Message)
		case strings.HasPrefix(f.Message, "stale label"), f.Severity == topology.SeverityInfo && !wide:
			// stale labels are said in one go below
		default:
			others = append(others, aboutOf(inst, f)+f.Message)
		}
	}
	notes := errs
	if len(stale) > 0 {
		notes = append(notes, "stale label: "+strings.Join(stale, ", "))
	}
	notes = append(notes, others...)
	text := strings.Join(notes, "; ")
	if runes := []rune(text); !wide && len(runes) > notesWidth {
		text = string(runes[:notesWidth-3]) + "..."
	}
	return text
}

// aboutOf names the object of a finding, unless it is the instance itself.
func aboutOf(inst *topology.Instance, f topology.Finding) string {
	if f.Object == "instance "+inst.Ref() {
		return ""
	}
	return strings.Replace(f.Object, " "+inst.Namespace+"/", " ", 1) + ": "
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// escapeCell keeps what a server said from moving the cursor or the columns.
func escapeCell(s string) string {
	return printers.EscapeTerminal(strings.NewReplacer("\t", " ", "\n", " ", "\r", " ").Replace(s))
}
