package kiboauth

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/kiboauth/caddy-kibo-auth/internal/kibosim"
)

// xhr is the header of a script of the shop's own pages.
var xhr = []string{"Sec-Fetch-Mode", "cors", "Accept", "application/json"}

// codePost is the second step of a sign-in.
func (g *gateway) codePost(email, code, cookies string, header ...string) outcome {
	g.t.Helper()
	form := url.Values{"otpCode": {code}, "email": {email}}
	return g.serve(post(g.t, "/login", form, append([]string{"Cookie", cookies}, header...)...))
}

func TestSignInByPage(t *testing.T) {
	g := newGateway(t)
	o := g.serve(request(t, http.MethodGet, "/login?return_to=/account%3Ftab=1", page()...))
	if o.Code != http.StatusOK || !strings.Contains(o.Body.String(), "/account?tab=1") || o.Header().Get("Cache-Control") != "no-store" {
		t.Fatalf("form: status %d, body %s", o.Code, o.Body)
	}
	o = g.serve(post(t, "/login", url.Values{"email": {" Jane@Example.com "}, "return_to": {"/account?tab=1"}}))
	kept := o.cookie(g.cookies.login)
	if o.Code != http.StatusOK || kept == nil || !kept.HttpOnly || !kept.Secure || strings.Contains(kept.Value, "jane") {
		t.Fatalf("first step: status %d, cookie %v", o.Code, kept)
	}
	o = g.codePost(jane, g.mailed(), kept.Name+"="+kept.Value)
	c := o.cookie(g.cookies.session)
	if o.Code != http.StatusSeeOther || o.Header().Get("Location") != "/account?tab=1" || c == nil || o.Header().Get("Cache-Control") != "no-store" {
		t.Fatalf("second step: status %d to %q, cookie %v", o.Code, o.Header().Get("Location"), c)
	}
	if c.MaxAge != 0 || !c.HttpOnly || !c.Secure || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Domain != "" {
		t.Errorf("cookie = %v", c)
	}
	if gone := o.cookie(g.cookies.login); gone == nil || gone.MaxAge >= 0 {
		t.Error("the pending sign-in's cookie is not taken back")
	}
	g.wantServed(g.open(c.Name+"="+c.Value), "1001")
}

func TestSignInByScript(t *testing.T) {
	g := newGateway(t)
	say := func(o outcome) (body map[string]any) {
		if err := json.Unmarshal(o.Body.Bytes(), &body); err != nil {
			t.Errorf("%v in %q", err, o.Body)
		}
		return body
	}
	o := g.serve(post(t, "/login", url.Values{"email": {jane}}, xhr...))
	if body := say(o); o.Code != http.StatusOK || body["status"] != "code_sent" {
		t.Fatalf("first step: status %d, %v", o.Code, body)
	}
	kept, code := o.cookie(g.cookies.login), g.mailed()
	pending := kept.Name + "=" + kept.Value
	o = g.codePost(jane, "000000x", pending, xhr...)
	if body := say(o); o.Code != http.StatusUnauthorized || body["code"] != "rejected" || o.Header().Get("Content-Type") != "application/problem+json" {
		t.Errorf("wrong code: status %d, %v", o.Code, body)
	}
	o = g.codePost(jane, code, pending, xhr...)
	if body := say(o); o.Code != http.StatusOK || body["status"] != "signed_in" || body["return_to"] != "/" || o.cookie(g.cookies.session) == nil {
		t.Errorf("right code: status %d, %v", o.Code, body)
	}
}

func TestSignInByShopsOwnForm(t *testing.T) {
	g := newGateway(t, func(h *Handler) { h.Login.Page = pageUpstream })
	if o := g.serve(request(t, http.MethodGet, "/login", page()...)); o.upstream == nil {
		t.Errorf("the shop's form: status %d, want the shop's", o.Code)
	}
	o := g.serve(post(t, "/login", url.Values{"email": {jane}, "return_to": {"/cart"}}))
	if got := o.Header().Get("Location"); o.Code != http.StatusSeeOther || got != "/login?kibo_auth=code_sent&return_to=%2Fcart" {
		t.Errorf("first step: status %d to %q", o.Code, got)
	}
	kept, code := o.cookie(g.cookies.login), g.mailed()
	o = g.codePost(jane, "wrong", kept.Name+"="+kept.Value)
	if got := o.Header().Get("Location"); got != "/login?kibo_auth=rejected&return_to=%2Fcart" {
		t.Errorf("wrong code: to %q", got)
	}
	o = g.codePost(jane, code, kept.Name+"="+kept.Value)
	if got := o.Header().Get("Location"); got != "/cart" || o.cookie(g.cookies.session) == nil {
		t.Errorf("right code: to %q", got)
	}
}

// What is no sign-in goes on to the shop, its body untouched.
func TestOtherPostsToTheLoginPath(t *testing.T) {
	g := newGateway(t, func(h *Handler) { h.Login.RequireField, h.Login.RequireValue = "action", "login" })
	for name, form := range map[string]url.Values{
		"no address": {"search": {"x"}, "action": {"login"}}, "no marker": {"email": {jane}}, "another marker": {"email": {jane}, "action": {"subscribe"}},
	} {
		var body []byte
		o := g.serveTo(post(t, "/login", form), func(w http.ResponseWriter, r *http.Request) (err error) {
			body, err = io.ReadAll(r.Body)
			return err
		})
		if o.upstream == nil || string(body) != form.Encode() {
			t.Errorf("%s: status %d, the shop got %q, want %q", name, o.Code, body, form.Encode())
		}
	}
	for _, method := range []string{http.MethodPut, http.MethodDelete, http.MethodOptions} {
		if o := g.serve(request(t, method, "/login", page()...)); o.upstream == nil {
			t.Errorf("%s: status %d, want the shop's", method, o.Code)
		}
	}
	if g.sim.Calls("otp/request") != 0 {
		t.Error("a code was asked for")
	}
}

func TestRememberedCustomer(t *testing.T) {
	g := newGateway(t, func(h *Handler) { h.Login.RememberField = "remember" })
	o := g.serve(post(t, "/login", url.Values{"email": {jane}, "remember": {"on"}}))
	kept := o.cookie(g.cookies.login)
	o = g.codePost(jane, g.mailed(), kept.Name+"="+kept.Value)
	c := o.cookie(g.cookies.session)
	if c == nil || c.MaxAge < 29*24*3600 || c.MaxAge > 30*24*3600 {
		t.Fatalf("cookie = %v, want one for 30 days", c)
	}
	s := g.session(c.Name + "=" + c.Value)
	if !s.remembered || s.Idle != 0 || s.limit-s.Created != (30*24*time.Hour).Milliseconds() {
		t.Errorf("remembered %v, idle %d, life %s", s.remembered, s.Idle, time.Duration(s.limit-s.Created)*time.Millisecond)
	}
}

func TestSecondFactor(t *testing.T) {
	const tove = "twofa@example.com"
	for _, mode := range []string{"", "with_tokens"} {
		g := newGateway(t)
		g.sim.Set(func(sw *kibosim.Switches) { sw.Requires2FA = mode })
		kept, code := g.firstStep(tove)
		o := g.codePost(tove, code, kept)
		second := o.cookie(g.cookies.login)
		if o.Code != http.StatusOK || second == nil || o.cookie(g.cookies.session) != nil {
			t.Fatalf("first code: status %d, cookies %v; want the second step, and no session", o.Code, o.Result().Cookies())
		}
		next := second.Name + "=" + second.Value
		if o = g.codePost(tove, "wrong", next); o.Code != http.StatusUnauthorized || o.cookie(g.cookies.session) != nil {
			t.Errorf("wrong second code: status %d, want 401", o.Code)
		}
		o = g.codePost(tove, g.mailed(), next)
		c := o.cookie(g.cookies.session)
		if o.Code != http.StatusSeeOther || c == nil {
			t.Fatalf("second code: status %d, cookie %v", o.Code, c)
		}
		g.wantServed(g.open(c.Name+"="+c.Value), "1008")
		if n := g.sim.Calls("otp/auth"); n != 1 {
			t.Errorf("the first code was exchanged %d times, want once", n)
		}
	}
}

func TestWrongCodeLosesNothing(t *testing.T) {
	g := newGateway(t)
	kept, code := g.firstStep(jane)
	o := g.codePost(jane, "wrong", kept)
	if o.Code != http.StatusUnauthorized || o.Header()["Set-Cookie"] != nil || !strings.Contains(o.Body.String(), jane) {
		t.Errorf("wrong code: status %d, cookies %q", o.Code, o.Header()["Set-Cookie"])
	}
	if o = g.codePost(jane, code, kept); o.Code != http.StatusSeeOther {
		t.Errorf("right code after a wrong one: status %d", o.Code)
	}
}

func TestKiboIsInTroubleAtSignIn(t *testing.T) {
	for _, kind := range []string{"html_500", "empty_502", "garbage", "null_json", "empty_200", "error_200", "redirect", "reset", "truncated_json"} {
		t.Run(kind, func(t *testing.T) {
			g := newGateway(t)
			kept, code := g.firstStep(jane)
			g.sim.Set(func(sw *kibosim.Switches) { sw.Faults["otp/auth"] = kibosim.Fault{Kind: kind} })
			o := g.codePost(jane, code, kept)
			if o.Code != http.StatusServiceUnavailable || o.Header().Get("Retry-After") == "" || o.Header()["Set-Cookie"] != nil {
				t.Errorf("status %d, Retry-After %q, cookies %q; want 503 and none", o.Code, o.Header().Get("Retry-After"), o.Header()["Set-Cookie"])
			}
			if n := g.sim.Calls("otp/auth"); n != 1 {
				t.Errorf("the code was exchanged %d times, want once", n)
			}
		})
	}
}

func TestAppTokenIsRefused(t *testing.T) {
	g := newGateway(t)
	g.sim.Set(func(sw *kibosim.Switches) { sw.Faults["oauth"] = kibosim.Fault{Kind: "html_500"} })
	o := g.serve(post(t, "/login", url.Values{"email": {jane}}))
	if o.Code != http.StatusServiceUnavailable || o.Header().Get("Retry-After") == "" || o.cookie(g.cookies.login) != nil {
		t.Errorf("status %d, want 503 and no cookie", o.Code)
	}
}

// Only a session that is saved is a sign-in.
func TestStoreFailsAtSignIn(t *testing.T) {
	for name, fault := range map[string]error{"down": errors.New("disk is gone"), "full": ErrStoreFull} {
		t.Run(name, func(t *testing.T) {
			g := newGateway(t)
			before := g.signIn(john)
			kept, code := g.firstStep(jane)
			store := g.breakStore()
			store.create = fault
			o := g.codePost(jane, code, kept+"; "+before)
			if o.Code != http.StatusServiceUnavailable || o.cookie(g.cookies.session) != nil || strings.Contains(o.Body.String(), "disk") {
				t.Errorf("status %d, cookie %v, want 503 and none", o.Code, o.cookie(g.cookies.session))
			}
			if g.session(before) == nil {
				t.Error("the session before ended for nothing")
			}
		})
	}
}

func TestLogout(t *testing.T) {
	tests := []struct {
		name, method, target string
		get                  bool
		header               []string
		status               int
		location             string
	}{
		{"post", "POST", "/logout", false, page(), 303, "/"},
		{"post with a way back", "POST", "/logout?returnUrl=/bye", false, page(), 303, "/bye"},
		{"post that leads off the site", "POST", "/logout?returnUrl=//evil.example", false, page(), 303, "/"},
		{"script", "POST", "/logout", false, xhr, 200, ""},
		{"link", "GET", "/logout", true, page(), 303, "/"},
		{"link where only posts count", "GET", "/logout", false, page(), 405, ""},
		{"HEAD", "HEAD", "/logout", true, page(), 405, ""},
		{"logout CSRF: another site", "POST", "/logout", false, []string{"Sec-Fetch-Site", "cross-site"}, 403, ""},
		{"logout CSRF: image of another site", "GET", "/logout", true, []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "no-cors"}, 403, ""},
		{"logout CSRF: sibling", "POST", "/logout", false, []string{"Origin", "https://blog.example.com"}, 403, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := newGateway(t, func(h *Handler) { h.Logout.Get = tt.get })
			cookie := g.signIn(jane)
			o := g.serve(request(t, tt.method, tt.target, append(tt.header, "Cookie", cookie)...))
			if o.Code != tt.status || o.Header().Get("Location") != tt.location || o.upstream != nil {
				t.Errorf("status %d to %q, want %d to %q", o.Code, o.Header().Get("Location"), tt.status, tt.location)
			}
			done := tt.status < 400
			if c := o.cookie(g.cookies.session); done != (c != nil && c.MaxAge < 0) {
				t.Errorf("cookie %v, taken back should be %v", c, done)
			}
			if gone := g.session(cookie) == nil; gone != done {
				t.Errorf("session gone: %v, want %v", gone, done)
			}
			if tt.status == http.StatusMethodNotAllowed && o.Header().Get("Allow") == "" {
				t.Error("405 without Allow")
			}
		})
	}
}

func TestLogoutWhenTheStoreIsDown(t *testing.T) {
	g := newGateway(t)
	cookie := g.signIn(jane)
	g.breakStore().remove = errors.New("connection refused")
	g.wantUnavailable(g.serve(post(t, "/logout", nil, "Cookie", cookie)))
}

func TestLogoutOfNobody(t *testing.T) {
	g := newGateway(t)
	for _, cookies := range []string{"", g.cookies.session + "=x", g.cookies.session + "=" + newSessionID(g.realm).value} {
		if o := g.serve(post(t, "/logout", nil, "Cookie", cookies)); o.Code != http.StatusSeeOther || o.cookie(g.cookies.session) == nil {
			t.Errorf("%q: status %d, want 303", cookies, o.Code)
		}
	}
}
