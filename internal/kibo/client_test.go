package kibo

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kiboauth/caddy-kibo-auth/internal/redact"
)

const (
	ticketJSON = `{"accessToken":"acc+/=","accessTokenExpiration":"2026-01-02T03:04:05.1234567Z",` +
		`"refreshToken":"0123456789abcdef","refreshTokenExpiration":"2026-01-03T03:04:05Z","jwtAccessToken":"a.b.c",` +
		`"userId":"f00d","requires2FA":false,"customerAccount":{"id":1001,"emailAddress":"ann@example.com"}}`
	grantJSON   = `{"access_token":"app1","token_type":"bearer","expires_in":3600,"refresh_token":null}`
	refusedJSON = `{"items":[{"applicationName":"ReverseProxy","errorCode":"UNAUTHORIZED","message":"secret text"}]}`

	oauthPath   = "/api/platform/applications/authtickets/oauth"
	requestPath = "/api/commerce/customer/authtickets/otp/request"
	authPath    = "/api/commerce/customer/authtickets/otp/auth"
	secondPath  = "/api/commerce/customer/authtickets/2fa/auth"
	againPath   = "/api/commerce/customer/authtickets/2fa/request"
	loginPath   = "/api/commerce/customer/authtickets"
	refreshPath = "/api/commerce/customer/authtickets/refresh"
)

// A fake answers for Kibo: one handler per path, and counts.
type fake struct {
	mu     sync.Mutex
	routes map[string]http.HandlerFunc
	counts map[string]int
}

func newFake() *fake {
	f := &fake{routes: make(map[string]http.HandlerFunc), counts: make(map[string]int)}
	f.on(oauthPath, say(200, grantJSON))
	f.on(requestPath, say(200, ""))
	f.on(againPath, say(200, ""))
	for _, path := range []string{authPath, secondPath, refreshPath, loginPath} {
		f.on(path, say(200, ticketJSON))
	}
	return f
}

func (f *fake) on(path string, h http.HandlerFunc) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.routes[path] = h
}

func (f *fake) count(path string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.counts[path]
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.counts[r.URL.Path]++
	h := f.routes[r.URL.Path]
	f.mu.Unlock()
	if h == nil {
		http.NotFound(w, r)
		return
	}
	h(w, r)
}

// RoundTrip makes a fake a transport without a network, for synctest bubbles.
// A handler that never answers is given up with the request's context.
func (f *fake) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.ServeHTTP(w, r)
	}()
	select {
	case <-done:
		return w.Result(), nil
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
}

func say(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Vol-Correlation", "00ff00ff")
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
}

func hang(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

// inTurn answers with one handler after the other, and then with the last.
func inTurn(handlers ...http.HandlerFunc) http.HandlerFunc {
	var mu sync.Mutex
	return func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		h := handlers[0]
		if len(handlers) > 1 {
			handlers = handlers[1:]
		}
		mu.Unlock()
		h(w, r)
	}
}

func testConfig(url string) Config {
	return Config{
		APIURL: url, AuthURL: url,
		Credentials: func() (string, string, error) { return "demo.app", "shh-secret", nil },
	}
}

// overNetwork returns a client that talks to h through a real socket.
func overNetwork(t *testing.T, h http.Handler, change ...func(*Config)) *Client {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	cfg := testConfig(srv.URL)
	for _, f := range change {
		f(&cfg)
	}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// inBubble returns a client that talks to f without a network.
func inBubble(t *testing.T, f *fake, change ...func(*Config)) *Client {
	t.Helper()
	cfg := testConfig("127.0.0.1")
	for _, fn := range change {
		fn(&cfg)
	}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	c.transport = f
	return c
}

func (c *Client) exchange(ctx context.Context) (*Ticket, error) {
	return c.ExchangeCode(ctx, CodeExchange{Email: "ann@example.com", Code: redact.New("123456"), ClientIP: "192.0.2.7"})
}

func (c *Client) login(ctx context.Context) (*Ticket, error) {
	return c.ExchangePassword(ctx, PasswordExchange{Username: "ann@example.com", Password: redact.New("123456-hunter2")})
}

func (c *Client) second(ctx context.Context) (*Ticket, error) {
	return c.ExchangeSecondFactor(ctx, "f00d", redact.New("123456"), "")
}

func (c *Client) refresh(ctx context.Context) (*Ticket, error) {
	return c.Refresh(ctx, RefreshRequest{RefreshToken: redact.New("0123456789abcdef"), AccountID: "1001"})
}

// mustFail checks the sentinel, and that the text gives nothing away.
func mustFail(t *testing.T, err, want error) *Error {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("got error %v, want %v", err, want)
	}
	e, ok := errors.AsType[*Error](err)
	if !ok {
		t.Fatalf("got %T, want *Error", err)
	}
	for _, s := range []string{"ann@", "123456", "0123456789abcdef", "shh-secret", "app1", "secret text", "http", "/api", "127.0.0.1"} {
		if strings.Contains(err.Error(), s) {
			t.Errorf("error %q gives away %q", err, s)
		}
	}
	return e
}

func TestRequestsAsKiboWantsThem(t *testing.T) {
	type seen struct {
		method, uri, body string
		header            http.Header
	}
	var got seen
	f := newFake()
	record := func(next http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			got = seen{r.Method, r.RequestURI, string(b), r.Header.Clone()}
			next(w, r)
		}
	}
	for path, h := range f.routes {
		f.routes[path] = record(h)
	}
	c := overNetwork(t, f, func(cfg *Config) { cfg.Header = http.Header{"x-vol-site": {"20002"}} })

	tests := []struct {
		name              string
		do                func() error
		method, uri, body string
		bearer, ip, site  string
	}{
		{
			"app token", func() error { return c.Ready(t.Context()) },
			"POST", oauthPath,
			`{"client_id":"demo.app","client_secret":"shh-secret","grant_type":"client_credentials"}`, "", "", "",
		},
		{
			"code request", func() error {
				return c.RequestCode(t.Context(), CodeRequest{Email: "ann@example.com", ClientIP: "192.0.2.7"})
			},
			"POST", requestPath, `{"email":"ann@example.com"}`, "Bearer app1", "192.0.2.7", "20002",
		},
		{
			"code exchange", func() error {
				_, err := c.ExchangeCode(t.Context(), CodeExchange{Email: "ann@example.com", Code: redact.New("123456"), Region: "AT", Fingerprint: "fp"})
				return err
			},
			"POST", authPath,
			`{"email":"ann@example.com","otpCode":"123456","fingerprint":"fp","region":"AT"}`, "Bearer app1", "", "20002",
		},
		{
			"second factor", func() error {
				_, err := c.ExchangeSecondFactor(t.Context(), "f00d", redact.New("654321"), "2001:db8::1")
				return err
			},
			"POST", secondPath, `{"userId":"f00d","otpCode":"654321"}`, "Bearer app1", "2001:db8::1", "20002",
		},
		{
			"password", func() error {
				_, err := c.ExchangePassword(t.Context(), PasswordExchange{
					Username: "ann", Password: redact.New(`p"<ä`), Region: "AT", Fingerprint: "fp", ClientIP: "192.0.2.7",
				})
				return err
			},
			"POST", loginPath,
			`{"username":"ann","password":"p\"\u003cä","fingerprint":"fp","region":"AT"}`, "Bearer app1", "192.0.2.7", "20002",
		},
		{
			"password, bare", func() error {
				_, err := c.ExchangePassword(t.Context(), PasswordExchange{Username: "ann", Password: redact.New("p")})
				return err
			},
			"POST", loginPath, `{"username":"ann","password":"p"}`, "Bearer app1", "", "20002",
		},
		{
			"second code again", func() error {
				return c.RequestSecondFactor(t.Context(), SecondFactorRequest{UserID: "f00d", ClientIP: "192.0.2.7"})
			},
			"POST", againPath, `{"userId":"f00d"}`, "Bearer app1", "192.0.2.7", "20002",
		},
		{
			"refresh", func() error {
				_, err := c.Refresh(t.Context(), RefreshRequest{RefreshToken: redact.New("a+/= &b"), AccountID: "1001"})
				return err
			},
			"PUT", refreshPath + "?accountId=1001&refreshToken=a%2B%2F%3D+%26b", "", "Bearer app1", "", "20002",
		},
		{
			"refresh without account", func() error {
				_, err := c.Refresh(t.Context(), RefreshRequest{RefreshToken: redact.New("ab")})
				return err
			},
			"PUT", refreshPath + "?refreshToken=ab", "", "Bearer app1", "", "20002",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := tt.do(); err != nil {
				t.Fatal(err)
			}
			if got.method != tt.method || got.uri != tt.uri || got.body != tt.body {
				t.Errorf("got %s %s %s\nwant %s %s %s", got.method, got.uri, got.body, tt.method, tt.uri, tt.body)
			}
			for name, want := range map[string]string{
				"Authorization": tt.bearer, "X-Forwarded-For": tt.ip, "X-Vol-Site": tt.site,
				"Content-Type": "application/json", "Accept": "application/json",
				"Accept-Encoding": "", "Cookie": "", "User-Agent": "caddy-kibo-auth",
			} {
				if g := got.header.Get(name); g != want {
					t.Errorf("%s: got %q, want %q", name, g, want)
				}
			}
		})
	}
	if n := f.count(oauthPath); n != 1 {
		t.Errorf("got %d app tokens, want 1", n)
	}
}

func TestTicketOfAnExchange(t *testing.T) {
	c := overNetwork(t, newFake())
	for name, do := range map[string]func(context.Context) (*Ticket, error){
		"exchange": c.exchange, "second factor": c.second, "password": c.login, "refresh": c.refresh,
	} {
		got, err := do(t.Context())
		if err != nil {
			t.Fatal(name, err)
		}
		if got.AccessToken.Reveal() != "acc+/=" || got.JWT.Reveal() != "a.b.c" || got.RefreshToken.Reveal() != "0123456789abcdef" || got.UserID != "f00d" {
			t.Errorf("%s: wrong tokens", name)
		}
		if got.Customer == nil || got.Customer.AccountID != "1001" || got.Customer.Email != "ann@example.com" {
			t.Errorf("%s: wrong customer", name)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	good := testConfig("t1-s2.sandbox.mozu.com")
	tests := []struct {
		name   string
		change func(*Config)
		want   string // in the error
	}{
		{"no credentials", func(c *Config) { c.Credentials = nil }, "credentials"},
		{"no host", func(c *Config) { c.APIURL = "" }, "API URL: host or URL is missing"},
		{"clear text auth host", func(c *Config) { c.AuthURL = "http://home.mozu.com" }, "auth URL:"},
		{"negative timeout", func(c *Config) { c.Timeout = -time.Second }, "negative"},
		{"negative limit", func(c *Config) { c.MaxQueue = -1 }, "negative"},
		{"own authorization", func(c *Config) { c.Header = http.Header{"authorization": {"x"}} }, "gateway itself"},
		{"idempotency key makes net/http repeat", func(c *Config) { c.Header = http.Header{"Idempotency-Key": {"x"}} }, "gateway itself"},
		{"claims of a customer", func(c *Config) { c.Header = http.Header{"x-vol-user-claims": {"x"}} }, "gateway itself"},
		{"header name", func(c *Config) { c.Header = http.Header{"x vol": {"x"}} }, "not a header name"},
		{"header injection", func(c *Config) { c.Header = http.Header{"x-vol-site": {"1\r\nx: y"}} }, "control"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg := good
			tt.change(&cfg)
			if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got error %v, want one with %q", err, tt.want)
			}
		})
	}
	if c, err := New(good); err != nil || c.timeout != 10*time.Second || cap(c.gate.lane) != 256 || cap(c.gate.door) != 384 {
		t.Errorf("good config: got %v, or wrong defaults", err)
	}
}

func TestReadyMakesOneCall(t *testing.T) {
	f := newFake()
	c := overNetwork(t, f)
	for range 3 {
		if err := c.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if n := f.count(oauthPath); n != 1 {
		t.Errorf("got %d calls, want 1", n)
	}
}

func TestSecretsAreJSONSafe(t *testing.T) {
	var got map[string]string
	f := newFake()
	f.on(oauthPath, func(w http.ResponseWriter, r *http.Request) {
		json.NewDecoder(r.Body).Decode(&got)
		io.WriteString(w, grantJSON)
	})
	want := `a"b\c<&é` + "\u2028"
	c := overNetwork(t, f, func(cfg *Config) {
		cfg.Credentials = func() (string, string, error) { return "id", want, nil }
	})
	if err := c.Ready(t.Context()); err != nil || got["client_secret"] != want {
		t.Errorf("got %q, %v, want %q", got["client_secret"], err, want)
	}
}
