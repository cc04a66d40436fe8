package kiboauth

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/kiboauth/caddy-kibo-auth/internal/kibo"
	"github.com/kiboauth/caddy-kibo-auth/internal/kibosim"
)

// gathered are all metrics as /metrics shows them, histograms by their counts.
func gathered(t *testing.T) map[string]float64 {
	t.Helper()
	ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
	defer cancel()
	for range 2 { // as two sites do
		if err := provisionMetrics(ctx); err != nil {
			t.Fatal(err)
		}
	}
	families, err := ctx.GetMetricsRegistry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]float64{}
	for _, family := range families {
		short, ours := strings.CutPrefix(family.GetName(), "caddy_kibo_")
		if !ours {
			continue
		}
		for _, m := range family.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetValue())
			}
			all[short+" "+strings.Join(labels, ", ")] = m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return all
}

// wantCounted does something, and wants these metrics, and no others, to come to
// have changed by one: a call to Kibo may end after the answer to the customer.
func wantCounted(t *testing.T, what string, do func(), want ...string) {
	t.Helper()
	before := gathered(t)
	do()
	slices.Sort(want)
	var changed []string
	if !comesTo(func() bool { changed = changedSince(t, before); return slices.Equal(changed, want) }) {
		t.Errorf("%s: counted %q, want %q", what, changed, want)
	}
}

// changedSince names the metrics that have changed, and by how much if it is not one.
func changedSince(t *testing.T, before map[string]float64) (changed []string) {
	t.Helper()
	for name, n := range gathered(t) {
		switch by := math.Abs(n - before[name]); by {
		case 0:
		case 1:
			changed = append(changed, name)
		default:
			changed = append(changed, fmt.Sprintf("%s by %v", name, by))
		}
	}
	slices.Sort(changed)
	return changed
}

func TestMetrics(t *testing.T) {
	g := newGateway(t, withLimits)
	var kept, code, cookie string
	open := func() { g.serve(request(t, http.MethodGet, "/account", page()...)) }
	wantCounted(t, "a page without a session", open, "answers_total no_session")
	wantCounted(t, "the same for a script", func() { g.serve(request(t, http.MethodGet, "/account")) }, "answers_total no_session")
	wantCounted(t, "the form", func() { g.serve(request(t, http.MethodGet, "/login", page()...)) })
	wantCounted(t, "an address", func() { kept, code = g.firstStep(jane) },
		"answers_total code_sent", "call_duration_seconds oauth, ok", "call_duration_seconds otp/request, ok")
	wantCounted(t, "it again at once", func() { g.askFrom("192.0.2.1", jane, "") },
		"answers_total code_sent", "limited_total send pause 30s")
	wantCounted(t, "a wrong code", func() { g.codePost(jane, wrong(code), kept) }, "answers_total rejected", "call_duration_seconds otp/auth, rejected")
	wantCounted(t, "the right one", func() {
		c := g.codePost(jane, code, kept).cookie(g.cookies.session)
		cookie = c.Name + "=" + c.Value
	}, "answers_total signed_in", "call_duration_seconds otp/auth, ok", "sessions memory")
	wantCounted(t, "a page with a session", func() { g.open(cookie) })
	wantCounted(t, "a bad address", func() { g.passwordPost("nobody", right, "") }, "answers_total bad_address")
	wantCounted(t, "a customer of the second factor", func() { g.passwordPost(tove, right, "") },
		"answers_total second_step", "call_duration_seconds password, ok")

	store := g.breakStore()
	store.load = errors.New("disk is gone")
	wantCounted(t, "a store that is down", func() { g.open(cookie) }, "answers_total unavailable", "store_errors_total loading a session")
	store.load = nil
	g.sim.Set(func(sw *kibosim.Switches) { sw.Faults["password"] = kibosim.Fault{Kind: "html_500"} })
	wantCounted(t, "Kibo's failure", func() { g.passwordPost(john, right, "") }, "answers_total unavailable", "call_duration_seconds password, failed")
	before := gathered(t)
	for i := range 5 {
		g.passwordPost(fmt.Sprint(i, "@example.com"), right, "")
	}
	after := gathered(t)
	for name, want := range map[string]float64{"outages_total api": 1, "answers_total unavailable": 5, "call_duration_seconds password, failed": 4} {
		if got := after[name] - before[name]; got != want {
			t.Errorf("five more failures: %s grew by %v, want %v", name, got, want)
		}
	}
	wantCounted(t, "a sign-out", func() {
		g.serve(post(t, "/logout", url.Values{}, "Cookie", cookie))
	}, "answers_total signed_out", "sessions memory")
}

// TestOutcomeOfACall: how a call ends is one of four.
func TestOutcomeOfACall(t *testing.T) {
	for want, err := range map[string]error{
		"ok": nil, "rejected": fmt.Errorf("a: %w", kibo.ErrRejected), "limited": kibo.ErrLimited, "failed": kibo.ErrUnavailable,
	} {
		wantCounted(t, want, func() { countCall("test", time.Second, err) }, "call_duration_seconds test, "+want)
	}
}

// TestClientThatLeavesIsNoStoreError: nor does a store fail that says that there
// is no session.
func TestClientThatLeavesIsNoStoreError(t *testing.T) {
	for _, err := range []error{nil, ErrNoSession, ErrConflict, fmt.Errorf("asking: %w", context.Canceled)} {
		wantCounted(t, fmt.Sprint(err), func() { _ = storeError("loading a session", err) })
	}
}

// sizedStore is a store of some name and size.
type sizedStore struct {
	*memory
	name string
	err  error
}

func (s *sizedStore) Size(context.Context) (string, int64, error) {
	if s.name == "/panic" {
		panic("out of order")
	}
	return s.name, 7, s.err
}

// TestSessionGauge: a store that several sites share counts once, one that
// cannot answer not at all, and no store breaks the page.
func TestSessionGauge(t *testing.T) {
	stores := []Store{
		&sizedStore{name: "/a"}, &sizedStore{name: "/a"}, &sizedStore{name: "/b\xff"}, &sizedStore{name: "/b\xfe"},
		&sizedStore{name: "/down", err: errors.New("locked")}, &sizedStore{name: "/panic"}, newRemoteStore(t),
	}
	for _, s := range stores {
		g := newGateway(t)
		g.sessions.Store = s
		defer func(before Store) { g.sessions.Store = before }(g.sessions.Store)
	}
	for name, n := range gathered(t) {
		if strings.HasPrefix(name, "sessions ") && (n != 7 || name != "sessions /a" && name != "sessions /b?") {
			t.Errorf("%s: %v", name, n)
		}
	}
}

// TestMetricsDocumented: docs/operations.md has each metric, and no other.
func TestMetricsDocumented(t *testing.T) {
	text, err := os.ReadFile("docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	described := make(chan *prometheus.Desc, 100)
	for _, m := range metrics {
		m.Describe(described)
	}
	close(described)
	var have, told []string
	for d := range described {
		have = append(have, regexp.MustCompile(`caddy_kibo_\w+`).FindString(d.String()))
	}
	for _, row := range regexp.MustCompile("(?m)^\\| `(caddy_kibo_\\w+)").FindAllStringSubmatch(string(text), -1) {
		told = append(told, row[1])
	}
	slices.Sort(have)
	slices.Sort(told)
	if !slices.Equal(have, told) {
		t.Errorf("docs/operations.md has %q, the gateway %q", told, have)
	}
}
