package redisstore_test

import (
	"sync"
	"testing"

	kiboauth "github.com/kiboauth/caddy-kibo-auth"
	"github.com/kiboauth/caddy-kibo-auth/internal/redistest"
	"github.com/kiboauth/caddy-kibo-auth/redisstore"
)

// TestKillLosesNothingAcknowledged: with appendfsync always, what Redis has
// acknowledged is on disk.
func TestKillLosesNothingAcknowledged(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, redistest.Options{Config: []string{"appendonly yes", "appendfsync always"}})
	a, b := openTwo(t, server.URL())
	ended := newKey()
	mustCreate(t, a, ended)
	if _, err := b.Load(soon(t), ended); err != nil {
		t.Fatal(err)
	}
	mustDelete(t, a, ended)

	created := createUntilKilled(t, a, server)
	for key := range created {
		_, err := b.Load(soon(t), key)
		unanswered(t, "Load", err)
		break
	}
	unanswered(t, "Create", a.Create(soon(t), newKey(), newRecord("customer")))
	unanswered(t, "Delete", a.Delete(soon(t), newKey()))

	server.Restart()
	awaitWorking(t, "the restart", a, b)
	t.Logf("%d sessions were acknowledged", len(created))
	for key, r := range created {
		mustLoad(t, a, key, r)
		mustLoad(t, b, key, r)
	}
	mustBeGone(t, a, ended)
	mustBeGone(t, b, ended)
}

// createUntilKilled creates sessions from several goroutines, kills the server
// meanwhile and returns those sessions that were acknowledged.
func createUntilKilled(t *testing.T, s *redisstore.Store, server *redistest.Server) map[kiboauth.Key]*kiboauth.Record {
	t.Helper()
	var mu sync.Mutex
	var running sync.WaitGroup
	created := map[kiboauth.Key]*kiboauth.Record{}
	for range 8 {
		running.Go(func() {
			for {
				key, r := newKey(), newRecord("customer")
				if err := s.Create(soon(t), key, r); err != nil {
					return
				}
				mu.Lock()
				created[key] = r
				mu.Unlock()
			}
		})
	}
	redistest.Await(t, patience, "sessions to be created", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(created) >= 100
	})
	server.Kill()
	running.Wait()
	return created
}

// TestKillWithoutPersistence: everybody is signed out, but the store works.
func TestKillWithoutPersistence(t *testing.T) {
	server := redistest.Start(t, redistest.Options{})
	a, b := openTwo(t, server.URL())
	g := newGateway(t, b)
	key := newKey()
	mustCreate(t, a, key)
	g.admitted(t, key)
	before := g.toldAll()

	server.Restart()
	redistest.Await(t, patience, "gateway to be told of the lost connection", func() bool { return g.toldAll() > before })
	awaitWorking(t, "the restart", a, b)
	mustBeGone(t, a, key)
	mustBeGone(t, b, key)
	mustCreate(t, a, key)
	awaitPushes(t, a, g)
}
