package kiboauth

import (
	"net/http"
	"slices"
	"strings"
	"time"
)

// cookieNames are the two cookies of a gateway: the session's, and the one
// that keeps a sign-in between its steps.
type cookieNames struct{ session, login string }

// credentials is what a request brought for us. Two cookies of one name with
// different values are none: somebody may have planted one of them.
type credentials struct {
	session, login ownCookie
	bearer         string
}

type ownCookie struct {
	value string
	seen  bool
	torn  bool // two values
}

func (c *ownCookie) add(value string) {
	c.torn = c.torn || (c.seen && c.value != value)
	if c.value, c.seen = value, true; c.torn {
		c.value = ""
	}
}

// take finds our cookies and takes them out of the Cookie headers; all other
// cookies stay, byte for byte. Names count only if they are exactly ours, with
// nothing unquoted, decoded or folded. The scan allocates nothing; only a
// header that had one of ours in its middle is put together anew.
func (n cookieNames) take(header http.Header, own *credentials) {
	lines := header["Cookie"]
	for i := 0; i < len(lines); {
		if lines[i] = n.takeLine(lines[i], own); lines[i] == "" {
			lines = slices.Delete(lines, i, i+1)
		} else {
			i++
		}
	}
	if len(lines) == 0 {
		delete(header, "Cookie")
	} else {
		header["Cookie"] = lines
	}
}

// takeLine handles one header line: pairs divided by semicolons. A pair of ours
// goes with the semicolon behind it, or else the one before.
func (n cookieNames) takeLine(line string, own *credentials) string {
	for from := 0; from < len(line); {
		to := pairEnd(line, from)
		switch {
		case !n.takePair(line[from:to], own):
			from = to + 1
		case to == len(line):
			return line[:max(from-1, 0)]
		case from == 0: // nothing is before the next pair now
			line = strings.TrimPrefix(line[to+1:], " ")
		default:
			return n.takeRest(line, from, to+1, own)
		}
	}
	return line
}

// takeRest goes on at from, after a pair in the middle was taken; line[:keep]
// stays. Each byte is copied once, however often a stranger repeats our names.
func (n cookieNames) takeRest(line string, keep, from int, own *credentials) string {
	var kept strings.Builder
	kept.Grow(len(line))
	kept.WriteString(line[:keep])
	for from < len(line) {
		to := pairEnd(line, from)
		switch ours := n.takePair(line[from:to], own); {
		case !ours:
			kept.WriteString(line[from:min(to+1, len(line))])
		case to == len(line):
			return strings.TrimSuffix(kept.String(), ";")
		}
		from = to + 1
	}
	return kept.String()
}

// pairEnd is where the pair that begins at from ends.
func pairEnd(line string, from int) int {
	if i := strings.IndexByte(line[from:], ';'); i >= 0 {
		return from + i
	}
	return len(line)
}

func (n cookieNames) takePair(pair string, own *credentials) bool {
	name, value, _ := strings.Cut(trimBlanks(pair), "=")
	switch name {
	case n.session:
		own.session.add(value)
	case n.login:
		own.login.add(value)
	default:
		return false
	}
	return true
}

// trimBlanks is strings.Trim(s, " \t") at a fraction of its cost, which counts
// with a dozen cookies in every request.
func trimBlanks(s string) string {
	for s != "" && (s[0] == ' ' || s[0] == '\t') {
		s = s[1:]
	}
	for s != "" && (s[len(s)-1] == ' ' || s[len(s)-1] == '\t') {
		s = s[:len(s)-1]
	}
	return s
}

// filterSet drops attempts of the upstream to set one of our cookies.
func (n cookieNames) filterSet(header http.Header) {
	set := header["Set-Cookie"]
	if !slices.ContainsFunc(set, n.sets) {
		return
	}
	if set = slices.DeleteFunc(slices.Clone(set), n.sets); len(set) == 0 {
		delete(header, "Set-Cookie")
		return
	}
	header["Set-Cookie"] = set
}

// sets tells whether a Set-Cookie makes browsers send a cookie of our name, one
// without a name too: it is sent as its bare value.
func (n cookieNames) sets(line string) bool {
	pair, _, _ := strings.Cut(line, ";")
	name, _, _ := strings.Cut(strings.TrimLeft(pair, " \t="), "=")
	name = strings.TrimRight(name, " \t")
	return strings.EqualFold(name, n.session) || strings.EqualFold(name, n.login)
}

// cookie returns one of our cookies as configured; age 0 lasts as long as the
// browser's own session, below 0 removes it.
func (c *Cookie) cookie(name, value string, age time.Duration) *http.Cookie {
	return &http.Cookie{
		Name: name, Value: value, Domain: c.Domain, Path: c.Path, MaxAge: int(age / time.Second),
		Secure: !c.Insecure, HttpOnly: true, SameSite: c.sameSite(),
	}
}

// setSession hands the browser its session. A remembered one gets a date.
func (h *Handler) setSession(w http.ResponseWriter, id SessionID, s *Session) {
	var age time.Duration
	if s.remembered {
		age = time.Until(time.Unix(0, s.ends)).Truncate(time.Second)
	}
	http.SetCookie(w, h.Session.Cookie.cookie(h.cookies.session, id.value, age))
}

// clearCookie takes one of our cookies back.
func (h *Handler) clearCookie(w http.ResponseWriter, name string) {
	http.SetCookie(w, h.Session.Cookie.cookie(name, "", -time.Second))
}
