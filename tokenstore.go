package kiboauth

import (
	"context"
	"errors"
	"hash/maphash"
	"iter"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/patrickmn/go-cache"
)

// defaultMaxSessions bounds the memory store: at under 3 kB a session, a
// million take less than 3 GB.
const defaultMaxSessions = 1_000_000

// shardCount keeps locks apart: a sweep holds one shard's lock at a time.
const shardCount = 256

// sweepEvery is how long one round over all shards takes.
const sweepEvery = time.Minute

// MemoryStore keeps sessions in the memory of this process. They outlive a
// reload of the configuration, but not the process. All sites of a process
// share one memory store; sessions of different Kibo sites stay apart.
type MemoryStore struct {
	// MaxSessions is the most sessions that this process keeps. When they are
	// reached, nobody can sign in (503) until some have ended: a live session
	// is never thrown out. If several sites set it, the highest counts.
	// Default: 1000000.
	MaxSessions int `json:"max_sessions,omitempty"`

	*memory
}

// CaddyModule implements caddy.Module.
func (*MemoryStore) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.kibo_auth.stores.memory",
		New: func() caddy.Module { return new(MemoryStore) },
	}
}

// UnmarshalCaddyfile reads
//
//	store memory {
//		max_sessions <n>
//	}
func (m *MemoryStore) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // "memory"
	return onlyBlock(d, options{
		"max_sessions": func(d *caddyfile.Dispenser) error { return intArg(d, &m.MaxSessions) },
	})
}

// Provision joins the store that this process already has, or makes it.
func (m *MemoryStore) Provision(caddy.Context) error {
	if m.MaxSessions < 0 {
		return errors.New("max_sessions is negative; give the number of sessions to keep")
	}
	if m.MaxSessions == 0 {
		m.MaxSessions = defaultMaxSessions
	}
	shared, _, err := pool.LoadOrNew(memoryKey{}, func() (caddy.Destructor, error) { return newMemory(), nil })
	if err != nil {
		return err
	}
	m.memory = shared.(*memory)
	m.memory.limitTo(m, m.MaxSessions)
	return nil
}

// Cleanup leaves the shared store; the last one out ends it.
func (m *MemoryStore) Cleanup() error {
	if m.memory == nil {
		return nil
	}
	m.memory.limitTo(m, 0)
	_, err := pool.Delete(memoryKey{})
	return err
}

// memoryKey is the memory store's name in the usage pool.
type memoryKey struct{}

// memory is many small go-caches. One alone would hold a single lock for a
// whole sweep (98 ms at a million sessions), has no bound, and knows nothing
// of versions; so its janitor stays off, and each shard adds what is missing.
type memory struct {
	shards [shardCount]shard
	index  [shardCount]customerIndex
	seed   maphash.Seed
	count  atomic.Int64
	limit  atomic.Int64
	stop   chan struct{}

	mu     sync.Mutex
	limits map[*MemoryStore]int
}

// shard guards its writers with a lock of its own, so that reading, comparing
// and writing are one step. Readers take only the cache's read lock.
type shard struct {
	mu    sync.Mutex
	cache *cache.Cache
}

// customerIndex maps customers, by a hash of their names, to the keys of their
// sessions. Two customers may share a hash; who reads the list looks again.
type customerIndex struct {
	mu   sync.Mutex
	keys map[uint64]sessionKeys
}

// sessionKeys are the keys of one customer's sessions. Most have one, which so
// needs no list of its own.
type sessionKeys struct {
	first string
	more  []string
}

func (k sessionKeys) with(key string) sessionKeys {
	if k.first == "" {
		return sessionKeys{first: key}
	}
	return sessionKeys{k.first, append(k.more, key)}
}

func (k sessionKeys) without(key string) sessionKeys {
	if k.first != key {
		return sessionKeys{k.first, slices.DeleteFunc(k.more, func(other string) bool { return other == key })}
	}
	if len(k.more) == 0 {
		return sessionKeys{}
	}
	return sessionKeys{k.more[0], k.more[1:]}
}

func (k sessionKeys) all() []string {
	if k.first == "" {
		return nil
	}
	return append([]string{k.first}, k.more...)
}

func newMemory() *memory {
	m := &memory{seed: maphash.MakeSeed(), stop: make(chan struct{}), limits: map[*MemoryStore]int{}}
	for i := range m.shards {
		m.shards[i].cache = cache.New(cache.NoExpiration, 0)
		m.shards[i].cache.OnEvicted(m.forget)
		m.index[i].keys = map[uint64]sessionKeys{}
	}
	go m.sweep()
	return m
}

// Destruct implements caddy.Destructor.
func (m *memory) Destruct() error {
	close(m.stop)
	return nil
}

// limitTo notes what one site asks for; 0 takes its wish back.
func (m *memory) limitTo(who *MemoryStore, n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.limits[who] = n
	if n == 0 {
		delete(m.limits, who)
	}
	most := 0
	for _, n := range m.limits {
		most = max(most, n)
	}
	m.limit.Store(int64(most))
}

// sweep frees ended sessions, one shard after the other.
func (m *memory) sweep() {
	tick := time.NewTicker(sweepEvery / shardCount)
	defer tick.Stop()
	for i := 0; ; i = (i + 1) % shardCount {
		select {
		case <-m.stop:
			return
		case <-tick.C:
			s := &m.shards[i]
			s.mu.Lock()
			s.cache.DeleteExpired()
			s.mu.Unlock()
		}
	}
}

// forget follows a session out of the cache, whatever took it out.
func (m *memory) forget(key string, value any) {
	m.count.Add(-1)
	ix, name := m.indexOf(value.(*Record).Customer)
	ix.mu.Lock()
	defer ix.mu.Unlock()
	if keys := ix.keys[name].without(key); keys.first != "" {
		ix.keys[name] = keys
	} else {
		delete(ix.keys, name)
	}
}

func (m *memory) indexOf(customer string) (*customerIndex, uint64) {
	name := maphash.String(m.seed, customer)
	return &m.index[name%shardCount], name
}

func (m *memory) shardOf(key *Key) *shard { return &m.shards[key[0]] }

// keepsOpen says that records need no seal: they do not leave this process.
func (*memory) keepsOpen() {}

// Load implements Store. It takes no lock but the read lock of one shard.
func (m *memory) Load(_ context.Context, key Key) (*Record, error) {
	v, ok := m.shardOf(&key).cache.Get(string(key[:]))
	if !ok {
		return nil, ErrNoSession
	}
	return v.(*Record), nil
}

// Create implements Store.
func (m *memory) Create(_ context.Context, key Key, r *Record) error {
	ttl := r.left()
	if ttl <= 0 {
		return ErrNoSession
	}
	if m.count.Add(1) > m.limit.Load() {
		m.count.Add(-1)
		return ErrStoreFull
	}
	sh, name := m.shardOf(&key), string(key[:])
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if _, taken := sh.cache.Get(name); taken {
		m.count.Add(-1)
		return ErrConflict
	}
	sh.cache.Delete(name) // one that has ended, but was not swept yet
	sh.cache.Set(name, r, ttl)
	ix, customer := m.indexOf(r.Customer)
	ix.mu.Lock()
	defer ix.mu.Unlock()
	ix.keys[customer] = ix.keys[customer].with(name)
	return nil
}

// left is how long a record lasts if it is not used.
func (r *Record) left() time.Duration { return time.Until(time.UnixMilli(r.Expires())) }

// Replace implements Store.
func (m *memory) Replace(_ context.Context, key Key, version uint64, next *Record) error {
	return m.update(key, func(old *Record) (*Record, error) {
		if old.Version != version {
			return nil, ErrConflict
		}
		if old.Seen > next.Seen {
			return next.Touched(old.Seen), nil
		}
		return next, nil
	})
}

// Touch implements Store.
func (m *memory) Touch(_ context.Context, key Key, at int64) error {
	return m.update(key, func(old *Record) (*Record, error) { return old.Touched(at), nil })
}

// update replaces a record that is there.
func (m *memory) update(key Key, change func(*Record) (*Record, error)) error {
	sh, name := m.shardOf(&key), string(key[:])
	sh.mu.Lock()
	defer sh.mu.Unlock()
	v, ok := sh.cache.Get(name)
	if !ok {
		return ErrNoSession
	}
	next, err := change(v.(*Record))
	if err != nil {
		return err
	}
	ttl := next.left()
	if ttl <= 0 {
		sh.cache.Delete(name)
		return ErrNoSession
	}
	sh.cache.Set(name, next, ttl)
	return nil
}

// Delete implements Store.
func (m *memory) Delete(_ context.Context, key Key) error {
	sh := m.shardOf(&key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.cache.Delete(string(key[:]))
	return nil
}

// List implements Store. A list of all copies one shard after the other.
func (m *memory) List(_ context.Context, customer string) iter.Seq2[Listed, error] {
	return func(yield func(Listed, error) bool) {
		if customer != "" {
			m.listed(m.keysOf(customer), customer, yield)
			return
		}
		for i := range m.shards {
			if !m.listed(slices.Collect(maps.Keys(m.shards[i].cache.Items())), "", yield) {
				return
			}
		}
	}
}

func (m *memory) keysOf(customer string) []string {
	ix, name := m.indexOf(customer)
	ix.mu.Lock()
	defer ix.mu.Unlock()
	return ix.keys[name].all()
}

// listed yields what is under keys, as far as it is the customer's.
func (m *memory) listed(keys []string, customer string, yield func(Listed, error) bool) bool {
	for _, key := range keys {
		v, ok := m.shards[key[0]].cache.Get(key)
		if !ok || (customer != "" && v.(*Record).Customer != customer) {
			continue
		}
		if !yield(Listed{Key([]byte(key)), v.(*Record)}, nil) {
			return false
		}
	}
	return true
}

// Size implements Sizer.
func (m *memory) Size(context.Context) (string, int64, error) { return "memory", m.count.Load(), nil }

// Interface guards
var (
	_ Store                 = (*MemoryStore)(nil)
	_ Sizer                 = (*MemoryStore)(nil)
	_ caddy.Provisioner     = (*MemoryStore)(nil)
	_ caddy.CleanerUpper    = (*MemoryStore)(nil)
	_ caddyfile.Unmarshaler = (*MemoryStore)(nil)
	_ caddy.Destructor      = (*memory)(nil)
)
