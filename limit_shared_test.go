package kiboauth

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
)

// failingCounters are those of a store that can fail.
type failingCounters struct {
	*shelf
	fail  atomic.Bool
	hang  atomic.Bool
	calls atomic.Int64
}

func (f *failingCounters) GetWithTime(ctx context.Context, key string) (int64, time.Time, error) {
	f.calls.Add(1)
	if ctx.Err() != nil {
		return 0, time.Time{}, ctx.Err()
	}
	if f.hang.Load() {
		<-ctx.Done()
		return 0, time.Time{}, ctx.Err()
	}
	if f.fail.Load() {
		return 0, time.Time{}, errors.New("store on fire")
	}
	return f.shelf.GetWithTime(ctx, key)
}

// Two gateways at one store hold one limit together.
func TestGuessingAtTwoGateways(t *testing.T) {
	common := &failingCounters{shelf: newShelf(100)}
	a, b := testLimits(t, newCounts(), common), testLimits(t, newCounts(), common)
	v := from("192.0.2.1", "")
	if x, y := a.guesses(t, v, 3), b.guesses(t, v, 3); x != 3 || y != 2 {
		t.Errorf("%d and %d guesses, want 3 and 2", x, y)
	}
}

// slowCounters are some way off, so that others come in between.
type slowCounters struct{ *shelf }

func (s slowCounters) GetWithTime(ctx context.Context, key string) (int64, time.Time, error) {
	value, now, err := s.shelf.GetWithTime(ctx, key)
	for range 100 {
		runtime.Gosched()
	}
	return value, now, err
}

// Customers who sign in at once, and share the counter of the total, do not get
// in each other's way, which would look as if the store did not answer.
func TestManyAtOneCounter(t *testing.T) {
	l := testLimits(t, newCounts(), slowCounters{newShelf(10000)})
	var tries sync.WaitGroup
	for i := range 200 {
		tries.Go(func() {
			v := from(fmt.Sprint("192.0.2.", i), "")
			v.account = fmt.Sprint(i)
			if _, err := l.guess(t.Context(), v, zap.NewNop()); err != nil {
				t.Error(err)
			}
		})
	}
	tries.Wait()
	if n := l.here.shelves[totals].order.Len(); n != 0 {
		t.Errorf("%d counters of this process, want none", n)
	}
}

// Gateways of two Kibo sites at one store count apart.
func TestRealmsCountApart(t *testing.T) {
	common := newShelf(100)
	set := Limits{}
	set.setDefaults()
	for _, realm := range []string{testRealm, "another"} {
		l, err := newLimits(set, realm, newCounts(), common)
		if err != nil {
			t.Fatal(err)
		}
		if got := l.guesses(t, from("192.0.2.1", ""), 10); got != 5 {
			t.Errorf("%s: %d guesses, want 5", realm, got)
		}
	}
}

// Without the store sign-ins go on, and never without a limit: each gateway
// holds its part, waits for the store once, and asks it again after a while.
func TestStoreThatCannotCount(t *testing.T) {
	for _, tt := range []struct {
		name  string
		nodes int
		hang  bool
		want  int
	}{{"two by default", 0, false, 2}, {"five", 5, false, 1}, {"more than the limit", 50, false, 1}, {"alone", 1, false, 5}, {"silent", 0, true, 2}} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				common := &failingCounters{shelf: newShelf(100)}
				l := testLimits(t, newCounts(), common, func(set *Limits) { set.Nodes = tt.nodes })
				common.fail.Store(!tt.hang)
				common.hang.Store(tt.hang)
				start, v := time.Now(), from("192.0.2.1", "")
				if got := l.guesses(t, v, 20); got != tt.want || common.calls.Load() != 1 {
					t.Errorf("%d guesses, the store was asked %d times; want %d, 1", got, common.calls.Load(), tt.want)
				}
				if took := time.Since(start); tt.hang && took != commonTimeout || !tt.hang && took != 0 {
					t.Errorf("it took %s", took)
				}
				common.fail.Store(false)
				common.hang.Store(false)
				time.Sleep(commonRest)
				if got := l.guesses(t, v, 20); got != 5 {
					t.Errorf("with the store back: %d guesses, want 5", got)
				}
			})
		})
	}
}

// Who leaves must not make the gateway believe that the store is down.
func TestLeavingClientIsNoOutage(t *testing.T) {
	common := &failingCounters{shelf: newShelf(100)}
	l := testLimits(t, newCounts(), common)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := l.mail(ctx, from("192.0.2.1", ""), false); err != nil {
		t.Error(err)
	}
	if !l.pause.common.answers() || len(common.found) == 0 {
		t.Error("the store is taken for down")
	}
}
