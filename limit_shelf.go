package kiboauth

import (
	linked "container/list"
	"context"
	"sync"
	"time"
)

// shelf keeps counters that a flood of others must not push out: so many at
// most, of which the one that was not used for the longest time goes first.
type shelf struct {
	size int

	mu    sync.Mutex
	order linked.List // of *tally, the latest first
	found map[string]*linked.Element
}

type tally struct {
	key   string
	value int64
}

// shelfSize is how many counters one shelf holds: some 10 MB when it is full.
const shelfSize = 1 << 16

func newShelf(size int) *shelf { return &shelf{size: size, found: map[string]*linked.Element{}} }

// use returns the tally of a key, nil if there is none.
func (s *shelf) use(key string) *tally {
	e, ok := s.found[key]
	if !ok {
		return nil
	}
	s.order.MoveToFront(e)
	return e.Value.(*tally)
}

// GetWithTime implements Counters.
func (s *shelf) GetWithTime(_ context.Context, key string) (int64, time.Time, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.use(key); t != nil {
		return t.value, time.Now(), nil
	}
	return -1, time.Now(), nil
}

// SetIfNotExistsWithTTL implements Counters. What has lapsed makes room in its turn.
func (s *shelf) SetIfNotExistsWithTTL(_ context.Context, key string, value int64, _ time.Duration) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.use(key) != nil {
		return false, nil
	}
	if len(s.found) >= s.size {
		last := s.order.Back()
		delete(s.found, s.order.Remove(last).(*tally).key)
	}
	s.found[key] = s.order.PushFront(&tally{key, value})
	return true, nil
}

// CompareAndSwapWithTTL implements Counters.
func (s *shelf) CompareAndSwapWithTTL(_ context.Context, key string, old, next int64, _ time.Duration) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.use(key)
	if t == nil || t.value != old {
		return false, nil
	}
	t.value = next
	return true, nil
}

// Interface guards
var (
	_ Counters = (*shelf)(nil)
	_ Counters = (*commonCounts)(nil)
)
