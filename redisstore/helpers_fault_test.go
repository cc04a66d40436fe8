package redisstore_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	kiboauth "github.com/kiboauth/caddy-kibo-auth"
	"github.com/kiboauth/caddy-kibo-auth/internal/redistest"
	"github.com/kiboauth/caddy-kibo-auth/redisstore"
)

const (
	// patience bounds every wait for something that must happen.
	patience = time.Minute
	// cacheFor is the setting cache of all stores here.
	cacheFor = time.Second
	// slack is for a busy machine, on top of a documented bound.
	slack = 250 * time.Millisecond
)

// openFault opens a store as a Caddyfile does. Stores with different lines
// have clients of their own, as two gateways have.
func openFault(t testing.TB, urls string, lines ...string) *redisstore.Store {
	t.Helper()
	text := "redis " + urls + " {\ncache " + cacheFor.String() + "\n" + strings.Join(lines, "\n") + "\n}"
	s := new(redisstore.Store)
	if err := s.UnmarshalCaddyfile(caddyfile.NewTestDispenser(text)); err != nil {
		t.Fatalf("%v in:\n%s", err, text)
	}
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	t.Cleanup(cancel)
	if err := s.Provision(ctx); err != nil {
		t.Fatalf("%v in:\n%s", err, text)
	}
	t.Cleanup(func() {
		if err := s.Cleanup(); err != nil {
			t.Errorf("closing the store: %v", err)
		}
	})
	return s
}

// openTwo opens two stores that share sessions but no connection.
func openTwo(t testing.TB, urls string, lines ...string) (a, b *redisstore.Store) {
	t.Helper()
	a = openFault(t, urls, append(lines, "timeout 1s")...)
	b = openFault(t, urls, append(lines, "timeout 1001ms")...)
	return a, b
}

func newKey() (key kiboauth.Key) {
	rand.Read(key[:])
	return key
}

// redisKey is the name of a session's record in Redis, as the package's
// documentation gives it.
func redisKey(key kiboauth.Key) string {
	return "kibo:{" + base64.RawURLEncoding.EncodeToString(key[:]) + "}:s"
}

// newRecord returns the first version of a session.
func newRecord(customer string) *kiboauth.Record {
	now := time.Now().UnixMilli()
	sealed := make([]byte, 700)
	rand.Read(sealed)
	return &kiboauth.Record{
		Version: 1, Customer: customer, Created: now, Seen: now, Sealed: sealed,
		Ends: now + time.Hour.Milliseconds(), Idle: (30 * time.Minute).Milliseconds(),
	}
}

// next returns the record that follows r.
func next(r *kiboauth.Record) *kiboauth.Record {
	n := newRecord(r.Customer)
	n.Version, n.Created, n.Ends = r.Version+1, r.Created, r.Ends
	return n
}

func same(a, b *kiboauth.Record) bool {
	return a.Version == b.Version && a.Customer == b.Customer && bytes.Equal(a.Sealed, b.Sealed)
}

// soon is a context for one call: a request would not wait much longer.
func soon(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func mustCreate(t testing.TB, s *redisstore.Store, key kiboauth.Key) *kiboauth.Record {
	t.Helper()
	r := newRecord("customer")
	if err := s.Create(soon(t), key, r); err != nil {
		t.Fatalf("Create: %v", err)
	}
	return r
}

func mustDelete(t testing.TB, s *redisstore.Store, key kiboauth.Key) {
	t.Helper()
	if err := s.Delete(soon(t), key); err != nil {
		t.Fatalf("Delete: %v", err)
	}
}

func mustLoad(t testing.TB, s *redisstore.Store, key kiboauth.Key, want *kiboauth.Record) {
	t.Helper()
	got, err := s.Load(soon(t), key)
	switch {
	case err != nil:
		t.Errorf("Load: %v", err)
	case !same(got, want):
		t.Errorf("Load: version %d, want %d or its content", got.Version, want.Version)
	}
}

func mustBeGone(t testing.TB, s *redisstore.Store, key kiboauth.Key) {
	t.Helper()
	if _, err := s.Load(soon(t), key); !errors.Is(err, kiboauth.ErrNoSession) {
		t.Errorf("Load of a session that is gone: %v, want ErrNoSession", err)
	}
}

// unanswered checks that an error says: the store cannot tell.
func unanswered(t testing.TB, call string, err error) {
	t.Helper()
	for _, answer := range []error{nil, kiboauth.ErrNoSession, kiboauth.ErrConflict} {
		if errors.Is(err, answer) {
			t.Errorf("%s while Redis cannot answer: %v, want another error", call, err)
		}
	}
}

// awaitWorking waits until the stores answer again and says how long it took.
// Until then they may only say that they cannot.
func awaitWorking(t testing.TB, after string, stores ...*redisstore.Store) {
	t.Helper()
	begin := time.Now()
	for _, s := range stores {
		key := newKey()
		redistest.Await(t, patience, "store to work after "+after, func() bool {
			_, err := s.Load(soon(t), key)
			return errors.Is(err, kiboauth.ErrNoSession)
		})
		redistest.Await(t, patience, "store to take sessions after "+after, func() bool {
			key := newKey()
			return s.Create(soon(t), key, newRecord("customer")) == nil && s.Delete(soon(t), key) == nil
		})
	}
	t.Logf("%s after %s the stores work", time.Since(begin).Round(time.Millisecond), after)
}

// gateway keeps records in memory as far as the store allows, as kiboauth
// does with those that it has decrypted.
type gateway struct {
	store *redisstore.Store

	mu   sync.Mutex
	kept map[kiboauth.Key]kept
	told map[kiboauth.Key]int // how often each key was told
	all  int                  // how often nil was
}

type kept struct {
	at time.Time
	r  *kiboauth.Record
}

func newGateway(t testing.TB, s *redisstore.Store) *gateway {
	g := &gateway{store: s, kept: map[kiboauth.Key]kept{}, told: map[kiboauth.Key]int{}}
	t.Cleanup(s.Watch(g.changed))
	return g
}

func (g *gateway) changed(key *kiboauth.Key) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if key == nil {
		g.all++
		clear(g.kept)
		return
	}
	g.told[*key]++
	delete(g.kept, *key)
}

// toldAll returns how often everything may have changed.
func (g *gateway) toldAll() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.all
}

// toldOf returns how often a key was told, nil included.
func (g *gateway) toldOf(key kiboauth.Key) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.told[key] + g.all
}

func (g *gateway) look(key kiboauth.Key) (kept, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	k, ok := g.kept[key]
	return k, ok
}

// admits says whether the gateway would let a request with this session in.
func (g *gateway) admits(ctx context.Context, key kiboauth.Key) (bool, error) {
	fresh, stale := g.store.CacheFor()
	k, ok := g.look(key)
	if ok && time.Since(k.at) < fresh {
		return true, nil
	}
	at, told := time.Now(), g.toldOf(key)
	r, err := g.store.Load(ctx, key)
	switch {
	case err == nil:
		g.keep(key, kept{at, r}, told)
		return true, nil
	case errors.Is(err, kiboauth.ErrNoSession):
		return false, nil
	case ok && time.Since(k.at) < stale:
		return true, nil
	default:
		return false, err
	}
}

// keep keeps a record unless a change was told while it was loaded.
func (g *gateway) keep(key kiboauth.Key, k kept, told int) {
	if g.toldOf(key) != told {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.kept[key] = k
}

// admitted fails the test unless the gateway lets the session in.
func (g *gateway) admitted(t testing.TB, key kiboauth.Key) {
	t.Helper()
	if ok, err := g.admits(soon(t), key); !ok {
		t.Fatalf("the gateway does not admit a live session: %v", err)
	}
}

// awaitRefusal waits until the gateway no longer lets in a session that ended
// at a moment. Any admission later than the bound is an error.
func (g *gateway) awaitRefusal(t testing.TB, key kiboauth.Key, ended time.Time) {
	t.Helper()
	redistest.Await(t, patience, "gateway to refuse an ended session", func() bool {
		begin := time.Now()
		ok, _ := g.admits(soon(t), key)
		if late := begin.Sub(ended); ok && late > cacheFor+slack {
			t.Errorf("an ended session is admitted after %s, want %s at most", late, cacheFor)
		}
		return !ok
	})
	t.Logf("refused %s after its end", time.Since(ended).Round(100*time.Microsecond))
}

// awaitPushes waits until changes by one store are told to another's gateway.
func awaitPushes(t testing.TB, a *redisstore.Store, g *gateway) {
	t.Helper()
	redistest.Await(t, patience, "changes to be told", func() bool {
		key := newKey()
		mustCreate(t, a, key)
		g.admitted(t, key)
		mustDelete(t, a, key)
		return g.isTold(key)
	})
}

// isTold says whether a key is told within a second.
func (g *gateway) isTold(key kiboauth.Key) bool {
	for range 100 {
		g.mu.Lock()
		n := g.told[key]
		g.mu.Unlock()
		if n > 0 {
			return true
		}
		<-time.After(10 * time.Millisecond)
	}
	return false
}
