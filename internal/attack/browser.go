package attack

import (
	"fmt"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// foreign is how requests from other sites look.
var foreign = map[string][]string{
	"cross-site":           {otherSite},
	"same-site":            {"Sec-Fetch-Site: same-site"},
	"cross-site, own name": {otherSite, "Origin: http://attack.invalid"},
	"other origin":         {"Origin: https://attack.invalid"},
	"origin null":          {"Origin: null"},
	"other Referer":        {"Referer: https://attack.invalid/account"},
}

var csrfChecks = []check{
	{
		family: "csrf", name: "sign-in", run: (*suite).signInFromElsewhere,
		sent: "posts of the sign-in form from other sites",
		why:  "a customer must not be signed in to a stranger's account",
	},
	{
		family: "csrf", name: "sign-out", run: (*suite).signOutFromElsewhere,
		sent: "posts to the sign-out path from other sites, without a session",
		why:  "no other site may sign a customer out",
	},
	{
		family: "csrf", name: "sign-out-by-image", run: (*suite).signOutByImage,
		sent: "the sign-out path as an image or a frame of another site",
		why:  "no other site may sign a customer out",
	},
	{
		family: "csrf", name: "sign-out-signed-in", needs: session, run: (*suite).signOutWithSession,
		sent: "sign-outs from other sites, with a live session",
		why:  "the session must outlive them",
	},
	{
		family: "csrf", name: "websocket", needs: session, run: (*suite).foreignSocket,
		sent: "WebSockets from other sites, with a live session",
		why:  "browsers send cookies along and ask nobody",
	},
}

// refuseForeign sends a post that works from the own site from all others.
func (s *suite) refuseForeign(v *verdict, target, body string) {
	control := s.post(target, body, ownSite)
	if control.status == http.StatusForbidden || control.status == http.StatusNotFound || control.status == http.StatusMethodNotAllowed || control.status >= 500 {
		v.skip("from the own site it is answered by %s; are the path and the names of the form's fields right?", control)
		return
	}
	for what, lines := range foreign {
		a := s.post(target, body, lines...)
		v.judge(what, a, a.status == http.StatusForbidden && !s.setsOurs(a))
	}
}

func (s *suite) signInFromElsewhere(v *verdict)  { s.refuseForeign(v, s.Login, s.credentials(madeUp)) }
func (s *suite) signOutFromElsewhere(v *verdict) { s.refuseForeign(v, s.Logout, "") }

func (s *suite) signOutByImage(v *verdict) {
	for _, kind := range []string{"image", "iframe", "script", "empty"} {
		a := s.get(s.Logout, otherSite, "Sec-Fetch-Dest: "+kind, "Sec-Fetch-Mode: no-cors")
		v.judge(kind, a, a.status == http.StatusForbidden || a.status == http.StatusMethodNotAllowed)
	}
}

func (s *suite) signOutWithSession(v *verdict) {
	for what, lines := range foreign {
		a := s.post(s.Logout, "", append(lines, s.ticket())...)
		v.judge(what, a, a.status == http.StatusForbidden)
	}
	a := s.get(s.Logout, otherSite, "Sec-Fetch-Dest: image", s.ticket())
	v.judge("image", a, a.status == http.StatusForbidden || a.status == http.StatusMethodNotAllowed)
	a = s.get(s.Protected, s.ticket())
	v.judge("the protected path, afterwards", a, !s.held(a))
}

func (s *suite) foreignSocket(v *verdict) {
	for what, lines := range foreign {
		if strings.Contains(what, "Referer") {
			continue // browsers send none with a WebSocket
		}
		all := append(append(slices.Clone(socket), s.ticket()), lines...)
		a := s.ask(request{"GET", s.Protected, all, ""})
		v.judge(what, a, a.status == http.StatusForbidden)
	}
}

var redirectChecks = []check{
	{
		family: "redirects", name: "sign-in-page", needs: ownPages, run: (*suite).redirectByPage,
		sent: "return paths that lead elsewhere to the sign-in page",
		why:  "a link to the shop must not end at a phisher's",
	},
	{
		family: "redirects", name: "sign-out", run: (*suite).redirectBySignOut,
		sent: "return paths that lead elsewhere to the sign-out path",
		why:  "a link to the shop must not end at a phisher's",
	},
	{
		family: "redirects", name: "challenge", run: (*suite).redirectByHost,
		sent: "the protected path for other hosts, and behind paths that look like hosts",
		why:  "own redirects must not be built from what a client says",
	},
}

// returning is a path with a return path under all usual names.
func returning(path, target string) string {
	query := url.Values{}
	for _, name := range []string{"returnUrl", "return_to", "redirect"} {
		query.Set(name, target)
	}
	return path + "?" + query.Encode()
}

func (s *suite) redirectByPage(v *verdict) {
	usual := s.linksAway(s.get(s.Login).body)
	for _, payload := range Redirects(s.Base.Host) {
		a := s.get(returning(s.Login, payload))
		away := slices.DeleteFunc(s.linksAway(a.body), func(l string) bool { return slices.Contains(usual, l) })
		v.judge(payload, a, len(away) == 0 && !s.leaves(a) && a.status < 500)
	}
}

func (s *suite) redirectBySignOut(v *verdict) {
	for _, payload := range Redirects(s.Base.Host) {
		a := s.post(returning(s.Logout, payload), "", ownSite)
		v.judge(payload, a, !s.leaves(a) && a.status < 500)
	}
}

func (s *suite) redirectByHost(v *verdict) {
	for _, line := range []string{"X-Forwarded-Host: attack.invalid", "X-Host: attack.invalid", "Forwarded: host=attack.invalid", "X-Forwarded-Server: attack.invalid", "X-Forwarded-Proto: javascript", "Referer: https://attack.invalid/"} {
		a := s.get(s.Protected, line)
		v.judge(line, a, !s.leaves(a) && s.held(a))
	}
	for _, target := range []string{"//attack.invalid" + s.Protected, "//attack.invalid/.." + s.Protected, `/\attack.invalid` + s.Protected, "/%2fattack.invalid" + s.Protected} {
		a := s.get(target)
		v.judge(target, a, !s.leaves(a) && !s.returnsAway(a))
	}
	a := s.one("GET " + s.Protected + " HTTP/1.1\r\nHost: attack.invalid\r\n" + page + "\r\n\r\n")
	v.judge("Host: attack.invalid", a, !s.leaves(a))
}

// leaves tells whether an answer sends a browser to another site.
func (s *suite) leaves(a *answer) bool {
	location, ok := a.header["Location"]
	return ok && (len(location) > 1 || s.away(location[0]))
}

// returnsAway tells whether the way back that a challenge offers leads away.
func (s *suite) returnsAway(a *answer) bool {
	u, err := url.Parse(a.header.Get("Location"))
	if err != nil {
		return true
	}
	for _, values := range u.Query() {
		if slices.ContainsFunc(values, s.away) {
			return true
		}
	}
	return false
}

// away tells whether a browser leaves the site by an address: it drops tabs and
// line breaks, trims blanks and controls, and takes "\" for "/" (WHATWG URL).
func (s *suite) away(address string) bool {
	address = strings.TrimFunc(address, func(r rune) bool { return r <= ' ' })
	address = strings.NewReplacer("\t", "", "\n", "", "\r", "", `\`, "/").Replace(address)
	if strings.HasPrefix(address, "///") {
		address = "//" + strings.TrimLeft(address, "/")
	}
	to, err := s.Base.Parse(address)
	if err != nil {
		return strings.HasPrefix(address, "//") || strings.Contains(address, "://")
	}
	return to.Scheme != s.Base.Scheme || to.Host != s.Base.Host || to.User != nil
}

// linked finds what leads somewhere, and fields, whose value may be a way back.
var linked = regexp.MustCompile(`(?i)\b(?:value|href|action|formaction|src|content)\s*=\s*(?:"([^"]*)"|'([^']*)')`)

// clickable finds what leads somewhere as soon as it is clicked, or by itself.
var clickable = regexp.MustCompile(`(?i)\b(?:href|action|formaction|src)\s*=\s*["']?(?:javascript|data):`)

// linksAway are the addresses of a page, in links and in fields, that lead to
// another site.
func (s *suite) linksAway(body string) []string {
	var all []string
	for _, m := range linked.FindAllStringSubmatch(body, -1) {
		if address := html.UnescapeString(m[1] + m[2]); s.away(address) {
			all = append(all, address)
		}
	}
	return all
}

var pageChecks = []check{
	{
		family: "pages", name: "headers", needs: ownPages, run: (*suite).pageHeaders,
		sent: "the sign-in page and an error page",
		why:  "no frame, no script, no guess at the type, no address told to others",
	},
	{
		family: "pages", name: "reflection", needs: ownPages, run: (*suite).reflection,
		sent: "scripts and placeholders in the address, the return path and the query",
		why:  "what a stranger writes must stay text (CWE-79)",
	},
	{
		family: "pages", name: "errors-for-scripts", run: (*suite).problem,
		sent: "the protected path as a script",
		why:  "a JSON answer must not be taken for a page, and must tell nothing of the inside",
	},
}

// lacking says what an answer of the gateway's own lacks.
func lacking(a *answer) []string {
	var all []string
	csp := a.header.Get("Content-Security-Policy")
	for what, there := range map[string]bool{
		"default-src 'none'":         strings.Contains(csp, "default-src 'none'"),
		"frame-ancestors 'none'":     strings.Contains(csp, "frame-ancestors 'none'"),
		"base-uri 'none'":            strings.Contains(csp, "base-uri 'none'"),
		"a policy without unsafe-":   !strings.Contains(csp, "unsafe-"),
		"nosniff":                    a.header.Get("X-Content-Type-Options") == "nosniff",
		"Referrer-Policy":            slices.Contains([]string{"no-referrer", "same-origin"}, a.header.Get("Referrer-Policy")),
		"Cross-Origin-Opener-Policy": a.header.Get("Cross-Origin-Opener-Policy") == "same-origin",
		"no-store":                   strings.Contains(a.header.Get("Cache-Control"), "no-store"),
		"a charset":                  strings.EqualFold(a.header.Get("Content-Type"), "text/html; charset=utf-8"),
		"freedom from scripts":       !strings.Contains(strings.ToLower(a.body), "<script"),
	} {
		if !there {
			all = append(all, what)
		}
	}
	slices.Sort(all)
	return all
}

func (s *suite) pageHeaders(v *verdict) {
	for what, a := range map[string]*answer{
		"sign-in page":    s.get(s.Login),
		"page after POST": s.post(s.Login, s.credentials(madeUp), ownSite),
		"error page":      s.post(s.Login, s.credentials(madeUp), otherSite),
	} {
		lacks := lacking(a)
		v.judge(fmt.Sprintf("%s lacks %s", what, strings.Join(lacks, ", ")), a, len(lacks) == 0)
	}
}

func (s *suite) reflection(v *verdict) {
	for _, text := range []string{
		"<script>alert(4711)</script>", `"><img src=x onerror=alert(4711)>`, `'onmouseover='alert(4711)`, "</title><svg/onload=alert(4711)>", "javascript:alert(4711)", "x{http.request.method}x", "x{env.PATH}x",
	} {
		for _, a := range []*answer{
			s.get(returning(s.Login, text)), s.get(returning(s.Login, "/"+text)), s.get(s.Login + "?kibo_auth=" + url.QueryEscape(text)),
			s.post(s.Login, s.credentials(text), ownSite), s.post(s.Login, s.credentials(text+"@attack.invalid"), ownSite),
		} {
			raw := strings.Contains(a.body, text) && strings.ContainsAny(text, `<>"'`)
			link := clickable.MatchString(a.body) && strings.HasPrefix(text, "javascript")
			filled := strings.Contains(a.body, "xGETx") || strings.Contains(a.body, "xPOSTx") || strings.Contains(a.body, "x/usr")
			v.judge(text, a, !raw && !link && !filled && a.status < 500)
		}
	}
}

func (s *suite) problem(v *verdict) {
	a := s.ask(request{"GET", s.Protected, []string{"Accept: application/json", "Sec-Fetch-Mode: cors"}, ""})
	h := a.header
	good := a.status == http.StatusUnauthorized && strings.Contains(h.Get("Content-Type"), "json") && h.Get("X-Content-Type-Options") == "nosniff" &&
		strings.Contains(h.Get("Cache-Control"), "no-store") && h.Get("Access-Control-Allow-Origin") == ""
	v.judge("GET "+s.Protected, a, good)
}
