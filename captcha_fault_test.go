package kiboauth

import (
	"fmt"
	"net/http"
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
	provider, err := g.Captcha.provider()
	if err != nil {
		t.Fatal(err)
	}
	common := newShelf(1000)
	for i := range 4 {
		u, err := g.newHuman(provider, newMaker(g.Limits, newCounts(), common))
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

// TestCodesThatWereNotSentGiveTheScoreBack: nor is a code that Kibo could not mail.
func TestCodesThatWereNotSentGiveTheScoreBack(t *testing.T) {
	p := newProvider(t)
	g := newGateway(t, p.ask())
	g.sim.Set(func(sw *kibosim.Switches) { sw.Faults["otp/request"] = kibosim.Fault{Kind: "html_500", Times: 3} })
	for i := range 6 {
		email := fmt.Sprint(i, "@example.com")
		if o := g.askFrom("192.0.2.1", email, ""); o.Code != http.StatusOK {
			t.Errorf("code %d: status %d, want 200", i, o.Code)
		}
		waitUntil(t, "the mail is given back", func() bool {
			return g.sim.Calls("otp/request") == i+1 && g.logs.FilterMessage("no code was sent").Len() == min(i+1, 3)
		})
	}
	g.wantCaptcha(g.askFrom("192.0.2.1", jane, ""), jane)
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
