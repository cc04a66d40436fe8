package kibo

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

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
		f.on(authPath, inTurn(say(200, ticketJSON), say(500, ""), say(200, ticketJSON)))
		for range 2 {
			c.exchange(t.Context()) // a good probe and a bad one are no news
		}
		time.Sleep(openTime + openSpread)
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

// TestCallsAreTold: each request that is sent, and how it ended; none that is not.
func TestCallsAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type told struct {
			op   string
			took time.Duration
			kind error
		}
		var got []told
		f := newFake()
		c := ready(t, f, func(cfg *Config) {
			cfg.OnCall = func(op string, took time.Duration, err error) {
				e, _ := errors.AsType[*Error](err)
				if e == nil {
					e = new(Error)
				}
				got = append(got, told{op, took, e.kind})
			}
		})
		f.on(authPath, inTurn(say(200, ticketJSON), say(409, `{"errorCode":"X"}`), say(429, ""), hang))
		for range 5 { // of which two are not sent
			c.exchange(t.Context())
		}
		time.Sleep(2 * defaultPause)
		c.exchange(t.Context())
		want := []told{
			{"oauth", 0, nil},
			{"otp/auth", 0, nil},
			{"otp/auth", 0, ErrRejected},
			{"otp/auth", 0, ErrLimited},
			{"otp/auth", c.timeout, ErrUnavailable},
		}
		if !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}
