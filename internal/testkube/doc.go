// Package testkube is an API server for tests: objects in memory, behind the
// requests that package kube makes, with port-forwards that lead to servers on
// loopback. It knows nothing of controllers, and it stores what it is given
// without looking; what a real API server makes of an object is for the tests
// on real clusters.
package testkube
