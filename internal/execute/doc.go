// Package execute does what a verb decided. Everything that changes a cluster
// or a Redis goes through a port, an interface with two implementations: the
// real one, and a recording one that reads for real and only writes down what
// it would change, which is what --dry-run prints.
//
// The package also keeps the record of a pair in both sites, with a journal
// line before and after every step, and watches the replicators.
package execute
