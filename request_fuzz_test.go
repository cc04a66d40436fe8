package kiboauth

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/textproto"
	"net/url"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"golang.org/x/net/http/httpguts"

	"github.com/kiboauth/caddy-kibo-auth/internal/urlpath"
)

// discardWriter is a browser that nobody looks at.
type discardWriter struct{}

func (discardWriter) Header() http.Header         { return http.Header{} }
func (discardWriter) Write(b []byte) (int, error) { return len(b), nil }
func (discardWriter) WriteHeader(int)             {}

// asPrepared is a request as Caddy hands it to a handler, of a client that is known.
func asPrepared(r *http.Request) *http.Request {
	r = prepared(r, discardWriter{})
	caddyhttp.SetVar(r.Context(), caddyhttp.ClientIPVarKey, "192.0.2.1")
	return r
}

// headerLines reads "Name: value" lines as net/http would, and leaves out what
// it would refuse.
func headerLines(text string) http.Header {
	header := http.Header{}
	for line := range strings.SplitSeq(text, "\n") {
		name, value, _ := strings.Cut(line, ":")
		if value = strings.Trim(value, " \t"); httpguts.ValidHeaderFieldName(name) && httpguts.ValidHeaderFieldValue(value) {
			header[textproto.CanonicalMIMEHeaderKey(name)] = append(header[textproto.CanonicalMIMEHeaderKey(name)], value)
		}
	}
	return header
}

// FuzzStrip: of what a client sends, nothing goes on that could speak for the
// customer, make a proxy drop what does, or come after it; all else goes on
// byte for byte.
func FuzzStrip(f *testing.F) {
	for _, name := range append(spoofs, harmless...) {
		f.Add(name+": 1\nConnection: close, "+name, name)
	}
	for _, value := range []string{"Upgrade", "upgrade, Kibo-Account-Id", "keep-alive , \tUPGRADE,", "Kibo-Account-Id", "upgrade;q=1", "\"upgrade\""} {
		f.Add("Connection: "+value+"\nUpgrade: websocket", "")
		f.Add("Connection: "+value, "X-Sum")
	}
	f.Add("Authorization: Bearer a.b.c\nAuthorization: Basic YTpi", "")
	f.Add("authorization: bearer  x\nAccept: */*\nTrailer: Kibo-Account-Id", "Kibo-Account-Id")
	f.Add("Cookie: a=1; __Host-kibo=x; b=2\nCookie: __Host-kibo-device=y", "Cookie")
	h := &Handler{cookies: testNames, reserved: newReserved([]boundHeader{{"Kibo-Account-Id", 0}, {"Shop-User", 0}})}
	f.Fuzz(func(t *testing.T, text, trailer string) {
		sent := headerLines(text)
		r := &http.Request{Header: sent.Clone(), Trailer: http.Header{trailer: {"x"}}}
		own := h.strip(r)
		for name, values := range sent {
			_, there := r.Header[name]
			switch kept := slices.Equal(r.Header[name], values); {
			case foldsToOurs(name) && there:
				t.Errorf("%q goes on", name)
			case name == "Connection" || name == "Trailer" || name == "Cookie" || name == "Authorization" || foldsToOurs(name):
			case !kept:
				t.Errorf("%s: %q becomes %q", name, values, r.Header[name])
			}
		}
		if c := r.Header["Connection"]; c != nil && (!slices.Equal(c, []string{"Upgrade"}) || r.Header["Upgrade"] == nil) {
			t.Errorf("Connection goes on as %q, Upgrade is %q", c, r.Header["Upgrade"])
		}
		if r.Trailer != nil || r.Header["Trailer"] != nil || slices.ContainsFunc(pairsOf(r.Header["Cookie"]), isOurs) {
			t.Errorf("trailers %v, %q or a cookie of ours in %q go on", r.Trailer, r.Header["Trailer"], r.Header["Cookie"])
		}
		for _, value := range r.Header["Authorization"] {
			if len(value) >= 7 && strings.EqualFold(value[:7], "bearer ") {
				t.Errorf("Authorization goes on: %q", value)
			}
		}
		if sent := sent["Authorization"]; own.bearer != "" && (len(sent) != 1 || !strings.HasSuffix(sent[0], own.bearer)) {
			t.Errorf("%q counts as the token %q", sent, own.bearer)
		}
	})
}

// foldsToOurs tells by CGI's rule whether a server may take a name for ours.
func foldsToOurs(name string) bool {
	folded := cgiName(name)
	if strings.HasPrefix(folded, "kibo_") {
		return true
	}
	folded = strings.TrimSuffix(folded, "_")
	return folded == "shop_user" || slices.Contains(reservedAlways, folded)
}

// canary is in the gateway's environment, which no visitor may look into.
const canary = "canary-of-the-environment"

// FuzzRequest sends whole requests of a visitor who has no session. Whatever they
// are, a protected path does not reach the shop, the shop learns of no customer,
// nobody is signed in, and no answer leads to another site.
func FuzzRequest(f *testing.F) {
	for _, line := range []string{
		"GET / HTTP/1.1", "GET /account HTTP/1.1", "GET /ACCOUNT/ HTTP/1.1", "HEAD /x/../account HTTP/1.1", "GET /a%63count;x=1 HTTP/1.1",
		"GET http://evil.example/account HTTP/1.1", "OPTIONS * HTTP/1.1", "GET //evil.example/account HTTP/1.0", "GET /login?return_to=//evil.example HTTP/1.1",
		"GET /login?RETURNURL=%2Fok%22%3E%3Cscript%3E HTTP/1.1", "GET /account?{env.KIBO_FUZZ_CANARY} HTTP/1.1", "CONNECT shop.example.com:443 HTTP/1.1",
	} {
		f.Add(line + "\r\nHost: shop.example.com\r\nAccept: text/html\r\nKibo-Account-Id: 1\r\nConnection: close, Kibo-Account-Id\r\nCookie: __Host-kibo=" + strings.Repeat("A", idLen) + "; a=1\r\n\r\n")
	}
	form := "email=jane%40example.com&otpCode=123456&return_to=%2Fcart"
	f.Add("POST /login HTTP/1.1\r\nHost: shop.example.com\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 57\r\nCookie: __Host-kibo-login=x\r\n\r\n" + form)
	f.Add("POST /login HTTP/1.1\r\nHost: {env.KIBO_FUZZ_CANARY}\r\nSec-Fetch-Mode: cors\r\nContent-Type: application/json\r\nContent-Length: 49\r\n\r\n{\"email\":\"jane@example.com\",\"return_to\":\"//evil\"}")
	f.Add("POST /login HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Type: text/plain\r\nTrailer: Kibo-Account-Id\r\n\r\n1\r\nx\r\n0\r\nKibo-Account-Id: 1\r\n\r\n")
	f.Add("POST /logout HTTP/1.1\r\nHost: a\r\nOrigin: null\r\nReferer: https://evil.example/\r\n\r\n")
	f.Setenv("KIBO_FUZZ_CANARY", canary)
	g := newGateway(f, withShopUser, func(h *Handler) { h.Protect = []string{"/account", "/account/*"} })
	done := make(chan struct{})
	f.Cleanup(func() { close(done) })
	go func() {
		for {
			select {
			case <-g.codes: // mail that nobody reads
			case <-done:
				return
			}
		}
	}()
	f.Fuzz(func(t *testing.T, raw string) {
		r := received(raw)
		if r == nil {
			return
		}
		path := r.URL.Path
		w := httptest.NewRecorder()
		r = asPrepared(r)
		repl := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
		_ = g.ServeHTTP(w, r, caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
			checkUnknown(t, path, r, repl)
			return shop(w, r)
		}))
		checkAnswer(t, raw, w)
	})
}

// received is a request that net/http's server would hand on, else nil.
func received(raw string) *http.Request {
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(raw)))
	if err != nil || !httpguts.ValidHostHeader(r.Host) {
		return nil
	}
	for name, values := range r.Header {
		if !httpguts.ValidHeaderFieldName(name) || slices.ContainsFunc(values, func(v string) bool { return !httpguts.ValidHeaderFieldValue(v) }) {
			return nil
		}
	}
	r.RemoteAddr = "192.0.2.1:1234"
	ctx := context.WithValue(context.Background(), http.LocalAddrContextKey, net.Addr(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 443}))
	return r.WithContext(ctx)
}

// checkUnknown looks at a request that has reached the shop.
func checkUnknown(t *testing.T, asked string, r *http.Request, repl *caddy.Replacer) {
	t.Helper()
	if read := path.Clean("/" + strings.ToLower(asked)); read == "/account" || strings.HasPrefix(read, "/account/") {
		t.Errorf("%q reaches the shop without a session", asked)
	}
	_, _ = io.Copy(io.Discard, r.Body) // trailers come at its end
	for name := range r.Header {
		if foldsToOurs(name) {
			t.Errorf("%q reaches the shop", name)
		}
	}
	if c := r.Header["Connection"]; c != nil && !slices.Equal(c, []string{"Upgrade"}) {
		t.Errorf("Connection reaches the proxy as %q", c)
	}
	for name := range r.Trailer {
		t.Errorf("the trailer %q reaches the shop", name)
	}
	if slices.ContainsFunc(pairsOf(r.Header["Cookie"]), isOurs) {
		t.Errorf("a cookie of ours reaches the shop: %q", r.Header["Cookie"])
	}
	for _, name := range []string{"id", "email", "account_id"} {
		if value, known := repl.GetString("http.auth.user." + name); value != "" || !known {
			t.Errorf("the shop is told of a customer whose %s is %q (%v)", name, value, known)
		}
	}
}

// checkAnswer looks at what a visitor gets.
func checkAnswer(t *testing.T, raw string, w *httptest.ResponseRecorder) {
	t.Helper()
	to := w.Header().Get("Location")
	if to != "" && urlpath.LocalTarget(to) == "" {
		t.Errorf("%q is sent to %q", raw, to)
	}
	if u, err := url.Parse(to); err != nil || u.Host != "" || u.Scheme != "" {
		t.Errorf("%q is sent to %q: %v", raw, to, err)
	}
	if u, err := url.Parse(to); err == nil {
		if back := u.Query().Get("return_to"); back != "" && urlpath.LocalTarget(back) == "" {
			t.Errorf("%q shall go on to %q after the sign-in", raw, back)
		}
	}
	for _, c := range w.Result().Cookies() {
		if c.Name == testNames.session && c.Value != "" {
			t.Errorf("%q is signed in", raw)
		}
	}
	if all := w.Body.String() + to; strings.Contains(all, canary) && !strings.Contains(raw, canary) {
		t.Errorf("the answer to %q has the environment in it", raw)
	}
}

// FuzzCrossSite: no request counts as our own whose Origin, or else Referer,
// names another host, and none by its Sec-Fetch-Site but same-origin and none.
func FuzzCrossSite(f *testing.F) {
	for _, from := range []string{
		"", "null", "https://shop.example.com", "http://shop.example.com", "https://shop.example.com:443", "https://evil.example", "//shop.example.com",
		"https://shop.example.com.evil.example", "https://shop.example.com@evil.example", "https://evil.example\\@shop.example.com", "https://evil.example#@shop.example.com",
		"https://evil.example?shop.example.com", "https://SHOP.example.com", "shop.example.com", "https:shop.example.com", "https:///shop.example.com", "https://shop%2eexample.com",
	} {
		f.Add(testHost, "", from, "")
		f.Add(testHost, "", "", from+"/page?x=1")
	}
	for _, site := range []string{"same-origin", "none", "same-site", "cross-site", "Same-Origin", " none", "x"} {
		f.Add(testHost, site, "https://shop.example.com", "")
	}
	f.Fuzz(func(t *testing.T, host, site, origin, referer string) {
		r := &http.Request{Method: http.MethodPost, Host: host, URL: &url.URL{Path: "/login"}, Header: http.Header{}}
		for name, value := range map[string]string{"Sec-Fetch-Site": site, "Origin": origin, "Referer": referer} {
			if value != "" {
				r.Header[name] = []string{value}
			}
		}
		if isCrossSite(r, http.NewCrossOriginProtection()) {
			return
		}
		switch {
		case site == "same-origin" || site == "none":
		case site != "":
			t.Errorf("Sec-Fetch-Site %q passes", site)
		case origin != "" && authority(origin) != host:
			t.Errorf("origin %q passes at %q", origin, host)
		case origin == "" && referer != "" && authority(referer) != host:
			t.Errorf("referer %q passes at %q", referer, host)
		}
	})
}

// authority is the host of a URL, and its port, as a browser finds it (WHATWG
// URL §4.4): a backslash ends it as a slash does.
func authority(raw string) string {
	_, rest, _ := strings.Cut(raw, "//")
	if i := strings.IndexAny(rest, `/\?#`); i >= 0 {
		rest = rest[:i]
	}
	return rest[strings.LastIndexByte(rest, '@')+1:]
}
