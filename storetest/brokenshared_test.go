package storetest_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	kiboauth "github.com/kiboauth/caddy-kibo-auth"
)

// brokenShared break one promise each of those that a Cacher or Locker gives.
var brokenShared = map[string]brokenStore{
	"nothing": {func(*sharedStore, *twisted) {}, nil},

	"negative times": {
		func(_ *sharedStore, w *twisted) {
			w.cacheFor = func() (fresh, stale time.Duration) { return time.Second, -1 }
		},
		[]string{"cacher times"},
	},
	"watchers are told nothing": {
		func(_ *sharedStore, w *twisted) {
			w.watch = func(func(*kiboauth.Key)) func() { return func() {} }
		},
		[]string{"cacher tells of changes", "cacher tells all watchers"},
	},
	"watchers are not told of touches": {
		func(s *sharedStore, w *twisted) { w.touch = s.MapStore.Touch },
		[]string{"cacher tells of changes"},
	},
	"watchers are told one key for all": {
		func(s *sharedStore, w *twisted) {
			w.watch = func(changed func(*kiboauth.Key)) func() {
				return s.Watch(func(*kiboauth.Key) { changed(new(kiboauth.Key)) })
			}
		},
		[]string{"cacher tells of changes", "cacher tells all watchers"},
	},
	"only the last watcher is told": {
		func(s *sharedStore, w *twisted) {
			w.watch = func(changed func(*kiboauth.Key)) func() {
				stop := s.Watch(changed)
				s.mu.Lock()
				defer s.mu.Unlock()
				delete(s.watchers, s.last-1)
				return stop
			}
		},
		[]string{"cacher tells all watchers"},
	},
	"watchers are told once stopped": {
		func(s *sharedStore, w *twisted) {
			w.watch = func(changed func(*kiboauth.Key)) func() {
				s.Watch(changed)
				return func() {}
			}
		},
		[]string{"cacher tells nothing once stopped"},
	},

	"no lock": {
		func(_ *sharedStore, w *twisted) {
			w.lock = func(context.Context, kiboauth.Key) (func(), error) { return func() {}, nil }
		},
		[]string{"locker one at a time", "locker waiting ends with the context"},
	},
	"one lock for all": {
		func(s *sharedStore, w *twisted) {
			w.lock = func(ctx context.Context, _ kiboauth.Key) (func(), error) { return s.Lock(ctx, kiboauth.Key{}) }
		},
		[]string{"locker one lock for each key"},
	},
	"waiting without end": {
		func(s *sharedStore, w *twisted) {
			w.lock = func(ctx context.Context, key kiboauth.Key) (func(), error) {
				return s.Lock(context.WithoutCancel(ctx), key)
			}
		},
		[]string{"locker waiting ends with the context"},
	},
	"unlock is forgotten": {
		func(s *sharedStore, w *twisted) {
			w.lock = func(ctx context.Context, key kiboauth.Key) (func(), error) {
				_, err := s.Lock(ctx, key)
				return func() {}, err
			}
		},
		[]string{"locker free after unlock", "locker one at a time"},
	},
	"unlock frees the lock of another": {
		func(s *sharedStore, w *twisted) {
			w.lock = func(ctx context.Context, key kiboauth.Key) (func(), error) {
				_, err := s.Lock(ctx, key)
				return func() {
					select {
					case <-s.lockOf(key):
					default:
					}
				}, err
			}
		},
		[]string{"locker unlock twice"},
	},
	"who gives up keeps the lock": {
		func(s *sharedStore, w *twisted) {
			w.lock = func(ctx context.Context, key kiboauth.Key) (func(), error) {
				granted := make(chan func(), 1)
				go func() {
					unlock, _ := s.Lock(context.Background(), key)
					granted <- unlock
				}()
				select {
				case unlock := <-granted:
					return unlock, nil
				case <-ctx.Done():
					return nil, ctx.Err()
				}
			}
		},
		[]string{"locker waiting ends with the context"},
	},
}

// brokenOutages break one promise each of those for when a store is broken.
var brokenOutages = map[string]brokenStore{
	"nothing": {func(*sharedStore, *twisted) {}, nil},

	"an outage ends sessions": {
		func(s *sharedStore, w *twisted) {
			w.load = func(ctx context.Context, key kiboauth.Key) (*kiboauth.Record, error) {
				r, err := s.Load(ctx, key)
				if errors.Is(err, errDown) {
					return nil, kiboauth.ErrNoSession
				}
				return r, err
			}
		},
		[]string{"no call gets an answer", "contexts that have ended"},
	},
	"an outage signs people out in words only": {
		func(s *sharedStore, w *twisted) {
			w.remove = func(ctx context.Context, key kiboauth.Key) error {
				_ = s.Delete(ctx, key)
				return nil
			}
		},
		[]string{"no call gets an answer"},
	},
	"an outage empties lists": {
		func(s *sharedStore, w *twisted) {
			w.list = listing(s, func(_ string, l kiboauth.Listed) []kiboauth.Listed {
				if l.Record == nil {
					return nil
				}
				return []kiboauth.Listed{l}
			})
		},
		[]string{"no call gets an answer"},
	},
	"an outage hangs": {
		func(s *sharedStore, w *twisted) {
			w.touch = func(ctx context.Context, key kiboauth.Key, at int64) error {
				for s.down.Load() {
					meanwhile()
				}
				return s.Touch(ctx, key, at)
			}
		},
		[]string{"no call gets an answer", "contexts that have ended"},
	},
	"errors name keys": {
		func(s *sharedStore, w *twisted) {
			w.load = func(ctx context.Context, key kiboauth.Key) (*kiboauth.Record, error) {
				r, err := s.Load(ctx, key)
				if err != nil {
					err = fmt.Errorf("GET session:%X: %w", key, err)
				}
				return r, err
			}
		},
		[]string{"errors hold no secrets"},
	},
	"errors name customers": {
		func(s *sharedStore, w *twisted) {
			w.create = func(ctx context.Context, key kiboauth.Key, r *kiboauth.Record) error {
				if err := s.Create(ctx, key, r); err != nil {
					return fmt.Errorf("SADD customer:%s: %w", r.Customer, err)
				}
				return nil
			}
		},
		[]string{"errors hold no secrets"},
	},
	"errors quote what is sealed": {
		func(s *sharedStore, w *twisted) {
			w.replace = func(ctx context.Context, key kiboauth.Key, version uint64, next *kiboauth.Record) error {
				if err := s.Replace(ctx, key, version, next); err != nil {
					return fmt.Errorf("SET %v: %w", next.Sealed, err)
				}
				return nil
			}
		},
		[]string{"errors hold no secrets"},
	},
	"an outage loses sessions": {
		func(s *sharedStore, w *twisted) {
			w.load = func(ctx context.Context, key kiboauth.Key) (*kiboauth.Record, error) {
				r, err := s.Load(ctx, key)
				if errors.Is(err, errDown) {
					s.MapStore.mu.Lock()
					defer s.MapStore.mu.Unlock()
					clear(s.records)
				}
				return r, err
			}
		},
		[]string{"sessions outlive it"},
	},
	"an outage lasts": {
		func(s *sharedStore, w *twisted) {
			lasts := false
			w.load = func(ctx context.Context, key kiboauth.Key) (*kiboauth.Record, error) {
				if lasts = lasts || s.down.Load(); lasts {
					return nil, errDown
				}
				return s.Load(ctx, key)
			}
		},
		[]string{"sessions outlive it", "no call gets an answer"},
	},
	"an outage halves a create": {
		func(s *sharedStore, w *twisted) {
			var half *kiboauth.Listed
			w.create = func(ctx context.Context, key kiboauth.Key, r *kiboauth.Record) error {
				err := s.Create(ctx, key, r)
				if errors.Is(err, errDown) {
					half = &kiboauth.Listed{Key: key, Record: r}
				}
				return err
			}
			w.load = func(ctx context.Context, key kiboauth.Key) (*kiboauth.Record, error) {
				if half != nil && half.Key == key && !s.down.Load() {
					return half.Record, nil
				}
				return s.Load(ctx, key)
			}
		},
		[]string{"a write is whole or not at all"},
	},
	"an outage halves a replace": {
		func(s *sharedStore, w *twisted) {
			w.replace = func(ctx context.Context, key kiboauth.Key, version uint64, next *kiboauth.Record) error {
				err := s.Replace(ctx, key, version, next)
				if old, _ := s.MapStore.Load(ctx, key); errors.Is(err, errDown) && old != nil {
					s.put(key, changed(old, func(r *kiboauth.Record) { r.Sealed = next.Sealed }))
				}
				return err
			}
		},
		[]string{"a write is whole or not at all"},
	},
	"an outage deafens": {
		func(s *sharedStore, w *twisted) {
			w.watch = func(changed func(*kiboauth.Key)) func() {
				var deaf sync.Once
				hear := true
				return s.Watch(func(key *kiboauth.Key) {
					if key == nil {
						deaf.Do(func() { hear = false })
					}
					if hear {
						changed(key)
					}
				})
			}
		},
		[]string{"watchers are told again"},
	},
	"an outage grants locks": {
		func(s *sharedStore, w *twisted) {
			w.lock = func(ctx context.Context, key kiboauth.Key) (func(), error) {
				unlock, err := s.Lock(ctx, key)
				if errors.Is(err, errDown) {
					return func() {}, nil
				}
				return unlock, err
			}
		},
		[]string{"locks"},
	},
}
