package storetest

import (
	"context"
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
	soon(t, "Lock whose context has ended", func() {
		unlock, err := l.Lock(ctx, key)
		if err == nil {
			unlock()
			t.Errorf("Lock that somebody holds = no error, want one when the context ends")
		}
		wantUnanswered(t, "Lock whose context has ended", err)
	})
}

func lockerExcludes(t *testing.T, l kiboauth.Locker) {
	const each, goroutines = 3, 20
	key, holder, held := newKey(), make(chan struct{}, 1), 0
	hold := func() {
		select {
		case holder <- struct{}{}:
			held++
			for range 10 { // so that others come meanwhile
				runtime.Gosched()
			}
			<-holder
		default:
			t.Errorf("two hold the lock at once")
		}
	}
	soon(t, "Lock by many", func() {
		race(goroutines, func(int) error { return holdOften(t, l, key, each, hold) })
	})
	if !t.Failed() && held != each*goroutines {
		t.Errorf("the lock was held %d times, want %d", held, each*goroutines)
	}
}

// holdOften takes a lock and gives it back, some times over.
func holdOften(t *testing.T, l kiboauth.Locker, key kiboauth.Key, times int, hold func()) error {
	for range times {
		unlock, err := l.Lock(t.Context(), key)
		if err != nil {
			t.Errorf("Lock = %v, want the lock", err)
			return err
		}
		hold()
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
	lock(t, l, key)()
}

func lockerFrees(t *testing.T, l kiboauth.Locker) {
	key := newKey()
	for range 3 {
		lock(t, l, key)()
	}
	unlock := lock(t, l, key)
	waiting := make(chan func(), 1)
	go func() {
		next, err := l.Lock(t.Context(), key)
		if err != nil {
			t.Errorf("Lock of one who waits = %v, want the lock", err)
			next = func() {}
		}
		waiting <- next
	}()
	unlock()
	soon(t, "Lock after unlock", func() { (<-waiting)() })
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
