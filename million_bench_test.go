package kiboauth

import (
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// BenchmarkMillion fills the memory store of a running Caddy with a million
// sessions and prints what requests feel of them: the memory, reloads, the
// collector, and the sweep while a tenth ends; the same with a thousand, where
// that is possible. It takes three minutes and 4 GB; bench/README.md says how
// to run it.
func BenchmarkMillion(b *testing.B) {
	const few, all = 1000, 1_000_000
	c, report := startMillionCaddy(b), new(millionReport)
	report.visits("no kibo_auth, reloads", c.visitReloads(b, bareSite))
	c.load(b, kiboSite)
	c.fill(b, few)
	report.visits("a thousand sessions, reloads", c.visitReloads(b, kiboSite))
	report.visits("a thousand sessions, collector once a second", c.visitCollections())

	c.cookies, c.keys = slices.Grow(c.cookies, all), slices.Grow(c.keys, all)
	before := liveHeap()
	c.fill(b, all)
	grown := liveHeap().HeapAlloc - before.HeapAlloc
	report.line("\nheap of the sessions: %.0f MB, %d B each", float64(grown)/1e6, grown/(all-few))
	report.visits("a million sessions, reloads", c.visitReloads(b, kiboSite))
	report.visits("a million sessions, collector once a second", c.visitCollections())
	report.probes("quiet", c.probe(b, 15*time.Second))
	endEveryTenth(c.store)
	report.probes("one round of the sweep, a tenth ended", c.probe(b, sweepEvery+time.Second))
	if left := c.store.count.Load(); left > all*91/100 {
		b.Errorf("%d sessions are left of %d: the sweep did not get round", left, all)
	}
	report.line("\nresident: %s, at most %s", residentMemory(b, "VmRSS"), residentMemory(b, "VmHWM"))
	b.ReportMetric(0, "ns/op")
	fmt.Println(report.text.String()) // b.Log cuts it short
}

// fill adds sessions until there are n. They are as a sign-in leaves them,
// verdict included, so that requests are admitted.
func (c *millionCaddy) fill(b *testing.B, n int) {
	b.Helper()
	realm, stamp := poolNames(b)
	for i := len(c.keys); i < n; i++ {
		r := typicalSession(realm, i, true)
		r.open.stamp = stamp
		id := newSessionID(realm)
		if err := c.store.Create(b.Context(), id.key, r); err != nil {
			b.Fatalf("Create: %v", err)
		}
		c.cookies, c.keys = append(c.cookies, [idLen]byte([]byte(id.value))), append(c.keys, id.key)
	}
}

// poolNames finds the realm and the verifier's stamp of the one gateway.
func poolNames(b *testing.B) (realm string, stamp uint64) {
	b.Helper()
	pool.Range(func(key, value any) bool {
		switch value := value.(type) {
		case *shared:
			realm = string(key.(sharedKey))
		case pooledVerifier:
			stamp = value.Stamp()
		}
		return true
	})
	if realm == "" {
		b.Fatal("no gateway is running")
	}
	return realm, stamp
}

// timings are how long calls of one kind took.
type timings struct {
	name string
	took []time.Duration
}

const (
	// probeEvery is the pause between probes: what would stall a request shows,
	// and the sweep and the collector still get the processor.
	probeEvery = 200 * time.Microsecond
	// probeBurst is how many calls of each kind a probe makes.
	probeBurst = 4
)

// probe times calls to the full store and, in the same moments, to one with a
// thousand sessions: what the machine and the collector do meets both.
func (c *millionCaddy) probe(b *testing.B, d time.Duration) []timings {
	b.Helper()
	ctx, few := b.Context(), filledMemory(b, 1000, true)
	var fewKeys []Key
	for l := range few.List(ctx, "") {
		fewKeys = append(fewKeys, l.Key)
	}
	kinds := []struct {
		name string
		call func()
	}{
		{"Load of 1,000,000", func() { _, _ = c.store.Load(ctx, c.keys[rand.IntN(len(c.keys))]) }},
		{"Load of 1,000", func() { _, _ = few.Load(ctx, fewKeys[rand.IntN(len(fewKeys))]) }},
		{"Touch of 1,000,000", func() { _ = c.store.Touch(ctx, c.keys[rand.IntN(len(c.keys))], time.Now().UnixMilli()) }},
		{"Touch of 1,000", func() { _ = few.Touch(ctx, fewKeys[rand.IntN(len(fewKeys))], time.Now().UnixMilli()) }},
	}
	all := make([]timings, len(kinds))
	for i, k := range kinds {
		all[i] = timings{k.name, make([]time.Duration, 0, int(d/probeEvery)*probeBurst)}
	}
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(probeEvery) {
		for i, k := range kinds {
			for range probeBurst {
				start := time.Now()
				k.call()
				all[i].took = append(all[i].took, time.Since(start))
			}
		}
	}
	return all
}

// millionReport is what is printed in the end.
type millionReport struct{ text strings.Builder }

func (r *millionReport) line(format string, args ...any) { fmt.Fprintf(&r.text, "\n"+format, args...) }

func (r *millionReport) probes(phase string, all []timings) {
	r.line("\n%s\n| | calls | p50 | p99 | p99.9 | longest |\n|---|---|---|---|---|---|", phase)
	for _, t := range all {
		r.row(t)
	}
}

// visits reports what visitors felt, and how long each of what went on took.
func (r *millionReport) visits(phase string, v visits) {
	r.line("\n%s (%s): %d of %d requests failed", phase, v.events, v.failed, len(v.took))
	r.line("| | requests | p50 | p99 | p99.9 | longest |\n|---|---|---|---|---|---|")
	r.row(timings{"answer, from when the request was due", v.took})
}

func (r *millionReport) row(t timings) {
	slices.Sort(t.took)
	r.line("| %s | %d | %s | %s | %s | %s |", t.name, len(t.took), quantile(t.took, 0.5), quantile(t.took, 0.99), quantile(t.took, 0.999), quantile(t.took, 1))
}

// quantile is the nearest-rank quantile of sorted times.
func quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))].Round(100 * time.Nanosecond)
}

// residentMemory reads a line of /proc/self/status (proc_pid_status(5)).
func residentMemory(b *testing.B, name string) string {
	b.Helper()
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return "unknown"
	}
	m := regexp.MustCompile(name + `:\s*([0-9]+) kB`).FindSubmatch(text)
	if m == nil {
		return "unknown"
	}
	kB, _ := strconv.Atoi(string(m[1]))
	return fmt.Sprintf("%.0f MB", float64(kB)*1024/1e6)
}
