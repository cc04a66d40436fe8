package storetest

import (
	"context"
	"testing"
	"time"

	kiboauth "github.com/kiboauth/caddy-kibo-auth"
)

// call is one call of a store that would succeed if the store could answer.
type call struct {
	name string
	do   func(ctx context.Context) error
}

// calls are all methods of a store, upon a session that it has. The last one
// ends it.
func calls(s kiboauth.Store, key kiboauth.Key, r *kiboauth.Record) []call {
	fresh := newKey()
	return []call{
		{"Load", func(ctx context.Context) error {
			_, err := s.Load(ctx, key)
			return err
		}},
		{"Create", func(ctx context.Context) error { return s.Create(ctx, fresh, newRecord(r.Customer, longLife)) }},
		{"List of a customer", func(ctx context.Context) error {
			_, err := gather(ctx, s, r.Customer)
			return err
		}},
		{"List of all", func(ctx context.Context) error {
			_, err := gather(ctx, s, "")
			return err
		}},
		{"Touch", func(ctx context.Context) error { return s.Touch(ctx, key, r.Seen+60_000) }},
		{"Replace", func(ctx context.Context) error { return s.Replace(ctx, key, r.Version, nextOf(r)) }},
		{"Delete", func(ctx context.Context) error { return s.Delete(ctx, key) }},
	}
}

func cancelled(t *testing.T, s kiboauth.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	wantHarmless(t, s, ctx)
}

func pastDeadline(t *testing.T, s kiboauth.Store) {
	ctx, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	wantHarmless(t, s, ctx)
}

// wantHarmless checks that calls under a context that has ended return soon,
// either with their result or with an error that says nothing of sessions, and
// that the store is none the worse for it.
func wantHarmless(t *testing.T, s kiboauth.Store, ctx context.Context) {
	t.Helper()
	customer := newCustomer()
	for i := range calls(s, newKey(), newRecord(customer, longLife)) {
		key, r := newKey(), newRecord(customer, longLife)
		create(t, s, key, r)
		c := calls(s, key, r)[i]
		name := c.name + " under a context that has ended"
		wantUnanswered(t, name, soon(t, name, func() error { return c.do(ctx) }))
	}
	removeListed(t, s, customer)
	key, r := session(t, s)
	wantLoaded(t, s, key, r)
	wantListed(t, s, r.Customer, map[kiboauth.Key]*kiboauth.Record{key: r})
}

// cancelledMeanwhile cancels calls on their way, at whatever point they are. An
// answer that comes nevertheless is to the question that was asked.
func cancelledMeanwhile(t *testing.T, s kiboauth.Store) {
	keys, records := make([]kiboauth.Key, racers), make([]*kiboauth.Record, racers)
	for i := range keys {
		keys[i], records[i] = session(t, s)
	}
	for range rounds {
		race(racers, func(i int) error {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			go cancel()
			got, err := s.Load(ctx, keys[i])
			wantUnanswered(t, "Load, cancelled on its way", err)
			if err == nil && difference(got, records[i]) != "" {
				t.Errorf("Load, cancelled on its way: %s", difference(got, records[i]))
			}
			return err
		})
	}
	for i := range keys {
		wantLoaded(t, s, keys[i], records[i])
	}
}

// removeListed takes away sessions that a call may or may not have created.
func removeListed(t *testing.T, s kiboauth.Store, customer string) {
	t.Cleanup(func() {
		if t.Failed() {
			return
		}
		if err := endAll(context.WithoutCancel(t.Context()), s, customer); err != nil {
			t.Errorf("List and Delete after the test = %v, want no error", err)
		}
	})
}
