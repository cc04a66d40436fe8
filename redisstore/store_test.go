package redisstore

import (
	"context"
	"errors"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	kiboauth "github.com/kiboauth/caddy-kibo-auth"
	"github.com/kiboauth/caddy-kibo-auth/internal/redistest"
)

// TestContract keeps what kiboauth.Store promises, wherever Redis runs.
func TestContract(t *testing.T) {
	places := []struct {
		name  string
		store func(*testing.T) *Store
	}{
		{"standalone", func(t *testing.T) *Store {
			s, _ := start(t)
			return s
		}},
		{"Sentinel", func(t *testing.T) *Store {
			servers := redistest.StartSentinelsWith(t, redistest.SentinelOptions{Password: "for-redis", WatcherPassword: "for-sentinels"})
			return open(t, Store{
				URLs: servers.Addrs(), Password: "for-redis",
				Sentinel: &Sentinel{Master: redistest.MasterName, Password: "for-sentinels"},
			})
		}},
		{"Cluster", func(t *testing.T) *Store {
			return open(t, Store{URLs: redistest.StartCluster(t).Addrs()[:2], Cluster: true})
		}},
		{"Sentinel with TLS", func(t *testing.T) *Store {
			servers := redistest.StartSentinelsWith(t, redistest.SentinelOptions{TLS: &redistest.TLS{ClientCerts: true}, Password: "for-redis"})
			return open(t, Store{
				URLs: servers.Addrs(), TLS: trusting(servers.Nodes[0]), Password: "for-redis", Sentinel: &Sentinel{Master: redistest.MasterName},
			})
		}},
		{"Cluster with TLS", func(t *testing.T) *Store {
			cluster := redistest.StartClusterWith(t, &redistest.TLS{ClientCerts: true})
			return open(t, Store{URLs: cluster.Addrs()[:2], TLS: trusting(cluster.Nodes[0])})
		}},
	}
	points := []struct {
		name string
		test func(*testing.T, *Store)
	}{
		{"a record comes back as it was", roundTrip},
		{"Create keeps to what is there", createConflict},
		{"Replace compares versions", replaceVersions},
		{"Replace keeps the later Seen", replaceSeen},
		{"a next that has expired ends the session", replaceExpired},
		{"Touch moves Seen on, never back", touchSeen},
		{"Delete ends for good", deleteEnds},
		{"expired sessions are none", expiry},
		{"one of many replaces", replaceRace},
		{"List tells a customer's sessions", listCustomer},
		{"List tells all sessions", listAll},
		{"a locked key has one holder", lockHolder},
	}
	for _, place := range places {
		t.Run(place.name, func(t *testing.T) {
			s := place.store(t)
			for _, point := range points {
				t.Run(point.name, func(t *testing.T) { point.test(t, s) })
			}
		})
	}
}

// trusting are the settings for servers with the certificates of one.
func trusting(s *redistest.Server) *TLS {
	cert, key := s.ClientCert()
	return &TLS{CA: s.CA(), Cert: cert, Key: key}
}

func roundTrip(t *testing.T, s *Store) {
	for _, customer := range []string{"t1-s2:1001", `{}"*'\~`, strings.Repeat("x", 128)} {
		key, r := newKey(), newRecord(customer)
		r.Ends += 400 * 24 * time.Hour.Milliseconds()
		r.Sealed = []byte(strings.Repeat("\x00\xff", 32<<10))
		if err := s.Create(t.Context(), key, r); err != nil {
			t.Fatalf("Create for %q: %v", customer, err)
		}
		got, err := s.Load(t.Context(), key)
		if err != nil || !reflect.DeepEqual(got, r) {
			t.Errorf("Load for %q differs (error %v)", customer, err)
		}
	}
}

func createConflict(t *testing.T, s *Store) {
	key, r := create(t, s, "conflict")
	if err := s.Create(t.Context(), key, r); !errors.Is(err, kiboauth.ErrConflict) {
		t.Errorf("a second Create: %v, want ErrConflict", err)
	}
	old := newRecord("conflict")
	old.Seen -= old.Idle
	if err := s.Create(t.Context(), newKey(), old); !errors.Is(err, kiboauth.ErrNoSession) {
		t.Errorf("Create of an expired record: %v, want ErrNoSession", err)
	}
}

func replaceVersions(t *testing.T, s *Store) {
	key, r := create(t, s, "versions")
	second := next(r)
	if err := s.Replace(t.Context(), key, 1, second); err != nil {
		t.Fatalf("Replace: %v", err)
	}
	if err := s.Replace(t.Context(), key, 1, second); !errors.Is(err, kiboauth.ErrConflict) {
		t.Errorf("the same Replace again: %v, want ErrConflict", err)
	}
	if got, err := s.Load(t.Context(), key); err != nil || !reflect.DeepEqual(got, second) {
		t.Errorf("Load after Replace: version %v, error %v", got, err)
	}
	if err := s.Replace(t.Context(), newKey(), 1, second); !errors.Is(err, kiboauth.ErrNoSession) {
		t.Errorf("Replace of nothing: %v, want ErrNoSession", err)
	}
}

func replaceSeen(t *testing.T, s *Store) {
	key, r := create(t, s, "seen")
	later := r.Seen + 60_000
	if err := s.Touch(t.Context(), key, later); err != nil {
		t.Fatal(err)
	}
	if err := s.Replace(t.Context(), key, 1, next(r)); err != nil {
		t.Fatal(err)
	}
	got, err := s.Load(t.Context(), key)
	if err != nil || got.Seen != later || got.Version != 2 {
		t.Errorf("Load: %+v, %v; want Seen %d in version 2", got, err, later)
	}
}

func replaceExpired(t *testing.T, s *Store) {
	key, r := create(t, s, "replace-expired")
	ended := next(r)
	ended.Ends = now() - 1
	if err := s.Replace(t.Context(), key, 7, ended); !errors.Is(err, kiboauth.ErrConflict) {
		t.Errorf("with another version: %v, want ErrConflict", err)
	}
	if err := s.Replace(t.Context(), key, 1, ended); !errors.Is(err, kiboauth.ErrNoSession) {
		t.Errorf("Replace: %v, want ErrNoSession", err)
	}
	if _, err := s.Load(t.Context(), key); !errors.Is(err, kiboauth.ErrNoSession) {
		t.Errorf("Load afterwards: %v, want ErrNoSession", err)
	}
}

func touchSeen(t *testing.T, s *Store) {
	key, r := create(t, s, "touch")
	for _, step := range []struct{ at, want int64 }{
		{r.Seen + 90_000, r.Seen + 90_000},
		{r.Seen + 60_000, r.Seen + 90_000},
	} {
		if err := s.Touch(t.Context(), key, step.at); err != nil {
			t.Fatal(err)
		}
		got, err := s.Load(t.Context(), key)
		if err != nil || got.Seen != step.want || got.Version != 1 {
			t.Errorf("after Touch to %d: %+v, %v; want Seen %d in version 1", step.at, got, err, step.want)
		}
	}
	if err := s.Touch(t.Context(), newKey(), now()); !errors.Is(err, kiboauth.ErrNoSession) {
		t.Errorf("Touch of nothing: %v, want ErrNoSession", err)
	}
}

func deleteEnds(t *testing.T, s *Store) {
	key, r := create(t, s, "delete")
	for range 2 { // to end one that is not there is no error
		if err := s.Delete(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
	_, loadErr := s.Load(t.Context(), key)
	for name, err := range map[string]error{
		"Load":    loadErr,
		"Touch":   s.Touch(t.Context(), key, now()),
		"Replace": s.Replace(t.Context(), key, 1, next(r)),
	} {
		if !errors.Is(err, kiboauth.ErrNoSession) {
			t.Errorf("%s after Delete: %v, want ErrNoSession", name, err)
		}
	}
}

func expiry(t *testing.T, s *Store) {
	for _, which := range []string{"ends", "idle"} {
		key, r := newKey(), newRecord("expiry")
		if which == "ends" {
			r.Ends = now() + 300
		} else {
			r.Idle = 300
		}
		if err := s.Create(t.Context(), key, r); err != nil {
			t.Fatal(err)
		}
		redistest.Await(t, 5*time.Second, "end by "+which, func() bool {
			_, err := s.Load(t.Context(), key)
			return errors.Is(err, kiboauth.ErrNoSession)
		})
		if now() < r.Expires() {
			t.Errorf("the session was gone %d ms too early", r.Expires()-now())
		}
		if err := s.Touch(t.Context(), key, now()); !errors.Is(err, kiboauth.ErrNoSession) {
			t.Errorf("Touch of a session that expired: %v, want ErrNoSession", err)
		}
	}
}

func replaceRace(t *testing.T, s *Store) {
	key, r := create(t, s, "race")
	var wins sync.Map
	var group sync.WaitGroup
	for i := range 20 {
		group.Go(func() {
			switch err := s.Replace(t.Context(), key, 1, next(r)); {
			case err == nil:
				wins.Store(i, true)
			case !errors.Is(err, kiboauth.ErrConflict):
				t.Errorf("Replace: %v", err)
			}
		})
	}
	group.Wait()
	won := 0
	wins.Range(func(any, any) bool { won++; return true })
	if won != 1 {
		t.Errorf("%d of 20 replaced version 1, want one", won)
	}
}

func listCustomer(t *testing.T, s *Store) {
	want := map[kiboauth.Key]bool{}
	for range 250 { // more than one chunk
		key, _ := create(t, s, "list-mine")
		want[key] = true
	}
	other, _ := create(t, s, "list-other")
	gone, _ := create(t, s, "list-mine")
	if err := s.Delete(t.Context(), gone); err != nil {
		t.Fatal(err)
	}
	got := list(t, s, "list-mine")
	for key := range want {
		if got[key] == nil {
			t.Error("a session is missing")
		}
	}
	if len(got) != len(want) || got[other] != nil || got[gone] != nil {
		t.Errorf("%d sessions, want %d", len(got), len(want))
	}
	for range s.List(t.Context(), "list-mine") {
		break // must not go on
	}
}

func listAll(t *testing.T, s *Store) {
	want := map[kiboauth.Key]string{}
	for i := range 300 {
		customer := "all-" + strconv.Itoa(i%7)
		key, _ := create(t, s, customer)
		want[key] = customer
	}
	got := list(t, s, "")
	for key, customer := range want {
		if got[key] == nil || got[key].Customer != customer {
			t.Error("a session is missing, or has the wrong customer")
		}
	}
}

func lockHolder(t *testing.T, s *Store) {
	key := newKey()
	unlock, err := s.Lock(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := s.Lock(ctx, key); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a second Lock: %v, want the end of its time", err)
	}
	unlock()
	unlock() // once more does no harm
	again, err := s.Lock(t.Context(), key)
	if err != nil {
		t.Fatalf("Lock after unlock: %v", err)
	}
	again()
}

// TestIndexEndsWithItsSessions: an index must not outlive its last session, nor
// die before.
func TestIndexEndsWithItsSessions(t *testing.T) {
	s, server := start(t)
	_, r := create(t, s, "index")
	long := newRecord("index")
	long.Ends = r.Ends + time.Hour.Milliseconds()
	if err := s.Create(t.Context(), newKey(), long); err != nil {
		t.Fatal(err)
	}
	create(t, s, "index")
	got := strings.TrimSpace(server.CLI("PEXPIRETIME", s.client.indexName("index")))
	if want := number(long.Ends); got != want {
		t.Errorf("the index ends at %s, want %s", got, want)
	}
}

// TestIndexForgetsExpired: members do not pile up.
func TestIndexForgetsExpired(t *testing.T) {
	s, server := start(t)
	name := s.client.indexName("pile")
	key := newKey()
	server.CLI("ZADD", name, number(now()-1000), encode(&key))
	create(t, s, "pile")
	if got := strings.TrimSpace(server.CLI("ZCARD", name)); got != "1" {
		t.Errorf("the index has %s members, want 1", got)
	}
}

// TestIndexWithoutRecord: what was indexed and never created is no session.
func TestIndexWithoutRecord(t *testing.T) {
	s, _ := start(t)
	key := newKey()
	if err := s.index(t.Context(), &key, newRecord("nobody")); err != nil {
		t.Fatal(err)
	}
	if got := list(t, s, "nobody"); len(got) != 0 {
		t.Errorf("%d sessions, want none", len(got))
	}
}

// TestSlowServerClock: what Redis has not expired yet, but should have, is none.
func TestSlowServerClock(t *testing.T) {
	s, server := start(t)
	key, r := newKey(), newRecord("clock")
	r.Ends = now() + 100
	if err := s.Create(t.Context(), key, r); err != nil {
		t.Fatal(err)
	}
	server.CLI("PERSIST", s.client.recordName(&key))
	server.CLI("PERSIST", s.client.indexName("clock"))
	redistest.Await(t, 5*time.Second, "end", func() bool { return now() > r.Ends })
	_, loadErr := s.Load(t.Context(), key)
	for name, err := range map[string]error{
		"Load":    loadErr,
		"Touch":   s.Touch(t.Context(), key, now()),
		"Replace": s.Replace(t.Context(), key, 1, next(newRecord("clock"))),
	} {
		if !errors.Is(err, kiboauth.ErrNoSession) {
			t.Errorf("%s: %v, want ErrNoSession", name, err)
		}
	}
	if n := len(list(t, s, "clock")) + len(list(t, s, "")); n > 0 {
		t.Errorf("the lists tell it %d times", n)
	}
}

// TestForeignData: what others keep under our names is an error, not "no
// session", and its text is not shown.
func TestForeignData(t *testing.T) {
	s, server := start(t)
	wrongType, half, garbled := newKey(), newKey(), newKey()
	server.CLI("SET", s.client.recordName(&wrongType), "foreign-text")
	server.CLI("HSET", s.client.recordName(&half), "v", "1")
	server.CLI("HSET", s.client.recordName(&garbled), "v", "foreign-text", "c", "c", "t", "1", "n", "1", "e", "1", "i", "1", "b", "b")
	for name, key := range map[string]kiboauth.Key{"another type": wrongType, "half a record": half, "no number": garbled} {
		_, err := s.Load(t.Context(), key)
		if err == nil || errors.Is(err, kiboauth.ErrNoSession) || strings.Contains(err.Error(), "foreign-text") {
			t.Errorf("%s: %v, want an error that is not ErrNoSession and shows nothing", name, err)
		}
	}
}

// TestMemoryFull: a full Redis refuses new sessions and keeps the others.
func TestMemoryFull(t *testing.T) {
	s, server := start(t)
	key, _ := create(t, s, "full")
	server.CLI("CONFIG", "SET", "maxmemory", "1")
	err := s.Create(t.Context(), newKey(), newRecord("full"))
	if !errors.Is(err, kiboauth.ErrStoreFull) || !strings.Contains(err.Error(), "maxmemory") {
		t.Errorf("Create: %v, want ErrStoreFull with a hint at maxmemory", err)
	}
	if _, err := s.Load(t.Context(), key); err != nil {
		t.Errorf("Load: %v", err)
	}
	if err := s.Delete(t.Context(), key); err != nil {
		t.Errorf("Delete: %v", err)
	}
}
