package storetest_test

import (
	"context"
	"iter"
	"runtime"
	"time"

	kiboauth "github.com/kiboauth/caddy-kibo-auth"
)

// twisted is a good store, some of whose methods have been exchanged.
type twisted struct {
	*sharedStore
	load     func(context.Context, kiboauth.Key) (*kiboauth.Record, error)
	create   func(context.Context, kiboauth.Key, *kiboauth.Record) error
	replace  func(context.Context, kiboauth.Key, uint64, *kiboauth.Record) error
	touch    func(context.Context, kiboauth.Key, int64) error
	remove   func(context.Context, kiboauth.Key) error
	list     func(context.Context, string) iter.Seq2[kiboauth.Listed, error]
	watch    func(func(*kiboauth.Key)) func()
	cacheFor func() (fresh, stale time.Duration)
	lock     func(context.Context, kiboauth.Key) (func(), error)
}

// twist returns the store for others to exchange methods of.
func twist(s *sharedStore, exchange func(s *sharedStore, w *twisted)) kiboauth.Store {
	w := &twisted{
		sharedStore: s, load: s.Load, create: s.Create, replace: s.Replace, touch: s.Touch, remove: s.Delete,
		list: s.List, watch: s.Watch, cacheFor: s.CacheFor, lock: s.Lock,
	}
	exchange(s, w)
	return w
}

func (w *twisted) Load(ctx context.Context, key kiboauth.Key) (*kiboauth.Record, error) {
	return w.load(ctx, key)
}

func (w *twisted) Create(ctx context.Context, key kiboauth.Key, r *kiboauth.Record) error {
	return w.create(ctx, key, r)
}

func (w *twisted) Replace(ctx context.Context, key kiboauth.Key, version uint64, next *kiboauth.Record) error {
	return w.replace(ctx, key, version, next)
}

func (w *twisted) Touch(ctx context.Context, key kiboauth.Key, at int64) error {
	return w.touch(ctx, key, at)
}

func (w *twisted) Delete(ctx context.Context, key kiboauth.Key) error { return w.remove(ctx, key) }

func (w *twisted) List(ctx context.Context, customer string) iter.Seq2[kiboauth.Listed, error] {
	return w.list(ctx, customer)
}

func (w *twisted) Watch(changed func(*kiboauth.Key)) func() { return w.watch(changed) }

func (w *twisted) CacheFor() (fresh, stale time.Duration) { return w.cacheFor() }

func (w *twisted) Lock(ctx context.Context, key kiboauth.Key) (func(), error) {
	return w.lock(ctx, key)
}

// put writes a record whatever there is.
func (s *sharedStore) put(key kiboauth.Key, r *kiboauth.Record) {
	s.MapStore.mu.Lock()
	defer s.MapStore.mu.Unlock()
	s.records[key] = r
}

// meanwhile lets others run between reading and writing.
func meanwhile() {
	for range 5 {
		runtime.Gosched()
	}
}

// coded keeps records in another form than they are given, which may lose
// something.
func coded(in, out func(*kiboauth.Record)) func(*sharedStore, *twisted) {
	return func(s *sharedStore, w *twisted) {
		w.create = func(ctx context.Context, key kiboauth.Key, r *kiboauth.Record) error {
			return s.Create(ctx, key, changed(r, in))
		}
		w.replace = func(ctx context.Context, key kiboauth.Key, version uint64, next *kiboauth.Record) error {
			return s.Replace(ctx, key, version, changed(next, in))
		}
		w.load = func(ctx context.Context, key kiboauth.Key) (*kiboauth.Record, error) {
			r, err := s.Load(ctx, key)
			if err != nil {
				return nil, err
			}
			return changed(r, out), nil
		}
		w.list = listing(s, func(_ string, l kiboauth.Listed) []kiboauth.Listed {
			return []kiboauth.Listed{{Key: l.Key, Record: changed(l.Record, out)}}
		})
	}
}

// asIs changes nothing.
func asIs(*kiboauth.Record) {}

func changed(r *kiboauth.Record, by func(*kiboauth.Record)) *kiboauth.Record {
	other := *r
	by(&other)
	return &other
}

// listing lists other entries in the place of each of a customer's.
func listing(s *sharedStore, instead func(customer string, l kiboauth.Listed) []kiboauth.Listed) func(context.Context, string) iter.Seq2[kiboauth.Listed, error] {
	return func(ctx context.Context, customer string) iter.Seq2[kiboauth.Listed, error] {
		return func(yield func(kiboauth.Listed, error) bool) {
			for l := range s.List(ctx, customer) {
				for _, other := range instead(customer, l) {
					if !yield(other, nil) {
						return
					}
				}
			}
		}
	}
}

// matching lists customers whose names match in some way, instead of being equal.
func matching(s *sharedStore, match func(customer, name string) bool) func(context.Context, string) iter.Seq2[kiboauth.Listed, error] {
	return func(ctx context.Context, customer string) iter.Seq2[kiboauth.Listed, error] {
		return func(yield func(kiboauth.Listed, error) bool) {
			for l := range s.List(ctx, "") {
				if (customer == "" || match(customer, l.Record.Customer)) && !yield(l, nil) {
					return
				}
			}
		}
	}
}
