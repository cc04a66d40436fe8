package filestore

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	kiboauth "github.com/kiboauth/caddy-kibo-auth"
)

func TestLoadReturnsWhatWasCreated(t *testing.T) {
	s := newStore(t)
	for _, r := range []*kiboauth.Record{
		record("realm-1"), {Version: 7, Ends: 1 << 50}, {
			Version: 1 << 63, Customer: strings.Repeat("~", 128), Created: -1, Seen: 3, Ends: 1 << 60, Idle: 1 << 59,
			Sealed: []byte(strings.Repeat("\x00\xff", 32<<10)),
		},
	} {
		got := mustLoad(t, s, mustCreate(t, s, r))
		if string(got.Sealed) != string(r.Sealed) {
			t.Errorf("Sealed has %d bytes, want %d", len(got.Sealed), len(r.Sealed))
		}
		got.Sealed = r.Sealed
		if !reflect.DeepEqual(got, r) {
			t.Errorf("Load = %+v, want %+v", got, r)
		}
	}
}

func TestUnknownKey(t *testing.T) {
	s := newStore(t)
	wantGone(t, s, newKey())
	if err := s.Delete(t.Context(), newKey()); err != nil {
		t.Errorf("Delete of nothing: %v", err)
	}
}

func TestCreateTwice(t *testing.T) {
	s := newStore(t)
	key := mustCreate(t, s, record("1"))
	if err := s.Create(t.Context(), key, record("2")); !errors.Is(err, kiboauth.ErrConflict) {
		t.Errorf("Create again: %v, want ErrConflict", err)
	}
	if r := mustLoad(t, s, key); r.Customer != "1" {
		t.Errorf("the session is of %q by now", r.Customer)
	}
}

func TestRecordTooLarge(t *testing.T) {
	s := newStore(t)
	key := mustCreate(t, s, record("1"))
	for _, r := range []*kiboauth.Record{
		{Version: 2, Ends: 1 << 50, Customer: strings.Repeat("x", 256)},
		{Version: 2, Ends: 1 << 50, Sealed: make([]byte, 64<<10+1)},
	} {
		if err := s.Create(t.Context(), newKey(), r); err == nil || !strings.Contains(err.Error(), "too large") {
			t.Errorf("Create: %v, want too large", err)
		}
		if err := s.Replace(t.Context(), key, 1, r); err == nil || !strings.Contains(err.Error(), "too large") {
			t.Errorf("Replace: %v, want too large", err)
		}
	}
	mustLoad(t, s, key)
}

func TestReplace(t *testing.T) {
	s := newStore(t)
	r := record("1")
	key := mustCreate(t, s, r)
	if err := s.Touch(t.Context(), key, r.Seen+5000); err != nil {
		t.Fatal(err)
	}
	next := *r
	next.Version, next.Sealed, next.Customer = 2, []byte("next"), "2"
	if err := s.Replace(t.Context(), key, 1, &next); err != nil {
		t.Fatal(err)
	}
	if got := mustLoad(t, s, key); got.Version != 2 || string(got.Sealed) != "next" || got.Seen != r.Seen+5000 {
		t.Errorf("Load = %+v, want the next record with the later Seen %d", got, r.Seen+5000)
	}
	if err := s.Replace(t.Context(), key, 1, &next); !errors.Is(err, kiboauth.ErrConflict) {
		t.Errorf("Replace of an old version: %v, want ErrConflict", err)
	}
	if n := len(list(t, s, "1")); n != 0 {
		t.Errorf("the former customer has %d sessions", n)
	}
	if n := len(list(t, s, "2")); n != 1 {
		t.Errorf("the customer has %d sessions, want 1", n)
	}
}

func TestReplaceByWhatHasEnded(t *testing.T) {
	s := newStore(t)
	key := mustCreate(t, s, record("1"))
	next := record("1")
	next.Ends = next.Created - 1
	if err := s.Replace(t.Context(), key, 1, next); !errors.Is(err, kiboauth.ErrNoSession) {
		t.Errorf("Replace: %v, want ErrNoSession", err)
	}
	wantGone(t, s, key)
	wantTables(t, s, 0)
}

// A refresh that returns after a logout must not bring the session back.
func TestReplaceAfterDelete(t *testing.T) {
	s := newStore(t)
	key := mustCreate(t, s, record("1"))
	if err := s.Delete(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	wantGone(t, s, key)
	wantTables(t, s, 0)
}

func TestOneReplaceWins(t *testing.T) {
	s := newStore(t)
	key := mustCreate(t, s, record("1"))
	errs := make([]error, 16)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() {
			next := record("1")
			next.Version = 2
			errs[i] = s.Replace(t.Context(), key, 1, next)
		})
	}
	wg.Wait()
	won := 0
	for _, err := range errs {
		switch {
		case err == nil:
			won++
		case !errors.Is(err, kiboauth.ErrConflict):
			t.Errorf("Replace: %v, want ErrConflict", err)
		}
	}
	if won != 1 {
		t.Errorf("%d of 16 replaced version 1, want 1", won)
	}
}

func TestSeenNeverGoesBack(t *testing.T) {
	s := newStore(t)
	r := record("1")
	key := mustCreate(t, s, r)
	for _, at := range []int64{r.Seen + 10, r.Seen + 5, 0} {
		if err := s.Touch(t.Context(), key, at); err != nil {
			t.Fatal(err)
		}
	}
	if got := mustLoad(t, s, key); got.Seen != r.Seen+10 || got.Version != 1 {
		t.Errorf("Seen = %d, Version = %d, want %d and 1", got.Seen, got.Version, r.Seen+10)
	}
}

func TestSize(t *testing.T) {
	s := newStore(t)
	for want := range int64(3) {
		if name, n, err := s.Size(t.Context()); name != s.Path || n != want || err != nil {
			t.Errorf("Size = %q, %d, %v, want %q and %d", name, n, err, s.Path, want)
		}
		mustCreate(t, s, record("1"))
	}
}

// A stranger who signs in all the time must not push customers out.
func TestFullStoreEvictsNobody(t *testing.T) {
	s := newStore(t)
	s.limitTo(s, 3)
	var keys []kiboauth.Key
	for i := range 3 {
		keys = append(keys, mustCreate(t, s, record(strconv.Itoa(i))))
	}
	for range 3 {
		if err := s.Create(t.Context(), newKey(), record("9")); !errors.Is(err, kiboauth.ErrStoreFull) {
			t.Errorf("Create in a full store: %v, want ErrStoreFull", err)
		}
	}
	for _, key := range keys {
		mustLoad(t, s, key)
	}
	if err := s.Delete(t.Context(), keys[0]); err != nil {
		t.Fatal(err)
	}
	mustCreate(t, s, record("9"))
}

func TestFullStoreMakesRoomOfWhatHasEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t)
		s.limitTo(s, 2)
		r := record("1")
		r.Ends = r.Created + 1000
		mustCreate(t, s, r)
		mustCreate(t, s, r)
		time.Sleep(time.Second) // the sweeper comes later
		mustCreate(t, s, record("2"))
		wantTables(t, s, 1)
	})
}

func TestEndsAtRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t)
		r := record("1")
		r.Ends = r.Created + 1000 // before the sweeper comes
		key := mustCreate(t, s, r)
		time.Sleep(999 * time.Millisecond)
		mustLoad(t, s, key)
		time.Sleep(time.Millisecond)
		wantGone(t, s, key)
		if err := s.Create(t.Context(), newKey(), r); !errors.Is(err, kiboauth.ErrNoSession) {
			t.Errorf("Create of what has ended: %v, want ErrNoSession", err)
		}
		if err := s.Create(t.Context(), key, record("2")); err != nil {
			t.Errorf("Create over what has ended: %v", err)
		}
		wantTables(t, s, 1)
	})
}

// Activity puts off the idle limit, and nothing the absolute one.
func TestIdleAndAbsoluteLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t)
		r := record("1")
		r.Idle = (10 * time.Minute).Milliseconds()
		active, idle := mustCreate(t, s, r), mustCreate(t, s, r)
		for range 6 {
			time.Sleep(9 * time.Minute)
			if err := s.Touch(t.Context(), active, time.Now().UnixMilli()); err != nil {
				t.Fatalf("Touch of an active session: %v", err)
			}
		}
		wantGone(t, s, idle)
		mustLoad(t, s, active)
		wantTables(t, s, 1) // the sweeper has moved one and taken the other out
		time.Sleep(7 * time.Minute)
		wantGone(t, s, active)
		wantTables(t, s, 0)
	})
}

func TestSweepTakesOutWhatHasEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t)
		var told []kiboauth.Key
		var mu sync.Mutex
		create(t, s, 3*sweepStep+7, 10)
		late := record("late")
		late.Ends += time.Hour.Milliseconds()
		key := mustCreate(t, s, late)
		defer s.Watch(func(k *kiboauth.Key) {
			mu.Lock()
			defer mu.Unlock()
			told = append(told, *k)
		})()
		time.Sleep(time.Hour + 2*sweepEvery)
		wantTables(t, s, 1)
		mustLoad(t, s, key)
		mu.Lock()
		defer mu.Unlock()
		if len(told) != 3*sweepStep+7 || slices.Contains(told, key) {
			t.Errorf("told of %d sessions, want %d, not the one that lives", len(told), 3*sweepStep+7)
		}
	})
}

// create makes n sessions of seven customers, with so many bytes sealed.
func create(t testing.TB, s *Store, n, sealed int) []kiboauth.Key {
	t.Helper()
	keys := make([]kiboauth.Key, n)
	var wg sync.WaitGroup
	for w := range 16 {
		wg.Go(func() {
			for i := w; i < n; i += 16 {
				r := record(strconv.Itoa(i % 7))
				keys[i], r.Sealed = newKey(), make([]byte, sealed)
				if err := s.Create(t.Context(), keys[i], r); err != nil {
					t.Errorf("Create: %v", err)
					return
				}
			}
		})
	}
	wg.Wait()
	return keys
}

func TestCallsEndWithTheirContext(t *testing.T) {
	s := newStore(t)
	key := mustCreate(t, s, record("1"))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	cancel()
	h, _ := s.handle(t.Context())
	block, blocked := make(chan struct{}), make(chan struct{})
	go func() {
		_ = h.update(&job{ctx: t.Context(), change: func(*tables) error { close(blocked); <-block; return nil }})
	}()
	<-blocked // the disk hangs
	for name, err := range map[string]error{
		"Create": s.Create(ctx, newKey(), record("1")), "Replace": s.Replace(ctx, key, 1, record("1")),
		"Touch": s.Touch(ctx, key, 1<<50), "Delete": s.Delete(ctx, key),
	} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v, want context.Canceled", name, err)
		}
	}
	close(block)
	mustLoad(t, s, key)
}

// What others keep in memory must go before an answer says that it is gone.
func TestWatchersHearBeforeTheAnswer(t *testing.T) {
	s := newStore(t)
	var mu sync.Mutex
	var told []kiboauth.Key
	stop := s.Watch(func(key *kiboauth.Key) {
		mu.Lock()
		defer mu.Unlock()
		told = append(told, *key)
	})
	key, r := newKey(), record("1")
	for i, step := range []func() error{
		func() error { return s.Create(t.Context(), key, r) },
		func() error { return s.Touch(t.Context(), key, r.Seen+1) },
		func() error { return s.Replace(t.Context(), key, 1, r) },
		func() error { return s.Delete(t.Context(), key) },
	} {
		told = nil
		if err := step(); err != nil {
			t.Fatal(err)
		}
		mu.Lock()
		if !slices.Contains(told, key) {
			t.Errorf("step %d: told of %d keys, not of this one", i, len(told))
		}
		mu.Unlock()
	}
	stop()
	told = nil
	mustCreate(t, s, r)
	if told != nil {
		t.Error("told after stop")
	}
	if fresh, stale := s.CacheFor(); fresh != time.Minute || stale != 0 {
		t.Errorf("CacheFor = %v, %v", fresh, stale)
	}
}

func TestManyWriters(t *testing.T) {
	s := newStore(t)
	var wg sync.WaitGroup
	for w := range 16 {
		wg.Go(func() {
			for i := range 30 {
				customer := strconv.Itoa(i % 5)
				key := mustCreate(t, s, record(customer))
				errs := []error{
					s.Touch(t.Context(), key, time.Now().UnixMilli()+int64(i)), s.Replace(t.Context(), key, 1, record(customer)),
				}
				if (i+w)%3 == 0 {
					errs = append(errs, s.Delete(t.Context(), key))
				}
				if err := errors.Join(errs...); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	wantTables(t, s, 320)
}

// wantTables checks that the tables agree with each other.
func wantTables(t testing.TB, s *Store, want int64) {
	t.Helper()
	var got string
	err := s.view(t.Context(), func(t *tables) error {
		got = fmt.Sprint(t.count(), t.sessions.Inspect().KeyN, t.customers.Inspect().KeyN, t.expiry.Inspect().KeyN)
		return nil
	})
	if all := fmt.Sprint(want, want, want, want); err != nil || got != all {
		t.Errorf("count, sessions, customers, expiries: %s, %v, want %s", got, err, all)
	}
}
