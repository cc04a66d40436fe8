package main

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestFloodFigures: what is reported is what was measured, each block by itself.
func TestFloodFigures(t *testing.T) {
	second := func(requests int, cpu time.Duration) sample {
		return sample{requests: requests, wall: time.Second, cpu: cpu}
	}
	one := block{
		by:   [sides]sample{none: second(1000, 100*time.Millisecond), ours: second(950, 105*time.Millisecond), plain: second(980, 98*time.Millisecond)},
		calm: []sample{second(500, 0), second(500, 0)}, posts: [sides]int64{ours: 200, plain: 200}, control: 4 * time.Millisecond,
	}
	if ours, control := one.perPost(); ours < 49.9 || ours > 50.1 || control < 19.9 || control > 20.1 {
		t.Errorf("perPost = %.1f, %.1f, want 50, 20", ours, control)
	}
	var out bytes.Buffer
	reportFlood(&out, new(flood), []block{one, one, one}, time.Second)
	for _, want := range []string{"÷ no flood** | 0.950 (0.950–0.950) | ≥ 0.90: holds", "same core ÷ no flood | 0.980", "| 200 | 50 (50–50) | 10 %"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, out.String())
		}
	}
}

// TestFloodComesFromManyAddresses, each its own, and only while it is on.
func TestFloodComesFromManyAddresses(t *testing.T) {
	var mu sync.Mutex
	from, emails := map[string]bool{}, map[string]bool{}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		from[r.RemoteAddr] = true
		emails[r.FormValue("email")] = true
		w.WriteHeader(http.StatusTooManyRequests)
	}))
	defer srv.Close()
	f := newFlood(&gateway{addr: srv.Listener.Addr().String()}, &gateway{})
	for i := range 20 {
		f.post(t.Context(), ours, i)
	}
	if len(from) != 20 || len(emails) != 20 || f.answers(ours) != "20 × 429" {
		t.Errorf("%d addresses, %d e-mails, answers %s; want 20, 20 and 20 × 429", len(from), len(emails), f.answers(ours))
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if f.run(over); f.sent.Load() != 20 {
		t.Errorf("%d posts after its end, want 20", f.sent.Load())
	}
}
