package redisstore

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/throttled/throttled/v2"

	kiboauth "github.com/kiboauth/caddy-kibo-auth"
	"github.com/kiboauth/caddy-kibo-auth/internal/redistest"
)

// limiter allows n an hour.
func limiter(t testing.TB, counters kiboauth.Counters, n int) *throttled.GCRARateLimiterCtx {
	t.Helper()
	quota := throttled.RateQuota{MaxRate: throttled.PerHour(n), MaxBurst: n - 1}
	l, err := throttled.NewGCRARateLimiterCtx(counters, quota)
	if err != nil {
		t.Fatal(err)
	}
	l.SetMaxCASAttemptsLimit(1000)
	return l
}

func guess(t testing.TB, l *throttled.GCRARateLimiterCtx, key string, wantLimited bool) {
	t.Helper()
	if limited, _, err := l.RateLimitCtx(t.Context(), key, 1); err != nil || limited != wantLimited {
		t.Errorf("%s: limited %v (%v), want %v", key, limited, err, wantLimited)
	}
}

// TestGuessingAtTwoGatewaysInParallel: the limit is one, however many count.
func TestGuessingAtTwoGatewaysInParallel(t *testing.T) {
	s, _ := start(t)
	var passed atomic.Int64
	var tries sync.WaitGroup
	for _, gateway := range []*Store{s, another(t, s)} {
		l := limiter(t, gateway, 5)
		for range 30 {
			tries.Go(func() {
				limited, _, err := l.RateLimitCtx(t.Context(), "victim", 1)
				if err != nil {
					t.Error(err)
				}
				if !limited {
					passed.Add(1)
				}
			})
		}
	}
	if tries.Wait(); passed.Load() != 5 {
		t.Errorf("%d of 60 tries passed, want 5", passed.Load())
	}
}

// TestGuessTakenBack: what is given back can be used again, by anybody, and
// what is given back twice does not make the limit wider.
func TestGuessTakenBack(t *testing.T) {
	s, _ := start(t)
	a, b := limiter(t, s, 2), limiter(t, another(t, s), 2)
	guess(t, a, "k", false)
	guess(t, b, "k", false)
	guess(t, a, "k", true)
	for range 5 {
		if _, _, err := b.RateLimitCtx(t.Context(), "k", -1); err != nil {
			t.Fatal(err)
		}
	}
	guess(t, a, "k", false)
	guess(t, b, "k", false)
	guess(t, b, "k", true)
	guess(t, a, "other", false)
}

// TestCountersAreAtomic: a value is set or swapped only in the place of what
// its writer has seen.
func TestCountersAreAtomic(t *testing.T) {
	s, server := start(t)
	ctx, now := t.Context(), time.Now().UnixNano()
	if v, _, err := s.GetWithTime(ctx, "k"); v != -1 || err != nil {
		t.Errorf("got %d, %v of nothing, want -1", v, err)
	}
	for i, step := range []struct {
		swap      bool
		old, next int64
		want      bool
		after     int64
	}{
		{true, 1, 2, false, -1},
		{false, 0, now, true, now},
		{false, 0, now + 1, false, now},
		{true, now + 1, now + 2, false, now},
		{true, now, now + 3, true, now + 3},
	} {
		var done bool
		var err error
		if step.swap {
			done, err = s.CompareAndSwapWithTTL(ctx, "k", step.old, step.next, time.Minute)
		} else {
			done, err = s.SetIfNotExistsWithTTL(ctx, "k", step.next, time.Minute)
		}
		v, _, getErr := s.GetWithTime(ctx, "k")
		if done != step.want || v != step.after || err != nil || getErr != nil {
			t.Errorf("step %d: %v, then %d (%v, %v); want %v, then %d", i, done, v, err, getErr, step.want, step.after)
		}
	}
	if ttl := strings.TrimSpace(server.CLI("PTTL", "kibo:{l:k}:g")); len(ttl) != 5 {
		t.Errorf("the counter lives %s ms, want about 60000", ttl)
	}
}

// TestCounterTime: the time is the server's, and a counter ends by itself.
func TestCounterTime(t *testing.T) {
	s, server := start(t)
	_, at, err := s.GetWithTime(t.Context(), "k")
	if d := time.Since(at); err != nil || d < -time.Second || d > 10*time.Second {
		t.Errorf("the server's time is %s ago (%v)", d, err)
	}
	if _, err := s.SetIfNotExistsWithTTL(t.Context(), "k", 1, -time.Hour); err != nil {
		t.Errorf("a counter that has passed already: %v", err)
	}
	deadline := time.Now().Add(10 * time.Second)
	for tick := time.Tick(5 * time.Millisecond); strings.TrimSpace(server.CLI("EXISTS", "kibo:{l:k}:g")) != "0"; <-tick {
		if time.Now().After(deadline) {
			t.Fatal("it is still there")
		}
	}
}

// TestForeignCounter: what somebody else keeps there is an error, which does
// not tell what it is.
func TestForeignCounter(t *testing.T) {
	s, server := start(t)
	server.CLI("SET", "kibo:{l:k}:g", "foreign-text")
	server.CLI("HSET", "kibo:{l:h}:g", "a", "foreign-text")
	for _, key := range []string{"k", "h"} {
		if _, _, err := s.GetWithTime(t.Context(), key); err == nil || strings.Contains(err.Error(), "foreign") {
			t.Errorf("%s: %v", key, err)
		}
	}
	server.Kill()
	if _, _, err := s.GetWithTime(t.Context(), "k"); err == nil {
		t.Error("a dead server has counted")
	}
}

// TestCountersInACluster: each counter is on one node.
func TestCountersInACluster(t *testing.T) {
	s := open(t, Store{URLs: redistest.StartCluster(t).Addrs()})
	for _, key := range []string{"a", "b", "c", "d"} {
		guess(t, limiter(t, s, 1), key, false)
		guess(t, limiter(t, s, 1), key, true)
	}
}
