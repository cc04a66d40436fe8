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
func foldName(name string) string {
	var b [maxFolded]byte
	return string(fold(b[:0], name))
}

// maxFolded is longer than any reserved name.
const maxFolded = 128

// fold appends the folded name to b, as much as fits.
func fold(b []byte, name string) []byte {
	name = name[httpPrefix(name):]
	for i := 0; i < len(name) && len(b) < cap(b); i++ {
		b = append(b, foldByte(name[i]))
	}
	return b
}

// httpPrefix is the length of the prefix that CGI puts in front of headers.
func httpPrefix(name string) int {
	const prefix = "http_"
	if len(name) <= len(prefix) {
		return 0
	}
	for i := range len(prefix) {
		if foldByte(name[i]) != prefix[i] {
			return 0
		}
	}
	return len(prefix)
}

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
	r.names[folded] = struct{}{}
	r.lengths[folded[0]] |= 1 << min(len(folded), 63)
}

// has tells whether a header's name is reserved, in any spelling.
func (r *reserved) has(name string) bool {
	if name == "" {
		return false
	}
	switch first := foldByte(name[0]); {
	case first == 'k', first == 'h': // our prefix, CGI's prefix
	case r.lengths[first]&(1<<min(len(name), 63)) == 0:
		return false
	}
	var b [maxFolded]byte
	folded := fold(b[:0], name)
	if len(folded) >= len(reservedPrefix) && string(folded[:len(reservedPrefix)]) == reservedPrefix {
		return true
	}
	_, ok := r.names[string(folded)]
	return ok
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
		p.h.cookies.filterSet(p.Header()) // a hint comes before the answer, and sets cookies as well
		p.dropControl()
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
	header := p.Header()
	delete(header, "X-Vol-User-Claims")
	delete(header, "X-Vol-App-Claims")
	p.h.cookies.filterSet(header)
	said := p.dropControl()
	if p.session == nil {
		return
	}
	p.keepPrivate(header)
	p.obey(said)
}

// keepPrivate keeps caches from handing one customer's page to another.
func (p *passage) keepPrivate(header http.Header) {
	switch said := header["Cache-Control"]; {
	case p.protected && !hasDirective(said, "private", "no-store"):
		header["Cache-Control"] = []string{"private, no-store"}
	case !p.protected && len(said) == 0:
		header["Cache-Control"] = []string{"private"}
		header["Vary"] = append(header["Vary"], "Cookie")
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
