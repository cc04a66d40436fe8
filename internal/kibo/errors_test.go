package kibo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestWhatAnAnswerMeans(t *testing.T) {
	const lock = `{"errorCode":"ACCOUNT_LOCKED","applicationName":"Customer"}`
	tests := []struct {
		name   string
		status int
		body   string
		want   error
		code   string
		locked bool
	}{
		{"wrong code", 401, `{"errorCode":"INVALID_OTP","message":"secret text"}`, ErrRejected, "INVALID_OTP", false},
		{"wrong code, PascalCase", 401, `{"ErrorCode":"INVALID_OTP"}`, ErrRejected, "INVALID_OTP", false},
		{"wrong code in items", 400, `{"items":[{"errorCode":"BAD","applicationName":"Customer"}]}`, ErrRejected, "BAD", false},
		{"wrong code in Items", 400, `{"Items":[{"ErrorCode":"BAD"}],"exceptionDetail":{"message":"secret text"}}`, ErrRejected, "BAD", false},
		{"refused without a word", 401, "", ErrRejected, "", false},
		{"refused with blanks", 404, " \r\n", ErrRejected, "", false},
		{"null items", 409, `{"items":null,"errorCode":null}`, ErrRejected, "", false},
		{"items of a wrong type", 422, `{"items":{"a":1},"errorCode":7}`, ErrRejected, "7", false},
		{"one-time codes switched off", 403, `{"errorCode":"FORBIDDEN"}`, ErrRejected, "FORBIDDEN", false},
		{"unknown", 404, `{"errorCode":"ITEM_NOT_FOUND"}`, ErrRejected, "ITEM_NOT_FOUND", false},
		{"locked by status", 423, `{}`, ErrRejected, "", true},
		{"locked by code", 401, lock, ErrRejected, "ACCOUNT_LOCKED", true},
		{"byte order mark", 401, "\xef\xbb\xbf" + lock, ErrRejected, "ACCOUNT_LOCKED", true},
		{"injected code", 401, `{"errorCode":"A\r\nB ann@example.com"}`, ErrRejected, "ABannexample.com", false},
		{"firewall page", 403, "<html>blocked</html>", ErrUnavailable, "", false},
		{"page not found elsewhere", 404, "404 page not found", ErrUnavailable, "", false},
		{"truncated error", 401, `{"errorCode":"INV`, ErrUnavailable, "", false},
		{"list for an error", 401, `[{"errorCode":"X"}]`, ErrUnavailable, "", false},
		{"method not allowed", 405, `{}`, ErrUnavailable, "", false},
		{"timeout at the proxy", 408, ``, ErrUnavailable, "", false},
		{"teapot", 418, ``, ErrUnavailable, "", false},
		{"internal error", 500, `{"errorCode":"UNEXPECTED_ERROR"}`, ErrUnavailable, "UNEXPECTED_ERROR", false},
		{"internal error, HTML", 500, "<html>secret text</html>", ErrUnavailable, "", false},
		{"bad gateway", 502, "", ErrUnavailable, "", false},
		{"locked, says a broken server", 503, lock, ErrUnavailable, "ACCOUNT_LOCKED", false},
		{"no content", 204, "", ErrUnavailable, "", false},
		{"not modified", 304, "", ErrUnavailable, "", false},
		{"success with an error", 200, `{"errorCode":"INVALID_OTP","accessToken":"a"}`, ErrUnavailable, "INVALID_OTP", false},
		{"success with a page", 200, "<html>", ErrUnavailable, "", false},
		{"success with null", 200, "null", ErrUnavailable, "", false},
		{"success with a list", 200, "[" + ticketJSON + "]", ErrUnavailable, "", false},
		{"two tickets", 200, ticketJSON + ticketJSON, ErrUnavailable, "", false},
		{"trailing text", 200, ticketJSON + "x", ErrUnavailable, "", false},
		{"truncated ticket", 200, ticketJSON[:100], ErrUnavailable, "", false},
		{"no tokens", 200, `{"accessToken":null,"jwtAccessToken":""}`, ErrUnavailable, "", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFake()
			c := overNetwork(t, f)
			for op, call := range map[string]struct {
				path string
				do   func(context.Context) (*Ticket, error)
			}{
				"otp/auth": {authPath, c.exchange}, "2fa/auth": {secondPath, c.second},
				"password": {loginPath, c.login}, "refresh": {refreshPath, c.refresh},
			} {
				f.on(call.path, say(tt.status, tt.body))
				tick, err := call.do(t.Context())
				e := mustFail(t, err, tt.want)
				if tick != nil {
					t.Errorf("%s: got a ticket beside the error", op)
				}
				if e.Op != op || e.Status != tt.status || e.Code != tt.code || e.Locked != tt.locked || e.App {
					t.Errorf("%s: got %+v, want code %q, locked %v", op, *e, tt.code, tt.locked)
				}
				if e.Correlation != "00ff00ff" {
					t.Errorf("%s: got correlation %q", op, e.Correlation)
				}
				if n := f.count(call.path); n != 1 {
					t.Errorf("%s: sent %d times, want once", op, n)
				}
			}
		})
	}
}

func TestCodeRequestAnswers(t *testing.T) {
	tests := []struct {
		name   string
		status int
		body   string
		want   error // nil: success
	}{
		{"empty", 200, "", nil},
		{"no content", 204, "", nil},
		{"blanks", 200, "\xef\xbb\xbf \r\n", nil},
		{"null", 200, "null", nil},
		{"object", 200, "{}", nil},
		{"error with 200", 200, `{"errorCode":"X"}`, ErrUnavailable},
		{"nested error with 200", 200, `{"items":[{"errorCode":"X"}]}`, ErrUnavailable},
		{"page of a proxy", 200, "<html>hello</html>", ErrUnavailable},
		{"unknown e-mail", 404, `{"errorCode":"ITEM_NOT_FOUND"}`, ErrRejected},
		{"switched off", 403, "", ErrRejected},
		{"trouble", 503, "", ErrUnavailable},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFake()
			f.on(requestPath, say(tt.status, tt.body))
			f.on(againPath, say(tt.status, tt.body))
			c := overNetwork(t, f)
			for op, err := range map[string]error{
				"otp/request": requestOnce(c, t.Context()),
				"2fa/request": c.RequestSecondFactor(t.Context(), SecondFactorRequest{UserID: "f00d"}),
			} {
				if !errors.Is(err, tt.want) {
					t.Errorf("%s: got %v, want %v", op, err, tt.want)
				}
				if e, ok := errors.AsType[*Error](err); ok && e.Op != op {
					t.Errorf("got %v, want it to name %s", err, op)
				}
			}
			if n, m := f.count(requestPath), f.count(againPath); n != 1 || m != 1 {
				t.Errorf("sent %d and %d times, want once each", n, m)
			}
		})
	}
}

func TestRateLimitIsKept(t *testing.T) {
	limited := func(retryAfter string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", retryAfter)
			w.WriteHeader(429)
		}
	}
	tests := []struct {
		name, header string
		want         time.Duration
	}{
		{"seconds", "90", 90 * time.Second},
		{"window", "900", 15 * time.Minute},
		{"none", "", time.Minute},
		{"nonsense", "soon", time.Minute},
		{"negative", "-5", time.Minute},
		{"zero", "0", time.Second},
		{"for ever", "4000000000", 15 * time.Minute},
		{"overflow", "99999999999999999999", time.Minute},
		{"date", "Sat, 01 Jan 2000 00:02:00 GMT", 2 * time.Minute}, // a bubble begins at midnight
		{"date past", "Fri, 31 Dec 1999 00:00:00 GMT", time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				c := inBubble(t, f)
				f.on(authPath, inTurn(limited(tt.header), say(200, ticketJSON)))
				_, err := c.exchange(t.Context())
				if e := mustFail(t, err, ErrLimited); e.RetryAfter != tt.want || e.Status != 429 {
					t.Fatalf("got %v, want %v", e.RetryAfter, tt.want)
				}

				time.Sleep(tt.want - time.Millisecond)
				_, err = c.refresh(t.Context())
				for _, err := range []error{err, c.Ready(t.Context())} {
					if e := mustFail(t, err, ErrLimited); e.RetryAfter != time.Millisecond {
						t.Errorf("got %v, want what is left of the pause", e.RetryAfter)
					}
				}
				if n := f.count(refreshPath) + f.count(authPath); n != 1 {
					t.Errorf("got %d calls during the pause, want 1", n)
				}

				time.Sleep(time.Millisecond)
				if _, err := c.exchange(t.Context()); err != nil {
					t.Errorf("after the pause: %v", err)
				}
			})
		})
	}
}

func TestErrorText(t *testing.T) {
	e := &Error{
		Op: "otp/auth", Status: 401, Code: "INVALID_OTP", Application: "Customer", Correlation: "00ff",
		kind: ErrUnavailable, reason: reason("timed out"), ctx: context.DeadlineExceeded,
	}
	want := "kibo otp/auth: unavailable: timed out, status 401, code INVALID_OTP, application Customer, correlation 00ff"
	if got := e.Error(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if !errors.Is(e, ErrUnavailable) || !errors.Is(e, context.DeadlineExceeded) || errors.Is(e, ErrRejected) {
		t.Error("wraps something else than it should")
	}
	if got := sanitize(strings.Repeat("a\n<é", 100), "-"); got != strings.Repeat("a", 64) {
		t.Errorf("sanitize: got %q", got)
	}
}

func TestReasonsQuoteNobody(t *testing.T) {
	tests := []struct {
		err  error
		want reason
	}{
		{&net.DNSError{Err: "no such host", Name: "secret.example.com"}, "host name not found"},
		{&net.DNSError{IsTimeout: true}, "timed out"},
		{&net.OpError{Op: "read", Err: os.NewSyscallError("read", syscall.ECONNRESET)}, "connection closed early"},
		{io.ErrUnexpectedEOF, "connection closed early"},
		{fmt.Errorf("x: %w", context.Canceled), "cancelled"},
		{context.DeadlineExceeded, "timed out"},
		{&url.Error{Op: "Put", URL: "https://secret", Err: errors.New("secret")}, "connection or answer broken"},
	}
	for _, tt := range tests {
		if got := describe(tt.err); got != tt.want {
			t.Errorf("describe(%v) = %q, want %q", tt.err, got, tt.want)
		}
	}
}
