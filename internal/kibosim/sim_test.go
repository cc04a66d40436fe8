package kibosim

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestTicketHasEverySchemaField(t *testing.T) {
	c := newClient(t)
	a := c.signIn("jane@example.com")
	for field, form := range map[string]string{
		"accessToken":            `^[A-Za-z0-9+/]{447}[A-Za-z0-9+/=]$`,
		"accessTokenExpiration":  `^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{7}Z$`,
		"jwtAccessToken":         `^[\w-]+\.[\w-]+\.[\w-]{43}$`,
		"refreshToken":           `^[0-9a-f]{32}$`,
		"refreshTokenExpiration": `^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{7}Z$`,
		"userId":                 `^[0-9a-f]{32}$`,
	} {
		if !regexp.MustCompile(form).MatchString(a.text(field)) {
			t.Errorf("%s = %q, want %s", field, a.text(field), form)
		}
	}
	if got := a.field("requires2FA"); got != false {
		t.Errorf("requires2FA = %v, want false", got)
	}
	account, _ := a.field("customerAccount").(map[string]any)
	if account["id"] != 1001.0 || account["emailAddress"] != "jane@example.com" || account["userId"] != a.field("userId") {
		t.Errorf("customerAccount = %v, want Jane's", account)
	}
	access, err := time.Parse(time.RFC3339Nano, a.text("accessTokenExpiration"))
	if left := time.Until(access); err != nil || left < 14*time.Minute || left > 15*time.Minute {
		t.Errorf("access token ends in %v (%v), want 15m", left, err)
	}
	refresh, err := time.Parse(time.RFC3339Nano, a.text("refreshTokenExpiration"))
	if left := time.Until(refresh); err != nil || left < 23*time.Hour || left > 24*time.Hour {
		t.Errorf("refresh token ends in %v (%v), want 24h", left, err)
	}
}

func TestFixtureCustomers(t *testing.T) {
	for _, f := range Fixtures() {
		t.Run(f.Email, func(t *testing.T) {
			c := newClient(t)
			if f.NoOTP {
				c.wantStatus(c.post(authTickets+"/otp/request", map[string]any{"email": f.Email}), http.StatusForbidden)
				return
			}
			a := c.exchange(f.Email, c.sendCode(f.Email))
			if f.Locked {
				c.wantStatus(a, http.StatusUnauthorized)
				return
			}
			c.wantStatus(a, http.StatusOK)
			if got, want := a.field("requires2FA"), f.TwoFA != ""; got != want {
				t.Errorf("requires2FA = %v, want %v", got, want)
			}
			if got, want := a.field("jwtAccessToken") == nil, f.NoJWT || f.TwoFA != ""; got != want {
				t.Errorf("jwtAccessToken is null: %v, want %v", got, want)
			}
			if f.TwoFA != "" {
				return
			}
			account := a.field("customerAccount").(map[string]any)
			if account["firstName"] != f.FirstName || account["lastName"] != f.LastName || account["isActive"] == f.Inactive {
				t.Errorf("customerAccount = %v, want %+v", account, f)
			}
		})
	}
}

func TestScopeAndPaths(t *testing.T) {
	tests := []struct {
		name, method, path string
		header             []string
		status             int
	}{
		{"right scope", "GET", authTickets + "/anonymousshopper", []string{"x-vol-tenant", Tenant, "x-vol-site", Site}, 200},
		{"trailing slash", "GET", authTickets + "/anonymousshopper/", nil, 200},
		{"wrong site", "GET", authTickets + "/anonymousshopper", []string{"x-vol-site", "1"}, 404},
		{"wrong tenant", "GET", authTickets + "/anonymousshopper", []string{"x-vol-tenant", "1"}, 404},
		{"wrong method", "POST", authTickets + "/anonymousshopper", nil, 405},
		{"no bearer", "GET", authTickets + "/anonymousshopper", []string{"Authorization", ""}, 401},
		{"no token in it", "GET", authTickets + "/anonymousshopper", []string{"Authorization", "Bearer x.y.z"}, 401},
		{"without /api", "GET", "/commerce/customer/authtickets/anonymousshopper", nil, 404},
		{"never simulated", "POST", authTickets + "/impersonatecart", nil, 404},
		{"form", "POST", authTickets + "/otp/request", []string{"Content-Type", "application/x-www-form-urlencoded"}, 415},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := newClient(t)
			a := c.do(tt.method, tt.path, "{}", tt.header...)
			c.wantStatus(a, tt.status)
			if got := a.header.Get("x-vol-correlation"); !regexp.MustCompile(`^[0-9a-f]{32}$`).MatchString(got) {
				t.Errorf("x-vol-correlation = %q, want 32 hex digits", got)
			}
			if tt.status == 401 && (a.code() != "UNAUTHORIZED" || !strings.Contains(string(a.body), `"ReverseProxy"`)) {
				t.Errorf("body = %s, want items[0] UNAUTHORIZED by ReverseProxy", a.body)
			}
		})
	}
}

func TestCorrelationIsEchoedUnlessHarmful(t *testing.T) {
	c := newClient(t)
	for sent, echoed := range map[string]bool{"abc-123": true, "a b": false, strings.Repeat("a", 65): false} {
		a := c.do("GET", authTickets+"/anonymousshopper", "", "x-vol-correlation", sent)
		if got := a.header.Get("x-vol-correlation"); (got == sent) != echoed {
			t.Errorf("x-vol-correlation %q came back as %q", sent, got)
		}
	}
}

func TestOversizeRequest(t *testing.T) {
	c := newClient(t)
	a := c.do("POST", authTickets+"/otp/request", strings.Repeat("x", maxBody+1))
	c.wantStatus(a, http.StatusRequestEntityTooLarge)
}

func TestNoBehaviourIsForbidden(t *testing.T) {
	c := newClient(t)
	c.sim.Set(func(sw *Switches) { sw.NoBehaviour = true })
	c.wantStatus(c.post(authTickets+"/otp/request", map[string]any{"email": "jane@example.com"}), http.StatusForbidden)
}

// One Sim serves a whole load test: calls, switches and customers at once.
func TestConcurrentUse(t *testing.T) {
	c := newClient(t)
	var sent sync.Map
	c.sim.o.OnCode = func(email, code string) { sent.Store(email, code) }
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			email := string(rune('a'+i)) + "@load.example.com"
			c.sim.AddCustomer(Customer{Email: email})
			for range 5 {
				c.post(authTickets+"/otp/request", map[string]any{"email": email})
				code, _ := sent.Load(email)
				a := c.exchange(email, code.(string))
				if a.status != http.StatusOK {
					t.Errorf("otp/auth: status %d", a.status)
				}
				c.refresh(a.text("refreshToken"))
				c.sim.Set(func(sw *Switches) { sw.CodeTries++ })
				c.sim.Switches()
				c.sim.Code(email)
			}
		})
	}
	wg.Wait()
	for _, name := range []string{"otp/request", "otp/auth", "refresh"} {
		if got := c.sim.Calls(name); got != 40 {
			t.Errorf("Calls(%q) = %d, want 40", name, got)
		}
	}
	if got := c.sim.Switches().CodeTries; got != 40 {
		t.Errorf("CodeTries = %d after 40 increments", got)
	}
}

// Two posts of one code: exactly one ticket.
func TestCodeIsUsedOnceUnderRace(t *testing.T) {
	c := newClient(t)
	code := c.sendCode("jane@example.com")
	statuses := make(chan int, 8)
	for range cap(statuses) {
		go func() { statuses <- c.exchange("jane@example.com", code).status }()
	}
	tickets := 0
	for range cap(statuses) {
		if <-statuses == http.StatusOK {
			tickets++
		}
	}
	if tickets != 1 {
		t.Errorf("one code gave %d tickets", tickets)
	}
}

func TestLogHoldsNoSecret(t *testing.T) {
	var log strings.Builder
	c := newClient(t)
	c.sim.o.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	code := c.sendCode("jane@example.com")
	a := c.exchange("jane@example.com", code)
	c.refresh(a.text("refreshToken"))
	c.exchange("jane@example.com", code)
	secrets := []string{
		code, "jane", a.text("refreshToken"), a.text("accessToken")[:20],
		a.text("jwtAccessToken"), c.token, SharedSecret,
	}
	for _, secret := range secrets {
		if strings.Contains(log.String(), secret) {
			t.Errorf("the log shows %.12s…:\n%s", secret, log.String())
		}
	}
	if !strings.Contains(log.String(), "reason=no_code") {
		t.Errorf("the log does not say why a code was refused:\n%s", log.String())
	}
}

func TestResetRestoresEverything(t *testing.T) {
	c := newClient(t)
	old := c.signIn("jane@example.com").text("refreshToken")
	c.sendCode("jane@example.com")
	c.sim.AddCustomer(Customer{Email: "new@example.com"})
	c.sim.Set(func(sw *Switches) { sw.OTPOff = true })
	c.sim.Advance(time.Minute)
	c.sim.Reset()
	if got := c.sim.Code("jane@example.com"); got != "" {
		t.Errorf("a code is still valid: %s", got)
	}
	if c.sim.customers.find("new@example.com") != nil {
		t.Error("an added customer is still there")
	}
	if got := c.sim.now(); time.Until(got) > time.Second {
		t.Errorf("clock is still ahead: %v", got)
	}
	if got := c.sim.Calls("otp/auth"); got != 0 {
		t.Errorf("Calls = %d, want 0", got)
	}
	c.wantStatus(c.refresh(old), http.StatusNotFound)
	c.signIn("jane@example.com") // with the app token from before
}

func TestUnknownNamesPanic(t *testing.T) {
	sim := New(Options{})
	for name, f := range map[string]func(){
		"counter":  func() { sim.Calls("otp/auht") },
		"fault":    func() { sim.Set(func(sw *Switches) { sw.Faults["oauth"] = Fault{Kind: "html500"} }) },
		"variant":  func() { sim.Issue("none", "jane@example.com") },
		"customer": func() { sim.AddCustomer(Customer{Email: "x@example.com", TwoFA: "sometimes"}) },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			f()
		})
	}
}

func TestErrorBodiesAreJSON(t *testing.T) {
	c := newClient(t)
	a := c.exchange("jane@example.com", "000000")
	var e errorBody
	if err := json.Unmarshal(a.body, &e); err != nil || e.ExceptionDetail == nil || e.ApplicationName != "Customer" {
		t.Errorf("error body = %s (%v)", a.body, err)
	}
}
