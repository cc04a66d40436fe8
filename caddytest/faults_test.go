package caddytest

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/kiboauth/caddy-kibo-auth/internal/kibosim"
)

// quick makes faults that never end short, and leaves a path to the public.
const quick = "timeout 1s\npublic /public/*\n"

// A spoiled call to Kibo, and what the customer gets to see of it.
type spoiled struct {
	fault kibosim.Fault
	want  int  // status
	spent bool // Kibo has used up the code or token that was presented
}

const fine = http.StatusSeeOther

// spoilings are all faults of the simulator but the pause of a 429.
var spoilings = map[string]spoiled{
	"nothing":                {kibosim.Fault{}, fine, true},
	"slow":                   {kibosim.Fault{Delay: 300 * time.Millisecond}, fine, true},
	"hang":                   {kibosim.Fault{Kind: "hang"}, 503, false},
	"hang after the deed":    {kibosim.Fault{Kind: "hang", After: true}, 503, true},
	"hang up":                {kibosim.Fault{Kind: "hang", Delay: time.Millisecond}, 503, false},
	"drip":                   {kibosim.Fault{Kind: "drip"}, 503, true},
	"reset":                  {kibosim.Fault{Kind: "reset"}, 503, true},
	"HTML 500":               {kibosim.Fault{Kind: "html_500"}, 503, false},
	"HTML 500 after it":      {kibosim.Fault{Kind: "html_500", After: true}, 503, true},
	"empty 502":              {kibosim.Fault{Kind: "empty_502"}, 503, false},
	"empty 200":              {kibosim.Fault{Kind: "empty_200"}, 503, false},
	"null":                   {kibosim.Fault{Kind: "null_json"}, 503, false},
	"truncated":              {kibosim.Fault{Kind: "truncated_json"}, 503, true},
	"garbage":                {kibosim.Fault{Kind: "garbage"}, 503, false},
	"error with 200":         {kibosim.Fault{Kind: "error_200"}, 503, false},
	"redirect":               {kibosim.Fault{Kind: "redirect"}, 503, false},
	"compressed":             {kibosim.Fault{Kind: "gzip"}, 503, true},
	"huge head":              {kibosim.Fault{Kind: "huge_head"}, 503, true},
	"huge body":              {kibosim.Fault{Kind: "oversize"}, 503, true},
	"text/plain":             {kibosim.Fault{Kind: "text_plain"}, fine, true},
	"PascalCase":             {kibosim.Fault{Kind: "pascal_case"}, fine, true},
	"with a cookie":          {kibosim.Fault{Kind: "set_cookie"}, fine, true},
	"app refused, then good": {kibosim.Fault{Kind: "unauthorized_app", Times: 1}, fine, true},
	"app refused":            {kibosim.Fault{Kind: "unauthorized_app"}, 503, false},
}

// set aims a fault at an endpoint; clear takes all faults away.
func (w *world) set(endpoint string, f kibosim.Fault) {
	w.sim.Set(func(sw *kibosim.Switches) { sw.Faults[endpoint] = f })
}

func (w *world) clear() { w.sim.Set(func(sw *kibosim.Switches) { clear(sw.Faults) }) }

// faultTexts are parts of what the simulator's faults and errors say.
var faultTexts = []string{
	"Server Error", "nope", "accessToken", "xxxxxxxx", "sb-sf-at-prod", "elsewhere", "UNEXPECTED", "went wrong.\"", "Customer",
	"UNAUTHORIZED", "CREDENTIALS", "NOT_FOUND", "x-vol", "X-Vol", "127.0.0.1", "refreshToken", "deadline", "EOF",
}

// checkHidden wants nothing of Kibo's trouble in an answer.
func checkHidden(t *testing.T, r *reply) {
	t.Helper()
	all := summary(r)
	for _, text := range faultTexts {
		if strings.Contains(all, text) {
			t.Errorf("the answer shows %q of the fault:\n%.800s", text, all)
		}
	}
}

// checkUnavailable wants an answer that says when to try again.
func checkUnavailable(t *testing.T, r *reply, want int) {
	t.Helper()
	wait, err := strconv.Atoi(r.header.Get("Retry-After"))
	if r.status != want || err != nil || wait < 1 || wait > 60 {
		t.Errorf("got %d with Retry-After %q, want %d and some seconds", r.status, r.header.Get("Retry-After"), want)
	}
	checkHidden(t, r)
}

func TestFaultsOfTheExchange(t *testing.T) {
	w := start(t, setup{gateway: quick})
	bystander := w.browser()
	bystander.signIn(w, "john@example.com")
	for _, name := range slices.Sorted(maps.Keys(spoilings)) {
		tt := spoilings[name]
		t.Run(name, func(t *testing.T) {
			b := w.browser()
			code := b.askCode(w, jane)
			pending := b.cookies[loginCookie]
			w.set("otp/auth", tt.fault)
			defer w.clear()
			r := b.giveCode(jane, code)
			if got := bystander.signedInAs("/"); got != "1002" {
				t.Errorf("somebody else's session suffers: they are %q", got)
			}
			w.clear()
			if tt.want == fine {
				if r.status != fine || b.signedInAs("/") != janeID {
					t.Errorf("got %d, want a session", r.status)
				}
				return
			}
			checkUnavailable(t, r, tt.want)
			if b.cookies[loginCookie] != pending || sessionLine(r) != "" || b.signedInAs("/") != "" {
				t.Error("the pending sign-in was not kept, or somebody got in")
			}
			again := b.giveCode(jane, code)
			if tt.spent {
				checkRefused(t, b, again)
				b.signIn(w, jane)
			} else if again.status != fine {
				t.Errorf("Kibo has not used the code up, but now it gets %d", again.status)
			}
		})
	}
	if n := w.sim.Calls("elsewhere"); n != 0 {
		t.Errorf("%d redirects of Kibo's were followed", n)
	}
	if n := w.sim.Calls("with_cookie"); n != 0 {
		t.Errorf("%d calls carried a cookie of Kibo's", n)
	}
}

// TestAppTokenIsRenewedOnce: when Kibo refuses the application there is one
// new token and one repeat, and never a word about a wrong code.
func TestAppTokenIsRenewedOnce(t *testing.T) {
	w := start(t, setup{gateway: quick})
	b := w.browser()
	code := b.askCode(w, jane)
	w.sim.ResetCalls()
	w.set("otp/auth", kibosim.Fault{Kind: "unauthorized_app"})
	checkUnavailable(t, b.giveCode(jane, code), 503)
	if oauth, auth := w.sim.Calls("oauth"), w.sim.Calls("otp/auth"); oauth != 1 || auth != 2 {
		t.Errorf("%d new app tokens and %d exchanges, want 1 and 2", oauth, auth)
	}
	w.clear()
	w.sim.RevokeAppTokens()
	if r := b.giveCode(jane, code); r.status != fine {
		t.Errorf("with the old token revoked: %d", r.status)
	}
}

func TestFaultsOfTheAppToken(t *testing.T) {
	w := start(t, setup{gateway: quick})
	bystander := w.browser()
	bystander.signIn(w, "john@example.com")
	for _, name := range slices.Sorted(maps.Keys(spoilings)) {
		tt := spoilings[name]
		if strings.HasPrefix(name, "app refused") {
			tt.want = 503 // there is nothing to renew a grant with
		}
		t.Run(name, func(t *testing.T) {
			b := w.browser()
			code := b.askCode(w, jane)
			w.sim.RevokeAppTokens()
			w.set("oauth", tt.fault)
			defer w.clear()
			if r := b.giveCode(jane, code); tt.want == fine {
				if r.status != fine {
					t.Errorf("got %d, want a session", r.status)
				}
				return
			} else {
				checkUnavailable(t, r, 503)
			}
			if tt.fault.Times == 0 {
				checkUnavailable(t, w.browser().post("/login", url.Values{"email": {jane}}), 503)
			}
			if bystander.signedInAs("/") != "1002" || w.browser().signedInAs("/public/") != "" {
				t.Error("a session or the public suffers")
			}
			w.clear()
			eventually(t, "the code still works", func() bool { return b.giveCode(jane, code).status == fine })
		})
	}
}

// TestFaultsOfTheCodeRequest: asking for a code is answered the same whatever
// Kibo does, so that nobody learns from it which addresses it knows.
func TestFaultsOfTheCodeRequest(t *testing.T) {
	w := start(t, setup{gateway: quick})
	w.browser().signIn(w, jane)
	want := ""
	for _, name := range slices.Sorted(maps.Keys(spoilings)) {
		w.set("otp/request", spoilings[name].fault)
		calls := w.sim.Calls("otp/request")
		r := w.browser().post("/login", url.Values{"email": {jane}})
		if want == "" {
			want = summary(r)
		}
		if got := summary(r); got != want || r.status != http.StatusOK {
			t.Errorf("%s: the answer tells:\n%s\nwant\n%s", name, got, want)
		}
		eventually(t, "the request reaches Kibo", func() bool { return w.sim.Calls("otp/request") > calls })
		w.clear()
		w.browser().signIn(w, "zoe@example.com") // or the breaker would open, and tell everybody
	}
}

// TestKiboIsLeftAlone: after some failures in a row customers hear at once that
// nothing can be sent, Kibo has its rest, and then all is as before.
func TestKiboIsLeftAlone(t *testing.T) {
	w := start(t, setup{gateway: quick})
	bystander := w.browser()
	bystander.signIn(w, "john@example.com")
	b := w.browser()
	code := b.askCode(w, jane)
	w.set("otp/auth", kibosim.Fault{Kind: "empty_502"})
	for range 5 {
		checkUnavailable(t, b.giveCode(jane, code), 503)
	}
	calls := w.sim.Calls("otp/auth")
	for range 20 {
		checkUnavailable(t, b.giveCode(jane, code), 503)
	}
	checkUnavailable(t, w.browser().post("/login", url.Values{"email": {jane}}), 503)
	if n := w.sim.Calls("otp/auth") - calls; n > 3 {
		t.Errorf("Kibo was asked %d times during its rest", n)
	}
	if bystander.signedInAs("/") != "1002" {
		t.Error("a session suffers")
	}
	w.clear()
	eventually(t, "the code still works", func() bool { return b.giveCode(jane, code).status == fine })
}

// TestKiboAsksForAPause: the customer hears how long, and Kibo is left alone.
func TestKiboAsksForAPause(t *testing.T) {
	for _, endpoint := range []string{"otp/auth", "oauth", "2fa/auth"} {
		t.Run(endpoint, func(t *testing.T) {
			w := start(t, setup{gateway: quick})
			b := w.browser()
			code := b.askCode(w, "twofa@example.com")
			switch endpoint {
			case "oauth":
				w.sim.RevokeAppTokens()
			case "2fa/auth":
				b.giveCode("twofa@example.com", code)
				code = w.code("twofa@example.com")
			}
			w.set(endpoint, kibosim.Fault{Kind: "rate_limited", RetryAfter: 2, Times: 1})
			for i := range 3 {
				r := b.giveCode("twofa@example.com", code)
				if wait := r.header.Get("Retry-After"); r.status != http.StatusTooManyRequests || (wait != "1" && wait != "2") {
					t.Errorf("try %d: %d, Retry-After %q; want 429 and what Kibo said", i, r.status, wait)
				}
				checkHidden(t, r)
				if i == 0 {
					w.sim.ResetCalls()
				}
			}
			if n := w.sim.Calls(endpoint); n != 0 {
				t.Errorf("%d calls during the pause", n)
			}
			eventually(t, "the code works after the pause", func() bool {
				return b.giveCode("twofa@example.com", code).status != http.StatusTooManyRequests
			})
			if endpoint != "2fa/auth" {
				b.giveCode("twofa@example.com", w.code("twofa@example.com"))
			}
			if got := b.signedInAs("/"); got != "1008" {
				t.Errorf("signed in as %q", got)
			}
		})
	}
}

func TestSpoiledTickets(t *testing.T) {
	w := start(t, setup{gateway: quick})
	for name, tt := range map[string]struct {
		spoil func(*kibosim.Switches)
		want  int
	}{
		"null tokens":        {func(sw *kibosim.Switches) { sw.NullTokens = true }, 503},
		"no jwtAccessToken":  {func(sw *kibosim.Switches) { sw.MissingJWT = true }, 503},
		"huge account":       {func(sw *kibosim.Switches) { sw.HugeAccount = true }, fine},
		"dates without zone": {func(sw *kibosim.Switches) { sw.Dates = "zoneless" }, fine},
		"dates never set":    {func(sw *kibosim.Switches) { sw.Dates = "zero" }, fine},
		"dates as numbers":   {func(sw *kibosim.Switches) { sw.Dates = "epoch_ms" }, fine},
	} {
		t.Run(name, func(t *testing.T) {
			b := w.browser()
			code := b.askCode(w, jane)
			w.sim.Set(tt.spoil)
			defer w.sim.Set(func(sw *kibosim.Switches) { *sw = kibosim.Switches{} })
			checkTicket(t, b, b.giveCode(jane, code), tt.want)
		})
	}
	b := w.browser()
	checkTicket(t, b, b.giveCode("nojwt@example.com", b.askCode(w, "nojwt@example.com")), 503)
}

// checkTicket wants either a session or an answer that blames nobody.
func checkTicket(t *testing.T, b *browser, r *reply, want int) {
	t.Helper()
	if want != fine {
		checkUnavailable(t, r, want)
	} else if r.status != fine {
		t.Errorf("got %d, want a session", r.status)
	}
	if in := b.signedInAs("/") != ""; in != (want == fine) {
		t.Errorf("somebody is in: %t", in)
	}
}

// verifying are the ways to verify a token, and which of the simulator's
// variants pass.
func TestEveryVariantOfAToken(t *testing.T) {
	all := []string{
		"", "alg_none", "wrong_secret", "rs256", "unknown_key", "rs256,no_kid", "key_confusion", "missing_user_claims",
		"wrong_tenant", "wrong_site", "wrong_account", "anonymous", "wrong_issuer", "wrong_audience", "wrong_subject",
		"exp_after_inner", "inner_past", "exp_soon", "exp_past", "nbf_future", "garbage",
	}
	for _, tt := range []struct {
		name, verify string
		pass         []string
	}{
		{"direct", "direct", []string{
			"", "wrong_secret", "rs256", "unknown_key", "rs256,no_kid", "key_confusion", "wrong_tenant", "wrong_site", "exp_after_inner", "exp_soon",
		}},
		{"hmac", "hmac HS256 " + kibosim.JWTSecret + "\n tenant 10001 \n site 20002", []string{"", "exp_after_inner", "exp_soon"}},
		{"jwks", "jwks KIBO/__sim/jwks", []string{"rs256", "rs256,no_kid"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := startVerifying(t, tt.verify)
			for _, variant := range all {
				b := w.browser()
				code := b.askCode(w, jane)
				w.sim.Set(func(sw *kibosim.Switches) { sw.JWT = variant })
				want := 503
				if slices.Contains(tt.pass, variant) {
					want = fine
				}
				r := b.giveCode(jane, code)
				if r.status != want || (b.signedInAs("/") == janeID) != (want == fine) {
					t.Errorf("%q: got %d, want %d", variant, r.status, want)
				}
				checkHidden(t, r)
			}
		})
	}
}

// startVerifying puts Kibo's address where the verify block says KIBO.
func startVerifying(t *testing.T, lines string) *world {
	t.Helper()
	return start(t, setup{gateway: quick + "verify {\n" + lines + "\n}"})
}
