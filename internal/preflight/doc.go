// Package preflight checks, before anything is created, whether a copy from
// one instance to another can work and keep working. It reads and measures,
// and changes nothing. Findings are problems; an error means that a check
// could not be made at all.
package preflight
