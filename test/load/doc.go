// Package load fills a Redis with a data set of every type and encoding that
// Redis 7.0 writes, and keeps writing to it at a bounded rate while it counts
// what was acknowledged.
package load
