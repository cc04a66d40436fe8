package kiboauth

import (
	"bytes"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// Who has a copy of the store, its backup included, has no session and no token.
func TestStolenStore(t *testing.T) {
	store := newRemoteStore(t)
	g := newGateway(t).use(store)
	cookie := g.signIn(jane)
	s, r := g.session(cookie), store.record(t, g, cookie)
	if r.open != nil {
		t.Fatal("the session left the process unsealed")
	}
	for name, secret := range map[string]string{
		"access token": s.header(fieldAccessToken), "refresh token": s.header(fieldRefreshToken), "JWT": s.jwt(), "e-mail": jane, "session ID": g.id(cookie).value,
	} {
		if secret == "" || bytes.Contains(r.Sealed, []byte(secret)) || strings.Contains(r.Customer, secret) {
			t.Errorf("the %s is legible in the record", name)
		}
	}
	label := r.label(&[]Key{g.id(cookie).key}[0])
	if _, _, err := g.keyring.openSession(t.Context(), newSessionID(g.realm), r.Sealed, label); !errors.Is(err, errSealBroken) {
		t.Errorf("the secret without the cookie opens it: %v", err)
	}
	stranger, err := newMasterKey(strings.Repeat("x", minSecret))
	if err != nil {
		t.Fatal(err)
	}
	stranger.id = g.keyring.keys[0].id
	if _, _, err := (&keyring{keys: []*masterKey{stranger}}).openSession(t.Context(), g.id(cookie), r.Sealed, label); !errors.Is(err, errSealBroken) {
		t.Errorf("the cookie without the secret opens it: %v", err)
	}
}

// Who can write the store cannot prolong a session, hand it to somebody else or
// bring an earlier state back.
func TestTamperedRecord(t *testing.T) {
	for name, tamper := range map[string]func(*Record){
		"customer": func(r *Record) { r.Customer += "0" }, "end": func(r *Record) { r.Ends += 1000 }, "idle limit": func(r *Record) { r.Idle = 0 },
		"version": func(r *Record) { r.Version++ }, "sign-in": func(r *Record) { r.Created++ },
		"seal": func(r *Record) {
			r.Sealed = append(bytes.Clone(r.Sealed[:len(r.Sealed)-1]), r.Sealed[len(r.Sealed)-1]^1)
		}, "nothing": func(r *Record) { r.Sealed = nil },
	} {
		store := newRemoteStore(t)
		g := newGateway(t).use(store)
		cookie := g.signIn(jane)
		g.use(store) // nothing is kept nearby
		r := *store.record(t, g, cookie)
		tamper(&r)
		if err := store.records.Delete(t.Context(), g.id(cookie).Key()); err != nil {
			t.Fatal(err)
		}
		if err := store.records.Create(t.Context(), g.id(cookie).Key(), &r); err != nil {
			t.Fatal(err)
		}
		if o := g.open(cookie); o.upstream != nil {
			t.Errorf("%s: a record that was tampered with is admitted", name)
		}
	}
}

func TestAnotherCustomersRecordUnderMyKey(t *testing.T) {
	store := newRemoteStore(t)
	g := newGateway(t).use(store)
	mine, theirs := g.signIn(jane), g.signIn(john)
	g.use(store)
	r := store.record(t, g, theirs)
	_ = store.records.Delete(t.Context(), g.id(mine).Key())
	if err := store.records.Create(t.Context(), g.id(mine).Key(), r); err != nil {
		t.Fatal(err)
	}
	if o := g.open(mine); o.upstream != nil {
		t.Error("a swapped record is admitted")
	}
}

// Keys change without signing anybody out, as long as the old one is listed.
func TestSecretRotationOfSessions(t *testing.T) {
	const fresh = "a fresh secret for tests, long enough too"
	store := newRemoteStore(t)
	g := newGateway(t).use(store)
	cookie := g.signIn(jane)
	old := store.record(t, g, cookie)

	g = g.another(store, func(h *Handler) { h.Secrets = []string{fresh, testSecret} })
	g.wantServed(g.open(cookie), "1001")
	waitUntil(t, "the session is sealed anew", func() bool {
		r := store.record(t, g, cookie)
		return r.Version == old.Version+1 && bytes.HasPrefix(r.Sealed, g.keyring.keys[0].id[:])
	})
	g.wantServed(g.open(cookie), "1001")

	g = g.another(store, func(h *Handler) { h.Secrets = []string{fresh} })
	g.wantServed(g.open(cookie), "1001")
	g = g.another(store, func(h *Handler) { h.Secrets = []string{strings.Repeat("n", minSecret)} })
	if o := g.open(cookie); o.upstream != nil || o.Code != http.StatusSeeOther {
		t.Errorf("status %d: a session whose key is gone is admitted", o.Code)
	}
}

// An admitted request stays in the process: no load, no cipher.
func TestNearbySessionIsNotAskedFor(t *testing.T) {
	store := newRemoteStore(t)
	g := newGateway(t).use(store)
	cookie := g.signIn(jane)
	g.wantServed(g.open(cookie), "1001")
	loads := store.loads.Load()
	for range 20 {
		g.wantServed(g.open(cookie), "1001")
	}
	if n := store.loads.Load(); n != loads {
		t.Errorf("%d loads for 20 requests, want none", n-loads)
	}
}

func TestStoreWithoutPushIsAskedEachTime(t *testing.T) {
	store := newRemoteStore(t)
	store.fresh = 0
	g := newGateway(t).use(store)
	cookie := g.signIn(jane)
	g.wantServed(g.open(cookie), "1001")
	loads := store.loads.Load()
	first := g.session(cookie).Session
	g.wantServed(g.open(cookie), "1001")
	g.wantServed(g.open(cookie), "1001")
	if n := store.loads.Load() - loads; n != 3 {
		t.Errorf("%d loads for 3 questions, want 3", n)
	}
	if g.session(cookie).Session != first {
		t.Error("the same version was opened twice")
	}
}

func TestSessionEndedElsewhere(t *testing.T) {
	store := newRemoteStore(t)
	a := newGateway(t).use(store)
	b := a.another(store)
	cookie := a.signIn(jane)
	b.wantServed(b.open(cookie), "1001")
	if o := a.serve(post(t, "/logout", nil, "Cookie", cookie)); o.Code != http.StatusSeeOther {
		t.Fatalf("logout: status %d", o.Code)
	}
	b.wantEnded(b.open(cookie), cookie)
}

// A load that was under way when the session ended does not bring it back.
func TestLoadOvertakenByTheEnd(t *testing.T) {
	n, key := newNear(), newSessionID(testRealm).key
	changes := n.changes(&key)
	n.changed(&key)
	n.keep(&key, recordOf("1"), changes, time.Minute, time.Minute)
	if r, _ := n.fresh(&key, time.Now().UnixMilli()); r != nil {
		t.Error("what was loaded before the change is used after it")
	}
	if n.stale(&key, time.Now().UnixMilli()) != nil {
		t.Error("what was loaded before the change is used in an outage")
	}
	newer, older := *recordOf("1"), *recordOf("1")
	newer.Version, older.Version = 3, 2
	n.keep(&key, &newer, n.changes(&key), time.Minute, time.Minute)
	n.keep(&key, &older, n.changes(&key), time.Minute, time.Minute)
	if r := n.last(&key); r.Version != 3 {
		t.Errorf("version %d took the place of version 3", r.Version)
	}
}

// on_failure serve_cached: known sessions live on, and not for ever.
func TestKnownSessionsOutlastAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newRemoteStore(t)
		s := newSessions(store, testKeyring(t, testSecret), testRealm)
		id, ctx := newSessionID(testRealm), t.Context()
		if err := s.create(ctx, id, recordOf("1")); err != nil {
			t.Fatal(err)
		}
		load := func() error { _, err := s.load(ctx, id); return err }
		if err := load(); err != nil {
			t.Fatal(err)
		}
		store.cut()
		time.Sleep(store.stale - time.Second)
		if err := load(); err != nil {
			t.Errorf("a known session during an outage: %v", err)
		}
		if _, err := s.load(ctx, newSessionID(testRealm)); !errors.Is(err, errDown) {
			t.Errorf("an unknown session during an outage: %v, want the store's error", err)
		}
		if _, err := s.ask(ctx, id); !errors.Is(err, errDown) {
			t.Errorf("a refresh would use what is known: %v", err)
		}
		time.Sleep(2 * time.Second)
		if err := load(); !errors.Is(err, errDown) {
			t.Errorf("past the bound: %v, want the store's error", err)
		}
		store.join()
		if err := load(); err != nil {
			t.Errorf("after the outage: %v", err)
		}
	})
}

func TestStoreIsDownAndDenies(t *testing.T) {
	store := newRemoteStore(t)
	store.stale = 0
	g := newGateway(t).use(store)
	cookie := g.signIn(jane)
	g.wantServed(g.open(cookie), "1001")
	store.cut()
	o := g.open(cookie)
	g.wantUnavailable(o)
	if o.cookie(g.cookies.session) != nil {
		t.Error("the cookie was taken back because the store was down")
	}
	store.join()
	g.wantServed(g.open(cookie), "1001")
}

// A store that panics while no request waits for it does not end the server.
func TestPanicBesideARequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newRemoteStore(t)
		s := newSessions(store, testKeyring(t, testSecret), testRealm)
		id := newSessionID(testRealm)
		if err := s.create(t.Context(), id, recordOf("1")); err != nil {
			t.Fatal(err)
		}
		if _, err := s.load(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		time.Sleep(store.fresh * 3 / 4)
		store.panics.Store(true)
		if _, err := s.load(t.Context(), id); err != nil {
			t.Errorf("a session in use: %v", err)
		}
		synctest.Wait()
	})
}

// During an outage activity is tried to be noted once in a while, not at each
// request, and nobody is refused for that.
func TestActivityDuringAnOutage(t *testing.T) {
	store := newRemoteStore(t)
	g := newGateway(t).use(store)
	cookie := g.signIn(jane)
	g.edit(cookie, func(s *live) { s.Seen = ago(10 * time.Minute) })
	g.session(cookie) // is nearby now
	store.down.Store(true)
	for range 20 {
		g.wantServed(g.open(cookie), "1001")
	}
	if n := g.logs.FilterMessage("noting a session's activity").Len(); n != 1 {
		t.Errorf("it was tried %d times, want once", n)
	}
}

// A session in use is confirmed before its time is over, beside a request.
func TestSessionInUseIsConfirmed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newRemoteStore(t)
		s := newSessions(store, testKeyring(t, testSecret), testRealm)
		id := newSessionID(testRealm)
		if err := s.create(t.Context(), id, recordOf("1")); err != nil {
			t.Fatal(err)
		}
		for range 10 {
			if _, err := s.load(t.Context(), id); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			time.Sleep(store.fresh / 4)
		}
		if n := store.loads.Load(); n < 4 || n > 6 {
			t.Errorf("%d loads in two and a half of its times, want one each half", n)
		}
		store.cut()
		store.join()
		if r, _ := s.near.fresh(&id.key, time.Now().UnixMilli()); r != nil {
			t.Error("a lost connection leaves no doubt")
		}
	})
}

func TestNearIsBounded(t *testing.T) {
	n := newNear()
	r := recordOf("1")
	for range 3 * nearLimit / 2 {
		key := newSessionID(testRealm).key
		n.keep(&key, r, 0, time.Minute, time.Minute)
	}
	kept := 0
	for i := range n.shards {
		kept += len(n.shards[i].kept)
	}
	if kept > nearLimit || kept < nearLimit/2 {
		t.Errorf("%d records are kept, want up to %d", kept, nearLimit)
	}
}

// Each process reaches its own verdict, and none writes it for the others.
func TestVerdictIsThisProcesssOwn(t *testing.T) {
	store := newRemoteStore(t)
	a := newGateway(t).use(store)
	cookie := a.signIn(jane)
	version := store.record(t, a, cookie).Version
	b := a.another(store, func(h *Handler) { h.Verify.Leeway = 1_000_000_000 })
	for range 3 {
		a.wantServed(a.open(cookie), "1001")
		b.wantServed(b.open(cookie), "1001")
	}
	if got := store.record(t, a, cookie).Version; got != version {
		t.Errorf("version %d, want %d: a verdict was written", got, version)
	}
	if s := b.session(cookie); s.stamp != b.verifier.Stamp() {
		t.Error("the verdict is not kept")
	}
}

// Two gateways, 1,000 parallel requests on one lapsed session: one refresh.
func TestOneRefreshInTheFleet(t *testing.T) {
	store := newRemoteStore(t)
	a := newGateway(t).use(store)
	b := a.another(store)
	cookie := a.signIn(jane)
	a.edit(cookie, lapse)
	var wg sync.WaitGroup
	for i := range 1000 {
		g := []*gateway{a, b}[i%2]
		wg.Go(func() { g.wantServed(g.open(cookie), "1001") })
	}
	wg.Wait()
	a.wantRefreshes(1)
}
