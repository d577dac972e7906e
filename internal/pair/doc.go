// Package pair defines the nouns that every verb shares, and their formats.
//
// A Pair is two sites that copy each other. A Site is one Redis instance: a
// cluster's context, a namespace and an instance name. Site names never
// change; the Role of a site (primary or standby) does. The Record is what the
// clusters remember of a pair: a ConfigMap redis-sync-<pair> in the namespace
// of each site. A Phase says where the pair is in its life, and one table says
// which verb is legal in which phase.
//
// The package is pure: it talks to nobody and reads no clock. pair.yaml and
// the record are formats that later versions must read: fields may be added,
// never renamed or given another meaning.
package pair
