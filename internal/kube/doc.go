// Package kube is the only user of client-go. A Client talks to the API
// server of one site: it reads and writes objects, dials the port of a pod,
// runs a command in it, and asks what the user may do. Every error names the
// site and the object, and keeps its cause, so that the predicates of this
// package (IsNotFound, IsAuth, IsUnreachable...) work on it.
package kube
