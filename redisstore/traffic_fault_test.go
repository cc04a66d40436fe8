package redisstore_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	kiboauth "github.com/kiboauth/caddy-kibo-auth"
	"github.com/kiboauth/caddy-kibo-auth/internal/redistest"
	"github.com/kiboauth/caddy-kibo-auth/redisstore"
)

// loadBound is how long a store may answer with a session that has ended,
// without the gateway's own memory: the store keeps answers for a millisecond.
const loadBound = slack

// replicationLag is how much Redis may lose at a failover: what the master had
// acknowledged and the replica not received.
const replicationLag = time.Second

// traffic is what sessions go through while something breaks: each is made at
// one store, read at both, replaced, ended. Whoever drives a session is the
// only one to do so, and so knows what the right answers are.
type traffic struct {
	t    testing.TB
	a, b *redisstore.Store
	// failed is when the master was killed, in Unix milliseconds; 0: none was,
	// and Redis loses nothing.
	failed atomic.Int64

	sessions, answers, errors, lost atomic.Int64
	stop                            chan struct{}
	running                         sync.WaitGroup
	halt                            func() // ends the traffic and says what there was
}

// startTraffic drives some sessions at a time until halt, which the end of the
// test calls at the latest.
func startTraffic(t testing.TB, a, b *redisstore.Store) *traffic {
	tr := &traffic{t: t, a: a, b: b, stop: make(chan struct{})}
	for i := range 8 {
		tr.running.Go(func() {
			for tr.goesOn() {
				tr.drive(fmt.Sprint("customer-", i))
			}
		})
	}
	tr.halt = sync.OnceFunc(tr.end)
	t.Cleanup(tr.halt)
	return tr
}

func (tr *traffic) goesOn() bool {
	select {
	case <-tr.stop:
		return false
	default:
		return true
	}
}

func (tr *traffic) end() {
	close(tr.stop)
	tr.running.Wait()
	tr.t.Logf("%d sessions, %d answers, %d errors, %d losses by Redis itself",
		tr.sessions.Load(), tr.answers.Load(), tr.errors.Load(), tr.lost.Load())
}

// awaitAnswers waits for so many more answers.
func (tr *traffic) awaitAnswers(n int64) {
	tr.t.Helper()
	goal := tr.answers.Load() + n
	redistest.Await(tr.t, patience, "traffic to flow", func() bool { return tr.answers.Load() >= goal })
}

// drive takes one session through its life. It stops when an answer shows that
// Redis has lost a write.
func (tr *traffic) drive(customer string) {
	tr.sessions.Add(1)
	key, r := newKey(), newRecord(customer)
	written, ok := tr.create(key, r)
	for range 3 {
		if !ok || !tr.reads(tr.a, key, r, written) || !tr.reads(tr.b, key, r, written) {
			return
		}
		n := next(r)
		written, ok = tr.replace(key, r.Version, n, written)
		r = n
	}
	if !ok || !tr.reads(tr.b, key, r, written) {
		return
	}
	tr.signOut(key)
}

// call repeats a call until it is answered, and returns when that was and the
// answer: nil, ErrNoSession or ErrConflict. repeated: an earlier one failed,
// and may have been carried out all the same.
func (tr *traffic) call(do func(context.Context) error) (at time.Time, answer error, repeated bool) {
	for ; ; repeated = true {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		err := do(ctx)
		cancel()
		for _, answer := range []error{nil, kiboauth.ErrNoSession, kiboauth.ErrConflict} {
			if errors.Is(err, answer) {
				tr.answers.Add(1)
				return time.Now(), answer, repeated
			}
		}
		tr.errors.Add(1)
		if !tr.goesOn() { // nobody waits for an answer any more
			runtime.Goexit()
		}
		<-time.After(10 * time.Millisecond)
	}
}

// wrong judges an answer that contradicts a write: it may be that Redis has
// lost the write.
func (tr *traffic) wrong(written time.Time, format string, args ...any) {
	before := time.Duration(tr.failed.Load()-written.UnixMilli()) * time.Millisecond
	if tr.failed.Load() > 0 && before > -slack && before < replicationLag {
		tr.lost.Add(1)
		return
	}
	tr.t.Errorf(format, args...)
}

func (tr *traffic) create(key kiboauth.Key, r *kiboauth.Record) (time.Time, bool) {
	at, err, repeated := tr.call(func(ctx context.Context) error { return tr.a.Create(ctx, key, r) })
	if err != nil && !(repeated && errors.Is(err, kiboauth.ErrConflict)) {
		tr.t.Errorf("Create under a new key: %v", err)
	}
	return at, true
}

// reads says whether a store returns the record that was written last.
func (tr *traffic) reads(s *redisstore.Store, key kiboauth.Key, want *kiboauth.Record, written time.Time) bool {
	var got *kiboauth.Record
	_, err, _ := tr.call(func(ctx context.Context) (err error) {
		got, err = s.Load(ctx, key)
		return err
	})
	switch {
	case err != nil:
		tr.wrong(written, "Load of a live session, version %d: %v", want.Version, err)
	case got.Version < want.Version:
		if time.Since(written) < loadBound { // another store, the same millisecond
			return tr.readsLater(s, key, want, written)
		}
		tr.wrong(written, "Load: version %d after version %d was written", got.Version, want.Version)
	case !same(got, want):
		tr.t.Errorf("Load: version %d with another content than was written", got.Version)
	default:
		return true
	}
	return false
}

// readsLater reads again when the store must no longer know the old version.
func (tr *traffic) readsLater(s *redisstore.Store, key kiboauth.Key, want *kiboauth.Record, written time.Time) bool {
	<-time.After(time.Until(written.Add(loadBound)))
	return tr.reads(s, key, want, written)
}

func (tr *traffic) replace(key kiboauth.Key, version uint64, n *kiboauth.Record, written time.Time) (time.Time, bool) {
	at, err, repeated := tr.call(func(ctx context.Context) error { return tr.a.Replace(ctx, key, version, n) })
	switch {
	case err == nil, repeated && errors.Is(err, kiboauth.ErrConflict): // it was carried out before
		return at, true
	default:
		tr.wrong(written, "Replace of version %d by its only writer: %v", version, err)
		return at, false
	}
}

// signOut ends the session and checks that neither store knows it after the bound.
func (tr *traffic) signOut(key kiboauth.Key) {
	ended, err, _ := tr.call(func(ctx context.Context) error { return tr.a.Delete(ctx, key) })
	if err != nil {
		tr.t.Errorf("Delete: %v", err)
	}
	<-time.After(loadBound)
	for _, s := range []*redisstore.Store{tr.a, tr.b} {
		_, err, _ := tr.call(func(ctx context.Context) error {
			_, err := s.Load(ctx, key)
			return err
		})
		if err == nil {
			tr.wrong(ended, "a session is loaded %s after its end", time.Since(ended))
		}
	}
}
