//go:build !linux

package soak

import "syscall"

func dieWithParent() *syscall.SysProcAttr { return nil }

func reserve(int) (release func(), err error) { return func() {}, nil }
