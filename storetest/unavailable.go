package storetest

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	kiboauth "github.com/kiboauth/caddy-kibo-auth"
)

// lockPatience is how long a lock that could not be given back may stay taken.
const lockPatience = 30 * time.Second

// outage is a store that can be broken and mended.
type outage struct {
	kiboauth.Store
	cut, mend func()
}

var outageContract = []struct {
	name string
	test func(t *testing.T, s *outage)
}{
	{"no call gets an answer", cutUnanswered},
	{"contexts that have ended", cutEndedContext},
	{"errors hold no secrets", cutSecrets},
	{"sessions outlive it", cutOutlived},
	{"a write is whole or not at all", cutWhole},
	{"watchers are told again", cutWatch},
	{"locks", cutLock},
}

// RunUnavailable tests what a store does while it cannot answer, as when the
// network to its server is down, and after that. open returns a store that is
// ready for use, a function that breaks it and one that mends it, each of which
// is called once at most. cut returns when the store is broken; it may drop
// connections or swallow what is sent, but not lose what the store has.
func RunUnavailable(t *testing.T, open func(t *testing.T) (s kiboauth.Store, cut, mend func())) {
	for _, c := range outageContract {
		t.Run(c.name, func(t *testing.T) {
			s, cut, mend := open(t)
			o := &outage{Store: s, cut: cut, mend: sync.OnceFunc(mend)}
			defer o.mend()
			c.test(t, o)
		})
	}
}

// failing makes a call that has little time while the store is broken, and
// returns its error.
func failing(t *testing.T, c call) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), shortLife)
	defer cancel()
	err := soon(t, c.name+" while the store is broken", func() error { return c.do(ctx) })
	if err == nil {
		t.Errorf("%s while the store is broken = no error, want one", c.name)
	}
	wantUnanswered(t, c.name+" while the store is broken", err)
	return err
}

// wantMended waits until the store answers.
func wantMended(t *testing.T, s kiboauth.Store) {
	t.Helper()
	unknown := newKey()
	eventually(t, "the store answers", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := s.Load(ctx, unknown)
		return errors.Is(err, kiboauth.ErrNoSession)
	})
}

func cutUnanswered(t *testing.T, s *outage) {
	key, r := session(t, s)
	removeListed(t, s, r.Customer)
	s.cut()
	for _, c := range calls(s, key, r) {
		failing(t, c)
	}
	s.mend()
	wantMended(t, s)
}

func cutEndedContext(t *testing.T, s *outage) {
	key, r := session(t, s)
	removeListed(t, s, r.Customer)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s.cut()
	for _, c := range calls(s, key, r) {
		failing(t, call{c.name, func(context.Context) error { return c.do(ctx) }})
	}
	s.mend()
	wantMended(t, s)
}

// cutSecrets: errors go to logs, where neither keys nor records belong.
func cutSecrets(t *testing.T, s *outage) {
	key, r := session(t, s)
	removeListed(t, s, r.Customer)
	r = nextOf(r)
	r.Sealed = []byte("sealed-" + newCustomer())
	secrets := append(spellings(key[:]), spellings(r.Sealed)...)
	secrets = append(secrets, r.Customer)
	s.cut()
	all := append(calls(s, key, r), call{"Replace", func(ctx context.Context) error { return s.Replace(ctx, key, 1, r) }})
	for _, c := range all {
		text := strings.ToLower(fmt.Sprintf("%+v", failing(t, c)))
		for _, secret := range secrets {
			if strings.Contains(text, strings.ToLower(secret)) {
				t.Errorf("the error of %s holds a key or a part of a record", c.name)
			}
		}
	}
	s.mend()
	wantMended(t, s)
}

// spellings are how bytes usually get into a text; the first of them are
// enough to tell.
func spellings(b []byte) []string {
	b = b[:9] // base64 of 9 bytes needs no padding
	return []string{
		string(b),
		strings.Trim(fmt.Sprintf("%q", b), `"`),
		strings.Trim(fmt.Sprint(b), "[]"),
		hex.EncodeToString(b),
		base64.StdEncoding.EncodeToString(b),
		base64.URLEncoding.EncodeToString(b),
	}
}

// cutOutlived: what was there before is there after, and can be worked with.
func cutOutlived(t *testing.T, s *outage) {
	key, r := session(t, s)
	s.cut()
	failing(t, calls(s, newKey(), r)[0])
	s.mend()
	wantMended(t, s)
	wantLoaded(t, s, key, r)
	wantListed(t, s, r.Customer, map[kiboauth.Key]*kiboauth.Record{key: r})
	next := nextOf(r)
	wantError(t, "Replace, store mended", s.Replace(t.Context(), key, 1, next), nil)
	wantLoaded(t, s, key, next)
	wantError(t, "Delete, store mended", s.Delete(t.Context(), key), nil)
	wantEnded(t, s, key)
	session(t, s)
}

// cutWhole: who gets an error does not know whether the write was done. It may
// not be half done, such as a session that no list has.
func cutWhole(t *testing.T, s *outage) {
	key, r := session(t, s)
	removeListed(t, s, r.Customer)
	created := newRecord(newCustomer(), longLife)
	fresh := newKey()
	removeAfter(t, s, fresh)
	next := nextOf(r)
	s.cut()
	failing(t, call{"Replace", func(ctx context.Context) error { return s.Replace(ctx, key, 1, next) }})
	failing(t, call{"Create", func(ctx context.Context) error { return s.Create(ctx, fresh, created) }})
	s.mend()
	wantMended(t, s)
	got, err := s.Load(t.Context(), key)
	wantError(t, "Load, store mended", err, nil)
	if !sameRecord(got, r) && !sameRecord(got, next) {
		t.Errorf("Load, store mended = neither the record before a failed Replace nor the one after")
	}
	got, err = s.Load(t.Context(), fresh)
	switch {
	case errors.Is(err, kiboauth.ErrNoSession):
		wantListed(t, s, created.Customer, nil)
	case err != nil || !sameRecord(got, created):
		t.Errorf("Load, store mended = %v, want what a failed Create wrote, or ErrNoSession", err)
	default:
		wantListed(t, s, created.Customer, map[kiboauth.Key]*kiboauth.Record{fresh: created})
	}
}

func sameRecord(a, b *kiboauth.Record) bool {
	return difference(a, b) == "" && bytes.Equal(a.Sealed, b.Sealed)
}

// cutWatch: a watcher that an outage has cut off must not stay deaf.
func cutWatch(t *testing.T, s *outage) {
	c, ok := s.Store.(kiboauth.Cacher)
	if !ok {
		return
	}
	key, r := session(t, s)
	w := watch(t, c)
	s.cut()
	failing(t, calls(s, newKey(), r)[0])
	s.mend()
	wantMended(t, s)
	for range 3 {
		w.forget()
		r = nextOf(r)
		wantError(t, "Replace, store mended", s.Replace(t.Context(), key, r.Version-1, r), nil)
		w.wantTold(t, "Replace, store mended", key)
	}
}

// cutLock: no lock is granted, and one that was held can be had again.
func cutLock(t *testing.T, s *outage) {
	l, ok := s.Store.(kiboauth.Locker)
	if !ok {
		return
	}
	held := newKey()
	unlock := lock(t, l, held)
	s.cut()
	failing(t, call{"Lock", func(ctx context.Context) error {
		unlock, err := l.Lock(ctx, newKey())
		if err == nil {
			unlock()
		}
		return err
	}})
	wantError(t, "unlock", soon(t, "unlock while the store is broken", func() error {
		unlock()
		return nil
	}), nil)
	s.mend()
	wantMended(t, s)
	ctx, cancel := context.WithTimeout(t.Context(), lockPatience)
	defer cancel()
	again, err := l.Lock(ctx, held)
	if err != nil {
		t.Fatalf("Lock, store mended = %v, want the lock", err)
	}
	again()
}
