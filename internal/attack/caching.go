package attack

import (
	"net/http"
	"strings"
)

var cachingChecks = []check{
	{
		family: "caching", name: "challenge", run: (*suite).challengeIsNotKept,
		sent: "the protected path without a session, and the sign-in page",
		why:  "an answer that is kept would be given to who has signed in",
	},
	{
		family: "caching", name: "conditional", run: (*suite).conditional,
		sent: "conditional and partial requests for the protected path, without a session",
		why:  "304 and 206 are answers of the application, too",
	},
	{
		family: "caching", name: "signed-in-pages", needs: session, run: (*suite).signedInPages,
		sent: "the protected path with a session",
		why:  "a cache between must not give one customer's page to another",
	},
	{
		family: "caching", name: "deception", needs: session, run: (*suite).deception,
		sent: "the protected path as a picture, a script and a style sheet, with a session",
		why:  "caches go by the ending (web cache deception)",
	},
}

func noStore(a *answer) bool { return strings.Contains(a.header.Get("Cache-Control"), "no-store") }

func (s *suite) challengeIsNotKept(v *verdict) {
	a := s.get(s.Protected)
	v.judge("GET "+s.Protected, a, noStore(a))
	a = s.ask(request{"GET", s.Protected, []string{"Accept: */*"}, ""})
	v.judge("the same by a script", a, noStore(a))
	a = s.get(s.Protected+"/logo.png", "Accept: image/*")
	v.judge("a picture below it", a, noStore(a) || !s.held(a)) // that may be public
	if !s.ShopForm {
		a = s.get(s.Login)
		v.judge("GET "+s.Login, a, noStore(a))
	}
}

func (s *suite) conditional(v *verdict) {
	for _, line := range []string{
		"If-None-Match: *", `If-None-Match: "x"`, "If-Match: *", "If-Modified-Since: Fri, 31 Dec 2100 23:59:59 GMT", "If-Unmodified-Since: Thu, 01 Jan 1970 00:00:00 GMT",
		"Range: bytes=0-9", "Range: bytes=0-", "If-Range: x\r\nRange: bytes=0-1", "Cache-Control: only-if-cached", "Pragma: akamai-x-cache-on",
	} {
		s.hold(v, request{"GET", s.Protected, []string{page, line}, ""})
	}
}

// forOne tells whether caches that several people share may not keep an answer.
func forOne(a *answer) bool {
	control := a.header.Get("Cache-Control")
	return noStore(a) || strings.Contains(control, "private")
}

func (s *suite) signedInPages(v *verdict) {
	for _, method := range []string{"GET", "HEAD"} {
		a := s.ask(request{method, s.Protected, []string{page, s.ticket()}, ""})
		v.judge(method, a, forOne(a))
	}
}

func (s *suite) deception(v *verdict) {
	for _, ending := range []string{"/x.css", "/x.js", "/logo.png", ";x.css", "%2fx.css", "%3fx.css", "%23x.css", "%00x.css", "?x.css", "/..%2fx.css", "/%2e%2e/x.css"} {
		a := s.get(s.Protected+ending, s.ticket())
		v.judge(ending, a, a.status == http.StatusBadRequest || forOne(a))
	}
}
