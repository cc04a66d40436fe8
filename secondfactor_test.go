package kiboauth

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kiboauth/caddy-kibo-auth/internal/kibosim"
	"github.com/kiboauth/caddy-kibo-auth/internal/loginform"
)

// halfway passes the first factor, by password or by code, and returns what the
// browser keeps and the code that Kibo mails for the second.
func (g *gateway) halfway(email, first string, cookies ...string) (kept, code string) {
	g.t.Helper()
	brought := strings.Join(cookies, "; ")
	var o outcome
	if first == factorPassword {
		o = g.passwordPost(email, right, brought)
	} else {
		pending, code := g.firstStep(email)
		o = g.codePost(email, code, strings.TrimPrefix(brought+"; "+pending, "; "))
	}
	if c := o.cookie(g.cookies.login); o.Code != http.StatusOK || c == nil || o.cookie(g.cookies.session) != nil {
		g.t.Fatalf("first factor: status %d, cookies %v; want the second step, and no session", o.Code, o.Result().Cookies())
	}
	kept = g.cookies.login + "=" + o.cookie(g.cookies.login).Value
	return kept, g.mailed()
}

// resendPost presses the button of the second step.
func (g *gateway) resendPost(kept string, header ...string) outcome {
	g.t.Helper()
	return g.serve(post(g.t, "/login", url.Values{"email": {tove}, "resend": {"1"}}, append([]string{"Cookie", kept}, header...)...))
}

func TestSecondFactorAfterEither(t *testing.T) {
	for _, first := range []string{factorCode, factorPassword} {
		g := newGateway(t, withPassword)
		before := g.signIn(john)
		kept, code := g.halfway(tove, first, before)
		if g.session(before) == nil {
			t.Errorf("%s: half a sign-in ended the session before", first)
		}
		cookie := g.wantSignedIn(g.codePost(tove, code, kept+"; "+before), "1008", first+"+2fa")
		if g.session(before) != nil || cookie == before {
			t.Errorf("%s: the session before goes on", first)
		}
		g.edit(cookie, lapse)
		if got := g.open(cookie).upstream.Header.Get("Kibo-Assurance"); got != first+"+2fa" {
			t.Errorf("assurance %q after a refresh, want %q", got, first+"+2fa")
		}
	}
}

func TestAssuranceWithoutSecondFactor(t *testing.T) {
	g := newGateway(t, withPassword)
	kept, code := g.firstStep(jane)
	g.wantSignedIn(g.codePost(jane, code, kept), "1001", "code")
	o := g.open(g.wantSignedIn(g.passwordPost(jane, right, ""), "1001", "password"))
	if got, _ := o.repl.GetString("http.auth.user.assurance"); got != "password" {
		t.Errorf("placeholder = %q, want password", got)
	}
}

// A client cannot claim an assurance.
func TestSpoofedAssurance(t *testing.T) {
	g := newGateway(t, withPassword)
	cookie := g.wantSignedIn(g.passwordPost(jane, right, ""), "1001", "password")
	o := g.serve(request(t, http.MethodGet, "/account", page("Cookie", cookie, "Kibo-Assurance", "password+2fa", "Kibo_Assurance", "password+2fa")...))
	if got := o.upstream.Header["Kibo-Assurance"]; len(got) != 1 || got[0] != "password" || len(o.upstream.Header.Values("kibo_assurance")) > 0 {
		t.Errorf("the shop is told %q", got)
	}
}

// Half a sign-in opens nothing, even if tokens came with it.
func TestSecondFactorBypass(t *testing.T) {
	for _, mode := range []string{"bare", "with_tokens"} {
		g := newGateway(t, withPassword)
		g.sim.Set(func(sw *kibosim.Switches) { sw.Requires2FA = mode })
		store := g.breakStore()
		store.create = fmt.Errorf("a session was made")
		kept, _ := g.halfway(jane, factorPassword)
		_, value, _ := strings.Cut(kept, "=")
		for name, cookies := range map[string]string{
			"as it is": kept, "as a session": g.cookies.session + "=" + value, "both": kept + "; " + g.cookies.session + "=" + value,
		} {
			if o := g.open(cookies); o.upstream != nil || o.Code != http.StatusSeeOther {
				t.Errorf("%s, %s: status %d, want to be sent to sign in", mode, name, o.Code)
			}
		}
		for name, form := range map[string]url.Values{
			"no code": {"otpCode": {""}, "email": {jane}}, "wrong code": {"otpCode": {"wrong"}}, "the password again": {"email": {jane}, "password": {right}},
			"another address": {"otpCode": {"123456"}, "email": {john}},
		} {
			if o := g.serve(post(t, "/login", form, "Cookie", kept)); o.cookie(g.cookies.session) != nil {
				t.Errorf("%s, %s: there is a session", mode, name)
			}
		}
	}
}

// The code of the first step is none of the second, nor the other way round.
func TestCodeOfTheOtherStep(t *testing.T) {
	g := newGateway(t, withPassword)
	pending, first := g.firstStep(tove)
	o := g.codePost(tove, first, pending)
	kept := g.cookies.login + "=" + o.cookie(g.cookies.login).Value
	second := g.mailed()
	for name, o := range map[string]outcome{"first code again": g.codePost(tove, first, kept), "second code in the first step": g.codePost(tove, second, pending)} {
		if g.wantRefused(o); o.Code != http.StatusUnauthorized {
			t.Errorf("%s: status %d, want 401", name, o.Code)
		}
	}
	g.wantSignedIn(g.codePost(tove, second, kept), "1008", "code+2fa")
}

// A second factor of another user's ends in nobody's session.
func TestSecondFactorOfAnotherUser(t *testing.T) {
	g := newGateway(t, withPassword)
	g.sim.Set(func(sw *kibosim.Switches) { sw.Requires2FA = "bare" })
	janes, janesCode := g.halfway(jane, factorPassword)
	johns, johnsCode := g.halfway(john, factorPassword)
	g.wantRefused(g.codePost(jane, johnsCode, janes))
	g.wantRefused(g.codePost(john, janesCode, johns))
}

// Nor does one that Kibo takes for another user's, whether its ticket says so or
// only the token in it.
func TestKiboMixesUpSecondFactors(t *testing.T) {
	for _, tt := range []struct {
		name            string
		mixed, nameless bool
		status          int
	}{
		{"mixed up", true, false, 503}, {"mixed up, ticket names nobody", true, true, 503}, {"ticket names nobody", false, true, 303},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := newGateway(t, withPassword)
			g.sim.Set(func(sw *kibosim.Switches) { sw.Requires2FA = "bare" })
			kept, code := g.halfway(jane, factorPassword)
			_, johns := g.halfway(john, factorPassword)
			g.kibo.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if tt.mixed && strings.HasSuffix(r.URL.Path, "/2fa/auth") {
					body := fmt.Appendf(nil, `{"userId":%q,"otpCode":%q}`, kibosim.Customer{Email: john}.UserID(), johns)
					r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
				}
				answer := httptest.NewRecorder()
				g.sim.ServeHTTP(answer, r)
				text := answer.Body.String()
				if tt.nameless {
					text = strings.ReplaceAll(text, `"userId":"`, `"nobody":"`)
				}
				w.WriteHeader(answer.Code)
				io.WriteString(w, text)
			})
			o := g.codePost(jane, code, kept)
			if o.Code != tt.status || (o.cookie(g.cookies.session) != nil) != (tt.status == 303) {
				t.Errorf("status %d, cookies %v, want %d", o.Code, o.Result().Cookies(), tt.status)
			}
		})
	}
}

func TestSecondFactorAsksForAnotherUser(t *testing.T) {
	g := newGateway(t)
	r := post(t, "/login", nil)
	for _, tt := range []struct{ first, second string }{{"one", ""}, {"one", "another"}, {"", ""}} {
		w := outcome{ResponseRecorder: httptest.NewRecorder()}
		a := &attempt{h: g.Handler, w: w, r: r, form: new(loginform.Form), json: true}
		if err := a.askSecond(&pending{Email: jane, UserID: tt.first}, &secondFactor{userID: tt.second}); err != nil || w.cookie(g.cookies.login) != nil {
			t.Errorf("user %q after %q: %v, cookies %v, want none", tt.second, tt.first, err, w.Result().Cookies())
		}
	}
}

func TestResend(t *testing.T) {
	g := newGateway(t, withPassword)
	kept, old := g.halfway(tove, factorPassword)
	o := g.resendPost(kept)
	c := o.cookie(g.cookies.login)
	if o.Code != http.StatusOK || c == nil || !strings.Contains(o.Body.String(), "A new code is on its way") || o.cookie(g.cookies.session) != nil {
		t.Fatalf("status %d, cookies %v, body %s", o.Code, o.Result().Cookies(), o.Body)
	}
	fresh := c.Name + "=" + c.Value
	if code := g.mailed(); code != old {
		g.wantRefused(g.codePost(tove, old, fresh))
		g.wantSignedIn(g.codePost(tove, code, fresh), "1008", "password+2fa")
	}
	if n := g.sim.Calls("2fa/request"); n != 1 {
		t.Errorf("%d calls, want 1", n)
	}
}

func TestResendByScriptAndShopsOwnForm(t *testing.T) {
	g := newGateway(t, withPassword)
	kept, _ := g.halfway(tove, factorCode)
	o := g.serve(jsonPost(t, `{"resend":true}`, "Cookie", kept))
	if body := o.Body.String(); o.Code != http.StatusOK || body != "{\"status\":\"code_sent\"}\n" {
		t.Errorf("script: status %d, %s", o.Code, body)
	}
	g.forgetResends()
	g.Login.Page = pageUpstream
	if got := g.resendPost(kept).Header().Get("Location"); got != "/login?kibo_auth=code_sent" {
		t.Errorf("shop's own form: to %q", got)
	}
	if got := g.resendPost(kept).Header().Get("Location"); got != "/login?kibo_auth=limited" {
		t.Errorf("shop's own form, too soon: to %q", got)
	}
}

// forgetResends is what a restart does, and half a minute.
func (g *gateway) forgetResends() {
	g.shared.resends.mu.Lock()
	defer g.shared.resends.mu.Unlock()
	clear(g.shared.resends.last)
}

func (g *gateway) wantTooSoon(o outcome) {
	g.t.Helper()
	wait, err := strconv.Atoi(o.Header().Get("Retry-After"))
	if o.Code != http.StatusTooManyRequests || err != nil || wait < 1 || wait > 30 || o.Header()["Set-Cookie"] != nil {
		g.t.Errorf("status %d, Retry-After %q, cookies %q; want 429, up to 30 s and none", o.Code, o.Header().Get("Retry-After"), o.Header()["Set-Cookie"])
	}
}

// A customer's mailbox cannot be flooded: not by a button pressed again, not
// with the older cookie, not from another browser, and not after a restart.
func TestResendFlood(t *testing.T) {
	g := newGateway(t, withPassword)
	device := g.cookies.device + "=" + strings.Repeat("A", deviceLen)
	kept, _ := g.halfway(tove, factorPassword)
	other, _ := g.halfway(tove, factorPassword)
	kept, other = kept+"; "+device, other+"; "+device
	asked := g.together2fa(20, kept)
	var fresh string
	for _, o := range asked {
		if o.Code == http.StatusOK {
			fresh = o.kept() + "; " + device
		} else {
			g.wantTooSoon(o)
		}
	}
	for _, cookies := range []string{fresh, kept, other} {
		g.wantTooSoon(g.resendPost(cookies, xhr...))
	}
	g.forgetResends()
	g.wantTooSoon(g.resendPost(fresh))
	if n := g.sim.Calls("2fa/request"); n != 1 {
		t.Errorf("Kibo was asked %d times, want once", n)
	}
	for _, entry := range g.logs.All() {
		if strings.Contains(entry.Message, "cannot answer") {
			t.Errorf("a stranger fills the log: %s", entry.Message)
		}
	}
}

// together2fa presses the button in many windows at once.
func (g *gateway) together2fa(n int, kept string) []outcome {
	g.t.Helper()
	done := make(chan outcome, n)
	for range n {
		go func() { done <- g.resendPost(kept) }()
	}
	var all []outcome
	for range n {
		all = append(all, await(g.t, done))
	}
	return all
}

// To have the code sent again prolongs nothing.
func TestResendDoesNotProlong(t *testing.T) {
	g := newGateway(t, withPassword)
	began := time.Now().Add(-pendingLife + time.Minute).Unix()
	user := kibosim.Customer{Email: tove}.UserID()
	g.halfway(tove, factorPassword)
	half := pending{Email: tove, First: factorPassword, UserID: user, Began: began, Resent: time.Now().Add(-resendPause).UnixMilli()}
	c := g.resendPost(g.sealed(half)).cookie(g.cookies.login)
	if c == nil || c.MaxAge < 1 || c.MaxAge > 60 {
		t.Fatalf("cookie %v, want one for the minute that is left", c)
	}
	p, err := g.resume(t.Context(), c.Value)
	if err != nil || p.Began != began || p.UserID != user || p.First != factorPassword {
		t.Errorf("pending sign-in %+v, %v; want it as before", p, err)
	}
	g.forgetResends()
	half.Began = time.Now().Add(-pendingLife - time.Minute).Unix()
	g.wantRefused(g.resendPost(g.sealed(half)))
	if n := g.sim.Calls("2fa/request"); n != 1 {
		t.Errorf("%d calls, want 1", n)
	}
}

// Where no sign-in waits for a second code, none is sent.
func TestResendOfNothing(t *testing.T) {
	g := newGateway(t, withPassword)
	kept, _ := g.halfway(tove, factorPassword)
	g.wantRefused(g.resendPost(""))
	g.wantRefused(g.resendPost(g.cookies.login + "=garbage"))
	g.wantRefused(g.serve(post(t, "/login", url.Values{"email": {jane}, "resend": {"1"}}, "Cookie", kept)))
	if o := g.serve(post(t, "/login", url.Values{"resend": {"1"}})); o.upstream == nil {
		t.Errorf("a post of the shop's own that says resend: status %d, want the shop's", o.Code)
	}
	if o := g.resendPost(kept, "Sec-Fetch-Site", "cross-site"); o.Code != http.StatusForbidden {
		t.Errorf("another site: status %d, want 403", o.Code)
	}
	if n := g.sim.Calls("2fa/request"); n != 0 {
		t.Errorf("Kibo was asked %d times, want 0", n)
	}
}

// In the first step it sends the first code again, to the same address.
func TestResendInTheFirstStep(t *testing.T) {
	g := newGateway(t)
	kept, _ := g.firstStep(jane)
	o := g.serve(jsonPost(t, `{"resend":true}`, "Cookie", kept))
	if o.Code != http.StatusOK || g.sim.Calls("2fa/request") != 0 {
		t.Fatalf("status %d", o.Code)
	}
	if o = g.codePost(jane, g.mailed(), o.kept()); o.cookie(g.cookies.session) == nil {
		t.Errorf("the new code: status %d", o.Code)
	}
}

func TestKiboIsInTroubleAtResend(t *testing.T) {
	for name, tt := range map[string]struct {
		kind   string
		status int
		code   string
	}{
		"down": {"html_500", 503, "unavailable"}, "garbage": {"garbage", 503, "unavailable"}, "limited": {"rate_limited", 429, "limited"},
		"knows no sign-in": {"", 401, "not_sent"},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGateway(t, withPassword)
			kept, _ := g.halfway(tove, factorPassword)
			resent := kept
			if tt.kind == "" {
				resent = g.sealed(pending{Email: tove, UserID: kibosim.Customer{Email: jane}.UserID(), Began: time.Now().Unix()})
			}
			g.sim.Set(func(sw *kibosim.Switches) { sw.Faults["2fa/request"] = kibosim.Fault{Kind: tt.kind} })
			o := g.resendPost(resent, xhr...)
			if o.Code != tt.status || !strings.Contains(o.Body.String(), `"code":"`+tt.code+`"`) || o.cookie(g.cookies.login) != nil {
				t.Errorf("status %d, %s; want %d, %s", o.Code, o.Body, tt.status, tt.code)
			}
			g.forgetResends()
			if body := g.resendPost(resent).Body.String(); !strings.Contains(body, "One more step") {
				t.Errorf("the page has left the second step: %s", body)
			}
			if tt.kind != "rate_limited" { // after which the client to Kibo pauses
				g.wantSignedIn(g.codePost(tove, g.sim.Code(tove), kept), "1008", "password+2fa")
			}
		})
	}
}

func TestCooldown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c cooldown
		for i := range 100 {
			if wait := c.take(fmt.Sprint(i), time.Now()); wait != 0 {
				t.Errorf("key %d waits %s, want 0", i, wait)
			}
		}
		time.Sleep(resendPause - time.Second)
		if wait := c.take("1", time.Now()); wait != time.Second {
			t.Errorf("a second early: wait %s, want 1s", wait)
		}
		time.Sleep(time.Second)
		if wait := c.take("1", time.Now()); wait != 0 || len(c.last) != 1 {
			t.Errorf("in time: wait %s and %d keys, want 0 and 1", wait, len(c.last))
		}
	})
}
