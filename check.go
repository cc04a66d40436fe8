package kiboauth

import (
	"cmp"
	"fmt"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/kiboauth/caddy-kibo-auth/internal/kibo"
	"github.com/kiboauth/caddy-kibo-auth/internal/urlpath"
)

// problem is a mistake in the configuration: at which line, what is wrong, and
// how to mend it.
type problem struct{ line, wrong, mend string }

func (p *problem) Error() string {
	return strings.ReplaceAll(p.line, ".", " ") + ": " + p.wrong + "; " + p.mend
}

// check looks for mistakes that need neither placeholders nor the network. The
// defaults must have been set.
func (h *Handler) check() error {
	for _, check := range []func() *problem{
		h.checkKibo, h.checkKiboHeaders, h.checkLogin, h.checkPaths, h.checkVerify, h.checkTimes, h.Session.check, h.Session.Cookie.check, h.checkLimits, h.checkCaptcha, h.checkIdentity,
	} {
		if p := check(); p != nil {
			return p
		}
	}
	return nil
}

func (h *Handler) checkKibo() *problem {
	switch {
	case h.APIHost == "":
		return &problem{"kibo_auth", "the API host is missing", "write it behind the directive: kibo_auth t12345-s67890.sandbox.mozu.com { … }"}
	case h.ClientID == "" || h.SharedSecret == "":
		return &problem{"client", "the application's client ID and shared secret are missing", "add a line: client {env.KIBO_CLIENT_ID} {env.KIBO_SHARED_SECRET}"}
	case h.Timeout < 0:
		return &problem{"timeout", "is negative", "give a duration such as 10s"}
	}
	if _, err := kibo.ParseURL(h.APIHost); err != nil {
		return &problem{"kibo_auth", err.Error(), "write the API host that Kibo's Dev Center shows for the site; from the environment as {$KIBO_API_HOST}"}
	}
	if _, err := kibo.ParseURL(h.AuthHost); err != nil {
		return &problem{"auth_host", err.Error(), "write a host such as home.mozu.com"}
	}
	for _, site := range h.Sites {
		u, err := url.Parse(site)
		if err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") || site != u.Scheme+"://"+u.Host {
			return &problem{"site", fmt.Sprintf("%q is not an origin", site), "write scheme and host only: https://shop.example.com"}
		}
	}
	return nil
}

func (h *Handler) checkKiboHeaders() *problem {
	for name, value := range h.KiboHeaders {
		if err := kibo.CheckHeader(http.Header{name: {value}}); err != nil {
			return &problem{"kibo_header", err.Error(), "write name and value as Kibo documents them: kibo_header x-vol-site 67890"}
		}
	}
	return nil
}

// checkPaths looks at the patterns of both lists.
func (h *Handler) checkPaths() *problem {
	if _, err := urlpath.NewRules(h.Protect, nil); err != nil {
		return &problem{"protect", err.Error(), "paths are written like /account/* or *.css"}
	}
	if _, err := urlpath.NewRules(nil, h.Public); err != nil {
		return &problem{"public", err.Error(), "paths are written like /assets/* or *.css"}
	}
	return nil
}

func (h *Handler) checkLogin() *problem {
	if h.Login.Page != pageBuiltin && h.Login.Page != pageUpstream {
		return &problem{"login.page", fmt.Sprintf("%q is not known", h.Login.Page), "write builtin (the gateway draws the form) or upstream (the shop does)"}
	}
	for _, named := range []struct {
		line  string
		paths []string
	}{{"login", h.Login.Paths}, {"logout", h.Logout.Paths}, {"login.success", []string{h.Login.Success}}} {
		for _, path := range named.paths {
			if !strings.HasPrefix(path, "/") || strings.ContainsAny(path, "?#*\\") || strings.HasPrefix(path, "//") {
				return &problem{named.line, fmt.Sprintf("%q is not a path of this site", path), "write one like /login, without wildcard, query or host"}
			}
		}
	}
	if p := slices.IndexFunc(h.Login.Paths, func(p string) bool { return slices.Contains(h.Logout.Paths, p) }); p >= 0 {
		return &problem{"logout", fmt.Sprintf("%q is also a login path", h.Login.Paths[p]), "give each its own path"}
	}
	if h.Login.EmailField == h.Login.CodeField {
		return &problem{"login.fields", "address and code are the same field", "name two fields of the shop's form: fields email otpCode"}
	}
	switch h.Login.PasswordField {
	case "":
	case h.Login.EmailField:
		return &problem{"login.password", fmt.Sprintf("%q is the field of the address", h.Login.PasswordField), "name the form's password field"}
	case h.Login.CodeField:
		return &problem{"login.password", fmt.Sprintf("%q is the field of the code too, and a password in it would be taken for a code", h.Login.PasswordField), "name another field for the code, which the form must have: fields email otpCode"}
	}
	if err := h.Login.Brand.check(); err != nil {
		return &problem{"login.brand", err.Error(), "see the brand block in docs/configuration.md"}
	}
	return nil
}

func (h *Handler) checkVerify() *problem {
	v := &h.Verify
	modes := 0
	for _, on := range []bool{v.HMAC != nil, v.Key != nil, v.JWKS != ""} {
		if on {
			modes++
		}
	}
	symmetric := slices.ContainsFunc(v.Algorithms, func(a string) bool { return strings.HasPrefix(strings.ToUpper(a), "HS") })
	switch {
	case symmetric && (v.JWKS != "" || v.Key != nil), v.HMAC != nil && modes > 1:
		return &problem{"verify", "a symmetric algorithm beside public keys lets whoever knows a public key sign tokens", "use hmac alone, or key or jwks with RS, PS, ES or EdDSA algorithms"}
	case modes > 1:
		return &problem{"verify", "two sources of keys", "keep one of hmac, key and jwks"}
	case v.Bearer && modes == 0:
		return &problem{"verify.bearer", "a token that a client brings can only be trusted by its signature, and no key is configured", "add hmac, key or jwks, or take bearer away"}
	case v.Leeway < 0 || time.Duration(v.Leeway) > time.Minute:
		return &problem{"verify.leeway", fmt.Sprintf("%s is not between 0 and 1m", time.Duration(v.Leeway)), "30s is enough for clocks that are kept right"}
	}
	if keys := cmp.Or(v.HMAC, v.Key); keys != nil { // the rest shows when they have been resolved
		if keys.Algorithm == "" || len(keys.Keys) == 0 {
			return &problem{v.line(), "has no keys", "write the algorithm and at least one key behind it"}
		}
		return nil
	}
	config, err := v.config()
	if err == nil {
		err = config.Check()
	}
	if err != nil {
		return &problem{v.line(), err.Error(), seeVerify}
	}
	return nil
}

const seeVerify = "see the verify block in docs/configuration.md"

// line names the line whose keys are used.
func (v *Verify) line() string {
	switch {
	case v.HMAC != nil:
		return "verify.hmac"
	case v.Key != nil:
		return "verify.key"
	case v.JWKS != "":
		return "verify.jwks"
	}
	return "verify"
}

// maxGrace bounds how long a session is served without Kibo's consent.
const maxGrace = 15 * time.Minute

func (h *Handler) checkTimes() *problem {
	s := &h.Session
	for _, t := range []struct {
		line string
		caddy.Duration
	}{ // the lifetime first: defaults of the others follow it
		{"session.lifetime", s.Lifetime},
		{"session.idle", s.Idle},
		{"session.remember", s.Remember},
		{"session.refresh", s.Refresh},
		{"session.grace", s.Grace},
	} {
		if t.Duration < 0 {
			return &problem{t.line, "is negative", "give a duration such as 1h"}
		}
	}
	switch {
	case time.Duration(s.Grace) > maxGrace:
		return &problem{"session.grace", fmt.Sprintf("%s is longer than %s", time.Duration(s.Grace), maxGrace), "a customer whom Kibo may have locked meanwhile would stay signed in for so long; give 15m or less"}
	case s.Idle > s.Lifetime:
		return &problem{"session.idle", fmt.Sprintf("%s is longer than the lifetime of %s and would never end a session", time.Duration(s.Idle), time.Duration(s.Lifetime)), "make idle shorter or lifetime longer"}
	case s.Remember < s.Lifetime:
		return &problem{"session.remember", fmt.Sprintf("%s is shorter than the lifetime of %s", time.Duration(s.Remember), time.Duration(s.Lifetime)), "make remember longer or lifetime shorter"}
	}
	return nil
}

func (s *SessionConfig) check() *problem {
	name := foldName(s.ControlHeader)
	switch {
	case s.MaxPerCustomer < 0:
		return &problem{"session.max_per_customer", "is negative", "give the number of sessions that a customer may have"}
	case s.ControlHeader == "":
		return nil
	case !validToken(s.ControlHeader):
		return &problem{"session.control", fmt.Sprintf("%q cannot name a header", s.ControlHeader), "write one like Kibo-Session"}
	case slices.Contains(foreignHeaders, name), slices.Contains(answerHeaders, name), strings.HasPrefix(name, "access_control_"), strings.HasPrefix(name, "content_"):
		return &problem{"session.control", fmt.Sprintf("%s has a meaning of its own in HTTP", s.ControlHeader), "choose another name, such as Kibo-Session"}
	}
	return nil
}

func (c *Cookie) check() *problem {
	host, secure := strings.HasPrefix(c.Name, "__Host-"), strings.HasPrefix(c.Name, "__Secure-")
	switch {
	case !validToken(c.Name):
		return &problem{"session.cookie", fmt.Sprintf("%q cannot name a cookie", c.Name), "use letters, digits, - and _"}
	case host && c.Domain != "":
		return &problem{"session.cookie", "browsers refuse a __Host- cookie with a domain", "name it __Secure-kibo, or take the domain away"}
	case host && c.Path != "/":
		return &problem{"session.cookie", "browsers refuse a __Host- cookie with a path other than /", "name it __Secure-kibo, or take the path away"}
	case (host || secure) && c.Insecure:
		return &problem{"session.cookie", "browsers refuse a __Host- or __Secure- cookie without Secure", "take insecure away, or name the cookie kibo"}
	case !slices.Contains([]string{"lax", "strict", "none"}, strings.ToLower(c.SameSite)):
		return &problem{"session.cookie", fmt.Sprintf("same_site %q is not known", c.SameSite), "write lax, strict or none"}
	case strings.EqualFold(c.SameSite, "none") && c.Insecure:
		return &problem{"session.cookie", "browsers refuse SameSite=None without Secure", "take insecure away, or use same_site lax"}
	case !strings.HasPrefix(c.Path, "/") || strings.ContainsAny(c.Path, "; \t\r\n"):
		return &problem{"session.cookie", fmt.Sprintf("%q is no path for a cookie", c.Path), "write one like /shop"}
	case strings.ContainsAny(c.Domain, "; :/*\t\r\n"):
		return &problem{"session.cookie", fmt.Sprintf("%q is no domain for a cookie", c.Domain), "write one like example.com"}
	}
	return nil
}

// maxIdentity bounds the identity headers of one request, forwarded tokens
// included; each costs every request one to three per cent.
const maxIdentity = 14

func (h *Handler) checkIdentity() *problem {
	seen := map[string]bool{}
	for _, id := range h.Identity {
		name := foldName(id.Header)
		switch {
		case !validToken(id.Header), name == "":
			return &problem{"identity", fmt.Sprintf("%q cannot name a header", id.Header), "write one like Kibo-Account-Id"}
		case slices.Contains(foreignHeaders, name):
			return &problem{"identity", fmt.Sprintf("%s has a meaning of its own in HTTP", id.Header), "choose another name, such as Kibo-Account-Id"}
		case seen[name]:
			return &problem{"identity", fmt.Sprintf("%s is set twice", id.Header), "give each header one field"}
		case !slices.Contains(fieldNames[:], id.Field):
			return &problem{"identity", fmt.Sprintf("the field %q is not known%s", id.Field, didYouMean(id.Field, fieldNames[:])), "choose one of " + strings.Join(fieldNames[:], ", ")}
		}
		seen[name] = true
	}
	for _, what := range h.Forward {
		if what != forwardBearer && what != forwardUserClaims {
			return &problem{"forward", fmt.Sprintf("%q cannot be forwarded", what), "choose bearer or user_claims"}
		}
	}
	if n := len(h.Identity) + len(h.Forward); n > maxIdentity {
		return &problem{"identity", fmt.Sprintf("%d headers are too many", n), fmt.Sprintf("keep what the shop reads, at most %d", maxIdentity)}
	}
	return nil
}

// foreignHeaders belong to HTTP, to Caddy or to the browser, and cannot carry
// identity without breaking something.
var foreignHeaders = []string{
	"accept", "accept_encoding", "authorization", "cache_control", "connection", "content_encoding", "content_length",
	"content_type", "cookie", "date", "expect", "forwarded", "host", "keep_alive", "origin", "proxy", "proxy_authorization",
	"proxy_connection", "referer", "te", "trailer", "transfer_encoding", "upgrade", "user_agent", "via",
	"x_forwarded_for", "x_forwarded_host", "x_forwarded_proto",
}

// answerHeaders are more of that kind, in answers.
var answerHeaders = []string{
	"accept_ranges", "age", "allow", "alt_svc", "clear_site_data", "etag", "expires", "last_modified", "link", "location",
	"nel", "permissions_policy", "pragma", "proxy_authenticate", "proxy_status", "referrer_policy", "refresh", "report_to",
	"reporting_endpoints", "retry_after", "server", "server_timing", "set_cookie", "sourcemap", "status",
	"strict_transport_security", "timing_allow_origin", "vary", "warning", "www_authenticate",
	"x_accel_redirect", "x_content_type_options", "x_frame_options", "x_sendfile", "x_xss_protection",
	"cross_origin_embedder_policy", "cross_origin_opener_policy", "cross_origin_resource_policy",
}

// validToken tells whether s is a token of RFC 9110 §5.6.2.
func validToken(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(c rune) bool {
		return c <= ' ' || c >= 0x7f || strings.ContainsRune(`()<>@,;:\"/[]?={}`, c)
	})
}

// headerName is the spelling under which a header stands in http.Header.
func headerName(name string) string { return textproto.CanonicalMIMEHeaderKey(name) }
