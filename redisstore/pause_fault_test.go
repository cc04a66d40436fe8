//go:build unix

package redisstore_test

import (
	"testing"
	"time"

	"github.com/kiboauth/caddy-kibo-auth/internal/redistest"
)

// TestServerHangs: a server that stops and goes on has carried out what it was
// sent, whether we waited for it or not.
func TestServerHangs(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, redistest.Options{})
	a, b := openFault(t, server.URL(), "timeout 500ms"), openFault(t, server.URL(), "timeout 501ms")
	key := newKey()
	r := mustCreate(t, a, key)
	tr := startTraffic(t, a, b)
	for range 2 {
		tr.awaitAnswers(50)
		server.Pause()
		errors := tr.errors.Load()
		redistest.Await(t, patience, "calls to give up", func() bool { return tr.errors.Load() >= errors+10 })
		server.Resume()
	}
	tr.awaitAnswers(50)
	tr.halt()
	awaitWorking(t, "the hang", a, b)
	mustLoad(t, b, key, r)
}

// TestShortHang: shorter than the timeout, it only takes longer.
func TestShortHang(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, redistest.Options{})
	s := openFault(t, server.URL(), "timeout 5s")
	key := newKey()
	r := mustCreate(t, s, key)
	server.Pause()
	resumed := make(chan struct{})
	time.AfterFunc(200*time.Millisecond, func() {
		server.Resume()
		close(resumed)
	})
	mustLoad(t, s, key, r)
	<-resumed
}
