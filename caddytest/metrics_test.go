package caddytest

import (
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/kiboauth/caddy-kibo-auth/internal/freeport"
)

// metric is the value of a line of Caddy's /metrics; "" if there is none.
func (w *world) metric(line string) string {
	w.t.Helper()
	found := regexp.MustCompile(`(?m)^`+regexp.QuoteMeta(line)+` (\S+)$`).FindAllStringSubmatch(w.ask(http.MethodGet, "/metrics").body, -1)
	if len(found) > 1 {
		w.t.Errorf("%s stands there %d times", line, len(found))
	}
	if len(found) == 0 {
		return ""
	}
	return found[0][1]
}

// TestMetricsOutliveReloads: they count on, once for two sites, and nothing that
// a client chooses is in them.
func TestMetricsOutliveReloads(t *testing.T) {
	w := start(t, setup{admin: freeport.Addr(t)})
	const signedIn, sessions = `caddy_kibo_answers_total{answer="signed_in"}`, `caddy_kibo_sessions{store="memory"}`
	w.browser().signIn(w, jane)
	if w.metric(signedIn) == "" || w.metric(sessions) == "" {
		t.Errorf("not counted: %q, %q", w.metric(signedIn), w.metric(sessions))
	}
	before := [2]string{w.metric(signedIn), w.metric(sessions)}
	for range 3 {
		w.reload()
		w.settle()
	}
	if after := [2]string{w.metric(signedIn), w.metric(sessions)}; after != before {
		t.Errorf("before the reloads %q, after them %q", before, after)
	}
	w.browser().signIn(w, john)
	if after := w.metric(signedIn); after == before[0] {
		t.Errorf("after the reloads nothing is counted: %q", after)
	}
	for _, own := range strings.Split(w.ask(http.MethodGet, "/metrics").body, "\n") {
		if strings.HasPrefix(own, "caddy_kibo_") && (strings.Contains(own, "@") || strings.Contains(own, janeID)) {
			t.Errorf("a customer in a metric: %s", own)
		}
	}
}
