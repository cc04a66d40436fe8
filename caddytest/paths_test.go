package caddytest

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/kiboauth/caddy-kibo-auth/internal/attack"
)

// What becomes of a request without a session.
const (
	challenged = "challenged"
	passed     = "passed"
	refused    = "refused"
)

// fate sends a request line as it is and tells what became of it.
func (w *world) fate(target string) string {
	w.t.Helper()
	r := w.raw(w.head("GET "+target+" HTTP/1.1", "Accept: text/html"))
	got := w.shop.got()
	switch {
	case got != nil && got.uri != target:
		w.t.Errorf("%q reaches the shop as %q", target, got.uri)
		return passed
	case got != nil:
		return passed
	case r.status == 303 && strings.HasPrefix(r.location(), "/login"):
		return challenged
	case r.status == 400:
		return refused
	}
	w.t.Errorf("%q: %d %q", target, r.status, r.location())
	return ""
}

// TestProtectedPathsInEveryReading: a path counts as protected if any server
// that is known may read it as one (decoding twice, cutting parameters, …).
func TestProtectedPathsInEveryReading(t *testing.T) {
	w := start(t, setup{gateway: "protect /account /account/* /admin* *.secret"})
	for target, want := range map[string]string{
		"/":                      passed,
		"/accounts":              passed,
		"/public/page":           passed,
		"/shop/account-list/a.b": passed,
		"/search?q=/account":     passed,

		"/account":                   challenged,
		"/account/":                  challenged,
		"/account/orders":            challenged,
		"/ACCOUNT":                   challenged,
		"/Account/Orders":            challenged,
		"/account?x=1":               challenged,
		"/account;x=1":               challenged,
		"/account;jsessionid=1/a":    challenged,
		"/;x/account":                challenged,
		"/account.":                  challenged,
		"/account%20":                challenged,
		"/account%2e":                challenged,
		"/account::$DATA":            challenged,
		"//account":                  challenged,
		"/./account":                 challenged,
		"/public/../account":         challenged,
		"/public/..;/account":        challenged,
		"/public/%2e%2e/account":     challenged,
		"/public/%252e%252e/account": challenged,
		"/public/..%2faccount":       challenged,
		"/public%2f..%2faccount":     challenged,
		`/public/..\account`:         challenged,
		"/public/..%5caccount":       challenged,
		"/%5Caccount":                challenged,
		"/%2faccount":                challenged,
		"/account%2f..":              challenged,
		"/account%2forders":          challenged,
		"/%61ccount":                 challenged,
		"/%2561ccount":               challenged,
		"/a%63%63ount":               challenged,
		"/acc%6Funt/x":               challenged,
		"/index.php/account":         challenged,
		"/administrator":             challenged,
		"/x.secret":                  challenged,
		"/x.SECRET;a":                challenged,
		"/%ef%bd%81ccount":           challenged, // full-width a
		"/account%3fx":               challenged,
		"/account%23x":               challenged,

		"/account%00":        refused,
		"/public%00/account": refused,
		"/%0aaccount":        refused,
		"/%ff":               refused,
	} {
		if got := w.fate(target); got != want {
			t.Errorf("%q is %s, want it %s", target, got, want)
		}
	}
}

// TestPublicPathsInEveryReading: a path counts as public only if no server can
// read it as another.
func TestPublicPathsInEveryReading(t *testing.T) {
	w := start(t, setup{gateway: "public /assets/* *.css /about"})
	for target, want := range map[string]string{
		"/assets/a.js":      passed,
		"/assets/deep/a/b":  passed,
		"/x/style.css":      passed,
		"/x/STYLE.CSS?v=1":  passed,
		"/about":            passed,
		"/assets/a%20b.png": passed,
		"/assets/a//b.png":  passed,

		"/":                          challenged,
		"/anything":                  challenged,
		"/assets":                    challenged,
		"/about/us":                  challenged,
		"/assets/../account":         challenged,
		"/assets/..;/account":        challenged,
		"/assets/%2e%2e/account":     challenged,
		"/assets/%252e%252e/account": challenged,
		`/assets/..\account`:         challenged,
		"/assets/..%2faccount":       challenged,
		"/account.php/x.css":         challenged,
		"/account;x.css":             challenged,
		"/account%3b.css":            challenged,
		"/account%3f.css":            challenged,
		"/account?x.css":             challenged,
		"/account/x.css/..":          challenged,

		"/account%00.css": refused,
		"/account%0a.css": refused,
	} {
		if got := w.fate(target); got != want {
			t.Errorf("%q is %s, want it %s", target, got, want)
		}
	}
}

// TestOddRequestTargets go nowhere without a session.
func TestOddRequestTargets(t *testing.T) {
	w := start(t, setup{gateway: "public /public/*"})
	for _, line := range []string{
		"OPTIONS * HTTP/1.1", "GET http://" + w.addr + "/account HTTP/1.1", "GET /public/../account#/public/ HTTP/1.1",
		"CONNECT /account HTTP/1.1", "TRACE /account HTTP/1.1", "PROPFIND /account HTTP/1.1", "GET /account HTTP/1.0",
	} {
		r := w.raw(w.head(line))
		if got := w.shop.got(); got != nil || r.status == 200 && r.body != "" {
			t.Errorf("%s: %d, the shop was asked: %t", line, r.status, got != nil)
		}
	}
}

// TestOtherNamesOfThePath: headers that some servers take for the path decide
// nothing.
func TestOtherNamesOfThePath(t *testing.T) {
	w := start(t, setup{gateway: "public /public/*"})
	for _, name := range []string{
		"X-Original-URL", "X-Rewrite-URL", "X-Forwarded-Uri", "X-Forwarded-Path", "X-Original-Uri", "X-HTTP-Method-Override",
	} {
		w.raw(w.head("GET /account HTTP/1.1", name+": /public/x"))
		if got := w.shop.got(); got != nil {
			t.Errorf("%s opens a protected path", name)
		}
	}
}

// TestNoSpellingReachesTheShop, over HTTP/1.1 and HTTP/2, whichever list is
// used.
func TestNoSpellingReachesTheShop(t *testing.T) {
	for _, gateway := range []string{"protect /account /account/*", "public /public/* /assets/* *.css *.png"} {
		w := start(t, setup{gateway: gateway})
		b := w.http2()
		for _, target := range attack.Paths("/account") {
			w.raw(w.head("GET "+target+" HTTP/1.1", "Accept: text/html", "Connection: close"))
			if w.shop.got() != nil {
				t.Errorf("%s: %q reaches the shop", gateway, target)
			}
			if _, err := url.ParseRequestURI(target); err != nil || target[0] != '/' || strings.HasPrefix(target, "//") || strings.Contains(target, "#") {
				continue // HTTP/2 in Go neither sends nor takes such a :path
			}
			b.do(http.MethodGet, "/", nil, asPage, func(r *http.Request) { r.URL = &url.URL{Scheme: "http", Host: w.addr, Opaque: target} })
			if got := w.shop.got(); got != nil {
				t.Errorf("%s: %q reaches the shop over HTTP/2, as %q", gateway, target, got.uri)
			}
		}
	}
}

// TestOddPathsOfAnHonestShop reach it byte for byte.
func TestOddPathsOfAnHonestShop(t *testing.T) {
	for _, gateway := range []string{"protect /account /account/*", "public /shop/* /über/*"} {
		w := start(t, setup{gateway: gateway})
		for _, target := range []string{
			"/shop/item;jsessionid=0123456789ABCDEF.node1", "/shop/item;jsessionid=0123456789ABCDEF.node1?size=4%2F5", "/shop/tv%2Fradio/17", "/shop/a%2fb",
			"/shop//item", "/shop/item//", "/shop/item/", "/shop/100%25-cotton", "/shop/a%20b", "/shop/a+b", "/shop/caf%C3%A9", "/shop/%E6%97%A5%E6%9C%AC",
			"/shop/size:xl", "/shop/~user", "/shop/a,b/(c)/'d'", "/shop/x.html?return=/account", "/shop/x?a=%00&b=%ff", "/shop/%7Euser/%2D", "/shop/a=b&c", "/shop/A/./b",
			"/shop/.well-known/x", "/shop/emoji/%F0%9F%9B%92", "/shop/redirect/https%253A%252F%252Fshop.example", "/%C3%BCber/uns",
		} {
			if got := w.fate(target); got != passed {
				t.Errorf("%s: %q is %s, want it passed", gateway, target, got)
			}
		}
	}
}

// TestNothingButThePathIsAnExemption: no method, upgrade, health check, origin
// or header opens what is protected (oauth2-proxy CVE-2026-34457).
func TestNothingButThePathIsAnExemption(t *testing.T) {
	const socket = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
	methods := []string{
		"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "TRACK", "DEBUG", "PROPFIND", "MKCOL", "COPY", "LOCK", "SEARCH",
		"PURGE", "BAN", "LINK", "QUERY", "FOO", "get", "Get", "options", "head", "GETX", "G", "X-GET", "JEFF", "ARBITRARY!#$%&'*+-.^_`|~", "PRI",
	}
	lines := []string{
		"X-None: 1", socket, strings.Replace(socket, "websocket", "h2c", 1) + "\r\nHTTP2-Settings: AAMAAABkAAQAAP__", strings.Replace(socket, "websocket", "TLS/1.0", 1),
		"Origin: https://shop.example\r\nAccess-Control-Request-Method: GET\r\nAccess-Control-Request-Headers: authorization", "Access-Control-Request-Private-Network: true",
		"User-Agent: GoogleHC/1.0", "User-Agent: kube-probe/1.33", "User-Agent: ELB-HealthChecker/2.0", "User-Agent: Amazon-Route53-Health-Check-Service", "User-Agent: HAProxy", "User-Agent: Googlebot/2.1",
		"X-HTTP-Method-Override: OPTIONS", "X-HTTP-Method: GET", "X-Method-Override: HEAD", "X-Forwarded-Method: OPTIONS", "X-Forwarded-For: 127.0.0.1", "X-Real-IP: 127.0.0.1", "Forwarded: for=127.0.0.1",
		"X-Forwarded-Proto: https", "X-Forwarded-Host: localhost", "X-Forwarded-Port: 443", "X-Original-URL: /public/x", "X-Rewrite-URL: /public/x", "X-Forwarded-Uri: /public/x", "X-Forwarded-Prefix: /public",
		"Authorization: Basic YWRtaW46YWRtaW4=", "Authorization: Bearer x", "Cookie: " + sessionCookie + "=x", "X-Auth-Request-User: jane", "Kibo-Account-Id: 1001", "If-None-Match: *", "If-Modified-Since: Sat, 01 Jan 2000 00:00:00 GMT",
		"Range: bytes=0-", "Expect: 100-continue", "Purpose: prefetch", "Sec-Purpose: prefetch", "Service-Worker: script", "Max-Forwards: 0", "Accept: text/event-stream", "Sec-Fetch-Mode: no-cors", "X-Requested-With: XMLHttpRequest",
	}
	for _, gateway := range []string{"protect /account /account/*", "public /public/*"} {
		w := start(t, setup{gateway: gateway})
		for _, method := range methods {
			for _, line := range lines {
				w.checkNotExempt(method+" /account/orders?_method=OPTIONS&health=1 HTTP/1.1", line)
			}
		}
	}
}

// checkNotExempt: a request has no session, and so the shop never sees it.
func (w *world) checkNotExempt(line, header string) {
	w.t.Helper()
	r := w.raw(w.head(line, header, "Content-Length: 0", "Connection: close"))
	switch {
	case w.shop.got() != nil:
		w.t.Errorf("%s with %s reaches the shop", line, header)
	case r.status < 300:
		w.t.Errorf("%s with %s: %d %q", line, header, r.status, r.body)
	}
}
