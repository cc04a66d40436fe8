//go:build !linux

package caddytest

import "os/exec"

// dieWithParent is known to Linux only. Elsewhere gateways outlive a test that
// is killed.
func dieWithParent(*exec.Cmd) {}
