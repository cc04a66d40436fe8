package kibo

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// trip has as many calls fail as open the breaker. After that Kibo is well.
func trip(t *testing.T, f *fake, c *Client) {
	t.Helper()
	f.on(authPath, say(500, ""))
	for range tripAfter {
		_, err := c.exchange(t.Context())
		mustFail(t, err, ErrUnavailable)
	}
	f.on(authPath, say(200, ticketJSON))
}

// ready returns a client that has its app token.
func ready(t *testing.T, f *fake, change ...func(*Config)) *Client {
	t.Helper()
	c := inBubble(t, f, change...)
	if err := c.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	return c
}

// mustBeLeftAlone wants calls to fail at once, unsent, with a wait that is not
// shorter than the time left.
func mustBeLeftAlone(t *testing.T, f *fake, c *Client) {
	t.Helper()
	start, sent := time.Now(), f.count(authPath)+f.count(refreshPath)+f.count(requestPath)
	_, exchange := c.exchange(t.Context())
	_, refresh := c.refresh(t.Context())
	for op, err := range map[string]error{
		"otp/auth": exchange, "refresh": refresh, "otp/request": requestOnce(c, t.Context()), "ready": c.Ready(t.Context()),
	} {
		e := mustFail(t, err, ErrUnavailable)
		left := time.Until(c.api.resume)
		if e.RetryAfter < left || e.RetryAfter > left*6/5 || e.Op != op || e.App || e.Status != 0 {
			t.Errorf("%s: got %+v, want to wait for %v and a fifth at most", op, *e, left)
		}
	}
	if n := f.count(authPath) + f.count(refreshPath) + f.count(requestPath) - sent; n != 0 || time.Since(start) != 0 {
		t.Errorf("got %d calls and %v, want none and no time lost", n, time.Since(start))
	}
}

func TestOutageIsLeftAlone(t *testing.T) {
	outages := map[string]http.HandlerFunc{
		"error":          say(500, ""),
		"maintenance":    say(503, "<html>"),
		"redirect":       say(302, ""),
		"page":           say(200, "<html>"),
		"empty":          say(200, ""),
		"error with 200": say(200, `{"errorCode":"X"}`),
		"ticket without": say(200, `{}`),
		"slower than we": hang,
		"slow for a while": func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(11 * time.Second)
			io.WriteString(w, ticketJSON)
		},
	}
	for name, outage := range outages {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				f.on(authPath, outage)
				c := ready(t, f)
				for i := range tripAfter {
					if err := c.Ready(t.Context()); err != nil {
						t.Fatalf("after %d failures: %v", i, err)
					}
					_, err := c.exchange(t.Context())
					mustFail(t, err, ErrUnavailable)
				}
				for range 3 {
					mustBeLeftAlone(t, f, c)
					time.Sleep(openTime/3 - time.Millisecond)
				}
				f.on(authPath, say(200, ticketJSON))
				time.Sleep(openSpread + time.Second)
				for range 20 {
					if _, err := c.exchange(t.Context()); err != nil {
						t.Fatalf("after the outage: %v", err)
					}
				}
				time.Sleep(11 * time.Second) // a slow answer ends
			})
		})
	}
}

// TestOutageOverNetwork has the faults that only a socket can have.
func TestOutageOverNetwork(t *testing.T) {
	for name, outage := range map[string]http.HandlerFunc{"reset": reset, "closed": raw(""), "cut": raw("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{")} {
		t.Run(name, func(t *testing.T) {
			f := newFake()
			f.on(authPath, outage)
			c := overNetwork(t, f)
			for range 2 * tripAfter {
				_, err := c.exchange(t.Context())
				mustFail(t, err, ErrUnavailable)
			}
			if n := f.count(authPath); n != tripAfter {
				t.Errorf("sent %d times, want %d", n, tripAfter)
			}
		})
	}
}

// TestNoOutage: what a visitor can bring about shuts out nobody else.
func TestNoOutage(t *testing.T) {
	cancelled := func(c *Client, ctx context.Context) error {
		ctx, cancel := context.WithCancel(ctx)
		time.AfterFunc(time.Second, cancel)
		return exchangeOnce(c, ctx)
	}
	hasty := func(c *Client, ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		return exchangeOnce(c, ctx)
	}
	tests := []struct {
		name   string
		answer http.HandlerFunc
		do     func(*Client, context.Context) error
		want   error
	}{
		{"wrong codes", say(401, `{"errorCode":"INVALID_OTP"}`), exchangeOnce, ErrRejected},
		{"unknown addresses", say(404, `{"errorCode":"ITEM_NOT_FOUND"}`), requestOnce, ErrRejected},
		{"locked accounts", say(423, ""), exchangeOnce, ErrRejected},
		{"refused refresh tokens", say(404, "{}"), refreshOnce, ErrRejected},
		{"refused application", say(401, refusedJSON), refreshOnce, ErrUnavailable},
		{"firewall dislikes the form", say(403, "<html>"), exchangeOnce, ErrUnavailable},
		{"too much for Kibo", say(413, ""), exchangeOnce, ErrUnavailable},
		{"customers leave", hang, cancelled, context.Canceled},
		{"callers in a hurry", hang, hasty, context.DeadlineExceeded},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				for _, path := range []string{authPath, requestPath, refreshPath} {
					f.on(path, tt.answer)
				}
				c := ready(t, f)
				for i := range 4 * tripAfter {
					if err := tt.do(c, t.Context()); !errors.Is(err, tt.want) {
						t.Fatalf("call %d: got %v, want %v", i, err, tt.want)
					}
				}
				if n := f.count(authPath) + f.count(requestPath) + f.count(refreshPath); n < 4*tripAfter {
					t.Errorf("sent %d times, want every time", n)
				}
			})
		})
	}
}

func TestFailuresMustBeConsecutive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		c := ready(t, f)
		for _, good := range []http.HandlerFunc{say(200, ticketJSON), say(401, "{}"), say(200, ticketJSON)} {
			f.on(authPath, say(500, ""))
			for range tripAfter - 1 {
				_, err := c.exchange(t.Context())
				mustFail(t, err, ErrUnavailable)
			}
			f.on(authPath, good)
			c.exchange(t.Context())
		}
		if n, want := f.count(authPath), 3*tripAfter; n != want {
			t.Errorf("sent %d times, want %d", n, want)
		}
	})
}

// TestBurstIntoAnOutage: each call is sent once or not at all, also when the
// breaker opens among them.
func TestBurstIntoAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		var n atomic.Int64
		f.on(authPath, func(w http.ResponseWriter, _ *http.Request) {
			time.Sleep(time.Duration(n.Add(1)) * time.Millisecond)
			w.WriteHeader(500)
		})
		c := ready(t, f, func(cfg *Config) { cfg.MaxConns = 10 })
		var sent, unsent atomic.Int64
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				_, err := c.exchange(t.Context())
				switch e, _ := errors.AsType[*Error](err); {
				case e == nil || !errors.Is(err, ErrUnavailable):
					t.Errorf("got %v", err)
				case e.Status == 500:
					sent.Add(1)
				default:
					unsent.Add(1)
				}
			})
		}
		wg.Wait()
		if got := int64(f.count(authPath)); got != sent.Load() || got >= 20 || sent.Load()+unsent.Load() != 100 {
			t.Errorf("%d calls reached Kibo, %d callers think so, of 100", got, sent.Load())
		}
	})
}

// TestHostsFailApart: without the host of app tokens sign-ins go on for as long
// as the token lives, and then fail fast.
func TestHostsFailApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.on(oauthPath, inTurn(grants(3600), say(500, "")))
		c := ready(t, f)
		time.Sleep(41 * time.Minute) // from now on each exchange wants a newer token
		for range 19 {
			if _, err := c.exchange(t.Context()); err != nil {
				t.Fatalf("with a token that lives: %v", err)
			}
			time.Sleep(time.Minute)
		}
		time.Sleep(time.Minute)
		for range 2 * tripAfter {
			_, err := c.exchange(t.Context())
			if e := mustFail(t, err, ErrUnavailable); e.Op != "oauth" {
				t.Fatalf("got %+v", *e)
			}
		}
		before := f.count(oauthPath)
		e := mustFail(t, c.Ready(t.Context()), ErrUnavailable)
		if f.count(oauthPath) != before || e.RetryAfter < time.Second || c.api.open {
			t.Errorf("got %+v after %d grants, want the host of app tokens alone to be left alone", *e, before)
		}
	})
}

// TestRefusedCredentialsAreNoOutage: the operator is told what is wrong as often
// as it happens, and not that Kibo is down.
func TestRefusedCredentialsAreNoOutage(t *testing.T) {
	for _, status := range []int{200, 401} {
		synctest.Test(t, func(t *testing.T) {
			f := newFake()
			f.on(oauthPath, say(status, `{"errorCode":"INVALID_CREDENTIALS"}`))
			c := inBubble(t, f)
			for range 4 * tripAfter {
				if e := mustFail(t, c.Ready(t.Context()), ErrUnavailable); !e.App {
					t.Fatalf("status %d: got %+v, want the application to blame", status, *e)
				}
			}
		})
	}
}

// TestWhileLeftAloneNoAppTokenIsAskedFor either: the call would not be made.
func TestWhileLeftAloneNoAppTokenIsAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.on(oauthPath, grants(30))
		c := ready(t, f)
		time.Sleep(29 * time.Second)
		trip(t, f, c)
		time.Sleep(2 * time.Second) // the app token has ended
		mustBeLeftAlone(t, f, c)
		if n := f.count(oauthPath); n != 1 {
			t.Errorf("got %d app tokens, want 1", n)
		}
	})
}

// TestQueueLearnsOfAPause: who waits for a place while Kibo asks for a pause, or
// fails, is not sent into it.
func TestQueueLearnsOfAPause(t *testing.T) {
	for _, tt := range []struct {
		status, most int
		want         error
	}{{429, 1, ErrLimited}, {500, tripAfter, ErrUnavailable}} {
		synctest.Test(t, func(t *testing.T) {
			f := newFake()
			f.on(authPath, func(w http.ResponseWriter, _ *http.Request) {
				time.Sleep(time.Second)
				w.WriteHeader(tt.status)
			})
			c := ready(t, f, func(cfg *Config) { cfg.MaxConns = 1 })
			var wg sync.WaitGroup
			for range 20 {
				wg.Go(func() {
					if _, err := c.exchange(t.Context()); !errors.Is(err, tt.want) {
						t.Errorf("got %v, want %v", err, tt.want)
					}
				})
			}
			wg.Wait()
			if n := f.count(authPath); n != tt.most {
				t.Errorf("status %d: sent %d times, want %d", tt.status, n, tt.most)
			}
		})
	}
}

// TestPauseAndBreakerAgree: the longer of the two holds, under its own name.
func TestPauseAndBreakerAgree(t *testing.T) {
	limited := withStatus(429, "Retry-After", "60")
	tests := []struct {
		name    string
		answers []http.HandlerFunc // in this order, to calls begun together
		want    error
		wait    time.Duration // at least
	}{
		{"limit, then failures", []http.HandlerFunc{limited, say(500, ""), say(500, ""), say(500, ""), say(500, ""), say(500, "")}, ErrLimited, time.Minute},
		{"failures, then a limit", []http.HandlerFunc{say(500, ""), say(500, ""), say(500, ""), say(500, ""), say(500, ""), limited}, ErrLimited, time.Minute},
		{"limits only", slices.Repeat([]http.HandlerFunc{limited}, 2*tripAfter), ErrLimited, time.Minute},
		{"a short limit, then failures", []http.HandlerFunc{withStatus(429, "Retry-After", "1"), say(500, ""), say(500, ""), say(500, ""), say(500, "")}, ErrUnavailable, openTime},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				answer := make(chan http.HandlerFunc)
				f.on(authPath, func(w http.ResponseWriter, r *http.Request) { (<-answer)(w, r) })
				c := ready(t, f)
				for range tt.answers {
					go c.exchange(t.Context())
				}
				synctest.Wait()
				for _, h := range tt.answers {
					answer <- h
					synctest.Wait()
				}
				e := mustFail(t, c.Ready(t.Context()), tt.want)
				if e.RetryAfter < tt.wait || e.RetryAfter > tt.wait*9/5 {
					t.Errorf("got %v, want about %v", e.RetryAfter, tt.wait)
				}
				time.Sleep(tt.wait * 9 / 5)
				if err := c.Ready(t.Context()); err != nil {
					t.Errorf("after the pause: %v", err)
				}
			})
		})
	}
}

func withStatus(status int, name, value string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set(name, value)
		w.WriteHeader(status)
	}
}
