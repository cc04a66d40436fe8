package caddytest

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/kiboauth/caddy-kibo-auth/internal/kibosim"
)

// TestAccountsCannotBeProbed compares whole answers, but for the address.
func TestAccountsCannotBeProbed(t *testing.T) {
	w := start(t, setup{})
	w.sim.Set(func(sw *kibosim.Switches) { sw.UnknownEmail = "reveal"; sw.LockedStatus = 423 })
	addresses := []string{jane, "locked@example.com", "inactive@example.com", "nobody@example.com", "nootp@example.com"}
	for _, as := range []tweak{asPage, asScript} {
		var first, second string
		for i, email := range addresses {
			b := w.browser()
			form := url.Values{"email": {email}}
			r1 := b.post("/login", form, as)
			code := "123456"
			switch i {
			case 0:
				code = wrongCode(w.code(email))
			case 1, 2:
				code = w.code(email) // they do get one, but it does not let them in
			}
			form.Set("otpCode", code)
			r2 := b.post("/login", form, as)
			if r2.status != http.StatusUnauthorized {
				t.Errorf("%s: second step: %d, want 401", email, r2.status)
			}
			one, two := strings.ReplaceAll(summary(r1), email, "X"), strings.ReplaceAll(summary(r2), email, "X")
			if i == 0 {
				first, second = one, two
			}
			if one != first {
				t.Errorf("%s: the first step tells something:\n%s\n%s", email, one, first)
			}
			if two != second {
				t.Errorf("%s: the second step tells something:\n%s\n%s", email, two, second)
			}
		}
	}
}

// summary is all that a stranger can see of an answer, but the time of day and
// sealed values.
func summary(r *reply) string {
	h := r.header.Clone()
	h.Del("Date")
	h.Del("Content-Length") // follows from the address
	for i, line := range h["Set-Cookie"] {
		name, _, _ := strings.Cut(line, "=")
		_, attributes, _ := strings.Cut(line, ";")
		h["Set-Cookie"][i] = name + ";" + attributes
	}
	return fmt.Sprint(r.status, h, r.body)
}

func TestSignInStartedInAnotherBrowser(t *testing.T) {
	w := start(t, setup{})
	mine, theirs := w.browser(), w.browser()
	code := mine.askCode(w, jane)
	for name, r := range map[string]*reply{
		"no sign-in at all": theirs.giveCode(jane, code),
		"another's sign-in": func() *reply { theirs.askCode(w, "john@example.com"); return theirs.giveCode(jane, code) }(),
		"a made-up one": func() *reply {
			b := w.browser()
			b.cookies[loginCookie] = strings.Repeat("A", 120)
			return b.giveCode(jane, code)
		}(),
	} {
		if r.status != http.StatusUnauthorized || sessionLine(r) != "" {
			t.Errorf("%s: %d, session %t; want 401 and none", name, r.status, sessionLine(r) != "")
		}
	}
	if n := w.sim.Calls("otp/auth"); n != 0 {
		t.Errorf("Kibo was asked %d times", n)
	}
	if r := mine.giveCode(jane, code); r.status != http.StatusSeeOther {
		t.Errorf("and the code no longer works where it belongs: %d", r.status)
	}
}

// TestSessionFixation: a session ID is never adopted, and the one before ends.
func TestSessionFixation(t *testing.T) {
	w := start(t, setup{})
	b := w.browser()
	planted := strings.Repeat("x", 43)
	b.cookies[sessionCookie] = planted
	b.signIn(w, jane)
	first := b.clone()
	if first.cookies[sessionCookie] == planted {
		t.Error("a planted session ID was adopted")
	}
	b.signIn(w, "john@example.com")
	if b.cookies[sessionCookie] == first.cookies[sessionCookie] {
		t.Error("the second sign-in has the session ID of the first")
	}
	if got := first.signedInAs("/"); got != "" {
		t.Errorf("the first session still lives, as %q", got)
	}
	if got := b.signedInAs("/"); got != "1002" {
		t.Errorf("the second session is %q's", got)
	}
}

// TestOpenRedirect: nobody is sent to another site after signing in or out.
func TestOpenRedirect(t *testing.T) {
	w := start(t, setup{})
	for _, target := range []string{
		"//evil.example/", "https://evil.example/", `/\evil.example`, "/%2fevil.example", "/%5Cevil.example", "javascript:alert(1)",
		"/\t/evil.example", "/..//evil.example", "evil.example",
	} {
		b := w.browser()
		b.post("/login", url.Values{"email": {jane}, "return_to": {target}})
		if r := b.giveCode(jane, w.code(jane)); r.location() != "/" {
			t.Errorf("%q: signed in, sent to %q", target, r.location())
		}
		if r := b.post("/logout?return_to="+url.QueryEscape(target), nil); r.location() != "/" {
			t.Errorf("%q: signed out, sent to %q", target, r.location())
		}
	}
}

// TestCredentialsByGET: what stands in a URL stands in logs and histories.
func TestCredentialsByGET(t *testing.T) {
	w := start(t, setup{})
	b := w.browser()
	code := b.askCode(w, jane)
	query := url.Values{"email": {"somebody@shop.test"}, "otpCode": {code}}.Encode()
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		b.do(method, "/login?"+query, nil, asPage)
		b.do(method, "/login?"+query, nil, asPage, header("X-Http-Method-Override", "POST"))
	}
	b.do(http.MethodPost, "/login?"+query, strings.NewReader(""), asPage, header("Content-Type", "application/x-www-form-urlencoded"))
	if n := w.sim.Calls("otp/auth"); n != 0 || b.cookies[sessionCookie] != "" {
		t.Errorf("%d exchanges, session %t", n, b.cookies[sessionCookie] != "")
	}
}

// TestDoubleClick: two posts of one code share one exchange and one session.
func TestDoubleClick(t *testing.T) {
	w := start(t, setup{})
	b := w.browser()
	code := b.askCode(w, jane)
	w.sim.Set(func(sw *kibosim.Switches) {
		sw.Faults["otp/auth"] = kibosim.Fault{Delay: 300 * time.Millisecond, Times: 1}
	})
	answers := make(chan *reply, 8)
	for range cap(answers) {
		window := b.clone()
		go func() { answers <- window.giveCode(jane, code) }()
	}
	sessions := map[string]bool{}
	for range cap(answers) {
		r := <-answers
		if r.status != http.StatusSeeOther {
			t.Errorf("one of the twins got %d", r.status)
		}
		sessions[sessionLine(r)] = true
	}
	if n := w.sim.Calls("otp/auth"); n != 1 || len(sessions) != 1 {
		t.Errorf("%d exchanges and %d sessions, want one of each", n, len(sessions))
	}
}

func TestBadLoginPosts(t *testing.T) {
	w := start(t, setup{})
	b := w.browser()
	for _, tt := range []struct {
		name string
		form url.Values
		want int
	}{
		{"no address", url.Values{"email": {"jane"}}, 400},
		{"two addresses", url.Values{"email": {jane, "john@example.com"}}, 400},
		{"control character", url.Values{"email": {"jane\r\n@example.com"}}, 400},
		{"too long", url.Values{"email": {jane}, "x": {strings.Repeat("x", 70<<10)}}, 413},
	} {
		if r := b.post("/login", tt.form); r.status != tt.want {
			t.Errorf("%s: page %d, want %d", tt.name, r.status, tt.want)
		}
		if r := b.post("/login", tt.form, asScript); r.status != tt.want || r.header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: script %d, want %d", tt.name, r.status, tt.want)
		}
	}
	if n := w.sim.Calls("otp/request"); n != 0 {
		t.Errorf("Kibo was called %d times", n)
	}
}
