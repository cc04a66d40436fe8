package caddytest

import (
	"os/exec"
	"syscall"
)

// dieWithParent has the kernel kill the command when its parent dies: a test
// that runs out of time panics, and its cleanups do not run.
func dieWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
