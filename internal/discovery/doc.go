// Package discovery finds Redis instances in a cluster and asks them what
// they are: it reads the objects through package kube, asks every pod through
// package redisx, and lets package topology conclude.
package discovery
