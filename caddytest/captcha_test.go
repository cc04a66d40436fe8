package caddytest

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

const (
	captchaKey    = "0x4AAAAAAA-the-public-site-key"
	captchaSecret = "0x4AAAAAAA-the-secret-key-of-the-widget"
)

// captchaHost stands in for a captcha provider: answers that begin with good are,
// and were solved at 127.0.0.1.
func captchaHost(t *testing.T, calls *atomic.Int64) *host {
	t.Helper()
	note("captcha secret", captchaSecret)
	return newHost(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		if r.FormValue("secret") != captchaSecret {
			fmt.Fprint(w, `{"success":false,"error-codes":["invalid-input-secret"]}`)
			return
		}
		fmt.Fprintf(w, `{"success":%t,"hostname":"127.0.0.1"}`, strings.HasPrefix(r.FormValue("response"), "good"))
	}))
}

// captchaLine is the configuration for it; its secret is in a file.
func captchaLine(t *testing.T, at *host, more string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(captchaSecret), 0o600); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("captcha %s/siteverify {\nscript %[1]s/api.js\nsite_key %s\nsecret {file.%s}\n%s\n}\n", at.url(), captchaKey, file, more)
}

// TestGuessingMeetsACaptchaInCaddy: with the defaults, through a reload, and from
// one client only.
func TestGuessingMeetsACaptchaInCaddy(t *testing.T) {
	var calls atomic.Int64
	h := captchaHost(t, &calls)
	w := start(t, setup{limits: "limit floor 0s", servers: behind, gateway: captchaLine(t, h, "")})
	b := w.browser().withoutKeepAlive()
	b.post("/login", url.Values{"email": {jane}}, by("192.0.2.1"))
	code := w.code(jane)
	for i := range 2 {
		if r := b.post("/login", url.Values{"otpCode": {wrongCode(code)}}, by("192.0.2.1")); r.status != http.StatusUnauthorized {
			t.Errorf("guess %d: %d, want 401", i, r.status)
		}
	}
	w.reload()
	w.settle()
	r := b.post("/login", url.Values{"otpCode": {code}}, by("192.0.2.1"))
	csp := "; script-src " + h.url() + "; frame-src " + h.url() + "; connect-src " + h.url()
	if r.status != http.StatusForbidden || !strings.Contains(r.body, captchaKey) || !strings.HasSuffix(r.header.Get("Content-Security-Policy"), csp) {
		t.Fatalf("the right code without a captcha: %d, %s\n%s", r.status, r.header.Get("Content-Security-Policy"), r.body)
	}
	if n := w.sim.Calls("otp/auth"); n != 2 || calls.Load() != 0 {
		t.Errorf("Kibo was asked %d times and the provider %d, want 2 and 0", n, calls.Load())
	}
	if r = w.browser().post("/login", url.Values{"email": {"john@example.com"}}, by("203.0.113.1")); r.status != http.StatusOK {
		t.Errorf("another client: %d, want 200", r.status)
	}
	form := url.Values{"otpCode": {code}, "cf-turnstile-response": {"good-answer-1"}}
	if r = b.post("/login", form, by("192.0.2.1")); r.status != http.StatusSeeOther || calls.Load() != 1 {
		t.Errorf("with a captcha: %d, provider asked %d times; want 303 and once", r.status, calls.Load())
	}
	if r = b.post("/login", url.Values{"email": {"zoe@example.com"}, "cf-turnstile-response": {"good-answer-1"}}, by("192.0.2.1")); r.status != http.StatusForbidden || calls.Load() != 1 {
		t.Errorf("the same answer again: %d, provider asked %d times; want 403 and not again", r.status, calls.Load())
	}
}

// TestCaptchaProviderIsAway: closed refuses what needs it, open lets it through,
// and the rest of the shop goes on.
func TestCaptchaProviderIsAway(t *testing.T) {
	for mode, want := range map[string]int{"closed": http.StatusServiceUnavailable, "open": http.StatusOK} {
		t.Run(mode, func(t *testing.T) {
			var calls atomic.Int64
			h := captchaHost(t, &calls)
			w := start(t, setup{limits: "limit floor 0s", servers: behind, gateway: "protect /account*\n" + captchaLine(t, h, "after 2/1h\non_failure "+mode)})
			b := w.browser()
			b.signIn(w, jane) // of which the code sent counts
			w.browser().post("/login", url.Values{"email": {"somebody@example.com"}})
			h.off()
			form := url.Values{"email": {"john@example.com"}, "cf-turnstile-response": {"good-answer-2"}}
			began := time.Now()
			r := w.browser().post("/login", form)
			if took := time.Since(began); r.status != want || took > 8*time.Second {
				t.Errorf("%d after %s, want %d", r.status, took, want)
			}
			if mode == "closed" && r.header.Get("Retry-After") == "" {
				t.Error("no Retry-After")
			}
			if mode == "open" {
				w.code("john@example.com")
			} else if n := w.sim.Calls("otp/request"); n != 2 {
				t.Errorf("%d codes were sent, want 2", n)
			}
			form.Del("cf-turnstile-response")
			if r := w.browser().post("/login", form); r.status != http.StatusForbidden {
				t.Errorf("without an answer: %d, want 403", r.status)
			}
			if b.signedInAs("/account") != janeID {
				t.Error("a session does not go on")
			}
			h.on()
			form.Set("cf-turnstile-response", "good-answer-3")
			form.Set("email", "zoe@example.com")
			if r := w.browser().post("/login", form); r.status != http.StatusOK {
				t.Errorf("when the provider is back: %d, want 200", r.status)
			}
			w.code("zoe@example.com")
		})
	}
}
