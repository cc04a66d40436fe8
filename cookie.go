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
// goes with the semicolon behind it, or else the one before. No byte is copied
// more than once, however often a stranger repeats our names.
func (n cookieNames) takeLine(line string, own *credentials) string {
	var kept strings.Builder
	done := 0 // line[:done] is kept or taken
	for from := 0; from < len(line); {
		to := len(line)
		if i := strings.IndexByte(line[from:], ';'); i >= 0 {
			to = from + i
		}
		switch {
		case !n.takePair(line[from:to], own):
			from = to + 1
			continue
		case to == len(line):
			return strings.TrimSuffix(behind(&kept, line[done:from]), ";")
		case from > done && kept.Len() == 0:
			kept.Grow(len(line))
			fallthrough
		case from > done:
			kept.WriteString(line[done:from])
		}
		if done = to + 1; kept.Len() == 0 && strings.HasPrefix(line[done:], " ") {
			done++ // nothing is before the next pair now
		}
		from = done
	}
	return behind(&kept, line[done:])
}

func (n cookieNames) takePair(pair string, own *credentials) bool {
	name, value, _ := strings.Cut(strings.Trim(pair, " \t"), "=")
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

// behind puts the rest behind what was kept. With nothing kept it is no copy.
func behind(kept *strings.Builder, rest string) string {
	if kept.Len() == 0 {
		return rest
	}
	kept.WriteString(rest)
	return kept.String()
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
