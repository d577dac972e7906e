package plugin

import (
	"fmt"
	"strings"

	"k8s.io/cli-runtime/pkg/printers"
)

// text is the runbook for a terminal: what is to be typed stands alone on a
// line, and everything else is a comment.
func (b *runbook) text() string {
	var out strings.Builder
	fmt.Fprintf(&out, "# Runbook of pair %s\n#\n", b.pair)
	var sites strings.Builder
	// Writing to memory does not fail.
	_ = table(&sites, b.sites)
	for line := range strings.Lines(sites.String()) {
		out.WriteString("#   " + strings.TrimRight(line, " \n") + "\n")
	}
	out.WriteString("#\n")
	for _, note := range b.notes {
		comment(&out, note)
	}
	for i, c := range b.chapters {
		fmt.Fprintf(&out, "\n# %d. %s\n", i+1, safe(c.title))
		for _, text := range c.about {
			comment(&out, text)
		}
		for _, command := range c.commands {
			fmt.Fprintf(&out, "\n# %s:\n%s\n", command.why, safe(command.line))
		}
		if c.stepsOf != "" {
			fmt.Fprintf(&out, "\n# %s does:\n", c.stepsOf)
			for n, step := range c.steps {
				fmt.Fprintf(&out, "#  %2d. %s\n", n+1, safe(step.String()))
			}
		}
		if len(c.after) > 0 {
			out.WriteString("\n")
		}
		for _, text := range c.after {
			comment(&out, text)
		}
	}
	return out.String()
}

// commentWidth is where lines of a comment end.
const commentWidth = 78

func comment(out *strings.Builder, text string) {
	line := "#"
	for _, word := range strings.Fields(safe(text)) {
		if len(line)+1+len(word) > commentWidth && line != "#" {
			out.WriteString(line + "\n")
			line = "#"
		}
		line += " " + word
	}
	out.WriteString(line + "\n")
}

// markdown is the runbook for a wiki.
func (b *runbook) markdown() string {
	var out strings.Builder
	fmt.Fprintf(&out, "# Runbook of pair %s\n\n", b.pair)
	for i, row := range b.sites {
		cells := make([]string, len(row))
		for n, cell := range row {
			if cells[n] = strings.ReplaceAll(safe(cell), "|", "\\|"); i == 0 {
				cells[n] = strings.ToLower(cell)
			}
		}
		fmt.Fprintf(&out, "| %s |\n", strings.Join(cells, " | "))
		if i == 0 {
			out.WriteString(strings.Repeat("|---", len(row)) + "|\n")
		}
	}
	for _, note := range b.notes {
		out.WriteString("\n" + safe(note) + "\n")
	}
	for i, c := range b.chapters {
		fmt.Fprintf(&out, "\n## %d. %s\n", i+1, safe(c.title))
		for _, text := range c.about {
			out.WriteString("\n" + safe(text) + "\n")
		}
		out.WriteString("\n```sh\n")
		for n, command := range c.commands {
			if n > 0 {
				out.WriteString("\n")
			}
			fmt.Fprintf(&out, "# %s\n%s\n", command.why, safe(command.line))
		}
		out.WriteString("```\n")
		if c.stepsOf != "" {
			fmt.Fprintf(&out, "\n`%s` does:\n\n", c.stepsOf)
			for n, step := range c.steps {
				fmt.Fprintf(&out, "%d. %s\n", n+1, safe(step.String()))
			}
		}
		for _, text := range c.after {
			out.WriteString("\n" + safe(text) + "\n")
		}
	}
	return out.String()
}

// safe escapes what a kubeconfig or a record may hold.
func safe(text string) string { return printers.EscapeTerminal(strings.ReplaceAll(text, "\n", " ")) }
