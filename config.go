package kiboauth

import (
	"cmp"
	"net/http"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/kiboauth/caddy-kibo-auth/internal/redact"
)

// Login says which form posts are sign-ins, and how they are answered.
type Login struct {
	// Paths receive the shop's login posts. The first is where a customer is
	// sent to sign in. Default: /login.
	Paths []string `json:"paths,omitempty"`
	// EmailField is the name of the form field with the e-mail address, exactly
	// as the shop's form has it: login[username], ctl00$Main$UserName. Default: email.
	EmailField string `json:"email_field,omitempty"`
	// CodeField is the name of the form field with the one-time code. A post
	// with an address but no code asks for one. Default: otpCode.
	CodeField string `json:"code_field,omitempty"`
	// PasswordField is the name of the form field with the password, for
	// sign-ins by password beside those by code. Default: none, there are none.
	PasswordField string `json:"password_field,omitempty"`
	// RequireField names a field that only the login post has, for shops whose
	// other forms post to the same path. Default: none.
	RequireField string `json:"require_field,omitempty"`
	// RequireValue is the value that RequireField must have. Default: any.
	RequireValue string `json:"require_value,omitempty"`
	// Fingerprint is passed on to Kibo as the device's fingerprint: the name of
	// a form field, text with {placeholders}, or off for none. Default: a hash
	// of a random cookie that the gateway gives each browser.
	Fingerprint string `json:"fingerprint,omitempty"`
	// Region is passed on to Kibo as the customer's region: the name of a form
	// field, or text with {placeholders}. Default: none.
	Region string `json:"region,omitempty"`
	// RememberField is the name of the form field by which the customer asks to
	// be remembered. Default: none, nobody is.
	RememberField string `json:"remember_field,omitempty"`
	// ReturnTo are the names, in any case, under which a form or a query says
	// where to go after the sign-in. The first is the one the gateway writes
	// itself. Default: return_to returnUrl redirect back.
	ReturnTo []string `json:"return_to,omitempty"`
	// Success is where to go after a sign-in or a sign-out when nothing else
	// says. Default: /.
	Success string `json:"success,omitempty"`
	// Page says who draws the login form: builtin (the gateway) or upstream
	// (the shop). Default: builtin.
	Page string `json:"page,omitempty"`
	// Brand is what the built-in pages show of the shop. Default: nothing.
	Brand Brand `json:"brand,omitzero"`
}

// Logout says how a customer signs out.
type Logout struct {
	// Paths end the session of who posts to them. Default: /logout.
	Paths []string `json:"paths,omitempty"`
	// Get lets a plain link (GET) sign out too, as many old shops have it.
	// Default: false, only a POST does.
	Get bool `json:"get,omitempty"`
	// Everywhere ends all sessions of the customer, on all devices, unless the
	// sign-out says scope=this. Default: false, only the browser's own.
	Everywhere bool `json:"everywhere,omitempty"`
}

// Keys are keys of one algorithm.
type Keys struct {
	redact.Unprinted `json:"-"`

	// Algorithm is the JWS algorithm (RFC 7518), such as HS256 or RS256.
	// Default: none, it must be given.
	Algorithm string `json:"algorithm,omitempty"`
	// Keys are the secrets (hmac) or PEM public keys or certificates (key),
	// most usefully as {env.*} or {file.*} placeholders; any of them may have
	// signed. Default: none, at least one must be given.
	Keys []string `json:"keys,omitempty"`
}

// Verify says what the ticket's jwtAccessToken must be. Without keys a token
// is trusted because it came from Kibo over TLS in answer to the gateway's own
// call and never left the gateway (OpenID Connect Core §3.1.3.7); its claims
// are checked all the same.
type Verify struct {
	// HMAC checks signatures with shared secrets. Default: off.
	HMAC *Keys `json:"hmac,omitempty"`
	// Key checks signatures with public keys. Default: off.
	Key *Keys `json:"key,omitempty"`
	// JWKS checks signatures with the key set at this URL (RFC 7517).
	// Default: off.
	JWKS string `json:"jwks,omitempty"`
	// Algorithms are the JWS algorithms that may have signed; the token's own
	// word counts for nothing. Default: that of HMAC or Key; RS256, ES256,
	// ES384, ES512 and EdDSA with JWKS; without keys any of RFC 7518 and 8037,
	// since then only the name is looked at.
	Algorithms []string `json:"algorithms,omitempty"`
	// Issuer is the exact "iss" of a token. Default: https://www.kibocommerce.com.
	Issuer string `json:"issuer,omitempty"`
	// Audience is the exact "aud" of a token. Default: https://www.kibocommerce.com.
	Audience string `json:"audience,omitempty"`
	// Tenant is the Kibo tenant that a token must name. Default: any.
	Tenant string `json:"tenant,omitempty"`
	// Site is the Kibo site that a token must name. Default: any.
	Site string `json:"site,omitempty"`
	// Leeway is how far clocks may differ, at most 1m. Default: 30s.
	Leeway caddy.Duration `json:"leeway,omitempty"`
	// Bearer also admits "Authorization: Bearer <jwtAccessToken>" without a
	// session. It needs HMAC, Key or JWKS. Default: false.
	Bearer bool `json:"bearer,omitempty"`
}

// SessionConfig says how long sessions last and what their cookie is.
type SessionConfig struct {
	// Cookie is the session cookie. Default: see Cookie.
	Cookie Cookie `json:"cookie,omitzero"`
	// Lifetime is the absolute limit of a session. Default: 24h.
	Lifetime caddy.Duration `json:"lifetime,omitempty"`
	// Idle ends a session after so long without a request. Default: 1h, or
	// Lifetime if that is shorter.
	Idle caddy.Duration `json:"idle,omitempty"`
	// Remember is the absolute limit when the customer asked to be remembered;
	// such a session has no idle limit. Default: 720h (30 days), or Lifetime if
	// that is longer.
	Remember caddy.Duration `json:"remember,omitempty"`
	// Refresh is how long before its end a ticket is refreshed. Default: 3m.
	Refresh caddy.Duration `json:"refresh,omitempty"`
	// Grace is how long past its ticket's end a session is served while Kibo is
	// in trouble and cannot refresh it, at most 15m. The upstream is told by the
	// header Kibo-Stale: true. Default: 0, not at all.
	Grace caddy.Duration `json:"grace,omitempty"`
	// MaxPerCustomer is how many sessions one customer may have: a sign-in
	// beyond that ends the oldest. Default: 10.
	MaxPerCustomer int `json:"max_per_customer,omitempty"`
	// ControlHeader names the header by which the shop's answer says end,
	// end-all or refresh of the session. It never reaches the browser.
	// Default: none, the shop has no say.
	ControlHeader string `json:"control_header,omitempty"`
}

// Cookie is the session cookie: always HttpOnly, and Secure unless Insecure.
type Cookie struct {
	// Name of the cookie. Default: __Host-kibo; kibo if Insecure, __Secure-kibo
	// with a Domain or Path.
	Name string `json:"name,omitempty"`
	// Domain makes subdomains share the session. Default: none, this host only.
	Domain string `json:"domain,omitempty"`
	// Path the cookie is limited to. Default: /.
	Path string `json:"path,omitempty"`
	// SameSite is lax, strict or none. Default: lax.
	SameSite string `json:"same_site,omitempty"`
	// Insecure sends the cookie without Secure, for trials on this machine:
	// sign-ins are refused on any address that is not loopback. Default: false.
	Insecure bool `json:"insecure,omitempty"`
}

// Identity is one header that tells the upstream about the customer.
type Identity struct {
	// Header is its name. Copies that a client sends are removed on every
	// route, in every spelling that a server may take for it. Default: none.
	Header string `json:"header,omitempty"`
	// Field is what it holds: account_id, user_id, email, user_name,
	// first_name, last_name, segments, locale, account_type, tenant, site or
	// assurance (how the customer signed in: code, password, code+2fa or
	// password+2fa).
	// Characters that a header cannot hold are percent-encoded. Default: none.
	Field string `json:"field,omitempty"`
}

const (
	pageBuiltin  = "builtin"
	pageUpstream = "upstream"

	fingerprintOff = "off"

	forwardBearer     = "bearer"
	forwardUserClaims = "user_claims"
)

// setDefaults fills what was left out.
func (h *Handler) setDefaults() {
	h.AuthHost = cmp.Or(h.AuthHost, "home.mozu.com")
	h.Timeout = cmp.Or(h.Timeout, caddy.Duration(10*time.Second))
	orList(&h.Login.Paths, "/login")
	h.Login.EmailField = cmp.Or(h.Login.EmailField, "email")
	h.Login.CodeField = cmp.Or(h.Login.CodeField, "otpCode")
	orList(&h.Login.ReturnTo, "return_to", "returnUrl", "redirect", "back")
	h.Login.Success = cmp.Or(h.Login.Success, "/")
	h.Login.Page = cmp.Or(h.Login.Page, pageBuiltin)
	orList(&h.Logout.Paths, "/logout")
	h.Session.Lifetime = cmp.Or(h.Session.Lifetime, caddy.Duration(24*time.Hour))
	h.Session.Idle = cmp.Or(h.Session.Idle, min(caddy.Duration(time.Hour), h.Session.Lifetime))
	h.Session.Remember = cmp.Or(h.Session.Remember, max(caddy.Duration(30*24*time.Hour), h.Session.Lifetime))
	h.Session.Refresh = cmp.Or(h.Session.Refresh, caddy.Duration(3*time.Minute))
	h.Session.MaxPerCustomer = cmp.Or(h.Session.MaxPerCustomer, 10)
	h.Session.ControlHeader = headerName(h.Session.ControlHeader)
	h.Session.Cookie.setDefaults()
	h.Limits.setDefaults()
	h.Captcha.setDefaults()
	if h.Identity == nil {
		h.Identity = []Identity{{Header: "Kibo-Account-Id", Field: "account_id"}}
	}
}

func (c *Cookie) setDefaults() {
	switch {
	case c.Insecure:
		c.Name = cmp.Or(c.Name, "kibo")
	case c.Domain != "" || (c.Path != "" && c.Path != "/"):
		c.Name = cmp.Or(c.Name, "__Secure-kibo")
	default:
		c.Name = cmp.Or(c.Name, "__Host-kibo")
	}
	c.Path = cmp.Or(c.Path, "/")
	c.SameSite = cmp.Or(c.SameSite, "lax")
}

func orList(l *[]string, items ...string) {
	if len(*l) == 0 {
		*l = items
	}
}

// sameSite returns the cookie's attribute.
func (c *Cookie) sameSite() http.SameSite {
	switch strings.ToLower(c.SameSite) {
	case "strict":
		return http.SameSiteStrictMode
	case "none":
		return http.SameSiteNoneMode
	}
	return http.SameSiteLaxMode
}
