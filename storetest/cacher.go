package storetest

import (
	"sync"
	"testing"

	kiboauth "github.com/kiboauth/caddy-kibo-auth"
)

// cacherContract is what a store keeps besides if it is a kiboauth.Cacher.
var cacherContract = []struct {
	name string
	test func(t *testing.T, s kiboauth.Store, c kiboauth.Cacher)
}{
	{"times", cacherTimes},
	{"tells of changes", cacherTells},
	{"tells all watchers", cacherTellsAll},
	{"tells nothing once stopped", cacherStops},
}

// watcher remembers what a Cacher told.
type watcher struct {
	mu   sync.Mutex
	keys map[kiboauth.Key]bool
	all  bool // all may have changed
}

// watch starts a watcher. It is stopped when the test is over.
func watch(t *testing.T, c kiboauth.Cacher) *watcher {
	w := &watcher{keys: map[kiboauth.Key]bool{}}
	t.Cleanup(c.Watch(w.changed))
	return w
}

func (w *watcher) changed(key *kiboauth.Key) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if key == nil {
		w.all = true
	} else {
		w.keys[*key] = true
	}
}

// forget begins anew.
func (w *watcher) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.all = false
	clear(w.keys)
}

// told tells whether a cache would have dropped key.
func (w *watcher) told(key kiboauth.Key) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.all || w.keys[key]
}

func (w *watcher) toldByName(key kiboauth.Key) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.keys[key]
}

func (w *watcher) wantTold(t *testing.T, call string, key kiboauth.Key) {
	t.Helper()
	eventually(t, "Watch has told of a "+call, func() bool { return w.told(key) })
}

func cacherTimes(t *testing.T, _ kiboauth.Store, c kiboauth.Cacher) {
	if fresh, stale := c.CacheFor(); fresh < 0 || stale < 0 {
		t.Errorf("CacheFor = %s, %s, want no negative time", fresh, stale)
	}
}

// cacherTells: each kind of change is told.
func cacherTells(t *testing.T, s kiboauth.Store, c kiboauth.Cacher) {
	key, r := session(t, s)
	w := watch(t, c)
	for _, change := range []struct {
		name string
		do   func() error
	}{
		{"Touch", func() error { return s.Touch(t.Context(), key, r.Seen+60_000) }},
		{"Replace", func() error { return s.Replace(t.Context(), key, 1, nextOf(r)) }},
		{"Delete", func() error { return s.Delete(t.Context(), key) }},
	} {
		w.forget()
		wantError(t, change.name, change.do(), nil)
		w.wantTold(t, change.name, key)
	}
}

// cacherTellsAll: two gateways of one process watch one store.
func cacherTellsAll(t *testing.T, s kiboauth.Store, c kiboauth.Cacher) {
	key, r := session(t, s)
	one, two := watch(t, c), watch(t, c)
	wantError(t, "Replace", s.Replace(t.Context(), key, 1, nextOf(r)), nil)
	one.wantTold(t, "Replace", key)
	two.wantTold(t, "Replace", key)
}

// cacherStops: once the other watcher knows, the one that was stopped would.
func cacherStops(t *testing.T, s kiboauth.Store, c kiboauth.Cacher) {
	stopped, going := &watcher{keys: map[kiboauth.Key]bool{}}, watch(t, c)
	stop := c.Watch(stopped.changed)
	key, r := session(t, s)
	wantError(t, "Touch", s.Touch(t.Context(), key, r.Seen+60_000), nil)
	going.wantTold(t, "Touch", key)
	stop()

	after, r := session(t, s)
	for range rounds {
		going.forget()
		r = nextOf(r)
		wantError(t, "Replace", s.Replace(t.Context(), after, r.Version-1, r), nil)
		going.wantTold(t, "Replace", after)
	}
	if stopped.toldByName(after) {
		t.Errorf("Watch told of a change after it was stopped")
	}
}
