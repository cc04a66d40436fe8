// Package redistest starts real Redis servers for tests: one alone, a pair
// under Sentinel, a cluster, and a relay that is a bad network. They listen on
// free ports of 127.0.0.1, keep their data in the test's temporary folder and
// end with the test.
//
// It needs redis-server and redis-cli of Redis 7.0 or later. Methods that fail
// end the test, so call them from the test's own goroutine.
package redistest

import (
	"testing"
	"time"

	"github.com/kiboauth/caddy-kibo-auth/internal/freeport"
)

const host = "127.0.0.1"

// Cluster nodes talk among themselves on the port 10000 higher.
const busOffset = 10000

// freePort returns a port that nobody listens on, nor on the one for the
// cluster's bus. Somebody may be faster than the server that is to use it.
func freePort(t testing.TB) int {
	t.Helper()
	for {
		if port := freeport.Port(t); freeport.Free(port + busOffset) {
			return port
		}
	}
}

// Await ends the test if cond does not hold within a time. It asks often.
func Await(t testing.TB, within time.Duration, what string, cond func() bool) {
	t.Helper()
	deadline := time.After(within)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited %s in vain: %s", within, what)
		}
	}
}
