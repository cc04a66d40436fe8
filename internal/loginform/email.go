package loginform

import (
	"net/mail"
	"strings"
)

const (
	maxEmail = 254 // octets, RFC 5321 §4.5.3.1.3 less the brackets
	maxLocal = 64  // octets before the @, RFC 5321 §4.5.3.1.1
)

// ValidEmail reports whether s is a plain ASCII address: one @, no quotes,
// comments, blanks or address literals, and a domain of letters, digits,
// hyphens and dots. It is deliberately stricter than RFC 5322, so that two
// spellings of one mailbox cannot be counted as two customers.
func ValidEmail(s string) bool {
	local, domain, ok := strings.Cut(s, "@")
	if !ok || len(s) > maxEmail || local == "" || len(local) > maxLocal || !validDomain(domain) {
		return false
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7F {
			return false
		}
	}
	addr, err := mail.ParseAddress(s)
	return err == nil && addr.Address == s && addr.Name == ""
}

// validDomain reports whether every label is one of a host name (RFC 1123 §2.1).
func validDomain(domain string) bool {
	for label := range strings.SplitSeq(domain, ".") {
		if label == "" || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, c := range []byte(label) {
			switch {
			case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-':
			default:
				return false
			}
		}
	}
	return true
}

// NormalEmail returns the form in which addresses are counted and compared:
// without blanks around it, in lower case.
func NormalEmail(s string) string { return strings.ToLower(strings.TrimSpace(s)) }
