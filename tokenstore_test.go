package kiboauth

import (
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/goleak"
)

// testMemory is a store of its own with room for so many sessions.
func testMemory(t testing.TB, limit int) *memory {
	t.Helper()
	m := newMemory()
	t.Cleanup(func() { _ = m.Destruct() })
	m.limitTo(new(MemoryStore), limit)
	return m
}

// sessionOf is a session of the customer with an account number.
func sessionOf(account string) *Session {
	return testSession(testRealm, &customer{fieldAccountID: account})
}

func mustCreate(t testing.TB, m *memory, s *Session) SessionID {
	t.Helper()
	id := newSessionID(testRealm)
	if err := m.Create(t.Context(), id, s); err != nil {
		t.Fatalf("Create: %v", err)
	}
	return id
}

// wantGone checks that nothing knows a session any more.
func wantGone(t *testing.T, m *memory, id SessionID) {
	t.Helper()
	ctx := t.Context()
	if s, err := m.Load(ctx, id); !errors.Is(err, ErrNoSession) || s != nil {
		t.Errorf("Load of an ended session = %v, %v, want ErrNoSession", s, err)
	}
	if err := m.Touch(ctx, id, time.Now()); !errors.Is(err, ErrNoSession) {
		t.Errorf("Touch of an ended session: %v, want ErrNoSession", err)
	}
	if err := m.Replace(ctx, id, 1, sessionOf("1")); !errors.Is(err, ErrNoSession) {
		t.Errorf("Replace of an ended session: %v, want ErrNoSession", err)
	}
	if _, err := m.Load(ctx, id); !errors.Is(err, ErrNoSession) {
		t.Errorf("Replace or Touch brought a session back: %v", err)
	}
	if err := m.Delete(ctx, id.Key()); err != nil {
		t.Errorf("Delete of an ended session: %v, want none", err)
	}
}

func TestMemoryCreateAndLoad(t *testing.T) {
	m := testMemory(t, 10)
	s := sessionOf("1")
	id := mustCreate(t, m, s)
	if got, err := m.Load(t.Context(), id); got != s || err != nil {
		t.Errorf("Load = %v, %v, want what was saved", got, err)
	}
	wantGone(t, m, newSessionID(testRealm))
	other, _ := parseSessionID("realm-0002..", id.value)
	wantGone(t, m, other)
}

func TestMemoryReplaceComparesVersions(t *testing.T) {
	m := testMemory(t, 10)
	id := mustCreate(t, m, sessionOf("1"))
	for _, tt := range []struct {
		version, next uint64
		want          error
	}{{0, 2, ErrConflict}, {2, 3, ErrConflict}, {1, 2, nil}, {1, 3, ErrConflict}, {2, 3, nil}} {
		next := sessionOf("1")
		next.version = tt.next
		if err := m.Replace(t.Context(), id, tt.version, next); !errors.Is(err, tt.want) {
			t.Errorf("Replace of version %d by %d: %v, want %v", tt.version, tt.next, err, tt.want)
		}
	}
	if s, err := m.Load(t.Context(), id); err != nil || s.Version() != 3 {
		t.Errorf("Load = %v, %v, want version 3", s, err)
	}
	if n := m.count.Load(); n != 1 {
		t.Errorf("count = %d after replacing, want 1", n)
	}
}

func TestMemoryActivitySurvivesReplace(t *testing.T) {
	m := testMemory(t, 10)
	id := mustCreate(t, m, sessionOf("1"))
	stale := *sessionOf("1")
	stale.version = 2
	at := time.Now().Add(time.Minute)
	if err := m.Touch(t.Context(), id, at); err != nil {
		t.Fatal(err)
	}
	if s, _ := m.Load(t.Context(), id); s.seen != at.UnixNano() || s.version != 1 {
		t.Errorf("after Touch: seen %d, version %d, want %d and 1", s.seen, s.version, at.UnixNano())
	}
	if err := m.Replace(t.Context(), id, 1, &stale); err != nil {
		t.Fatal(err)
	}
	if s, _ := m.Load(t.Context(), id); s.seen != at.UnixNano() {
		t.Errorf("Replace lost the activity: seen %d, want %d", s.seen, at.UnixNano())
	}
}

func TestMemoryDelete(t *testing.T) {
	m := testMemory(t, 10)
	id, other := mustCreate(t, m, sessionOf("1")), mustCreate(t, m, sessionOf("1"))
	if err := m.Delete(t.Context(), id.Key()); err != nil {
		t.Fatal(err)
	}
	wantGone(t, m, id)
	if _, err := m.Load(t.Context(), other); err != nil {
		t.Errorf("the customer's other session: %v", err)
	}
	if n := m.count.Load(); n != 1 {
		t.Errorf("count = %d, want 1", n)
	}
}

func TestMemoryDeleteCustomer(t *testing.T) {
	m := testMemory(t, 10)
	one := []SessionID{mustCreate(t, m, sessionOf("1")), mustCreate(t, m, sessionOf("1")), mustCreate(t, m, sessionOf("1"))}
	longer := mustCreate(t, m, sessionOf("11"))
	abroad := testSession("realm-0002..", &customer{fieldAccountID: "1"})
	id := newSessionID("realm-0002..")
	if err := m.Create(t.Context(), id, abroad); err != nil {
		t.Fatal(err)
	}
	if n, err := m.DeleteCustomer(t.Context(), testRealm+"1"); n != 3 || err != nil {
		t.Errorf("DeleteCustomer = %d, %v, want 3", n, err)
	}
	for _, id := range one {
		wantGone(t, m, id)
	}
	for _, id := range []SessionID{longer, id} {
		if _, err := m.Load(t.Context(), id); err != nil {
			t.Errorf("another customer's session: %v", err)
		}
	}
	if n, err := m.DeleteCustomer(t.Context(), testRealm+"1"); n != 0 || err != nil {
		t.Errorf("DeleteCustomer again = %d, %v, want 0", n, err)
	}
}

// Two customers whose names have one hash share a list of sessions.
func TestMemoryCustomersWithOneHash(t *testing.T) {
	m := testMemory(t, 10)
	one, other := mustCreate(t, m, sessionOf("1")), mustCreate(t, m, sessionOf("2"))
	ix, name := m.indexOf(testRealm + "1")
	ix.keys[name] = ix.keys[name].with(string(other.key[:]))
	if n, err := m.DeleteCustomer(t.Context(), testRealm+"1"); n != 1 || err != nil {
		t.Errorf("DeleteCustomer = %d, %v, want 1", n, err)
	}
	wantGone(t, m, one)
	if _, err := m.Load(t.Context(), other); err != nil {
		t.Errorf("the other customer's session: %v", err)
	}
}

// A stranger who signs in all the time must not push customers out.
func TestFullMemoryEvictsNobody(t *testing.T) {
	m := testMemory(t, 3)
	var ids []SessionID
	for i := range 3 {
		ids = append(ids, mustCreate(t, m, sessionOf(strconv.Itoa(i))))
	}
	for range 5 {
		if err := m.Create(t.Context(), newSessionID(testRealm), sessionOf("9")); !errors.Is(err, ErrStoreFull) {
			t.Errorf("Create in a full store: %v, want ErrStoreFull", err)
		}
	}
	for _, id := range ids {
		if _, err := m.Load(t.Context(), id); err != nil {
			t.Errorf("a session was pushed out: %v", err)
		}
	}
	if err := m.Delete(t.Context(), ids[0].Key()); err != nil {
		t.Fatal(err)
	}
	mustCreate(t, m, sessionOf("9"))
	if n := m.count.Load(); n != 3 {
		t.Errorf("count = %d, want 3", n)
	}
}

func TestMemoryLimitsOfSeveralSites(t *testing.T) {
	m := newMemory()
	defer m.Destruct()
	a, b := new(MemoryStore), new(MemoryStore)
	for i, step := range []struct {
		who  *MemoryStore
		n    int
		want int64
	}{{a, 5, 5}, {b, 9, 9}, {a, 7, 9}, {b, 0, 7}, {a, 0, 0}} {
		if m.limitTo(step.who, step.n); m.limit.Load() != step.want {
			t.Errorf("step %d: limit = %d, want %d", i, m.limit.Load(), step.want)
		}
	}
}

func TestMemoryEndsAtRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := testMemory(t, 10)
		id := mustCreate(t, m, sessionOf("1"))
		time.Sleep(time.Hour - time.Millisecond)
		if _, err := m.Load(t.Context(), id); err != nil {
			t.Errorf("Load just before the end: %v", err)
		}
		time.Sleep(2 * time.Millisecond)
		wantGone(t, m, id)
		if err := m.Create(t.Context(), id, sessionOf("1").aged(2*time.Hour)); !errors.Is(err, ErrNoSession) {
			t.Errorf("Create of a session that has ended: %v, want ErrNoSession", err)
		}
	})
}

// aged is the session as it would be if it had begun earlier.
func (s *Session) aged(d time.Duration) *Session {
	t := *s
	for _, at := range []*int64{&t.created, &t.seen, &t.ends, &t.good, &t.due, &t.refreshEnds} {
		*at -= int64(d)
	}
	return &t
}

func TestMemoryReplaceByWhatHasEnded(t *testing.T) {
	m := testMemory(t, 10)
	id := mustCreate(t, m, sessionOf("1"))
	if err := m.Replace(t.Context(), id, 1, sessionOf("1").aged(2*time.Hour)); !errors.Is(err, ErrNoSession) {
		t.Errorf("Replace: %v, want ErrNoSession", err)
	}
	wantGone(t, m, id)
	if n := m.count.Load(); n != 0 {
		t.Errorf("count = %d, want 0", n)
	}
}

// Activity puts off the idle limit, and nothing the absolute one.
func TestMemoryIdleAndAbsoluteLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := testMemory(t, 10)
		s := sessionOf("1")
		s.idle = int64(10 * time.Minute)
		active, idle := mustCreate(t, m, s), mustCreate(t, m, s)
		for range 5 {
			time.Sleep(9 * time.Minute)
			if err := m.Touch(t.Context(), active, time.Now()); err != nil {
				t.Fatalf("Touch of an active session: %v", err)
			}
		}
		wantGone(t, m, idle)
		time.Sleep(9 * time.Minute)
		if _, err := m.Load(t.Context(), active); err != nil {
			t.Errorf("Load of an active session: %v", err)
		}
		if err := m.Touch(t.Context(), active, time.Now()); err != nil {
			t.Errorf("Touch of an active session: %v", err)
		}
		time.Sleep(7 * time.Minute)
		wantGone(t, m, active)
	})
}

func TestMemorySweepFreesWhatHasEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := testMemory(t, 1000)
		for i := range 500 {
			mustCreate(t, m, sessionOf(strconv.Itoa(i%100)))
		}
		late := sessionOf("late")
		late.ends += int64(time.Hour)
		late.refreshEnds = late.ends
		id := mustCreate(t, m, late)
		time.Sleep(time.Hour + 2*sweepEvery)
		if n := m.count.Load(); n != 1 {
			t.Errorf("count = %d after the sweep, want 1", n)
		}
		items, customers := 0, 0
		for i := range m.shards {
			items += m.shards[i].cache.ItemCount()
			customers += len(m.index[i].keys)
		}
		if items != 1 || customers != 1 {
			t.Errorf("%d items and %d customers are left, want 1 and 1", items, customers)
		}
		if _, err := m.Load(t.Context(), id); err != nil {
			t.Errorf("the session that lives longer: %v", err)
		}
	})
}

func TestMemoryUnderManyWriters(t *testing.T) {
	m := testMemory(t, 10_000)
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 200 {
				id := mustCreate(t, m, sessionOf(strconv.Itoa(i%7)))
				_ = m.Touch(t.Context(), id, time.Now())
				_ = m.Replace(t.Context(), id, 1, sessionOf(strconv.Itoa(i%7)))
				_, _ = m.Load(t.Context(), id)
				switch (i + w) % 3 {
				case 0:
					_ = m.Delete(t.Context(), id.Key())
				case 1:
					_, _ = m.DeleteCustomer(t.Context(), testRealm+strconv.Itoa(i%7))
				}
			}
		})
	}
	wg.Wait()
	items, indexed := 0, 0
	for i := range m.shards {
		items += m.shards[i].cache.ItemCount()
		for _, keys := range m.index[i].keys {
			indexed += len(keys.all())
		}
	}
	if n := int(m.count.Load()); n != items || n != indexed {
		t.Errorf("count %d, items %d, indexed %d: want one number", n, items, indexed)
	}
}

func TestMemoryStopsItsSweep(t *testing.T) {
	before := goleak.IgnoreCurrent()
	m := newMemory()
	if err := m.Destruct(); err != nil {
		t.Fatal(err)
	}
	goleak.VerifyNone(t, before)
}

func TestMemoryStoreUnmarshalCaddyfile(t *testing.T) {
	for text, want := range map[string]int{
		"memory": 0, "memory {\n}": 0, "memory {\n max_sessions 5\n}": 5,
		"memory x": -1, "memory {\n max_sessions\n}": -1, "memory {\n max_sessions 0\n}": -1, "memory {\n max_sessions many\n}": -1,
		"memory {\n max_sesions 5\n}": -1, "memory {\n max_sessions 5\n max_sessions 6\n}": -1,
	} {
		m := new(MemoryStore)
		err := m.UnmarshalCaddyfile(caddyfile.NewTestDispenser(text))
		if (err != nil) != (want < 0) || err == nil && m.MaxSessions != want {
			t.Errorf("%q: %d, %v, want %d", text, m.MaxSessions, err, want)
		}
	}
}

func TestMemoryStoreIsSharedByReloads(t *testing.T) {
	g := newGateway(t)
	cookie := g.signIn(jane)
	g.Handler = g.provision(func(h *Handler) { h.StoreRaw = fmt.Append(nil, `{"backend":"memory","max_sessions":5}`) })
	if g.session(cookie) == nil {
		t.Error("a reload lost the session")
	}
}
