package redisstore

import (
	"sync"
	"testing"
	"time"

	kiboauth "github.com/kiboauth/caddy-kibo-auth"
	"github.com/kiboauth/caddy-kibo-auth/internal/redistest"
)

// told counts what a watcher was told.
type told struct {
	mu   sync.Mutex
	keys map[kiboauth.Key]int
	all  int
}

func watch(t testing.TB, s *Store) *told {
	t.Helper()
	w := &told{keys: map[kiboauth.Key]int{}}
	t.Cleanup(s.Watch(func(key *kiboauth.Key) {
		w.mu.Lock()
		defer w.mu.Unlock()
		if key == nil {
			w.all++
			return
		}
		w.keys[*key]++
	}))
	return w
}

func (w *told) of(key kiboauth.Key) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.keys[key]
}

func (w *told) everything() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.all
}

// TestOthersChangesAreTold: what one gateway writes, another hears of, again
// and again.
func TestOthersChangesAreTold(t *testing.T) {
	here, _ := start(t)
	there := another(t, here)
	if here.client == there.client {
		t.Fatal("both stores share a client; the test shows nothing")
	}
	heard := watch(t, here)
	key, r := create(t, there, "told")
	steps := []struct {
		name   string
		change func() error
	}{
		{"Touch", func() error { return there.Touch(t.Context(), key, r.Seen+1) }},
		{"Replace", func() error { return there.Replace(t.Context(), key, 1, next(r)) }},
		{"Touch again", func() error { return there.Touch(t.Context(), key, r.Seen+2) }},
		{"Delete", func() error { return there.Delete(t.Context(), key) }},
	}
	for _, step := range steps {
		t.Run(step.name, func(t *testing.T) {
			if _, err := here.Load(t.Context(), key); err != nil {
				t.Fatal(err)
			}
			before := heard.of(key)
			if err := step.change(); err != nil {
				t.Fatal(err)
			}
			redistest.Await(t, 5*time.Second, "hear of it", func() bool { return heard.of(key) > before })
		})
	}
}

// TestExpiryIsTold: Redis tells of the end by time, too.
func TestExpiryIsTold(t *testing.T) {
	here, _ := start(t)
	heard := watch(t, here)
	key, r := newKey(), newRecord("expiring")
	r.Ends = now() + 300
	if err := here.Create(t.Context(), key, r); err != nil {
		t.Fatal(err)
	}
	if _, err := here.Load(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	before := heard.of(key)
	redistest.Await(t, 5*time.Second, "hear of the end", func() bool { return heard.of(key) > before })
}

// TestOwnChangesAreTold: at once, as handlers of one process share the client.
// Redis itself tells nothing here.
func TestOwnChangesAreTold(t *testing.T) {
	server := redistest.Start(t, redistest.Options{Users: []string{"gateway on >secret ~* &* +@all -client|tracking"}})
	s := open(t, Store{URLs: []string{server.URL()}, Username: "gateway", Password: "secret"})
	heard := watch(t, s)
	key, r := create(t, s, "own")
	for _, change := range []func() error{
		func() error { return s.Touch(t.Context(), key, r.Seen+1) },
		func() error { return s.Replace(t.Context(), key, 1, next(r)) },
		func() error { return s.Delete(t.Context(), key) },
	} {
		before := heard.of(key)
		if err := change(); err != nil {
			t.Fatal(err)
		}
		if heard.of(key) == before {
			t.Error("a change returned before it was told")
		}
	}
}

// TestLostConnectionTellsAll: what changed meanwhile was not told.
func TestLostConnectionTellsAll(t *testing.T) {
	s, server := start(t)
	heard := watch(t, s)
	key, r := create(t, s, "lost")
	for range 2 {
		if _, err := s.Load(t.Context(), key); err != nil {
			t.Fatal(err)
		}
		before := heard.everything()
		server.CLI("CLIENT", "KILL", "TYPE", "normal")
		redistest.Await(t, 5*time.Second, "hear that anything may have changed", func() bool { return heard.everything() > before })
	}
	if _, err := s.Load(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	before := heard.of(key)
	if err := another(t, s).Touch(t.Context(), key, r.Seen+1); err != nil {
		t.Fatal(err)
	}
	redistest.Await(t, 5*time.Second, "hear of changes again", func() bool { return heard.of(key) > before })
}

// TestStoppedWatcher hears nothing any more.
func TestStoppedWatcher(t *testing.T) {
	s, _ := start(t)
	calls := 0
	stop := s.Watch(func(*kiboauth.Key) { calls++ })
	stop()
	stop()
	create(t, s, "stopped")
	if calls != 0 {
		t.Errorf("a watcher that was stopped was called %d times", calls)
	}
}

// TestCacheFor: what the settings and the server allow for.
func TestCacheFor(t *testing.T) {
	const cache = 10 * time.Second
	off := []string{"gateway on >secret ~* &* +@all -client|tracking"}
	tests := []struct {
		name         string
		users        []string // refused tracking
		cache        time.Duration
		onFailure    string
		fresh, stale time.Duration
	}{
		{"as it is", nil, cache, "", cache, cache},
		{"deny", nil, cache, deny, cache, 0},
		{"off", nil, -1, "", 0, 0},
		{"no tracking", off, cache, "", 0, cache},
		{"no tracking, deny", off, cache, deny, 0, 0},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t, redistest.Options{Users: tc.users})
			set := Store{URLs: []string{server.URL()}, Cache: duration(tc.cache), OnFailure: tc.onFailure}
			if tc.users != nil {
				set.Username, set.Password = "gateway", "secret"
			}
			s := open(t, set)
			if fresh, _ := s.CacheFor(); fresh != 0 {
				t.Errorf("before the first call: fresh = %s, want 0", fresh)
			}
			create(t, s, "cache")
			if fresh, stale := s.CacheFor(); fresh != tc.fresh || stale != tc.stale {
				t.Errorf("CacheFor() = %s, %s; want %s, %s", fresh, stale, tc.fresh, tc.stale)
			}
		})
	}
}
