package caddytest

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// TestClientAddressSpoofing: a client that calls itself another one at every
// try has no more tries than any other.
func TestClientAddressSpoofing(t *testing.T) {
	const limits = "limit floor 0s\n\t\tlimit verify client 3/10m\n\t\tlimit verify account 100/10m"
	for _, tt := range []struct {
		name, servers string
		headers       []string
		value         string // the address that it gives itself for %d
	}{
		{
			"no proxy is trusted", "",
			[]string{"X-Forwarded-For", "X-Real-Ip", "Forwarded", "True-Client-Ip", "Cf-Connecting-Ip", "X-Client-Ip", "X-Cluster-Client-Ip", "Client-Ip", "X-Originating-Ip", "X-Remote-Addr"},
			"198.51.100.%d",
		},
		{
			"a trusted proxy, strict", "trusted_proxies static 127.0.0.1/32\ntrusted_proxies_strict",
			[]string{"X-Forwarded-For"},
			"198.51.100.%d, 203.0.113.9", // the last one is the proxy's word
		},
		{
			"a trusted proxy, strict, which adds a line", "trusted_proxies static 127.0.0.1/32\ntrusted_proxies_strict",
			[]string{"X-Forwarded-For"},
			"127.0.0.%d, 198.51.100.7, 203.0.113.9",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := start(t, setup{limits: limits, servers: tt.servers})
			for i := range 5 {
				b := w.browser()
				var as []tweak
				for _, name := range tt.headers {
					as = append(as, header(name, fmt.Sprintf(tt.value, i+1)))
				}
				form := url.Values{"email": {fmt.Sprintf("guess%d@example.com", i)}}
				b.post("/login", form, as...)
				form.Set("otpCode", "111111")
				r := b.post("/login", form, as...)
				if want := map[bool]int{true: http.StatusUnauthorized, false: http.StatusTooManyRequests}[i < 3]; r.status != want {
					t.Errorf("try %d: %d, want %d", i+1, r.status, want)
				}
			}
		})
	}
}

// TestHostSpoofing: nothing that the gateway answers leads to a host that the
// client has named.
func TestHostSpoofing(t *testing.T) {
	w := start(t, setup{gateway: "public /public/*"})
	const evil = "evil.example"
	asPage := "Accept: text/html\r\nSec-Fetch-Mode: navigate\r\n"
	for _, head := range []string{
		"Host: " + evil,
		"Host: " + w.addr + "\r\nX-Forwarded-Host: " + evil,
		"Host: " + w.addr + "\r\nForwarded: host=" + evil + ";proto=https",
		"Host: " + w.addr + "\r\nX-Host: " + evil + "\r\nX-Original-Host: " + evil + "\r\nX-Forwarded-Server: " + evil,
		"Host: " + w.addr + "\r\nX-Forwarded-Proto: gopher\r\nX-Forwarded-Prefix: //" + evil + "\r\nX-Forwarded-Port: 1",
	} {
		for _, line := range []string{"GET /account", "GET /login", "GET //evil.example/account", "GET http://evil.example/account", "POST /logout", "GET /login?return_to=https://" + evil} {
			r := w.raw(line + " HTTP/1.1\r\n" + head + "\r\n" + asPage + "Content-Length: 0\r\n\r\n")
			location := r.location()
			if location != "" && (location[0] != '/' || strings.HasPrefix(location, "//") || strings.Contains(location, "gopher")) {
				t.Errorf("%s, %q: sent to %q", line, head, location)
			}
			if target, err := url.Parse(location); err != nil || target.Host != "" || target.Path == evil {
				t.Errorf("%s, %q: sent to %q", line, head, location)
			}
			if strings.Contains(r.body, "//"+evil) || strings.Contains(fmt.Sprint(r.header["Set-Cookie"]), evil) {
				t.Errorf("%s, %q: the answer speaks of %s", line, head, evil)
			}
			if w.shop.got() != nil {
				t.Errorf("%s, %q: the shop was asked", line, head)
			}
		}
	}
}

// TestForeignHost: a site with a name of its own answers for no other. The
// answer is Caddy's: 200 with nothing in it.
func TestForeignHost(t *testing.T) {
	w, session := startSecure(t, spoofable)
	for version, wire := range versions(t, w.addr) {
		if version == "HTTP/1.1" {
			continue // whose messages name the right host
		}
		for _, host := range []string{"evil.example", "localhost.evil.example", "evil.example:" + port(w.addr), "localhost@evil.example", "", "127.0.0.1"} {
			m := shopRoutes[0].with(session, nil)
			m.pseudo = []field{{":method", "GET"}, {":scheme", "https"}, {":authority", host}, {":path", "/account"}}
			status := wire.send(m)
			if got := w.shop.got(); got != nil {
				t.Errorf("%s, %q: %d, the shop was asked: %+v", version, host, status, got)
			}
		}
	}
}

// TestMethodOverride: what some frameworks take for another method is none here.
func TestMethodOverride(t *testing.T) {
	w := start(t, setup{})
	b := w.browser()
	b.signIn(w, jane)
	for _, name := range []string{"X-Http-Method-Override", "X-HTTP-Method-Override", "X-Http-Method", "X-Method-Override", "X-HTTP-Method"} {
		for _, target := range []string{"/logout", "/logout?_method=POST", "/logout?_method=DELETE"} {
			b.do(http.MethodGet, target, nil, asPage, header(name, http.MethodPost))
		}
		before := w.sim.Calls("otp/request")
		b.do(http.MethodGet, "/login?_method=POST&email="+url.QueryEscape(jane), nil, asPage, header(name, http.MethodPost))
		b.do(http.MethodPut, "/login", body("email", jane), asPage, header(name, http.MethodPost), header("Content-Type", "application/x-www-form-urlencoded"))
		if n := w.sim.Calls("otp/request") - before; n > 0 {
			t.Errorf("%s: Kibo was asked %d times", name, n)
		}
	}
	if got := b.signedInAs("/account"); got != janeID {
		t.Errorf("after all that, jane is %q", got)
	}
}
