package storetest

import (
	"context"
	"errors"
	"runtime"
	"testing"

	kiboauth "github.com/kiboauth/caddy-kibo-auth"
)

// lockerContract is what a store keeps besides if it is a kiboauth.Locker.
var lockerContract = []struct {
	name string
	test func(t *testing.T, l kiboauth.Locker)
}{
	{"one at a time", lockerExcludes},
	{"one lock for each key", lockerKeys},
	{"waiting ends with the context", lockerWaits},
	{"free after unlock", lockerFrees},
	{"unlock twice", lockerUnlockTwice},
}

// lock takes a lock that nobody holds for long.
func lock(t *testing.T, l kiboauth.Locker, key kiboauth.Key) (unlock func()) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	unlock, err := l.Lock(ctx, key)
	if err != nil {
		t.Fatalf("Lock = %v, want the lock", err)
	}
	return unlock
}

// wantLocked checks that somebody holds a lock: waiting for it is in vain.
func wantLocked(t *testing.T, l kiboauth.Locker, key kiboauth.Key) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), shortLife)
	defer cancel()
	err := soon(t, "Lock whose context has ended", func() error {
		unlock, err := l.Lock(ctx, key)
		if err == nil {
			unlock()
		}
		return err
	})
	if err == nil {
		t.Errorf("Lock that somebody holds = no error, want one when the context ends")
	}
	wantUnanswered(t, "Lock whose context has ended", err)
}

func lockerExcludes(t *testing.T, l kiboauth.Locker) {
	const goroutines = 20
	key, holder := newKey(), make(chan struct{}, 1)
	err := soon(t, "Lock by many", func() error {
		return errors.Join(race(goroutines, func(int) error { return holdOften(t.Context(), l, key, holder) })...)
	})
	wantError(t, "Lock by many", err, nil)
}

// holdOften takes a lock some times over, and holder as long as it has it.
func holdOften(ctx context.Context, l kiboauth.Locker, key kiboauth.Key, holder chan struct{}) error {
	for range 3 {
		unlock, err := l.Lock(ctx, key)
		if err != nil {
			return err
		}
		select {
		case holder <- struct{}{}:
		default:
			return errors.New("two hold the lock at once")
		}
		for range 10 { // so that others come meanwhile
			runtime.Gosched()
		}
		<-holder
		unlock()
	}
	return nil
}

func lockerKeys(t *testing.T, l kiboauth.Locker) {
	one, other := newKey(), newKey()
	defer lock(t, l, one)()
	lock(t, l, other)()
}

// lockerWaits also checks that who gave up does not get the lock later on.
func lockerWaits(t *testing.T, l kiboauth.Locker) {
	key := newKey()
	unlock := lock(t, l, key)
	wantLocked(t, l, key)
	unlock()
	for range 3 {
		lock(t, l, key)()
	}
}

func lockerFrees(t *testing.T, l kiboauth.Locker) {
	key := newKey()
	for range 3 {
		lock(t, l, key)()
	}
	unlock := lock(t, l, key)
	waiting := make(chan error, 1)
	go func() {
		next, err := l.Lock(t.Context(), key)
		if err == nil {
			next()
		}
		waiting <- err
	}()
	unlock()
	err := soon(t, "Lock of one who waits", func() error { return <-waiting })
	wantError(t, "Lock of one who waits", err, nil)
}

// lockerUnlockTwice: the second unlock must not free the lock of another.
func lockerUnlockTwice(t *testing.T, l kiboauth.Locker) {
	key := newKey()
	first := lock(t, l, key)
	first()
	second := lock(t, l, key)
	first()
	wantLocked(t, l, key)
	second()
	lock(t, l, key)()
}
