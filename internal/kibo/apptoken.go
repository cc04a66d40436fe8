package kibo

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/kiboauth/caddy-kibo-auth/internal/redact"
)

const (
	// renewMargin before its end an app token is replaced, as Kibo's own MCP
	// server does; of short tokens it is a quarter of their life.
	renewMargin = 5 * time.Minute
	// renewPause between tries to replace a token that is still good.
	renewPause = time.Minute
	// ticketLife is what an app token should have left when a ticket is asked
	// for: the exp of jwtAccessToken is that of the app token, while customer
	// tickets live 15 minutes.
	ticketLife = 20 * time.Minute
	// defaultAppLife if expires_in is missing; Kibo says tokens live one hour.
	defaultAppLife = time.Hour
	maxAppLife     = 24 * time.Hour
)

// An appToken is the application's own bearer token. It is immutable.
type appToken struct {
	redact.Hidden

	value                   redact.Text
	granted, renew, expires time.Time
}

func (t *appToken) valid(now time.Time) bool { return t != nil && now.Before(t.expires) }

// good reports that there is no reason to look for a better token.
func (t *appToken) good(now time.Time, minLife time.Duration) bool {
	return now.Before(t.renew) && t.expires.Sub(now) >= minLife
}

// Ready tells whether a call for a customer would get as far as Kibo: that Kibo
// has asked for no pause, that calls have not been failing, and that an app
// token is at hand. If one is, it makes no call. The error is as for any call, with "ready" or "oauth" for its Op.
func (c *Client) Ready(ctx context.Context) error {
	if err := c.api.refuse("ready"); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, c.timeout, errSlow)
	defer cancel()
	_, err := c.token(ctx, 0)
	return err
}

// token returns an app token which, if that can be had, lives for another
// minLife. A token that is merely getting old is used on if no new one is to be
// had soon.
func (c *Client) token(ctx context.Context, minLife time.Duration) (*appToken, error) {
	now := time.Now()
	c.mu.Lock()
	cur, tried := c.app, now.Sub(c.lastGrant) < renewPause
	c.mu.Unlock()

	if !cur.valid(now) {
		return c.renew(ctx, cur)
	}
	if cur.good(now, minLife) || tried {
		return cur, nil
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout/4) // leaves time for the call itself
	defer cancel()
	if tok, err := c.renew(ctx, cur); err == nil {
		return tok, nil
	}
	return cur, nil
}

// renew gets a token in place of old. All callers share one request, which goes
// on when the caller who happened to be first gives up.
func (c *Client) renew(ctx context.Context, old *appToken) (*appToken, error) {
	shared := c.flight.DoChan("", func() (any, error) {
		if cur := c.current(); cur != old && cur.valid(time.Now()) {
			return cur, nil // another flight has just landed
		}
		ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), c.timeout, errSlow)
		defer cancel()
		tok, err := c.grant(ctx)
		c.mu.Lock()
		defer c.mu.Unlock()
		c.lastGrant = time.Now()
		if err != nil {
			return nil, err
		}
		c.app = tok
		return tok, nil
	})
	select {
	case r := <-shared:
		if r.Err != nil {
			return nil, r.Err
		}
		return r.Val.(*appToken), nil
	case <-ctx.Done():
		return nil, lost(ctx, "oauth", ctx.Err())
	}
}

func (c *Client) current() *appToken {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.app
}

// drop forgets tok, which Kibo refuses, unless it has been replaced already.
func (c *Client) drop(tok *appToken) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.app == tok {
		c.app = nil
	}
}

// isSound reports that tok was new when it was found not to be at fault, and
// still is.
func (c *Client) isSound(tok *appToken) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sound == tok && time.Since(tok.granted) < renewPause
}

func (c *Client) setSound(tok *appToken) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sound = tok
}

// grant asks for a new token with the application's credentials. The refresh
// token that comes with the old one is never used: three forms of refreshing
// are documented, and asking anew is the one that works.
func (c *Client) grant(ctx context.Context) (*appToken, error) {
	id, shared, err := c.credentials()
	if err != nil {
		return nil, &Error{Op: "oauth", kind: ErrUnavailable, App: true, reason: fmt.Errorf("reading credentials: %w", err)}
	}
	var tok *appToken
	asked := time.Now()
	err = c.roundTrip(ctx, c.auth, call{
		op: "oauth", method: http.MethodPost, path: "/platform/applications/authtickets/oauth",
		body: map[string]string{"client_id": id, "client_secret": shared, "grant_type": "client_credentials"},
		read: func(a *answer) (err error) { tok, err = decodeAppToken(a, asked); return err },
	})
	if err != nil {
		return nil, blameApp(err)
	}
	return tok, nil
}

// blameApp turns a refusal into what it is here: there is no customer who could
// present anything better.
func blameApp(err error) error {
	e, ok := errors.AsType[*Error](err)
	if !ok || !(e.App || errors.Is(err, ErrRejected)) {
		return err
	}
	blamed := *e
	blamed.kind, blamed.App, blamed.Locked = ErrUnavailable, true, false
	blamed.reason = reason("application credentials refused")
	return &blamed
}

func decodeAppToken(a *answer, asked time.Time) (*appToken, error) {
	var w struct {
		ErrorCode   text
		AccessToken string `json:"access_token"`
		ExpiresIn   text   `json:"expires_in"`
	}
	if err := decodeObject(a.body, &w); err != nil {
		return nil, a.fail(ErrUnavailable, err)
	}
	if w.ErrorCode != "" { // Kibo's own clients do not trust the status alone either
		e := a.fail(ErrUnavailable, reason("application credentials refused"))
		e.App = true
		return nil, e
	}
	life, err := appLife(string(w.ExpiresIn))
	if err != nil || w.AccessToken == "" || !printable(w.AccessToken) {
		return nil, a.fail(ErrUnavailable, reason("answer has no usable application token"))
	}
	expires := asked.Add(life)
	return &appToken{value: redact.New(w.AccessToken), granted: asked, renew: expires.Add(-min(renewMargin, life/4)), expires: expires}, nil
}

// appLife reads expires_in, in seconds.
func appLife(s string) (time.Duration, error) {
	if s = strings.TrimSpace(s); s == "" {
		return defaultAppLife, nil
	}
	sec, err := strconv.ParseFloat(s, 64)
	if err != nil || !(sec > 0) { // not a number is not more than 0
		return 0, reason("expires_in is not a number of seconds")
	}
	return time.Duration(min(sec, maxAppLife.Seconds()) * float64(time.Second)), nil
}
