//go:build !linux

package redistest

import "os/exec"

// dieWithParent is known to Linux only. Elsewhere servers outlive a test that
// is killed.
func dieWithParent(*exec.Cmd) {}
