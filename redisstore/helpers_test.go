package redisstore

import (
	"context"
	"crypto/rand"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	kiboauth "github.com/kiboauth/caddy-kibo-auth"
	"github.com/kiboauth/caddy-kibo-auth/internal/redistest"
)

// start returns a store at a server of its own.
func start(t testing.TB) (*Store, *redistest.Server) {
	t.Helper()
	server := redistest.Start(t, redistest.Options{})
	return open(t, Store{URLs: []string{server.URL()}}), server
}

// open provisions a store with the given settings.
func open(t testing.TB, set Store) *Store {
	t.Helper()
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	t.Cleanup(cancel)
	s := &set
	if err := s.Provision(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Cleanup(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// another returns a store at the same server with a connection of its own, as
// a gateway in another process has: another timeout makes other settings.
func another(t testing.TB, s *Store) *Store {
	t.Helper()
	set := *s
	set.client = nil
	set.Timeout += caddy.Duration(time.Millisecond)
	return open(t, set)
}

func newKey() (key kiboauth.Key) {
	rand.Read(key[:])
	return key
}

// newRecord returns one that is used now and ends in an hour.
func newRecord(customer string) *kiboauth.Record {
	at := now()
	return &kiboauth.Record{
		Version: 1, Customer: customer, Created: at, Seen: at, Ends: at + time.Hour.Milliseconds(),
		Idle: (10 * time.Minute).Milliseconds(), Sealed: []byte("sealed\x00\r\n" + rand.Text()),
	}
}

// next returns the record that follows r.
func next(r *kiboauth.Record) *kiboauth.Record {
	n := *r
	n.Version++
	n.Sealed = []byte(rand.Text())
	return &n
}

func create(t testing.TB, s *Store, customer string) (kiboauth.Key, *kiboauth.Record) {
	t.Helper()
	key, r := newKey(), newRecord(customer)
	if err := s.Create(t.Context(), key, r); err != nil {
		t.Fatalf("Create: %v", err)
	}
	return key, r
}

func list(t testing.TB, s *Store, customer string) map[kiboauth.Key]*kiboauth.Record {
	t.Helper()
	found := map[kiboauth.Key]*kiboauth.Record{}
	for one, err := range s.List(t.Context(), customer) {
		if err != nil {
			t.Fatalf("List(%q): %v", customer, err)
		}
		if found[one.Key] != nil {
			t.Errorf("List(%q) tells a session twice", customer)
		}
		found[one.Key] = one.Record
	}
	return found
}
