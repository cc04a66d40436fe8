package storetest_test

import (
	"context"
	"errors"
	"iter"
	"sync"
	"sync/atomic"
	"time"

	kiboauth "github.com/kiboauth/caddy-kibo-auth"
)

var errDown = errors.New("map store is down")

// sharedStore is a MapStore that tells of changes, has locks, and can be cut
// off, as stores are that several processes share.
type sharedStore struct {
	*MapStore
	down     atomic.Bool
	mu       sync.Mutex
	watchers map[int]func(*kiboauth.Key)
	last     int
	locks    map[kiboauth.Key]chan struct{}
}

func newSharedStore() *sharedStore {
	return &sharedStore{
		MapStore: newMapStore(),
		watchers: map[int]func(*kiboauth.Key){},
		locks:    map[kiboauth.Key]chan struct{}{},
	}
}

func (s *sharedStore) cut() { s.down.Store(true) }

// mend tells of all changes that may have been missed.
func (s *sharedStore) mend() {
	s.down.Store(false)
	s.tell(nil)
}

func (s *sharedStore) tell(key *kiboauth.Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, changed := range s.watchers {
		changed(key)
	}
}

// Watch implements kiboauth.Cacher.
func (s *sharedStore) Watch(changed func(*kiboauth.Key)) (stop func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last++
	id := s.last
	s.watchers[id] = changed
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.watchers, id)
	}
}

// CacheFor implements kiboauth.Cacher.
func (s *sharedStore) CacheFor() (fresh, stale time.Duration) { return time.Second, time.Minute }

// Lock implements kiboauth.Locker.
func (s *sharedStore) Lock(ctx context.Context, key kiboauth.Key) (unlock func(), err error) {
	if s.down.Load() {
		return nil, errDown
	}
	free := s.lockOf(key)
	select {
	case free <- struct{}{}:
		return sync.OnceFunc(func() { <-free }), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (s *sharedStore) lockOf(key kiboauth.Key) chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.locks[key] == nil {
		s.locks[key] = make(chan struct{}, 1)
	}
	return s.locks[key]
}

func (s *sharedStore) Load(ctx context.Context, key kiboauth.Key) (*kiboauth.Record, error) {
	if s.down.Load() {
		return nil, errDown
	}
	return s.MapStore.Load(ctx, key)
}

func (s *sharedStore) Create(ctx context.Context, key kiboauth.Key, r *kiboauth.Record) error {
	return s.write(key, func() error { return s.MapStore.Create(ctx, key, r) })
}

func (s *sharedStore) Replace(ctx context.Context, key kiboauth.Key, version uint64, next *kiboauth.Record) error {
	return s.write(key, func() error { return s.MapStore.Replace(ctx, key, version, next) })
}

func (s *sharedStore) Touch(ctx context.Context, key kiboauth.Key, at int64) error {
	return s.write(key, func() error { return s.MapStore.Touch(ctx, key, at) })
}

func (s *sharedStore) Delete(ctx context.Context, key kiboauth.Key) error {
	return s.write(key, func() error { return s.MapStore.Delete(ctx, key) })
}

func (s *sharedStore) write(key kiboauth.Key, do func() error) error {
	if s.down.Load() {
		return errDown
	}
	err := do()
	s.tell(&key)
	return err
}

func (s *sharedStore) List(ctx context.Context, customer string) iter.Seq2[kiboauth.Listed, error] {
	if s.down.Load() {
		return func(yield func(kiboauth.Listed, error) bool) { yield(kiboauth.Listed{}, errDown) }
	}
	return s.MapStore.List(ctx, customer)
}
