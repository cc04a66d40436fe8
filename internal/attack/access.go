package attack

import (
	"net/http"
	"net/url"
	"strings"
)

// hold sends requests that nobody may get through with.
func (s *suite) hold(v *verdict, all ...request) {
	for _, r := range all {
		a := s.ask(r)
		v.judge(r.method+" "+r.target+" "+strings.Join(r.lines, " | "), a, s.held(a))
	}
}

var pathChecks = []check{
	{
		family: "paths", name: "spellings", run: (*suite).spellPaths,
		sent: "other spellings of the protected path, without a session",
		why:  "the application may read as protected what the gateway does not",
	},
	{
		family: "paths", name: "spellings-by-script", run: (*suite).spellPathsAsScript,
		sent: "the same as a script would",
		why:  "what is no page must not be let through either",
	},
	{
		family: "paths", name: "request-targets", run: (*suite).oddTargets,
		sent: "request lines that are no plain path, without a session",
		why:  "RFC 9112 §3.2 has four forms of a target, and servers disagree on each",
	},
	{
		family: "paths", name: "names-in-headers", run: (*suite).pathInHeaders,
		sent: "the protected path with a public one in X-Original-URL and its like, without a session",
		why:  "access must be decided by the path that the application gets",
	},
}

func (s *suite) spellPaths(v *verdict) { s.spell(v, page) }

func (s *suite) spellPathsAsScript(v *verdict) {
	s.spell(v, "Accept: application/json", "Sec-Fetch-Mode: cors")
}

func (s *suite) spell(v *verdict, lines ...string) {
	for _, target := range Paths(s.Protected) {
		a := s.ask(request{"GET", target, lines, ""})
		elsewhere := !strings.HasPrefix(target, "/") && a.status == http.StatusOK && a.body == "" // no site has that host
		v.judge(target, a, s.held(a) || elsewhere)
	}
}

func (s *suite) oddTargets(v *verdict) {
	own := s.Base.String() + s.Protected
	for _, line := range []string{
		"GET " + own + " HTTP/1.1", "GET " + strings.ToUpper(s.Base.Scheme) + "://" + s.Base.Host + s.Protected + " HTTP/1.1",
		"GET " + s.Protected + " HTTP/1.0", "GET " + s.Public + "#" + s.Protected + " HTTP/1.1", "GET " + s.Protected + "#" + s.Public + " HTTP/1.1",
		"GET  " + s.Protected + " HTTP/1.1", "GET " + s.Protected + " HTTP/1.1 ", "GET " + s.Protected + " HTTP/3.0", "GET\t" + s.Protected + " HTTP/1.1",
		"GET " + s.Protected, "CONNECT " + s.Protected + " HTTP/1.1",
	} {
		all := s.raw(line+"\r\nHost: "+s.Base.Host+"\r\n"+page+"\r\n\r\n", "GET", 1)
		a := &answer{}
		if len(all) > 0 {
			a = all[0]
		}
		nothing := strings.HasPrefix(line, "CONNECT") && a.body == "" // Caddy's answer where there is no site
		v.judge(line, a, s.held(a) || nothing)
	}
}

func (s *suite) pathInHeaders(v *verdict) {
	for _, name := range []string{
		"X-Original-URL", "X-Rewrite-URL", "X-Original-Uri", "X-Forwarded-Uri", "X-Forwarded-Path", "X-Envoy-Original-Path", "X-Path", "Content-Location",
	} {
		for _, value := range []string{s.Public, s.Base.String() + s.Public, s.Login} {
			s.hold(v, request{"GET", s.Protected, []string{page, name + ": " + value}, ""})
		}
	}
}

var methodChecks = []check{
	{
		family: "methods", name: "every-method", run: (*suite).everyMethod,
		sent: "the protected path with 17 methods, without a session",
		why:  "only paths may be exempt (the class of CVE-2026-34457)",
	},
	{
		family: "methods", name: "overrides", run: (*suite).overrides,
		sent: "requests that name another method in a header or a parameter, without a session",
		why:  "frameworks behind the gateway obey them",
	},
	{
		family: "methods", name: "exempt-agents", run: (*suite).agents,
		sent: "the protected path as health checks, crawlers and previews, without a session",
		why:  "anybody can call himself so",
	},
	{
		family: "methods", name: "upgrade", run: (*suite).upgrade,
		sent: "WebSocket and h2c upgrades of the protected path, without a session",
		why:  "a socket that is open is not asked again",
	},
	{
		family: "methods", name: "credentials-in-url", run: (*suite).credentialsInURL,
		sent: "an address and a code in the query of the sign-in page",
		why:  "what stands in a URL ends up in logs, histories and Referer",
	},
}

func (s *suite) everyMethod(v *verdict) {
	for _, method := range []string{
		"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "TRACK", "DEBUG", "PROPFIND", "MOVE", "SEARCH", "PURGE", "PRI", "get", "FOO",
	} {
		r := request{method, s.Protected, []string{page, "Origin: " + s.Base.String()}, ""}
		if method == "OPTIONS" {
			r.lines = append(r.lines, "Access-Control-Request-Method: GET")
		}
		a := s.ask(r)
		redirected := a.status/100 == 3 && method != "GET" && method != "HEAD"
		v.judge(method+" "+s.Protected, a, s.held(a) && !redirected)
	}
}

func (s *suite) overrides(v *verdict) {
	for _, name := range []string{"X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "X-Override-Method"} {
		for _, method := range []string{"GET", "OPTIONS", "HEAD"} {
			s.hold(v, request{"POST", s.Protected, []string{page, name + ": " + method}, "a=b"}, request{"GET", s.Protected, []string{page, name + ": " + method}, ""})
		}
	}
	s.hold(v, request{"POST", s.Protected + "?_method=OPTIONS", []string{page, form}, "_method=GET"})
}

func (s *suite) agents(v *verdict) {
	for _, agent := range []string{
		"kube-probe/1.30", "GoogleHC/1.0", "ELB-HealthChecker/2.0", "Googlebot/2.1", "facebookexternalhit/1.1", "Consul Health Check", "curl/8", "",
	} {
		s.hold(v, request{"GET", s.Protected, []string{page, "User-Agent: " + agent}, ""}, request{"HEAD", s.Protected, []string{"User-Agent: " + agent}, ""})
	}
	for _, line := range []string{"X-Forwarded-For: 127.0.0.1", "X-Real-IP: ::1", "Forwarded: for=127.0.0.1;proto=https", "True-Client-IP: 127.0.0.1", "X-Forwarded-Host: localhost", "X-Forwarded-Proto: https"} {
		s.hold(v, request{"GET", s.Protected, []string{page, line}, ""})
	}
}

// socket are the lines of a WebSocket's handshake (RFC 6455 §4.1).
var socket = []string{"Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="}

func (s *suite) upgrade(v *verdict) {
	for _, lines := range [][]string{
		socket,
		{"Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"},
		{"Connection: Upgrade", "Upgrade: TLS/1.3"},
	} {
		a := s.ask(request{"GET", s.Protected, append([]string{page}, lines...), ""})
		v.judge(strings.Join(lines, " | "), a, s.held(a) && a.status/100 != 3)
	}
}

// madeUp is an address that belongs to nobody (RFC 2606).
const madeUp = "nobody@attack.invalid"

// credentials are a made-up address and code, as a form's body. Nobody has
// asked for a code for it, so there is nothing to check at Kibo.
func (s *suite) credentials(address string) string {
	return url.Values{s.Email: {address}, s.Code: {"000000"}}.Encode()
}

func (s *suite) credentialsInURL(v *verdict) {
	plain := s.get(s.Login)
	query := s.Login + "?" + s.credentials(madeUp)
	for _, r := range []request{
		{"GET", query, []string{page, ownSite}, ""},
		{"HEAD", query, []string{page, ownSite}, ""},
		{"GET", query, []string{page, ownSite, "X-HTTP-Method-Override: POST"}, ""},
	} {
		a := s.ask(r)
		v.judge(r.method+" "+s.Login+"?…", a, a.status == plain.status && !s.setsOurs(a))
	}
	a := s.post(query, "x=y", ownSite)
	v.judge("POST "+s.Login+"?…", a, !s.setsOurs(a) && a.status != http.StatusUnauthorized)
}

// setsOurs tells whether an answer sets the session cookie or one of its kin.
func (s *suite) setsOurs(a *answer) bool {
	for _, c := range cookies(a) {
		if strings.HasPrefix(c.Name, s.Cookie) && c.MaxAge >= 0 && c.Value != "" {
			return true
		}
	}
	return false
}

func cookies(a *answer) []*http.Cookie { return (&http.Response{Header: a.header}).Cookies() }
