package caddytest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/kiboauth/caddy-kibo-auth/internal/kibosim"
	"github.com/kiboauth/caddy-kibo-auth/internal/redistest"
)

// BenchmarkAdmit measures the way of a signed-in request through the gateway,
// without what Caddy does for every request anyway, over each store in turn.
func BenchmarkAdmit(b *testing.B) {
	redis := redistest.Start(b, redistest.Options{})
	stores := []struct{ name, config string }{
		{"memory", `{"backend":"memory"}`},
		{"file", fmt.Sprintf(`{"backend":"file","path":%q}`, filepath.Join(b.TempDir(), "sessions.db"))},
		{"redis", fmt.Sprintf(`{"backend":"redis","urls":[%q],"timeout":"5s"}`, redis.URL())},
	}
	for range 5 {
		for _, s := range stores {
			b.Run(s.name, func(b *testing.B) { benchmarkAdmit(b, s.config) })
		}
	}
}

func benchmarkAdmit(b *testing.B, store string) {
	gateway, session := signedInGateway(b, store)
	passed := 0
	next := caddyhttp.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) error {
		if r.Header[accountHeader] != nil {
			passed++
		}
		return nil
	})
	v := newVisit(b, session)
	w := new(discardAnswer)
	b.ReportAllocs()
	for b.Loop() {
		if err := gateway.ServeHTTP(w, v.again(), next); err != nil {
			b.Fatal(err)
		}
	}
	if passed != b.N {
		b.Fatalf("%d of %d requests passed", passed, b.N)
	}
}

// signedInGateway provisions a gateway over a store, and signs a customer in.
func signedInGateway(b *testing.B, store string) (gateway caddyhttp.MiddlewareHandler, session string) {
	b.Helper()
	mail := newMail()
	kibo := newHost(b, kibosim.New(kibosim.Options{OnCode: mail.deliver}))
	gateway = provisioned(b, fmt.Sprintf(`{"api_host":%q,"auth_host":%q,"client_id":%q,"shared_secret":%q,"secrets":[%q],"store":%s}`,
		kibo.url(), kibo.url(), kibosim.ClientID, kibosim.SharedSecret, oldSecret, store))
	pending := postTo(b, gateway, nil, url.Values{"email": {jane}})
	for _, c := range postTo(b, gateway, pending, url.Values{"otpCode": {<-mail.box(jane)}}) {
		if c.Name == sessionCookie {
			session = c.Value
		}
	}
	return gateway, session
}

// provisioned is a gateway in this process, without a server around it.
func provisioned(b *testing.B, config string) caddyhttp.MiddlewareHandler {
	b.Helper()
	ctx, err := caddy.ProvisionContext(&caddy.Config{
		StorageRaw: fmt.Appendf(nil, `{"module":"file_system","root":%q}`, b.TempDir()),
		Logging: &caddy.Logging{Logs: map[string]*caddy.CustomLog{
			"default": {BaseLog: caddy.BaseLog{WriterRaw: json.RawMessage(`{"output":"discard"}`)}},
		}},
	})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := caddy.NewContext(ctx)
	b.Cleanup(cancel)
	gateway, err := ctx.LoadModuleByID("http.handlers.kibo_auth", []byte(config))
	if err != nil {
		b.Fatal(err)
	}
	return gateway.(caddyhttp.MiddlewareHandler)
}

// postTo takes a step of a sign-in, and returns the cookies that are set.
func postTo(b *testing.B, gateway caddyhttp.MiddlewareHandler, cookies []*http.Cookie, form url.Values) []*http.Cookie {
	b.Helper()
	r := httptest.NewRequest(http.MethodPost, "/login", strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for _, c := range cookies {
		r.AddCookie(c)
	}
	w := httptest.NewRecorder()
	if err := gateway.ServeHTTP(w, caddyhttp.PrepareRequest(r, caddy.NewReplacer(), w, nil), nil); err != nil {
		b.Fatal(err)
	}
	return w.Result().Cookies()
}

// A visit is one browser's request, made as good as new for every round: what
// that costs, some 0.2 µs, is part of the figure.
type visit struct {
	request    *http.Request
	line       string
	connection []string
	fresh      caddy.Replacer // as it comes to a handler
}

func newVisit(b *testing.B, session string) *visit {
	b.Helper()
	line := "_ga=GA1.1.1234567890.1700000000; cart=8b1a9953c4611296a827abf8c47804d7; consent=analytics:1|ads:0; " +
		sessionCookie + "=" + session + "; recent=1001,1002,1003; JSESSIONID=2F1C0D8E9A7B6C5D4E3F; theme=light"
	r := httptest.NewRequest(http.MethodGet, "/account/orders", nil)
	asPage(r)
	for name, value := range map[string]string{
		"Accept-Encoding": "gzip, deflate, br, zstd", "Accept-Language": "en-US,en;q=0.5", "Connection": "keep-alive",
		"Referer": "https://shop.example.com/", "User-Agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/142.0.0.0 Safari/537.36",
	} {
		r.Header.Set(name, value)
	}
	repl := caddy.NewReplacer()
	r = caddyhttp.PrepareRequest(r, repl, httptest.NewRecorder(), nil)
	return &visit{r, line, r.Header["Connection"], *repl}
}

// again undoes what a gateway does to a request.
func (v *visit) again() *http.Request {
	delete(v.request.Header, accountHeader)
	v.request.Header["Cookie"] = append(v.request.Header["Cookie"][:0], v.line)
	v.request.Header["Connection"] = v.connection
	*v.request.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer) = v.fresh
	return v.request
}

// discardAnswer is an answer that nobody reads.
type discardAnswer struct{}

func (*discardAnswer) Header() http.Header         { return http.Header{} }
func (*discardAnswer) Write(p []byte) (int, error) { return len(p), nil }
func (*discardAnswer) WriteHeader(int)             {}
