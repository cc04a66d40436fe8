package kibo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kiboauth/caddy-kibo-auth/internal/redact"
)

// grants hands out app1, app2, … that live for life seconds.
func grants(life int) http.HandlerFunc {
	var n atomic.Int64
	return func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"access_token":"app%d","expires_in":%d}`, n.Add(1), life)
	}
}

// only lets calls with that bearer through and refuses others like Kibo's proxy.
func only(bearer string, next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+bearer {
			say(401, refusedJSON)(w, r)
			return
		}
		next(w, r)
	}
}

func TestAppTokenIsRenewedInTime(t *testing.T) {
	tests := []struct {
		name  string
		life  int // seconds
		after time.Duration
		do    func(*Client, context.Context) error
		want  int // app tokens
	}{
		{"fresh", 3600, 39 * time.Minute, exchangeOnce, 1},
		{"too short for a customer's JWT", 3600, 41 * time.Minute, exchangeOnce, 2},
		{"too short at a refresh", 3600, 41 * time.Minute, refreshOnce, 2},
		{"long enough for a mail", 3600, 54 * time.Minute, requestOnce, 1},
		{"within the margin", 3600, 56 * time.Minute, requestOnce, 2},
		{"over", 3600, 61 * time.Minute, requestOnce, 2},
		{"short-lived", 240, 170 * time.Second, requestOnce, 1},
		{"short-lived, in its last quarter", 240, 190 * time.Second, requestOnce, 2},
		{"not twice a minute", 600, 59 * time.Second, exchangeOnce, 1},
		{"once a minute", 600, 61 * time.Second, exchangeOnce, 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				f.on(oauthPath, grants(tt.life))
				c := inBubble(t, f)
				if err := c.Ready(t.Context()); err != nil {
					t.Fatal(err)
				}
				time.Sleep(tt.after)
				for range 3 {
					if err := tt.do(c, t.Context()); err != nil {
						t.Fatal(err)
					}
				}
				if n := f.count(oauthPath); n != tt.want {
					t.Errorf("got %d app tokens, want %d", n, tt.want)
				}
			})
		})
	}
}

func exchangeOnce(c *Client, ctx context.Context) error { _, err := c.exchange(ctx); return err }
func refreshOnce(c *Client, ctx context.Context) error  { _, err := c.refresh(ctx); return err }

func requestOnce(c *Client, ctx context.Context) error {
	return c.RequestCode(ctx, CodeRequest{Email: "ann@example.com"})
}

func TestOldAppTokenOutlivesAnOutage(t *testing.T) {
	for name, outage := range map[string]http.HandlerFunc{"error": say(503, ""), "limit": say(429, ""), "refusal": say(401, "{}"), "hang": hang} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				f.on(oauthPath, inTurn(grants(3600), outage))
				f.on(authPath, only("app1", say(200, ticketJSON)))
				c := inBubble(t, f)
				if err := c.Ready(t.Context()); err != nil {
					t.Fatal(err)
				}
				time.Sleep(45 * time.Minute)
				for range 3 {
					if _, err := c.exchange(t.Context()); err != nil {
						t.Fatalf("with a token for another 15 minutes: %v", err)
					}
				}
				time.Sleep(20 * time.Second) // a hanging try ends
				if n := f.count(oauthPath); n > 2 {
					t.Errorf("tried %d times in a minute, want once", n-1)
				}
				time.Sleep(time.Hour)
				_, err := c.exchange(t.Context())
				want := ErrUnavailable
				if name == "limit" {
					want = ErrLimited
				}
				mustFail(t, err, want)
			})
		})
	}
}

func TestHerdSharesOneAppToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.on(oauthPath, func(w http.ResponseWriter, _ *http.Request) {
			time.Sleep(time.Second)
			io.WriteString(w, grantJSON)
		})
		c := inBubble(t, f)

		hasty, cancel := context.WithCancel(t.Context())
		first := make(chan error, 1)
		go func() { first <- c.Ready(hasty) }()
		synctest.Wait()
		var wg sync.WaitGroup
		for range 200 {
			wg.Go(func() {
				if _, err := c.exchange(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		cancel() // the customer who asked first has left
		if err := <-first; !errors.Is(err, context.Canceled) || !errors.Is(err, ErrUnavailable) {
			t.Errorf("first caller got %v, want its cancellation", err)
		}
		wg.Wait()
		if n := f.count(oauthPath); n != 1 {
			t.Errorf("got %d app tokens, want 1", n)
		}
	})
}

func TestRefusedAppTokenIsRenewedOnce(t *testing.T) {
	refusals := map[string]http.HandlerFunc{
		"nested":        say(401, refusedJSON),
		"flat":          say(401, `{"applicationName":"Tenant","errorCode":"INVALID_ACCESS_TOKEN"}`),
		"forbidden":     say(403, `{"errorCode":"UNAUTHORIZED"}`),
		"front proxy":   say(401, `{"applicationName":"ReverseProxy","errorCode":"WHATEVER"}`),
		"in PascalCase": say(401, `{"Items":[{"ErrorCode":"UNAUTHORIZED"}]}`),
	}
	for name, refusal := range refusals {
		t.Run(name, func(t *testing.T) {
			f := newFake()
			f.on(oauthPath, grants(3600))
			f.on(authPath, inTurn(refusal, only("app2", say(200, ticketJSON))))
			f.on(refreshPath, refusal)
			c := overNetwork(t, f)
			if _, err := c.exchange(t.Context()); err != nil {
				t.Fatalf("repeat with a new app token: %v", err)
			}
			if a, g := f.count(authPath), f.count(oauthPath); a != 2 || g != 2 {
				t.Errorf("got %d calls with %d app tokens, want 2 and 2", a, g)
			}

			_, err := c.refresh(t.Context())
			if e := mustFail(t, err, ErrUnavailable); !e.App || errors.Is(err, ErrRejected) {
				t.Errorf("refused for good: got %+v, want the application to blame", *e)
			}
			if a, g := f.count(refreshPath), f.count(oauthPath); a != 2 || g != 3 {
				t.Errorf("refused for good: got %d calls, %d app tokens, want 2 and 3", a, g)
			}
		})
	}
}

func TestRevokedAppTokenUnderLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		grant := grants(3600)
		f.on(oauthPath, func(w http.ResponseWriter, r *http.Request) { time.Sleep(time.Second); grant(w, r) })
		f.on(authPath, only("app2", say(200, ticketJSON)))
		c := inBubble(t, f)
		if err := c.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				if _, err := c.exchange(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if n := f.count(oauthPath); n != 2 {
			t.Errorf("got %d app tokens, want 2: one revoked, one for all", n)
		}
	})
}

func TestLateRefusalKeepsTheNewAppToken(t *testing.T) {
	c := inBubble(t, newFake())
	old, current := &appToken{value: redact.New("old")}, &appToken{value: redact.New("new")}
	c.app = current
	c.drop(old)
	if c.app != current {
		t.Error("a refusal of the old app token dropped the new one")
	}
}

func TestGrantFaults(t *testing.T) {
	tests := []struct {
		name   string
		answer http.HandlerFunc
		want   error
		app    bool
	}{
		{"bad credentials", say(401, `{"errorCode":"INVALID_CREDENTIALS","message":"secret text"}`), ErrUnavailable, true},
		{"refused by the proxy", say(401, refusedJSON), ErrUnavailable, true},
		{"wrong host", say(404, "{}"), ErrUnavailable, true},
		{"error with 200", say(200, `{"errorCode":"INVALID_CREDENTIALS","access_token":"app1"}`), ErrUnavailable, true},
		{"limited", say(429, ""), ErrLimited, false},
		{"down", say(503, ""), ErrUnavailable, false},
		{"page", say(200, "<html>"), ErrUnavailable, false},
		{"page with 404", say(404, "<html>"), ErrUnavailable, false},
		{"redirect", say(302, ""), ErrUnavailable, false},
		{"no token", say(200, `{"expires_in":3600}`), ErrUnavailable, false},
		{"null token", say(200, `{"access_token":null,"expires_in":3600}`), ErrUnavailable, false},
		{"header injection", say(200, `{"access_token":"a\r\nx: y","expires_in":3600}`), ErrUnavailable, false},
		{"no life", say(200, `{"access_token":"a","expires_in":0}`), ErrUnavailable, false},
		{"negative life", say(200, `{"access_token":"a","expires_in":-1}`), ErrUnavailable, false},
		{"life in words", say(200, `{"access_token":"a","expires_in":"an hour"}`), ErrUnavailable, false},
		{"life is not a number", say(200, `{"access_token":"a","expires_in":"NaN"}`), ErrUnavailable, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFake()
			f.on(oauthPath, tt.answer)
			c := overNetwork(t, f)
			_, err := c.exchange(t.Context())
			if e := mustFail(t, err, tt.want); e.App != tt.app || e.Op != "oauth" {
				t.Errorf("got %+v, want App %v", *e, tt.app)
			}
			if f.count(authPath) != 0 || f.count(oauthPath) != 1 {
				t.Errorf("got %d grants, %d exchanges, want 1 and 0", f.count(oauthPath), f.count(authPath))
			}
			f.on(oauthPath, say(200, grantJSON))
			if _, err := c.exchange(t.Context()); err != nil && tt.want != ErrLimited {
				t.Errorf("after the fault: %v", err)
			}
		})
	}
}

func TestAppLife(t *testing.T) {
	tests := []struct {
		in   string
		want time.Duration
	}{{"3600", time.Hour}, {"", time.Hour}, {"90.5", 90500 * time.Millisecond}, {"1e300", 24 * time.Hour}, {"Inf", 24 * time.Hour}}
	for _, tt := range tests {
		if got, err := appLife(tt.in); err != nil || got != tt.want {
			t.Errorf("appLife(%q) = %v, %v, want %v", tt.in, got, err, tt.want)
		}
	}
}

func TestCredentialsAreReadAtEachGrant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		secret, broken := "old", errors.New("secret file is gone")
		var sent string
		f := newFake()
		f.on(oauthPath, func(w http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			sent = string(b)
			io.WriteString(w, grantJSON)
		})
		c := inBubble(t, f, func(cfg *Config) {
			cfg.Credentials = func() (string, string, error) {
				if secret == "" {
					return "", "", broken
				}
				return "id", secret, nil
			}
		})
		for _, secret = range []string{"old", "new"} {
			if err := c.Ready(t.Context()); err != nil || !strings.Contains(sent, secret) {
				t.Errorf("got %s, %v, want the %s secret", sent, err, secret)
			}
			time.Sleep(2 * time.Hour)
		}
		secret = ""
		err := c.Ready(t.Context())
		if e := mustFail(t, err, ErrUnavailable); !e.App || !strings.Contains(err.Error(), broken.Error()) {
			t.Errorf("got %v, want the operator to learn the cause", err)
		}
	})
}
