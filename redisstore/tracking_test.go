package redisstore

import (
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/kiboauth/caddy-kibo-auth/internal/redistest"
)

// TestChangeOfMovingSession: a session that was read from a slot on its way to
// another server is tracked there, too.
func TestChangeOfMovingSession(t *testing.T) {
	cluster := redistest.StartCluster(t)
	here := open(t, Store{URLs: cluster.Addrs()})
	there := another(t, here)
	heard := watch(t, here)
	key, r := create(t, there, "moving")
	steps := 0
	cluster.MigrateSlot(here.client.recordName(&key), func() {
		steps++
		redistest.Await(t, 5*time.Second, "load", func() bool {
			_, err := here.Load(t.Context(), key)
			return err == nil
		})
		// What was heard so far is of the move itself.
		before := heard.of(key)
		redistest.Await(t, 5*time.Second, "hear of a change", func() bool {
			r.Seen++
			if err := there.Touch(t.Context(), key, r.Seen); err != nil {
				t.Fatal(err)
			}
			return heard.of(key) > before
		})
	})
	if steps != 2 {
		t.Fatalf("%d steps of the move were seen, want 2", steps)
	}
}

// TestQuietWatcher: while nothing happens, nothing is told, although rueidis
// asks the Sentinels every few seconds.
func TestQuietWatcher(t *testing.T) {
	t.Parallel()
	servers := redistest.StartSentinels(t)
	s := open(t, Store{URLs: servers.Addrs(), Sentinel: &Sentinel{Master: redistest.MasterName}})
	key, _ := create(t, s, "quiet")
	heard := watch(t, s)
	end := time.After(askSentinels + time.Second)
	for tick := time.NewTicker(200 * time.Millisecond); ; {
		select {
		case <-end:
			if n := heard.everything(); n > 0 {
				t.Errorf("told %d times that anything may have changed", n)
			}
			tick.Stop()
			return
		case <-tick.C:
			if _, err := s.Load(t.Context(), key); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestCleanupEndsEverything: the last store to go leaves no connection.
func TestCleanupEndsEverything(t *testing.T) {
	server := redistest.Start(t, redistest.Options{})
	before := goleak.IgnoreCurrent()
	t.Run("store", func(t *testing.T) {
		s := open(t, Store{URLs: []string{server.URL()}})
		key, _ := create(t, s, "ends")
		unlock, err := s.Lock(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		unlock()
	})
	goleak.VerifyNone(t, before)
}
