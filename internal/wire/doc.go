// Package wire holds what the plugin and the replicator (redis-sync-sidecar)
// must agree on: the JSON of /status, the sync.toml file, and the names of the
// keys and connections that a replicator leaves in a target Redis.
//
// Everything here is a format. Later versions must read what earlier ones
// wrote: fields may be added, never renamed or given another meaning.
package wire
