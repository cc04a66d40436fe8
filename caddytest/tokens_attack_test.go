package caddytest

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kiboauth/caddy-kibo-auth/internal/kibosim"
)

// checkToken wants nothing of a token in an answer.
func checkToken(t *testing.T, r *reply, token string) {
	t.Helper()
	checkHidden(t, r)
	for part := range strings.SplitSeq(token, ".") {
		if len(part) > 40 && strings.Contains(summary(r), part[:40]) {
			t.Errorf("the answer shows the token:\n%.800s", summary(r))
		}
	}
}

// TestForgedTokenAtSignIn: in every mode a bad token makes no session, and the
// answer blames nobody and shows nothing.
func TestForgedTokenAtSignIn(t *testing.T) {
	for _, s := range signings(t) {
		t.Run(s.name, func(t *testing.T) {
			w, f := startForged(t, s.verify)
			f.sign(func(claims string) string { return s.sign(s.header, claims) })
			w.browser().signIn(w, jane) // the mode trusts what is good
			tries := s.against(w)
			for name, forge := range tries {
				t.Run(name, func(t *testing.T) {
					b := w.browser()
					code := b.askCode(w, jane)
					sent := ""
					f.sign(func(claims string) string { sent = forge(claims); return sent })
					r := b.giveCode(jane, code)
					checkUnavailable(t, r, http.StatusServiceUnavailable)
					checkToken(t, r, sent)
					if sessionLine(r) != "" || b.cookies[sessionCookie] != "" || b.signedInAs("/") != "" {
						t.Error("somebody is in")
					}
				})
			}
			f.sign(func(claims string) string { return s.sign(s.header, claims) })
			w.browser().signIn(w, jane)
			f.check(t, w)
			t.Logf("%d forgeries", len(tries))
		})
	}
}

// garbled are tokens that cannot be part of a good answer, as they are too
// long or not even visible ASCII: the answer as a whole counts as Kibo's
// trouble, as if it were cut, and the session waits.
var garbled = []string{
	"blank", "line feed inside", "CRLF after", "NUL after", "200,000 dots", "1 MiB", "nested 100,000 deep", "kid of 60 KB",
}

// TestForgedTokenAtRefresh: in every mode a bad token ends the session, at
// once and for good, and the shop is not asked.
func TestForgedTokenAtRefresh(t *testing.T) {
	for _, s := range signings(t) {
		t.Run(s.name, func(t *testing.T) {
			w, f := startForged(t, s.verify)
			for name, forge := range s.against(w) {
				t.Run(name, func(t *testing.T) {
					f.sign(func(claims string) string { return s.sign(s.header, claims) })
					b := w.lapsed(jane)
					sent := ""
					f.sign(func(claims string) string { sent = forge(claims); return sent })
					w.shop.got()
					calls, kept := w.sim.Calls("refresh"), b.clone()
					page, script := b.open("/account"), kept.do(http.MethodGet, "/account", nil, asScript)
					checkToken(t, page, sent)
					checkToken(t, script, sent)
					if slices.Contains(garbled, name) {
						checkUnavailable(t, page, http.StatusServiceUnavailable)
						checkUnavailable(t, script, http.StatusServiceUnavailable)
					} else {
						checkEnded(t, b, page, script)
					}
					if w.shop.got() != nil {
						t.Error("the shop was asked")
					}
					if n := w.sim.Calls("refresh") - calls; n != 1 {
						t.Errorf("%d refresh calls, want 1", n)
					}
				})
			}
			f.check(t, w)
		})
	}
}

// checkEnded wants the answers of a session that has ended.
func checkEnded(t *testing.T, b *browser, page, script *reply) {
	t.Helper()
	if page.status != http.StatusSeeOther || !strings.HasPrefix(page.location(), "/login?") || b.cookies[sessionCookie] != "" {
		t.Errorf("got %d to %q, want the login form and the cookie taken back", page.status, page.location())
	}
	if script.status != http.StatusUnauthorized {
		t.Errorf("afterwards: %d, want 401", script.status)
	}
}

// check wants an empty trap and few fetches of keys.
func (f *forger) check(t *testing.T, w *world) {
	t.Helper()
	if n := f.trapped.Load(); n != 0 {
		t.Errorf("the trap had %d visitors", n)
	}
	if n := f.fetched.Load(); n > 10 {
		t.Errorf("%d fetches of the keyset, want 10 at most", n)
	}
	if n := w.sim.Calls("other"); n != 0 {
		t.Errorf("%d calls to addresses that Kibo does not have", n)
	}
}

// TestForgedKeyIDFlood: neither Kibo nor a stranger can make the gateway ask
// for keys again and again.
func TestForgedKeyIDFlood(t *testing.T) {
	token := func(i int, claims string) string {
		return rs256(keyOfStranger(), fmt.Sprintf(`{"alg":"RS256","kid":"flood-%d"}`, i), claims)
	}
	anonymous := func(t *testing.T, w *world) {
		claims := claimsOf(w.sim.Issue("", jane))
		var all sync.WaitGroup
		for i := range 200 {
			all.Go(func() {
				forged := token(i, claims)
				note("forged token", forged)
				r := w.browser().do(http.MethodGet, "/account", nil, asScript, header("Authorization", "Bearer "+forged))
				if r.status != http.StatusUnauthorized {
					t.Errorf("got %d, want 401", r.status)
				}
				checkToken(t, r, forged)
			})
		}
		all.Wait()
	}
	t.Run("anonymous clients", func(t *testing.T) {
		w, f := startForged(t, "jwks FORGER/keys")
		anonymous(t, w)
		if n := f.fetched.Load(); n != 0 {
			t.Errorf("%d fetches, want none", n)
		}
	})
	t.Run("bearers", func(t *testing.T) {
		w, f := startForged(t, "jwks FORGER/keys\nbearer")
		anonymous(t, w)
		if n := f.fetched.Load(); n < 1 || n > 3 {
			t.Errorf("%d fetches, want 1 to 3", n)
		}
		good := rs256(keyOfKibo(), `{"alg":"RS256","kid":"kibo"}`, claimsOf(w.sim.Issue("", jane)))
		if r := w.browser().do(http.MethodGet, "/account", nil, header("Authorization", "Bearer "+good)); r.body != "shop for "+janeID {
			t.Errorf("a good bearer afterwards: %d %q", r.status, r.body)
		}
	})
	t.Run("200 sign-ins", func(t *testing.T) {
		w, f := startForged(t, "jwks FORGER/keys")
		w.browser().signIn(w, jane)
		var i int
		var mu sync.Mutex
		f.sign(func(claims string) string {
			mu.Lock()
			defer mu.Unlock()
			i++
			return token(i, claims)
		})
		lane := make(chan struct{}, 20)
		var all sync.WaitGroup
		for n := range 200 {
			all.Go(func() {
				lane <- struct{}{}
				defer func() { <-lane }()
				email := fmt.Sprintf("flood%d@shop.test", n)
				w.sim.AddCustomer(kibosim.Customer{AccountID: 7000 + n, Email: email})
				b := w.browser()
				if r := b.giveCode(email, b.askCode(w, email)); r.status != http.StatusServiceUnavailable || b.cookies[sessionCookie] != "" {
					t.Errorf("got %d, want 503 and no session", r.status)
				}
			})
		}
		all.Wait()
		if n := f.fetched.Load(); n > 10 {
			t.Errorf("%d fetches for 200 sign-ins, want 10 at most", n)
		}
		f.sign(nil)
		w.browser().signIn(w, jane)
	})
}

// TestTokenTimesAtTheLeeway: the gateway's clock and Kibo's may differ by the
// leeway and no more, in both directions. Where time works against the test,
// it keeps five seconds away from the limit.
func TestTokenTimesAtTheLeeway(t *testing.T) {
	const leeway = 30
	for _, lines := range []string{"jwks FORGER/keys", "jwks FORGER/keys\nleeway 10s"} {
		leeway := leeway
		if strings.Contains(lines, "10s") {
			leeway = 10
		}
		t.Run(fmt.Sprint(leeway, " seconds"), func(t *testing.T) {
			w, f := startForged(t, lines)
			for _, tt := range []struct {
				claim string
				shift int // seconds from now
				want  int
			}{
				{"exp", -(leeway + 1), 503},
				{"exp", -(leeway - 5), fine},
				{"nbf", leeway - 1, fine},
				{"nbf", leeway + 5, 503},
				{"iat", leeway - 1, fine},
				{"iat", leeway + 5, 503},
				{"inner", -(leeway + 1), 503},
				{"inner", -(leeway - 5), fine},
			} {
				b := w.browser()
				code := b.askCode(w, jane)
				f.sign(func(claims string) string {
					at := time.Now().Add(time.Duration(tt.shift) * time.Second)
					re, text := regexp.MustCompile(`"`+tt.claim+`":\d+`), fmt.Sprintf(`"%s":%d`, tt.claim, at.Unix())
					if tt.claim == "inner" {
						re, text = regexp.MustCompile(`"exp":"[^"]+","st"`), `"exp":"`+at.UTC().Format("2006-01-02T15:04:05")+`","st"`
					}
					if !re.MatchString(claims) {
						t.Errorf("no %s in the claims", tt.claim)
					}
					return rs256(keyOfKibo(), `{"alg":"RS256","kid":"kibo"}`, re.ReplaceAllString(claims, text))
				})
				if r := b.giveCode(jane, code); r.status != tt.want || (b.cookies[sessionCookie] != "") != (tt.want == fine) {
					t.Errorf("%s at %+ds: got %d, want %d", tt.claim, tt.shift, r.status, tt.want)
				}
			}
		})
	}
}

// TestClocksApart: what Kibo's clock may be off by.
func TestClocksApart(t *testing.T) {
	w := start(t, setup{gateway: quick})
	for _, tt := range []struct {
		off  time.Duration
		want int
	}{
		{0, fine}, {25 * time.Second, fine}, {-25 * time.Second, fine}, {-5 * time.Minute, fine}, // it lives for 15
		{time.Minute, 503}, {time.Hour, 503}, {-16 * time.Minute, 503}, {-24 * time.Hour, 503},
	} {
		b := w.browser()
		code := b.askCode(w, jane)
		w.sim.Advance(tt.off)
		w.sim.Set(func(sw *kibosim.Switches) { sw.CodeTTL = 48 * time.Hour })
		r := b.giveCode(jane, code)
		w.sim.Advance(-tt.off)
		w.sim.RevokeAppTokens()
		if r.status != tt.want || (b.cookies[sessionCookie] != "") != (tt.want == fine) {
			t.Errorf("Kibo's clock off by %s: got %d, want %d", tt.off, r.status, tt.want)
		}
	}
}
