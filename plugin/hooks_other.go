//go:build !unix

package plugin

import "os/exec"

// inGroup does nothing: there are no process groups to end here.
func inGroup(*exec.Cmd) {}

// endGroup ends a started command, and nothing that it has started.
func endGroup(cmd *exec.Cmd) error { return cmd.Process.Kill() }

func groupGone(*exec.Cmd) bool { return true }

func killGroup(*exec.Cmd) {}
