// Package testredis starts real redis-server processes for tests: single
// servers, replicas, Sentinels and clusters, on loopback and on free ports.
// Everything is stopped when the test ends.
//
// The binary is redis-server from PATH, or what the environment variable
// TEST_REDIS_SERVER names. Without one the test is skipped with the reason,
// except under CI=true, where it fails: a test that silently did not run is
// worth nothing there.
package testredis
