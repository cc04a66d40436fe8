package kibosim

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"strings"
	"time"
)

// variants are the ways to spoil a JWT, by name.
func variants() map[string]func(*Sim, *jwtDraft, time.Time) {
	return map[string]func(*Sim, *jwtDraft, time.Time){
		"alg_none":     func(_ *Sim, d *jwtDraft, _ time.Time) { d.header.Alg = "none" },
		"wrong_secret": func(_ *Sim, d *jwtDraft, _ time.Time) { d.secret = "not the secret, and quite long enough" },
		"rs256":        func(s *Sim, d *jwtDraft, _ time.Time) { d.signRS256(s.keys.current()) },
		"unknown_key":  func(s *Sim, d *jwtDraft, _ time.Time) { d.signRS256(s.keys.stranger()) },
		"no_kid":       func(_ *Sim, d *jwtDraft, _ time.Time) { d.header.Kid = "" },
		"key_confusion": func(s *Sim, d *jwtDraft, _ time.Time) {
			key := s.keys.current()
			d.header.Kid, d.secret = key.kid, publicPEM(key)
		},
		"missing_user_claims": func(_ *Sim, d *jwtDraft, _ time.Time) { d.claims.User = nil },
		"wrong_tenant":        func(_ *Sim, d *jwtDraft, _ time.Time) { d.user().TenantID = "99999" },
		"wrong_site":          func(_ *Sim, d *jwtDraft, _ time.Time) { d.user().SiteID = "99999" },
		"wrong_account":       func(_ *Sim, d *jwtDraft, _ time.Time) { d.user().AccountID = "99999" },
		"anonymous":           func(_ *Sim, d *jwtDraft, _ time.Time) { d.user().Anonymous = "1" },
		"wrong_issuer":        func(_ *Sim, d *jwtDraft, _ time.Time) { d.claims.Issuer = "https://issuer.example.com" },
		"wrong_audience":      func(_ *Sim, d *jwtDraft, _ time.Time) { d.claims.Audience = "https://audience.example.com" },
		"wrong_subject": func(_ *Sim, d *jwtDraft, _ time.Time) {
			d.claims.Subject = userIDOf("somebody.else@example.com").String()
		},
		"exp_after_inner": func(_ *Sim, d *jwtDraft, now time.Time) {
			d.claims.Expires = now.Add(time.Hour).Unix()
			d.user().Expires = now.Add(time.Minute).Format(claimTime)
		},
		"inner_past": func(_ *Sim, d *jwtDraft, now time.Time) {
			d.user().Expires = now.Add(-5 * time.Minute).Format(claimTime)
		},
		"exp_soon": func(_ *Sim, d *jwtDraft, now time.Time) { d.claims.Expires = now.Add(2 * time.Minute).Unix() },
		"exp_past": func(_ *Sim, d *jwtDraft, now time.Time) { d.claims.Expires = now.Add(-5 * time.Minute).Unix() },
		"nbf_future": func(_ *Sim, d *jwtDraft, now time.Time) {
			d.claims.NotBefore = now.Add(10 * time.Minute).Unix()
		},
		"garbage": func(_ *Sim, d *jwtDraft, _ time.Time) { d.raw = "not.a.token" },
	}
}

// user returns the user claims for editing; after missing_user_claims the
// edits go nowhere.
func (d *jwtDraft) user() *userClaims {
	if d.claims.User == nil {
		return new(userClaims)
	}
	return d.claims.User
}

func (d *jwtDraft) signRS256(key rsaKey) {
	d.header.Alg, d.header.Kid, d.key = "RS256", key.kid, key.PrivateKey
}

// publicPEM is what an attacker who knows only the public key would sign with.
func publicPEM(key rsaKey) string {
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		panic("kibosim: " + err.Error()) // RSA keys are supported
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

// vary applies variants, several if separated by commas.
func (s *Sim) vary(d *jwtDraft, list string, now time.Time) {
	if list == "" {
		return
	}
	all := variants()
	for name := range strings.SplitSeq(list, ",") {
		all[name](s, d, now)
	}
}

func checkVariant(list string) error {
	if list == "" {
		return nil
	}
	all := variants()
	for name := range strings.SplitSeq(list, ",") {
		if all[name] == nil {
			return fmt.Errorf("no variant is called %q", name)
		}
	}
	return nil
}

// Issue returns a fresh jwtAccessToken of a customer, as if fetched with a
// fresh app token, or "" for an unknown customer. The variant is "" for a good
// token or one of these, or several separated by commas ("rs256,exp_past"):
//
//	alg_none             no signature
//	wrong_secret         HS256 with another secret
//	rs256                signed with the newest key of /__sim/jwks
//	unknown_key          RS256 with a key that is never published
//	no_kid               without kid; put it behind rs256
//	key_confusion        HS256, the public RSA key (PEM) being the secret
//	missing_user_claims  no user claims at all
//	wrong_tenant, wrong_site, wrong_account, wrong_subject
//	wrong_issuer, wrong_audience
//	anonymous            user claims say "anon": "1"
//	exp_after_inner      inner exp in 1 minute, exp in an hour
//	inner_past           inner exp 5 minutes ago, exp still to come
//	exp_soon             exp in 2 minutes, inner exp later
//	exp_past             exp 5 minutes ago
//	nbf_future           nbf in 10 minutes
//	garbage              three words with dots
//
// It panics on another variant.
func (s *Sim) Issue(variant, email string) string {
	if err := checkVariant(variant); err != nil {
		panic("kibosim: " + err.Error())
	}
	customer := s.customers.find(email)
	if customer == nil {
		return ""
	}
	now := s.now()
	sw := s.switches.Load()
	return s.shopperJWT(jwtFor{
		customer: customer, session: newID(),
		appExpires: now.Add(sw.appTokenTTL()), accessTTL: sw.accessTTL(),
	}, variant, now)
}
