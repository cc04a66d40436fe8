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

func TestProbesAreFew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		c := ready(t, f)
		trip(t, f, c)
		answer := make(chan http.HandlerFunc)
		f.on(authPath, func(w http.ResponseWriter, r *http.Request) { (<-answer)(w, r) })
		before := f.count(authPath)
		herd := func() (wait func() (good int)) {
			time.Sleep(openTime + openSpread)
			var good atomic.Int64
			var wg sync.WaitGroup
			for range 50 {
				wg.Go(func() {
					_, err := c.exchange(t.Context())
					e, _ := errors.AsType[*Error](err)
					switch {
					case e == nil:
						good.Add(1)
					case e.Status == 0 && (e.RetryAfter < time.Second || e.RetryAfter > 1200*time.Millisecond):
						t.Errorf("beside a probe: got %+v, want a second to wait", *e)
					}
				})
			}
			synctest.Wait()
			if e := mustFail(t, c.Ready(t.Context()), ErrUnavailable); e.Op != "ready" || e.RetryAfter == 0 {
				t.Errorf("ready during the probes: got %+v", *e)
			}
			return func() int { wg.Wait(); return int(good.Load()) }
		}

		wait := herd()
		if n := f.count(authPath) - before; n != probes {
			t.Fatalf("%d probes, want %d", n, probes)
		}
		for _, h := range []http.HandlerFunc{say(200, ticketJSON), say(503, ""), say(200, ticketJSON)} {
			answer <- h
			synctest.Wait()
		}
		if good := wait(); good != 2 {
			t.Errorf("%d served, want 2", good)
		}
		mustBeLeftAlone(t, f, c) // for one of the probes failed

		wait = herd()
		for range probes {
			answer <- say(401, "{}") // a wrong code is a sign of life
			synctest.Wait()
		}
		wait()
		f.on(authPath, say(200, ticketJSON))
		for range 20 {
			if _, err := c.exchange(t.Context()); err != nil {
				t.Fatalf("after good probes: %v", err)
			}
		}
	})
}

// TestLostProbesFreeTheirPlace: a probe that teaches nothing can not shut the
// breaker for good.
func TestLostProbesFreeTheirPlace(t *testing.T) {
	losses := map[string]func(*fake, *Client, context.Context){
		"customer leaves": func(f *fake, c *Client, ctx context.Context) {
			f.on(authPath, hang)
			ctx, cancel := context.WithTimeout(ctx, time.Second)
			defer cancel()
			c.exchange(ctx)
		},
		"firewall": func(f *fake, c *Client, ctx context.Context) {
			f.on(authPath, say(403, "<html>"))
			c.exchange(ctx)
		},
		"panic": func(f *fake, c *Client, ctx context.Context) {
			defer func() { recover(); c.transport = f }()
			c.transport = panics{}
			c.exchange(ctx)
		},
	}
	for name, loss := range losses {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				c := ready(t, f)
				trip(t, f, c)
				for range 2 * probes {
					time.Sleep(openTime + openSpread)
					loss(f, c, t.Context())
				}
				time.Sleep(openTime + openSpread)
				f.on(authPath, say(200, ticketJSON))
				if _, err := c.exchange(t.Context()); err != nil || !c.gate.empty() {
					t.Errorf("got %v, want Kibo to be asked again", err)
				}
			})
		})
	}
}

type panics struct{}

func (panics) RoundTrip(*http.Request) (*http.Response, error) { panic("no transport") }

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

func TestCallersReturnApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		c := ready(t, f)
		trip(t, f, c)
		waits := make(map[time.Duration]bool)
		for range 50 {
			waits[mustFail(t, c.Ready(t.Context()), ErrUnavailable).RetryAfter] = true
		}
		if len(waits) < 40 {
			t.Errorf("50 callers got %d different waits", len(waits))
		}
	})
}

func TestChangesAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c *Client
		var got []string
		f := newFake()
		c = ready(t, f, func(cfg *Config) {
			cfg.OnState = func(host string, open bool) {
				if open {
					host += " open"
					mustFail(t, c.Ready(t.Context()), ErrUnavailable) // no lock is in the way
				}
				got = append(got, host)
			}
		})
		trip(t, f, c)
		mustBeLeftAlone(t, f, c)
		time.Sleep(openTime + openSpread)
		f.on(authPath, say(500, ""))
		c.exchange(t.Context()) // a probe that fails is no news
		time.Sleep(openTime + openSpread)
		f.on(authPath, say(200, ticketJSON))
		for range 10 {
			if _, err := c.exchange(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		trip(t, f, c)
		if want := []string{"api open", "api", "api open"}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

// TestSlowListener: who listens slowly hears the last word nevertheless, one at
// a time, and delays nobody but the call that brought the news.
func TestSlowListener(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []bool
		f := newFake()
		f.on(authPath, say(500, ""))
		c := ready(t, f, func(cfg *Config) {
			cfg.OnState = func(_ string, open bool) {
				got = append(got, open) // a race if called twice at a time
				time.Sleep(time.Minute)
			}
		})
		heard := make(chan struct{})
		go func() {
			defer close(heard)
			for range tripAfter {
				c.exchange(t.Context())
			}
		}()
		time.Sleep(openTime + openSpread)
		f.on(authPath, say(200, ticketJSON))
		for range 10 {
			start := time.Now()
			if _, err := c.exchange(t.Context()); err != nil || time.Since(start) != 0 {
				t.Fatalf("got %v after %v", err, time.Since(start))
			}
		}
		<-heard
		if want := []bool{true, false}; !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}
