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

// recordOf is a session of the customer with an account number, for an hour.
func recordOf(account string) *Record {
	return newRecord(testSession(testRealm, &customer{fieldAccountID: account}), time.Now(), 0)
}

func mustCreate(t testing.TB, m *memory, r *Record) Key {
	t.Helper()
	key := newSessionID(testRealm).key
	if err := m.Create(t.Context(), key, r); err != nil {
		t.Fatalf("Create: %v", err)
	}
	return key
}

// wantGone checks that nothing knows a session any more.
func wantGone(t *testing.T, m *memory, key Key) {
	t.Helper()
	ctx := t.Context()
	if s, err := m.Load(ctx, key); !errors.Is(err, ErrNoSession) || s != nil {
		t.Errorf("Load of an ended session = %v, %v, want ErrNoSession", s, err)
	}
	if err := m.Touch(ctx, key, time.Now().UnixMilli()); !errors.Is(err, ErrNoSession) {
		t.Errorf("Touch of an ended session: %v, want ErrNoSession", err)
	}
	if err := m.Replace(ctx, key, 1, recordOf("1")); !errors.Is(err, ErrNoSession) {
		t.Errorf("Replace of an ended session: %v, want ErrNoSession", err)
	}
	if _, err := m.Load(ctx, key); !errors.Is(err, ErrNoSession) {
		t.Errorf("Replace or Touch brought a session back: %v", err)
	}
}

// endCustomer ends all sessions of a customer of testRealm.
func endCustomer(t *testing.T, m *memory, account string) int {
	n, err := newSessions(&MemoryStore{memory: m}, nil, testRealm).endAll(t.Context(), testRealm+account, func(Listed) bool { return true })
	if err != nil {
		t.Errorf("endAll: %v", err)
	}
	return n
}

func TestRealmsDoNotMeetInAStore(t *testing.T) {
	m := testMemory(t, 10)
	id := newSessionID(testRealm)
	if err := m.Create(t.Context(), id.key, recordOf("1")); err != nil {
		t.Fatal(err)
	}
	other, _ := parseSessionID("realm-0002..", id.value)
	wantGone(t, m, other.key)
}

func TestMemoryDelete(t *testing.T) {
	m := testMemory(t, 10)
	id, other := mustCreate(t, m, recordOf("1")), mustCreate(t, m, recordOf("1"))
	if err := m.Delete(t.Context(), id); err != nil {
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

func TestMemoryEndsACustomersSessions(t *testing.T) {
	m := testMemory(t, 10)
	one := []Key{mustCreate(t, m, recordOf("1")), mustCreate(t, m, recordOf("1")), mustCreate(t, m, recordOf("1"))}
	longer := mustCreate(t, m, recordOf("11"))
	abroad := mustCreate(t, m, newRecord(testSession("realm-0002..", &customer{fieldAccountID: "1"}), time.Now(), 0))
	if n := endCustomer(t, m, "1"); n != 3 {
		t.Errorf("%d sessions were ended, want 3", n)
	}
	for _, key := range one {
		wantGone(t, m, key)
	}
	for _, key := range []Key{longer, abroad} {
		if _, err := m.Load(t.Context(), key); err != nil {
			t.Errorf("another customer's session: %v", err)
		}
	}
	if n := endCustomer(t, m, "1"); n != 0 {
		t.Errorf("%d sessions were ended again, want none", n)
	}
}

// Two customers whose names have one hash share a list of sessions.
func TestMemoryCustomersWithOneHash(t *testing.T) {
	m := testMemory(t, 10)
	one, other := mustCreate(t, m, recordOf("1")), mustCreate(t, m, recordOf("2"))
	ix, name := m.indexOf(testRealm + "1")
	ix.keys[name] = ix.keys[name].with(string(other[:]))
	if n := endCustomer(t, m, "1"); n != 1 {
		t.Errorf("%d sessions were ended, want 1", n)
	}
	wantGone(t, m, one)
	if _, err := m.Load(t.Context(), other); err != nil {
		t.Errorf("the other customer's session: %v", err)
	}
}

// A stranger who signs in all the time must not push customers out.
func TestFullMemoryEvictsNobody(t *testing.T) {
	m := testMemory(t, 3)
	var ids []Key
	for i := range 3 {
		ids = append(ids, mustCreate(t, m, recordOf(strconv.Itoa(i))))
	}
	for range 5 {
		if err := m.Create(t.Context(), newSessionID(testRealm).key, recordOf("9")); !errors.Is(err, ErrStoreFull) {
			t.Errorf("Create in a full store: %v, want ErrStoreFull", err)
		}
	}
	for _, id := range ids {
		if _, err := m.Load(t.Context(), id); err != nil {
			t.Errorf("a session was pushed out: %v", err)
		}
	}
	if err := m.Delete(t.Context(), ids[0]); err != nil {
		t.Fatal(err)
	}
	mustCreate(t, m, recordOf("9"))
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
		id := mustCreate(t, m, recordOf("1"))
		time.Sleep(time.Hour - time.Millisecond)
		if _, err := m.Load(t.Context(), id); err != nil {
			t.Errorf("Load just before the end: %v", err)
		}
		time.Sleep(2 * time.Millisecond)
		wantGone(t, m, id)
		if err := m.Create(t.Context(), id, recordOf("1").aged(2*time.Hour)); !errors.Is(err, ErrNoSession) {
			t.Errorf("Create of a session that has ended: %v, want ErrNoSession", err)
		}
	})
}

// aged is the session as it would be if it had begun earlier.
func (r *Record) aged(d time.Duration) *Record {
	t := *r
	for _, at := range []*int64{&t.Created, &t.Seen, &t.Ends} {
		*at -= d.Milliseconds()
	}
	return &t
}

func TestMemoryReplaceByWhatHasEnded(t *testing.T) {
	m := testMemory(t, 10)
	id := mustCreate(t, m, recordOf("1"))
	if err := m.Replace(t.Context(), id, 1, recordOf("1").aged(2*time.Hour)); !errors.Is(err, ErrNoSession) {
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
		s := recordOf("1")
		s.Idle = (10 * time.Minute).Milliseconds()
		active, idle := mustCreate(t, m, s), mustCreate(t, m, s)
		for range 5 {
			time.Sleep(9 * time.Minute)
			if err := m.Touch(t.Context(), active, time.Now().UnixMilli()); err != nil {
				t.Fatalf("Touch of an active session: %v", err)
			}
		}
		wantGone(t, m, idle)
		time.Sleep(9 * time.Minute)
		if _, err := m.Load(t.Context(), active); err != nil {
			t.Errorf("Load of an active session: %v", err)
		}
		if err := m.Touch(t.Context(), active, time.Now().UnixMilli()); err != nil {
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
			mustCreate(t, m, recordOf(strconv.Itoa(i%100)))
		}
		late := recordOf("late")
		late.Ends += time.Hour.Milliseconds()
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
				id := mustCreate(t, m, recordOf(strconv.Itoa(i%7)))
				_ = m.Touch(t.Context(), id, time.Now().UnixMilli())
				_ = m.Replace(t.Context(), id, 1, recordOf(strconv.Itoa(i%7)))
				_, _ = m.Load(t.Context(), id)
				switch (i + w) % 3 {
				case 0:
					_ = m.Delete(t.Context(), id)
				case 1:
					endCustomer(t, m, strconv.Itoa(i%7))
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
