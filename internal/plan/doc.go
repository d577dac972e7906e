// Package plan says which Kubernetes objects a pair needs and what has to
// change so that the clusters have them. It is pure: it gets the record, the
// discovered instances and the objects that exist, and gives back objects and
// changes, always in the same order.
package plan
