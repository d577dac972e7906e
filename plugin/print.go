package plugin

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"k8s.io/cli-runtime/pkg/printers"
	"sigs.k8s.io/yaml"

	"github.com/redis-sync/kubectl-redis-sync/internal/execute"
	"github.com/redis-sync/kubectl-redis-sync/internal/topology"
)

func printJSON(out io.Writer, value any) error {
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(value)
}

func printYAML(out io.Writer, value any) error {
	text, err := yaml.Marshal(value)
	if err != nil {
		return err
	}
	_, err = out.Write(text)
	return err
}

// masked stands for a value that must not be shown.
const masked = "***"

// printManifests prints the objects of a plan as YAML documents.
func printManifests(out io.Writer, world *execute.World, showSecrets bool) error {
	manifests, err := world.Manifests()
	if err != nil {
		return err
	}
	site := ""
	for _, m := range manifests {
		object := m.Object.DeepCopy()
		if data, ok := object.Object["data"].(map[string]any); ok && object.GetKind() == "Secret" && !showSecrets {
			for key := range data {
				data[key] = masked
			}
		}
		if m.Site != site {
			site = m.Site
			party := world.Session.Parties[site]
			if _, err := fmt.Fprintf(out, "# site %s: context %s, %s\n", site, party.Site.Context, party.Cluster.Server()); err != nil {
				return err
			}
		}
		if err := printYAML(out, object.Object); err != nil {
			return err
		}
		if _, err := fmt.Fprintln(out, "---"); err != nil {
			return err
		}
	}
	return nil
}

// table prints rows in columns, with what a server said escaped.
func table(out io.Writer, rows [][]string) error {
	w := printers.GetNewTabWriter(out)
	for _, row := range rows {
		cells := make([]string, len(row))
		for i, cell := range row {
			if cell == "" {
				cell = "-"
			}
			cells[i] = printers.EscapeTerminal(strings.ReplaceAll(cell, "\n", " "))
		}
		if _, err := fmt.Fprintln(w, strings.Join(cells, "\t")); err != nil {
			return err
		}
	}
	return w.Flush()
}

// printFindings prints each finding with what to do about it.
func (o *Options) printFindings(findings []topology.Finding, withInfo bool) error {
	shown := 0
	for _, f := range findings {
		if f.Severity == topology.SeverityInfo && !withInfo {
			continue
		}
		if shown == 0 {
			fmt.Fprintln(o.Out, "\nFindings")
		}
		shown++
		text := fmt.Sprintf("%s: %s", f.Object, f.Message)
		if f.Site != "" {
			text = "site " + f.Site + ": " + text
		}
		if f.Remedy != "" {
			text += "\n           try: " + f.Remedy
		}
		fmt.Fprintf(o.Out, "  %s %s\n", o.paint(string(f.Severity), 8), escapeLines(text))
	}
	return nil
}

// escapeLines escapes control characters and keeps our own line breaks.
func escapeLines(text string) string {
	lines := strings.Split(text, "\n")
	for i := range lines {
		lines[i] = printers.EscapeTerminal(lines[i])
	}
	return strings.Join(lines, "\n")
}

// colours of words that say how things are.
var colours = map[string]string{
	"error": "31", "warning": "33", "info": "36",
	"create": "32", "update": "33", "delete": "31", "none": "2",
	"InSync": "32", "RecoverInSync": "32", "Streaming": "32", "Failed": "31", "Stalled": "31", "Unknown": "31",
	"Syncing": "33", "Lagging": "33", "Paused": "33", "FullSync": "33", "CatchingUp": "33",
}

// paint pads a word and colours it where the output allows it.
func (o *Options) paint(word string, width int) string {
	padded := fmt.Sprintf("%-*s", width, word)
	colour, known := colours[word]
	if !known || !o.coloured() {
		return padded
	}
	return "\x1b[" + colour + "m" + padded + "\x1b[0m"
}

func (o *Options) coloured() bool {
	switch o.Color {
	case "always":
		return true
	case "never":
		return false
	default:
		return printers.AllowsColorOutput(o.Out)
	}
}

// bytesText is a size for people.
func bytesText(n int64) string {
	const step = 1024
	if n < step {
		return fmt.Sprintf("%d B", n)
	}
	size, unit := float64(n), ""
	for _, u := range []string{"KiB", "MiB", "GiB", "TiB", "PiB"} {
		if size /= step; size < step || u == "PiB" {
			unit = u
			break
		}
	}
	return fmt.Sprintf("%.1f %s", size, unit)
}
