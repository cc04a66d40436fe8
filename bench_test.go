package kiboauth

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/kiboauth/caddy-kibo-auth/internal/kibosim"
)

// browserHeader is what a browser of our days sends, cookies aside.
var browserHeader = map[string]string{
	"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8", "Accept-Encoding": "gzip, deflate, br, zstd",
	"Accept-Language": "en-US,en;q=0.5", "Cache-Control": "max-age=0", "Connection": "keep-alive", "Dnt": "1", "Priority": "u=0, i",
	"Referer": "https://shop.example.com/", "Sec-Ch-Ua": `"Chromium";v="142"`, "Sec-Ch-Ua-Mobile": "?0", "Sec-Ch-Ua-Platform": `"Linux"`,
	"Sec-Fetch-Dest": "document", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Site": "same-origin", "Sec-Fetch-User": "?1",
	"Upgrade-Insecure-Requests": "1", "User-Agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
}

const (
	cookiesBefore = "_ga=GA1.1.1234567890.1700000000; _gid=GA1.1.987654321.1700000000; cart=8b1a9953c4611296a827abf8c47804d7; locale=en-US; currency=USD; consent=analytics:1|ads:0; "
	cookiesAfter  = "; recent=1001,1002,1003; ab=checkout-b; JSESSIONID=2F1C0D8E9A7B6C5D4E3F; _fbp=fb.1.1700000000.123; theme=light; seen_banner=1"
)

// admitting returns what sends a request of one browser through a gateway that
// knows its session, and tells whether the shop learnt whose it is.
func admitting(t testing.TB, cookies func(own string) string) (ask func() bool) {
	t.Helper()
	g := newGateway(t)
	id, s := newSessionID(g.realm), testSession(g.realm, testCustomer())
	s.stamp = g.verifier.Stamp()
	if err := g.sessions.create(t.Context(), id, newRecord(s, time.Now(), time.Hour)); err != nil {
		t.Fatal(err)
	}
	known := false
	next := caddyhttp.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) error {
		known = r.Header["Kibo-Account-Id"] != nil
		return nil
	})
	visit := newVisit(t, cookies(g.cookies.session+"="+id.value))
	w := &discardAnswer{header: http.Header{}}
	return func() bool {
		known = false
		if err := g.ServeHTTP(w, visit.again(), next); err != nil {
			t.Error(err)
		}
		return known
	}
}

// benchmarkAdmit measures the way of a request through the gateway, without
// what Caddy does for every request anyway.
func benchmarkAdmit(b *testing.B, cookies func(own string) string, want bool) {
	ask := admitting(b, cookies)
	b.ReportAllocs()
	for b.Loop() {
		if ask() != want {
			b.Fatalf("the shop knows the customer: %t", !want)
		}
	}
}

// TestAdmitAllocations: the line of cookies, the passage, the header's value.
func TestAdmitAllocations(t *testing.T) {
	for name, tt := range map[string]struct {
		cookies func(own string) string
		most    float64
	}{"among others": {amongOthers, 3}, "alone": {alone, 2}} {
		ask := admitting(t, tt.cookies)
		if got := testing.AllocsPerRun(100, func() { ask() }); got > tt.most || !ask() {
			t.Errorf("%s: %v allocations, want %v", name, got, tt.most)
		}
	}
}

// Where the session's cookie stands.
func amongOthers(own string) string { return cookiesBefore + own + cookiesAfter }
func alone(own string) string       { return own }

// visit is one browser's request, made as good as new for every round: what
// that costs, some 0.2 µs, is part of the figure.
type visit struct {
	request    *http.Request
	line       string
	cookies    []string
	connection []string
	fresh      caddy.Replacer // as it comes to a handler
}

func newVisit(t testing.TB, cookies string) *visit {
	t.Helper()
	r := request(t, http.MethodGet, "/account/orders", "Cookie", cookies)
	for name, value := range browserHeader {
		r.Header.Set(name, value)
	}
	repl := caddy.NewReplacer()
	r = caddyhttp.PrepareRequest(r, repl, httptest.NewRecorder(), nil)
	return &visit{r, cookies, []string{cookies}, r.Header["Connection"], *repl}
}

// again undoes what a gateway does to a request.
func (v *visit) again() *http.Request {
	delete(v.request.Header, "Kibo-Account-Id")
	v.cookies = v.cookies[:1]
	v.cookies[0] = v.line
	v.request.Header["Cookie"] = v.cookies
	v.request.Header["Connection"] = v.connection
	*v.request.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer) = v.fresh
	return v.request
}

// discardAnswer is an answer that nobody reads.
type discardAnswer struct{ header http.Header }

func (d *discardAnswer) Header() http.Header       { return d.header }
func (*discardAnswer) Write(p []byte) (int, error) { return len(p), nil }
func (*discardAnswer) WriteHeader(int)             {}

func BenchmarkAdmit(b *testing.B) {
	benchmarkAdmit(b, amongOthers, true)
}

func BenchmarkAdmitOnlyOurCookie(b *testing.B) {
	benchmarkAdmit(b, alone, true)
}

func BenchmarkAdmitBearer(b *testing.B) {
	g := newGateway(b, func(h *Handler) {
		h.Verify = Verify{HMAC: &Keys{Algorithm: "HS256", Keys: []string{kibosim.JWTSecret}}, Bearer: true}
	})
	visit := newVisit(b, "a=b")
	token := []string{"Bearer " + g.sim.Issue("", jane)}
	w, passed := &discardAnswer{header: http.Header{}}, 0
	b.ReportAllocs()
	for b.Loop() {
		r := visit.again()
		r.Header["Authorization"] = token
		err := g.ServeHTTP(w, r, caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error {
			passed++
			return nil
		}))
		if err != nil {
			b.Fatal(err)
		}
	}
	if passed != b.N {
		b.Fatalf("%d of %d requests passed", passed, b.N)
	}
}

func BenchmarkUnknownSession(b *testing.B) {
	unknown := newSessionID(testRealm).value
	benchmarkAdmit(b, func(string) string { return "__Host-kibo=" + unknown }, false)
}
