package kibosim

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
)

// Every ticket endpoint obeys the ticket switches.
func TestTicketSwitches(t *testing.T) {
	null := func(a answer, name string) bool { return strings.Contains(string(a.body), `"`+name+`":null`) }
	tests := []struct {
		name   string
		sw     Switches
		spoilt func(a answer) bool
	}{
		{"null tokens", Switches{NullTokens: true}, func(a answer) bool {
			return null(a, "accessToken") && null(a, "jwtAccessToken") && null(a, "refreshToken")
		}},
		{"missing JWT", Switches{MissingJWT: true}, func(a answer) bool {
			return !strings.Contains(string(a.body), "jwtAccessToken") && a.text("accessToken") != ""
		}},
		{"zoneless dates", Switches{Dates: "zoneless"}, func(a answer) bool {
			d := a.text("accessTokenExpiration")
			return len(d) == 27 && !strings.HasSuffix(d, "Z") && len(a.text("refreshTokenExpiration")) == 27
		}},
		{"zero dates", Switches{Dates: "zero"}, func(a answer) bool {
			return a.text("accessTokenExpiration") == "0001-01-01T00:00:00" && a.text("refreshTokenExpiration") == "0001-01-01T00:00:00"
		}},
		{"dates as epoch milliseconds", Switches{Dates: "epoch_ms"}, func(a answer) bool {
			n, ok := a.field("accessTokenExpiration").(float64)
			return ok && n > 1e12
		}},
		{"huge account", Switches{HugeAccount: true}, func(a answer) bool {
			return len(a.body) > 2_000_000 && len(a.body) < 4<<20 && json.Valid(a.body)
		}},
		{"spoilt JWT", Switches{JWT: "garbage"}, func(a answer) bool { return a.text("jwtAccessToken") == "not.a.token" }},
	}
	const email = "jane@example.com"
	endpoints := map[string]func(c *client) answer{
		"otp/auth": func(c *client) answer { return c.signIn(email) },
		"password": func(c *client) answer {
			return c.post(authTickets, map[string]any{"username": email, "password": FixturePassword})
		},
		"refresh": func(c *client) answer {
			var sw Switches
			c.sim.Set(func(now *Switches) { sw, *now = *now, Switches{} })
			token := c.signIn(email).text("refreshToken")
			c.sim.Set(func(now *Switches) { *now = sw })
			return c.refresh(token)
		},
		"2fa/auth": func(c *client) answer {
			c.sim.Set(func(sw *Switches) { sw.TwoFAAlways = true })
			user := c.signIn(email).text("userId")
			return c.post(authTickets+"/2fa/auth", map[string]any{"userId": user, "otpCode": c.sim.Code(email)})
		},
	}
	for name, ticket := range endpoints {
		for _, tt := range tests {
			t.Run(name+"/"+tt.name, func(t *testing.T) {
				c := newClient(t)
				c.sim.Set(func(sw *Switches) { *sw = tt.sw })
				a := ticket(c)
				c.wantStatus(a, http.StatusOK)
				if !tt.spoilt(a) {
					t.Errorf("ticket is not spoilt: %.400s", a.body)
				}
			})
		}
	}
}

func TestRequires2FASwitch(t *testing.T) {
	for mode, tokens := range map[string]bool{"bare": false, "with_tokens": true} {
		t.Run(mode, func(t *testing.T) {
			c := newClient(t)
			c.sim.Set(func(sw *Switches) { sw.Requires2FA = mode })
			first := c.signIn("jane@example.com")
			if first.field("requires2FA") != true || (first.text("jwtAccessToken") != "") != tokens {
				t.Errorf("first step = %s", first.body)
			}
			second := c.post(authTickets+"/2fa/auth", map[string]any{
				"userId": first.text("userId"), "otpCode": c.sim.Code("jane@example.com"),
			})
			if second.field("requires2FA") != false || second.text("jwtAccessToken") == "" {
				t.Errorf("second step = %s", second.body)
			}
		})
	}
}

func TestLifetimeSwitches(t *testing.T) {
	c := newClient(t)
	c.sim.Set(func(sw *Switches) { sw.CodeTTL, sw.CodeTries, sw.FixedCode = 30e9, 1, "000000" })
	if got := c.sendCode("jane@example.com"); got != "000000" {
		t.Errorf("code = %q, want the fixed one", got)
	}
	c.sim.Advance(30e9)
	if got := c.sim.Code("jane@example.com"); got != "" {
		t.Errorf("code %q outlives code_ttl", got)
	}
	c.sendCode("jane@example.com")
	c.wantStatus(c.exchange("jane@example.com", "wrong!"), http.StatusUnauthorized)
	c.wantStatus(c.exchange("jane@example.com", "000000"), http.StatusUnauthorized)
}

func TestAccessTokenOpensOnlyUnchanged(t *testing.T) {
	s := newSealer()
	want := access{user: newID(), session: newID(), anonymous: true}
	token := s.seal(want)
	got, ok := s.open(token)
	if !ok || got.user != want.user || got.session != want.session || !got.anonymous {
		t.Errorf("open(seal(%v)) = %v, %v", want, got, ok)
	}
	for name, bad := range map[string]string{
		"changed": "AAAA" + token[4:], "short": token[:40], "empty": "", "no base64": strings.Repeat("!", 448),
		"another run's": newSealer().seal(want),
	} {
		if _, ok := s.open(bad); ok {
			t.Errorf("%s: opened", name)
		}
	}
}
