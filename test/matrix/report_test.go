package matrix

import (
	"fmt"
	"slices"
	"strings"
)

// report is what all pairs came to.
type report struct{ pairs []*pairing }

// markdown is a table of all pairs and a list of everything that is not equal.
func (r *report) markdown() string {
	var sources, targets []string
	cells := map[[2]string]string{}
	var details strings.Builder
	missing := 0
	for _, p := range r.pairs {
		if !slices.Contains(sources, p.source) {
			sources = append(sources, p.source)
		}
		if !slices.Contains(targets, p.target) {
			targets = append(targets, p.target)
		}
		cells[[2]string{p.source, p.target}] = p.summary()
		if p.missing != "" {
			missing++
		}
		details.WriteString(p.details())
	}
	var b strings.Builder
	fmt.Fprintf(&b, "| from \\ to | %s |\n|---%s|\n", strings.Join(targets, " | "), strings.Repeat("|---", len(targets)))
	for _, s := range sources {
		fmt.Fprintf(&b, "| %s |", s)
		for _, t := range targets {
			fmt.Fprintf(&b, " %s |", cells[[2]string{s, t}])
		}
		b.WriteString("\n")
	}
	fmt.Fprintf(&b, "\n%d pairs, %d of them not run.\n", len(r.pairs), missing)
	if details.Len() > 0 {
		b.WriteString("\n| pair | data | stage | outcome |\n|---|---|---|---|\n" + details.String())
	}
	return b.String()
}

func (p *pairing) summary() string {
	equal, refused, avoidable, wrong := 0, 0, 0, 0
	for _, o := range p.outcomes {
		switch {
		case o.equal():
			equal++
		case o.refused():
			refused++
			if o.avoidable(p.dst) {
				avoidable++
			}
		default:
			wrong++
		}
	}
	switch {
	case p.missing != "":
		return p.missing
	case len(p.outcomes) == 0:
		return "broken off"
	}
	parts := []string{fmt.Sprintf("%d equal", equal)}
	if n := len(p.likeOwn); n > 0 {
		parts[0] += fmt.Sprintf(" (%d values as on the source's own replica)", n)
	}
	if refused > 0 {
		parts = append(parts, fmt.Sprintf("%d refused", refused))
		if avoidable > 0 {
			parts[len(parts)-1] += fmt.Sprintf(" (%d could be rewritten)", avoidable)
		}
	}
	if wrong > 0 {
		parts = append(parts, fmt.Sprintf("**%d WRONG**", wrong))
	}
	return strings.Join(parts, ", ")
}

func (p *pairing) details() string {
	var b strings.Builder
	for _, o := range p.outcomes {
		if o.equal() {
			continue
		}
		fmt.Fprintf(&b, "| %s → %s | %s | %s | %s |\n", p.source, p.target, o.feature.name, o.stage, cell(o.String()))
	}
	if n := len(p.likeOwn); n > 0 {
		fmt.Fprintf(&b, "| %s → %s | %d values | | as on the source's own replica, such as %s |\n", p.source, p.target, n, cell(p.likeOwn[0]))
	}
	return b.String()
}

// cell makes a text fit into a table.
func cell(text string) string { return strings.NewReplacer("|", `\|`, "\n", " ").Replace(text) }
