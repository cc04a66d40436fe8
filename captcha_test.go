package kiboauth

import (
	"cmp"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

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
