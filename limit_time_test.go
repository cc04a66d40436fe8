package kiboauth

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/kiboauth/caddy-kibo-auth/internal/kibosim"
)

// What is refused takes as long as all that is, and looks the same; our own
// limits and outages do not wait.
func TestTimeTellsNothing(t *testing.T) {
	const floor = 80 * time.Millisecond
	g := newGateway(t, withPassword, func(h *Handler) { h.Limits.Floor = caddy.Duration(floor) })
	sizes := map[int]bool{}
	addresses := []string{"jane@example.com", "nope@example.com", "locked@example.com", "nootp@example.com", "inactive@example.com"}
	for _, email := range addresses {
		var took []time.Duration
		for range 5 {
			o := g.askFrom("192.0.2.1", email, "")
			start := time.Now()
			o = g.codeFrom("192.0.2.1", email, "999999", o.kept())
			took = append(took, time.Since(start))
			sizes[len(strings.ReplaceAll(o.Body.String(), email, ""))] = true
			if o.Code != http.StatusUnauthorized || took[len(took)-1] < floor {
				t.Errorf("%s: status %d after %s, want 401 after %s", email, o.Code, took[len(took)-1], floor)
			}
		}
		slices.Sort(took)
		t.Logf("%-22s median %s", email, took[len(took)/2].Round(100*time.Microsecond))
	}
	if len(sizes) != 1 {
		t.Errorf("answers have sizes %v, want one", sizes)
	}
}

// A known address and another that needs one more factor take as long as a
// refused one; what is no answer of Kibo's does not wait.
func TestWhatWaits(t *testing.T) {
	const floor = 10 * time.Second // nobody waits that long here
	g := newGateway(t, withLimits, func(h *Handler) { h.Limits.Floor = caddy.Duration(floor) })
	start := time.Now()
	o := g.askFrom("192.0.2.1", jane, "")
	kept, code := o.kept(), g.mailed()
	g.codeFrom("192.0.2.1", jane, code, kept)
	g.askFrom("192.0.2.1", "no address", "")
	g.codeFrom("192.0.2.1", jane, code, "") // nothing pending
	for range 5 {
		v, err := (&attempt{h: g.Handler, r: request(t, http.MethodPost, "/login")}).visitor(t.Context(), john)
		if err != nil {
			t.Fatal(err)
		}
		v.client = "192.0.2.1"
		if _, err := g.limits.guess(t.Context(), v, g.log); err != nil {
			t.Fatal(err)
		}
	}
	g.wantLimited(g.passwordFrom("192.0.2.1", john, "wrong", ""))
	g.sim.Set(func(sw *kibosim.Switches) { sw.Faults["password"] = kibosim.Fault{Kind: "html_500"} })
	g.passwordFrom("192.0.2.1", tove, "wrong", "")
	if time.Since(start) >= floor {
		t.Error("somebody had to wait")
	}
}
