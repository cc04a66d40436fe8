package storetest_test

import (
	"context"
	"fmt"
	"iter"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	kiboauth "github.com/kiboauth/caddy-kibo-auth"
)

func init() { caddy.RegisterModule(new(MapStore)) }

// MapStore is the simplest store: a map and a lock. It frees a session that
// has ended only when somebody asks for it, and loses all in a reload.
type MapStore struct {
	mu      sync.Mutex
	records map[kiboauth.Key]*kiboauth.Record
}

// CaddyModule implements caddy.Module.
func (*MapStore) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.kibo_auth.stores.map",
		New: func() caddy.Module { return new(MapStore) },
	}
}

// UnmarshalCaddyfile reads
//
//	store map
func (m *MapStore) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // "map"
	if d.NextArg() || d.NextBlock(0) {
		return d.ArgErr()
	}
	return nil
}

// Provision makes the map.
func (m *MapStore) Provision(caddy.Context) error {
	m.records = map[kiboauth.Key]*kiboauth.Record{}
	return nil
}

// live returns the record under key. The caller holds the lock.
func (m *MapStore) live(key kiboauth.Key) (*kiboauth.Record, error) {
	r := m.records[key]
	if r == nil || ended(r) {
		delete(m.records, key)
		return nil, kiboauth.ErrNoSession
	}
	return r, nil
}

func ended(r *kiboauth.Record) bool { return r.Expires() <= time.Now().UnixMilli() }

// Load implements kiboauth.Store.
func (m *MapStore) Load(_ context.Context, key kiboauth.Key) (*kiboauth.Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.live(key)
}

// Create implements kiboauth.Store.
func (m *MapStore) Create(_ context.Context, key kiboauth.Key, r *kiboauth.Record) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, err := m.live(key); err == nil {
		return kiboauth.ErrConflict
	}
	if ended(r) {
		return kiboauth.ErrNoSession
	}
	m.records[key] = r
	return nil
}

// Replace implements kiboauth.Store.
func (m *MapStore) Replace(_ context.Context, key kiboauth.Key, version uint64, next *kiboauth.Record) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	old, err := m.live(key)
	if err != nil {
		return err
	}
	if old.Version != version {
		return kiboauth.ErrConflict
	}
	m.records[key] = next.Touched(old.Seen)
	_, err = m.live(key) // the next one may have expired
	return err
}

// Touch implements kiboauth.Store.
func (m *MapStore) Touch(_ context.Context, key kiboauth.Key, at int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, err := m.live(key)
	if err == nil {
		m.records[key] = r.Touched(at)
	}
	return err
}

// Delete implements kiboauth.Store.
func (m *MapStore) Delete(_ context.Context, key kiboauth.Key) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.records, key)
	return nil
}

// List implements kiboauth.Store. It holds no lock while the caller works.
func (m *MapStore) List(_ context.Context, customer string) iter.Seq2[kiboauth.Listed, error] {
	return func(yield func(kiboauth.Listed, error) bool) {
		for _, l := range m.of(customer) {
			if !yield(l, nil) {
				return
			}
		}
	}
}

func (m *MapStore) of(customer string) (listed []kiboauth.Listed) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for key, r := range m.records {
		if !ended(r) && (customer == "" || r.Customer == customer) {
			listed = append(listed, kiboauth.Listed{Key: key, Record: r})
		}
	}
	return listed
}

// Interface guards
var (
	_ kiboauth.Store        = (*MapStore)(nil)
	_ caddy.Provisioner     = (*MapStore)(nil)
	_ caddyfile.Unmarshaler = (*MapStore)(nil)
)

// A whole store, and what becomes of a session in it.
func Example() {
	store, ctx := new(MapStore), context.Background()
	_ = store.Provision(caddy.Context{})
	key, at := kiboauth.Key{1}, time.Now().UnixMilli()

	_ = store.Create(ctx, key, &kiboauth.Record{
		Version: 1, Customer: "1001", Created: at, Seen: at, Ends: at + 3_600_000, Sealed: []byte("first ticket"),
	})
	old, _ := store.Load(ctx, key)
	next := *old
	next.Version, next.Sealed = 2, []byte("second ticket")
	fmt.Println(store.Replace(ctx, key, 1, &next))
	fmt.Println(store.Replace(ctx, key, 1, &next))
	for listed, err := range store.List(ctx, "1001") {
		fmt.Printf("%d %s %v\n", listed.Record.Version, listed.Record.Sealed, err)
	}
	_ = store.Delete(ctx, key)
	fmt.Println(store.Touch(ctx, key, at))
	// Output:
	// <nil>
	// session was replaced meanwhile
	// 2 second ticket <nil>
	// no session
}
