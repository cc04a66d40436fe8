package kibo

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// What a caller can do about a failed call decides which of these it wraps.
var (
	// ErrRejected: Kibo refused what the customer, or the session's refresh
	// token, presented. The customer must try again with other input; a
	// refused refresh ends the session.
	ErrRejected = errors.New("rejected")
	// ErrLimited: Kibo wants fewer calls; [Error.RetryAfter] says for how
	// long. Until then calls fail with it without reaching Kibo.
	ErrLimited = errors.New("too many calls")
	// ErrUnavailable: no answer, or none to be used, or our own application is
	// refused. Nothing is known about the customer. After several such failures
	// calls fail with it for a few seconds without reaching Kibo.
	ErrUnavailable = errors.New("unavailable")
)

// Error tells how a call to Kibo failed. All its fields, and its text, may be
// logged: neither holds a URL, a message of Kibo's or anything of the
// customer's. It wraps one of ErrRejected, ErrLimited and ErrUnavailable, and
// context.Canceled or context.DeadlineExceeded when that is the reason.
type Error struct {
	Op          string        // "ready", "oauth" (application token), "password", "refresh", or a path: "otp/auth", "2fa/request"
	Status      int           // HTTP status; zero: no answer
	Code        string        // errorCode of the answer, or else of its first item
	Application string        // applicationName that belongs to Code
	Correlation string        // x-vol-correlation, which Kibo's support asks for
	RetryAfter  time.Duration // as Kibo said, or until calls are let through again; zero: not known
	Locked      bool          // the account is locked: 423, or a Code with LOCK in it
	App         bool          // the application's credentials or token are refused: the operator must act

	kind   error // one of the sentinels
	reason error // in our own words; nil: status and code say it all
	ctx    error // context error; nil: the context was not the reason
	left   bool  // the caller gave up, or had a deadline before ours
}

func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "kibo %s: %v", e.Op, e.kind)
	if e.reason != nil {
		fmt.Fprintf(&b, ": %v", e.reason)
	}
	if e.Status != 0 {
		fmt.Fprintf(&b, ", status %d", e.Status)
	}
	for _, f := range [...]struct{ name, value string }{
		{"code", e.Code}, {"application", e.Application}, {"correlation", e.Correlation},
	} {
		if f.value != "" {
			fmt.Fprintf(&b, ", %s %s", f.name, f.value)
		}
	}
	return b.String()
}

// Unwrap returns the sentinel and, if there is one, the context's error.
func (e *Error) Unwrap() []error {
	if e.ctx != nil {
		return []error{e.kind, e.ctx}
	}
	return []error{e.kind}
}

// A reason is one of our own fixed texts: what an answer says is never quoted.
type reason string

func (r reason) Error() string { return string(r) }

// errSlow is the cause of the Client's own deadline.
const errSlow = reason("timed out")

// lost describes a call without a usable answer. The text of err is not used:
// net/http quotes what it could not read.
func lost(ctx context.Context, op string, err error) *Error {
	e := &Error{Op: op, kind: ErrUnavailable, reason: describe(err)}
	if ctx.Err() != nil {
		e.ctx, e.reason = ctx.Err(), describe(ctx.Err())
		e.left = context.Cause(ctx) != errSlow
	}
	return e
}

func describe(err error) reason {
	if r, ok := errors.AsType[reason](err); ok {
		return r
	}
	if e, ok := errors.AsType[net.Error](err); ok && e.Timeout() { // context.DeadlineExceeded too
		return "timed out"
	}
	switch {
	case errors.Is(err, context.Canceled):
		return "cancelled"
	case is[*tls.CertificateVerificationError](err):
		return "certificate not accepted"
	case is[*net.DNSError](err):
		return "host name not found"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET):
		return "connection closed early"
	default:
		return "connection or answer broken"
	}
}

func is[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}

// A fault is the error object of Kibo's API, as far as we want it.
type fault struct{ code, application string }

// decodeFault reads the error object out of body. Some of Kibo's errors name
// their code only in the first of "items". ok is false if body is not a JSON
// object.
func decodeFault(body []byte) (f fault, ok bool) {
	type wire struct {
		ErrorCode       text
		ApplicationName text
	}
	var top struct {
		wire
		Items json.RawMessage
	}
	if decodeObject(body, &top) != nil {
		return fault{}, false
	}
	w := top.wire
	var items []wire
	if w.ErrorCode == "" && json.Unmarshal(top.Items, &items) == nil && len(items) > 0 {
		w = items[0]
	}
	return fault{sanitize(string(w.ErrorCode), "_.-"), sanitize(string(w.ApplicationName), "_.-")}, true
}

// frontProxy is the application that checks our token before Kibo's others see
// the call.
const frontProxy = "ReverseProxy"

// appToken reports whether the fault is about our application's token, and not
// about the customer: Kibo's front proxy then refused the call before it was
// looked at. Not all of that is certain; see vague.
func (f fault) appToken() bool {
	return strings.EqualFold(f.code, "UNAUTHORIZED") ||
		strings.EqualFold(f.code, "INVALID_ACCESS_TOKEN") ||
		strings.EqualFold(f.application, frontProxy)
}

// decodeObject decodes body, which must be one JSON object and nothing else. A
// byte order mark before it is skipped. Names are matched in any case.
func decodeObject(body []byte, v any) error {
	body = bytes.TrimPrefix(body, []byte("\xef\xbb\xbf"))
	if b := bytes.TrimLeft(body, " \t\r\n"); len(b) == 0 || b[0] != '{' {
		return reason("answer is not a JSON object")
	}
	if err := json.Unmarshal(body, v); err != nil {
		if r, ok := errors.AsType[reason](err); ok {
			return r
		}
		return reason("answer is not the JSON that it should be")
	}
	return nil
}

// sanitize keeps letters, digits and extra of s, 64 of them at most.
func sanitize(s, extra string) string {
	var b strings.Builder
	for i := 0; i < len(s) && b.Len() < 64; i++ {
		switch c := s[i]; {
		case '0' <= c && c <= '9', 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', strings.IndexByte(extra, c) >= 0:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// Bounds of the pause after a 429. Kibo documents 60 s and windows of 15
// minutes; a longer pause would only be a mistake that shuts everybody out.
const (
	defaultPause = time.Minute
	minPause     = time.Second
	maxPause     = 15 * time.Minute
)

// retryAfter reads Retry-After in both of its forms (RFC 9110 section 10.2.3),
// within the bounds above. It is zero if there is none that can be read.
func retryAfter(h http.Header) time.Duration {
	v := h.Get("Retry-After")
	if n, err := strconv.ParseUint(v, 10, 32); err == nil {
		return min(max(time.Duration(n)*time.Second, minPause), maxPause)
	}
	if t, err := http.ParseTime(v); err == nil {
		return min(max(time.Until(t), minPause), maxPause)
	}
	return 0
}
