// Package manifests holds the Kubernetes objects that kubectl redis-sync
// makes, as templates with typed parameters, and the RBAC rules of its verbs.
//
// A template sees every value through the function quote or as a number, so
// no value can change the structure of an object.
package manifests
