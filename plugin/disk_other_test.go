//go:build !linux

package plugin

import "testing"

func smallDisk(t *testing.T) string {
	t.Helper()
	t.Skip("SKIPPED: a small disk is mounted on Linux only")
	return ""
}
