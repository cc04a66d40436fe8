package kiboauth

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

func TestScopesOfASignOut(t *testing.T) {
	post, get := http.MethodPost, http.MethodGet
	tests := []struct {
		name, method, target string
		config               Logout
		status               int
		left                 string // who is still signed in: this, other device, another customer
		says                 string
	}{
		{"this", post, "/logout", Logout{}, 200, "-ox", "signed_out"},
		{"this, said", post, "/logout?scope=this", Logout{Everywhere: true}, 200, "-ox", "signed_out"},
		{"others", post, "/logout?scope=others", Logout{}, 200, "t-x", "others_signed_out"},
		{"everywhere", post, "/logout?scope=everywhere", Logout{}, 200, "--x", "signed_out_everywhere"},
		{"everywhere, configured", post, "/logout", Logout{Everywhere: true}, 200, "--x", "signed_out_everywhere"},
		{"unknown", post, "/logout?scope=all", Logout{}, 400, "tox", "bad_scope"},
		{"empty", post, "/logout?scope=", Logout{}, 400, "tox", "bad_scope"},
		{"two", post, "/logout?scope=this&scope=everywhere", Logout{}, 400, "tox", "bad_scope"},
		{"a link that ends everything", get, "/logout?scope=everywhere", Logout{Get: true}, 405, "tox", "method_not_allowed"},
		{"a link that ends others", get, "/logout?scope=others", Logout{Get: true, Everywhere: true}, 405, "tox", "method_not_allowed"},
		{"a link, this", get, "/logout?scope=this", Logout{Get: true}, 200, "-ox", "signed_out"},
		{"a link, configured", get, "/logout", Logout{Get: true, Everywhere: true}, 200, "--x", "signed_out_everywhere"},
		{"a link, not allowed", get, "/logout", Logout{Everywhere: true}, 405, "tox", "method_not_allowed"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := newGateway(t, func(h *Handler) { h.Logout = tt.config })
			this, other, stranger := g.signIn(jane), g.signIn(jane), g.signIn(john)
			o := g.serve(request(t, tt.method, tt.target, "Cookie", this, "Sec-Fetch-Mode", "cors", "Sec-Fetch-Site", "same-origin"))
			if o.Code != tt.status || !strings.Contains(o.Body.String(), `"`+tt.says+`"`) {
				t.Errorf("%d %s, want %d and %s", o.Code, o.Body, tt.status, tt.says)
			}
			left := ""
			for i, cookie := range []string{this, other, stranger} {
				if g.session(cookie) != nil {
					left += "tox"[i : i+1]
				} else {
					left += "-"
				}
			}
			if left != tt.left {
				t.Errorf("still signed in: %s, want %s", left, tt.left)
			}
			if cleared := o.cookie(g.cookies.session) != nil; cleared != strings.HasPrefix(tt.left, "-") {
				t.Errorf("the cookie was cleared: %t", cleared)
			}
		})
	}
}

// TestSignOutEverywhereNeedsASession: who has none speaks for nobody.
func TestSignOutEverywhereNeedsASession(t *testing.T) {
	g := newGateway(t)
	live, ended := g.signIn(jane), g.signIn(jane)
	if err := g.sessions.end(t.Context(), g.id(ended).Key()); err != nil {
		t.Fatal(err)
	}
	for name, cookie := range map[string]string{
		"ended": ended, "none": "a=b", "two of them": live + "; " + g.cookies.session + "=" + strings.Repeat("A", idLen),
	} {
		for _, scope := range []string{"others", "everywhere"} {
			elsewhere := g.signIn(jane)
			o := g.serve(post(t, "/logout?scope="+scope, nil, "Cookie", cookie))
			if o.Code != http.StatusSeeOther || o.cookie(g.cookies.session) == nil {
				t.Errorf("%s, %s: %d, want a plain sign-out", name, scope, o.Code)
			}
			if g.session(elsewhere) == nil {
				t.Errorf("%s, %s: a session elsewhere was ended", name, scope)
			}
		}
	}
}

// TestSignOutEverywhereHalfWay: what could not be ended is said, and the session
// goes on, so that it can be tried again.
func TestSignOutEverywhereHalfWay(t *testing.T) {
	g := newGateway(t)
	this, other := g.signIn(jane), g.signIn(jane)
	store := g.breakStore()
	store.remove = errors.New("down")
	o := g.serve(post(t, "/logout?scope=everywhere", nil, "Cookie", this))
	if o.Code != http.StatusServiceUnavailable || !strings.Contains(o.Body.String(), "not signed out everywhere") || o.Header().Get("Retry-After") == "" {
		t.Errorf("%d %s", o.Code, o.Body)
	}
	if o.Header()["Set-Cookie"] != nil || g.session(this) == nil || g.session(other) == nil {
		t.Error("the cookie or a session is gone")
	}
	store.remove = nil
	if o = g.serve(post(t, "/logout?scope=everywhere", nil, "Cookie", this)); o.Code != http.StatusSeeOther || g.session(this) != nil || g.session(other) != nil {
		t.Errorf("second try: %d", o.Code)
	}
}

func TestOldestSessionsMakeRoom(t *testing.T) {
	g := newGateway(t, func(h *Handler) { h.Session.MaxPerCustomer = 3 })
	stranger := g.signIn(john)
	var hers []string
	for range 3 {
		hers = append(hers, g.signIn(jane))
	}
	for i, at := range []int64{2000, 1000, 3000} { // not in the order of their making
		g.edit(hers[i], func(l *live) { l.Created = at })
	}
	hers = append(hers, g.signIn(jane))
	for i, want := range []bool{true, false, true, true} {
		if got := g.session(hers[i]) != nil; got != want {
			t.Errorf("session %d lives: %t, want %t", i, got, want)
		}
	}
	if g.session(stranger) == nil {
		t.Error("somebody else's session was ended")
	}
}

// Who signs in anew in one browser makes room by that alone.
func TestSignInOverASessionEndsNoOther(t *testing.T) {
	g := newGateway(t, func(h *Handler) { h.Session.MaxPerCustomer = 2 })
	phone, laptop := g.signIn(jane), g.signIn(jane)
	kept, code := g.firstStep(jane)
	o := g.serve(post(t, "/login", url.Values{"otpCode": {code}}, "Cookie", kept+"; "+laptop))
	if o.Code != http.StatusSeeOther || g.session(phone) == nil || g.session(laptop) != nil {
		t.Errorf("status %d, phone %v, laptop %v: want the laptop's session replaced", o.Code, g.session(phone), g.session(laptop))
	}
}

// TestOldestSessionsStayWhenTheStoreFails: a sign-in does not fail for that.
func TestOldestSessionsStayWhenTheStoreFails(t *testing.T) {
	g := newGateway(t, func(h *Handler) { h.Session.MaxPerCustomer = 1 })
	first := g.signIn(jane)
	store := g.breakStore()
	store.remove = errors.New("down")
	second := g.signIn(jane)
	if g.session(first) == nil || g.session(second) == nil {
		t.Error("a session is gone")
	}
	if g.logs.FilterMessage("ending a customer's oldest session").Len() != 1 {
		t.Error("nothing was logged")
	}
	store.remove = nil
	g.signIn(jane)
	if g.session(first) != nil || g.session(second) != nil {
		t.Error("the next sign-in did not make up for it")
	}
}
