package storetest

import (
	"errors"
	"testing"
	"time"

	kiboauth "github.com/kiboauth/caddy-kibo-auth"
)

const (
	// shortLife is a life whose end a test waits for.
	shortLife = 300 * time.Millisecond
	// skew is by how much a store's clock may be ahead of the test's.
	skew = 100 * time.Millisecond
)

// wantExpiry waits for the end of a session that nobody uses, and checks that
// it came neither before r's nor much after it. It judges each answer by the
// time at which it was asked for, so that a slow machine fails no test.
func wantExpiry(t *testing.T, s kiboauth.Store, key kiboauth.Key, r *kiboauth.Record) {
	t.Helper()
	end := time.UnixMilli(r.Expires())
	wantGone(t, "Load", end, func() (bool, error) {
		_, err := s.Load(t.Context(), key)
		if errors.Is(err, kiboauth.ErrNoSession) {
			return true, nil
		}
		return false, err
	})
	wantGone(t, "List", end, func() (bool, error) { return list(t, s, r.Customer)[key] == nil, nil })
	wantEnded(t, s, key)
}

// wantGone waits until a session is gone for one method.
func wantGone(t *testing.T, call string, end time.Time, gone func() (bool, error)) {
	t.Helper()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for ; ; <-tick.C {
		asked := time.Now()
		ended, err := gone()
		switch {
		case err != nil:
			t.Fatalf("%s = %v, want the record or ErrNoSession", call, err)
		case ended && time.Until(end) > skew:
			t.Fatalf("%s: session gone more than %s before its end", call, skew)
		case ended:
			return
		case asked.After(end.Add(late)):
			t.Fatalf("%s: session still there more than %s after its end", call, late)
		}
	}
}

func expiryEnds(t *testing.T, s kiboauth.Store) {
	key, r := newKey(), newRecord(newCustomer(), shortLife)
	r.Idle = longLife.Milliseconds()
	createShort(t, s, key, r)
	wantExpiry(t, s, key, r)
}

func expiryIdle(t *testing.T, s kiboauth.Store) {
	key, r := newKey(), newRecord(newCustomer(), longLife)
	r.Idle = shortLife.Milliseconds()
	createShort(t, s, key, r)
	wantExpiry(t, s, key, r)
}

// createShort saves a record that on a slow machine may have ended by then.
func createShort(t *testing.T, s kiboauth.Store, key kiboauth.Key, r *kiboauth.Record) {
	t.Helper()
	removeAfter(t, s, key)
	if err := s.Create(t.Context(), key, r); err != nil && !overslept(err, r) {
		t.Fatalf("Create = %v, want no error", err)
	}
}

// overslept tells that a call failed since the machine was too slow for the
// life of a record.
func overslept(err error, r *kiboauth.Record) bool {
	return errors.Is(err, kiboauth.ErrNoSession) && now() >= r.Expires()
}

// wantProlonged creates a session with a short life and has it prolonged
// before its end, with a longer life if the machine is too slow for that.
func wantProlonged(t *testing.T, s kiboauth.Store, prolong func(kiboauth.Key, *kiboauth.Record) (*kiboauth.Record, error)) {
	t.Helper()
	for life := shortLife; life < patience; life *= 2 {
		key, r := newKey(), newRecord(newCustomer(), longLife)
		r.Idle = life.Milliseconds()
		createShort(t, s, key, r)
		longer, err := prolong(key, r)
		if overslept(err, r) {
			continue
		}
		wantError(t, "prolonging a session", err, nil)
		wantExpiry(t, s, key, longer)
		return
	}
	t.Fatalf("each call takes so long that sessions of some seconds cannot be tested")
}

func expiryTouched(t *testing.T, s kiboauth.Store) {
	wantProlonged(t, s, func(key kiboauth.Key, r *kiboauth.Record) (*kiboauth.Record, error) {
		at := r.Expires() // as if the customer were active until then
		return r.Touched(at), s.Touch(t.Context(), key, at)
	})
}

func expiryReplaced(t *testing.T, s kiboauth.Store) {
	wantProlonged(t, s, func(key kiboauth.Key, r *kiboauth.Record) (*kiboauth.Record, error) {
		next := nextOf(r)
		next.Idle *= 2
		return next, s.Replace(t.Context(), key, 1, next)
	})
}

// expiryEndsTouched: no activity moves the absolute end.
func expiryEndsTouched(t *testing.T, s kiboauth.Store) {
	key, r := newKey(), newRecord(newCustomer(), shortLife)
	r.Idle = longLife.Milliseconds()
	createShort(t, s, key, r)
	at := r.Ends + longLife.Milliseconds()
	if err := s.Touch(t.Context(), key, at); err != nil && !overslept(err, r) {
		t.Fatalf("Touch = %v, want no error", err)
	}
	wantExpiry(t, s, key, r.Touched(at))
}

func expiryShortened(t *testing.T, s kiboauth.Store) {
	key, r := session(t, s)
	next := nextOf(r)
	next.Ends = now() + shortLife.Milliseconds()
	if err := s.Replace(t.Context(), key, 1, next); err != nil && !overslept(err, next) {
		t.Fatalf("Replace = %v, want no error", err)
	}
	wantExpiry(t, s, key, next)
}
