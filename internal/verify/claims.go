package verify

import (
	"encoding/json"
	"math"
	"strings"
	"time"
)

const (
	userClaims = "https://www.kibocommerce.com/user_claims"

	// maxAhead: a token that lives longer was not made by Kibo, whose tokens
	// live for minutes.
	maxAhead = 366 * 24 * time.Hour
	// maxDate is the first second of the year 10000.
	maxDate = 253402300800
)

// Claims is what an accepted token says. Every claim in it is exactly as the
// token has it; names are free text and may be empty.
type Claims struct {
	Subject   string // sub
	UserID    string // user_claims.uid; equals Subject
	AccountID string // user_claims b.AccountId, decimal
	Tenant    string // user_claims b.TenantId; may be empty unless configured
	Site      string // user_claims b.SiteId; may be empty unless configured
	FirstName string
	LastName  string
	SessionID string // sid; Kibo's session, not ours

	IssuedAt time.Time // zero: the token does not say
	// Expires is the earlier of exp and user_claims.exp, without leeway.
	Expires time.Time
}

// policy is what the claims are held against.
type policy struct {
	issuer, audience string
	tenant, site     string // empty: any
	leeway           time.Duration
}

func (p policy) check(c object, now time.Time) (*Claims, error) {
	if iss, _ := c["iss"].(string); iss != p.issuer {
		return nil, reject("iss")
	}
	if !hasAudience(c["aud"], p.audience) {
		return nil, reject("aud")
	}
	user, ok := c[userClaims].(object)
	if !ok {
		return nil, reject("user claims are missing")
	}
	var out Claims
	if err := p.checkTimes(&out, c, user, now); err != nil {
		return nil, err
	}
	if err := p.checkUser(&out, c, user); err != nil {
		return nil, err
	}
	return &out, nil
}

// hasAudience follows RFC 7519 §4.1.3: a string, or a list of strings.
func hasAudience(aud any, want string) bool {
	list, ok := aud.([]any)
	if !ok {
		return aud == want
	}
	found := false
	for _, a := range list {
		s, ok := a.(string)
		if !ok {
			return false
		}
		found = found || s == want
	}
	return found
}

func (p policy) checkTimes(out *Claims, c, user object, now time.Time) error {
	exp, ok := date(c["exp"])
	if !ok {
		return reject("exp is missing or no date")
	}
	if exp.After(now.Add(maxAhead)) {
		return reject("exp is too far ahead")
	}
	if inner, has := user["exp"]; has {
		t, ok := kiboDate(inner)
		if !ok {
			return reject("exp of the user claims is no date")
		}
		if t.Before(exp) {
			exp = t
		}
	}
	if !now.Before(exp.Add(p.leeway)) {
		return reject("expired")
	}
	out.Expires = exp
	return p.checkStart(out, c, now)
}

func (p policy) checkStart(out *Claims, c object, now time.Time) error {
	for _, name := range []string{"nbf", "iat"} {
		v, has := c[name]
		if !has {
			continue
		}
		t, ok := date(v)
		if !ok || t.After(now.Add(p.leeway)) {
			return reject(name + " lies ahead or is no date")
		}
		if name == "iat" {
			out.IssuedAt = t
		}
	}
	return nil
}

// checkUser reads who the customer is. Anonymous visitors have tokens too.
func (p policy) checkUser(out *Claims, c, user object) error {
	out.Subject, _ = c["sub"].(string)
	out.UserID, _ = user["uid"].(string)
	out.AccountID, _ = idText(user["b.AccountId"])
	switch {
	case !absentOr(user, "anon", "0") && user["anon"] != json.Number("0"):
		return reject("customer is anonymous")
	case !absentOr(user, "st", "Shopper"):
		return reject("not a shopper's token")
	case out.Subject == "" || out.UserID != out.Subject:
		return reject("sub is missing or is not the user")
	case !decimal(out.AccountID):
		return reject("account id is missing or no number")
	}
	return p.checkSite(out, c, user)
}

func (p policy) checkSite(out *Claims, c, user object) error {
	var tenantOK, siteOK bool
	out.Tenant, tenantOK = idText(user["b.TenantId"])
	out.Site, siteOK = idText(user["b.SiteId"])
	ok := optional(c, "sid", &out.SessionID) &&
		optional(user, "b.UserFirstName", &out.FirstName) &&
		optional(user, "b.UserLastName", &out.LastName)
	switch {
	case !ok || !tenantOK || !siteOK:
		return reject("a claim that must be text is not")
	case p.tenant != "" && out.Tenant != p.tenant:
		return reject("tenant")
	case p.site != "" && out.Site != p.site:
		return reject("site")
	}
	return nil
}

func absentOr(o object, name, want string) bool {
	v, has := o[name]
	return !has || v == want
}

// optional copies a text claim. Absence and null, which Kibo's services write
// for an unset text, leave to empty; any other kind of value is a fault.
func optional(o object, name string, to *string) bool {
	v := o[name]
	if v == nil {
		return true
	}
	var ok bool
	*to, ok = v.(string)
	return ok
}

// idText reads one of Kibo's ids: numbers as text in every token seen, but
// nothing says that they stay text. Absence and null read as empty.
func idText(v any) (id string, ok bool) {
	switch v := v.(type) {
	case nil:
		return "", true
	case string:
		return v, true
	case json.Number:
		return v.String(), decimal(v.String())
	}
	return "", false
}

// date reads a NumericDate (RFC 7519 §2).
func date(v any) (time.Time, bool) {
	n, ok := v.(json.Number)
	if !ok {
		return time.Time{}, false
	}
	f, err := n.Float64()
	if err != nil || f <= 0 || f >= maxDate {
		return time.Time{}, false
	}
	sec, frac := math.Modf(f)
	return time.Unix(int64(sec), int64(frac*1e9)).UTC(), true
}

// kiboDate reads the dates inside Kibo's own claims: ISO 8601 without a zone,
// meaning UTC. A Z is accepted, other zones are not.
func kiboDate(v any) (time.Time, bool) {
	s, _ := v.(string)
	t, err := time.Parse("2006-01-02T15:04:05", strings.TrimSuffix(s, "Z"))
	return t, err == nil
}

// decimal reports whether s is a positive number in its one usual spelling,
// so that equal ids are equal strings.
func decimal(s string) bool {
	if s == "" || len(s) > 19 || s[0] == '0' {
		return false
	}
	return strings.Trim(s, "0123456789") == ""
}
