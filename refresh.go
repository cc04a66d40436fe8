package kiboauth

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
	"golang.org/x/sync/singleflight"

	"github.com/kiboauth/caddy-kibo-auth/internal/kibo"
	"github.com/kiboauth/caddy-kibo-auth/internal/redact"
	"github.com/kiboauth/caddy-kibo-auth/internal/verify"
)

const (
	// maxTouch is how often a session's activity is written down, at most.
	maxTouch = time.Minute
	// firstBackoff and maxBackoff bound the pause after a refresh that failed
	// for Kibo's sake; it doubles from one to the other.
	firstBackoff = time.Second
	maxBackoff   = 30 * time.Second
	// refreshSlack is what a refresh may take beside its calls to Kibo.
	refreshSlack = 5 * time.Second
)

// tend does for a live session what is due: activity is noted, a verdict that
// no longer holds is reached anew, a ticket near its end is refreshed.
func (h *Handler) tend(ctx context.Context, id SessionID, r *Record, now int64) (*Session, error) {
	if now-r.Seen >= h.touchEvery() {
		err := h.sessions.touch(ctx, id, now)
		if errors.Is(err, ErrNoSession) {
			return nil, err
		} else if err != nil { // a store that cannot write still serves
			h.log.Warn("noting a session's activity", zap.Error(err))
		}
	}
	if r.open.stamp != h.verifier.Stamp() && now < r.open.good { // a lapsed token is replaced, not judged
		fresh, err := h.once(ctx, &h.shared.verdicts, id, func(ctx context.Context) (*Record, error) { return h.reverify(ctx, id) })
		if err != nil {
			return nil, err
		}
		r = fresh
	}
	if now < r.open.due {
		return r.open, nil
	}
	return h.refresh(ctx, id, r, now)
}

// touchEvery is how often activity is written down, in milliseconds: often
// enough for the idle limit, and no oftener than once a minute under a usual one.
func (h *Handler) touchEvery() int64 {
	return min(maxTouch.Milliseconds(), millis(h.Session.Idle)/4)
}

// refresh sees to it that the session's ticket is good. One that still is, is
// used at once while a new one is fetched beside it.
func (h *Handler) refresh(ctx context.Context, id SessionID, r *Record, now int64) (*Session, error) {
	s := r.open
	lapsed := now >= s.good
	switch {
	case s.header(fieldRefreshToken) == "" || now >= s.refreshEnds:
		if lapsed {
			return nil, h.end(ctx, id.key)
		}
		return s, nil
	case now < s.retryAt && lapsed:
		return h.inGrace(s, now, errTryLater)
	case now < s.retryAt:
		return s, nil
	}
	flight := func(ctx context.Context) (*Record, error) { return h.renew(ctx, id, s) }
	if !lapsed || s.retries > 0 && h.grace(s, now) {
		h.shared.refreshes.DoChan(string(id.key[:]), detached(h, flight))
		return h.inGrace(s, now, nil)
	}
	fresh, err := h.once(ctx, &h.shared.refreshes, id, flight)
	if errors.Is(err, errTryLater) { // for Kibo's sake
		return h.inGrace(s, now, err)
	} else if err != nil {
		return nil, err
	}
	return h.inGrace(fresh.open, now, errTryLater)
}

// grace tells whether a session whose ticket has lapsed is served all the same.
func (h *Handler) grace(s *Session, now int64) bool { return now < s.good+millis(h.Session.Grace) }

// inGrace returns a session whose ticket is good, or one in its grace, marked
// as such; else the reason why there is none to be had.
func (h *Handler) inGrace(s *Session, now int64, why error) (*Session, error) {
	if now < s.good {
		return s, nil
	}
	if !h.grace(s, now) {
		return nil, why
	}
	marked := *s
	marked.stale = true
	return &marked, nil
}

// once lets one flight serve all requests of a session that wait for the same.
// The flight goes on when the request that began it is gone.
func (h *Handler) once(ctx context.Context, group *singleflight.Group, id SessionID, flight func(context.Context) (*Record, error)) (*Record, error) {
	select {
	case done := <-group.DoChan(string(id.key[:]), detached(h, flight)):
		if done.Err != nil {
			return nil, done.Err
		}
		return done.Val.(*Record), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// detached runs a flight on a context of its own. A panic in it is an error of
// this flight; in a goroutine of nobody's it would end the whole server.
func detached[T any](h *Handler, flight func(context.Context) (T, error)) func() (any, error) {
	return func() (_ any, err error) {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Duration(h.Timeout)+refreshSlack)
		defer cancel()
		h.flying.RLock()
		defer h.flying.RUnlock()
		defer func() {
			if p := recover(); p != nil {
				logPanic(h.log, p)
				err = errPanic
			}
		}()
		return flight(ctx)
	}
}

// logPanic notes where a panic was, and not its text, which may quote anything.
func logPanic(log *zap.Logger, p any) {
	log.Error("panic", zap.String("type", fmt.Sprintf("%T", p)), zap.Stack("stack"))
}

// reverify reaches the verdict on a kept token anew, after keys or policy have
// changed. A token that is refused now ends its session.
func (h *Handler) reverify(ctx context.Context, id SessionID) (*Record, error) {
	r, err := h.load(ctx, id)
	if err != nil {
		return nil, err
	}
	return h.judge(ctx, id, r)
}

func (h *Handler) judge(ctx context.Context, id SessionID, r *Record) (*Record, error) {
	if r.open.stamp == h.verifier.Stamp() {
		return r, nil
	}
	next := *r.open
	next.stamp = h.verifier.Stamp() // before the verdict: keys that change meanwhile ask for another
	_, err := h.verifier.Verify(ctx, next.jwt(), time.Now())
	switch {
	case errors.Is(err, verify.ErrInvalid):
		h.log.Info("session ended: its token is no longer accepted", zap.String("account_id", next.AccountID()), zap.Error(err))
		return nil, h.end(ctx, id.key)
	case err != nil:
		return nil, err
	}
	r, err = h.sessions.judged(ctx, id, r, &next)
	if errors.Is(err, ErrConflict) { // a new ticket came meanwhile
		return h.reverify(ctx, id)
	}
	return r, storeError("writing a session", err)
}

// renew exchanges the refresh token for a new ticket, once in all processes
// that share the store. What comes of it is one of three: Kibo says no, and the
// session ends; Kibo is in trouble, and the session lives on as long as its
// ticket; or there is a new ticket, written before it is used, since the old
// refresh token may be dead by now.
func (h *Handler) renew(ctx context.Context, id SessionID, seen *Session) (*Record, error) {
	unlock, err := h.sessions.lock(ctx, id.key)
	if err != nil {
		return nil, storeError("locking a session", err)
	}
	defer unlock()
	r, err := h.sessions.ask(ctx, id)
	switch {
	case err != nil: // ended meanwhile, or cannot tell
		return nil, storeError("loading a session", err)
	case r.open.good > seen.good: // somebody was quicker, but perhaps without keys to judge by
		return h.judge(ctx, id, r)
	case time.Now().UnixMilli() < r.open.retryAt: // somebody was quicker, and in vain
		return nil, errTryLater
	}
	s := r.open
	ticket, err := h.kibo.Refresh(ctx, kibo.RefreshRequest{RefreshToken: redact.New(s.header(fieldRefreshToken)), AccountID: s.AccountID()})
	if err != nil {
		return h.notRenewed(ctx, id, r, err)
	}
	next, unjudged := h.renewed(ctx, s, ticket)
	switch {
	case errors.Is(unjudged, kibo.ErrRejected): // locked or inactive by now, says the ticket
		return h.notRenewed(ctx, id, r, unjudged)
	case errors.Is(unjudged, errBadTicket), errors.Is(unjudged, verify.ErrInvalid), errors.Is(unjudged, errSecondFactor):
		h.log.Error("session ended: Kibo's new ticket cannot be trusted", zap.String("account_id", s.AccountID()), zap.Error(unjudged))
		return nil, h.end(ctx, id.key)
	case unjudged != nil && !errors.Is(unjudged, verify.ErrKeysUnavailable):
		return nil, unjudged
	}
	if r, err = h.save(ctx, id, r, next); err != nil {
		return nil, err
	}
	return r, unjudged // without keys the new ticket is kept, but not used yet
}

// savePause is how long after a write that failed the next one is tried.
const savePause = 250 * time.Millisecond

// save writes a new ticket, and does not give up soon (for as long as Kibo may
// take for an answer): nobody else has it, and the old one may be dead. A session that was only written for another reason
// meanwhile takes the ticket; one that was refreshed meanwhile keeps its own.
func (h *Handler) save(ctx context.Context, id SessionID, old *Record, next *Session) (*Record, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(h.Timeout))
	defer cancel()
	used := old.open.header(fieldRefreshToken)
	for {
		r, err := h.sessions.replace(ctx, id, old, next)
		switch {
		case err == nil, errors.Is(err, ErrNoSession): // what has ended stays ended
			return r, err
		case errors.Is(err, ErrConflict):
			if r, err = h.sessions.ask(ctx, id); err == nil {
				if old = r; r.open.header(fieldRefreshToken) != used {
					return r, nil
				}
				continue
			}
		}
		h.log.Warn("writing a new ticket; it is tried again", zap.Error(err))
		select {
		case <-time.After(savePause):
		case <-ctx.Done():
			return nil, storeError("writing a session", err)
		}
	}
}

// notRenewed handles a refresh that failed.
func (h *Handler) notRenewed(ctx context.Context, id SessionID, r *Record, err error) (*Record, error) {
	if errors.Is(err, kibo.ErrRejected) {
		h.log.Info("session ended: Kibo refused to refresh it", zap.String("account_id", r.open.AccountID()))
		return nil, h.end(ctx, id.key)
	}
	said, _ := answerTo(err)
	h.report(err, said)
	next := *r.open
	next.retries = min(next.retries+1, maxRetries)
	next.retryAt = time.Now().Add(backoff(next.retries, waitFor(err, 0))).UnixMilli()
	if _, lost := h.sessions.replace(ctx, id, r, &next); lost != nil {
		return nil, storeError("writing a session", lost)
	}
	return nil, fmt.Errorf("%w: %w", errTryLater, err)
}

// maxRetries is where refreshes that failed in a row are counted no further.
const maxRetries = 10

// backoff is the pause after so many failures: doubled each time, with jitter,
// and no shorter than Kibo asked for.
func backoff(failures uint8, asked time.Duration) time.Duration {
	pause := min(firstBackoff<<(failures-1), maxBackoff)
	return max(pause+rand.N(pause/2), asked)
}

// renewed makes the session that a new ticket carries. The customer, the
// absolute limit and the last activity stay. ErrKeysUnavailable comes with a
// session whose token is still to be judged.
func (h *Handler) renewed(ctx context.Context, s *Session, t *kibo.Ticket) (*Session, error) {
	next := *s
	next.retries, next.retryAt = 0, 0
	next.stamp = h.verifier.Stamp()
	claims, err := h.trust(ctx, t)
	switch {
	case errors.Is(err, verify.ErrKeysUnavailable):
		next.stamp = 0
		claims = &verify.Claims{AccountID: s.AccountID(), UserID: s.plain(fieldUserID), Expires: t.AccessExpires}
	case err != nil:
		return nil, err
	case claims.AccountID != s.AccountID() || claims.UserID != s.plain(fieldUserID):
		return nil, fmt.Errorf("%w: it is another customer's", errBadTicket)
	}
	c := customerOf(t, claims)
	for f := range c {
		if c[f] == "" {
			c[f] = s.plain(field(f)) // Kibo may leave out what has not changed
		}
	}
	next.pack(h.realm, c)
	h.setTimes(&next, t, claims)
	return &next, err
}

// setTimes takes over when a ticket ends (the earliest of the token's end, the
// customer's claims in it, and the access token), when it is due for refresh,
// and when its refresh token ends. A ticket that lives shortly is refreshed
// halfway, not all the time.
func (h *Handler) setTimes(s *Session, t *kibo.Ticket, claims *verify.Claims) {
	good := claims.Expires
	if !t.AccessExpires.IsZero() && (good.IsZero() || t.AccessExpires.Before(good)) {
		good = t.AccessExpires
	}
	left := time.Until(good)
	s.good = unixMilli(good)
	s.due = s.good - min(time.Duration(h.Session.Refresh), left/2).Milliseconds()
	switch {
	case !t.RefreshExpires.IsZero():
		s.refreshEnds = unixMilli(t.RefreshExpires)
	case s.refreshEnds == 0 && !t.RefreshToken.IsZero():
		s.refreshEnds = s.limit // Kibo gave no end: the session's own limit holds
	}
}

func unixMilli(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func millis(d caddy.Duration) int64 { return time.Duration(d).Milliseconds() }
