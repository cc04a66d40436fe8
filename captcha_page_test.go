package kiboauth

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// TestCookieTellsNoSolvedCaptcha: its length would say whether a limit kept a
// code from being sent.
func TestCookieTellsNoSolvedCaptcha(t *testing.T) {
	p := newProvider(t)
	g := newGateway(t, p.ask(func(h *Handler) { h.Captcha.After, h.Limits.Send.Client = "0", []string{"1/1h"} }))
	sent := g.signInPost("192.0.2.1", "", "email", jane, "captcha", "good-1")
	silent := g.signInPost("192.0.2.1", "", "email", jane, "captcha", "good-2")
	if a, b := len(sent.cookie(g.cookies.login).Value), len(silent.cookie(g.cookies.login).Value); a != b {
		t.Errorf("the cookie has %d bytes where a code was sent, and else %d", a, b)
	}
	if a, b := sent.Body.String(), silent.Body.String(); strings.Contains(a, "data-sitekey") != strings.Contains(b, "data-sitekey") {
		t.Errorf("the page shows a captcha only in one case:\n%s\n%s", a, b)
	}
	g.mailed()
}

// TestSolvedCaptchaSparesTheSecondFactor: a captcha that came with a password
// goes for the code of the second factor too.
func TestSolvedCaptchaSparesTheSecondFactor(t *testing.T) {
	p := newProvider(t)
	g := newGateway(t, p.ask(func(h *Handler) { h.Captcha.After = "0" }))
	o := g.signInPost("192.0.2.1", "", "email", tove, "password", right, "captcha", "good")
	if o.Code != http.StatusOK || strings.Contains(o.Body.String(), "data-sitekey") {
		t.Fatalf("first factor: status %d\n%s", o.Code, o.Body)
	}
	o = g.signInPost("192.0.2.1", o.kept(), "otpCode", g.mailed())
	if o.cookie(g.cookies.session) == nil {
		t.Errorf("second factor: status %d", o.Code)
	}
}

// TestScriptsCanDrawACaptcha from what the answer says.
func TestScriptsCanDrawACaptcha(t *testing.T) {
	p := newProvider(t)
	g := newGateway(t, p.ask(func(h *Handler) { h.Captcha.After = "0" }))
	o := g.serve(jsonPost(t, `{"email":"jane@example.com"}`))
	var said struct {
		Code    string
		Captcha map[string]string
	}
	if err := json.Unmarshal(o.Body.Bytes(), &said); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"provider": p.URL + "/siteverify", "site_key": "a-site-key", "script": p.URL + "/api.js", "field": "captcha", "action": "sign_in"}
	if o.Code != http.StatusForbidden || said.Code != "captcha_required" || fmt.Sprint(said.Captcha) != fmt.Sprint(want) {
		t.Errorf("%d %s %v, want 403 captcha_required %v", o.Code, said.Code, said.Captcha, want)
	}
	if o = g.serve(jsonPost(t, `{"email":"jane@example.com","captcha":"good"}`)); o.Code != http.StatusOK {
		t.Errorf("with a captcha: status %d", o.Code)
	}
	g.mailed()
}

// TestShopDrawsTheCaptcha: with the shop's own form the gateway only says that
// one is asked for.
func TestShopDrawsTheCaptcha(t *testing.T) {
	p := newProvider(t)
	g := newGateway(t, p.ask(func(h *Handler) {
		h.Captcha.After, h.Captcha.Script, h.Login.Page = "0", "", pageUpstream
	}))
	o := g.askFrom("192.0.2.1", jane, "")
	if to := o.Header().Get("Location"); o.Code != http.StatusSeeOther || to != "/login?kibo_auth=captcha" {
		t.Errorf("%d to %q, want 303 to /login?kibo_auth=captcha", o.Code, to)
	}
	if o = g.signInPost("192.0.2.1", "", "email", jane, "captcha", "good"); o.Header().Get("Location") != "/login?kibo_auth=code_sent" {
		t.Errorf("to %q, want code_sent", o.Header().Get("Location"))
	}
	g.mailed()
}

// TestCaptchaPolicy: pages with a captcha allow its script, and other pages
// nothing more than ever.
func TestCaptchaPolicy(t *testing.T) {
	p := newProvider(t)
	g := newGateway(t, p.ask())
	bare := g.serve(request(t, http.MethodGet, "/login", page()...))
	if csp := bare.Header().Get("Content-Security-Policy"); strings.Contains(csp, p.URL) || strings.Contains(csp, "script-src") || strings.Contains(bare.Body.String(), "<script") {
		t.Errorf("a page without a captcha: %s", csp)
	}
	for i := range 3 {
		g.askFrom("192.0.2.1", fmt.Sprint(i, "@example.com"), "")
	}
	for name, o := range map[string]outcome{
		"refused": g.askFrom("192.0.2.1", jane, ""),
		"opened":  g.serve(at(request(t, http.MethodGet, "/login", page()...), "192.0.2.1")), // nobody need fail first
	} {
		want := bare.Header().Get("Content-Security-Policy") + "; script-src " + p.URL + "; frame-src " + p.URL + "; connect-src " + p.URL
		if csp := o.Header().Get("Content-Security-Policy"); csp != want {
			t.Errorf("%s: policy\n%s\nwant\n%s", name, csp, want)
		}
		if body := o.Body.String(); !strings.Contains(body, `<script src="`+p.URL+`/api.js" async defer></script>`) || !strings.Contains(body, "<noscript>") {
			t.Errorf("%s:\n%s", name, body)
		}
	}
	if csp := g.serve(request(t, http.MethodGet, "/logout", page()...)).Header().Get("Content-Security-Policy"); strings.Contains(csp, p.URL) {
		t.Errorf("an error page: %s", csp)
	}
}
