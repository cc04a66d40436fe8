package filestore

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"time"

	"go.etcd.io/bbolt"

	kiboauth "github.com/kiboauth/caddy-kibo-auth"
)

// Load implements kiboauth.Store.
func (f *file) Load(ctx context.Context, key kiboauth.Key) (*kiboauth.Record, error) {
	var s *stored
	err := f.view(ctx, func(t *tables) (err error) {
		s, err = t.live(&key, now())
		return err
	})
	if err != nil {
		return nil, err
	}
	return &s.Record, nil
}

// Create implements kiboauth.Store.
func (f *file) Create(ctx context.Context, key kiboauth.Key, r *kiboauth.Record) error {
	if err := fits(r); err != nil {
		return f.wrap(err)
	}
	return f.do(&job{ctx: ctx, grows: true, change: func(t *tables) error {
		now := now()
		if r.Expires() <= now {
			return kiboauth.ErrNoSession
		}
		if _, err := t.live(&key, now); err == nil {
			return kiboauth.ErrConflict
		}
		t.remove(key) // it has expired, or is damaged
		if t.count() >= f.limit.Load() {
			t.sweep(now)
		}
		if t.count() >= f.limit.Load() {
			return kiboauth.ErrStoreFull
		}
		t.insert(key, r)
		return nil
	}})
}

// Replace implements kiboauth.Store.
func (f *file) Replace(ctx context.Context, key kiboauth.Key, version uint64, next *kiboauth.Record) error {
	if err := fits(next); err != nil {
		return f.wrap(err)
	}
	return f.update(ctx, func(t *tables) error {
		now := now()
		old, err := t.live(&key, now)
		if err != nil {
			return err
		}
		if old.Version != version {
			return kiboauth.ErrConflict
		}
		t.remove(key)
		touched := next.Touched(old.Seen)
		if touched.Expires() <= now {
			return kiboauth.ErrNoSession
		}
		t.insert(key, touched)
		return nil
	})
}

// Touch implements kiboauth.Store.
func (f *file) Touch(ctx context.Context, key kiboauth.Key, at int64) error {
	return f.update(ctx, func(t *tables) error {
		s, err := t.live(&key, now())
		if err != nil || s.Seen >= at {
			return err
		}
		s.Seen = at
		t.save(key, s)
		return nil
	})
}

// Delete implements kiboauth.Store.
func (f *file) Delete(ctx context.Context, key kiboauth.Key) error {
	return f.update(ctx, func(t *tables) error {
		t.remove(key)
		return nil
	})
}

// Size implements kiboauth.Sizer. The name is the path.
func (f *file) Size(ctx context.Context) (name string, sessions int64, err error) {
	err = f.view(ctx, func(t *tables) error {
		sessions = t.count()
		return nil
	})
	return f.path, sessions, err
}

// listStep is how many sessions of a list are read in one transaction: one that
// stays open would hold up the writer.
const listStep = 256

// List implements kiboauth.Store. The records lack Sealed.
func (f *file) List(ctx context.Context, customer string) iter.Seq2[kiboauth.Listed, error] {
	return func(yield func(kiboauth.Listed, error) bool) {
		for after := []byte(nil); ; {
			var step []kiboauth.Listed
			var last []byte
			err := f.view(ctx, func(t *tables) (err error) {
				step, last, err = t.list(customer, after)
				return err
			})
			if err != nil {
				yield(kiboauth.Listed{}, err)
				return
			}
			for _, l := range step {
				if !yield(l, nil) {
					return
				}
			}
			if after = last; last == nil {
				return
			}
		}
	}
}

// list reads one step of a list, from behind a name in its table on. last is
// the name to go on behind, nil at the end.
func (t *tables) list(customer string, after []byte) (step []kiboauth.Listed, last []byte, err error) {
	table, prefix := t.sessions, []byte(nil)
	if customer != "" {
		table, prefix = t.customers, append([]byte(customer), 0)
	}
	names, now := table.Cursor(), now()
	name := seek(names, prefix, after)
	for range listStep {
		if name == nil || !bytes.HasPrefix(name, prefix) {
			return step, nil, nil
		}
		last = bytes.Clone(name)
		var key kiboauth.Key
		copy(key[:], name[len(prefix):])
		switch s, err := t.live(&key, now); {
		case err == nil && (customer == "" || s.Customer == customer):
			s.Sealed = nil
			step = append(step, kiboauth.Listed{Key: key, Record: &s.Record})
		case !errors.Is(err, kiboauth.ErrNoSession) && err != nil:
			return nil, nil, err
		}
		name, _ = names.Next()
	}
	return step, last, nil
}

// seek goes to the first name with a prefix, or to the one behind after.
func seek(names *bbolt.Cursor, prefix, after []byte) []byte {
	if after == nil {
		name, _ := names.Seek(prefix)
		return name
	}
	name, _ := names.Seek(after)
	if bytes.Equal(name, after) {
		name, _ = names.Next()
	}
	return name
}

func now() int64 { return time.Now().UnixMilli() }

// view, update and do open the file if need be, and say which file an error is about.
func (f *file) view(ctx context.Context, do func(*tables) error) error {
	h, err := f.handle(ctx)
	if err == nil {
		err = h.view(ctx, do)
	}
	return f.wrap(err)
}

func (f *file) update(ctx context.Context, change func(*tables) error) error {
	return f.do(&job{ctx: ctx, change: change})
}

func (f *file) do(j *job) error {
	h, err := f.handle(j.ctx)
	if err == nil {
		err = h.update(j)
	}
	return f.wrap(err)
}
