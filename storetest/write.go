package storetest

import (
	"strings"
	"testing"

	kiboauth "github.com/kiboauth/caddy-kibo-auth"
)

// maxSealed is the size up to which a store takes what it cannot read.
const maxSealed = 64 << 10

func everyFieldIsKept(t *testing.T, s kiboauth.Store) {
	at := now()
	for name, r := range map[string]*kiboauth.Record{
		"usual":   {Version: 1, Customer: newCustomer(), Created: at - 5, Seen: at - 3, Ends: at + 86_400_001, Idle: 3_600_001},
		"no idle": {Version: 1, Customer: newCustomer(), Created: at, Seen: at, Ends: at + 30*86_400_000},
		"high":    {Version: 1 << 40, Customer: newCustomer(), Created: at, Seen: at, Ends: at + 1<<41, Idle: 1 << 41},
		"long":    {Version: 1, Customer: (newCustomer() + strings.Repeat("x", 128))[:128], Created: at, Seen: at, Ends: at + 60_000},
	} {
		t.Run(name, func(t *testing.T) {
			r.Sealed = randomBytes(600)
			key := newKey()
			create(t, s, key, r)
			wantLoaded(t, s, key, r)
		})
	}
}

func sealedIsKept(t *testing.T, s kiboauth.Store) {
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	for name, sealed := range map[string][]byte{
		"empty":       {},
		"one NUL":     {0},
		"NULs around": append([]byte{0, 0}, "a\x00b\r\n\x00"...),
		"every byte":  every,
		"64 KiB":      randomBytes(maxSealed),
	} {
		t.Run(name, func(t *testing.T) {
			key, r := newKey(), newRecord(newCustomer(), longLife)
			r.Sealed = sealed
			create(t, s, key, r)
			wantLoaded(t, s, key, r)
		})
	}
}

func createTwice(t *testing.T, s kiboauth.Store) {
	key, r := session(t, s)
	other := newRecord(newCustomer(), longLife)
	wantError(t, "Create of a key that is taken", s.Create(t.Context(), key, other), kiboauth.ErrConflict)
	wantLoaded(t, s, key, r)
	wantListed(t, s, other.Customer, nil)
}

func createExpired(t *testing.T, s kiboauth.Store) {
	ended := newRecord(newCustomer(), -1)
	ended.Ends = now() - 1
	idle := newRecord(newCustomer(), longLife)
	idle.Seen, idle.Idle = now()-60_000, 59_000
	for name, r := range map[string]*kiboauth.Record{"ended": ended, "idle": idle} {
		t.Run(name, func(t *testing.T) {
			key := newKey()
			removeAfter(t, s, key)
			wantError(t, "Create", s.Create(t.Context(), key, r), kiboauth.ErrNoSession)
			wantEnded(t, s, key)
			wantListed(t, s, r.Customer, nil)
		})
	}
}

func loadUnknown(t *testing.T, s kiboauth.Store) {
	key, _ := session(t, s)
	key[len(key)-1]++
	_, err := s.Load(t.Context(), key)
	wantError(t, "Load of an unknown key", err, kiboauth.ErrNoSession)
}

func replaceVersion(t *testing.T, s kiboauth.Store) {
	key, first := session(t, s)
	second, third := nextOf(first), nextOf(nextOf(first))
	wantError(t, "Replace", s.Replace(t.Context(), key, 1, second), nil)
	wantLoaded(t, s, key, second)
	for _, version := range []uint64{0, 1, 3} {
		wantError(t, "Replace of another version", s.Replace(t.Context(), key, version, third), kiboauth.ErrConflict)
		wantLoaded(t, s, key, second)
	}
	wantError(t, "Replace", s.Replace(t.Context(), key, 2, third), nil)
	wantLoaded(t, s, key, third)
}

func replaceKeepsFields(t *testing.T, s kiboauth.Store) {
	key, r := session(t, s)
	for _, sealed := range [][]byte{randomBytes(maxSealed), {}, {0, 'a', 0}} {
		next := nextOf(r)
		next.Seen, next.Ends, next.Idle = r.Seen+1, r.Ends+17, r.Idle+60_001
		next.Sealed = sealed
		wantError(t, "Replace", s.Replace(t.Context(), key, r.Version, next), nil)
		wantLoaded(t, s, key, next)
		r = next
	}
	wantListed(t, s, r.Customer, map[kiboauth.Key]*kiboauth.Record{key: r})
}

func replaceEnded(t *testing.T, s kiboauth.Store) {
	wantEnded(t, s, newKey())
	key, r := session(t, s)
	wantError(t, "Delete", s.Delete(t.Context(), key), nil)
	wantError(t, "Replace after Delete", s.Replace(t.Context(), key, r.Version, nextOf(r)), kiboauth.ErrNoSession)
	wantEnded(t, s, key)
	wantListed(t, s, r.Customer, nil)
}

func replaceLaterSeen(t *testing.T, s kiboauth.Store) {
	key, r := session(t, s)
	older := nextOf(r)
	older.Seen -= 60_000
	wantError(t, "Replace", s.Replace(t.Context(), key, 1, older), nil)
	r = older.Touched(r.Seen)
	wantLoaded(t, s, key, r)
	newer := nextOf(r)
	newer.Seen += 60_000
	wantError(t, "Replace", s.Replace(t.Context(), key, 2, newer), nil)
	wantLoaded(t, s, key, newer)
}

// replaceTouchedMeanwhile: a refresh began with an old record, and while it
// went on the customer came back. By what the refresh knows the session is
// idle by now; by what the store knows it is not.
func replaceTouchedMeanwhile(t *testing.T, s kiboauth.Store) {
	key, r := newKey(), newRecord(newCustomer(), longLife)
	r.Idle = 60_000
	create(t, s, key, r)
	next := nextOf(r)
	next.Seen -= 120_000
	wantError(t, "Replace", s.Replace(t.Context(), key, 1, next), nil)
	wantLoaded(t, s, key, next.Touched(r.Seen))
}

func replaceExpired(t *testing.T, s kiboauth.Store) {
	key, r := session(t, s)
	next := nextOf(r)
	next.Ends = now() - 1
	wantError(t, "Replace by what has expired", s.Replace(t.Context(), key, 1, next), kiboauth.ErrNoSession)
	wantEnded(t, s, key)
	wantListed(t, s, r.Customer, nil)
}

// replaceExpiredConflict: who comes too late cannot end the session either.
func replaceExpiredConflict(t *testing.T, s kiboauth.Store) {
	key, r := session(t, s)
	second := nextOf(r)
	wantError(t, "Replace", s.Replace(t.Context(), key, 1, second), nil)
	late := nextOf(r)
	late.Ends = now() - 1
	wantError(t, "Replace of another version", s.Replace(t.Context(), key, 1, late), kiboauth.ErrConflict)
	wantLoaded(t, s, key, second)
}

func touchForward(t *testing.T, s kiboauth.Store) {
	key, r := session(t, s)
	for _, by := range []int64{60_000, -30_000, -86_400_000, 1, 0} {
		at := r.Seen + by
		wantError(t, "Touch", s.Touch(t.Context(), key, at), nil)
		r = r.Touched(at)
		wantLoaded(t, s, key, r)
	}
}

func touchLeavesRest(t *testing.T, s kiboauth.Store) {
	key, r := newKey(), newRecord(newCustomer(), longLife)
	r.Idle, r.Sealed = 1_800_000, randomBytes(maxSealed)
	create(t, s, key, r)
	wantError(t, "Touch", s.Touch(t.Context(), key, r.Seen+60_000), nil)
	r = r.Touched(r.Seen + 60_000)
	wantLoaded(t, s, key, r)
	wantListed(t, s, r.Customer, map[kiboauth.Key]*kiboauth.Record{key: r})
	next := nextOf(r) // the version is still the one that was created
	wantError(t, "Replace after Touch", s.Replace(t.Context(), key, 1, next), nil)
	wantLoaded(t, s, key, next)
}

func touchEnded(t *testing.T, s kiboauth.Store) {
	wantError(t, "Touch of an unknown key", s.Touch(t.Context(), newKey(), now()), kiboauth.ErrNoSession)
	key, r := session(t, s)
	wantError(t, "Delete", s.Delete(t.Context(), key), nil)
	wantError(t, "Touch after Delete", s.Touch(t.Context(), key, now()), kiboauth.ErrNoSession)
	wantEnded(t, s, key)
	wantListed(t, s, r.Customer, nil)
}

func deleteEnds(t *testing.T, s kiboauth.Store) {
	wantError(t, "Delete of an unknown key", s.Delete(t.Context(), newKey()), nil)
	key, _ := session(t, s)
	neighbour, kept := session(t, s)
	wantError(t, "Delete", s.Delete(t.Context(), key), nil)
	wantEnded(t, s, key)
	wantError(t, "Delete again", s.Delete(t.Context(), key), nil)
	wantEnded(t, s, key)
	wantLoaded(t, s, neighbour, kept)
}
