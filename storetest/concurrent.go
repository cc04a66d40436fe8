package storetest

import (
	"errors"
	"sync"
	"testing"

	kiboauth "github.com/kiboauth/caddy-kibo-auth"
)

const (
	// racers is how many goroutines call at once.
	racers = 16
	// rounds is how often they do, so that they meet at some time.
	rounds = 30
)

// race has n goroutines call at once and returns what they got.
func race(n int, call func(i int) error) []error {
	errs := make([]error, n)
	start := make(chan struct{})
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			<-start
			errs[i] = call(i)
		})
	}
	close(start)
	all.Wait()
	return errs
}

// winner checks that one call won, and that all others lost by ErrConflict.
func winner(t *testing.T, call string, errs []error) int {
	t.Helper()
	won := -1
	for i, err := range errs {
		switch {
		case err == nil && won >= 0:
			t.Fatalf("%s: two calls at once have won", call)
		case err == nil:
			won = i
		case !errors.Is(err, kiboauth.ErrConflict):
			t.Fatalf("%s, too late = %v, want %v", call, err, kiboauth.ErrConflict)
		}
	}
	if won < 0 {
		t.Fatalf("%s: none of the calls has won", call)
	}
	return won
}

func concurrentCreate(t *testing.T, s kiboauth.Store) {
	for range rounds {
		key := newKey()
		removeAfter(t, s, key)
		records := make([]*kiboauth.Record, racers)
		for i := range records {
			records[i] = newRecord(newCustomer(), longLife)
		}
		errs := race(racers, func(i int) error { return s.Create(t.Context(), key, records[i]) })
		won := winner(t, "Create", errs)
		wantLoaded(t, s, key, records[won])
	}
}

func concurrentReplace(t *testing.T, s kiboauth.Store) {
	key, r := session(t, s)
	for range rounds {
		nexts := make([]*kiboauth.Record, racers)
		for i := range nexts {
			nexts[i] = nextOf(r)
		}
		errs := race(racers, func(i int) error { return s.Replace(t.Context(), key, r.Version, nexts[i]) })
		r = nexts[winner(t, "Replace", errs)]
		wantLoaded(t, s, key, r)
	}
}

// concurrentTouch: the latest of all moments remains.
func concurrentTouch(t *testing.T, s kiboauth.Store) {
	key, r := session(t, s)
	for range rounds {
		base := r.Seen
		for i, err := range race(racers, func(i int) error { return s.Touch(t.Context(), key, base+int64(i)) }) {
			if err != nil {
				t.Fatalf("Touch %d of %d at once = %v, want no error", i, racers, err)
			}
		}
		r = r.Touched(base + racers - 1)
		wantLoaded(t, s, key, r)
	}
}

// concurrentReplaceTouch: neither undoes what the other has done. Every other
// time the latest touch comes before Replace.
func concurrentReplaceTouch(t *testing.T, s kiboauth.Store) {
	key, r := session(t, s)
	for round := range rounds {
		next, at := nextOf(r), r.Seen+60_000
		var going sync.WaitGroup
		going.Add(racers - 1)
		errs := race(racers, func(i int) error {
			if i == 0 {
				if round%2 == 0 {
					going.Wait()
				}
				return s.Replace(t.Context(), key, r.Version, next)
			}
			first := s.Touch(t.Context(), key, at-int64(i)+1) // the latest is that of 1
			going.Done()
			return errors.Join(first, s.Touch(t.Context(), key, at-racers))
		})
		if err := errors.Join(errs...); err != nil {
			t.Fatalf("Replace and Touch at once = %v, want no error", err)
		}
		r = next.Touched(at)
		wantLoaded(t, s, key, r)
	}
}

// concurrentDelete: a sign-out ends the session although all the while a
// refresh writes it back and other requests note their activity.
func concurrentDelete(t *testing.T, s kiboauth.Store) {
	for range rounds {
		key, r := session(t, s)
		var going sync.WaitGroup
		going.Add(racers - 1)
		errs := race(racers, func(i int) error {
			if i == 0 {
				going.Wait() // all others have called once
				return s.Delete(t.Context(), key)
			}
			return untilEnded(going.Done, func(n int64) error {
				if i == 1 {
					r = nextOf(r)
					return s.Replace(t.Context(), key, r.Version-1, r)
				}
				return s.Touch(t.Context(), key, now()+n)
			})
		})
		if err := errors.Join(errs...); err != nil {
			t.Fatalf("Delete while others write = %v, want no error but ErrNoSession", err)
		}
		wantEnded(t, s, key)
		wantListed(t, s, r.Customer, nil)
	}
}

// untilEnded calls until there is no session any more; for a while only, since
// a broken store may go on for ever. It reports the first call.
func untilEnded(called func(), call func(n int64) error) error {
	for n := range int64(100) {
		err := call(n)
		if n == 0 {
			called()
		}
		if errors.Is(err, kiboauth.ErrNoSession) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}
