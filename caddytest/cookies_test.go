package caddytest

import (
	"net/http"
	"slices"
	"strings"
	"testing"
)

// TestOurCookieStaysHere: the shop gets every other cookie, byte for byte.
func TestOurCookieStaysHere(t *testing.T) {
	w := start(t, setup{gateway: "public /public/*\nlogin {\npage upstream\n}"})
	b := w.browser()
	b.signIn(w, jane)
	b.post("/login", map[string][]string{"email": {"john@example.com"}}) // so that both cookies are there
	fill := strings.NewReplacer("SESSION", sessionCookie+"="+b.cookies[sessionCookie], "LOGIN", loginCookie+"="+b.cookies[loginCookie])
	for _, path := range []string{"GET /account", "GET /public/x", "GET /login", "POST /login"} {
		for _, tt := range []struct{ sent, want []string }{
			{[]string{"SESSION"}, nil},
			{[]string{"SESSION; LOGIN"}, nil},
			{[]string{"a=1; SESSION; b=2"}, []string{"a=1; b=2"}},
			{[]string{"a=1;SESSION;b=2"}, []string{"a=1;b=2"}},
			{[]string{"SESSION; a=1; LOGIN; b=2"}, []string{"a=1; b=2"}},
			{[]string{"a=1; b=2; LOGIN; SESSION"}, []string{"a=1; b=2"}},
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
		"__Host-kibo-login=evil; Secure; Path=/", "__Host-kibo=; Max-Age=0",
		"cart=1; Path=/", "__Host-kibo2=fine", "kibo=fine",
	}
	want := lines[7:]
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
