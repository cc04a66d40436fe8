package kiboauth

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/patrickmn/go-cache"
)

// Lengths of Kibo's tokens as they come from production: access token,
// jwtAccessToken, refresh token.
const (
	accessTokenLen  = 450
	jwtLen          = 1600
	refreshTokenLen = 32
)

// typicalSession is a session of customer i in a realm with tokens as long as Kibo's, or
// without any, which shows what the rest takes.
func typicalSession(realm string, i int, tokens bool) *Record {
	now := time.Now()
	s := &Session{
		limit: now.Add(24 * time.Hour).UnixMilli(), good: now.Add(15 * time.Minute).UnixMilli(),
		due: now.Add(12 * time.Minute).UnixMilli(), refreshEnds: now.Add(24 * time.Hour).UnixMilli(),
	}
	c := &customer{
		fieldAccountID: fmt.Sprint(100_000 + i), fieldUserID: fmt.Sprintf("%032x", i), fieldEmail: fmt.Sprintf("customer%d@example.com", i),
		fieldUserName: fmt.Sprintf("customer%d@example.com", i), fieldFirstName: "Jane", fieldLastName: "Doe",
		fieldSegments: "vip,newsletter", fieldLocale: "en-US", fieldAccountType: "B2C", fieldTenant: "10001", fieldSite: "20002",
	}
	if tokens {
		c[fieldAccessToken] = strings.Repeat("a", accessTokenLen)
		c[fieldBearer] = bearerPrefix + strings.Repeat("j", jwtLen)
		c[fieldRefreshToken] = strings.Repeat("r", refreshTokenLen)
	}
	s.pack(realm, c)
	return newRecord(s, now, time.Hour)
}

const memoryRealm = "realm-of-12b"

// filledMemory is a memory store with n sessions of as many customers.
func filledMemory(tb testing.TB, n int, tokens bool) *memory {
	tb.Helper()
	m := newMemory()
	tb.Cleanup(func() { _ = m.Destruct() })
	m.limit.Store(int64(n))
	for i := range n {
		if err := m.Create(tb.Context(), newSessionID(memoryRealm).key, typicalSession(memoryRealm, i, tokens)); err != nil {
			tb.Fatalf("Create: %v", err)
		}
	}
	return m
}

// memoryOfSessions returns what one of n sessions takes: bytes of live heap,
// and objects that the garbage collector must look at.
func memoryOfSessions(tb testing.TB, n int, tokens bool) (bytes, objects float64) {
	tb.Helper()
	before := liveHeap()
	m := filledMemory(tb, n, tokens)
	after := liveHeap()
	runtime.KeepAlive(m)
	return (float64(after.HeapAlloc) - float64(before.HeapAlloc)) / float64(n),
		(float64(after.HeapObjects) - float64(before.HeapObjects)) / float64(n)
}

// liveHeap collects garbage first; twice, since a first collection only moves
// what pools hold.
func liveHeap() (stats runtime.MemStats) {
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&stats)
	return stats
}

// TestSessionMemory holds the documented "under 3 kB a session", in so few
// objects that a million sessions do not keep the collector busy.
func TestSessionMemory(t *testing.T) {
	bytes, objects := memoryOfSessions(t, 20_000, true)
	if bytes <= 0 || bytes > 3000 {
		t.Errorf("a session takes %.0f bytes, want 3000 at most", bytes)
	}
	if objects <= 0 || objects > 4.5 {
		t.Errorf("a session takes %.2f heap objects, want 4 at most, and something for the shards", objects)
	}
}

func BenchmarkSessionMemory(b *testing.B) {
	for name, tokens := range map[string]bool{"with tokens": true, "without tokens": false} {
		b.Run(name, func(b *testing.B) {
			var bytes, objects float64
			for b.Loop() {
				bytes, objects = memoryOfSessions(b, 100_000, tokens)
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(bytes, "B/session")
			b.ReportMetric(objects, "objects/session")
		})
	}
}

// BenchmarkSweepLock shows how long a sweep keeps requests from their sessions
// at worst: the longest time for which it holds one lock, with a tenth of the
// sessions ended, in our store and in a single go-cache.
func BenchmarkSweepLock(b *testing.B) {
	const sessions = 200_000
	sweeps := map[string]func(m *memory) time.Duration{
		"256 shards": longestShardSweep,
		"one cache":  singleSweep,
	}
	for name, sweep := range sweeps {
		b.Run(name, func(b *testing.B) {
			worst := time.Duration(1<<63 - 1)
			for b.Loop() {
				b.StopTimer()
				m := filledMemory(b, sessions, false)
				endEveryTenth(m)
				b.StartTimer()
				worst = min(worst, sweep(m)) // the least disturbed round
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(worst.Microseconds()), "µs-locked")
		})
	}
}

// endEveryTenth lets every tenth session of each shard expire at once.
func endEveryTenth(m *memory) {
	for i := range m.shards {
		n := 0
		for key, item := range m.shards[i].cache.Items() {
			if n++; n%10 == 0 {
				m.shards[i].cache.Set(key, item.Object, time.Nanosecond)
			}
		}
	}
}

func longestShardSweep(m *memory) (longest time.Duration) {
	for i := range m.shards {
		start := time.Now()
		m.shards[i].cache.DeleteExpired()
		longest = max(longest, time.Since(start))
	}
	return longest
}

// singleSweep sweeps the same sessions in one cache.
func singleSweep(m *memory) time.Duration {
	items := map[string]cache.Item{}
	for i := range m.shards {
		for key, item := range m.shards[i].cache.Items() {
			items[key] = item
		}
		m.shards[i].cache.Flush()
	}
	one := cache.NewFrom(cache.NoExpiration, 0, items)
	for i, expired := 0, len(items)/9; i < expired; i++ { // Items leaves expired ones out
		one.Set(fmt.Sprintf("%032d", i), (*Session)(nil), time.Nanosecond)
	}
	start := time.Now()
	one.DeleteExpired()
	return time.Since(start)
}

// BenchmarkSessionInUse is what it costs to find a session that is used all the
// time: in the memory store, and near, where those of the other stores are kept.
func BenchmarkSessionInUse(b *testing.B) {
	keyring, err := newKeyring(caddy.Context{}, []string{testSecret})
	if err != nil {
		b.Fatal(err)
	}
	stores := map[string]func(testing.TB) Store{
		"memory": func(tb testing.TB) Store { return &MemoryStore{memory: testMemory(tb, 1000)} },
		"near":   func(tb testing.TB) Store { return newRemoteStore(tb) },
	}
	for name, store := range stores {
		b.Run(name, func(b *testing.B) {
			s := newSessions(store(b), keyring, memoryRealm)
			ids := inUse(b, s, 1000)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if _, err := s.load(b.Context(), ids[i%len(ids)]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// inUse creates n sessions, and uses each.
func inUse(b *testing.B, s *sessions, n int) []SessionID {
	b.Helper()
	ids := make([]SessionID, n)
	for i := range ids {
		ids[i] = newSessionID(memoryRealm)
		if err := s.create(b.Context(), ids[i], typicalSession(memoryRealm, i, true)); err != nil {
			b.Fatal(err)
		}
		if _, err := s.load(b.Context(), ids[i]); err != nil {
			b.Fatal(err)
		}
	}
	return ids
}
