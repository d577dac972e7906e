package soak

import "syscall"

// dieWithParent makes the kernel end a replicator when the test binary dies
// without its cleanups (a panic, go test's timeout).
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
