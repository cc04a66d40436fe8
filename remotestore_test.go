package kiboauth

import (
	"context"
	"errors"
	"iter"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// remoteStore stands for a store outside of the process, which two gateways
// may share. It counts loads, and can lose its connection.
type remoteStore struct {
	records      *memory
	loads        atomic.Int32
	down, panics atomic.Bool
	fresh, stale time.Duration

	mu       sync.Mutex
	watchers []func(*Key)
	locks    map[Key]chan struct{}
}

var errDown = errors.New("connection refused")

func newRemoteStore(t testing.TB) *remoteStore {
	return &remoteStore{records: testMemory(t, 1000), fresh: time.Minute, stale: time.Minute, locks: map[Key]chan struct{}{}}
}

func (s *remoteStore) up() error {
	if s.down.Load() {
		return errDown
	}
	return nil
}

// tell lets everybody know of a change.
func (s *remoteStore) tell(key *Key, err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, changed := range s.watchers {
		if err == nil {
			changed(key)
		}
	}
	return err
}

// cut loses the connection, and join has it again.
func (s *remoteStore) cut() { s.down.Store(true); _ = s.tell(nil, nil) }

func (s *remoteStore) join() { s.down.Store(false) }

func (s *remoteStore) Load(ctx context.Context, key Key) (*Record, error) {
	s.loads.Add(1)
	if s.panics.Load() {
		panic("a store's own fault")
	}
	if err := s.up(); err != nil {
		return nil, err
	}
	return s.records.Load(ctx, key)
}

func (s *remoteStore) Create(ctx context.Context, key Key, r *Record) error {
	if err := s.up(); err != nil {
		return err
	}
	return s.records.Create(ctx, key, r)
}

func (s *remoteStore) Replace(ctx context.Context, key Key, version uint64, next *Record) error {
	if err := s.up(); err != nil {
		return err
	}
	return s.tell(&key, s.records.Replace(ctx, key, version, next))
}

func (s *remoteStore) Touch(ctx context.Context, key Key, at int64) error {
	if err := s.up(); err != nil {
		return err
	}
	return s.tell(&key, s.records.Touch(ctx, key, at))
}

func (s *remoteStore) Delete(ctx context.Context, key Key) error {
	if err := s.up(); err != nil {
		return err
	}
	return s.tell(&key, s.records.Delete(ctx, key))
}

func (s *remoteStore) List(ctx context.Context, customer string) iter.Seq2[Listed, error] {
	return s.records.List(ctx, customer)
}

func (s *remoteStore) Watch(changed func(*Key)) (stop func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watchers = append(s.watchers, changed)
	return func() {}
}

func (s *remoteStore) CacheFor() (fresh, stale time.Duration) { return s.fresh, s.stale }

func (s *remoteStore) Lock(ctx context.Context, key Key) (unlock func(), err error) {
	s.mu.Lock()
	lock, ok := s.locks[key]
	if !ok {
		lock = make(chan struct{}, 1)
		s.locks[key] = lock
	}
	s.mu.Unlock()
	select {
	case lock <- struct{}{}:
		return sync.OnceFunc(func() { <-lock }), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// use puts a store in the place of the gateway's own.
func (g *gateway) use(s *remoteStore) *gateway {
	g.sessions = newSessions(s, g.keyring, g.realm)
	return g
}

// another is a second gateway over the same store and the same Kibo, as on
// another machine.
func (g *gateway) another(s *remoteStore, change ...func(*Handler)) *gateway {
	g.t.Helper()
	other := &gateway{t: g.t, sim: g.sim, kibo: g.kibo, codes: g.codes}
	other.Handler = other.provision(change...)
	other.shared = newShared() // another process shares no flights
	return other.use(s)
}

// record is what the store has for a cookie.
func (s *remoteStore) record(t *testing.T, g *gateway, cookie string) *Record {
	t.Helper()
	r, err := s.records.Load(t.Context(), g.id(cookie).Key())
	if err != nil {
		t.Fatalf("the store has no record: %v", err)
	}
	return r
}
