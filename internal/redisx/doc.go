// Package redisx is the only user of go-redis. A Client talks to one server,
// over a connection that the caller dials (a port-forward, a socket), and asks
// what the verbs need: role, replication state, slots, configuration, and the
// keys of ours that a target holds. It never retries and never follows a
// redirection: the caller chose this server.
//
// Errors are of type *Error, name the server and tell the kinds apart that
// callers treat differently. They never hold a password or a value.
package redisx
