package kiboauth

import (
	"errors"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/kiboauth/caddy-kibo-auth/internal/kibosim"
	"github.com/kiboauth/caddy-kibo-auth/internal/verify"
)

// What Kibo may say to a refresh that ends the session.
func TestRefreshIsRefused(t *testing.T) {
	with := func(f func(*kibosim.Switches)) func(*kibosim.Sim) { return func(s *kibosim.Sim) { s.Set(f) } }
	jwt := func(variant string) func(*kibosim.Sim) {
		return with(func(sw *kibosim.Switches) { sw.JWT = variant })
	}
	account := kibosim.Customer{AccountID: 1001, Email: jane, FirstName: "Jane", LastName: "Doe"}
	locked, inactive := account, account
	locked.Locked, inactive.Inactive = true, true
	for name, change := range map[string]func(*kibosim.Sim){
		"refresh token expired": func(s *kibosim.Sim) { s.Advance(21 * time.Minute) },
		"refresh token expired 401": func(s *kibosim.Sim) {
			s.Advance(21 * time.Minute)
			s.Set(func(sw *kibosim.Switches) { sw.ExpiredRefreshStatus = 401 })
		},
		"locked": func(s *kibosim.Sim) { s.AddCustomer(locked) },
		"ticket says locked": func(s *kibosim.Sim) {
			s.AddCustomer(locked)
			s.Set(func(sw *kibosim.Switches) { sw.LockedStatus = 200 })
		},
		"ticket says inactive": func(s *kibosim.Sim) { s.AddCustomer(inactive) },
		"another customer":     with(func(sw *kibosim.Switches) { sw.OtherCustomer = true }),
		"no token":             with(func(sw *kibosim.Switches) { sw.MissingJWT = true }),
		"alg none":             jwt("alg_none"),
		"garbage":              jwt("garbage"),
		"expired":              jwt("exp_past"),
		"inner end past":       jwt("inner_past"),
		"not yet valid":        jwt("nbf_future"),
		"wrong issuer":         jwt("wrong_issuer"),
		"wrong audience":       jwt("wrong_audience"),
		"wrong account":        jwt("wrong_account"),
		"wrong subject":        jwt("wrong_subject"),
		"anonymous":            jwt("anonymous"),
		"no user claims":       jwt("missing_user_claims"),
	} {
		t.Run(name, func(t *testing.T) {
			g := newGateway(t)
			g.sim.Set(func(sw *kibosim.Switches) { sw.RefreshTTL = 20 * time.Minute })
			cookie, other := g.signIn(jane), g.signIn(john)
			g.edit(cookie, lapse)
			change(g.sim)
			g.wantEnded(g.open(cookie), cookie)
			g.wantRefreshes(1)
			g.wantEnded(g.open(cookie), cookie)
			g.wantRefreshes(1)
			if g.session(other) == nil {
				t.Error("somebody else's session ended too")
			}
		})
	}
}

// While Kibo is in trouble a session lives as long as its ticket, and is not
// lost when that has lapsed.
func TestRefreshOutage(t *testing.T) {
	for _, kind := range []string{"html_500", "empty_502", "garbage", "null_json", "empty_200", "error_200", "redirect", "unauthorized_app"} {
		t.Run(kind, func(t *testing.T) {
			g := newGateway(t)
			cookie := g.signIn(jane)
			g.sim.Set(func(sw *kibosim.Switches) { sw.Faults["refresh"] = kibosim.Fault{Kind: kind} })
			g.edit(cookie, func(s *live) { s.due = ago(time.Second) })
			g.wantServed(g.open(cookie), "1001")
			g.settle(cookie)
			g.wantPause(cookie)
			calls := g.sim.Calls("refresh")
			for range 10 {
				g.wantServed(g.open(cookie), "1001")
				g.settle(cookie)
			}
			g.wantRefreshes(calls) // it waits before it asks again
			g.edit(cookie, func(s *live) { lapse(s); s.retryAt = 0 })
			g.wantUnavailable(g.open(cookie))
			g.wantStormCalm(cookie)

			g.sim.Set(func(sw *kibosim.Switches) { sw.Faults = nil })
			g.edit(cookie, func(s *live) { s.retryAt = ago(time.Second) })
			g.wantServed(g.open(cookie), "1001")
			if s := g.session(cookie); s.retries != 0 || s.retryAt != 0 {
				t.Errorf("after recovery: %d failures, want 0", s.retries)
			}
		})
	}
}

// In its grace a session is served although Kibo cannot refresh it, the shop is
// told, and the session is as before once Kibo is well again.
func TestGrace(t *testing.T) {
	g := newGateway(t, func(h *Handler) { h.Session.Grace = caddy.Duration(10 * time.Minute) })
	cookie := g.signIn(jane)
	g.sim.Set(func(sw *kibosim.Switches) { sw.Faults["refresh"] = kibosim.Fault{Kind: "empty_502"} })
	g.edit(cookie, lapse)
	stale := func(o outcome) string {
		return o.upstream.Header.Get("Kibo-Stale") + " " + o.repl.ReplaceAll("{http.auth.user.stale}", "?")
	}
	for range 5 {
		o := g.open(cookie, "Kibo-Stale", "forged")
		g.wantServed(o, "1001")
		if got := stale(o); got != "true true" {
			t.Errorf("the shop is told %q, want that the session is stale", got)
		}
		g.settle(cookie)
	}
	g.wantRefreshes(1) // the next try is put off as ever
	g.edit(cookie, func(s *live) { s.retryAt = ago(time.Second) })
	g.wantServed(g.open(cookie), "1001") // at once, while it is tried again
	g.settle(cookie)
	g.wantRefreshes(2)

	g.edit(cookie, func(s *live) { s.good, s.retryAt = ago(11*time.Minute), ago(-time.Minute) })
	g.wantUnavailable(g.open(cookie))

	g.sim.Set(func(sw *kibosim.Switches) { sw.Faults = nil })
	g.edit(cookie, func(s *live) { s.retryAt = ago(time.Second) })
	o := g.open(cookie, "Kibo-Stale", "forged")
	g.wantServed(o, "1001")
	if got := stale(o); got != " false" {
		t.Errorf("the shop is told %q of a good session", got)
	}
}

// After a restart every session needs a verdict. Who waits for one has nothing
// to do with a refresh that fails at the same time.
func TestVerdictDuringAFailingRefresh(t *testing.T) {
	g := newGateway(t)
	cookie := g.signIn(jane)
	g.edit(cookie, func(s *live) { s.due = ago(time.Second) })
	kibo := g.holdUp("/refresh")
	g.sim.Set(func(sw *kibosim.Switches) { sw.Faults["refresh"] = kibosim.Fault{Kind: "empty_502"} })
	g.wantServed(g.open(cookie), "1001")
	kibo.await(t) // the refresh is under way
	g.edit(cookie, func(s *live) { s.stamp = 0 })
	done := make(chan outcome)
	go func() { done <- g.open(cookie) }()
	g.wantServed(await(t, done), "1001")
	close(kibo.goOn)
	g.settle(cookie)
}

// Grace is for Kibo's troubles. Who is refused, or whose store is down, has none.
func TestNoGraceForTheRefused(t *testing.T) {
	g := newGateway(t, func(h *Handler) {
		h.Session.Grace, h.Timeout = caddy.Duration(10*time.Minute), caddy.Duration(time.Second)
	})
	cookie := g.signIn(jane)
	g.edit(cookie, lapse)
	store := g.breakStore()
	store.replace = errors.New("disk is full")
	g.wantUnavailable(g.open(cookie))
	store.replace = nil
	g.edit(cookie, lapse)
	g.sim.Set(func(sw *kibosim.Switches) { sw.JWT = "garbage" })
	g.wantEnded(g.open(cookie), cookie)
}

// wantUnavailable checks that nobody is let in or signed out.
func (g *gateway) wantUnavailable(o outcome) {
	g.t.Helper()
	wait, err := strconv.Atoi(o.Header().Get("Retry-After"))
	if o.Code != http.StatusServiceUnavailable || o.upstream != nil || err != nil || wait < 1 {
		g.t.Errorf("status %d, Retry-After %q, want 503 and some seconds", o.Code, o.Header().Get("Retry-After"))
	}
	if set := o.Header()["Set-Cookie"]; set != nil {
		g.t.Error("trouble touches the browser's cookies")
	}
}

// wantPause checks that the next try is put off, and puts it off for longer than
// any test takes.
func (g *gateway) wantPause(cookie string) {
	g.t.Helper()
	if s := g.session(cookie); s == nil || s.retries == 0 || s.retryAt < s.Seen+firstBackoff.Milliseconds() {
		g.t.Errorf("the next try is not put off: %+v", s)
		return
	}
	g.edit(cookie, func(s *live) { s.retryAt = ago(-time.Hour) })
}

// wantStormCalm checks that many requests of a lapsed session do not all ask.
func (g *gateway) wantStormCalm(cookie string) {
	g.t.Helper()
	g.wantPause(cookie)
	calls := g.sim.Calls("refresh")
	var wg sync.WaitGroup
	for range 60 {
		wg.Go(func() { g.wantUnavailable(g.open(cookie)) })
	}
	wg.Wait()
	g.wantRefreshes(calls)
	if g.session(cookie) == nil {
		g.t.Error("trouble at Kibo ended the session")
	}
}

// A request that looked before a refresh failed does not try at once again.
func TestLatecomerInAnOutage(t *testing.T) {
	g := newGateway(t)
	cookie := g.signIn(jane)
	g.edit(cookie, lapse)
	seen := g.session(cookie)
	g.edit(cookie, func(s *live) { s.retryAt = ago(-time.Hour) })
	if _, err := g.renew(t.Context(), g.id(cookie), seen.Session); !errors.Is(err, errTryLater) {
		t.Errorf("renew: %v, want errTryLater", err)
	}
	g.wantRefreshes(0)
}

func TestRefreshIsLimited(t *testing.T) {
	g := newGateway(t)
	cookie := g.signIn(jane)
	g.sim.Set(func(sw *kibosim.Switches) { sw.Faults["refresh"] = kibosim.Fault{Kind: "rate_limited", RetryAfter: 90} })
	g.edit(cookie, lapse)
	o := g.open(cookie)
	if o.Code != http.StatusTooManyRequests && o.Code != http.StatusServiceUnavailable || o.Header().Get("Retry-After") != "90" {
		t.Errorf("status %d, Retry-After %q, want 429 or 503 and 90", o.Code, o.Header().Get("Retry-After"))
	}
	s := g.session(cookie)
	if s == nil || time.Until(time.UnixMilli(s.retryAt)) < 80*time.Second {
		t.Error("the pause that Kibo asked for is not kept")
	}
	g.open(cookie)
	g.wantRefreshes(1)
}

func TestLogoutDuringRefresh(t *testing.T) {
	g := newGateway(t)
	cookie := g.signIn(jane)
	g.edit(cookie, lapse)
	kibo := g.holdUp("/refresh")
	done := make(chan outcome)
	go func() { done <- g.open(cookie) }()
	kibo.await(t)
	if o := g.serve(post(t, "/logout", nil, "Cookie", cookie)); o.Code != http.StatusSeeOther {
		t.Errorf("logout: status %d, want 303", o.Code)
	}
	close(kibo.goOn)
	g.wantEnded(<-done, cookie)
	g.wantEnded(g.open(cookie), cookie)
}

func TestStoreFailsDuringRefresh(t *testing.T) {
	g := newGateway(t, func(h *Handler) { h.Timeout = caddy.Duration(time.Second) })
	cookie := g.signIn(jane)
	g.edit(cookie, lapse)
	store := g.breakStore()
	store.replace = errors.New("disk is full")
	g.wantUnavailable(g.open(cookie))
	store.replace = nil
	if g.session(cookie) == nil {
		t.Error("a store that cannot write ended the session")
	}
}

// A failover takes seconds; the new ticket, which nobody else has, outlasts it.
func TestTicketIsSavedWhenTheStoreIsBack(t *testing.T) {
	g := newGateway(t)
	cookie := g.signIn(jane)
	g.edit(cookie, lapse)
	store := g.breakStore()
	failures := 3
	store.replaceFault = func() error {
		if failures--; failures >= 0 {
			return errors.New("no master")
		}
		return nil
	}
	g.wantServed(g.open(cookie), "1001")
	g.wantRefreshes(1)
	if s := g.session(cookie); s == nil || s.good < ago(0) {
		t.Error("the new ticket was lost")
	}
}

// What is written for another reason while a ticket is fetched does not cost
// the ticket.
func TestTicketMeetsAnotherWrite(t *testing.T) {
	g := newGateway(t)
	cookie := g.signIn(jane)
	g.edit(cookie, lapse)
	kibo := g.holdUp("/refresh")
	done := make(chan outcome)
	go func() { done <- g.open(cookie) }()
	kibo.await(t)
	old := g.session(cookie)
	if _, err := g.sessions.replace(t.Context(), g.id(cookie), old.Record, old.Session); err != nil {
		t.Fatal(err)
	}
	close(kibo.goOn)
	g.wantServed(<-done, "1001")
	if s := g.session(cookie); s.header(fieldRefreshToken) == old.header(fieldRefreshToken) {
		t.Error("the new ticket was lost")
	}
}

func TestStoreThatCannotNoteActivityServes(t *testing.T) {
	g := newGateway(t)
	cookie := g.signIn(jane)
	g.edit(cookie, func(s *live) { s.Seen = ago(10 * time.Minute) })
	g.breakStore().touch = errors.New("disk is full")
	g.wantServed(g.open(cookie), "1001")
	if g.logs.FilterMessage("noting a session's activity").Len() != 1 {
		t.Error("nobody is told that the store cannot write")
	}
}

// Keys or policy have changed: the kept token is judged anew, once.
func TestVerdictIsReachedAnew(t *testing.T) {
	g := newGateway(t)
	cookie := g.signIn(jane)
	g.edit(cookie, func(s *live) { s.stamp = 1 })
	g.wantServed(g.open(cookie), "1001")
	if s := g.session(cookie); s.stamp != g.verifier.Stamp() {
		t.Error("the new verdict is not kept")
	}
	g.edit(cookie, func(s *live) { s.stamp = 1; lapse(s) })
	g.wantServed(g.open(cookie), "1001") // refreshed, not ended for its old token
	g.wantRefreshes(1)

	g.Handler = g.provision(func(h *Handler) { h.Verify.Tenant = "99999" })
	g.wantEnded(g.open(cookie), cookie)
}

// Without keys nobody can tell: neither admitted nor signed out, and a ticket
// that was fetched meanwhile is not lost.
func TestKeysAreUnavailable(t *testing.T) {
	g := newGateway(t)
	g.sim.Set(func(sw *kibosim.Switches) { sw.JWT = "rs256"; sw.Faults["jwks"] = kibosim.Fault{Kind: "html_500"} })
	cookie := g.signIn(jane) // direct
	g.Handler = g.provision(func(h *Handler) { h.Verify.JWKS = g.kibo.URL + "/__sim/jwks" })
	g.wantUnavailable(g.open(cookie))

	seen := g.session(cookie)
	g.edit(cookie, lapse)
	g.wantUnavailable(g.open(cookie))
	g.wantRefreshes(1)
	if s := g.session(cookie); s == nil || s.stamp != 0 || s.header(fieldRefreshToken) == seen.header(fieldRefreshToken) {
		t.Error("the new ticket was not kept, or is taken for verified")
	}
	late := *seen.Session // a request that looked before the ticket came
	late.good -= time.Hour.Milliseconds()
	if s, err := g.renew(t.Context(), g.id(cookie), &late); !errors.Is(err, verify.ErrKeysUnavailable) {
		t.Errorf("renew = %v, %v: a token that nobody has verified is admitted", s, err)
	}
	g.wantUnavailable(g.open(cookie))
	g.wantRefreshes(1)
}
