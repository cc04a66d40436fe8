package caddytest

import (
	"strings"
	"testing"
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
