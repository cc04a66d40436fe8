package caddytest

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// deviceCookie is the third cookie of the gateway.
const deviceCookie = "__Host-kibo-device"

// TestOurCookieStaysHere: the shop gets every other cookie, byte for byte.
func TestOurCookieStaysHere(t *testing.T) {
	w := start(t, setup{gateway: "public /public/*\nlogin {\npage upstream\n}"})
	b := w.browser()
	b.signIn(w, jane)
	b.post("/login", map[string][]string{"email": {"john@example.com"}}) // so that both cookies are there
	fill := strings.NewReplacer("SESSION", sessionCookie+"="+b.cookies[sessionCookie], "LOGIN", loginCookie+"="+b.cookies[loginCookie],
		"DEVICE", deviceCookie+"="+b.cookies[deviceCookie])
	for _, path := range []string{"GET /account", "GET /public/x", "GET /login", "POST /login"} {
		for _, tt := range []struct{ sent, want []string }{
			{[]string{"SESSION"}, nil},
			{[]string{"SESSION; LOGIN"}, nil},
			{[]string{"a=1; SESSION; b=2"}, []string{"a=1; b=2"}},
			{[]string{"a=1;SESSION;b=2"}, []string{"a=1;b=2"}},
			{[]string{"SESSION; a=1; LOGIN; b=2"}, []string{"a=1; b=2"}},
			{[]string{"a=1; b=2; LOGIN; SESSION"}, []string{"a=1; b=2"}},
			{[]string{"DEVICE; a=1; LOGIN; b=2; SESSION"}, []string{"a=1; b=2"}},
			{[]string{"DEVICE", "a=1;DEVICE", "SESSION"}, []string{"a=1"}},
			{[]string{"SESSION; SESSION; a=1"}, []string{"a=1"}},
			{[]string{"a=1", "SESSION", "b=2"}, []string{"a=1", "b=2"}},
			{[]string{`SESSION; q="a b,c\"; e=%20%3B; u=ü; x; =y; z=1=2; $Version=1`}, []string{`q="a b,c\"; e=%20%3B; u=ü; x; =y; z=1=2; $Version=1`}},
			{[]string{"SESSION; PHPSESSID=1; __Host-kibo2=3; __host-kibo=4; kibo=5"}, []string{"PHPSESSID=1; __Host-kibo2=3; __host-kibo=4; kibo=5"}},
			{[]string{"SESSION; " + strings.Repeat("c=1; ", 1000) + "d=2"}, []string{strings.Repeat("c=1; ", 1000) + "d=2"}},
		} {
			lines := []string{"Content-Length: 0"}
			for _, line := range tt.sent {
				lines = append(lines, "Cookie: "+fill.Replace(line))
			}
			r := w.raw(w.head(path+" HTTP/1.1", lines...))
			got := w.shop.got()
			if got == nil {
				t.Errorf("%s with %.80q: the shop was not asked: %d", path, tt.sent, r.status)
			} else if !slices.Equal(got.header["Cookie"], tt.want) {
				t.Errorf("%s with %.80q: the shop gets %.200q, want %.200q", path, tt.sent, got.header["Cookie"], tt.want)
			}
		}
	}
}

// TestPlantedSecondCookie: with two values nobody knows whose is right.
func TestPlantedSecondCookie(t *testing.T) {
	w := start(t, setup{})
	b, other := w.browser(), w.browser()
	b.signIn(w, jane)
	other.signIn(w, "john@example.com")
	mine, theirs := b.cookies[sessionCookie], other.cookies[sessionCookie]
	for _, tt := range []struct {
		name  string
		lines []string
		want  string
	}{
		{"the same twice", []string{"Cookie: __Host-kibo=" + mine + "; __Host-kibo=" + mine}, janeID},
		{"two sessions", []string{"Cookie: __Host-kibo=" + mine + "; __Host-kibo=" + theirs}, ""},
		{"two sessions in two lines", []string{"Cookie: __Host-kibo=" + theirs, "Cookie: __Host-kibo=" + mine}, ""},
		{"an empty one before", []string{"Cookie: __Host-kibo=; __Host-kibo=" + mine}, ""},
		{"another case", []string{"Cookie: __host-kibo=" + mine}, ""},
		{"quoted", []string{`Cookie: __Host-kibo="` + mine + `"`}, ""},
		{"percent-encoded name", []string{"Cookie: __Host%2Dkibo=" + mine}, ""},
		{"a blank of another kind", []string{"Cookie: \u00a0__Host-kibo=" + mine}, ""},
		{"without a name", []string{"Cookie: =__Host-kibo=" + mine}, ""},
		{"cut", []string{"Cookie: __Host-kibo=" + mine[:42]}, ""},
		{"longer", []string{"Cookie: __Host-kibo=" + mine + "A"}, ""},
	} {
		r := w.raw(w.head("GET /account HTTP/1.1", tt.lines...))
		if got, ok := strings.CutPrefix(r.body, "shop for "); ok != (tt.want != "") || ok && got != tt.want {
			t.Errorf("%s: %d %.60q, want %q", tt.name, r.status, r.body, tt.want)
		}
	}
}

// TestTheShopCannotSetOurCookie, wherever and however it answers.
func TestTheShopCannotSetOurCookie(t *testing.T) {
	w := start(t, setup{gateway: "public /public/*\nlogin {\npage upstream\n}"})
	b := w.browser()
	b.signIn(w, jane)
	lines := []string{
		"__Host-kibo=evil; Path=/; Secure", "__HOST-KIBO=evil", " __Host-kibo = evil", "__Host-kibo", "=__Host-kibo=evil",
		"__Host-kibo-login=evil; Secure; Path=/", "__Host-kibo=; Max-Age=0", "__Host-kibo-device=evil; Secure; Path=/", "=__HOST-kibo-device",
		"\t==__Host-kibo-login\t=evil", "__Host-kibo=evil; Domain=shop.test; Path=/account",
		"cart=1; Path=/", "__Host-kibo2=fine", "kibo=fine",
	}
	want := lines[11:]
	for _, status := range []int{200, 204, 302, 304, 404, 500} {
		w.shop.answers(func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header()["Set-Cookie"] = lines
			rw.WriteHeader(status)
		})
		for path, cookie := range map[string]string{
			"/account":  b.cookies[sessionCookie],
			"/public/x": "",
			"/public/y": b.cookies[sessionCookie],
			"/login":    "",
		} {
			r := w.raw(w.head("GET "+path+" HTTP/1.1", "Cookie: "+sessionCookie+"="+cookie))
			if got := r.header["Set-Cookie"]; r.status != status || !slices.Equal(got, want) {
				t.Errorf("%s, %d: Set-Cookie is %q, want %q", path, r.status, got, want)
			}
		}
	}
}

// TestTheShopCannotSetOurCookieInAHint: RFC 8297's 103 has headers too.
func TestTheShopCannotSetOurCookieInAHint(t *testing.T) {
	w := start(t, setup{gateway: "public /public/*"})
	w.shop.answers(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header()["Set-Cookie"] = []string{"__Host-kibo=evil", "cart=1"}
		rw.Header().Set("Link", "</style.css>; rel=preload")
		rw.WriteHeader(http.StatusEarlyHints)
	})
	r := w.raw(w.head("GET /public/x HTTP/1.1"))
	if got := r.header["Set-Cookie"]; r.status != http.StatusEarlyHints || !slices.Equal(got, []string{"cart=1"}) || r.header.Get("Link") == "" {
		t.Errorf("got %d, Set-Cookie %q, Link %q", r.status, got, r.header.Get("Link"))
	}
}

// TestTheShopCannotSetOurCookieInATrailer, where some proxies look for headers.
func TestTheShopCannotSetOurCookieInATrailer(t *testing.T) {
	w := start(t, setup{gateway: "public /public/*"})
	w.shop.answers(func(rw http.ResponseWriter, r *http.Request) {
		prefix := http.TrailerPrefix
		if r.URL.Query().Has("announced") {
			prefix = ""
			rw.Header().Set("Trailer", "Set-Cookie, X-Vol-User-Claims, X-Checksum")
		}
		_, _ = io.WriteString(rw, "page")
		_ = http.NewResponseController(rw).Flush()
		rw.Header()[prefix+"Set-Cookie"] = []string{"__Host-kibo=evil; Path=/; Secure", "cart=1", "__HOST-kibo-login=evil", "__Host-kibo-device=evil"}
		rw.Header().Set(prefix+"X-Vol-User-Claims", "{}")
		rw.Header().Set(prefix+"X-Checksum", "1")
	})
	for name, browse := range map[string]func() *browser{"HTTP/1.1": w.browser, "h2c": w.http2} {
		b := browse()
		b.signIn(w, jane)
		for what, who := range map[string]*browser{"signed in": b, "nobody": browse()} {
			for _, target := range []string{"/public/x", "/public/x?announced"} {
				r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, who.base+target, nil)
				if err != nil {
					t.Fatal(err)
				}
				r.Header.Set("Cookie", sessionCookie+"="+who.cookies[sessionCookie])
				resp, err := who.client.Do(r)
				if err != nil {
					t.Fatal(err)
				}
				text := string(readAll(resp.Body))
				_ = resp.Body.Close()
				for name, values := range resp.Trailer {
					if len(values) == 0 { // only announced
						delete(resp.Trailer, name)
					}
				}
				got := fmt.Sprint(resp.Trailer)
				if want := "map[Set-Cookie:[cart=1] X-Checksum:[1]]"; text != "page" || got != want {
					t.Errorf("%s, %s, %s: %q with trailers %s, want %s", name, what, target, text, got, want)
				}
			}
		}
	}
}

// lookAlikes are names that something between a browser and a legacy server
// may take for ours (Squarcina 2023, "Cookie Crumbles"; PortSwigger 2025).
var lookAlikes = []string{
	"__host-kibo", "__HOST-KIBO", "__Host-Kibo", "__Secure-kibo", "__Http-kibo", "__Host-Http-kibo", "kibo", "Host-kibo", "_Host-kibo", "__Host_kibo", "__Host-kibo.", "__Host-kibo-",
	"\u2000__Host-kibo", "\u00a0__Host-kibo", "\ufeff__Host-kibo", "\u0085__Host-kibo", "\u3000__Host-kibo", "\xa0__Host-kibo",
	"__Host-kibo\u2000", "__Host-kibo\u00a0", "__\u212aost-kibo", "__Host-\u212aibo", "__Host-k\u0131bo", "\uff3f\uff3fHost-kibo",
	`"__Host-kibo"`, `'__Host-kibo'`, "$__Host-kibo", "$Version=1, __Host-kibo", "__Host%2Dkibo", "%5F_Host-kibo", "__Host-kib%6F", "__Host-kibo[]", "__Host-kibo[0]", "=__Host-kibo", "==__Host-kibo", "a, __Host-kibo",
}

// TestLookAlikeCookies are none of ours: a session under such a name opens
// nothing, and beside the right one it does no harm.
func TestLookAlikeCookies(t *testing.T) {
	w := start(t, setup{})
	b, other := w.browser(), w.browser()
	b.signIn(w, jane)
	other.signIn(w, john)
	mine := sessionCookie + "=" + b.cookies[sessionCookie]
	givenAway(t, other.cookies[sessionCookie])
	for _, name := range lookAlikes {
		theirs := name + "=" + other.cookies[sessionCookie]
		for cookies, want := range map[string]string{theirs: "", theirs + "; " + mine: janeID, mine + "; " + theirs: janeID} {
			w.shop.got()
			r := w.raw(w.head("GET /account HTTP/1.1", "Cookie: "+cookies))
			account, _ := strings.CutPrefix(r.body, "shop for ")
			got := w.shop.got()
			if want == "" && (got != nil || r.status != http.StatusUnauthorized) || want != "" && account != want {
				t.Errorf("%q: %d %.60q, want %q", name, r.status, r.body, want)
			}
			if want != "" && (got == nil || got.header.Get("Cookie") != theirs) {
				t.Errorf("%q: the shop gets %+v, want the look-alike as it was", name, got)
			}
		}
	}
}

// TestPlantedCookieOverHTTP2, where every cookie is a field of its own
// (RFC 9113 §8.2.3), in both orders: a page of a sibling can have its cookie
// sent first, by a longer path.
func TestPlantedCookieOverHTTP2(t *testing.T) {
	w := start(t, setup{})
	b, other := w.browser(), w.browser()
	b.signIn(w, jane)
	other.signIn(w, john)
	mine, theirs := sessionCookie+"="+b.cookies[sessionCookie], sessionCookie+"="+other.cookies[sessionCookie]
	for _, tt := range []struct {
		crumbs     []string
		want, left string
	}{
		{[]string{"a=1", mine, "b=2"}, janeID, "a=1; b=2"},
		{[]string{mine, "a=1", mine}, janeID, "a=1"},
		{[]string{mine}, janeID, ""},
		{[]string{mine, theirs}, "", ""},
		{[]string{theirs, mine}, "", ""},
		{[]string{theirs, "a=1; b=2", mine, theirs}, "", ""},
		{[]string{mine, sessionCookie + "="}, "", ""},
		{[]string{sessionCookie, mine}, "", ""},
		{[]string{mine[:len(mine)-3], mine[len(mine)-3:]}, "", ""},
	} {
		w.shop.got()
		r := w.http2().do(http.MethodGet, "/account", nil, asScript, header("Cookie", tt.crumbs...))
		account, _ := strings.CutPrefix(r.body, "shop for ")
		switch got := w.shop.got(); {
		case tt.want == "" && (got != nil || r.status != http.StatusUnauthorized):
			t.Errorf("%.100q: %d %.60q, want 401", tt.crumbs, r.status, r.body)
		case tt.want != "" && (account != tt.want || strings.Join(got.header["Cookie"], "|") != tt.left):
			t.Errorf("%.100q: %.60q and the shop gets %q, want %q and %q", tt.crumbs, r.body, got.header["Cookie"], tt.want, tt.left)
		}
	}
}

// TestPlantedLoginCookie: a sign-in that somebody else may have begun goes no
// further, and Kibo is not asked.
func TestPlantedLoginCookie(t *testing.T) {
	w := start(t, setup{})
	mine, theirs := w.browser(), w.browser()
	code, other := mine.askCode(w, jane), theirs.askCode(w, john)
	a, b := loginCookie+"="+mine.cookies[loginCookie], loginCookie+"="+theirs.cookies[loginCookie]
	w.sim.ResetCalls()
	for _, cookies := range [][]string{{a + "; " + b}, {b + "; " + a}, {a, b}, {b, a}, {a + "; " + loginCookie + "="}, {b}, {}} {
		for _, code := range []string{code, other} {
			r := w.browser().post("/login", url.Values{"email": {jane}, "otpCode": {code}}, header("Cookie", cookies...))
			if r.status != http.StatusUnauthorized || sessionLine(r) != "" {
				t.Errorf("%.60q: %d, session %t", cookies, r.status, sessionLine(r) != "")
			}
		}
	}
	if n := w.sim.Calls("otp/auth"); n != 0 {
		t.Errorf("Kibo was asked %d times", n)
	}
	if r := w.browser().post("/login", url.Values{"email": {jane}, "otpCode": {code}}, header("Cookie", a+"; x=1; "+a)); r.status != http.StatusSeeOther {
		t.Errorf("the same cookie twice: %d, want 303", r.status)
	}
}

// TestCookieFlood: ten thousand cookies (CVE-2025-58186) are refused by Caddy's
// bound on a request's head, and what is under it costs no session.
func TestCookieFlood(t *testing.T) {
	w := start(t, setup{})
	b := w.browser()
	b.signIn(w, jane)
	mine := sessionCookie + "=" + b.cookies[sessionCookie]
	tiny := func(n int) string { return strings.Repeat("a=;", n) }
	for _, tt := range []struct {
		name, cookies string
		want          int
	}{
		{"4,000 tiny ones", tiny(4000) + mine, 200},
		{"4,000 tiny ones behind", mine + ";" + tiny(4000), 200},
		{"15,000 semicolons", strings.Repeat(";", 15000) + mine, 200},
		{"200 copies of ours", strings.Repeat(mine+"; ", 200) + "a=1", 200},
		{"300 values of ours", strings.Repeat(sessionCookie+"=x; ", 300) + mine, 401},
		{"an oversized value", sessionCookie + "=" + strings.Repeat("A", 15000), 401},
		{"10,000 tiny ones", tiny(10000) + mine, 431},
		{"an oversized head", mine + "; a=" + strings.Repeat("x", 64<<10), 431},
	} {
		w.shop.got()
		r := w.raw(w.head("GET /account HTTP/1.1", "Cookie: "+tt.cookies))
		got := w.shop.got()
		if r.status != tt.want || (got != nil) != (tt.want == 200) {
			t.Errorf("%s: %d, served %t; want %d", tt.name, r.status, got != nil, tt.want)
		}
		if got != nil && strings.Contains(got.header.Get("Cookie"), sessionCookie) {
			t.Errorf("%s: our cookie reaches the shop", tt.name)
		}
	}
}
