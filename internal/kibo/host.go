package kibo

import (
	"errors"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/sony/gobreaker/v2"
)

// When a host is left alone because its answers fail.
const (
	tripAfter  = 5               // failures one after the other, however long that takes
	openTime   = 4 * time.Second // that it is left alone, at least
	openSpread = 2 * time.Second // added at random, so that gateways do not return together
	// probes are let through after that, all at once. Only when each of them
	// has succeeded do others follow; if one fails, the host is left alone anew.
	probes    = 3
	probeTime = time.Second // what callers are told to wait while probes are under way
)

// A host is one of the two that we call, with all that says how long it must be
// left alone. That is one moment, resume, which Kibo's own Retry-After and our
// circuit breaker both put off. The breaker decides when failures are too many,
// and how many calls may then probe; its own clock is not what callers wait for.
//
// Each of the two hosts has its own. They fail apart: while the host of the
// application token is down, the token at hand is good for up to an hour of
// sign-ins, and a tenant's outage is no reason to let the token lapse. That
// holds even if both have one name, as the services behind it are different.
type host struct {
	name    string // "api" or "auth"
	base    string // URL up to and with /api
	breaker *gobreaker.CircuitBreaker[struct{}]
	onState func(name string, open bool) // nil: nobody listens

	mu            sync.Mutex // held within the breaker's lock, never around it
	resume        time.Time
	limited       bool // resume is what Kibo asked for with a 429
	open          bool // the breaker is not closed
	told, telling bool // what onState has heard; that it is being told
}

func newHost(name, base string, onState func(string, bool)) *host {
	h := &host{name: name, base: base, onState: onState}
	h.breaker = gobreaker.NewCircuitBreaker[struct{}](gobreaker.Settings{
		Name:          name,
		MaxRequests:   probes,
		Timeout:       openTime - time.Millisecond, // over before resume in any case
		ReadyToTrip:   func(c gobreaker.Counts) bool { return c.ConsecutiveFailures >= tripAfter },
		OnStateChange: h.changed,
		IsSuccessful:  answered,
		IsExcluded:    tellsNothing,
	})
	return h
}

// answered reports that the host did its work, with whatever result: neither a
// wrong code nor our own refused credentials are an outage.
func answered(err error) bool {
	return err == nil || errors.Is(err, ErrRejected) || appRefused(err)
}

// tellsNothing reports a failure that is no sign of an outage: the caller has
// gone, or the status is a 4xx that Kibo does not use to refuse. The latter may
// come from a firewall that dislikes what one visitor typed, who must not be
// able to shut out all others.
func tellsNothing(err error) bool {
	e, ok := errors.AsType[*Error](err)
	if !ok || answered(err) {
		return false
	}
	return e.left || 400 <= e.Status && e.Status < 500 && e.Status != http.StatusTooManyRequests
}

// guard sends a call unless the host must be left alone, and learns from its
// outcome. It never sends twice.
func (h *host) guard(op string, send func() error) error {
	if err := h.refuse(op); err != nil { // asked anew, as the call may have waited
		return err
	}
	defer h.tell()
	_, err := h.breaker.Execute(func() (struct{}, error) { return struct{}{}, send() })
	if errors.Is(err, gobreaker.ErrOpenState) || errors.Is(err, gobreaker.ErrTooManyRequests) {
		if err := h.refuse(op); err != nil {
			return err
		}
		return failing(op, probeTime)
	}
	return err
}

// refuse fails while the host must be left alone, and while as many calls probe
// it as may. It makes no call.
func (h *host) refuse(op string) error {
	h.mu.Lock()
	left, limited := time.Until(h.resume), h.limited
	h.mu.Unlock()
	switch {
	case left > 0 && limited:
		return &Error{Op: op, Status: http.StatusTooManyRequests, RetryAfter: left, kind: ErrLimited}
	case left > 0:
		return failing(op, left)
	case h.probing():
		return failing(op, probeTime)
	}
	return nil
}

// failing is the error for a call that is not made. Every caller is told to
// wait a little differently, up to a fifth longer than needed.
func failing(op string, left time.Duration) *Error {
	return &Error{Op: op, kind: ErrUnavailable, RetryAfter: left + rand.N(left/5+1), reason: reason("left alone after failures")}
}

// probing reports that all places of probes are taken.
func (h *host) probing() bool {
	if h.breaker.State() != gobreaker.StateHalfOpen {
		return false
	}
	c := h.breaker.Counts()
	return c.Requests >= probes+c.TotalExclusions
}

// leave leaves the host alone for d. A longer pause under way stays, with the
// reason for it.
func (h *host) leave(d time.Duration, limited bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if t := time.Now().Add(d); t.After(h.resume) {
		h.resume, h.limited = t, limited
	}
}

// changed is called by the breaker, within its lock.
func (h *host) changed(_ string, _, to gobreaker.State) {
	if to == gobreaker.StateOpen {
		h.leave(openTime+rand.N(openSpread), false)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.open = to != gobreaker.StateClosed
}

// tell passes changes on, one at a time and in order, and without a lock.
func (h *host) tell() {
	if h.onState == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for h.told != h.open && !h.telling {
		h.telling = true
		open := h.open
		h.unlocked(func() { h.onState(h.name, open) })
		h.told, h.telling = open, false
	}
}

func (h *host) unlocked(f func()) {
	h.mu.Unlock()
	defer h.mu.Lock() // even if f panics
	f()
}
