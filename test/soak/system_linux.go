package soak

import (
	"fmt"
	"syscall"
)

// dieWithParent makes the kernel end a replicator when the test binary dies
// without its cleanups (a panic, go test's timeout).
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}

// reserve keeps a port from other programs until release is called. Nobody
// listens: connections are refused, as at a dead server.
func reserve(port int) (release func(), err error) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("reserving port %d: %w", port, err)
	}
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		_ = syscall.Close(fd) // the first error counts
		return nil, fmt.Errorf("reserving port %d: %w", port, err)
	}
	return func() { _ = syscall.Close(fd) }, nil
}
