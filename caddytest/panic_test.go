package caddytest

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func init() {
	caddy.RegisterModule((*panicking)(nil))
	httpcaddyfile.RegisterHandlerDirective("panicking", func(httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
		return new(panicking), nil
	})
}

// panicking is a handler behind the gateway that panics with all it can reach.
type panicking struct{}

func (*panicking) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.panicking", New: func() caddy.Module { return new(panicking) }}
}

func (*panicking) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	switch r.URL.Path {
	case "/writer":
		panic(w)
	case "/text":
		panic(fmt.Sprintf("writer %v %+v %#v, session %x", w, w, w, w))
	case "/error":
		return caddyhttp.Error(http.StatusInternalServerError, fmt.Errorf("cannot serve %v: %+v", r.URL, w))
	}
	panic(r)
}

// TestPanicShowsNoSecret: what panics behind the gateway, with the gateway's
// own things in its hands, puts no session into the log or the answer.
func TestPanicShowsNoSecret(t *testing.T) {
	w := start(t, setup{last: "route {\n\t\tpanicking\n\t}"})
	b := w.browser()
	b.signIn(w, jane)
	cookie := b.cookies[sessionCookie]
	for _, path := range []string{"/writer", "/text", "/request", "/error"} {
		r, err := b.withoutKeepAlive().try(http.MethodGet, path, nil, asPage)
		if err == nil && (r.status != http.StatusInternalServerError || strings.Contains(r.body, cookie)) {
			t.Errorf("%s: %d, %q", path, r.status, r.body)
		}
	}
	eventually(t, "the panics are logged", func() bool { return strings.Count(readLog(t), "http: panic serving") >= 3 })
	var log strings.Builder // what Caddy itself says at DEBUG apart
	for line := range strings.Lines(readLog(t)) {
		if !strings.Contains(line, `"level":"debug"`) {
			log.WriteString(line)
		}
	}
	if !strings.Contains(log.String(), "[redacted]") {
		t.Error("nothing of the gateway's was printed: is this the right log?")
	}
	for what, secret := range map[string]string{"cookie": cookie, "cookie in hexadecimal": fmt.Sprintf("%x", cookie), "address": jane} {
		if strings.Contains(log.String(), secret) {
			t.Errorf("the log of the panic shows the %s", what)
		}
	}
}
