package caddytest

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestChallenge: whoever opens a page is sent to sign in; everything else is
// told that it must.
func TestChallenge(t *testing.T) {
	w := start(t, setup{})
	for _, tt := range []struct {
		name, line string
		lines      []string
		want       int
	}{
		{"page", "GET /a?b=1", []string{"Sec-Fetch-Mode: navigate", "Accept: text/html"}, 303},
		{"page of an older browser", "GET /a?b=1", []string{"Accept: text/html,*/*"}, 303},
		{"head of a page", "HEAD /a?b=1", []string{"Accept: text/html"}, 303},
		{"fetch", "GET /a", []string{"Sec-Fetch-Mode: cors", "Accept: text/html"}, 401},
		{"image", "GET /a.png", []string{"Sec-Fetch-Mode: no-cors", "Accept: image/*"}, 401},
		{"XHR of an older browser", "GET /a", []string{"X-Requested-With: XMLHttpRequest", "Accept: text/html"}, 401},
		{"API client", "GET /a", []string{"Accept: application/json"}, 401},
		{"says nothing", "GET /a", nil, 401},
		{"post of a page", "POST /a", []string{"Sec-Fetch-Mode: navigate", "Accept: text/html", "Content-Length: 0"}, 401},
		{"delete", "DELETE /a", []string{"Accept: text/html"}, 401},
		{"preflight", "OPTIONS /a", []string{"Origin: https://evil.example", "Access-Control-Request-Method: GET"}, 401},
		{"WebSocket", "GET /a", []string{"Connection: Upgrade", "Upgrade: websocket", "Accept: text/html"}, 401},
		{"health check agent", "GET /a", []string{"User-Agent: GoogleHC/1.0"}, 401},
	} {
		text := w.head(tt.line+" HTTP/1.1", tt.lines...)
		if strings.HasPrefix(tt.line, "HEAD") {
			text = w.head(tt.line+" HTTP/1.1", append(tt.lines, "Connection: close")...)
		}
		r := w.raw(text)
		if r.status != tt.want || r.header.Get("Cache-Control") != "no-store" || w.shop.got() != nil {
			t.Errorf("%s: %d, Cache-Control %q; want %d, no-store", tt.name, r.status, r.header.Get("Cache-Control"), tt.want)
		}
		want := ""
		if tt.want == 303 {
			want = "/login?return_to=%2Fa%3Fb%3D1"
		}
		if r.location() != want {
			t.Errorf("%s: sent to %q, want %q", tt.name, r.location(), want)
		}
	}
}

// TestStaleCookie is taken back when a page is opened, but not by an image
// that comes late.
func TestStaleCookie(t *testing.T) {
	w := start(t, setup{})
	for name, as := range map[string]tweak{"page": asPage, "script": asScript} {
		b := w.browser()
		b.cookies[sessionCookie] = strings.Repeat("x", 43)
		b.do(http.MethodGet, "/account", nil, as)
		if kept := b.cookies[sessionCookie] != ""; kept != (name == "script") {
			t.Errorf("%s: the cookie is kept: %t", name, kept)
		}
	}
}

// TestCachingHeaders: no cache hands one customer's page to another.
func TestCachingHeaders(t *testing.T) {
	w := start(t, setup{gateway: "public /public/*"})
	b := w.browser()
	b.signIn(w, jane)
	for _, tt := range []struct {
		name, path, said string
		signedIn         bool
		want, vary       string
	}{
		{"protected, nothing said", "/account", "", true, "private, no-store", ""},
		{"protected, public said", "/account", "public, max-age=60", true, "private, no-store", ""},
		{"protected, a lifetime said", "/account", "max-age=60", true, "private, no-store", ""},
		{"protected, private said", "/account", "private, max-age=60", true, "private, max-age=60", ""},
		{"protected, no-store said", "/account", "no-store", true, "no-store", ""},
		{"public, signed in, nothing said", "/public/x", "", true, "private", "Cookie"},
		{"public, signed in, public said", "/public/x", "public, max-age=60", true, "public, max-age=60", ""},
		{"public, nobody", "/public/x", "", false, "", ""},
		{"public, nobody, public said", "/public/x", "public, max-age=60", false, "public, max-age=60", ""},
	} {
		for _, status := range []int{200, 304, 404, 500} {
			w.shop.answers(func(rw http.ResponseWriter, _ *http.Request) {
				if tt.said != "" {
					rw.Header().Set("Cache-Control", tt.said)
				}
				rw.WriteHeader(status)
			})
			who := w.browser()
			if tt.signedIn {
				who = b
			}
			r := who.open(tt.path)
			if got, vary := r.header.Get("Cache-Control"), r.header.Get("Vary"); got != tt.want || vary != tt.vary || r.status != status {
				t.Errorf("%s: %d with Cache-Control %q, Vary %q; want %d, %q, %q", tt.name, r.status, got, vary, status, tt.want, tt.vary)
			}
		}
	}
}

// TestLogout ends the session, not only the cookie.
func TestLogout(t *testing.T) {
	for _, get := range []bool{false, true} {
		gateway := "logout /logout /bye"
		if get {
			gateway += " get"
		}
		w := start(t, setup{gateway: gateway})
		for _, tt := range []struct {
			name, method string
			as           tweak
			want         int
		}{
			{"post", "POST", asPage, 303},
			{"script", "POST", asScript, 200},
			{"link", "GET", asPage, map[bool]int{false: 405, true: 303}[get]},
			{"put", "PUT", asPage, 405},
			{"head", "HEAD", asPage, 405},
		} {
			b := w.browser()
			b.signIn(w, jane)
			kept := b.clone()
			r := b.do(tt.method, "/bye?returnUrl=/home", nil, tt.as)
			over := tt.want != 405
			if r.status != tt.want || (b.cookies[sessionCookie] == "") != over || (kept.signedInAs("/") == "") != over {
				t.Errorf("%s, get %t: %d, cookie kept %t, session lives %t; want %d",
					tt.name, get, r.status, b.cookies[sessionCookie] != "", kept.signedInAs("/") != "", tt.want)
			}
			if tt.want == 303 && r.location() != "/home" || over && r.header.Get("Clear-Site-Data") != `"cache"` {
				t.Errorf("%s: sent to %q, Clear-Site-Data %q", tt.name, r.location(), r.header.Get("Clear-Site-Data"))
			}
			if !over && !strings.Contains(r.header.Get("Allow"), "POST") {
				t.Errorf("%s: Allow is %q", tt.name, r.header.Get("Allow"))
			}
		}
		if w.shop.got(); w.browser().post("/logout", nil).status != 303 {
			t.Error("signing out without a session is an error")
		}
	}
}

// TestRequestsFromOtherSites: no page of another site signs anybody in or out,
// or has codes sent.
func TestRequestsFromOtherSites(t *testing.T) {
	w := start(t, setup{gateway: "site https://www.shop.test\nlogout /logout get"})
	own := "http://" + w.addr
	for _, tt := range []struct {
		name  string
		lines []string
		allow bool
	}{
		{"same origin", []string{"Sec-Fetch-Site: same-origin", "Origin: " + own}, true},
		{"typed in", []string{"Sec-Fetch-Site: none"}, true},
		{"own origin", []string{"Origin: " + own}, true},
		{"configured origin", []string{"Origin: https://www.shop.test", "Sec-Fetch-Site: cross-site"}, true},
		{"own page, no origin", []string{"Referer: " + own + "/login"}, true},
		{"no browser", nil, true},
		{"another site", []string{"Sec-Fetch-Site: cross-site"}, false},
		{"another subdomain", []string{"Sec-Fetch-Site: same-site", "Origin: http://evil." + w.addr}, false},
		{"another origin", []string{"Origin: https://evil.example"}, false},
		{"no origin at all", []string{"Origin: null"}, false},
		{"configured, but http", []string{"Origin: http://www.shop.test"}, false},
		{"another site's page", []string{"Referer: https://evil.example/" + own}, false},
		{"another site's page, like ours", []string{"Referer: " + own + ".evil.example/"}, false},
	} {
		b := w.browser()
		b.signIn(w, jane)
		cookies := "Cookie: " + sessionCookie + "=" + b.cookies[sessionCookie]
		w.sim.ResetCalls()
		body := "email=john%40example.com"
		post := append([]string{"Content-Type: application/x-www-form-urlencoded", "Content-Length: 24"}, tt.lines...)
		want := map[bool]int{true: 200, false: 403}[tt.allow]
		if r := w.raw(w.head("POST /login HTTP/1.1", post...) + body); r.status != want {
			t.Errorf("%s: code request %d, want %d", tt.name, r.status, want)
		}
		if tt.allow {
			w.code("john@example.com")
		} else if n := w.sim.Calls("otp/request"); n != 0 {
			t.Errorf("%s: Kibo was called", tt.name)
		}
		want = map[bool]int{true: 303, false: 403}[tt.allow]
		for _, line := range []string{"POST /logout HTTP/1.1", "GET /logout HTTP/1.1"} {
			r := w.raw(w.head(line, append([]string{cookies, "Accept: text/html", "Content-Length: 0"}, tt.lines...)...))
			if r.status != want {
				t.Errorf("%s: %s %d, want %d", tt.name, line, r.status, want)
			}
		}
		if lives := b.signedInAs("/") == janeID; lives == tt.allow {
			t.Errorf("%s: the session lives: %t", tt.name, lives)
		}
	}
}

// TestWebSocket goes through with a session, and only from our own pages.
func TestWebSocket(t *testing.T) {
	w := start(t, setup{
		gateway: "public /public/*\nsite https://www.shop.test",
		last:    "reverse_proxy SHOP {\nstream_close_delay 10m\n}", // Caddy 2.11.9 closes open sockets with a data race
	})
	w.shop.answers(echoSocket)
	b := w.browser()
	b.signIn(w, jane)
	session, own := "Cookie: "+sessionCookie+"="+b.cookies[sessionCookie], "Origin: http://"+w.addr
	for _, tt := range []struct {
		name, path string
		lines      []string
		want       int
	}{
		{"our page", "/socket", []string{session, own}, 101},
		{"a page of a configured site", "/socket", []string{session, "Origin: https://www.shop.test"}, 101},
		{"no session", "/socket", []string{own}, 401},
		{"another site's page", "/socket", []string{session, "Origin: https://evil.example"}, 403},
		{"another site's page, public path", "/public/socket", []string{session, "Origin: https://evil.example"}, 403},
		{"nobody, public path", "/public/socket", []string{"Origin: https://evil.example"}, 101},
	} {
		lines := append([]string{"Connection: Upgrade", "Upgrade: websocket"}, tt.lines...)
		status, echo := w.socket(t, w.head("GET "+tt.path+" HTTP/1.1", lines...))
		if status != tt.want || (echo == "ping") != (tt.want == 101) {
			t.Errorf("%s: %d, echo %q; want %d", tt.name, status, echo, tt.want)
		}
	}
}

// echoSocket switches protocols and sends back four bytes.
func echoSocket(rw http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Upgrade") == "" {
		return
	}
	conn, buffered, err := http.NewResponseController(rw).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	_, _ = io.CopyN(conn, buffered, 4)
}

// socket asks for another protocol and, if it gets it, for an echo.
func (w *world) socket(t *testing.T, head string) (status int, echo string) {
	t.Helper()
	conn, err := net.Dial("tcp", w.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	_, _ = io.WriteString(conn, head)
	reader := bufio.NewReader(conn)
	resp, err := http.ReadResponse(reader, nil)
	if err != nil {
		t.Fatalf("reading the answer: %v", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusSwitchingProtocols {
		return resp.StatusCode, ""
	}
	_, _ = io.WriteString(conn, "ping")
	text := make([]byte, 4)
	_, _ = io.ReadFull(reader, text)
	_, _ = io.Copy(io.Discard, reader) // to the end
	return resp.StatusCode, string(text)
}
