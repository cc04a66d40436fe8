package kiboauth

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	_ "github.com/caddyserver/caddy/v2/modules/filestorage"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/kiboauth/caddy-kibo-auth/internal/kibosim"
)

const (
	testSecret = "a secret for tests, long enough to be one"
	testHost   = "shop.example.com"
	jane       = "jane@example.com"
	john       = "john@example.com"
)

// gateway is a provisioned Handler in front of a simulated Kibo.
type gateway struct {
	*Handler
	t     testing.TB
	sim   *kibosim.Sim
	kibo  *httptest.Server
	codes chan string // what Kibo mails
	logs  *observer.ObservedLogs
	hold  atomic.Pointer[hold]
	seen  func(r *http.Request, body string) // told of each call to Kibo
}

// hold keeps calls to one of Kibo's endpoints waiting.
type hold struct {
	path          string
	arrived, goOn chan struct{}
}

// holdUp keeps calls to a path waiting until goOn is closed.
func (g *gateway) holdUp(path string) *hold {
	h := &hold{path, make(chan struct{}, 1000), make(chan struct{})}
	g.hold.Store(h)
	return h
}

// await waits for a call to arrive.
func (h *hold) await(t testing.TB) {
	t.Helper()
	await(t, h.arrived)
}

// await waits for what is to come in any case: a test that would wait for ever
// fails instead.
func await[T any](t testing.TB, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(10 * time.Second):
		t.Fatal("waited in vain")
	}
	return v
}

// comesTo polls for what happens beside a request, and tells whether it did.
func comesTo(ask func() bool) bool {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(10 * time.Second); !ask(); {
		select {
		case <-tick.C:
		case <-deadline:
			return false
		}
	}
	return true
}

func waitUntil(t testing.TB, what string, ask func() bool) {
	t.Helper()
	if !comesTo(ask) {
		t.Fatalf("it never came to this: %s", what)
	}
}

func (g *gateway) answerKibo(w http.ResponseWriter, r *http.Request) {
	if h := g.hold.Load(); h != nil && strings.HasSuffix(r.URL.Path, h.path) {
		h.arrived <- struct{}{}
		<-h.goOn
	}
	if g.seen != nil {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			g.t.Error(err)
		}
		g.seen(r, string(body))
		r.Body = io.NopCloser(bytes.NewReader(body))
	}
	g.sim.ServeHTTP(w, r)
}

// noLimits is for tests that are not about limits.
var noLimits = Limits{Off: true, Floor: -1}

// newGateway provisions a handler with the defaults, but for limits, as changed.
func newGateway(t testing.TB, change ...func(*Handler)) *gateway {
	t.Helper()
	g := &gateway{t: t, codes: make(chan string, 1000)}
	g.sim = kibosim.New(kibosim.Options{OnCode: func(_, code string) { g.codes <- code }})
	g.kibo = httptest.NewServer(http.HandlerFunc(g.answerKibo))
	t.Cleanup(g.kibo.Close)
	g.Handler = g.provision(change...)
	return g
}

// provision makes one more handler for the same Kibo, as a reload does.
func (g *gateway) provision(change ...func(*Handler)) *Handler {
	g.t.Helper()
	h := &Handler{
		APIHost: g.kibo.URL, AuthHost: g.kibo.URL, ClientID: kibosim.ClientID, SharedSecret: kibosim.SharedSecret,
		Secrets: []string{testSecret}, Limits: noLimits,
	}
	for _, c := range change {
		c(h)
	}
	ctx, cancel := caddy.NewContext(testContext(g.t))
	g.t.Cleanup(cancel)
	if err := h.Provision(ctx); err != nil {
		g.t.Fatalf("Provision: %v", err)
	}
	g.t.Cleanup(func() {
		if err := h.Cleanup(); err != nil {
			g.t.Errorf("Cleanup: %v", err)
		}
	})
	core, logs := observer.New(zapcore.DebugLevel)
	h.log, g.logs = zap.New(core), logs
	return h
}

// testContext is a Caddy without apps, with a storage of its own.
func testContext(t testing.TB) caddy.Context {
	t.Helper()
	ctx, err := caddy.ProvisionContext(&caddy.Config{
		StorageRaw: fmt.Appendf(nil, `{"module":"file_system","root":%q}`, t.TempDir()),
		Logging: &caddy.Logging{Logs: map[string]*caddy.CustomLog{
			"default": {BaseLog: caddy.BaseLog{WriterRaw: []byte(`{"output":"discard"}`)}},
		}},
	})
	if err != nil {
		t.Fatalf("ProvisionContext: %v", err)
	}
	return ctx
}

// outcome is what came of a request: the answer, and the request as the
// upstream got it, nil if it did not.
type outcome struct {
	*httptest.ResponseRecorder
	upstream *http.Request
	repl     *caddy.Replacer
}

// cookie returns what the answer makes of a cookie, nil if it leaves it alone.
func (o outcome) cookie(name string) *http.Cookie {
	for _, c := range o.Result().Cookies() {
		if c.Name == name {
			return c
		}
	}
	return nil
}

// kept is the Cookie header of a browser that keeps what the answer sets.
func (o outcome) kept() string {
	var pairs []string
	for _, c := range o.Result().Cookies() {
		if c.MaxAge >= 0 {
			pairs = append(pairs, c.Name+"="+c.Value)
		}
	}
	return strings.Join(pairs, "; ")
}

// shop answers as an upstream that has nothing to say about cookies or caches.
func shop(w http.ResponseWriter, _ *http.Request) error {
	w.WriteHeader(http.StatusOK)
	_, err := w.Write([]byte("shop"))
	return err
}

func (g *gateway) serve(r *http.Request) outcome {
	g.t.Helper()
	return g.serveTo(r, shop)
}

// serveTo sends a request through the gateway, to next behind it.
func (g *gateway) serveTo(r *http.Request, next caddyhttp.HandlerFunc) outcome {
	g.t.Helper()
	o := outcome{ResponseRecorder: httptest.NewRecorder(), repl: caddy.NewReplacer()}
	r = caddyhttp.PrepareRequest(r, o.repl, o.ResponseRecorder, nil)
	client, _, _ := net.SplitHostPort(r.RemoteAddr)
	caddyhttp.SetVar(r.Context(), caddyhttp.ClientIPVarKey, client)
	err := g.ServeHTTP(o.ResponseRecorder, r, caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		o.upstream = r
		return next(w, r)
	}))
	if err != nil {
		g.t.Errorf("%s %s: %v", r.Method, r.URL.Path, err)
	}
	return o
}

// request makes a request of a browser; header holds pairs.
func request(t testing.TB, method, target string, header ...string) *http.Request {
	t.Helper()
	ctx := context.WithValue(t.Context(), http.LocalAddrContextKey, net.Addr(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 443}))
	r := httptest.NewRequestWithContext(ctx, method, target, nil)
	r.Host = testHost
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	return r
}

// page is the header of a browser that opens a page.
func page(more ...string) []string {
	return append([]string{"Accept", "text/html,application/xhtml+xml,*/*;q=0.8", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Site", "same-origin"}, more...)
}

// post makes a form post of a browser; a header without value is taken away.
func post(t testing.TB, target string, form url.Values, header ...string) *http.Request {
	t.Helper()
	r := request(t, http.MethodPost, target, page("Content-Type", "application/x-www-form-urlencoded")...)
	body := httptest.NewRequestWithContext(t.Context(), http.MethodPost, target, strings.NewReader(form.Encode()))
	r.Body, r.ContentLength = body.Body, body.ContentLength
	for i := 0; i < len(header); i += 2 {
		if r.Header.Set(header[i], header[i+1]); header[i+1] == "" {
			r.Header.Del(header[i])
		}
	}
	return r
}

// mailed waits for the code that Kibo mails.
func (g *gateway) mailed() string {
	g.t.Helper()
	return await(g.t, g.codes)
}

// firstStep begins a sign-in and returns what the browser keeps
// and what the customer reads in the mail.
func (g *gateway) firstStep(email string, header ...string) (cookie, code string) {
	g.t.Helper()
	o := g.serve(post(g.t, "/login", url.Values{"email": {email}}, header...))
	if o.Code >= http.StatusBadRequest || o.cookie(g.cookies.login) == nil {
		g.t.Fatalf("first step: status %d, cookies %v", o.Code, o.Result().Cookies())
	}
	return o.kept(), g.mailed()
}

// signIn signs a customer in and returns the session's cookie.
func (g *gateway) signIn(email string) string {
	g.t.Helper()
	kept, code := g.firstStep(email)
	o := g.serve(post(g.t, "/login", url.Values{"email": {email}, "otpCode": {code}}, "Cookie", kept))
	c := o.cookie(g.cookies.session)
	if o.Code != http.StatusSeeOther || c == nil {
		g.t.Fatalf("second step: status %d, cookie %v", o.Code, c)
	}
	return c.Name + "=" + c.Value
}

// id is the session that a cookie stands for.
func (g *gateway) id(cookie string) SessionID {
	g.t.Helper()
	_, value, _ := strings.Cut(cookie, "=")
	id, ok := parseSessionID(g.realm, value)
	if !ok {
		g.t.Fatalf("the session ID has an unusual form")
	}
	return id
}

// live is a session with its record.
type live struct {
	*Session
	*Record
}

// session is what the store has for a cookie, nil if nothing.
func (g *gateway) session(cookie string) *live {
	g.t.Helper()
	r, err := g.sessions.ask(g.t.Context(), g.id(cookie))
	if err != nil {
		return nil
	}
	return &live{r.open, r}
}

// edit changes a session in the store, last activity included.
func (g *gateway) edit(cookie string, change func(*live)) {
	g.t.Helper()
	old := g.session(cookie)
	s, r := *old.Session, *old.Record
	r.open = &s
	change(&live{&s, &r})
	r.Version++
	if err := g.sessions.end(g.t.Context(), g.id(cookie).Key()); err != nil {
		g.t.Fatal(err)
	}
	if err := g.sessions.create(g.t.Context(), g.id(cookie), &r); err != nil {
		g.t.Fatal(err)
	}
}

// settle waits until no flight of the session is under way.
func (g *gateway) settle(cookie string) {
	key := g.id(cookie).Key()
	<-g.shared.refreshes.DoChan(string(key[:]), func() (any, error) { return nil, nil })
}

// lapse ends the session's ticket, but not its refresh token.
func lapse(s *live) { s.good, s.due = ago(time.Second), ago(time.Minute) }

// ago is a moment in a session's terms.
func ago(d time.Duration) int64 { return time.Now().Add(-d).UnixMilli() }

// faultyStore is a store that can fail, call by call.
type faultyStore struct {
	*memory
	load, create, replace, touch, remove error
	replaceFault                         func() error // decides call by call
}

func (f *faultyStore) Load(ctx context.Context, key Key) (*Record, error) {
	if f.load != nil {
		return nil, f.load
	}
	return f.memory.Load(ctx, key)
}

func (f *faultyStore) Create(ctx context.Context, key Key, r *Record) error {
	if f.create != nil {
		return f.create
	}
	return f.memory.Create(ctx, key, r)
}

func (f *faultyStore) Replace(ctx context.Context, key Key, version uint64, next *Record) error {
	if f.replaceFault != nil {
		if err := f.replaceFault(); err != nil {
			return err
		}
	}
	if f.replace != nil {
		return f.replace
	}
	return f.memory.Replace(ctx, key, version, next)
}

func (f *faultyStore) Touch(ctx context.Context, key Key, at int64) error {
	if f.touch != nil {
		return f.touch
	}
	return f.memory.Touch(ctx, key, at)
}

func (f *faultyStore) Delete(ctx context.Context, key Key) error {
	if f.remove != nil {
		return f.remove
	}
	return f.memory.Delete(ctx, key)
}

// breakStore puts a store that can fail in the place of the gateway's own.
func (g *gateway) breakStore() *faultyStore {
	f := &faultyStore{memory: g.sessions.Store.(*MemoryStore).memory}
	g.sessions.Store = f
	return f
}
