package caddytest

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// spoofs are names that some server behind us may take for one of ours, or
// that make it answer for another URL.
var spoofs = []string{
	"Kibo-Account-Id", "kibo-account-id", "KIBO-ACCOUNT-ID", "kIbO-aCcOuNt-Id",
	"Kibo_Account_Id", "kibo_account-id", "kibo.account.id", "Kibo-Account.Id", "Kibo!Account~Id", "kibo+account'id", "kibo-account|id",
	"HTTP_KIBO_ACCOUNT_ID", "Http-Kibo-Account-Id", "Kibo-Anything-Else", "kibo-",
	"X-Customer-Email", "x_customer_email", "x.customer.email", "HTTP-X-Customer-Email", "X-Customer!Email",
	"Remote-User", "REMOTE_USER", "X-Remote-User", "HTTP_REMOTE_USER",
	"X-Vol-User-Claims", "x_vol_user_claims", "X-Vol-App-Claims", "X-Vol-Exclude-User-Claims",
	"X-Original-URL", "X-Original-Url", "x_original_url", "X-Rewrite-URL",
}

// identityLines hand out two headers, and leave a path to the public. Caddy's
// own filter, which drops names with underscores and dots, is as good as off.
var identityLines = setup{
	servers: "expected_underscore_headers kibo_account_id kibo_account-id http_kibo_account_id x_customer_email x_vol_user_claims remote_user x_original_url http_remote_user\n" +
		"expected_dot_headers kibo.account.id kibo-account.id x.customer.email",
	gateway: "identity Kibo-Account-Id account_id\nidentity X-Customer-Email email\npublic /public/*\nlogin {\npage upstream\n}",
}

// folded is a name as PHP and its like know it.
func folded(name string) string {
	f := strings.Map(func(r rune) rune {
		if 'a' <= r && r <= 'z' || '0' <= r && r <= '9' {
			return r
		}
		return '_'
	}, strings.ToLower(name))
	return strings.TrimPrefix(f, "http_")
}

// claims are the headers, by folded name, with which the shop is told who is
// asking, or what for.
func claims(h http.Header) map[string][]string {
	all := map[string][]string{}
	for name, values := range h {
		f := folded(name)
		if strings.HasPrefix(f, "kibo_") || slices.ContainsFunc(spoofs, func(s string) bool { return folded(s) == f }) {
			all[f] = append(all[f], values...)
		}
	}
	return all
}

func TestSpoofedIdentity(t *testing.T) {
	w := start(t, identityLines)
	b := w.browser()
	b.signIn(w, jane)
	session := "Cookie: " + sessionCookie + "=" + b.cookies[sessionCookie]
	nobody := map[string][]string{}
	janes := map[string][]string{"kibo_account_id": {janeID}, "x_customer_email": {jane}}
	form := "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 3"
	for _, route := range []struct {
		name, line, extra string
		want              map[string][]string
	}{
		{"protected page", "GET /account HTTP/1.1", session, janes},
		{"public page", "GET /public/x HTTP/1.1", "", nobody},
		{"public page, signed in", "GET /public/x HTTP/1.1", session, janes},
		{"the shop's login form", "GET /login HTTP/1.1", "", nobody},
		{"the shop's login form, signed in", "GET /login HTTP/1.1", session, janes},
		{"post on the login path", "POST /login HTTP/1.1", form, nobody},
		{"other method on the login path", "DELETE /login HTTP/1.1", session, janes},
		{"CORS preflight", "OPTIONS /public/x HTTP/1.1", "", nobody},
	} {
		for _, name := range spoofs {
			for _, lines := range [][]string{{name + ": 1002"}, {name + ": "}, {name + ": 1002", name + ": 1003"}} {
				if route.extra != "" {
					lines = append(lines, route.extra)
				}
				text := w.head(route.line, lines...)
				if strings.HasPrefix(route.line, "POST") {
					text += "a=b"
				}
				r := w.raw(text)
				got := w.shop.got()
				if got == nil {
					t.Errorf("%s, %q: the shop was not asked, answer %d", route.name, lines, r.status)
				} else if fmt.Sprint(claims(got.header)) != fmt.Sprint(route.want) {
					t.Errorf("%s, %q: the shop is told %v, want %v", route.name, lines, claims(got.header), route.want)
				}
			}
		}
	}
}

// TestSpoofedIdentityOnErrorPages: an error page that the shop draws gets the
// stripped request too.
func TestSpoofedIdentityOnErrorPages(t *testing.T) {
	s := identityLines
	s.last = "reverse_proxy 127.0.0.1:1\nhandle_errors {\nreverse_proxy SHOP\n}"
	w := start(t, s)
	for _, name := range spoofs {
		r := w.raw(w.head("GET /public/x HTTP/1.1", name+": 1002"))
		got := w.shop.got()
		if got == nil {
			t.Fatalf("no error page, answer %d", r.status)
		}
		if len(claims(got.header)) > 0 {
			t.Errorf("%s: the error page is told %v", name, claims(got.header))
		}
	}
}

// TestConnectionNamesOurHeader: a proxy drops the headers that Connection
// names (RFC 9110 §7.6.1), and would drop ours.
func TestConnectionNamesOurHeader(t *testing.T) {
	w := start(t, identityLines)
	b := w.browser()
	b.signIn(w, jane)
	session := "Cookie: " + sessionCookie + "=" + b.cookies[sessionCookie]
	for _, lines := range [][]string{
		{"Connection: close, Kibo-Account-Id"},
		{"Connection: kibo-account-id"},
		{"Connection: keep-alive", "Connection: X-Customer-Email, KIBO-ACCOUNT-ID"},
		{"Connection: Kibo-Account-Id;x", "connection: close,Kibo-Account-Id,,X-Customer-Email"},
		{"Connection: Upgrade, Kibo-Account-Id, X-Customer-Email"},
		{"Connection: Upgrade, Kibo-Account-Id, X-Customer-Email", "Upgrade: websocket"},
		{"Proxy-Connection: Kibo-Account-Id", "Keep-Alive: Kibo-Account-Id"},
	} {
		w.raw(w.head("GET /account HTTP/1.1", append(lines, session)...))
		got := w.shop.got()
		if got == nil || got.header.Get(accountHeader) != janeID || got.header.Get("X-Customer-Email") != jane {
			t.Errorf("%q: the shop is not told who asks: %v", lines, got)
		}
	}
}

// TestTrailersCarryNothing: a trailer comes after the body, when all headers
// have long been looked at.
func TestTrailersCarryNothing(t *testing.T) {
	w := start(t, identityLines)
	body := "3\r\na=b\r\n0\r\nKibo-Account-Id: 1002\r\nX-Customer-Email: evil@shop.test\r\nX-Other: 1\r\n\r\n"
	for name, announced := range map[string][]string{
		"announced":   {"Trailer: Kibo-Account-Id, X-Customer-Email, X-Other", "TE: trailers"},
		"unannounced": {},
		"half":        {"Trailer: X-Other"},
	} {
		for _, path := range []string{"/public/x", "/login"} {
			lines := append([]string{"Transfer-Encoding: chunked", "Content-Type: text/plain"}, announced...)
			w.raw(w.head("POST "+path+" HTTP/1.1", lines...) + body)
			got := w.shop.got()
			switch {
			case got == nil:
				t.Errorf("%s on %s: the shop was not asked", name, path)
			case len(got.trailer) > 0 || len(claims(got.header)) > 0 || got.header.Get("X-Other") != "":
				t.Errorf("%s on %s: the shop gets trailers %v, headers %v", name, path, got.trailer, claims(got.header))
			case string(got.body) != "a=b":
				t.Errorf("%s on %s: the body is %q", name, path, got.body)
			}
		}
	}
}

// http2 is a browser that speaks HTTP/2 without TLS.
func (w *world) http2() *browser {
	b := w.browser()
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	b.client.Transport.(*http.Transport).Protocols = protocols
	return b
}

func TestSpoofedIdentityOverHTTP2(t *testing.T) {
	w := start(t, identityLines)
	b := w.http2()
	b.signIn(w, jane)
	for _, name := range spoofs {
		b.do(http.MethodGet, "/account", nil, header(name, "1002"))
		got := w.shop.got()
		if got == nil || fmt.Sprint(claims(got.header)) != "map[kibo_account_id:[1001] x_customer_email:[jane@example.com]]" {
			t.Errorf("%s: the shop is told %v", name, got)
		}
	}
	trailer := func(r *http.Request) {
		r.ContentLength = -1
		r.Trailer = http.Header{accountHeader: {"1002"}}
	}
	w.http2().do(http.MethodPost, "/public/x", strings.NewReader("a=b"), trailer)
	if got := w.shop.got(); got == nil || len(got.trailer) > 0 || len(claims(got.header)) > 0 || string(got.body) != "a=b" {
		t.Errorf("trailer: the shop gets %+v", got)
	}
}

// TestTheShopMayUseOtherHeaders: what is not ours goes through as it is.
func TestTheShopMayUseOtherHeaders(t *testing.T) {
	w := start(t, identityLines)
	lines := []string{"X-Kibo: 1", "Authorization: Basic YTpi", "X-Forwarded-User: x", "User: y", "Accept-Language: de", "Kiborg: z"}
	w.raw(w.head("GET /public/x HTTP/1.1", lines...))
	got := w.shop.got()
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ": ")
		if got == nil || got.header.Get(name) != value {
			t.Errorf("%s did not reach the shop: %v", name, got)
		}
	}
}

// TestBearerIsNoCredential: nothing but a session lets anybody in, unless
// bearer is switched on; then the signature counts.
func TestBearerIsNoCredential(t *testing.T) {
	for _, on := range []bool{false, true} {
		lines := "hmac HS256 kibosim-hs256-secret-known-to-everybody"
		if on {
			lines += "\nbearer"
		}
		w := startVerifying(t, lines)
		for variant, good := range map[string]bool{"": true, "wrong_secret": false, "alg_none": false, "anonymous": false, "exp_past": false} {
			token := w.sim.Issue(variant, jane)
			note("bearer", token)
			b := w.browser()
			if got := b.do(http.MethodGet, "/account", nil, header("Authorization", "Bearer "+token)); (got.body == "shop for "+janeID) != (on && good) {
				t.Errorf("bearer %t, token %q: %d %q", on, variant, got.status, got.body)
			}
			b.cookies[sessionCookie] = token
			if got := b.signedInAs("/account"); got != "" {
				t.Errorf("a token in the cookie lets %q in", got)
			}
		}
	}
}

// TestForwardedTokens: they go to the upstream on request, and nowhere else.
func TestForwardedTokens(t *testing.T) {
	w := start(t, setup{gateway: "forward bearer user_claims\npublic /public/*"})
	w.raw(w.head("GET /public/x HTTP/1.1", "Authorization: Basic YTpi", "X-Vol-User-Claims: x"))
	if got := w.shop.got(); got == nil || got.header.Get("Authorization") != "" || got.header.Get("X-Vol-User-Claims") != "" {
		t.Errorf("what a client sent reaches the shop: %v", got)
	}
	b := w.browser()
	b.signIn(w, jane)
	w.shop.answers(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("X-Vol-User-Claims", r.Header.Get("X-Vol-User-Claims"))
	})
	r := b.open("/account")
	got := w.shop.got()
	if got == nil || !strings.HasPrefix(got.header.Get("Authorization"), "Bearer ey") || got.header.Get("X-Vol-User-Claims") == "" {
		t.Error("the shop does not get the tokens")
	}
	if r.header.Get("X-Vol-User-Claims") != "" {
		t.Error("a token came back to the browser")
	}
}

// TestNamesBeyondASCII arrive percent-encoded, and cannot break a header.
func TestNamesBeyondASCII(t *testing.T) {
	w := start(t, setup{gateway: "identity Kibo-First-Name first_name\nidentity Kibo-Last-Name last_name\nidentity Kibo-Segments segments"})
	b := w.browser()
	b.signIn(w, "zoe@example.com")
	b.open("/")
	got := w.shop.got()
	want := map[string]string{"Kibo-First-Name": "Zo%C3%AB", "Kibo-Last-Name": "%C3%85ngstr%C3%B6m-%E6%97%A5%E6%9C%AC", "Kibo-Segments": "newsletter"}
	for name, value := range want {
		if got.header.Get(name) != value {
			t.Errorf("%s is %q, want %q", name, got.header.Get(name), value)
		}
	}
	if got.header.Get(accountHeader) != "" {
		t.Error("a header that is not configured was sent")
	}
}
