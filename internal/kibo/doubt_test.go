package kibo

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// vagueJSON is a refusal that may mean the application or a wrong code.
const vagueJSON = `{"errorCode":"UNAUTHORIZED","applicationName":"Customer","message":"secret text"}`

// A presenter sends a customer's credentials.
type presenter struct {
	path string
	do   func(*Client, context.Context) (*Ticket, error)
}

var presenters = map[string]presenter{
	"otp/auth": {authPath, (*Client).exchange},
	"2fa/auth": {secondPath, (*Client).second},
	"password": {loginPath, (*Client).login},
}

// TestWrongCodeSaidLikeARefusedApp: if Kibo says UNAUTHORIZED to a wrong code,
// the customer hears of a wrong code, and it costs neither tries nor app tokens.
func TestWrongCodeSaidLikeARefusedApp(t *testing.T) {
	for op, p := range presenters {
		for name, refusal := range map[string]http.HandlerFunc{
			"flat": say(401, vagueJSON), "bare": say(401, `{"errorCode":"unauthorized"}`),
			"forbidden": say(403, vagueJSON), "nested": say(401, `{"items":[`+vagueJSON+`]}`),
		} {
			t.Run(op+" "+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					f := newFake()
					f.on(oauthPath, grants(3600))
					f.on(p.path, refusal)
					c := ready(t, f)
					wrong := func(times int) (sent, granted int) {
						sent, granted = f.count(p.path), f.count(oauthPath)
						for range times {
							_, err := p.do(c, t.Context())
							if e := mustFail(t, err, ErrRejected); e.App || e.Op != op || errors.Is(err, ErrUnavailable) {
								t.Errorf("got %+v, want a refused customer", *e)
							}
						}
						return f.count(p.path) - sent, f.count(oauthPath) - granted
					}
					if sent, granted := wrong(1); sent != 2 || granted != 1 {
						t.Errorf("the first: sent %d times, with %d new app tokens, want 2 and 1", sent, granted)
					}
					if sent, granted := wrong(20); sent != 20 || granted != 0 {
						t.Errorf("20 more: sent %d times, with %d new app tokens, want 20 and 0", sent, granted)
					}
					time.Sleep(renewPause)
					if sent, granted := wrong(20); sent != 21 || granted != 1 {
						t.Errorf("20 in another minute: sent %d times, with %d new app tokens, want 21 and 1", sent, granted)
					}
					f.on(p.path, say(200, ticketJSON))
					if _, err := p.do(c, t.Context()); err != nil {
						t.Errorf("a right code after all that: %v", err)
					}
				})
			})
		}
	}
}

// TestRefusedAppIsNoWrongCode: where it is certain, nobody hears of a wrong code.
func TestRefusedAppIsNoWrongCode(t *testing.T) {
	for op, p := range presenters {
		for name, refusal := range map[string]string{
			"by the proxy": refusedJSON, "by its code": `{"applicationName":"Tenant","errorCode":"INVALID_ACCESS_TOKEN"}`,
		} {
			t.Run(op+" "+name, func(t *testing.T) {
				f := newFake()
				f.on(oauthPath, grants(3600))
				f.on(p.path, say(401, refusal))
				c := overNetwork(t, f)
				for i := range 2 {
					_, err := p.do(c, t.Context())
					if e := mustFail(t, err, ErrUnavailable); !e.App {
						t.Errorf("got %+v, want a refused application", *e)
					}
					if n := f.count(p.path); n != 2*(i+1) {
						t.Errorf("sent %d times, want two per call", n)
					}
				}
			})
		}
	}
}

// TestRefusedAppAtOtherCalls: a call that presents nothing a customer typed is
// refused for the app token alone.
func TestRefusedAppAtOtherCalls(t *testing.T) {
	again := func(c *Client, ctx context.Context) error {
		return c.RequestSecondFactor(ctx, SecondFactorRequest{UserID: "f00d"})
	}
	for path, do := range map[string]func(*Client, context.Context) error{
		requestPath: requestOnce, refreshPath: refreshOnce, againPath: again,
	} {
		f := newFake()
		f.on(oauthPath, grants(3600))
		f.on(path, say(401, vagueJSON))
		c := overNetwork(t, f)
		if e := mustFail(t, do(c, t.Context()), ErrUnavailable); !e.App || f.count(path) != 2 {
			t.Errorf("%s: got %+v after %d calls, want the application refused after 2", path, *e, f.count(path))
		}
	}
}

// TestRevokedAppTokenVaguely: a right code is not lost to a revoked app token
// that Kibo refuses in words which would suit a wrong code.
func TestRevokedAppTokenVaguely(t *testing.T) {
	for op, p := range presenters {
		for name, age := range map[string]time.Duration{"young": 0, "old": 2 * time.Minute} {
			t.Run(op+" "+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					f := newFake()
					f.on(oauthPath, grants(3600))
					f.on(p.path, func(w http.ResponseWriter, r *http.Request) {
						if r.Header.Get("Authorization") != "Bearer app2" {
							say(401, vagueJSON)(w, r)
							return
						}
						say(200, ticketJSON)(w, r)
					})
					c := ready(t, f)
					time.Sleep(age)
					if _, err := p.do(c, t.Context()); err != nil || f.count(p.path) != 2 || f.count(oauthPath) != 2 {
						t.Errorf("got %v, %d calls, %d app tokens, want a ticket, 2 and 2", err, f.count(p.path), f.count(oauthPath))
					}
				})
			})
		}
	}
}

// TestWrongCodeAfterARevokedAppToken: the proxy refuses the app token for
// certain, and then the new one comes with a wrong code.
func TestWrongCodeAfterARevokedAppToken(t *testing.T) {
	f := newFake()
	f.on(oauthPath, grants(3600))
	f.on(authPath, inTurn(say(401, refusedJSON), say(401, vagueJSON)))
	c := overNetwork(t, f)
	_, err := c.exchange(t.Context())
	if mustFail(t, err, ErrRejected); f.count(authPath) != 2 || f.count(oauthPath) != 2 {
		t.Errorf("got %d calls with %d app tokens, want 2 and 2", f.count(authPath), f.count(oauthPath))
	}
}

// TestAppTokenFoundSoundIsRevoked: even in its minute of trust a call that is
// certain, or presents no credentials, replaces a revoked app token.
func TestAppTokenFoundSoundIsRevoked(t *testing.T) {
	f := newFake()
	f.on(oauthPath, grants(3600))
	f.on(authPath, say(401, vagueJSON))
	c := overNetwork(t, f)
	_, err := c.exchange(t.Context())
	mustFail(t, err, ErrRejected) // app2 is sound

	f.on(authPath, only("app3", say(200, ticketJSON)))
	if _, err := c.exchange(t.Context()); err != nil || f.count(oauthPath) != 3 {
		t.Errorf("refused by the proxy: got %v with %d app tokens, want a ticket with 3", err, f.count(oauthPath))
	}
	f.on(requestPath, inTurn(say(401, vagueJSON), only("app4", say(200, ""))))
	if err := requestOnce(c, t.Context()); err != nil {
		t.Errorf("refused vaguely without credentials: got %v", err)
	}
}

// TestWrongCodeKeepsTheAppToken: while no app token is to be had, a wrong code
// must not take the good one from everybody.
func TestWrongCodeKeepsTheAppToken(t *testing.T) {
	for name, outage := range map[string]http.HandlerFunc{"down": say(503, ""), "limited": say(429, ""), "hang": hang} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				f.on(oauthPath, inTurn(grants(3600), outage))
				f.on(authPath, say(401, vagueJSON))
				c := ready(t, f)
				time.Sleep(2 * time.Minute)
				for range 2 * tripAfter {
					if _, err := c.exchange(t.Context()); err == nil || errors.Is(err, ErrRejected) {
						t.Errorf("got %v, want that it can not be told", err)
					}
				}
				if n := f.count(authPath); n != 2*tripAfter {
					t.Errorf("sent %d times, want once per call", n)
				}
				if err := requestOnce(c, t.Context()); err != nil {
					t.Errorf("with a token for another 58 minutes: %v", err)
				}
				time.Sleep(time.Minute)
			})
		})
	}
}

// TestManyWrongCodesAtOnce share the one new app token.
func TestManyWrongCodesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.on(oauthPath, grants(3600))
		f.on(authPath, func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(time.Second)
			say(401, vagueJSON)(w, r)
		})
		c := ready(t, f)
		time.Sleep(2 * time.Minute)
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				if _, err := c.exchange(t.Context()); !errors.Is(err, ErrRejected) {
					t.Errorf("got %v", err)
				}
			})
		}
		wg.Wait()
		if n := f.count(oauthPath); n != 2 {
			t.Errorf("got %d app tokens, want one new one", n)
		}
	})
}
