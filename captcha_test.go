package kiboauth

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/kiboauth/caddy-kibo-auth/internal/kibosim"
)

const captchaSecret = "0x-secret-key-of-the-widget"

// provider stands in for a captcha provider: an answer is good that begins with
// good, and once only.
type provider struct {
	*httptest.Server
	mu     sync.Mutex
	asked  []url.Values
	seen   map[string]bool
	answer http.HandlerFunc // in its place
}

func newProvider(t testing.TB) *provider {
	t.Helper()
	p := &provider{seen: map[string]bool{}}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil {
			t.Error(err)
		}
		answer := r.PostForm.Get("response")
		p.mu.Lock()
		p.asked = append(p.asked, r.PostForm)
		good := strings.HasPrefix(answer, "good") && !p.seen[answer]
		p.seen[answer] = true
		instead := p.answer
		p.mu.Unlock()
		if instead != nil {
			instead(w, r)
			return
		}
		fmt.Fprintf(w, `{"success":%t,"hostname":%q,"action":"sign_in"}`, good, testHost)
	}))
	t.Cleanup(p.Close)
	return p
}

// calls is how often it has been asked.
func (p *provider) calls() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.asked)
}

// instead replaces its answers.
func (p *provider) instead(answer http.HandlerFunc) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answer = answer
}

// ask switches captchas and the default limits on.
func (p *provider) ask(change ...func(*Handler)) func(*Handler) {
	return func(h *Handler) {
		withLimits(h)
		h.Captcha = Captcha{
			Provider: p.URL + "/siteverify", Script: p.URL + "/api.js", SiteKey: "a-site-key", Secret: captchaSecret,
			Field: "captcha",
		}
		for _, c := range change {
			c(h)
		}
	}
}

// signInPost posts a sign-in form; fields are pairs.
func (g *gateway) signInPost(ip, cookies string, fields ...string) outcome {
	g.t.Helper()
	form := url.Values{}
	for i := 0; i < len(fields); i += 2 {
		form.Set(fields[i], fields[i+1])
	}
	return g.serve(at(post(g.t, "/login", form, "Cookie", cookies), ip))
}

// wantCaptcha wants the form again, with a captcha, what was typed, and nothing
// asked of Kibo.
func (g *gateway) wantCaptcha(o outcome, email string) {
	g.t.Helper()
	body := o.Body.String()
	if o.Code != http.StatusForbidden || !strings.Contains(body, `data-sitekey="a-site-key"`) || !strings.Contains(body, `value="`+email+`"`) {
		g.t.Errorf("status %d, want 403 and the form with a captcha and %s:\n%s", o.Code, email, body)
	}
	if o.cookie(g.cookies.session) != nil || o.cookie(g.cookies.login) != nil {
		g.t.Error("a post without a captcha gets a cookie")
	}
}

// TestGuessingMeetsACaptcha: the fourth guess of one client reaches Kibo only
// with a captcha, and an answer is good once.
func TestGuessingMeetsACaptcha(t *testing.T) {
	p := newProvider(t)
	g := newGateway(t, p.ask())
	for i := range 3 {
		if o := g.passwordFrom("192.0.2.1", fmt.Sprint(i, "@example.com"), "wrong", ""); o.Code != http.StatusUnauthorized {
			t.Fatalf("guess %d: status %d, want 401", i, o.Code)
		}
	}
	guess := func(answer string) outcome {
		return g.signInPost("192.0.2.1", "", "email", jane, "password", "wrong", "captcha", answer)
	}
	for _, answer := range []string{"", " ", "bad", "a\x00", strings.Repeat("a", 3000)} {
		g.wantCaptcha(guess(answer), jane)
	}
	if n := g.sim.Calls("password"); n != 3 || p.calls() != 1 {
		t.Errorf("Kibo was asked %d times and the provider %d, want 3 and 1", n, p.calls())
	}
	if o := guess("good 1"); o.Code != http.StatusForbidden { // a blank cannot be in one
		t.Errorf("status %d, want 403", o.Code)
	}
	if o := guess("good-1"); o.Code != http.StatusUnauthorized {
		t.Errorf("with a captcha: status %d, want 401", o.Code)
	}
	g.wantCaptcha(guess("good-1"), jane)
	if n := g.sim.Calls("password"); n != 4 || p.calls() != 2 {
		t.Errorf("Kibo was asked %d times and the provider %d, want 4 and 2: one answer, one try", n, p.calls())
	}
	if got := p.asked[1]; got.Get("secret") != captchaSecret || got.Get("remoteip") != "192.0.2.1" {
		t.Errorf("the provider got %v", got)
	}
	if o := g.passwordFrom("192.0.2.77", john, "wrong", ""); o.Code != http.StatusUnauthorized {
		t.Errorf("another client: status %d, want 401", o.Code)
	}
}

// TestOneAnswerForManyPostsAtOnce: of sixty posts with one answer, one passes.
func TestOneAnswerForManyPostsAtOnce(t *testing.T) {
	p := newProvider(t)
	p.instead(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"success":true}`) })
	g := newGateway(t, p.ask(func(h *Handler) { h.Captcha.After = "0" }))
	var posts sync.WaitGroup
	for i := range 60 {
		r := at(post(t, "/login", url.Values{"email": {fmt.Sprint(i, "@example.com")}, "password": {"wrong"}, "captcha": {"same"}}), "192.0.2.1")
		posts.Go(func() { g.serve(r) })
	}
	posts.Wait()
	if n := g.sim.Calls("password"); n != 1 || p.calls() != 1 {
		t.Errorf("Kibo was asked %d times and the provider %d, want once each", n, p.calls())
	}
}

// TestCodesForManyAddressesMeetACaptcha: nothing is mailed without it, and with
// it at once: the pause between two codes is not used up.
func TestCodesForManyAddressesMeetACaptcha(t *testing.T) {
	p := newProvider(t)
	g := newGateway(t, p.ask())
	for i := range 3 {
		g.askFrom("192.0.2.1", fmt.Sprint(i, "@example.com"), "")
	}
	for range 20 {
		g.wantCaptcha(g.askFrom("192.0.2.1", jane, ""), jane)
	}
	if o := g.signInPost("192.0.2.1", "", "email", jane, "captcha", "good"); o.Code != http.StatusOK || o.cookie(g.cookies.login) == nil {
		t.Errorf("with a captcha: status %d, want 200", o.Code)
	}
	g.mailed()
	if p.calls() != 1 {
		t.Errorf("the provider was asked %d times, want 1", p.calls())
	}
}

// TestDistributedGuessingMeetsACaptcha: all strangers to an account count
// together, and the customer's own browser does not with them.
func TestDistributedGuessingMeetsACaptcha(t *testing.T) {
	p := newProvider(t)
	g := newGateway(t, p.ask())
	o := g.passwordFrom("192.0.2.1", jane, right, "")
	device := g.cookies.device + "=" + o.cookie(g.cookies.device).Value
	for i := range 3 {
		g.passwordFrom(fmt.Sprint("198.51.100.", i), jane, "wrong", "")
	}
	for i := range 10 {
		g.wantCaptcha(g.passwordFrom(fmt.Sprint("203.0.113.", i), jane, right, ""), jane)
	}
	for i := range 4 { // strangers of the customer's own network
		g.passwordFrom("203.0.113.1", fmt.Sprint(i, "@example.com"), "wrong", "")
	}
	g.wantSignedIn(g.passwordFrom("203.0.113.1", jane, right, device), "1001", "password")
	for range 3 {
		g.passwordFrom("203.0.113.1", jane, "wrong", device)
	}
	g.wantCaptcha(g.passwordFrom("203.0.113.1", jane, right, device), jane) // its own failures count
}

// TestCaptchaTellsNoAccounts: what is asked when does not depend on whether an
// account exists.
func TestCaptchaTellsNoAccounts(t *testing.T) {
	var first string
	for _, email := range []string{jane, "none@example.com", "lock@example.com"} {
		p := newProvider(t)
		g := newGateway(t, p.ask())
		g.sim.AddCustomer(kibosim.Customer{Email: "lock@example.com", Password: right, Locked: true})
		var got strings.Builder
		for i := range 4 {
			o := g.askFrom(fmt.Sprint("192.0.2.", i), email, "")
			fmt.Fprintln(&got, o.Code, len(o.cookieValue(g.cookies.login)), strings.ReplaceAll(o.Body.String(), email, "?"))
		}
		for i := range 4 {
			o := g.passwordFrom(fmt.Sprint("198.51.100.", i), email, "wrong", "")
			fmt.Fprintln(&got, o.Code, strings.ReplaceAll(o.Body.String(), email, "?"))
		}
		text := strings.ReplaceAll(got.String(), p.URL, "PROVIDER")
		if first = cmp.Or(first, text); text != first {
			t.Errorf("%s is answered\n%s\nand jane\n%s", email, text, first)
		}
	}
}

func (o outcome) cookieValue(name string) string {
	if c := o.cookie(name); c != nil {
		return c.Value[:len(c.Value)/16*16]
	}
	return ""
}

// TestCaptchaLiftsNoLimit: who solves them all day has no more tries than who
// is asked for none, and the provider is not asked for what a limit refuses.
func TestCaptchaLiftsNoLimit(t *testing.T) {
	p := newProvider(t)
	g := newGateway(t, p.ask())
	for i := range 20 {
		g.signInPost("192.0.2.1", "", "email", jane, "password", "wrong", "captcha", fmt.Sprint("good-", i))
	}
	g.wantLimited(g.signInPost("192.0.2.1", "", "email", jane, "password", right, "captcha", "good-right"))
	if n := g.sim.Calls("password"); n != 5 || p.calls() != 2 {
		t.Errorf("Kibo was asked %d times and the provider %d, want 5 and 2", n, p.calls())
	}
}

// TestSilentLimitHidesBehindACaptcha: where codes are over a limit and nothing
// is sent, a captcha is asked for all the same, and the provider is not asked.
func TestSilentLimitHidesBehindACaptcha(t *testing.T) {
	p := newProvider(t)
	g := newGateway(t, p.ask(func(h *Handler) { h.Limits.Send.Client = []string{"3/1h"} }))
	for i := range 3 {
		g.askFrom("192.0.2.1", fmt.Sprint(i, "@example.com"), "")
	}
	g.wantCaptcha(g.askFrom("192.0.2.1", jane, ""), jane)
	o := g.signInPost("192.0.2.1", "", "email", jane, "captcha", "good")
	if o.Code != http.StatusOK || o.cookie(g.cookies.login) == nil || p.calls() != 0 {
		t.Errorf("status %d, provider asked %d times; want 200 and never", o.Code, p.calls())
	}
	// What nobody has looked at spares nothing.
	g.wantCaptcha(g.signInPost("192.0.2.1", o.kept(), "email", jane, "otpCode", "123456"), jane)
}

// TestFloodOfBadCaptchas: the provider is asked so often for one client, and no more.
func TestFloodOfBadCaptchas(t *testing.T) {
	p := newProvider(t)
	g := newGateway(t, p.ask(func(h *Handler) { h.Captcha.After = "0" }))
	for i := range 20 {
		g.wantCaptcha(g.signInPost("192.0.2.1", "", "email", jane, "password", right, "captcha", fmt.Sprint("bad-", i)), jane)
	}
	g.wantLimited(g.signInPost("192.0.2.1", "", "email", jane, "password", right, "captcha", "good"))
	if n := g.sim.Calls("password"); n != 0 || p.calls() != 20 {
		t.Errorf("Kibo was asked %d times and the provider %d, want 0 and 20", n, p.calls())
	}
	g.wantSignedIn(g.signInPost("192.0.2.9", "", "email", jane, "password", right, "captcha", "good-2"), "1001", "password")
}

// TestCrossSitePostAsksNoProvider, nor does a post that is no sign-in.
func TestCrossSitePostAsksNoProvider(t *testing.T) {
	p := newProvider(t)
	g := newGateway(t, p.ask(func(h *Handler) { h.Captcha.After = "0" }))
	form := url.Values{"email": {jane}, "captcha": {"good"}}
	if o := g.serve(post(t, "/login", form, "Sec-Fetch-Site", "cross-site")); o.Code != http.StatusForbidden || strings.Contains(o.Body.String(), "data-sitekey") {
		t.Errorf("status %d, want 403 without a captcha", o.Code)
	}
	form.Set("email", "no address")
	g.serve(post(t, "/login", form))
	if p.calls() != 0 {
		t.Errorf("the provider was asked %d times", p.calls())
	}
}

// TestSolvedCaptchaSparesTheCode: who has solved one to get a code is not asked
// again to enter it, three times, and not for another code.
func TestSolvedCaptchaSparesTheCode(t *testing.T) {
	p := newProvider(t)
	g := newGateway(t, p.ask(func(h *Handler) { h.Captcha.After = "0" }))
	g.wantCaptcha(g.askFrom("192.0.2.1", jane, ""), jane)
	o := g.signInPost("192.0.2.1", "", "email", jane, "captcha", "good")
	if strings.Contains(o.Body.String(), "data-sitekey") {
		t.Error("the code form shows a captcha that nobody asks for")
	}
	kept, code := o.kept(), g.mailed()
	for i := range 3 {
		if o := g.codeFrom("192.0.2.1", jane, wrong(code), kept); o.Code != http.StatusUnauthorized {
			t.Errorf("try %d: status %d, want 401", i, o.Code)
		}
	}
	o = g.codeFrom("192.0.2.1", jane, code, kept)
	g.wantCaptcha(o, jane)
	if !strings.Contains(o.Body.String(), `value="`+code+`"`) {
		t.Error("the code has to be typed again")
	}
	if n := g.sim.Calls("otp/auth"); n != 3 {
		t.Errorf("%d calls, want 3: no code is used up without a captcha", n)
	}
	o = g.serve(at(jsonPost(t, `{"resend":true}`, "Cookie", kept), "192.0.2.1"))
	if o.Code != http.StatusForbidden || g.sim.Calls("otp/request") != 1 {
		t.Errorf("another code: status %d, %d mails; want 403 and 1", o.Code, g.sim.Calls("otp/request"))
	}
}

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

// TestCaptchaOutage: closed refuses and open lets through to the limits, and
// neither shows anything of the fault.
func TestCaptchaOutage(t *testing.T) {
	for _, mode := range []string{failClosed, failOpen} {
		p := newProvider(t)
		g := newGateway(t, p.ask(func(h *Handler) { h.Captcha.After, h.Captcha.OnFailure = "0", mode }))
		p.instead(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "boom", http.StatusInternalServerError) })
		want := map[string]int{failClosed: http.StatusServiceUnavailable, failOpen: http.StatusUnauthorized}[mode]
		for i := range 5 {
			o := g.signInPost("192.0.2.1", "", "email", jane, "password", "wrong", "captcha", fmt.Sprint("good-", i))
			if o.Code != want || strings.Contains(o.Body.String(), "boom") || o.Code == 503 && o.Header().Get("Retry-After") == "" {
				t.Errorf("%s: status %d, want %d", mode, o.Code, want)
			}
		}
		last := g.signInPost("192.0.2.1", "", "email", jane, "password", right, "captcha", "good-5")
		switch mode {
		case failOpen:
			g.wantLimited(last)
		case failClosed:
			if n := g.sim.Calls("password"); n != 0 {
				t.Errorf("closed: Kibo was asked %d times", n)
			}
		}
		g.wantCaptcha(g.signInPost("192.0.2.2", "", "email", jane, "password", right), jane) // open is for who brings one
		if n := g.logs.FilterMessageSnippet("captcha provider cannot be asked").Len(); n != 1 {
			t.Errorf("%s: %d lines in the log, want 1 a minute", mode, n)
		}
		g.wantNoCaptchaSecrets()
	}
}

// TestOpenCannotBeForced: what a stranger can do to the provider's answer does
// not open what is open when it is away.
func TestOpenCannotBeForced(t *testing.T) {
	for _, text := range []string{`{"success":false,"error-codes":["bad-request"]}`, `<html>Bad Request</html>`} {
		p := newProvider(t)
		g := newGateway(t, p.ask(func(h *Handler) { h.Captcha.After, h.Captcha.OnFailure = "0", failOpen }))
		p.instead(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(w, text)
		})
		g.wantCaptcha(g.signInPost("192.0.2.1", "", "email", jane, "password", right, "captcha", "crafted"), jane)
	}
	p := newProvider(t)
	g := newGateway(t, p.ask(func(h *Handler) {
		h.Captcha.After, h.Captcha.OnFailure, h.Captcha.Timeout = "0", failOpen, caddy.Duration(5*time.Second)
	}))
	free, full := make(chan struct{}), make(chan struct{}, 100)
	p.instead(func(http.ResponseWriter, *http.Request) { full <- struct{}{}; <-free })
	var posts sync.WaitGroup
	for i := range 64 {
		r := at(post(t, "/login", url.Values{"email": {fmt.Sprint(i, "@example.com")}, "password": {"wrong"}, "captcha": {fmt.Sprint("a", i)}}), fmt.Sprint("198.51.100.", i))
		posts.Go(func() { g.serve(r) })
	}
	for range 64 {
		await(t, full)
	}
	o := g.signInPost("192.0.2.1", "", "email", jane, "password", right, "captcha", "b")
	if o.Code != http.StatusServiceUnavailable || g.sim.Calls("password") != 0 {
		t.Errorf("with all places taken: status %d, want 503", o.Code)
	}
	close(free)
	posts.Wait()
}

// wantNoCaptchaSecrets wants the log without secrets.
func (g *gateway) wantNoCaptchaSecrets() {
	g.t.Helper()
	for _, entry := range g.logs.All() {
		line := fmt.Sprint(entry.Message, entry.ContextMap())
		for _, secret := range []string{captchaSecret, "good-", jane, right} {
			if strings.Contains(line, secret) {
				g.t.Errorf("the log has %q: %s", secret, line)
			}
		}
	}
}

// TestAnswerFromAnotherSite is refused, even if the provider takes it.
func TestAnswerFromAnotherSite(t *testing.T) {
	for host, want := range map[string]int{
		"evil.example": http.StatusForbidden, testHost: http.StatusUnauthorized, "www.example.com": http.StatusUnauthorized, "": http.StatusUnauthorized,
	} {
		p := newProvider(t)
		g := newGateway(t, p.ask(func(h *Handler) { h.Captcha.After, h.Sites = "0", []string{"https://WWW.example.com:8443"} }))
		p.instead(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintf(w, `{"success":true,"hostname":%q}`, host) })
		if o := g.signInPost("192.0.2.1", "", "email", jane, "password", "wrong", "captcha", "a"); o.Code != want {
			t.Errorf("solved at %q: status %d, want %d", host, o.Code, want)
		}
	}
}

// TestCaptchaScoreResetByReload: it is not, nor are answers forgotten.
func TestCaptchaScoreResetByReload(t *testing.T) {
	p := newProvider(t)
	p.instead(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"success":true}`) })
	g := newGateway(t, p.ask())
	for i := range 3 {
		g.passwordFrom("192.0.2.1", fmt.Sprint(i, "@example.com"), "wrong", "")
	}
	g.signInPost("192.0.2.1", "", "email", jane, "password", "wrong", "captcha", "once")
	g.Handler = g.provision(p.ask(func(h *Handler) { h.Login.Success = "/other" }))
	g.wantCaptcha(g.passwordFrom("192.0.2.1", jane, right, ""), jane)
	g.wantCaptcha(g.signInPost("192.0.2.1", "", "email", jane, "password", right, "captcha", "once"), jane)
}

// TestGatewaysScoreTogether: what one has counted, the other knows.
func TestGatewaysScoreTogether(t *testing.T) {
	p := newProvider(t)
	g := newGateway(t, p.ask())
	common := newShelf(1000)
	for i := range 4 {
		u, err := g.newHuman(newMaker(g.Limits, newCounts(), common))
		if err != nil {
			t.Fatal(err)
		}
		g.human = u
		v := from("192.0.2.1", "")
		v.account = fmt.Sprint(i, "@example.com")
		if asks := u.asks(t.Context(), v); asks != (i == 3) {
			t.Errorf("gateway %d asks: %t", i, asks)
		}
		if _, _, err := u.pass(t.Context(), v, solution{}); (err != nil) != (i == 3) {
			t.Errorf("gateway %d: %v", i, err)
		}
	}
}

// TestCaptchaWithMadeUpAddresses: a flood of them makes no more counters than
// it takes until the client meets a captcha.
func TestCaptchaWithMadeUpAddresses(t *testing.T) {
	p := newProvider(t)
	g := newGateway(t, p.ask(func(h *Handler) {
		h.Limits.Send.Client, h.Limits.Verify.Client = []string{"100000/1h"}, []string{"100000/1h"}
	}))
	for i := range 300 {
		g.askFrom("192.0.2.1", fmt.Sprint(i, "@example.com"), "")
	}
	scores := 0
	for key := range g.shared.counts.shelves[accounts].found {
		for i := range 300 {
			v := &visitor{key: from("", "").key, account: fmt.Sprint(i, "@example.com")}
			v.key = g.limitKey()
			if key == g.limits.key(v, accountSpot(g.human.score, v, false)) {
				scores++
			}
		}
	}
	if scores != 3 {
		t.Errorf("%d scores of accounts, want 3", scores)
	}
}

// limitKey is the key of the limits' names.
func (g *gateway) limitKey() []byte {
	g.t.Helper()
	keys, err := g.keyring.ready(g.t.Context())
	if err != nil {
		g.t.Fatal(err)
	}
	return keys[0].limit
}

// TestOutageGivesTheScoreBack: what Kibo could not do is nobody's failure.
func TestOutageGivesTheScoreBack(t *testing.T) {
	p := newProvider(t)
	g := newGateway(t, p.ask())
	g.sim.Set(func(sw *kibosim.Switches) { sw.Faults["password"] = kibosim.Fault{Kind: "html_500", Times: 4} })
	for range 4 {
		if o := g.passwordFrom("192.0.2.1", jane, "wrong", ""); o.Code != http.StatusServiceUnavailable {
			t.Errorf("status %d, want 503", o.Code)
		}
	}
	for range 10 { // nor is a good sign-in
		if o := g.passwordFrom("192.0.2.1", jane, right, ""); o.cookie(g.cookies.session) == nil {
			t.Errorf("status %d, want a session", o.Code)
		}
	}
}

// TestReplacedCaptchaSecret: a file that is replaced counts at the next call; one
// that is empty or missing at start is an error that names the line.
func TestReplacedCaptchaSecret(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte("first-secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := newProvider(t)
	g := newGateway(t, p.ask(func(h *Handler) { h.Captcha.After, h.Captcha.Secret = "0", "{file."+file+"}" }))
	for _, secret := range []string{"first-secret", "second-secret"} {
		if err := os.WriteFile(file, []byte(secret), 0o600); err != nil {
			t.Fatal(err)
		}
		g.signInPost("192.0.2.1", "", "email", jane, "password", "wrong", "captcha", "good-"+secret)
		if got := p.asked[len(p.asked)-1].Get("secret"); got != secret {
			t.Errorf("the provider got %q, want %q", got, secret)
		}
	}
	for _, line := range []string{"site_key", "secret"} {
		h := &Handler{APIHost: g.kibo.URL, AuthHost: g.kibo.URL, ClientID: "id", SharedSecret: "secret", Secrets: []string{testSecret}}
		p.ask()(h)
		if h.Captcha.SiteKey = "{env.NOBODY_HAS_SET_THIS}"; line == "secret" {
			h.Captcha.SiteKey, h.Captcha.Secret = "key", "{env.NOBODY_HAS_SET_THIS}"
		}
		ctx, cancel := caddy.NewContext(testContext(t))
		if err := h.Provision(ctx); err == nil || !strings.HasPrefix(err.Error(), "captcha "+line+": ") {
			t.Errorf("%s: %v", line, err)
		}
		if err := h.Cleanup(); err != nil {
			t.Error(err)
		}
		cancel()
	}
}
