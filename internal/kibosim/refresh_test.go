package kibosim

import (
	"net/http"
	"testing"
	"time"
)

func TestRefreshModes(t *testing.T) {
	tests := []struct {
		mode               string
		again, afterGrace  int  // status of the old token, at once and after 31 s
		sameToken, noToken bool // what the answer has
	}{
		{"", 404, 404, false, false},
		{"rotate", 404, 404, false, false},
		{"grace", 200, 404, false, false},
		{"static", 200, 200, true, false},
		{"omit", 200, 200, false, true},
	}
	for _, tt := range tests {
		t.Run("mode "+tt.mode, func(t *testing.T) {
			c := newClient(t)
			c.sim.Set(func(sw *Switches) { sw.RefreshMode = tt.mode })
			old := c.signIn("jane@example.com").text("refreshToken")
			a := c.refresh(old)
			c.wantStatus(a, http.StatusOK)
			if got := a.text("refreshToken") == old; got != tt.sameToken {
				t.Errorf("same refresh token: %v, want %v", got, tt.sameToken)
			}
			if got := a.field("refreshToken") == nil; got != tt.noToken {
				t.Errorf("no refresh token: %v, want %v", got, tt.noToken)
			}
			c.wantStatus(c.refresh(old), tt.again)
			c.sim.Advance(31 * time.Second)
			c.wantStatus(c.refresh(old), tt.afterGrace)
			if next := a.text("refreshToken"); next != "" {
				c.wantStatus(c.refresh(next), http.StatusOK)
			}
		})
	}
}

func TestRefreshRefusals(t *testing.T) {
	tests := []struct {
		name   string
		sw     Switches
		age    time.Duration
		query  func(token string) string
		status int
	}{
		{"good", Switches{}, 23 * time.Hour, func(tk string) string { return "?refreshToken=" + tk }, 200},
		{"right account", Switches{}, 0, func(tk string) string { return "?accountId=1001&refreshToken=" + tk }, 200},
		{"trailing slash", Switches{}, 0, func(tk string) string { return "/?refreshToken=" + tk }, 200},
		{"expired", Switches{}, 24 * time.Hour, func(tk string) string { return "?refreshToken=" + tk }, 404},
		{"expired, 401", Switches{ExpiredRefreshStatus: 401}, 24 * time.Hour, func(tk string) string { return "?refreshToken=" + tk }, 401},
		{"short life", Switches{RefreshTTL: time.Hour}, time.Hour, func(tk string) string { return "?refreshToken=" + tk }, 404},
		{"wrong account", Switches{}, 0, func(tk string) string { return "?accountId=1002&refreshToken=" + tk }, 404},
		{"account no number", Switches{}, 0, func(tk string) string { return "?accountId=x&refreshToken=" + tk }, 400},
		{"unknown", Switches{}, 0, func(string) string { return "?refreshToken=0123456789abcdef0123456789abcdef" }, 404},
		{"no hex", Switches{}, 0, func(string) string { return "?refreshToken=a%2Bb" }, 404},
		{"none", Switches{}, 0, func(string) string { return "" }, 400},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := newClient(t)
			c.sim.Set(func(sw *Switches) { *sw = tt.sw })
			token := c.signIn("jane@example.com").text("refreshToken")
			c.sim.Advance(tt.age)
			c.token = c.appToken()
			c.wantStatus(c.do("PUT", authTickets+"/refresh"+tt.query(token), `{"an":"old ticket"}`), tt.status)
		})
	}
}

func TestRefreshAfterCustomerWasLocked(t *testing.T) {
	c := newClient(t)
	token := c.signIn("jane@example.com").text("refreshToken")
	c.sim.AddCustomer(Customer{Email: "jane@example.com", Locked: true})
	c.wantStatus(c.refresh(token), http.StatusUnauthorized)
}

func TestRefreshAnswersSomebodyElse(t *testing.T) {
	c := newClient(t)
	c.sim.Set(func(sw *Switches) { sw.OtherCustomer = true })
	for _, email := range []string{"jane@example.com", "john@example.com"} {
		ticket := c.signIn(email)
		a := c.refresh(ticket.text("refreshToken"))
		c.wantStatus(a, http.StatusOK)
		if a.text("userId") == ticket.text("userId") {
			t.Errorf("%s got her own ticket", email)
		}
	}
}

func TestRefreshKeepsTheSession(t *testing.T) {
	c := newClient(t)
	ticket := c.signIn("jane@example.com")
	a := c.refresh(ticket.text("refreshToken"))
	before, after := claimsOf(t, ticket.text("jwtAccessToken")), claimsOf(t, a.text("jwtAccessToken"))
	if before.SessionID != after.SessionID || before.Subject != after.Subject {
		t.Errorf("session %s of %s became %s of %s", before.SessionID, before.Subject, after.SessionID, after.Subject)
	}
}

// A simulator that runs for weeks forgets what has expired.
func TestGrantsStayBounded(t *testing.T) {
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	tests := []struct {
		name string
		step func(g *grants, i int, now time.Time)
		most int
	}{
		{"expiring", func(g *grants, _ int, now time.Time) {
			g.add(newID(), grant{expires: now.Add(time.Hour).Unix()}, now)
		}, 1501},
		{"rotated", func(g *grants, i int, now time.Time) {
			token := newID()
			g.add(token, grant{expires: now.Add(1000 * time.Hour).Unix()}, now)
			if i > 0 { // the first lives on and blocks the queue
				delete(g.byToken, token)
			}
		}, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var g grants
			for i := range 10_000 {
				tt.step(&g, i, start.Add(time.Duration(i)*time.Minute))
			}
			if got := len(g.byToken); got > tt.most {
				t.Errorf("%d tokens are remembered, want at most %d", got, tt.most)
			}
			if got := len(g.order); got > 2*tt.most+1025 {
				t.Errorf("the queue holds %d", got)
			}
		})
	}
}

func TestGrantsCapForgetsTheOldest(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var g grants
	first := newID()
	g.add(first, grant{expires: now.Add(time.Hour).Unix()}, now)
	for i := range maxGrants - 1 { // straight into the map, to save time
		g.byToken[id{byte(i), byte(i >> 8), byte(i >> 16)}] = grant{}
	}
	g.add(newID(), grant{expires: now.Add(time.Hour).Unix()}, now)
	if got := len(g.byToken); got != maxGrants {
		t.Errorf("%d tokens are remembered, want %d", got, maxGrants)
	}
	if !g.isGone(first) {
		t.Error("the oldest is still there")
	}
}

func TestAnonymousShopper(t *testing.T) {
	c := newClient(t)
	a := c.do("GET", authTickets+"/anonymousshopper", "")
	c.wantStatus(a, http.StatusOK)
	claims := claimsOf(t, a.text("jwtAccessToken"))
	if claims.User.Anonymous != "1" || claims.User.UserID != a.text("userId") {
		t.Errorf("user claims = %+v, want anonymous", claims.User)
	}
	if account := a.field("customerAccount").(map[string]any); account["isAnonymous"] != true {
		t.Errorf("isAnonymous = %v", account["isAnonymous"])
	}
	c.wantStatus(c.refresh(a.text("refreshToken")), http.StatusOK)

	code := c.sendCode("jane@example.com")
	named := c.post(authTickets+"/otp/auth", map[string]any{"email": "jane@example.com", "otpCode": code},
		"x-vol-user-claims", a.text("accessToken"))
	if got := claimsOf(t, named.text("jwtAccessToken")).User.PreviousID; got != a.text("userId") {
		t.Errorf("b.PreviousAnonymousId = %q, want %q", got, a.text("userId"))
	}
}
