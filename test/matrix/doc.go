// Package matrix copies data between real servers of several releases, every
// release to every other one, and compares what both hold by typed reads. It
// has tests only; `make matrix` runs them and prints the outcome as a table.
package matrix
