package storetest

import (
	"context"
	"maps"
	"strings"
	"sync"
	"testing"

	kiboauth "github.com/kiboauth/caddy-kibo-auth"
)

// sessionsOf creates n sessions of a customer.
func sessionsOf(t *testing.T, s kiboauth.Store, customer string, n int) map[kiboauth.Key]*kiboauth.Record {
	t.Helper()
	created := map[kiboauth.Key]*kiboauth.Record{}
	for range n {
		key, r := newKey(), newRecord(customer, longLife)
		create(t, s, key, r)
		created[key] = r
	}
	return created
}

func listCustomer(t *testing.T, s kiboauth.Store) {
	customer := newCustomer()
	wantListed(t, s, customer, nil)
	three := sessionsOf(t, s, customer, 3)
	one := sessionsOf(t, s, newCustomer(), 1)
	wantListed(t, s, customer, three)
	for key, r := range one {
		wantListed(t, s, r.Customer, map[kiboauth.Key]*kiboauth.Record{key: r})
	}
}

// listSpecialNames lists customers whose names mean something in patterns,
// queries, paths and key schemes, or have another's name in them.
func listSpecialNames(t *testing.T, s kiboauth.Store) {
	base := newCustomer()
	names := []string{
		base, base + "x", base[:len(base)-1], strings.ToUpper(base), "x" + base,
		base + "*", base + "**", "*" + base, base[:len(base)-1] + "?", base[:len(base)-1] + "*",
		"{" + base + "}", base + "{}", "{}" + base, base + "{x}", base + ":", base + ":x", ":" + base,
		base[:len(base)-1] + "[0-9a-f]", base + "[", base + "]", base + "^", base + "-", base + "|x",
		base + "%", base[:len(base)-1] + "_", base + `\`, base + `\*`, base + "'", base + `"`, base + "`",
		base + "/", base + "/..", base + "#", base + "$1", base + "@", base + "!", base + ";--", base + ",x", base + "~",
		base + visibleASCII(),
	}
	want := map[string]map[kiboauth.Key]*kiboauth.Record{}
	for _, name := range names {
		want[name] = sessionsOf(t, s, name, 1)
	}
	for _, name := range names {
		wantListed(t, s, name, want[name])
	}
	wantListed(t, s, base+"?", nil) // nobody's name, but a pattern of some
}

// visibleASCII is every character that a customer's name may have.
func visibleASCII() string {
	var b strings.Builder
	for c := byte('!'); c <= '~'; c++ {
		b.WriteByte(c)
	}
	return b.String()
}

func listFields(t *testing.T, s kiboauth.Store) {
	key, r := newKey(), newRecord(newCustomer(), longLife)
	r.Created, r.Idle = r.Created-1000, 1_800_000
	create(t, s, key, r)
	wantListed(t, s, r.Customer, map[kiboauth.Key]*kiboauth.Record{key: r})

	wantError(t, "Touch", s.Touch(t.Context(), key, r.Seen+60_000), nil)
	r = r.Touched(r.Seen + 60_000)
	wantListed(t, s, r.Customer, map[kiboauth.Key]*kiboauth.Record{key: r})

	next := nextOf(r)
	next.Ends += 60_000
	wantError(t, "Replace", s.Replace(t.Context(), key, 1, next), nil)
	wantListed(t, s, r.Customer, map[kiboauth.Key]*kiboauth.Record{key: next})
}

// listAll looks only for sessions of its own, since others may use the store.
func listAll(t *testing.T, s kiboauth.Store) {
	want := map[kiboauth.Key]*kiboauth.Record{}
	for range 5 {
		maps.Copy(want, sessionsOf(t, s, newCustomer(), 2))
	}
	wantAmong(t, list(t, s, ""), want)
}

// listMany has more sessions than a store is likely to list in one go.
func listMany(t *testing.T, s kiboauth.Store) {
	customer := newCustomer()
	want := sessionsOf(t, s, customer, 300)
	wantListed(t, s, customer, want)
	wantAmong(t, list(t, s, ""), want)
}

func listEnded(t *testing.T, s kiboauth.Store) {
	customer := newCustomer()
	want := sessionsOf(t, s, customer, 3)
	for key := range want {
		wantError(t, "Delete", s.Delete(t.Context(), key), nil)
		delete(want, key)
		wantListed(t, s, customer, want)
		if list(t, s, "")[key] != nil {
			t.Fatalf("List of all has a deleted session")
		}
	}
}

func listStops(t *testing.T, s kiboauth.Store) {
	customer := newCustomer()
	want := sessionsOf(t, s, customer, 20)
	for _, of := range []string{customer, ""} {
		err := soon(t, "List, stopped", func() error {
			for _, err := range s.List(t.Context(), of) {
				return err
			}
			return nil
		})
		wantError(t, "List, stopped", err, nil)
	}
	// Whatever List held is free again.
	key, r := newKey(), newRecord(customer, longLife)
	removeAfter(t, s, key)
	want[key] = r
	err := soon(t, "Create after a List that was stopped", func() error { return s.Create(t.Context(), key, r) })
	wantError(t, "Create after a List that was stopped", err, nil)
	wantListed(t, s, customer, want)
}

// listDeleting ends all sessions of a customer as the gateway does.
func listDeleting(t *testing.T, s kiboauth.Store) {
	customer := newCustomer()
	sessionsOf(t, s, customer, 20)
	err := soon(t, "Delete while listing", func() error { return endAll(t.Context(), s, customer) })
	wantError(t, "Delete while listing", err, nil)
	wantListed(t, s, customer, nil)
}

// endAll deletes each session of a customer as it is listed.
func endAll(ctx context.Context, s kiboauth.Store, customer string) error {
	for l, err := range s.List(ctx, customer) {
		if err != nil {
			return err
		}
		if err := s.Delete(ctx, l.Key); err != nil {
			return err
		}
	}
	return nil
}

// listChanging lists while sessions are created, changed and deleted. Those
// that live all the while are there each time, and once.
func listChanging(t *testing.T, s kiboauth.Store) {
	customer := newCustomer()
	lasting := sessionsOf(t, s, customer, 20)
	stop := make(chan struct{})
	var changing sync.WaitGroup
	changing.Go(func() { comeAndGo(t, s, customer, stop) })
	changing.Go(func() { keepChanging(t, s, lasting, stop) })
	defer changing.Wait()
	defer close(stop)
	for range 30 {
		for _, of := range []string{customer, ""} {
			listed := list(t, s, of)
			for key := range lasting {
				if listed[key] == nil {
					t.Fatalf("List(%q) lacks a session that lived all the while", of)
				}
			}
		}
	}
}

// comeAndGo creates and deletes sessions until it is stopped.
func comeAndGo(t *testing.T, s kiboauth.Store, customer string, stop <-chan struct{}) {
	for !stopped(stop) {
		key := newKey()
		if err := s.Create(t.Context(), key, newRecord(customer, longLife)); err != nil {
			t.Errorf("Create while listing = %v, want no error", err)
			return
		}
		if err := s.Delete(t.Context(), key); err != nil {
			t.Errorf("Delete while listing = %v, want no error", err)
			return
		}
	}
}

// keepChanging touches and replaces sessions until it is stopped.
func keepChanging(t *testing.T, s kiboauth.Store, records map[kiboauth.Key]*kiboauth.Record, stop <-chan struct{}) {
	latest := maps.Clone(records)
	for !stopped(stop) {
		for key, r := range latest {
			next := nextOf(r)
			err := s.Replace(t.Context(), key, r.Version, next)
			if err == nil {
				err = s.Touch(t.Context(), key, now())
			}
			if err != nil {
				t.Errorf("Replace and Touch while listing = %v, want no error", err)
				return
			}
			latest[key] = next
		}
	}
}

func stopped(stop <-chan struct{}) bool {
	select {
	case <-stop:
		return true
	default:
		return false
	}
}
