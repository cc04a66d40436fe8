package verify

import (
	"encoding/base64"
	"slices"
	"strings"

	"github.com/kiboauth/caddy-kibo-auth/internal/redact"
)

// maxToken bounds what is looked at. Kibo's tokens have about 2 KiB.
const maxToken = 8 << 10

// token is a JWS in compact form (RFC 7515 §7.1), taken apart and decoded but
// not judged.
type token struct {
	redact.Hidden

	signed    string // what the signature covers
	header    []byte
	claims    []byte
	signature []byte
}

// splitToken takes a token apart. It is stricter than the libraries, which
// skip line breaks and accept loose trailing bits: one token has one spelling.
func splitToken(raw string) (*token, error) {
	if len(raw) > maxToken {
		return nil, reject("longer than 8 KiB")
	}
	head, rest, _ := strings.Cut(raw, ".")
	claims, sig, _ := strings.Cut(rest, ".")
	t := &token{signed: raw[:max(0, len(raw)-len(sig)-1)]}
	for _, s := range []struct {
		text string
		to   *[]byte
	}{{head, &t.header}, {claims, &t.claims}, {sig, &t.signature}} {
		b, err := decodeSegment(s.text)
		if err != nil {
			return nil, err
		}
		*s.to = b
	}
	return t, nil
}

// decodeSegment is base64url without padding, line breaks or set bits past
// the end (RFC 7515 §2). A fourth segment fails on its dot.
func decodeSegment(s string) ([]byte, error) {
	for i := range len(s) {
		switch c := s[i]; {
		case 'A' <= c && c <= 'Z', 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-', c == '_':
		default:
			return nil, reject("a character outside the base64url alphabet")
		}
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil || len(b) == 0 {
		return nil, reject("not three segments of strict base64url")
	}
	return b, nil
}

// header is what we read of a JOSE header: enough to choose among our own
// algorithms and keys.
type header struct {
	alg string
	kid string // empty: the token names no key
}

// readHeader accepts the algorithms given, and refuses every extension that
// would change what the signature covers or how the claims are read: crit and
// b64 (RFC 7797), zip and cty (RFC 7516), foreign types (RFC 8725 §3.11).
func readHeader(raw []byte, algs []string) (h header, err error) {
	o, err := decodeObject(raw)
	if err != nil {
		return h, err
	}
	for _, name := range []string{"crit", "b64", "zip", "cty"} {
		if _, ok := o[name]; ok {
			return h, reject("header has " + name)
		}
	}
	if typ, ok := o["typ"]; ok && !plainType(typ) {
		return h, reject("header typ")
	}
	if h.alg, _ = o["alg"].(string); !slices.Contains(algs, h.alg) {
		return h, reject("algorithm is not among the configured ones")
	}
	if kid, ok := o["kid"]; ok {
		if h.kid, _ = kid.(string); h.kid == "" {
			return h, reject("header kid")
		}
	}
	return h, nil
}

func plainType(typ any) bool {
	s, _ := typ.(string)
	return strings.EqualFold(s, "JWT") || strings.EqualFold(s, "at+jwt")
}
