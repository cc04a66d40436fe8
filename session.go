package kiboauth

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net/url"
	"strings"

	"github.com/kiboauth/caddy-kibo-auth/internal/kibo"
	"github.com/kiboauth/caddy-kibo-auth/internal/redact"
	"github.com/kiboauth/caddy-kibo-auth/internal/verify"
)

// idLen is the length of a session ID in the cookie: 32 random bytes in
// unpadded base64url (OWASP ASVS 7.2.3 asks for 128 bits; these are 256).
const idLen = 43

// realmLen is the length of a realm. A realm and an ID together fill one
// SHA-256 block, so that finding a session costs one compression.
const realmLen = 12

// SessionID names a session. The value lives in the browser's cookie and
// nowhere else; stores know the session by its Key.
type SessionID struct {
	redact.Hidden

	value string
	key   Key
}

// Key is what a store keeps a session under: SHA-256 over the realm and the
// session ID, so that a listing of a store yields no usable cookie, and a
// session of one shop is not found by another that shares the store.
type Key [sha256.Size]byte

// Key returns the store's name of the session.
func (id SessionID) Key() Key { return id.key }

// newSessionID makes a fresh session ID in realm.
func newSessionID(realm string) SessionID {
	var b [32]byte
	rand.Read(b[:]) // never fails: crypto/rand ends the process instead
	id, _ := parseSessionID(realm, base64.RawURLEncoding.EncodeToString(b[:]))
	return id
}

// parseSessionID takes a cookie's value for a session ID. Whatever does not
// look like one of ours is not looked up at all.
func parseSessionID(realm, value string) (SessionID, bool) {
	if len(value) != idLen || len(realm) != realmLen {
		return SessionID{}, false
	}
	var block [realmLen + idLen]byte
	copy(block[:], realm)
	for i := range len(value) {
		c := value[i]
		if c != '-' && c != '_' && (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') {
			return SessionID{}, false
		}
		block[realmLen+i] = c
	}
	return SessionID{value: value, key: sha256.Sum256(block[:])}, true
}

// field numbers what a session knows of its customer and ticket.
type field uint8

const (
	fieldAccountID field = iota
	fieldUserID
	fieldEmail
	fieldUserName
	fieldFirstName
	fieldLastName
	fieldSegments
	fieldLocale
	fieldAccountType
	fieldTenant
	fieldSite
	fieldAssurance   // how the customer signed in; no word of Kibo's
	fieldAccessToken // from here on: secrets, never identity
	fieldRefreshToken
	fieldBearer // "Bearer " and the jwtAccessToken, ready for a header
	fieldCount

	firstSecret = fieldAccessToken
)

// fieldNames are the names of fields in `identity` lines and in
// {http.auth.user.*} placeholders.
var fieldNames = [firstSecret]string{
	"account_id", "user_id", "email", "user_name", "first_name", "last_name",
	"segments", "locale", "account_type", "tenant", "site", "assurance",
}

const bearerPrefix = "Bearer "

// Session is what a session is about: the customer, the ticket, and the verdict
// on it. It is immutable: a refresh and a new verdict replace it whole, so that
// requests read it without locks. All its text is one string, which keeps a
// million sessions cheap for the garbage collector. Times are Unix
// milliseconds; zero means none. When it was used and which version it is, is
// in its Record.
type Session struct {
	redact.Hidden

	stamp       uint64 // the verifier's stamp under which the verdict was reached, in this process
	limit       int64  // absolute limit; a refresh never moves it
	good        int64  // end of the ticket: earliest of JWT, user claims, access token
	due         int64  // when to refresh it
	refreshEnds int64  // end of the refresh token
	retryAt     int64  // no refresh before this, after one that failed
	retries     uint8  // refreshes that failed in a row
	remembered  bool   // the customer asked to be remembered: no idle limit
	stale       bool   // served past its ticket's end, since Kibo cannot refresh it; never stored
	at          [fieldCount]uint16
	text        string // realm, then the fields; at[f] is where field f ends
}

// maxToken bounds an access token and a refresh token, in bytes; a whole
// session's text stays below 64 KiB.
const maxToken = 16 << 10

// customer is what a session is made from: text by field, secrets included.
type customer [fieldCount]string

// String keeps it out of logs.
func (*customer) String() string { return redact.Mark }

// MarshalText keeps it out of JSON.
func (*customer) MarshalText() ([]byte, error) { return []byte(redact.Mark), nil }

// Format keeps it out of whatever is printed.
func (*customer) Format(f fmt.State, _ rune) { io.WriteString(f, redact.Mark) }

// pack fills the session's text. Header-bound fields are kept in the form in
// which they go into a header, so that a request does no encoding.
func (s *Session) pack(realm string, c *customer) {
	for f := range firstSecret {
		c[f] = encodeField(c[f])
	}
	s.fill(realm, c)
}

// fill puts fields together that have that form already.
func (s *Session) fill(realm string, c *customer) {
	size := len(realm)
	for _, text := range c {
		size += len(text)
	}
	var b strings.Builder
	b.Grow(size)
	b.WriteString(realm)
	for f, text := range c {
		b.WriteString(text)
		s.at[f] = uint16(b.Len())
	}
	s.text = b.String()
}

// header returns field f as it may stand in a header: visible ASCII, percent
// encoding for the rest.
func (s *Session) header(f field) string {
	from := uint16(realmLen)
	if f > 0 {
		from = s.at[f-1]
	}
	return s.text[from:s.at[f]]
}

// plain returns field f as Kibo gave it.
func (s *Session) plain(f field) string {
	text := s.header(f)
	if f >= firstSecret || !strings.Contains(text, "%") {
		return text
	}
	if raw, err := url.PathUnescape(text); err == nil {
		return raw
	}
	return text
}

// customerKey names the customer of a session in every store: realm and
// account ID. It holds no secret.
func (s *Session) customerKey() string { return s.text[:s.at[fieldAccountID]] }

// jwt returns the ticket's jwtAccessToken.
func (s *Session) jwt() string { return strings.TrimPrefix(s.header(fieldBearer), bearerPrefix) }

// AccountID is the customer's account number at Kibo.
func (s *Session) AccountID() string { return s.header(fieldAccountID) }

// ends is the moment from which there is nothing left of the session: its
// absolute limit, or the end of its refresh token, or, without one, of its ticket.
func (s *Session) ends() int64 { return min(s.limit, max(s.refreshEnds, s.good)) }

// maxFieldLen bounds what one identity header may hold.
const maxFieldLen = 1024

// encodeField makes text fit for a header (RFC 9110 §5.5): visible ASCII
// stays, everything else, blanks at the ends and the percent sign itself are
// percent-encoded, so that the upstream gets back exactly what Kibo holds.
func encodeField(text string) string {
	clean := true
	for i := range len(text) {
		if !fieldByte(text, i) {
			clean = false
			break
		}
	}
	if clean && len(text) <= maxFieldLen {
		return text
	}
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(text) {
		part := text[i : i+1]
		if !fieldByte(text, i) {
			part = string([]byte{'%', digits[text[i]>>4], digits[text[i]&15]})
		}
		if b.Len()+len(part) > maxFieldLen {
			break
		}
		b.WriteString(part)
	}
	return b.String()
}

func fieldByte(text string, i int) bool {
	c := text[i]
	if c == ' ' {
		return i > 0 && i < len(text)-1
	}
	return c > ' ' && c < 0x7f && c != '%'
}

// customerOf puts together what ticket and claims say of a customer. Claims
// carry the account, tenant and site; the account object the rest.
func customerOf(t *kibo.Ticket, claims *verify.Claims) *customer {
	c := &customer{
		fieldAccountID:    claims.AccountID,
		fieldUserID:       claims.UserID,
		fieldFirstName:    claims.FirstName,
		fieldLastName:     claims.LastName,
		fieldTenant:       claims.Tenant,
		fieldSite:         claims.Site,
		fieldAccessToken:  t.AccessToken.Reveal(),
		fieldRefreshToken: t.RefreshToken.Reveal(),
		fieldBearer:       bearerPrefix + t.JWT.Reveal(),
	}
	if a := t.Customer; a != nil {
		c[fieldEmail], c[fieldUserName] = a.Email, a.UserName
		c[fieldLocale], c[fieldAccountType] = a.Locale, a.AccountType
		c[fieldSegments] = strings.Join(a.Segments, ",")
		if a.FirstName+a.LastName != "" {
			c[fieldFirstName], c[fieldLastName] = a.FirstName, a.LastName
		}
	}
	return c
}
