package storetest_test

import (
	"bytes"
	"context"
	"errors"

	kiboauth "github.com/kiboauth/caddy-kibo-auth"
)

// brokenStore is a fault, and the tests of Run that must find it.
type brokenStore struct {
	twist  func(s *sharedStore, w *twisted)
	caught []string
}

// brokenStores break one promise each.
var brokenStores = map[string]brokenStore{
	"nothing": {func(*sharedStore, *twisted) {}, nil},

	"create overwrites": {
		func(s *sharedStore, w *twisted) {
			w.create = func(_ context.Context, key kiboauth.Key, r *kiboauth.Record) error {
				if r.Expires() <= r.Created {
					return kiboauth.ErrNoSession
				}
				s.put(key, r)
				return nil
			}
		},
		[]string{"create twice", "concurrent create"},
	},
	"create takes what has expired": {
		func(s *sharedStore, w *twisted) {
			w.create = func(ctx context.Context, key kiboauth.Key, r *kiboauth.Record) error {
				if err := s.Create(ctx, key, r); !errors.Is(err, kiboauth.ErrNoSession) {
					return err
				}
				return nil
			}
		},
		[]string{"create expired", "random calls"},
	},
	"keys cut short": {
		func(s *sharedStore, w *twisted) {
			w.load = func(ctx context.Context, key kiboauth.Key) (*kiboauth.Record, error) {
				for l := range s.List(ctx, "") {
					if bytes.Equal(l.Key[:31], key[:31]) {
						return l.Record, nil
					}
				}
				return nil, kiboauth.ErrNoSession
			}
		},
		[]string{"load unknown"},
	},
	"unknown is no record and no error": {
		func(s *sharedStore, w *twisted) {
			w.load = func(ctx context.Context, key kiboauth.Key) (*kiboauth.Record, error) {
				r, _ := s.Load(ctx, key)
				return r, nil
			}
		},
		[]string{"load unknown", "delete ends", "create expired"},
	},

	"sealed ends at NUL": {
		coded(asIs, func(r *kiboauth.Record) { r.Sealed, _, _ = bytes.Cut(r.Sealed, []byte{0}) }),
		[]string{"create sealed is kept byte for byte", "replace every field is kept"},
	},
	"sealed is text": {
		coded(asIs, func(r *kiboauth.Record) { r.Sealed = bytes.ToValidUTF8(r.Sealed, []byte("?")) }),
		[]string{"create sealed is kept byte for byte", "create every field is kept"},
	},
	"sealed is bounded": {
		coded(asIs, func(r *kiboauth.Record) { r.Sealed = r.Sealed[:min(len(r.Sealed), 65535)] }),
		[]string{"create sealed is kept byte for byte", "touch leaves the rest alone"},
	},
	"seconds": {
		coded(func(r *kiboauth.Record) { r.Ends = r.Ends / 1000 * 1000 }, asIs),
		[]string{"create every field is kept", "replace every field is kept"},
	},
	"customer is bounded": {
		coded(asIs, func(r *kiboauth.Record) { r.Customer = r.Customer[:min(len(r.Customer), 127)] }),
		[]string{"create every field is kept"},
	},

	"no idle expiry": {
		coded(func(r *kiboauth.Record) { r.Idle = -r.Idle }, func(r *kiboauth.Record) { r.Idle = -r.Idle }),
		[]string{"expiry idle", "create expired", "expiry prolonged by touch"},
	},
	"no absolute expiry": {
		coded(func(r *kiboauth.Record) { r.Ends += 1 << 40 }, func(r *kiboauth.Record) { r.Ends -= 1 << 40 }),
		[]string{"expiry ends", "expiry ends in spite of touch", "expiry shortened by replace", "create expired"},
	},
	"expiry is that of the creation": {
		func(s *sharedStore, w *twisted) {
			w.load = func(ctx context.Context, key kiboauth.Key) (*kiboauth.Record, error) {
				r, err := s.Load(ctx, key)
				if err == nil && ended(changed(r, func(r *kiboauth.Record) { r.Seen = r.Created })) {
					return nil, kiboauth.ErrNoSession
				}
				return r, err
			}
		},
		[]string{"expiry prolonged by touch"},
	},
	"sessions end too early": {
		func(s *sharedStore, w *twisted) {
			w.load = func(ctx context.Context, key kiboauth.Key) (*kiboauth.Record, error) {
				r, err := s.Load(ctx, key)
				if err == nil && ended(changed(r, func(r *kiboauth.Record) { r.Ends -= 1000; r.Idle -= 1000 })) {
					return nil, kiboauth.ErrNoSession
				}
				return r, err
			}
		},
		[]string{"expiry ends", "expiry ends in spite of touch", "expiry shortened by replace"},
	},

	"lost compare and set": {
		func(s *sharedStore, w *twisted) {
			w.replace = func(ctx context.Context, key kiboauth.Key, _ uint64, next *kiboauth.Record) error {
				old, err := s.Load(ctx, key)
				if err != nil {
					return err
				}
				return s.Replace(ctx, key, old.Version, next)
			}
		},
		[]string{"replace version", "replace expired but too late", "concurrent replace", "random calls"},
	},
	"compare and set in two steps": {
		func(s *sharedStore, w *twisted) {
			w.replace = func(ctx context.Context, key kiboauth.Key, version uint64, next *kiboauth.Record) error {
				old, err := s.Load(ctx, key)
				if err != nil {
					return err
				}
				if old.Version != version {
					return kiboauth.ErrConflict
				}
				meanwhile()
				s.put(key, next.Touched(old.Seen))
				return nil
			}
		},
		[]string{"concurrent replace", "concurrent replace and touch", "concurrent nothing survives delete"},
	},
	"replace brings back": {
		func(s *sharedStore, w *twisted) {
			w.replace = func(ctx context.Context, key kiboauth.Key, version uint64, next *kiboauth.Record) error {
				err := s.Replace(ctx, key, version, next)
				if errors.Is(err, kiboauth.ErrNoSession) {
					s.put(key, next)
				}
				return err
			}
		},
		[]string{"replace unknown or ended", "delete ends", "replace expired ends the session", "random calls"},
	},
	"replace forgets a later seen": {
		func(s *sharedStore, w *twisted) {
			w.replace = func(ctx context.Context, key kiboauth.Key, version uint64, next *kiboauth.Record) error {
				err := s.Replace(ctx, key, version, next)
				if err == nil {
					s.put(key, next)
				}
				return err
			}
		},
		[]string{"replace later seen counts", "replace touched meanwhile", "concurrent replace and touch", "random calls"},
	},
	"replace judges by its own seen": {
		func(s *sharedStore, w *twisted) {
			w.replace = func(ctx context.Context, key kiboauth.Key, version uint64, next *kiboauth.Record) error {
				old, err := s.Load(ctx, key)
				if err == nil && old.Version == version && ended(next) {
					return errors.Join(kiboauth.ErrNoSession, s.Delete(ctx, key))
				}
				return s.Replace(ctx, key, version, next)
			}
		},
		[]string{"replace touched meanwhile"},
	},
	"replace by what has expired changes nothing": {
		func(s *sharedStore, w *twisted) {
			w.replace = func(ctx context.Context, key kiboauth.Key, version uint64, next *kiboauth.Record) error {
				old, err := s.Load(ctx, key)
				if err == nil && old.Version == version && ended(next.Touched(old.Seen)) {
					return kiboauth.ErrNoSession
				}
				return s.Replace(ctx, key, version, next)
			}
		},
		[]string{"replace expired ends the session", "random calls"},
	},
	"replace too late ends the session": {
		func(s *sharedStore, w *twisted) {
			w.replace = func(ctx context.Context, key kiboauth.Key, version uint64, next *kiboauth.Record) error {
				if ended(next) {
					return errors.Join(kiboauth.ErrNoSession, s.Delete(ctx, key))
				}
				return s.Replace(ctx, key, version, next)
			}
		},
		[]string{"replace expired but too late", "random calls"},
	},
	"replace leaves the lifetime": {
		func(s *sharedStore, w *twisted) {
			w.replace = func(ctx context.Context, key kiboauth.Key, version uint64, next *kiboauth.Record) error {
				old, err := s.Load(ctx, key)
				if err != nil {
					return err
				}
				return s.Replace(ctx, key, version, changed(next, func(r *kiboauth.Record) { r.Ends, r.Idle = old.Ends, old.Idle }))
			}
		},
		[]string{"expiry shortened by replace", "expiry prolonged by replace", "replace every field is kept"},
	},

	"touch changes the version": {
		func(s *sharedStore, w *twisted) {
			w.touch = func(ctx context.Context, key kiboauth.Key, at int64) error {
				r, err := s.Load(ctx, key)
				if err != nil {
					return err
				}
				return s.Replace(ctx, key, r.Version, changed(r.Touched(at), func(r *kiboauth.Record) { r.Version++ }))
			}
		},
		[]string{"touch leaves the rest alone", "random calls"},
	},
	"touch goes back": {
		func(s *sharedStore, w *twisted) {
			w.touch = func(ctx context.Context, key kiboauth.Key, at int64) error {
				r, err := s.Load(ctx, key)
				if err == nil {
					s.put(key, changed(r, func(r *kiboauth.Record) { r.Seen = at }))
				}
				return err
			}
		},
		[]string{"touch moves seen forward only", "random calls"},
	},
	"touch in two steps": {
		func(s *sharedStore, w *twisted) {
			w.touch = func(ctx context.Context, key kiboauth.Key, at int64) error {
				r, err := s.Load(ctx, key)
				if err == nil {
					meanwhile()
					s.put(key, r.Touched(at))
				}
				return err
			}
		},
		[]string{"concurrent touch", "concurrent replace and touch", "concurrent nothing survives delete"},
	},
	"touch is forgotten": {
		func(_ *sharedStore, w *twisted) {
			w.touch = func(context.Context, kiboauth.Key, int64) error { return nil }
		},
		[]string{"touch moves seen forward only", "touch unknown or ended", "expiry prolonged by touch", "list fields"},
	},
	"touch moves the absolute end": {
		func(s *sharedStore, w *twisted) {
			w.touch = func(ctx context.Context, key kiboauth.Key, at int64) error {
				r, err := s.Load(ctx, key)
				if err == nil {
					s.put(key, changed(r.Touched(at), func(r *kiboauth.Record) { r.Ends += max(0, at-r.Ends) }))
				}
				return err
			}
		},
		[]string{"expiry ends in spite of touch"},
	},

	"delete is forgotten": {
		func(_ *sharedStore, w *twisted) {
			w.remove = func(context.Context, kiboauth.Key) error { return nil }
		},
		[]string{"delete ends", "replace unknown or ended", "touch unknown or ended", "list ended", "concurrent nothing survives delete", "random calls"},
	},
	"delete of nothing is an error": {
		func(s *sharedStore, w *twisted) {
			w.remove = func(ctx context.Context, key kiboauth.Key) error {
				if _, err := s.Load(ctx, key); err != nil {
					return err
				}
				return s.Delete(ctx, key)
			}
		},
		[]string{"delete ends", "random calls"},
	},

	"contexts end sessions": {
		func(s *sharedStore, w *twisted) {
			w.load = func(ctx context.Context, key kiboauth.Key) (*kiboauth.Record, error) {
				meanwhile()
				if ctx.Err() != nil {
					return nil, kiboauth.ErrNoSession
				}
				return s.Load(ctx, key)
			}
		},
		[]string{"context cancelled", "context cancelled meanwhile", "context deadline"},
	},
	"contexts mix answers up": {
		func(s *sharedStore, w *twisted) {
			w.load = func(ctx context.Context, key kiboauth.Key) (*kiboauth.Record, error) {
				meanwhile()
				for l := range s.List(ctx, "") {
					if ctx.Err() != nil && l.Key != key {
						return l.Record, nil
					}
				}
				return s.Load(ctx, key)
			}
		},
		[]string{"context cancelled meanwhile"},
	},
}
