// Package guard tries on servers of several releases what the standing
// protection of a standby relies on.
package guard
