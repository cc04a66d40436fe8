package kiboauth

import (
	"context"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"github.com/throttled/throttled/v2"
	"go.uber.org/zap"
)

// shelfOf says on which shelf of this process a counter is.
type shelfOf int

const (
	accounts shelfOf = iota
	clients
	devices // of accounts, for browsers that have signed in to them before
	totals
	captchas // answers that have been looked at, and sign-ins for which one was good
	codes    // that have opened a session
	shelves
)

// counts are the counters of this process, and what goes with them. They
// outlive a reload.
type counts struct {
	shelves [shelves]*shelf
	seed    maphash.Seed
	locks   [256]sync.Mutex
	slow    slowLane
	crowd   crowd
}

func newCounts() *counts {
	c := &counts{seed: maphash.MakeSeed()}
	for i := range c.shelves {
		c.shelves[i] = newShelf(shelfSize)
	}
	return c
}

// lock is held while a key is counted: two of this process that count the same
// at once would only make each other try again.
func (c *counts) lock(key string) (unlock func()) {
	mu := &c.locks[maphash.String(c.seed, key)%uint64(len(c.locks))]
	mu.Lock()
	return mu.Unlock
}

// A counter holds one rate, for many keys: by the generic cell rate algorithm,
// which needs one number a key and no sweeping.
type counter struct {
	name   string // part of its keys
	rate   rate
	here   *counts
	common *commonCounts                 // nil: nobody else counts with us
	shared *throttled.GCRARateLimiterCtx // at the common store
	local  [shelves]*throttled.GCRARateLimiterCtx
	parts  int // into which local divides the rate
}

// counter makes one. The duration is part of its name, and the number is not:
// a reload that changes only the number keeps what was counted.
func (m maker) counter(name string, r rate) (*counter, error) {
	c := &counter{name: name + " " + r.per.String(), rate: r, here: m.here, common: m.common, parts: m.parts}
	var err error
	for i, store := range m.here.shelves {
		if c.local[i], err = r.part(m.parts).limiter(store); err != nil {
			return nil, err
		}
	}
	if m.common != nil {
		c.shared, err = r.limiter(m.common)
	}
	return c, err
}

// part is what one of so many gateways holds by itself.
func (r rate) part(of int) rate { return rate{max(1, r.count/of), r.per} }

func (r rate) limiter(store throttled.GCRAStoreCtx) (*throttled.GCRARateLimiterCtx, error) {
	return throttled.NewGCRARateLimiterCtx(store, throttled.RateQuota{MaxRate: throttled.PerDuration(r.count, r.per), MaxBurst: r.count - 1})
}

// take counts one. If that is one too many it counts nothing, and returns how
// long to wait. undo takes it back where it was counted.
func (c *counter) take(ctx context.Context, on shelfOf, key string) (wait time.Duration, undo func(context.Context)) {
	defer c.here.lock(key)()
	limiter := c.local[on]
	if c.common.answers() {
		wait, err := count(ctx, c.shared, key, 1)
		if err == nil {
			return wait, c.undo(c.shared, key)
		}
	}
	wait, err := count(ctx, limiter, key, 1)
	if err != nil { // cannot be, under the lock
		wait = time.Second
	}
	return wait, c.undo(limiter, key)
}

// full tells whether one more would be too many, without counting it.
func (c *counter) full(ctx context.Context, on shelfOf, key string) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commonTimeout)
	defer cancel()
	r := c.rate.part(c.parts)
	arrival, now, err := c.here.shelves[on].GetWithTime(ctx, key)
	if c.common.answers() {
		if theirs, at, failed := c.common.GetWithTime(ctx, key); failed == nil {
			r, arrival, now, err = c.rate, theirs, at, nil
		}
	}
	// One more is free until the theoretical arrival of the next lies so far
	// ahead that all of the burst is used up.
	return err == nil && time.Unix(0, arrival).Sub(now) > r.per/time.Duration(r.count)*time.Duration(r.count-1)
}

func (c *counter) undo(limiter *throttled.GCRARateLimiterCtx, key string) func(context.Context) {
	return func(ctx context.Context) {
		defer c.here.lock(key)()
		if limiter == c.shared && !c.common.answers() {
			return // it passes with time
		}
		_, _ = count(ctx, limiter, key, -1)
	}
}

// commonTimeout bounds the wait for counters elsewhere, and commonRest is how
// long they are left alone when they do not answer.
const (
	commonTimeout = 500 * time.Millisecond
	commonRest    = 5 * time.Second
)

// count goes on when the client is gone: leaving must not pass for an outage.
func count(ctx context.Context, limiter *throttled.GCRARateLimiterCtx, key string, n int) (wait time.Duration, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commonTimeout)
	defer cancel()
	limited, said, err := limiter.RateLimitCtx(ctx, key, n)
	if limited {
		wait = max(said.RetryAfter, time.Millisecond)
	}
	return wait, err
}

// commonCounts are the counters of a store that several gateways share. When
// they do not answer, this process counts by itself for a while.
type commonCounts struct {
	Counters
	rest atomic.Int64 // until when they are left alone, in Unix nanoseconds
	down atomic.Bool  // for the log
}

func (c *commonCounts) answers() bool { return c != nil && time.Now().UnixNano() >= c.rest.Load() }

func (c *commonCounts) note(err error) {
	switch {
	case err != nil:
		c.rest.Store(time.Now().Add(commonRest).UnixNano())
		if c.down.CompareAndSwap(false, true) {
			logOfTheDay().Warn("the store does not count; each gateway holds its part of the limits by itself", zap.Error(err))
		}
	case c.down.CompareAndSwap(true, false):
		logOfTheDay().Info("the store counts again")
	}
}

// GetWithTime implements Counters.
func (c *commonCounts) GetWithTime(ctx context.Context, key string) (int64, time.Time, error) {
	value, now, err := c.Counters.GetWithTime(ctx, key)
	c.note(err)
	return value, now, err
}

// SetIfNotExistsWithTTL implements Counters.
func (c *commonCounts) SetIfNotExistsWithTTL(ctx context.Context, key string, value int64, ttl time.Duration) (bool, error) {
	set, err := c.Counters.SetIfNotExistsWithTTL(ctx, key, value, ttl)
	c.note(err)
	return set, err
}

// CompareAndSwapWithTTL implements Counters.
func (c *commonCounts) CompareAndSwapWithTTL(ctx context.Context, key string, old, next int64, ttl time.Duration) (bool, error) {
	swapped, err := c.Counters.CompareAndSwapWithTTL(ctx, key, old, next, ttl)
	c.note(err)
	return swapped, err
}
