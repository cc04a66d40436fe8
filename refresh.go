package kiboauth

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"go.uber.org/zap"

	"github.com/kiboauth/caddy-kibo-auth/internal/kibo"
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
func (h *Handler) tend(ctx context.Context, id SessionID, s *Session, now int64) (*Session, error) {
	if now-s.seen >= h.touchEvery() {
		err := h.store.Touch(ctx, id, time.Unix(0, now))
		if errors.Is(err, ErrNoSession) {
			return nil, err
		} else if err != nil { // a store that cannot write still serves
			h.log.Warn("noting a session's activity", zap.Error(err))
		}
	}
	if s.stamp != h.verifier.Stamp() && now < s.good { // a lapsed token is replaced, not judged
		fresh, err := h.once(ctx, id, func(ctx context.Context) (*Session, error) { return h.reverify(ctx, id) })
		if err != nil {
			return nil, err
		}
		s = fresh
	}
	if now < s.due {
		return s, nil
	}
	return h.refresh(ctx, id, s, now)
}

// touchEvery is how often activity is written down: often enough for the idle
// limit, and no oftener than once a minute under a usual one.
func (h *Handler) touchEvery() int64 {
	return int64(min(maxTouch, time.Duration(h.Session.Idle)/4))
}

// refresh sees to it that the session's ticket is good. One that still is, is
// used at once while a new one is fetched beside it.
func (h *Handler) refresh(ctx context.Context, id SessionID, s *Session, now int64) (*Session, error) {
	lapsed := now >= s.good
	switch {
	case s.header(fieldRefreshToken) == "" || now >= s.refreshEnds:
		if lapsed {
			return nil, h.end(ctx, id)
		}
		return s, nil
	case now < s.retryAt && lapsed:
		return nil, errTryLater
	case now < s.retryAt:
		return s, nil
	}
	flight := func(ctx context.Context) (*Session, error) { return h.renew(ctx, id, s) }
	if !lapsed {
		h.shared.refreshes.DoChan(string(id.key[:]), detached(h, flight))
		return s, nil
	}
	fresh, err := h.once(ctx, id, flight)
	if err == nil && now >= fresh.good { // it was a verdict's flight that we met
		fresh, err = h.once(ctx, id, flight)
	}
	if err == nil && now >= fresh.good {
		return nil, errTryLater
	}
	return fresh, err
}

// once lets one flight serve all requests of a session that wait for the same.
// The flight goes on when the request that began it is gone.
func (h *Handler) once(ctx context.Context, id SessionID, flight func(context.Context) (*Session, error)) (*Session, error) {
	select {
	case done := <-h.shared.refreshes.DoChan(string(id.key[:]), detached(h, flight)):
		if done.Err != nil {
			return nil, done.Err
		}
		return done.Val.(*Session), nil
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
		defer func() {
			if p := recover(); p != nil {
				h.log.Error("panic", zap.String("type", fmt.Sprintf("%T", p)), zap.Stack("stack"))
				err = errPanic
			}
		}()
		return flight(ctx)
	}
}

// reverify reaches the verdict on a kept token anew, after keys or policy have
// changed. A token that is refused now ends its session.
func (h *Handler) reverify(ctx context.Context, id SessionID) (*Session, error) {
	s, err := h.load(ctx, id)
	if err != nil || s.stamp == h.verifier.Stamp() {
		return s, err
	}
	next := *s
	next.stamp = h.verifier.Stamp() // before the verdict: keys that change meanwhile ask for another
	if _, err := h.verifier.Verify(ctx, s.jwt(), time.Now()); err != nil {
		if errors.Is(err, verify.ErrInvalid) {
			h.log.Info("session ended: its token is no longer accepted", zap.String("account_id", s.AccountID()), zap.Error(err))
			return nil, h.end(ctx, id)
		}
		return nil, err
	}
	next.version++
	return &next, h.replace(ctx, id, s, &next)
}

// replace writes a session back, and tells a store that cannot from a session
// that has ended meanwhile, which stays ended.
func (h *Handler) replace(ctx context.Context, id SessionID, old, next *Session) error {
	err := h.store.Replace(ctx, id, old.version, next)
	if err != nil && !errors.Is(err, ErrNoSession) && !errors.Is(err, ErrConflict) {
		return fmt.Errorf("%w: writing a session: %w", errStore, err)
	}
	return err
}

// renew exchanges the refresh token for a new ticket. What comes of it is one
// of three: Kibo says no, and the session ends; Kibo is in trouble, and the
// session lives on as long as its ticket; or there is a new ticket, written
// before it is used, since the old refresh token may be dead by now.
func (h *Handler) renew(ctx context.Context, id SessionID, seen *Session) (*Session, error) {
	s, err := h.load(ctx, id)
	switch {
	case err != nil: // ended meanwhile, or cannot tell
		return nil, err
	case s.good > seen.good: // somebody was quicker, but perhaps without keys to judge by
		return h.reverify(ctx, id)
	case time.Now().UnixNano() < s.retryAt: // somebody was quicker, and in vain
		return nil, errTryLater
	}
	ticket, err := h.kibo.Refresh(ctx, kibo.RefreshRequest{RefreshToken: s.header(fieldRefreshToken), AccountID: s.AccountID()})
	if err != nil {
		return h.notRenewed(ctx, id, s, err)
	}
	next, err := h.renewed(ctx, s, ticket)
	switch {
	case errors.Is(err, kibo.ErrRejected): // locked or inactive by now, says the ticket
		return h.notRenewed(ctx, id, s, err)
	case errors.Is(err, errBadTicket), errors.Is(err, verify.ErrInvalid), errors.Is(err, errSecondFactor):
		h.log.Error("session ended: Kibo's new ticket cannot be trusted", zap.String("account_id", s.AccountID()), zap.Error(err))
		return nil, h.end(ctx, id)
	case err != nil && !errors.Is(err, verify.ErrKeysUnavailable):
		return nil, err
	}
	if err := h.replace(ctx, id, s, next); err != nil {
		return nil, err
	}
	return next, err // without keys the new ticket is kept, but not used yet
}

// notRenewed handles a refresh that failed.
func (h *Handler) notRenewed(ctx context.Context, id SessionID, s *Session, err error) (*Session, error) {
	if errors.Is(err, kibo.ErrRejected) {
		h.log.Info("session ended: Kibo refused to refresh it", zap.String("account_id", s.AccountID()))
		return nil, h.end(ctx, id)
	}
	said, _ := answerTo(err)
	h.report(err, said)
	next := *s
	next.version++
	next.retries = min(s.retries+1, 10)
	next.retryAt = time.Now().Add(backoff(next.retries, waitFor(err, 0))).UnixNano()
	if lost := h.replace(ctx, id, s, &next); lost != nil {
		return nil, lost
	}
	return nil, fmt.Errorf("%w: %w", errTryLater, err)
}

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
	next.version++
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
	s.good = nanos(good)
	s.due = s.good - int64(min(time.Duration(h.Session.Refresh), left/2))
	switch {
	case !t.RefreshExpires.IsZero():
		s.refreshEnds = nanos(t.RefreshExpires)
	case s.refreshEnds == 0 && t.RefreshToken != "":
		s.refreshEnds = s.ends // Kibo gave no end: the session's own limit holds
	}
}

func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}
