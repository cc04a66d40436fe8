package kiboauth

import (
	"context"
	"crypto/sha256"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/kiboauth/caddy-kibo-auth/internal/kibosim"
)

const acceptHTML = "text/html,*/*;q=0.8"

func TestChallenge(t *testing.T) {
	tests := []struct {
		name, method, target string
		header               []string
		status               int
		location             string
	}{
		{"page", "GET", "/account", page(), 303, "/login?return_to=%2Faccount"},
		{"page with a query", "GET", "/account?a=1&b=%2F", page(), 303, "/login?return_to=%2Faccount%3Fa%3D1%26b%3D%252F"},
		{"HEAD", "HEAD", "/account", page(), 303, "/login?return_to=%2Faccount"},
		{"old browser", "GET", "/account", []string{"Accept", acceptHTML}, 303, "/login?return_to=%2Faccount"},
		{"path that leads off the site", "GET", "//evil.example/%2e%2e", page(), 303, "/login"},
		{"fetch", "GET", "/account", []string{"Accept", acceptHTML, "Sec-Fetch-Mode", "cors"}, 401, ""},
		{"image", "GET", "/account", []string{"Accept", "image/*", "Sec-Fetch-Mode", "no-cors"}, 401, ""},
		{"XHR of an old browser", "GET", "/account", []string{"Accept", acceptHTML, "X-Requested-With", "XMLHttpRequest"}, 401, ""},
		{"no browser", "GET", "/account", []string{"Accept", "*/*"}, 401, ""},
		{"nothing accepted", "GET", "/account", nil, 401, ""},
		{"post", "POST", "/account", page(), 401, ""},
		{"OPTIONS", "OPTIONS", "/account", page(), 401, ""},
		{"made-up method", "BREW", "/account", page(), 401, ""},
		{"WebSocket", "GET", "/account", page("Upgrade", "websocket", "Connection", "Upgrade"), 401, ""},
		{"health check", "GET", "/account", []string{"User-Agent", "GoogleHC/1.0"}, 401, ""},
	}
	g := newGateway(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := g.serve(request(t, tt.method, "http://"+testHost+tt.target, tt.header...))
			if o.Code != tt.status || o.Header().Get("Location") != tt.location || o.upstream != nil {
				t.Errorf("status %d to %q, want %d to %q", o.Code, o.Header().Get("Location"), tt.status, tt.location)
			}
			if got := o.Header().Get("Cache-Control"); got != "no-store" {
				t.Errorf("Cache-Control = %q, want no-store", got)
			}
			if o.Header()["Set-Cookie"] != nil {
				t.Error("a browser without cookie gets one")
			}
			if tt.status == 401 && !strings.Contains(o.Body.String(), "no_session") && !strings.Contains(o.Body.String(), "Please sign in") {
				t.Errorf("body = %q", o.Body)
			}
		})
	}
}

// A cookie that opens nothing is one thing, whatever is wrong with it.
func TestUselessCookies(t *testing.T) {
	g := newGateway(t)
	cookie := g.signIn(jane)
	name, value, _ := strings.Cut(cookie, "=")
	for what, header := range map[string]string{
		"unknown":          name + "=" + newSessionID(g.realm).value,
		"cut":              name + "=" + value[:idLen-1],
		"of another name":  "__Secure-kibo=" + value,
		"quoted":           name + `="` + value + `"`,
		"in another case":  strings.ToLower(name) + "=" + value,
		"tossed in front":  name + "=" + newSessionID(g.realm).value + "; " + cookie,
		"tossed behind":    cookie + "; " + name + "=" + newSessionID(g.realm).value,
		"tossed and empty": cookie + "; " + name + "=",
	} {
		o := g.open(header)
		if o.Code != http.StatusSeeOther || o.upstream != nil {
			t.Errorf("%s: status %d, want 303", what, o.Code)
		}
		c, ours := o.cookie(name), strings.Contains("; "+header, "; "+name+"=")
		if ours != (c != nil && c.MaxAge < 0) {
			t.Errorf("%s: cookie %v, taken back should be %v", what, c, ours)
		}
	}
	if g.session(cookie) == nil {
		t.Error("the session ended")
	}
	for _, header := range []string{cookie, cookie + "; " + cookie, "a=1; " + cookie} {
		g.wantServed(g.open(header), "1001")
	}
}

// A straggling image must not clear a cookie that is newer.
func TestOnlyPagesClearCookies(t *testing.T) {
	g := newGateway(t)
	stale := g.cookies.session + "=" + newSessionID(g.realm).value
	o := g.serve(request(t, http.MethodGet, "/a.png", "Cookie", stale, "Sec-Fetch-Mode", "no-cors"))
	if o.Code != http.StatusUnauthorized || o.Header()["Set-Cookie"] != nil {
		t.Errorf("status %d, Set-Cookie %q, want 401 and none", o.Code, o.Header()["Set-Cookie"])
	}
}

func TestPathThatNobodyCanRead(t *testing.T) {
	g := newGateway(t, func(h *Handler) { h.Public = []string{"*"} })
	for _, path := range []string{"/a%00b", "/a%0d%0aSet-Cookie:x", "/%ff%fe"} {
		r := request(t, http.MethodGet, "/", page()...)
		r.URL, _ = url.Parse(path)
		if o := g.serve(r); o.Code != http.StatusBadRequest || o.upstream != nil {
			t.Errorf("%s: status %d, want 400", path, o.Code)
		}
	}
}

func TestStoreIsDown(t *testing.T) {
	g := newGateway(t, func(h *Handler) { h.Public = []string{"/public/*"}; h.Login.Page = pageUpstream })
	cookie := g.signIn(jane)
	g.breakStore().load = errors.New("connection refused")
	for name, header := range map[string][]string{"page": page("Cookie", cookie), "script": {"Cookie", cookie, "Sec-Fetch-Mode", "cors"}} {
		t.Run(name, func(t *testing.T) {
			o := g.serve(request(t, http.MethodGet, "/account", header...))
			g.wantUnavailable(o)
			if strings.Contains(o.Body.String(), "refused") {
				t.Error("the cause is shown")
			}
		})
	}
	for _, path := range []string{"/public/a", "/login"} {
		o := g.serve(request(t, http.MethodGet, path, page("Cookie", cookie, "Kibo-Account-Id", "1")...))
		if o.upstream == nil || o.upstream.Header["Kibo-Account-Id"] != nil || o.Header()["Set-Cookie"] != nil {
			t.Errorf("%s: status %d, want it served without identity and cookies", path, o.Code)
		}
	}
	if o := g.open(""); o.Code != http.StatusSeeOther {
		t.Errorf("without a cookie: status %d, want 303", o.Code)
	}
	g.sessions.Store = g.sessions.Store.(*faultyStore).memory
	g.wantServed(g.open(cookie), "1001")
}

func TestWebSocketFromAnotherSite(t *testing.T) {
	tests := []struct {
		name    string
		header  []string
		foreign bool
	}{
		{"own page", []string{"Sec-Fetch-Site", "same-origin", "Origin", "https://" + testHost}, false},
		{"own page, old browser", []string{"Origin", "https://" + testHost}, false},
		{"no browser", nil, false},
		{"another site", []string{"Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"}, true},
		{"another site, old browser", []string{"Origin", "https://evil.example"}, true},
		{"sibling", []string{"Sec-Fetch-Site", "same-site", "Origin", "https://blog.example.com"}, true},
		{"null", []string{"Origin", "null"}, true},
	}
	g := newGateway(t, func(h *Handler) { h.Public = []string{"/chat"} })
	cookie := g.signIn(jane)
	for _, tt := range tests {
		for _, path := range []string{"/account", "/chat"} {
			upgrade := request(t, http.MethodGet, path, append(tt.header, "Cookie", cookie, "Connection", "Upgrade", "Upgrade", "websocket")...)
			extended := request(t, http.MethodConnect, path, append(tt.header, "Cookie", cookie, ":protocol", "websocket")...)
			extended.URL, extended.Proto, extended.ProtoMajor = upgrade.URL, "HTTP/2.0", 2
			for how, r := range map[string]*http.Request{"upgrade": upgrade, "extended CONNECT": extended} {
				if o := g.serve(r); (o.upstream == nil) != tt.foreign || tt.foreign && o.Code != http.StatusForbidden {
					t.Errorf("%s, %s %s: status %d, foreign should be %v", tt.name, how, path, o.Code, tt.foreign)
				}
			}
		}
	}
	o := g.serve(request(t, http.MethodGet, "/chat", "Connection", "Upgrade", "Upgrade", "websocket", "Origin", "https://evil.example"))
	if o.upstream == nil {
		t.Errorf("a stranger's WebSocket to a public path: status %d, want it to go on", o.Code)
	}
}

func TestCrossSite(t *testing.T) {
	tests := []struct {
		name                  string
		site, origin, referer string
		want                  bool
	}{
		{"nothing: no browser of our days", "", "", "", false},
		{"same origin", "same-origin", "https://" + testHost, "", false},
		{"typed by hand", "none", "", "", false},
		{"same origin, Origin null", "same-origin", "null", "", false},
		{"same-site is another site", "same-site", "https://blog.example.com", "", true},
		{"cross-site", "cross-site", "https://evil.example", "", true},
		{"cross-site without Origin", "cross-site", "", "", true},
		{"made-up value", "trust-me", "", "", true},
		{"cross-site, Referer forged", "cross-site", "", "https://" + testHost + "/", true},
		{"Origin of ours", "", "https://" + testHost, "", false},
		{"Origin of another", "", "https://evil.example", "", true},
		{"Origin null", "", "null", "", true},
		{"Origin with our name in front", "", "https://" + testHost + ".evil.example", "", true},
		{"Origin with our name as user", "", "https://" + testHost + "@evil.example", "", true},
		{"Origin with a port", "", "https://" + testHost + ":8443", "", true},
		{"Origin of another, Referer of ours", "", "https://evil.example", "https://" + testHost + "/", true},
		{"Referer of ours", "", "", "https://" + testHost + "/cart?x=1", false},
		{"Referer of another", "", "", "https://evil.example/" + testHost, true},
		{"Referer of a sibling", "", "", "https://blog.example.com/", true},
		{"Referer that is no URL", "", "", "http://%zz", true},
		{"Referer without host", "", "", "about:blank", true},
		{"configured origin", "cross-site", "https://partner.example", "", false},
		{"configured origin by Referer", "", "", "https://partner.example/x", false},
		{"configured origin, other scheme", "cross-site", "http://partner.example", "", true},
	}
	g := newGateway(t, func(h *Handler) { h.Sites = []string{"https://partner.example"} })
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, method := range []string{http.MethodPost, http.MethodGet} {
				r := request(t, method, "/login")
				for name, value := range map[string]string{"Sec-Fetch-Site": tt.site, "Origin": tt.origin, "Referer": tt.referer} {
					if value != "" {
						r.Header.Set(name, value)
					}
				}
				if got := isCrossSite(r, g.origins); got != tt.want {
					t.Errorf("isCrossSite(%s) = %v, want %v", method, got, tt.want)
				}
			}
		})
	}
}

func TestBearerOfTheClient(t *testing.T) {
	keys := func(h *Handler) { h.Verify.HMAC = &Keys{Algorithm: "HS256", Keys: []string{kibosim.JWTSecret}} }
	bearer := func(h *Handler) { keys(h); h.Verify.Bearer = true }
	g := newGateway(t, bearer)
	ask := func(values ...string) outcome {
		r := request(t, http.MethodGet, "/account", "Accept", "application/json")
		r.Header["Authorization"] = values
		return g.serve(r)
	}
	good := g.sim.Issue("", john)
	for _, scheme := range []string{"Bearer ", "bearer ", "BEARER "} {
		o := ask(scheme + good)
		g.wantServed(o, "1002")
		if o.upstream != nil && o.upstream.Header["Authorization"] != nil {
			t.Error("the token goes on to the upstream")
		}
	}
	for _, variant := range []string{"alg_none", "wrong_secret", "rs256", "key_confusion", "wrong_issuer", "wrong_audience", "exp_past", "inner_past", "nbf_future", "anonymous", "missing_user_claims", "garbage"} {
		if o := ask("Bearer " + g.sim.Issue(variant, john)); o.Code != http.StatusUnauthorized {
			t.Errorf("%s: status %d, want 401", variant, o.Code)
		}
	}
	for name, values := range map[string][]string{"empty": {"Bearer "}, "two": {"Bearer " + good, "Bearer " + good}, "basic": {"Basic " + good}, "bare": {good}} {
		if o := ask(values...); o.Code != http.StatusUnauthorized {
			t.Errorf("%s: status %d, want 401", name, o.Code)
		}
	}
	for name, off := range map[string]func(*Handler){"direct": func(*Handler) {}, "keys, but not bearer": keys} {
		g.Handler = g.provision(off)
		if o := ask("Bearer " + good); o.Code != http.StatusUnauthorized {
			t.Errorf("%s: status %d, want 401", name, o.Code)
		}
	}
}

// TestKeptVerdictOfABearer: the second request with a token costs no signature;
// a verdict holds for that very token, until it ends or the keys change.
func TestKeptVerdictOfABearer(t *testing.T) {
	g := newGateway(t, func(h *Handler) {
		h.Verify = Verify{HMAC: &Keys{Algorithm: "HS256", Keys: []string{kibosim.JWTSecret}}, Bearer: true}
	})
	token := g.sim.Issue("", john)
	ask := func(token string) outcome {
		return g.serve(request(t, http.MethodGet, "/account", "Accept", "application/json", "Authorization", "Bearer "+token))
	}
	g.wantServed(ask(token), "1002")
	key := Key(sha256.Sum256([]byte(token)))
	verdict := *g.bearers.get(&key).open
	// Whoever is served as jane now has been looked up, and not verified.
	marked := verdict
	marked.pack(g.realm, &customer{fieldAccountID: "1001"})
	keep := func(s Session, left time.Duration) { g.bearers.keep(&key, &Record{open: &s}, 0, left, 0) }
	keep(marked, time.Minute)
	g.wantServed(ask(token), "1001")
	last := byte('A')
	if token[len(token)-1] == last {
		last = 'Q'
	}
	for name, other := range map[string]string{"another signature": token[:len(token)-1] + string(last), "shorter": token[:len(token)-1], "longer": token + "A"} {
		if o := ask(other); o.Code != http.StatusUnauthorized {
			t.Errorf("%s: status %d, want 401", name, o.Code)
		}
	}
	for _, variant := range []string{"wrong_secret", "exp_past"} {
		bad := g.sim.Issue(variant, john)
		ask(bad)
		if key := Key(sha256.Sum256([]byte(bad))); g.bearers.get(&key).Record != nil {
			t.Errorf("%s: a bad token is kept", variant)
		}
	}
	keep(marked, 0)
	g.wantServed(ask(token), "1002")
	marked.stamp++
	keep(marked, time.Minute)
	g.wantServed(ask(token), "1002")
	if k := g.bearers.get(&key); k.fresh <= time.Now().UnixMilli() || k.fresh > time.Now().Add(time.Hour).UnixMilli() {
		t.Errorf("kept until %v, want the token's end", time.UnixMilli(k.fresh))
	}
}

// A session wins over a token; one that has ended is not replaced by it.
func TestBearerBesideACookie(t *testing.T) {
	g := newGateway(t, func(h *Handler) {
		h.Verify = Verify{HMAC: &Keys{Algorithm: "HS256", Keys: []string{kibosim.JWTSecret}}, Bearer: true}
	})
	cookie, token := g.signIn(jane), "Bearer "+g.sim.Issue("", john)
	g.wantServed(g.serve(request(t, http.MethodGet, "/account", "Cookie", cookie, "Authorization", token)), "1001")
	ended := g.cookies.session + "=" + newSessionID(g.realm).value
	if o := g.serve(request(t, http.MethodGet, "/account", "Cookie", ended, "Authorization", token)); o.Code != http.StatusUnauthorized {
		t.Errorf("ended session beside a token: status %d, want 401", o.Code)
	}
}

// A client that has closed its own direction of the connection may still read:
// a protected page may not look as if it had been served, empty, with 200.
func TestHalfClosedConnection(t *testing.T) {
	g := newGateway(t)
	for _, path := range []string{"/account", "/%00"} {
		r := request(t, http.MethodGet, path)
		ctx, cancel := context.WithCancel(r.Context())
		cancel()
		o := g.serve(r.WithContext(ctx))
		if o.Code != statusClientGone || o.upstream != nil || o.Body.Len() > 0 || o.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%s: status %d, upstream asked %t; want 499 and nothing else", path, o.Code, o.upstream != nil)
		}
	}
}

// Nor may a sign-in that nobody waits for look as if it were through. It goes
// on, for the browser that asks once more.
func TestHalfClosedSignIn(t *testing.T) {
	g := newGateway(t)
	kept, code := g.firstStep(jane)
	kibo := g.holdUp("/otp/auth")
	try := func(ctx context.Context) outcome {
		return g.serve(post(t, "/login", url.Values{"email": {jane}, "otpCode": {code}}, "Cookie", kept).WithContext(ctx))
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-kibo.arrived
		cancel()
	}()
	if o := try(ctx); o.Code != statusClientGone || o.Body.Len() > 0 || len(o.Result().Cookies()) > 0 {
		t.Errorf("status %d, cookies %v; want 499 and nothing else", o.Code, o.Result().Cookies())
	}
	again := &waitingContext{Context: t.Context(), waiting: func() { close(kibo.goOn) }}
	g.wantSignedIn(try(again), "1001", "")
	if n := g.sim.Calls("otp/auth"); n != 1 {
		t.Errorf("%d exchanges, want 1", n)
	}
}

// TestCrossSiteWithoutAHost: Go's check takes the host of "null", which is
// empty, for that of an HTTP/1.0 request that names none.
func TestCrossSiteWithoutAHost(t *testing.T) {
	r := request(t, http.MethodPost, "/login")
	r.Host = ""
	r.Header.Set("Origin", "null")
	if !isCrossSite(r, http.NewCrossOriginProtection()) {
		t.Error("Origin null passes where the request has no host")
	}
}
