package kiboauth

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kiboauth/caddy-kibo-auth/internal/kibo"
	"github.com/kiboauth/caddy-kibo-auth/internal/kibosim"
	"github.com/kiboauth/caddy-kibo-auth/internal/redact"
	"github.com/kiboauth/caddy-kibo-auth/internal/verify"
)

// open opens a protected page with a session's cookie.
func (g *gateway) open(cookie string, header ...string) outcome {
	g.t.Helper()
	return g.serve(request(g.t, http.MethodGet, "/account", append(page("Cookie", cookie), header...)...))
}

// wantServed checks that the upstream saw the customer.
func (g *gateway) wantServed(o outcome, account string) {
	g.t.Helper()
	if o.upstream == nil || o.Code != http.StatusOK {
		g.t.Errorf("status %d, want the shop's page", o.Code)
	} else if got := o.upstream.Header.Get("Kibo-Account-Id"); got != account {
		g.t.Errorf("Kibo-Account-Id = %q, want %q", got, account)
	}
}

// wantEnded checks that the session is over, and the browser sent to sign in.
func (g *gateway) wantEnded(o outcome, cookie string) {
	g.t.Helper()
	if o.Code != http.StatusSeeOther || o.upstream != nil || !strings.HasPrefix(o.Header().Get("Location"), "/login?") {
		g.t.Errorf("status %d to %q, want 303 to the login page", o.Code, o.Header().Get("Location"))
	}
	if c := o.cookie(g.cookies.session); c == nil || c.MaxAge >= 0 {
		g.t.Errorf("cookie = %v, want it taken back", c)
	}
	if g.session(cookie) != nil {
		g.t.Error("the session is still there")
	}
}

func (g *gateway) wantRefreshes(want int) {
	g.t.Helper()
	if got := g.sim.Calls("refresh"); got != want {
		g.t.Errorf("Kibo was asked to refresh %d times, want %d", got, want)
	}
}

// A ticket that is near its end, but good, makes nobody wait.
func TestRefreshBesideTheRequest(t *testing.T) {
	g := newGateway(t)
	cookie := g.signIn(jane)
	g.edit(cookie, func(s *live) { s.due = ago(time.Second) })
	old := g.session(cookie)
	kibo := g.holdUp("/refresh")
	for range 5 {
		g.wantServed(g.open(cookie), "1001")
	}
	kibo.await(t)
	close(kibo.goOn)
	g.settle(cookie)
	g.wantRefreshes(1)
	fresh := g.session(cookie)
	if fresh.Version != old.Version+1 || fresh.header(fieldRefreshToken) == old.header(fieldRefreshToken) {
		t.Errorf("version %d, want %d and a new refresh token", fresh.Version, old.Version+1)
	}
	g.wantServed(g.open(cookie), "1001")
	g.settle(cookie)
	g.wantRefreshes(1)
}

func TestRefreshOfALapsedTicket(t *testing.T) {
	g := newGateway(t)
	cookie := g.signIn(jane)
	g.edit(cookie, lapse)
	old := g.session(cookie)
	g.wantServed(g.open(cookie), "1001")
	g.wantRefreshes(1)
	s := g.session(cookie)
	if s.limit != old.limit || s.Created != old.Created || s.Seen < old.Seen || s.remembered != old.remembered || s.Idle != old.Idle {
		t.Error("a refresh moved the session's limits")
	}
	if now := time.Now().UnixMilli(); s.good <= now || s.due <= now || s.due >= s.good || s.refreshEnds <= s.good {
		t.Errorf("good %d, due %d, refresh ends %d: want due < good < end, all to come", s.good-now, s.due-now, s.refreshEnds-now)
	}
	if o := g.open(cookie); o.cookie(g.cookies.session) != nil {
		t.Error("a refresh sets a cookie")
	}
}

func TestRefreshStampede(t *testing.T) {
	g := newGateway(t)
	cookie := g.signIn(jane)
	g.edit(cookie, lapse)
	kibo := g.holdUp("/refresh")
	var wg sync.WaitGroup
	var served atomic.Int64
	for range 1000 {
		wg.Go(func() {
			if o := g.open(cookie); o.upstream != nil && o.upstream.Header.Get("Kibo-Account-Id") == "1001" {
				served.Add(1)
			}
		})
	}
	kibo.await(t)
	close(kibo.goOn)
	wg.Wait()
	g.wantRefreshes(1)
	if n := served.Load(); n != 1000 {
		t.Errorf("%d requests were served, want 1000", n)
	}
}

func TestVisitorLeavesDuringRefresh(t *testing.T) {
	g := newGateway(t)
	cookie := g.signIn(jane)
	g.edit(cookie, lapse)
	kibo := g.holdUp("/refresh")
	ctx, leave := context.WithCancel(t.Context())
	done := make(chan outcome)
	go func() {
		r := request(t, http.MethodGet, "/account", page("Cookie", cookie)...)
		done <- g.serve(r.WithContext(ctx))
	}()
	kibo.await(t)
	leave()
	if o := <-done; o.upstream != nil || o.Body.Len() > 0 {
		t.Error("a visitor who has left was answered")
	}
	close(kibo.goOn)
	g.settle(cookie)
	g.wantServed(g.open(cookie), "1001")
	g.wantRefreshes(1)
}

func TestNoRefreshToken(t *testing.T) {
	tests := []struct {
		name   string
		change func(*live)
		served bool
	}{
		{"none, ticket good", func(s *live) { s.without(fieldRefreshToken); s.due = ago(time.Second) }, true},
		{"none, ticket lapsed", func(s *live) { s.without(fieldRefreshToken); lapse(s) }, false},
		{"ended, ticket good", func(s *live) { s.refreshEnds, s.due = ago(time.Second), ago(time.Second) }, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := newGateway(t)
			cookie := g.signIn(jane)
			g.edit(cookie, tt.change)
			if o := g.open(cookie); tt.served {
				g.wantServed(o, "1001")
			} else {
				g.wantEnded(o, cookie)
			}
			g.settle(cookie)
			g.wantRefreshes(0)
		})
	}
}

// without takes a field away.
func (s *Session) without(f field) {
	c := new(customer)
	for i := range c {
		c[i] = s.plain(field(i))
	}
	c[f] = ""
	s.pack(s.text[:realmLen], c)
}

// A rotated refresh token is dead: the new one must be used from then on.
func TestRefreshTokenRotation(t *testing.T) {
	for _, mode := range []string{"rotate", "grace", "static", "omit"} {
		t.Run(mode, func(t *testing.T) {
			g := newGateway(t)
			g.sim.Set(func(sw *kibosim.Switches) { sw.RefreshMode = mode })
			cookie := g.signIn(jane)
			for range 3 {
				g.edit(cookie, lapse)
				g.wantServed(g.open(cookie), "1001")
			}
			g.wantRefreshes(3)
		})
	}
}

func TestShortTicketsAreNotRefreshedAllTheTime(t *testing.T) {
	g := newGateway(t)
	g.sim.Set(func(sw *kibosim.Switches) { sw.AccessTTL = 2 * time.Minute })
	cookie := g.signIn(jane)
	for range 10 {
		g.wantServed(g.open(cookie), "1001")
	}
	g.settle(cookie)
	g.wantRefreshes(0)
}

func TestActivityIsNotedOnceAMinute(t *testing.T) {
	g := newGateway(t)
	cookie := g.signIn(jane)
	for _, tt := range []struct {
		idleFor time.Duration
		noted   bool
	}{{30 * time.Second, false}, {61 * time.Second, true}, {59 * time.Minute, true}} {
		g.edit(cookie, func(s *live) { s.Seen = ago(tt.idleFor) })
		before := g.session(cookie)
		g.wantServed(g.open(cookie), "1001")
		after := g.session(cookie)
		if noted := after.Seen != before.Seen; noted != tt.noted || after.Version != before.Version {
			t.Errorf("after %s: noted %v, version %d, want %v and %d", tt.idleFor, noted, after.Version, tt.noted, before.Version)
		}
	}
}

// ASVS 7.3: both limits hold, each for itself, at read.
func TestSessionLimits(t *testing.T) {
	tests := []struct {
		name   string
		change func(*live)
		ended  bool
	}{
		{"idle for less", func(s *live) { s.Seen = ago(59 * time.Minute) }, false},
		{"idle for too long", func(s *live) { s.Seen, s.Idle = ago(time.Hour), 0 }, true},
		{"remembered, idle for days", func(s *live) { s.Seen, s.Idle, s.remembered = ago(72*time.Hour), 0, true }, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := newGateway(t)
			cookie := g.signIn(jane)
			g.edit(cookie, tt.change)
			if o := g.open(cookie); tt.ended {
				g.wantEnded(o, cookie)
			} else {
				g.wantServed(o, "1001")
			}
		})
	}
}

func TestAbsoluteLimitHoldsForEverybody(t *testing.T) {
	h := goodHandler()
	h.setDefaults()
	const now = int64(1_000_000)
	for _, r := range []*Record{
		{Ends: now + 1, Seen: now, open: new(Session)},
		{Ends: now, Seen: now, open: new(Session)},
		{Ends: now, Seen: now, open: &Session{remembered: true}},
	} {
		if got, want := h.ended(r, now), now >= r.Ends; got != want {
			t.Errorf("ended = %v, %d ms before the limit, remembered %v; want %v", got, r.Ends-now, r.open.remembered, want)
		}
	}
}

// What Kibo leaves out of a refreshed ticket stays as it was.
func TestRefreshKeepsWhatKiboLeavesOut(t *testing.T) {
	g := newGateway(t)
	s := g.session(g.signIn(jane))
	next, err := g.renewed(t.Context(), s.Session, &kibo.Ticket{JWT: redact.New(g.sim.Issue("", jane)), AccessToken: redact.New("new")})
	if err != nil {
		t.Fatal(err)
	}
	for f := range fieldCount {
		got, want := next.plain(f), s.plain(f)
		switch f {
		case fieldAccessToken:
			want = "new"
		case fieldBearer:
			want = got // its own
		}
		if got != want {
			t.Errorf("field %d = %q, want %q", f, got, want)
		}
	}
	if next.refreshEnds != s.refreshEnds {
		t.Error("the end of the refresh token moved")
	}
}

func TestTicketTimes(t *testing.T) {
	now := time.Now()
	in := func(d time.Duration) time.Time { return now.Add(d) }
	tests := []struct {
		name      string
		token     time.Duration
		access    time.Time
		refresh   time.Time
		good, due time.Duration
	}{
		{"token ends first", 10 * time.Minute, in(15 * time.Minute), in(time.Hour), 10 * time.Minute, 7 * time.Minute},
		{"access token ends first", 15 * time.Minute, in(10 * time.Minute), in(time.Hour), 10 * time.Minute, 7 * time.Minute},
		{"no end of the access token", 15 * time.Minute, time.Time{}, in(time.Hour), 15 * time.Minute, 12 * time.Minute},
		{"short", 2 * time.Minute, in(time.Hour), in(time.Hour), 2 * time.Minute, time.Minute},
	}
	h := goodHandler()
	h.setDefaults()
	for _, tt := range tests {
		s := &Session{limit: in(24 * time.Hour).UnixMilli()}
		h.setTimes(s, &kibo.Ticket{RefreshToken: redact.New("r"), AccessExpires: tt.access, RefreshExpires: tt.refresh}, &verify.Claims{Expires: in(tt.token)})
		due := time.UnixMilli(s.due).Sub(in(tt.due)).Abs()
		if s.good != in(tt.good).UnixMilli() || due > time.Minute/2 || s.refreshEnds != tt.refresh.UnixMilli() {
			t.Errorf("%s: good in %s, due in %s, want %s and %s", tt.name, time.UnixMilli(s.good).Sub(now), time.UnixMilli(s.due).Sub(now), tt.good, tt.due)
		}
	}
	s := &Session{limit: 7}
	h.setTimes(s, &kibo.Ticket{RefreshToken: redact.New("r")}, &verify.Claims{Expires: in(time.Hour)})
	if s.refreshEnds != s.limit {
		t.Errorf("without an end the refresh token ends at %d, want the session's %d", s.refreshEnds, s.limit)
	}
}

func TestBackoff(t *testing.T) {
	for failures, least := range map[uint8]time.Duration{1: time.Second, 2: 2 * time.Second, 5: 16 * time.Second, 6: 30 * time.Second, 10: 30 * time.Second} {
		for range 100 {
			if got := backoff(failures, 0); got < least || got >= least*3/2 {
				t.Errorf("backoff(%d) = %s, want %s to %s", failures, got, least, least*3/2)
			}
		}
	}
	if got := backoff(1, 5*time.Minute); got != 5*time.Minute {
		t.Errorf("backoff when 5m are asked for = %s", got)
	}
}
