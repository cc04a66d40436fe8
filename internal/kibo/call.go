package kibo

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/kiboauth/caddy-kibo-auth/internal/redact"
)

// A call is one request to Kibo, before it has a bearer.
type call struct {
	redact.Hidden

	op, method, path string
	query            url.Values
	body             any // encoded as JSON; nil: none
	header           http.Header
	clientIP         string        // of the customer; "": unknown
	minLife          time.Duration // that the app token should have left
	credentials      bool          // it presents what a customer typed, and a refusal may be about that
	// read takes what is wanted out of a success; its error is an *Error, and
	// the success then a failure of Kibo's.
	read func(*answer) error
}

// do makes a customer's call, with the app token.
//
// If Kibo refuses the app token, the call was not looked at, and is repeated
// once with a new one. That is the only repeat: after a timeout, a reset or a
// 5xx nobody knows whether a code was spent or a refresh token rotated.
func (c *Client) do(ctx context.Context, q call) error {
	ctx, cancel := context.WithTimeoutCause(ctx, c.timeout, errSlow)
	defer cancel()
	if !c.gate.enter() {
		return &Error{Op: q.op, kind: ErrUnavailable, reason: reason("too many calls are waiting already")}
	}
	defer c.gate.leave()

	tok, err := c.try(ctx, q)
	if tok == nil || !appRefused(err) {
		return err
	}
	if doubt := q.credentials && vague(err); !doubt {
		c.drop(tok)
	} else if c.isSound(tok) {
		return blameCustomer(err)
	} else if _, err := c.renew(ctx, tok); err != nil { // tok stays: it may be good
		return err
	}
	tok, err = c.try(ctx, q)
	if tok != nil && q.credentials && vague(err) {
		c.setSound(tok)
		return blameCustomer(err)
	}
	return err
}

// vague reports a refusal that may mean the app token or, of a call with a
// customer's credentials, those. Kibo's front proxy, which checks the app
// token, is known to say UNAUTHORIZED and its own name (seen in Kibo's public
// bug reports). What is said of a wrong code or password is not documented,
// and the same word from anybody but the proxy would suit.
//
// The repeat with a new token tells: if that is refused too, it was the
// credentials. The new token then counts as sound for its first minute, in
// which a vague refusal is the customer's at once. So wrong codes are neither
// sent twice nor cost an app token more than once a minute. Nor can they take
// from everybody a good token while no other is to be had: it is kept until
// then. The price: of a token revoked in that minute, and refused vaguely, a
// right code is refused too until any other call finds out.
func vague(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.App && strings.EqualFold(e.Code, "UNAUTHORIZED") && !strings.EqualFold(e.Application, frontProxy)
}

// blameCustomer turns the refusal of an app token that is known to be good into
// that of the customer's credentials.
func blameCustomer(err error) error {
	e, ok := errors.AsType[*Error](err)
	if !ok {
		return err
	}
	blamed := *e
	blamed.kind, blamed.App, blamed.reason = ErrRejected, false, reason("with a new application token too")
	return &blamed
}

// try makes the call once. The token is nil if the call did not get that far.
func (c *Client) try(ctx context.Context, q call) (*appToken, error) {
	if err := c.api.refuse(q.op); err != nil {
		return nil, err
	}
	tok, err := c.token(ctx, q.minLife)
	if err != nil {
		return nil, err
	}
	if err := c.gate.acquire(ctx); err != nil {
		return nil, lost(ctx, q.op, err)
	}
	defer c.gate.release()

	q.header = c.header.Clone()
	if q.header == nil {
		q.header = make(http.Header)
	}
	q.header.Set("Authorization", "Bearer "+tok.value.Reveal())
	if q.clientIP != "" {
		q.header.Set("X-Forwarded-For", q.clientIP)
	}
	return tok, c.roundTrip(ctx, c.api, q)
}

func appRefused(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.App
}

// roundTrip sends q once and reads the answer. If that is no 2xx, or not to be
// used, the error is an *Error.
func (c *Client) roundTrip(ctx context.Context, h *host, q call) error {
	req, err := q.request(ctx, h.base)
	if err != nil {
		return &Error{Op: q.op, kind: ErrUnavailable, reason: reason("request could not be made")}
	}
	return h.guard(q.op, func() (err error) {
		if c.onCall != nil {
			defer func(begun time.Time) { c.onCall(q.op, time.Since(begun), err) }(time.Now())
		}
		a, err := c.send(req, q.op)
		if err != nil {
			return err
		}
		if e := a.judge(); e != nil {
			if e.kind == ErrLimited {
				h.leave(e.RetryAfter, true)
			}
			return e
		}
		return q.read(a)
	})
}

func (c *Client) send(req *http.Request, op string) (*answer, error) {
	resp, err := c.transport.RoundTrip(req)
	if err != nil {
		return nil, lost(req.Context(), op, err)
	}
	defer resp.Body.Close()
	return readAnswer(req.Context(), op, resp)
}

// request builds the HTTP request. It may have a GetBody: net/http uses that
// for a POST only when not one byte of it has reached the connection. A PUT or
// POST that was written is repeated only if it has an Idempotency-Key, and
// ours never has one.
func (q call) request(ctx context.Context, base string) (*http.Request, error) {
	var body io.Reader
	if q.body != nil {
		b, err := json.Marshal(q.body)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(b)
	}
	target := base + q.path
	if len(q.query) > 0 {
		target += "?" + q.query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, q.method, target, body)
	if err != nil {
		return nil, err
	}
	if q.header != nil {
		req.Header = q.header
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "caddy-kibo-auth")
	return req, nil
}

// An answer of Kibo's, read to its end.
type answer struct {
	redact.Hidden

	op     string
	status int
	header http.Header
	body   []byte
}

// readAnswer reads as much of the body as the status calls for. Only where the
// status alone tells what to do is a broken body no error.
func readAnswer(ctx context.Context, op string, resp *http.Response) (*answer, error) {
	a := &answer{op: op, status: resp.StatusCode, header: resp.Header}
	switch s := resp.StatusCode; {
	case s < 200, 300 <= s && s < 400, s == http.StatusTooManyRequests:
		return a, nil
	case s >= 500:
		a.body, _ = readBody(resp, maxErrBody)
		return a, nil
	}
	var err error
	if a.body, err = readBody(resp, maxBody); err != nil {
		e := lost(ctx, op, err)
		e.Status, e.Correlation = a.status, a.correlation()
		return nil, e
	}
	return a, nil
}

// readBody reads a body of limit bytes at most. We asked for no compression, so
// none is undone: a small answer can not become a large one.
func readBody(resp *http.Response, limit int64) ([]byte, error) {
	if enc := resp.Header.Values("Content-Encoding"); len(enc) > 0 && !strings.EqualFold(strings.Join(enc, ","), "identity") {
		return nil, reason("answer is compressed")
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > limit {
		return nil, reason("answer is too large")
	}
	return b, nil
}

func (a *answer) correlation() string {
	return sanitize(a.header.Get("X-Vol-Correlation"), "-")
}

// fail describes an answer that is not what was hoped for.
func (a *answer) fail(kind, why error) *Error {
	f, _ := decodeFault(a.body)
	e := &Error{
		Op: a.op, Status: a.status, Code: f.code, Application: f.application, Correlation: a.correlation(),
		RetryAfter: retryAfter(a.header), kind: kind,
	}
	if why != nil {
		e.reason = describe(why)
	}
	return e
}

// judge decides what a status means; nil: a success. This is the only place
// that does; do alone may know better, after its repeat. Which codes Kibo gives for a wrong or stale code, an unknown
// e-mail address or a locked account is not documented, so that the status
// class decides, and codes only where they are known.
func (a *answer) judge() *Error {
	switch s := a.status; {
	case 200 <= s && s < 300:
		return nil
	case s == http.StatusTooManyRequests:
		e := a.fail(ErrLimited, nil)
		e.RetryAfter = cmp.Or(e.RetryAfter, defaultPause)
		return e
	case 300 <= s && s < 400:
		return a.fail(ErrUnavailable, reason("redirect not followed"))
	}
	switch a.status {
	case 400, 401, 403, 404, 409, 422, 423:
		return a.judgeRefusal()
	default:
		return a.fail(ErrUnavailable, nil)
	}
}

// judgeRefusal tells a refused customer from a refused application, and both
// from a page that some proxy put in Kibo's place: Kibo's errors are JSON, or
// empty, and nobody is signed out because of a firewall's 403.
func (a *answer) judgeRefusal() *Error {
	f, ok := decodeFault(a.body)
	switch {
	case !ok && len(bytes.TrimSpace(a.body)) > 0:
		return a.fail(ErrUnavailable, reason("refusal is not Kibo's"))
	case (a.status == 401 || a.status == 403) && f.appToken():
		e := a.fail(ErrUnavailable, reason("application token refused"))
		e.App = true
		return e
	}
	e := a.fail(ErrRejected, nil)
	e.Locked = a.status == http.StatusLocked || strings.Contains(strings.ToUpper(f.code), "LOCK")
	return e
}
