package redisstore_test

import (
	"context"
	"errors"
	"testing"
	"time"

	kiboauth "github.com/kiboauth/caddy-kibo-auth"
	"github.com/kiboauth/caddy-kibo-auth/internal/redistest"
	"github.com/kiboauth/caddy-kibo-auth/redisstore"
)

// everyCall are a store's calls on a key, none of which Redis can answer.
func everyCall(s *redisstore.Store, key kiboauth.Key) map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"Load":    func(ctx context.Context) error { _, err := s.Load(ctx, key); return err },
		"Create":  func(ctx context.Context) error { return s.Create(ctx, newKey(), newRecord("customer")) },
		"Replace": func(ctx context.Context) error { return s.Replace(ctx, key, 1, next(newRecord("customer"))) },
		"Touch":   func(ctx context.Context) error { return s.Touch(ctx, key, time.Now().UnixMilli()) },
		"Delete":  func(ctx context.Context) error { return s.Delete(ctx, key) },
		"List": func(ctx context.Context) error {
			for _, err := range s.List(ctx, "customer") {
				return err
			}
			return nil
		},
		"Lock": func(ctx context.Context) error {
			unlock, err := s.Lock(ctx, key)
			if err == nil {
				unlock()
			}
			return err
		},
	}
}

// returnInTime has every call made at once, each with so much time, and checks
// that all come back with an error that is no answer. They may take longer
// than they have, by what a busy machine needs.
func returnInTime(t *testing.T, s *redisstore.Store, key kiboauth.Key, each time.Duration) {
	t.Helper()
	type result struct {
		call string
		err  error
		took time.Duration
	}
	results := make(chan result)
	calls := everyCall(s, key)
	for name, do := range calls {
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), each)
			defer cancel()
			begin := time.Now()
			err := do(ctx)
			results <- result{name, err, time.Since(begin)}
		}()
	}
	var longest time.Duration
	for range calls {
		r := <-results
		unanswered(t, r.call, r.err)
		longest = max(longest, r.took)
	}
	t.Logf("calls with %s returned within %s", each, longest.Round(time.Millisecond))
	if longest > each+3*time.Second {
		t.Errorf("a call with %s took %s", each, longest)
	}
}

// TestBlackHole: connections stay, bytes vanish. Calls return in time, the
// gateway forgets what it knows within the bound, and all is well afterwards.
func TestBlackHole(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, redistest.Options{})
	relay := redistest.StartRelay(t)
	near := openFault(t, server.URL(), "timeout 1s")
	far := openFault(t, "redis://"+relay.To(server.Addr()), "timeout 500ms")
	patient := openFault(t, "redis://"+relay.To(server.Addr()), "timeout 10s")
	g := newGateway(t, far)
	kept, ended := newKey(), newKey()
	r := mustCreate(t, near, kept)
	mustLoad(t, patient, kept, r)
	mustCreate(t, near, ended)
	g.admitted(t, kept)
	g.admitted(t, ended)
	before := g.toldAll()

	relay.Swallow()
	mustDelete(t, near, ended)
	g.awaitRefusal(t, ended, time.Now()) // nobody tells it: the setting cache ends it
	returnInTime(t, patient, kept, 100*time.Millisecond)
	returnInTime(t, far, kept, 10*time.Second) // the store's own timeout counts
	redistest.Await(t, patience, "gateway to be told that it may have missed changes", func() bool {
		return g.toldAll() > before
	})

	relay.Pass()
	awaitWorking(t, "the black hole", far)
	mustLoad(t, far, kept, r)
	mustBeGone(t, far, ended)
	awaitPushes(t, near, g)
}

// TestBlackHoleFromTheBeginning: the first connection finds nobody.
func TestBlackHoleFromTheBeginning(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, redistest.Options{})
	relay := redistest.StartRelay(t)
	relay.Swallow()
	s := openFault(t, "redis://"+relay.To(server.Addr()), "timeout 500ms")
	returnInTime(t, s, newKey(), 100*time.Millisecond)
	returnInTime(t, s, newKey(), 10*time.Second)
	relay.Pass()
	awaitWorking(t, "the black hole", s)
}

// TestConnectionReset: the sudden end of all connections is no answer.
func TestConnectionReset(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, redistest.Options{})
	relay := redistest.StartRelay(t)
	addr := "redis://" + relay.To(server.Addr())
	a, b := openTwo(t, addr)
	g := newGateway(t, b)
	tr := startTraffic(t, a, b)
	for range 5 {
		tr.awaitAnswers(50)
		before := g.toldAll()
		relay.Cut()
		redistest.Await(t, patience, "gateway to be told of the reset", func() bool { return g.toldAll() > before })
		relay.Pass()
	}
	tr.awaitAnswers(50)
	tr.halt()
	awaitWorking(t, "the resets", a, b)
	awaitPushes(t, a, g)
}

// TestSlowNetwork: answers that take long, but not too long, are answers.
func TestSlowNetwork(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, redistest.Options{})
	relay := redistest.StartRelay(t)
	s := openFault(t, "redis://"+relay.To(server.Addr()), "timeout 5s")
	key := newKey()
	r := mustCreate(t, s, key)
	relay.Delay(100 * time.Millisecond)
	mustLoad(t, s, key, r)
	mustDelete(t, s, key)
	mustBeGone(t, s, key)
}

// TestServerThatIsNotThere: a refused connection is no answer either.
func TestServerThatIsNotThere(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, redistest.Options{})
	server.Kill()
	s := openFault(t, server.URL(), "timeout 1s")
	returnInTime(t, s, newKey(), 2*time.Second)
	server.Restart()
	awaitWorking(t, "the start", s)
}

// TestCancelledCall: who no longer waits is not kept.
func TestCancelledCall(t *testing.T) {
	server := redistest.Start(t, redistest.Options{})
	s := openFault(t, server.URL())
	key := newKey()
	mustCreate(t, s, key)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for name, do := range everyCall(s, key) {
		if err := do(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("%s with an ended context: %v, want context.Canceled in it", name, err)
		}
	}
}
