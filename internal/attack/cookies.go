package attack

import (
	"net/http"
	"strings"
)

var cookieChecks = []check{
	{
		family: "cookies", name: "made-up", run: (*suite).madeUpCookies,
		sent: "session cookies that somebody made up",
		why:  "only what the gateway gave out may open anything, and nothing may make it stumble",
	},
	{
		family: "cookies", name: "flood", run: (*suite).cookieFlood,
		sent: "heads full of cookies, and larger than any head may be",
		why:  "looking through them must stay cheap (the class of CVE-2025-58186)",
	},
	{
		family: "cookies", name: "attributes", run: (*suite).attributes,
		sent: "a stale session cookie, and the sign-in page",
		why:  "what the gateway sets must be Secure, HttpOnly and SameSite, for this host and all its paths",
	},
	{
		family: "cookies", name: "tossed", needs: session, run: (*suite).tossed,
		sent: "a live session beside another cookie of its name",
		why:  "a neighbouring host can plant one; which of both is meant cannot be told",
	},
	{
		family: "cookies", name: "look-alikes", needs: session, run: (*suite).lookAlikes,
		sent: "a live session under names and in forms that are almost right",
		why:  "only the exact name has the protection of its prefix",
	},
	{
		family: "cookies", name: "kept-from-application", needs: session | echo, run: (*suite).keptBack,
		sent: "a live session among other cookies",
		why:  "the application, and whoever breaks into it, has no use for it",
	},
}

// planted is a value of the right shape that nobody was given.
var planted = strings.Repeat("A", 43)

func (s *suite) madeUpCookies(v *verdict) {
	for _, value := range []string{
		planted, strings.Repeat("_", 43), planted[1:], planted + "A", "", "0", "null", "true", "../../etc/passwd", "' OR '1'='1", "%00", "%41%41", "{http.request.uuid}",
		empty, unsigned, "\"" + planted + "\"", strings.Repeat("A", 4096), "A=B", "\x01", "\xff\xfe", "é",
	} {
		s.hold(v, request{"GET", s.Protected, []string{page, "Cookie: " + s.Cookie + "=" + value}, ""})
	}
	s.hold(v, request{"GET", s.Protected, []string{page, "Cookie: " + s.Cookie}, ""}, request{"GET", s.Protected, []string{page, "Cookie: =" + s.Cookie}, ""})
}

func (s *suite) cookieFlood(v *verdict) {
	for _, line := range []string{
		"Cookie: " + strings.Repeat("a=b; ", 2000), "Cookie: " + strings.Repeat(";", 8000), "Cookie: " + strings.Repeat(s.Cookie+"=x; ", 400),
		"Cookie: " + strings.Repeat("a", 64<<10), "Cookie: " + strings.Repeat("a=b; ", 100_000), strings.Repeat("Cookie: a=b\r\n", 800) + "X: y",
	} {
		a := s.get(s.Protected, line)
		v.judge(line, a, s.held(a))
	}
	a := s.get(s.Public)
	v.judge("the public path, afterwards", a, a.status != 0 && a.status < 500)
}

func (s *suite) attributes(v *verdict) {
	seen := 0
	for _, a := range []*answer{s.get(s.Protected, "Cookie: "+s.Cookie+"="+planted), s.get(s.Login), s.post(s.Login, s.credentials(madeUp), ownSite)} {
		for _, c := range cookies(a) {
			if !strings.HasPrefix(c.Name, s.Cookie) {
				continue
			}
			seen++
			lax := c.SameSite == http.SameSiteLaxMode || c.SameSite == http.SameSiteStrictMode
			v.judge("Set-Cookie "+c.Name, a, c.HttpOnly && lax && c.Domain == "" && c.Path == "/" && (c.Secure || s.Base.Scheme == "http"))
			if !c.Secure && s.Base.Scheme == "http" {
				v.skip("%s is not Secure; over plain HTTP on this machine that is to be expected, over HTTPS it fails", c.Name)
			}
		}
	}
	if seen == 0 {
		v.skip("the gateway set no cookie")
	}
}

func (s *suite) tossed(v *verdict) {
	mine, other := s.Cookie+"="+s.Session, s.Cookie+"="+planted
	for what, lines := range map[string][]string{
		"planted first": {"Cookie: " + other + "; " + mine}, "planted last": {"Cookie: " + mine + "; " + other},
		"a line each": {"Cookie: " + mine, "Cookie: " + other}, "empty one": {"Cookie: " + s.Cookie + "=; " + mine},
		"among others": {"Cookie: a=b; " + mine + "; c=d; " + other + "; e=f"}, "three": {"Cookie: " + mine + "; " + mine + "; " + other},
	} {
		a := s.get(s.Protected, lines...)
		v.judge(what, a, s.held(a))
	}
}

func (s *suite) lookAlikes(v *verdict) {
	bare := strings.TrimPrefix(s.Cookie, "__Host-")
	mine := s.Session
	for what, line := range map[string]string{
		"upper case": strings.ToUpper(s.Cookie) + "=" + mine, "lower case of the prefix": strings.ToLower(s.Cookie[:1]) + flip(s.Cookie[1:]) + "=" + mine,
		"another prefix": "__Secure-" + bare + "=" + mine, "longer name": s.Cookie + "x=" + mine, "nameless": "=" + s.Cookie + "=" + mine,
		"no-break space": "\u00a0" + s.Cookie + "=" + mine, "en quad": "\u2000" + s.Cookie + "=" + mine, "byte order mark": "\ufeff" + s.Cookie + "=" + mine,
		"blank in front of =": s.Cookie + " =" + mine, "quoted": s.Cookie + `="` + mine + `"`, "percent-encoded name": "%5" + "f" + s.Cookie[1:] + "=" + mine,
		"percent-encoded value": s.Cookie + "=" + escape(mine[0], 1) + mine[1:], "cut": s.Cookie + "=" + mine[:len(mine)-1], "longer": s.Cookie + "=" + mine + "A",
		"comma": s.Cookie + "=" + mine + ",a=b", "old version": "$Version=1, " + s.Cookie + "=" + mine, "other case of the value": s.Cookie + "=" + flip(mine),
	} {
		a := s.get(s.Protected, "Cookie: "+line)
		v.judge(what, a, s.held(a))
	}
}

// flip exchanges upper and lower case.
func flip(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z':
			return r - 'a' + 'A'
		case 'A' <= r && r <= 'Z':
			return r - 'A' + 'a'
		}
		return r
	}, text)
}

func (s *suite) keptBack(v *verdict) {
	mine := s.Cookie + "=" + s.Session
	for what, lines := range map[string][]string{
		"alone": {"Cookie: " + mine}, "in the middle": {"Cookie: a=b; " + mine + "; c=d"}, "twice": {"Cookie: " + mine + "; " + mine}, "in two lines": {"Cookie: a=b", "Cookie: " + mine},
		"without blanks": {"Cookie: a=b;" + mine + ";c=d"}, "beside a planted one": {"Cookie: " + mine + "; " + s.Cookie + "=x"},
	} {
		a := s.get(s.Echo, lines...)
		v.judge(what, a, a.status == http.StatusOK && !strings.Contains(a.body, s.Session))
	}
}
