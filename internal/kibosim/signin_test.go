package kibosim

import (
	"net/http"
	"testing"
	"time"
)

func TestOAuth(t *testing.T) {
	with := func(key string, value any) map[string]any {
		body := oauthBody()
		body[key] = value
		return body
	}
	tests := []struct {
		name   string
		body   map[string]any
		status int
		code   string
	}{
		{"good", oauthBody(), 200, ""},
		{"wrong secret", with("client_secret", "x"), 401, "INVALID_CREDENTIALS"},
		{"wrong client", with("client_id", "x"), 401, "INVALID_CREDENTIALS"},
		{"no grant type", with("grant_type", nil), 400, "MISSING_OR_INVALID_PARAMETER"},
		{"unknown refresh token", with("refresh_token", "x"), 401, "INVALID_CREDENTIALS"},
		{"null", nil, 400, "MISSING_OR_INVALID_PARAMETER"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := newClient(t)
			a := c.post(appTickets+"/oauth", tt.body, "Authorization", "")
			c.wantStatus(a, tt.status)
			if a.code() != tt.code {
				t.Errorf("code = %q, want %q", a.code(), tt.code)
			}
			if tt.status == 200 && (a.field("expires_in") != 3600.0 || a.text("token_type") != "bearer") {
				t.Errorf("answer = %s", a.body)
			}
		})
	}
}

func TestAppTokenEnds(t *testing.T) {
	anonymous := authTickets + "/anonymousshopper"
	t.Run("expired", func(t *testing.T) {
		c := newClient(t)
		c.sim.Set(func(sw *Switches) { sw.AppTokenTTL = 10 * time.Minute })
		c.token = c.appToken()
		c.sim.Advance(9 * time.Minute)
		c.wantStatus(c.do("GET", anonymous, ""), http.StatusOK)
		c.sim.Advance(time.Minute)
		c.wantStatus(c.do("GET", anonymous, ""), http.StatusUnauthorized)
	})
	t.Run("revoked", func(t *testing.T) {
		c := newClient(t)
		c.sim.RevokeAppTokens()
		c.wantStatus(c.do("GET", anonymous, ""), http.StatusUnauthorized)
		c.token = c.appToken()
		c.wantStatus(c.do("GET", anonymous, ""), http.StatusOK)
	})
}

func TestAppRefreshToken(t *testing.T) {
	tests := []struct {
		name, mode string
		age        time.Duration
		status     int
	}{
		{"young", "", 11 * time.Hour, 200},
		{"old", "", 12 * time.Hour, 401},
		{"old but always", "always", 13 * time.Hour, 200},
		{"young but never", "never", 0, 401},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := newClient(t)
			token := c.post(appTickets+"/oauth", oauthBody()).text("refresh_token")
			c.sim.Set(func(sw *Switches) { sw.AppRefresh = tt.mode })
			c.sim.Advance(tt.age)
			a := c.post(appTickets+"/oauth", map[string]any{"grant_type": "refresh_token", "refresh_token": token})
			c.wantStatus(a, tt.status)
		})
	}
}

func TestOTPRequest(t *testing.T) {
	tests := []struct {
		name, body string
		sw         Switches
		status     int
	}{
		{"known", `{"email":"jane@example.com"}`, Switches{}, 200},
		{"letter case", `{"Email":" JANE@example.com"}`, Switches{}, 200},
		{"unknown, silent", `{"email":"nobody@example.com"}`, Switches{UnknownEmail: "silent"}, 200},
		{"unknown, revealed", `{"email":"nobody@example.com"}`, Switches{UnknownEmail: "reveal"}, 404},
		{"codes off", `{"email":"jane@example.com"}`, Switches{OTPOff: true}, 403},
		{"codes off, other status", `{"email":"jane@example.com"}`, Switches{OTPOff: true, OTPOffStatus: 409}, 409},
		{"no code customer", `{"email":"nootp@example.com"}`, Switches{}, 403},
		{"empty", ``, Switches{}, 400},
		{"null", `null`, Switches{}, 400},
		{"null e-mail", `{"email":null}`, Switches{}, 400},
		{"no JSON", `email=jane`, Switches{}, 400},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := newClient(t)
			c.sim.Set(func(sw *Switches) { *sw = tt.sw })
			a := c.do("POST", authTickets+"/otp/request", tt.body)
			c.wantStatus(a, tt.status)
			if tt.status == 200 && len(a.body) > 0 {
				t.Errorf("body = %s, want none", a.body)
			}
		})
	}
}

func TestOTPAuthRefusals(t *testing.T) {
	good := func(c *client) string { return c.sendCode("jane@example.com") }
	tests := []struct {
		name   string
		sw     Switches
		code   func(c *client) string
		email  string
		status int
	}{
		{"wrong", Switches{}, func(c *client) string { good(c); return "wrong!" }, "jane@example.com", 401},
		{"wrong, other status", Switches{RejectStatus: 422}, func(*client) string { return "x" }, "jane@example.com", 422},
		{"expired", Switches{}, func(c *client) string { k := good(c); c.sim.Advance(3 * time.Minute); return k }, "jane@example.com", 401},
		{"never sent", Switches{}, func(*client) string { return "123456" }, "jane@example.com", 401},
		{"replaced", Switches{FixedCode: "111111"}, func(c *client) string {
			good(c)
			c.sim.Set(func(sw *Switches) { sw.FixedCode = "222222" })
			good(c)
			return "111111"
		}, "jane@example.com", 401},
		{"used", Switches{}, func(c *client) string { k := good(c); c.exchange("jane@example.com", k); return k }, "jane@example.com", 401},
		{"somebody else's", Switches{}, good, "john@example.com", 401},
		{"unknown e-mail", Switches{}, good, "nobody@example.com", 401},
		{"three wrong tries", Switches{}, func(c *client) string {
			k := good(c)
			for range 3 {
				c.exchange("jane@example.com", "wrong!")
			}
			return k
		}, "jane@example.com", 401},
		{"locked", Switches{}, func(c *client) string { return c.sendCode("locked@example.com") }, "locked@example.com", 401},
		{"locked, 423", Switches{LockedStatus: 423}, func(c *client) string { return c.sendCode("locked@example.com") }, "locked@example.com", 423},
		{"no code given", Switches{}, func(*client) string { return "" }, "jane@example.com", 400},
		{"codes switched off", Switches{}, func(c *client) string {
			k := good(c)
			c.sim.Set(func(sw *Switches) { sw.OTPOff = true })
			return k
		}, "jane@example.com", 403},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := newClient(t)
			c.sim.Set(func(sw *Switches) { *sw = tt.sw })
			c.wantStatus(c.exchange(tt.email, tt.code(c)), tt.status)
		})
	}
}

func TestCodeSurvivesTwoWrongTries(t *testing.T) {
	c := newClient(t)
	code := c.sendCode("jane@example.com")
	for range 2 {
		c.wantStatus(c.exchange("jane@example.com", "wrong!"), http.StatusUnauthorized)
	}
	c.sim.Advance(3*time.Minute - time.Second)
	c.wantStatus(c.exchange("jane@example.com", code), http.StatusOK)
}

func TestLockedCustomerLetIn(t *testing.T) {
	c := newClient(t)
	c.sim.Set(func(sw *Switches) { sw.LockedStatus = 200 })
	a := c.signIn("locked@example.com")
	if account := a.field("customerAccount").(map[string]any); account["isLocked"] != true {
		t.Errorf("isLocked = %v, want true", account["isLocked"])
	}
}

func TestPassword(t *testing.T) {
	tests := []struct {
		name, user, password string
		status               int
	}{
		{"good", "jane@example.com", FixturePassword, 200},
		{"wrong", "jane@example.com", "x", 401},
		{"unknown", "nobody@example.com", FixturePassword, 401},
		{"locked", "locked@example.com", FixturePassword, 401},
		{"no codes for her", "nootp@example.com", FixturePassword, 200},
		{"empty user", "", FixturePassword, 400},
		{"empty password", "jane@example.com", "", 400},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := newClient(t)
			c.wantStatus(c.post(authTickets, map[string]any{"username": tt.user, "password": tt.password}), tt.status)
		})
	}
}

func TestPasswordTTLFieldsNeedTheBehaviour(t *testing.T) {
	tests := []struct {
		name      string
		behaviour bool
		access    int
		status    int
		want      time.Duration
	}{
		{"ignored", false, 45, 200, 15 * time.Minute},
		{"honoured", true, 45, 200, 45 * time.Minute},
		{"over the cap", true, 61, 400, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := newClient(t)
			c.sim.Set(func(sw *Switches) { sw.TokenDurations = tt.behaviour })
			a := c.post(authTickets, map[string]any{
				"username": "jane@example.com", "password": FixturePassword,
				"authTicketTtlMinutes": tt.access, "refreshTokenTtlMinutes": 60,
			})
			c.wantStatus(a, tt.status)
			if tt.status != 200 {
				return
			}
			end, err := time.Parse(time.RFC3339Nano, a.text("accessTokenExpiration"))
			if left := time.Until(end); err != nil || left > tt.want || left < tt.want-time.Minute {
				t.Errorf("ticket ends in %v (%v), want %v", left, err, tt.want)
			}
		})
	}
}

func TestSecondFactor(t *testing.T) {
	c := newClient(t)
	first := c.signIn("twofa@example.com")
	user, code := first.text("userId"), c.sim.Code("twofa@example.com")
	if first.field("requires2FA") != true || first.field("accessToken") != nil || user == "" {
		t.Fatalf("first step = %s", first.body)
	}
	auth := func(user, code string) answer {
		return c.post(authTickets+"/2fa/auth", map[string]any{"userId": user, "otpCode": code})
	}
	c.wantStatus(auth(user, "wrong!"), http.StatusUnauthorized)
	c.wantStatus(auth("", code), http.StatusBadRequest)
	c.wantStatus(auth(user, ""), http.StatusBadRequest)
	c.wantStatus(auth("00000000000000000000000000000000", code), http.StatusUnauthorized)
	c.wantStatus(c.exchange("twofa@example.com", code), http.StatusUnauthorized) // of the wrong kind
	second := auth(user, code)
	c.wantStatus(second, http.StatusOK)
	if second.field("requires2FA") != false || second.text("jwtAccessToken") == "" {
		t.Errorf("second step = %s", second.body)
	}
	c.wantStatus(auth(user, code), http.StatusUnauthorized) // used
}

func TestSecondFactorResend(t *testing.T) {
	c := newClient(t)
	c.sim.Set(func(sw *Switches) { sw.Requires2FA = "with_tokens" })
	path := authTickets + "/2fa/request"
	user := Customer{Email: "jane@example.com"}.UserID()
	c.wantStatus(c.post(path, map[string]any{"userId": user}), http.StatusUnauthorized) // no first factor yet
	first := c.signIn("jane@example.com")
	if first.field("requires2FA") != true || first.text("accessToken") == "" {
		t.Fatalf("first step = %s, want requires2FA with tokens", first.body)
	}
	c.sim.Advance(4 * time.Minute) // the first mail's code is over
	c.wantStatus(c.post(path, map[string]any{"userId": user}), http.StatusOK)
	c.wantStatus(c.do("POST", path+"?userId="+user, ""), http.StatusOK)
	c.wantStatus(c.do("POST", path, "", "x-vol-user-claims", first.text("accessToken")), http.StatusOK)
	c.wantStatus(c.do("POST", path, ""), http.StatusBadRequest)
	c.wantStatus(c.post(authTickets+"/2fa/auth", map[string]any{"userId": user, "otpCode": c.sim.Code("jane@example.com")}), http.StatusOK)
	c.sim.Advance(time.Hour)
	c.wantStatus(c.post(path, map[string]any{"userId": user}), http.StatusUnauthorized)
}

func TestSecondFactorTriggers(t *testing.T) {
	type step struct {
		fingerprint, region string
		want                bool
	}
	tests := []struct {
		name, email string
		sw          Switches
		steps       []step
	}{
		{"always", "jane@example.com", Switches{TwoFAAlways: true}, []step{{"a", "x", true}, {"a", "x", true}}},
		{"new fingerprint", "device@example.com", Switches{}, []step{{"a", "x", true}, {"a", "y", false}, {"b", "y", true}, {"", "y", true}}},
		{"new region", "region@example.com", Switches{}, []step{{"a", "x", true}, {"b", "x", false}, {"b", "y", true}}},
		{"site's fingerprint rule", "jane@example.com", Switches{TwoFANewFingerprint: true}, []step{{"a", "", true}, {"a", "", false}}},
		{"site's region rule", "jane@example.com", Switches{TwoFANewRegion: true}, []step{{"", "x", true}, {"", "x", false}}},
		{"no rule", "jane@example.com", Switches{}, []step{{"", "", false}, {"b", "y", false}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := newClient(t)
			c.sim.Set(func(sw *Switches) { *sw = tt.sw })
			for i, step := range tt.steps {
				a := c.post(authTickets, map[string]any{
					"username": tt.email, "password": FixturePassword,
					"fingerprint": step.fingerprint, "region": step.region,
				})
				if got := a.field("requires2FA"); got != step.want {
					t.Fatalf("step %d %+v: requires2FA = %v", i, step, got)
				}
				if step.want {
					c.wantStatus(c.post(authTickets+"/2fa/auth", map[string]any{
						"userId": a.text("userId"), "otpCode": c.sim.Code(tt.email),
					}), http.StatusOK)
				}
			}
		})
	}
}
