package caddytest

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// partner is an origin that the operator trusts in these tests.
const partner = "https://partner.shop.test"

// A provenance is what a browser says of where a request comes from.
type provenance struct{ site, origin, referer string }

func (p provenance) lines() (lines []string) {
	for name, value := range map[string]string{"Sec-Fetch-Site": p.site, "Origin": p.origin, "Referer": p.referer} {
		if value != "" {
			lines = append(lines, name+": "+value)
		}
	}
	return lines
}

// ours is the rule, written down once more: Fetch metadata count first, then
// Origin, then Referer; who says nothing is no browser of our days; a page on
// the same site is another origin like any other.
func (p provenance) ours(own string) bool {
	trusted := p.origin == partner
	switch {
	case p.site == "same-origin", p.site == "none":
		return true
	case p.site != "":
		return trusted
	case p.origin != "":
		return trusted || p.origin == "http://"+own || p.origin == "https://"+own // no browser has both schemes on one port
	}
	return p.referer == "" || p.referer == "http://"+own+"/cart?x=1" || strings.HasPrefix(p.referer, partner+"/")
}

// provenances are all combinations.
func provenances(own string) (all []provenance) {
	host, _, _ := strings.Cut(own, ":")
	for _, site := range []string{"", "none", "same-origin", "same-site", "cross-site", "Same-Origin", "same-origin, none", "made-up"} {
		for _, origin := range []string{
			"", "null", "http://" + own, "https://" + own, partner, "https://evil.example", "http://evil." + own, "http://" + own + ".evil.example",
			"http://" + own + "@evil.example", "http://" + host, "http://" + host + ":1", "http://partner.shop.test", partner + ":8443", partner + ".evil.example", partner + "/", "http://", "%",
		} {
			for _, referer := range []string{
				"", "http://" + own + "/cart?x=1", partner + "/x", "https://evil.example/" + own, "https://evil.example/?" + partner + "/",
				"http://" + own + "@evil.example/", "http://evil." + own + "/", "about:blank", "http://%zz",
			} {
				all = append(all, provenance{site, origin, referer})
			}
		}
	}
	return all
}

// keepAlive sends requests as they are over one connection and returns their
// status; thousands of connections would take a minute.
func (w *world) keepAlive(t *testing.T) func(text string) int {
	conn, err := net.Dial("tcp", w.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	reader := bufio.NewReader(conn)
	return func(text string) int {
		t.Helper()
		_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
		_, _ = io.WriteString(conn, text)
		resp, err := http.ReadResponse(reader, nil)
		if err != nil {
			t.Fatalf("reading the answer to %q: %v", firstLine(text), err)
		}
		defer resp.Body.Close()
		readAll(resp.Body)
		return resp.StatusCode
	}
}

// TestCrossSiteEverythingThatABrowserMaySay: no page but ours signs in, signs
// out or has a code sent, whatever combination of headers its request has.
func TestCrossSiteEverythingThatABrowserMaySay(t *testing.T) {
	w := start(t, setup{gateway: "site " + partner + "\nlogout /logout get"})
	keep := w.keepAlive(t)
	b, form := w.browser(), "email=john%40example.com"
	b.signIn(w, jane)
	code := b.askCode(w, jane)
	cookies := "Cookie: " + sessionCookie + "=" + b.cookies[sessionCookie] + "; " + loginCookie + "=" + b.cookies[loginCookie]
	w.sim.ResetCalls()
	allowed, all := 0, provenances(w.addr)
	for _, p := range all {
		lines := append(p.lines(), "Accept: text/html", "Content-Type: application/x-www-form-urlencoded")
		if p.ours(w.addr) {
			allowed++
			if got := keep(w.head("POST /login HTTP/1.1", append(lines, "Content-Length: 24")...) + form); got != http.StatusOK {
				t.Errorf("%+v: code request %d, want 200", p, got)
				continue
			}
			w.code("john@example.com")
			continue
		}
		second := "email=jane%40example.com&otpCode=" + code
		for what, text := range map[string]string{
			"code request":    w.head("POST /login HTTP/1.1", append(lines, cookies, "Content-Length: 24")...) + form,
			"sign-in":         w.head("POST /login HTTP/1.1", append(lines, cookies, fmt.Sprint("Content-Length: ", len(second)))...) + second,
			"sign-out":        w.head("POST /logout?scope=everywhere HTTP/1.1", append(lines, cookies, "Content-Length: 0")...),
			"sign-out, GET":   w.head("GET /logout HTTP/1.1", append(lines, cookies)...),
			"sign-out, image": w.head("GET /logout HTTP/1.1", append(lines, cookies, "Sec-Fetch-Mode: no-cors", "Sec-Fetch-Dest: image")...),
		} {
			if got := keep(text); got != http.StatusForbidden {
				t.Errorf("%+v: %s %d, want 403", p, what, got)
			}
		}
	}
	t.Logf("%d combinations, %d of them ours", len(all), allowed)
	eventually(t, "Kibo was asked for the codes of ours", func() bool { return w.sim.Calls("otp/request") == allowed })
	if n := w.sim.Calls("otp/auth"); n != 0 {
		t.Errorf("%d exchanges", n)
	}
	if got := b.signedInAs("/"); got != janeID {
		t.Errorf("after all that Jane is %q", got)
	}
	if r := b.giveCode(jane, code); r.status != http.StatusSeeOther {
		t.Errorf("after all that her code is lost: %d", r.status)
	}
}

// TestCrossSiteTricks: other methods, other bodies, other spellings.
func TestCrossSiteTricks(t *testing.T) {
	w := start(t, setup{})
	b := w.browser()
	b.signIn(w, jane)
	w.sim.ResetCalls()
	session := sessionCookie + "=" + b.cookies[sessionCookie]
	hostile := []string{"Sec-Fetch-Site: same-site", "Origin: http://evil." + w.addr, "Accept: text/html", "Cookie: " + session}
	const asJSON, asForm = `{"email":"john@example.com"}`, "email=john%40example.com"
	const multi = "--x\r\nContent-Disposition: form-data; name=\"email\"\r\n\r\njohn@example.com\r\n--x--\r\n"
	for _, body := range [][2]string{
		{"application/json", asJSON},
		{"text/plain", asJSON},
		{"text/plain;charset=UTF-8", asForm},
		{"", asForm},
		{"application/x-www-form-urlencoded; charset=utf-8", asForm},
		{"multipart/form-data; boundary=x", multi},
	} {
		for _, line := range []string{"POST /login", "POST /login?_method=PUT", "GET /login", "PUT /login", "PATCH /login", "POST /logout?email=john%40example.com", "POST /LOGIN", "POST //login", "POST /login/", "POST /%6cogin", "POST /login;x=1"} {
			lines := append(slices.Clone(hostile), "Content-Type: "+body[0], fmt.Sprint("Content-Length: ", len(body[1])), "X-HTTP-Method-Override: POST", "Connection: close")
			if r := w.raw(w.head(line+" HTTP/1.1", lines...) + body[1]); r.header.Get("Set-Cookie") != "" {
				t.Errorf("%s with %s: %d sets a cookie", line, body[0], r.status)
			}
		}
	}
	for _, line := range []string{
		"POST /logout", "POST /logout?scope=everywhere", "POST /logout?scope=others", "GET /logout", "GET /logout?_method=POST", "HEAD /logout", "PUT /logout",
		"DELETE /logout", "OPTIONS /logout", "POST /%6cogout", "POST /logout/../logout", "POST /./logout",
	} {
		lines := append(slices.Clone(hostile), "Content-Length: 0", "X-HTTP-Method-Override: POST", "Connection: close")
		r := w.raw(w.head(line+" HTTP/1.1", lines...))
		if r.header.Get("Set-Cookie") != "" || r.header.Get("Clear-Site-Data") != "" {
			t.Errorf("%s: %d signs out", line, r.status)
		}
	}
	if n := w.sim.Calls("otp/request") + w.sim.Calls("otp/auth"); n != 0 {
		t.Errorf("Kibo was called %d times", n)
	}
	if got := b.signedInAs("/"); got != janeID {
		t.Errorf("after all that Jane is %q", got)
	}
}

// TestNoAnswerIsForOtherOrigins: a script of another page may send, but never
// read; no preflight is ever answered with a permission.
func TestNoAnswerIsForOtherOrigins(t *testing.T) {
	w := start(t, setup{gateway: "site " + partner})
	for _, origin := range []string{"https://evil.example", "null", partner} {
		for _, line := range []string{"OPTIONS /login", "OPTIONS /logout", "OPTIONS /account", "GET /login", "GET /account", "POST /login", "POST /logout"} {
			r := w.raw(w.head(line+" HTTP/1.1", "Origin: "+origin, "Access-Control-Request-Method: POST", "Access-Control-Request-Headers: content-type",
				"Content-Type: application/json", "Content-Length: 2") + "{}")
			for name := range r.header {
				if strings.HasPrefix(name, "Access-Control-") {
					t.Errorf("%s from %s: %d has %s", line, origin, r.status, name)
				}
			}
		}
	}
}

// TestFramesAreForbidden on every page of our own, and on every error page.
func TestFramesAreForbidden(t *testing.T) {
	w := start(t, setup{})
	b := w.browser()
	cross := header("Sec-Fetch-Site", "cross-site")
	pages := map[string]*reply{
		"form":         b.open("/login"),
		"form to come": b.open("/login?return_to=/x&kibo_auth=rejected"),
		"code":         b.post("/login", map[string][]string{"email": {jane}}),
		"bad address":  b.post("/login", map[string][]string{"email": {"jane"}}),
		"wrong code":   b.post("/login", map[string][]string{"email": {jane}, "otpCode": {wrongCode(w.code(jane))}}),
		"too large":    b.post("/login", map[string][]string{"email": {jane}, "x": {strings.Repeat("x", 70<<10)}}),
		"no sign-in":   w.browser().post("/login", map[string][]string{"email": {jane}, "otpCode": {"123456"}}),
		"cross site":   b.post("/login", map[string][]string{"email": {jane}}, cross),
		"sign-out":     b.open("/logout"),
		"bad scope":    b.post("/logout?scope=x", nil),
		"post":         b.post("/account", nil),
		"bad path":     b.open("/a%00b"),
	}
	w.kibo.off()
	pages["Kibo is down"] = b.post("/login", map[string][]string{"email": {"zoe@example.com"}, "otpCode": {"123456"}})
	for name, r := range pages {
		policy := r.header.Get("Content-Security-Policy")
		for _, part := range []string{"default-src 'none'", "frame-ancestors 'none'", "form-action 'self'", "base-uri 'none'"} {
			if !strings.Contains(policy, part) {
				t.Errorf("%s: %d without %s: %q", name, r.status, part, policy)
			}
		}
		if strings.Contains(policy, "unsafe") || strings.Contains(policy, "script-src") {
			t.Errorf("%s: the policy allows scripts: %q", name, policy)
		}
		for header, want := range map[string]string{
			"X-Content-Type-Options": "nosniff", "Cross-Origin-Opener-Policy": "same-origin", "Cache-Control": "no-store", "Referrer-Policy": "same-origin",
			"Content-Type": "text/html; charset=utf-8",
		} {
			if got := r.header.Get(header); got != want {
				t.Errorf("%s: %d with %s %q, want %q", name, r.status, header, got, want)
			}
		}
	}
}
