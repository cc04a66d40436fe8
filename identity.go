package kiboauth

import (
	"context"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"golang.org/x/net/http/httpguts"

	"github.com/kiboauth/caddy-kibo-auth/internal/redact"
)

// foldName is a header's name as a CGI-like server may read it: letters in one
// case, everything else that is not a digit an underscore, HTTP_ in front of
// it or not. PHP takes Kibo-Account-Id, kibo_account.id and the rest for one.
// Separators that are doubled or stand at an end count for nothing, as in
// frameworks that make names of their own out of headers.
func foldName(name string) string {
	var b [maxFolded]byte
	return strings.TrimSuffix(string(fold(b[:0], name)), "_")
}

// maxFolded is longer than any reserved name.
const maxFolded = 128

// fold appends the folded name to b, as much as fits. An underscore at its end
// stays, since it makes the difference between a name and a prefix.
func fold(b []byte, name string) []byte {
	for i := 0; i < len(name) && len(b) < cap(b); i++ {
		c := foldByte(name[i])
		if string(b) == httpPrefix {
			b = b[:0]
		}
		if c != '_' || len(b) > 0 && b[len(b)-1] != '_' {
			b = append(b, c)
		}
	}
	return b
}

// httpPrefix is what CGI puts in front of headers (RFC 3875 §4.1.18).
const httpPrefix = "http_"

func foldByte(c byte) byte {
	switch {
	case 'a' <= c && c <= 'z', '0' <= c && c <= '9':
		return c
	case 'A' <= c && c <= 'Z':
		return c | 0x20
	}
	return '_'
}

// reservedPrefix is ours whatever follows it.
const reservedPrefix = "kibo_"

// reservedAlways are names that no client may send on: they claim an identity,
// or make some servers answer for another URL.
var reservedAlways = []string{
	"remote_user", "x_remote_user", "x_vol_user_claims", "x_vol_app_claims", "x_vol_exclude_user_claims",
	"x_original_url", "x_rewrite_url",
}

// reserved are the header names that only the gateway may set, folded. Most
// names of a request are let through after one look at a table.
type reserved struct {
	names   map[string]struct{}
	lengths [256]uint64 // by first letter: bit n is set if a name of n letters begins with it
	bearer  bool        // Authorization is ours
}

func newReserved(headers []boundHeader) reserved {
	r := reserved{names: map[string]struct{}{}}
	for _, name := range reservedAlways {
		r.add(name)
	}
	for _, h := range headers {
		r.add(foldName(h.name))
		r.bearer = r.bearer || h.field == fieldBearer
	}
	return r
}

func (r *reserved) add(folded string) {
	if folded == "" {
		return // nothing but separators, which nobody takes for a name
	}
	r.names[folded] = struct{}{}
	r.lengths[folded[0]] |= 1 << min(len(folded), 63)
}

// has tells whether a header's name is reserved, in any spelling.
func (r *reserved) has(name string) bool {
	if name == "" {
		return false
	}
	switch first := foldByte(name[0]); {
	case first == 'k', first == 'h', first == '_': // our prefix, CGI's, or anybody's
	case r.lengths[first] == 0, r.lengths[first]&(1<<min(len(name), 63)) == 0 && !padded(name):
		return false
	}
	var b [maxFolded]byte
	folded := fold(b[:0], name)
	if len(folded) >= len(reservedPrefix) && string(folded[:len(reservedPrefix)]) == reservedPrefix {
		return true
	}
	if n := len(folded); n > 0 && folded[n-1] == '_' {
		folded = folded[:n-1]
	}
	_, ok := r.names[string(folded)]
	return ok
}

// padded tells whether a name has two separators in a row, or one at its end.
func padded(name string) bool {
	was := false
	for i := range len(name) {
		is := foldByte(name[i]) == '_'
		if is && was {
			return true
		}
		was = is
	}
	return was
}

// strip makes sure that only the gateway speaks for the customer: it removes
// whatever a client sent under a reserved name, rewrites Connection, which can
// make a proxy drop our headers, drops trailers, which come after them, and
// takes our cookies, which are nobody else's business, out of the request.
func (h *Handler) strip(r *http.Request) (own credentials) {
	for name, values := range r.Header {
		if name == "Authorization" {
			token, isBearer := bearerToken(values)
			if own.bearer = token; !isBearer && !h.reserved.bearer {
				continue // another scheme, of the upstream's own
			}
		} else if !h.reserved.has(name) {
			continue
		}
		delete(r.Header, name)
	}
	if connection, ok := r.Header["Connection"]; ok {
		if r.Header["Upgrade"] != nil && httpguts.HeaderValuesContainsToken(connection, "upgrade") {
			r.Header["Connection"] = []string{"Upgrade"}
		} else {
			delete(r.Header, "Connection")
		}
	}
	r.Trailer = nil
	delete(r.Header, "Trailer")
	h.cookies.take(r.Header, &own)
	return own
}

// bearerToken looks for a token in Authorization (RFC 6750 §2.1). Several such
// headers are removed like one, but count for nothing.
func bearerToken(values []string) (token string, found bool) {
	for _, v := range values {
		if len(v) >= len(bearerPrefix) && strings.EqualFold(v[:len(bearerPrefix)], bearerPrefix) {
			token, found = v[len(bearerPrefix):], true
		}
	}
	if len(values) > 1 {
		token = ""
	}
	return token, found
}

// passage accompanies a request to the upstream: it holds the identity that
// goes there, watches over the answer, and is the request's place in the list
// of those under way. One allocation holds it all.
type passage struct {
	redact.Hidden
	caddyhttp.ResponseWriterWrapper
	h         *Handler
	session   *Session  // nil: nobody
	id        SessionID // empty: nobody, or a client's own token
	ctx       context.Context
	cancel    context.CancelFunc // where the context is the passage's own, as with HTTP/3
	major     uint8              // of the HTTP version
	protected bool
	cleaned   bool

	// The list is guarded by its lock. Beside the flags above, these take no room.
	looks      uint8 // so many looks pass the request over
	cut        bool
	prev, next *passage

	values [maxIdentity]string
}

// identify tells the upstream, and the rest of Caddy, who is asking.
func (p *passage) identify(r *http.Request) {
	for i, header := range p.h.headers {
		if p.values[i] = p.session.header(header.field); p.values[i] != "" {
			r.Header[header.name] = p.values[i : i+1 : i+1]
		}
	}
	if p.session.stale {
		r.Header[staleHeader] = []string{"true"}
	}
	repl := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	repl.DeleteByPrefix(userPrefix) // another handler's, such as basic_auth
	repl.Map(p.placeholder)
}

// staleHeader tells the upstream that a session is served past the end of its
// ticket: Kibo could not be asked whether the customer is still welcome.
const staleHeader = "Kibo-Stale"

// nobody makes sure that no handler before us is taken for the customer.
func nobody(r *http.Request) {
	repl := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	repl.DeleteByPrefix(userPrefix)
	repl.Map(emptyUser)
}

// emptyUser answers {http.auth.user.*} where there is nobody. Caddy leaves
// unknown placeholders standing, and the upstream would take the text for one.
func emptyUser(key string) (any, bool) {
	name, ok := strings.CutPrefix(key, userPrefix)
	return "", ok && (name == "id" || name == "stale" || slices.Contains(fieldNames[:], name))
}

const userPrefix = "http.auth.user."

// placeholder answers {http.auth.user.*}. {http.auth.user.id}, which becomes
// REMOTE_USER and the access log's user_id, is the account ID.
func (p *passage) placeholder(key string) (any, bool) {
	name, ok := strings.CutPrefix(key, userPrefix)
	if !ok {
		return nil, false
	}
	switch name {
	case "id":
		return p.session.AccountID(), true
	case "stale":
		return p.session.stale, true
	}
	for f, known := range fieldNames {
		if known == name {
			return p.session.plain(field(f)), true
		}
	}
	return nil, false
}

// WriteHeader implements http.ResponseWriter.
func (p *passage) WriteHeader(status int) {
	if status >= 200 || status == http.StatusSwitchingProtocols {
		p.clean()
	} else {
		p.drop() // a hint comes before the answer, and sets cookies as well
	}
	p.ResponseWriterWrapper.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (p *passage) Write(b []byte) (int, error) {
	p.clean()
	if err := p.over(); err != nil {
		return 0, err
	}
	return p.ResponseWriterWrapper.Write(b)
}

// ReadFrom implements io.ReaderFrom, which io.Copy prefers to Write.
func (p *passage) ReadFrom(r io.Reader) (int64, error) {
	p.clean()
	if p.cancel != nil {
		r = &untilOver{Reader: r, p: p}
	}
	return p.ResponseWriterWrapper.ReadFrom(r)
}

// FlushError lets http.ResponseController flush.
func (p *passage) FlushError() error {
	p.clean()
	return http.NewResponseController(p.ResponseWriterWrapper.ResponseWriter).Flush()
}

// clean takes out of an answer what is not the upstream's to say, and does what
// it says to us.
func (p *passage) clean() {
	if p.cleaned {
		return
	}
	p.cleaned = true
	said := p.drop()
	if p.session == nil {
		return
	}
	p.keepPrivate(p.Header())
	p.obey(said)
}

// drop takes what is not the upstream's to say out of what is known by now of
// its answer, out of trailers too, and returns its word on the session.
func (p *passage) drop() []string {
	header := p.Header()
	for _, name := range [...]string{
		"X-Vol-User-Claims", "X-Vol-App-Claims", http.TrailerPrefix + "X-Vol-User-Claims", http.TrailerPrefix + "X-Vol-App-Claims",
	} {
		delete(header, name)
	}
	p.h.cookies.filterSet(header, "Set-Cookie")
	p.h.cookies.filterSet(header, http.TrailerPrefix+"Set-Cookie")
	return p.dropControl()
}

// keepPrivate keeps caches from handing one customer's page to another.
func (p *passage) keepPrivate(header http.Header) {
	said := header["Cache-Control"]
	switch {
	case p.protected:
		dropTargeted(header)
		// With must-understand a cache may overlook no-store (RFC 9111 §5.2.2.3).
		if !hasDirective(said, "private", "no-store") || hasDirective(said, "must-understand") {
			header["Cache-Control"] = []string{"private, no-store"}
		}
	case len(said) == 0:
		header["Cache-Control"] = []string{"private"}
		header["Vary"] = append(header["Vary"], "Cookie")
	}
}

// dropTargeted takes out what is said to some shared caches alone, and what they
// then heed instead of Cache-Control: RFC 9213 with the names that CDNs have
// made after its pattern, the Edge Architecture Specification that Varnish
// follows, and Akamai's and nginx's own.
func dropTargeted(header http.Header) {
	for name := range header {
		switch name {
		case "Surrogate-Control", "Edge-Control", "X-Accel-Expires":
			delete(header, name)
		default:
			if strings.HasSuffix(name, "-Cache-Control") {
				delete(header, name)
			}
		}
	}
}

// hasDirective tells whether a Cache-Control header has one of the directives.
func hasDirective(values []string, directives ...string) bool {
	for _, d := range directives {
		if httpguts.HeaderValuesContainsToken(values, d) {
			return true
		}
	}
	return false
}
