package attack

import (
	"regexp"
	"slices"
	"strings"
)

// mark is the value by which a planted header is known again.
const mark = "attack-planted-4711"

// claims are the headers that some application takes for an identity, besides
// those of the target.
var claims = []string{"Remote-User", "X-Remote-User", "X-Vol-User-Claims", "X-Vol-App-Claims"}

func spoofing(protocol string, needs need, run func(*suite, *verdict)) check {
	name := "spoofed-identity-" + strings.ToLower(strings.NewReplacer("/", "", ".", "").Replace(protocol))
	if needs&echo != 0 {
		name += "-seen"
	}
	if needs&session != 0 {
		name += "-signed-in"
	}
	return check{
		family: "headers", name: name, needs: needs, run: run,
		sent: "identity headers in every spelling over " + protocol,
		why:  "only the gateway may tell the application who asks",
	}
}

var headerChecks = []check{
	spoofing("HTTP/1.1", 0, (*suite).spoof),
	spoofing(http2Name, 0, func(s *suite, v *verdict) { s.spoofOver(v, http2Name, false) }),
	spoofing(http3Name, 0, func(s *suite, v *verdict) { s.spoofOver(v, http3Name, false) }),
	spoofing("HTTP/1.1", echo, func(s *suite, v *verdict) { s.plant(v) }),
	spoofing("HTTP/1.1", echo|session, func(s *suite, v *verdict) { s.plant(v, s.ticket()) }),
	spoofing(http2Name, echo, func(s *suite, v *verdict) { s.spoofOver(v, http2Name, true) }),
	spoofing(http3Name, echo, func(s *suite, v *verdict) { s.spoofOver(v, http3Name, true) }),
	{
		family: "headers", name: "connection-names-ours", needs: echo | session, run: (*suite).dropOurs,
		sent: "our headers named in Connection, with a session",
		why:  "a proxy drops what Connection names (RFC 9110 §7.6.1); the application then sees nobody (the class of CVE-2025-48865)",
	},
	{
		family: "headers", name: "trailers", needs: echo, run: (*suite).trailers,
		sent: "identity headers behind the body",
		why:  "trailers come when all headers have long been looked at",
	},
	{
		family: "headers", name: "other-url", needs: echo, run: (*suite).otherURL,
		sent: "X-Original-URL and X-Rewrite-URL on a public path",
		why:  "IIS, Symfony and Zend answer for the URL that they name",
	},
	{
		family: "headers", name: "bearer", run: (*suite).bearer,
		sent: "tokens that nobody signed as Authorization, without a session",
		why:  "what a client brings is no proof",
	},
}

// claimed are all names under which an identity may be claimed, spelled out.
func (s *suite) claimed() []string {
	var all []string
	for _, name := range append(slices.Clone(s.Identity), claims...) {
		all = append(all, HeaderSpellings(name)...)
	}
	return all
}

func (s *suite) spoof(v *verdict) {
	for _, name := range s.claimed() {
		s.hold(v, request{"GET", s.Protected, []string{page, name + ": 1001"}, ""})
	}
}

// plant looks whether planted headers arrive at the application.
func (s *suite) plant(v *verdict, lines ...string) {
	for _, name := range s.claimed() {
		a := s.get(s.Echo, append([]string{name + ": " + mark}, lines...)...)
		v.judge(name, a, !strings.Contains(a.body, mark))
	}
}

// spoofOver does the same over another protocol: it looks at the answer for
// the protected path, or at what the application shows.
func (s *suite) spoofOver(v *verdict, protocol string, seen bool) {
	p := s.over(protocol)
	if p == nil {
		v.skip("the target does not speak %s", protocol)
		return
	}
	target := s.Protected
	if seen {
		target = s.Echo
	}
	for _, name := range s.claimed() {
		a := s.askOver(p, request{"GET", target, []string{page, name + ": " + mark}, ""})
		v.judge(name, a, seen && !strings.Contains(a.body, mark) || !seen && s.held(a))
	}
}

func (s *suite) dropOurs(v *verdict) {
	told := s.told(s.get(s.Echo, s.ticket()))
	if len(told) == 0 {
		v.skip("the application shows none of %s", strings.Join(s.Identity, ", "))
		return
	}
	list := strings.Join(s.Identity, ", ")
	for _, lines := range [][]string{
		{"Connection: close, " + list},
		{"Connection: " + strings.ToLower(list)},
		{"Connection: keep-alive", "Connection: " + list},
		{"Connection: Upgrade, " + list},
		{"Connection: Upgrade, " + list, "Upgrade: websocket"},
		{"Connection: " + list + ";x", "connection: close,," + list},
		{"Proxy-Connection: " + list, "Keep-Alive: " + list},
		{"Connection: Cookie"},
		{"Connection: close, X-Forwarded-For, X-Forwarded-Host, " + list},
	} {
		a := s.get(s.Echo, append(lines, s.ticket())...)
		v.judge(strings.Join(lines, " | "), a, slices.Equal(s.told(a), told))
	}
}

// unify makes one of a header's name and the variable that CGI makes of it.
func unify(text string) string { return strings.ReplaceAll(strings.ToLower(text), "_", "-") }

// told are the identity headers that the application shows.
func (s *suite) told(a *answer) []string {
	body := unify(a.body)
	return slices.DeleteFunc(slices.Clone(s.Identity), func(name string) bool {
		return !regexp.MustCompile(regexp.QuoteMeta(unify(name)) + `["']?\s*[:=]`).MatchString(body)
	})
}

func (s *suite) trailers(v *verdict) {
	for _, name := range append(slices.Clone(s.Identity), claims...) {
		for _, announced := range []string{"", "Trailer: " + name, "TE: trailers"} {
			lines := []string{page, "Transfer-Encoding: chunked"}
			if announced != "" {
				lines = append(lines, announced)
			}
			r := request{"GET", s.Echo, lines, ""}
			all := s.raw(r.text(s.Base.Host)+"3\r\na=b\r\n0\r\n"+name+": "+mark+"\r\n\r\n", "GET", 1)
			a := &answer{}
			if len(all) > 0 {
				a = all[0]
			}
			v.judge(name+" "+announced, a, !strings.Contains(a.body, mark))
		}
	}
}

func (s *suite) otherURL(v *verdict) {
	if s.some {
		v.skip("the application shows some headers only, and not these")
		return
	}
	for _, name := range []string{"X-Original-URL", "X-Rewrite-URL"} {
		for _, spelled := range HeaderSpellings(name) {
			a := s.get(s.Echo, spelled+": /"+mark)
			v.judge(spelled, a, !strings.Contains(a.body, mark))
		}
	}
}

// Tokens that nobody signed: {"alg":"none"}, and HS256 with an empty signature.
const (
	unsigned = "eyJhbGciOiJub25lIn0.eyJzdWIiOiIxMDAxIiwiZXhwIjo0MTAyNDQ0ODAwfQ."
	empty    = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMDAxIiwiZXhwIjo0MTAyNDQ0ODAwfQ.AA"
)

func (s *suite) bearer(v *verdict) {
	for _, value := range []string{"Bearer " + unsigned, "Bearer " + empty, "bearer " + empty, "Bearer ", "Bearer x", "Basic YWRtaW46YWRtaW4=", "DPoP " + empty} {
		s.hold(v, request{"GET", s.Protected, []string{page, "Authorization: " + value}, ""})
	}
	for _, name := range []string{"X-Vol-Accesstoken", "X-Access-Token", "X-Auth-Token", "X-Forwarded-Access-Token"} {
		s.hold(v, request{"GET", s.Protected, []string{page, name + ": " + empty}, ""})
	}
}
