package caddytest

import (
	"net/http"
	"net/url"
	"testing"

	"github.com/kiboauth/caddy-kibo-auth/internal/attack"
	"github.com/kiboauth/caddy-kibo-auth/internal/freeport"
)

// attackable is a gateway with the default limits, and a shop that shows what
// it gets.
func attackable(t *testing.T, s setup) (*world, attack.Target) {
	t.Helper()
	w := start(t, s)
	w.shop.answers(func(rw http.ResponseWriter, r *http.Request) {
		_ = r.Header.Write(rw)
		_ = r.Trailer.Write(rw)
	})
	return w, attack.Target{
		Base: &url.URL{Scheme: "http", Host: w.addr}, Login: "/login", Logout: "/logout", Protected: "/account", Public: "/public/x", Echo: "/public/echo",
		Email: "email", Code: "otpCode", Cookie: sessionCookie, Identity: []string{accountHeader, "X-Customer-Email"}, Rate: 100_000,
	}
}

// strike runs the suite: nothing may fail, and what cannot be told is known.
func strike(t *testing.T, target attack.Target, only string, unknown ...string) {
	t.Helper()
	na := map[string]bool{}
	for _, name := range unknown {
		na[name] = true
	}
	checks, requests := 0, 0
	err := attack.Run(t.Context(), target, only, func(r attack.Result) {
		checks++
		requests += r.Tries
		if name := r.Family + "/" + r.Name; r.Outcome == attack.Fail || (r.Outcome == attack.NA) != na[name] {
			t.Errorf("%s\n%q", r, r.Failures)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d checks, %d requests", checks, requests)
}

// signedInOnly are the checks that are not made without a session.
var signedInOnly = []string{
	"headers/spoofed-identity-http11-seen-signed-in", "headers/connection-names-ours", "cookies/tossed", "cookies/look-alikes", "cookies/kept-from-application",
	"csrf/sign-out-signed-in", "csrf/websocket", "caching/signed-in-pages", "caching/deception",
}

// over3 are the checks over HTTP/3, which needs TLS.
var over3 = []string{"headers/spoofed-identity-http3", "headers/spoofed-identity-http3-seen"}

const everythingElse = "identity Kibo-Account-Id account_id\nidentity X-Customer-Email email\npublic /public/*"

// TestAttackSuiteWithoutSession: what anybody can send to a real Caddy.
func TestAttackSuiteWithoutSession(t *testing.T) {
	_, target := attackable(t, setup{gateway: everythingElse, limits: "limit floor 1ms"})
	target.Send = true
	strike(t, target, "", append(over3, signedInOnly...)...)
}

// TestAttackSuiteWithSession: what a customer can send.
func TestAttackSuiteWithSession(t *testing.T) {
	w, target := attackable(t, setup{gateway: everythingElse, limits: "limit floor 1ms"})
	b := w.browser()
	b.signIn(w, jane)
	target.Session = b.cookies[sessionCookie]
	for _, family := range []string{"headers", "cookies", "csrf", "caching"} {
		strike(t, target, family, over3...)
	}
}

// TestAttackSuiteOnProtectedPaths: where everything is open but what is named.
func TestAttackSuiteOnProtectedPaths(t *testing.T) {
	_, target := attackable(t, setup{gateway: "protect /account /account/*"})
	strike(t, target, "paths")
}

// TestAttackSuiteOverTLS: HTTP/2, HTTP/3 and Secure cookies.
func TestAttackSuiteOverTLS(t *testing.T) {
	w, target := attackable(t, setup{gateway: everythingElse})
	w.withTLS(freeport.Addr(t))
	target.Base = &url.URL{Scheme: "https", Host: "localhost:" + port(w.addr)}
	target.InsecureTLS = true
	eventually(t, "there is a certificate", func() bool {
		return attack.Run(t.Context(), target, "pages/errors-for-scripts", func(attack.Result) {}) == nil
	})
	for _, only := range []string{"headers/spoofed-identity-http2", "headers/spoofed-identity-http3-seen", "cookies", "pages"} {
		strike(t, target, only, signedInOnly...)
	}
}

// TestAttackSuiteFindsThatThereIsNoGateway: a shop without one is not tried, and
// certainly does not pass.
func TestAttackSuiteFindsThatThereIsNoGateway(t *testing.T) {
	w, target := attackable(t, setup{})
	target.Base.Host = w.stock
	if err := attack.Run(t.Context(), target, "", func(attack.Result) { t.Error("a check was made") }); err == nil {
		t.Error("a shop without a gateway passes for protected")
	}
}
