package kiboauth

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
)

// quiet keeps the query of a request to a login path out of the access log if
// it has a field of the login form: by a mistake of the shop's form, or of
// whoever links here, a code or an address stands in the URL. It is never used.
// Caddy has noted the URL before any handler sees the request, so that the whole
// line must go; one of our own, without the query, takes its place.
func (h *Handler) quiet(r *http.Request) {
	original := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request)
	if !h.tells(r.URL.RawQuery) && !h.tells(original.URL.RawQuery) && !h.tells(r.Header.Get("Referer")) {
		return
	}
	caddyhttp.SetVar(r.Context(), caddyhttp.LogSkipVar, true)
	h.log.Warn("a URL has fields of the login form in it; the access log's line is left out",
		zap.String("method", r.Method), zap.String("host", r.Host), zap.String("path", r.URL.Path), zap.String("client_ip", clientIP(r)))
}

// tells finds the name of a field that holds a credential, or the address, in
// any case and however often it is percent-encoded within reason. A longer name
// that ends in it counts as well.
func (h *Handler) tells(query string) bool {
	if !strings.ContainsAny(query, "=%") {
		return false
	}
	query = strings.ToLower(decoded(decoded(query)))
	for _, name := range []string{h.Login.EmailField, h.Login.CodeField, h.Login.PasswordField} {
		if name != "" && strings.Contains(query, strings.ToLower(name)+"=") {
			return true
		}
	}
	return false
}

// decoded undoes percent-encoding where there is some, and leaves the rest.
func decoded(text string) string {
	if whole, err := url.QueryUnescape(text); err == nil {
		return whole
	}
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if i+2 < len(text) {
			if one, err := url.QueryUnescape(text[i : i+3]); err == nil && text[i] == '%' {
				b.WriteString(one)
				i += 2
				continue
			}
		}
		b.WriteByte(text[i])
	}
	return b.String()
}
