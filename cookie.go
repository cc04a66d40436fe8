package kiboauth

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/kiboauth/caddy-kibo-auth/internal/redact"
)

// cookieNames are the cookies of a gateway: the session's, the one that keeps a
// sign-in between its steps, and the one by which a device is known again. All
// begin with the first.
type cookieNames struct{ session, login, device string }

func newCookieNames(session string) cookieNames {
	return cookieNames{session, session + "-login", session + "-device"}
}

// credentials is what a request brought for us. Two cookies of one name with
// different values are none: somebody may have planted one of them.
type credentials struct {
	redact.Hidden

	session, login, device ownCookie
	bearer                 string
}

type ownCookie struct {
	redact.Hidden

	value string   // "": none, or several
	seen  bool     // there was one at least
	torn  []string // the values, if there were several
}

func (c *ownCookie) add(value string) {
	switch {
	case !c.seen:
		c.value, c.seen = value, true
	case c.torn != nil:
		if len(c.torn) < maxTorn {
			c.torn = append(c.torn, value)
		}
	case c.value != value:
		c.torn, c.value = []string{c.value, value}, ""
	}
}

// maxTorn is how many values of one cookie are looked at when it is taken back.
const maxTorn = 4

// all are the values that a sign-out ends.
func (c *ownCookie) all() []string {
	if c.torn != nil {
		return c.torn
	}
	return []string{c.value}
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
// goes with the semicolon behind it, or else the one before. Each byte is copied
// once at most, however often a stranger repeats our names.
func (n cookieNames) takeLine(line string, own *credentials) string {
	start, end, found := n.next(line, 0, own)
	switch {
	case !found:
		return line
	case end == len(line):
		return line[:max(start-1, 0)]
	}
	first, from := start, 0
	var kept strings.Builder
	kept.Grow(len(line))
	for found {
		kept.WriteString(line[from:start])
		from = min(end+1, len(line))
		start, end, found = n.next(line, from, own)
	}
	kept.WriteString(line[from:])
	rest := kept.String()
	if from == len(line) && !strings.HasSuffix(line, ";") {
		rest = strings.TrimSuffix(rest, ";") // what it stood before is gone
	}
	if first == 0 {
		rest = strings.TrimPrefix(rest, " ")
	}
	return rest
}

// next finds the next pair of ours, line[start:end], and notes its value. It
// looks at pairs only where our name stands, which all names begin with.
func (n cookieNames) next(line string, from int, own *credentials) (start, end int, found bool) {
	for from < len(line) {
		i := strings.Index(line[from:], n.session)
		if i < 0 {
			break
		}
		start, end = from+strings.LastIndexByte(line[from:from+i], ';')+1, pairEnd(line, from+i)
		if n.takePair(line[start:end], own) {
			return start, end, true
		}
		from = end + 1
	}
	return 0, 0, false
}

// pairEnd is where the pair that begins at from ends.
func pairEnd(line string, from int) int {
	if i := strings.IndexByte(line[from:], ';'); i >= 0 {
		return from + i
	}
	return len(line)
}

func (n cookieNames) takePair(pair string, own *credentials) bool {
	name, value, _ := strings.Cut(strings.Trim(pair, " \t"), "=")
	switch name {
	case n.session:
		own.session.add(value)
	case n.login:
		own.login.add(value)
	case n.device:
		own.device.add(value)
	default:
		return false
	}
	return true
}

// filterSet drops attempts of the upstream to set one of our cookies. The name
// is Set-Cookie's in the header or in the trailers.
func (n cookieNames) filterSet(header http.Header, name string) {
	set := header[name]
	if !slices.ContainsFunc(set, n.sets) {
		return
	}
	if set = slices.DeleteFunc(slices.Clone(set), n.sets); len(set) == 0 {
		delete(header, name)
		return
	}
	header[name] = set
}

// sets tells whether a Set-Cookie makes browsers send a cookie of our name, one
// without a name too: it is sent as its bare value.
func (n cookieNames) sets(line string) bool {
	pair, _, _ := strings.Cut(line, ";")
	name, _, _ := strings.Cut(strings.TrimLeft(pair, " \t="), "=")
	name = strings.TrimRight(name, " \t")
	return strings.EqualFold(name, n.session) || strings.EqualFold(name, n.login) || strings.EqualFold(name, n.device)
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
		age = time.Until(time.UnixMilli(s.limit)).Truncate(time.Second)
	}
	http.SetCookie(w, h.Session.Cookie.cookie(h.cookies.session, id.value, age))
}

// clearCookie takes one of our cookies back.
func (h *Handler) clearCookie(w http.ResponseWriter, name string) {
	http.SetCookie(w, h.Session.Cookie.cookie(name, "", -time.Second))
}
