package caddytest

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/kiboauth/caddy-kibo-auth/internal/kibosim"
)

// signInBringing takes all steps with the cookies that the browser has and
// those planted beside them, and returns the names and values that it was set.
func (b *browser) signInBringing(w *world, email string, steps int, planted ...string) map[string][]string {
	b.t.Helper()
	set := map[string][]string{}
	send := func(form url.Values) *reply {
		r := b.post("/login", form, func(r *http.Request) { r.Header["Cookie"] = append(r.Header["Cookie"], planted...) })
		for _, line := range r.header["Set-Cookie"] {
			pair, _, _ := strings.Cut(line, ";")
			name, value, _ := strings.Cut(pair, "=")
			set[name] = append(set[name], value)
		}
		return r
	}
	send(url.Values{"email": {email}})
	var last *reply
	for range steps {
		last = send(url.Values{"email": {email}, "otpCode": {w.code(email)}})
	}
	if last.status != http.StatusSeeOther || b.cookies[sessionCookie] == "" {
		b.t.Errorf("signing in with %d planted cookies: %d", len(planted), last.status)
	}
	return set
}

// TestSessionFixationBeforeEachStep: whatever session the browser brings, an
// invented one, a stranger's or the customer's own, before the first factor or
// before the second, it is never adopted, and it ends.
func TestSessionFixationBeforeEachStep(t *testing.T) {
	for name, steps := range map[string]int{"one factor": 1, "two factors": 2} {
		t.Run(name, func(t *testing.T) {
			w := start(t, setup{})
			attacker, own, fresh := w.browser(), w.browser(), w.browser()
			for _, planted := range []string{"attacker", "own", "invented", "attacker beside own", "own beside attacker"} {
				w.sim.Set(func(sw *kibosim.Switches) { sw.Requires2FA = "" })
				attacker.signIn(w, john)
				own.signIn(w, jane)
				fresh.cookies = map[string]string{}
				theirs, mine := sessionCookie+"="+attacker.cookies[sessionCookie], sessionCookie+"="+own.cookies[sessionCookie]
				lines := map[string][]string{
					"attacker": {theirs}, "own": {mine}, "invented": {sessionCookie + "=" + strings.Repeat("x", 43)},
					"attacker beside own": {theirs, mine}, "own beside attacker": {mine + "; " + theirs},
				}[planted]
				if steps == 2 {
					w.sim.Set(func(sw *kibosim.Switches) { sw.Requires2FA = "bare" })
				}
				set := fresh.signInBringing(w, jane, steps, lines...)
				if got := set[sessionCookie]; len(got) != 1 || strings.Contains(strings.Join(lines, ""), got[0]) {
					t.Errorf("%s: the session was set %d times, or is a planted one", planted, len(got))
				}
				if got := fresh.signedInAs("/"); got != janeID {
					t.Errorf("%s: signed in as %q, want Jane", planted, got)
				}
				if strings.Contains(planted, "attacker") && attacker.signedInAs("/") != "" {
					t.Errorf("%s: the attacker's session, which the browser brought, goes on", planted)
				}
				if strings.Contains(planted, "own") && own.signedInAs("/") != "" {
					t.Errorf("%s: the session before goes on", planted)
				}
			}
		})
	}
}

// TestHalfASignInIsNoSession: what is set between the steps opens nothing,
// under any of our names.
func TestHalfASignInIsNoSession(t *testing.T) {
	w := start(t, setup{})
	w.sim.Set(func(sw *kibosim.Switches) { sw.Requires2FA = "with_tokens" })
	b := w.browser()
	b.giveCode(jane, b.askCode(w, jane))
	for from, value := range b.cookies {
		for _, name := range []string{sessionCookie, loginCookie, deviceCookie} {
			r := w.raw(w.head("GET /account HTTP/1.1", "Cookie: "+name+"="+value))
			if r.status != http.StatusUnauthorized || w.shop.got() != nil {
				t.Errorf("the value of %s as %s: %d, want 401", from, name, r.status)
			}
		}
	}
}

// TestPendingFixation: a sign-in that an attacker has begun, planted before the
// first step or the second, is not the one that the customer goes on with.
func TestPendingFixation(t *testing.T) {
	w := start(t, setup{})
	attacker, victim := w.browser(), w.browser()
	attacker.askCode(w, john)
	planted := attacker.cookies[loginCookie]

	victim.cookies[loginCookie] = planted
	code := victim.askCode(w, jane)
	if victim.cookies[loginCookie] == planted {
		t.Error("the first step goes on with the planted sign-in")
	}
	w.sim.Set(func(sw *kibosim.Switches) { sw.Requires2FA = "bare" })
	before := victim.cookies[loginCookie]
	victim.giveCode(jane, code)
	if victim.cookies[loginCookie] == before {
		t.Error("the second factor goes on under the cookie of the first")
	}
	second := w.code(jane)
	w.sim.ResetCalls()
	for _, cookie := range []string{planted, before} {
		half := victim.clone()
		half.cookies[loginCookie] = cookie
		if r := half.giveCode(jane, second); r.status == http.StatusSeeOther || sessionLine(r) != "" {
			t.Errorf("the second code under another sign-in: %d", r.status)
		}
	}
	if n := w.sim.Calls("2fa/auth"); n != 0 {
		t.Errorf("Kibo was asked %d times for the second factor", n)
	}
	if r := victim.giveCode(jane, second); r.status != http.StatusSeeOther || victim.signedInAs("/") != janeID {
		t.Errorf("the customer's own sign-in: %d", r.status)
	}
	if r := attacker.open("/account"); r.status != http.StatusSeeOther || attacker.signedInAs("/") != "" {
		t.Errorf("the attacker's browser: %d", r.status)
	}
}

// TestDeviceFixation: a device that an attacker has planted opens nothing
// afterwards, and the proof that an account signed in on it is not theirs.
func TestDeviceFixation(t *testing.T) {
	w := start(t, setup{limits: "limit floor 0s"})
	attacker, victim := w.browser(), w.browser()
	attacker.signIn(w, john)
	planted := attacker.cookies[deviceCookie]
	victim.cookies[deviceCookie] = planted
	victim.signIn(w, jane)
	if victim.cookies[deviceCookie] == planted {
		t.Error("Jane's sign-in leaves the attacker's proof where it was, or gives the attacker hers")
	}
	for _, cookies := range []map[string]string{{deviceCookie: planted}, {deviceCookie: planted, loginCookie: attacker.cookies[loginCookie]}} {
		attacker.cookies = cookies
		if got := attacker.signedInAs("/"); got != "" {
			t.Errorf("the planted device is signed in as %q", got)
		}
		if r := attacker.post("/login", url.Values{"email": {jane}, "otpCode": {"123456"}}); r.status != http.StatusUnauthorized || sessionLine(r) != "" {
			t.Errorf("the planted device: %d", r.status)
		}
	}
}

// TestCodeReplay: a code that has opened a session opens no second one, in the
// same browser, from another, and with the cookies of the sign-in kept.
func TestCodeReplay(t *testing.T) {
	w := start(t, setup{})
	b := w.browser()
	code := b.askCode(w, jane)
	kept := b.clone()
	if r := b.giveCode(jane, code); r.status != http.StatusSeeOther {
		t.Fatalf("the first time: %d", r.status)
	}
	other := w.browser()
	other.askCode(w, jane) // and a newer code, which is not the one given
	for name, who := range map[string]*browser{"same browser": b.clone(), "cookies of the sign-in": kept, "another browser": w.browser(), "another sign-in": other} {
		before := who.cookies[sessionCookie]
		r := who.giveCode(jane, code)
		if r.status != http.StatusUnauthorized || sessionLine(r) != "" || who.cookies[sessionCookie] != before {
			t.Errorf("%s: %d, session %t; want 401, and what was there kept", name, r.status, sessionLine(r) != "")
		}
	}
	if got := b.signedInAs("/"); got != janeID {
		t.Errorf("the replays have ended the session: %q", got)
	}
}
