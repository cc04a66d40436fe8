package kiboauth

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"sync"
	"time"

	"github.com/kiboauth/caddy-kibo-auth/internal/kibo"
)

// resendPause is how long a customer waits before the code of the second
// factor can be asked for once more.
const resendPause = 30 * time.Second

// askSecond keeps a sign-in whose first factor was good for the code of the
// second, which Kibo has sent. Such a sign-in opens nothing but this step.
func (a *attempt) askSecond(first *pending, second *secondFactor) error {
	userID := second.userID
	if userID == "" || first.UserID != "" && first.UserID != userID {
		return a.fail(fmt.Errorf("%w: a second factor without a user, or of another one", errBadTicket))
	}
	p := *first
	p.UserID = userID
	if second.solved {
		p.Solved = solvedCaptcha
	}
	if err := a.h.keep(a.r.Context(), a.w, &p); err != nil {
		return a.fail(err)
	}
	a.pending = &p
	a.rest()
	countAnswer("second_step")
	if a.json {
		return writeJSON(a.w, http.StatusOK, "application/json", map[string]string{"status": "second_step"})
	}
	return a.show(http.StatusOK, stepSecond, noticeNone, 0)
}

// secondCall trades the second code. The ticket must be of the user who passed
// the first step; where it names none, the token in it is held against them.
func (a *attempt) secondCall(p *pending) exchangeCall {
	h, code, ip := a.h, a.form.Code, clientIP(a.r)
	return func(ctx context.Context) (*kibo.Ticket, error) {
		ticket, err := h.kibo.ExchangeSecondFactor(ctx, p.UserID, code, ip)
		if err != nil {
			return nil, err
		}
		if ticket.UserID == "" {
			ticket.UserID = p.UserID
		}
		if ticket.UserID != p.UserID {
			return nil, fmt.Errorf("%w: the second factor is another user's", errBadTicket)
		}
		return ticket, nil
	}
}

// resend has the code of the pending step sent again.
func (a *attempt) resend(own credentials) error {
	if err := a.resume(own); err != nil {
		return a.fail(err)
	}
	p := a.pending
	if p.UserID == "" {
		a.form.Email, a.form.Remember = p.Email, p.Remember
		return a.sendCode()
	}
	if err := a.resendSecond(p); err != nil {
		return a.fail(err)
	}
	return a.codeSent(stepSecond)
}

// resendSecond asks Kibo for another code of the second factor, at most once
// per resendPause: by the time that is sealed in the cookie, which every
// gateway sees, and by this process's memory, since a browser may keep an older
// cookie.
func (a *attempt) resendSecond(p *pending) error {
	h, ctx, now := a.h, a.r.Context(), time.Now()
	if wait := time.UnixMilli(p.Resent).Add(resendPause).Sub(now); wait > 0 {
		return &tooSoon{wait}
	}
	if wait := h.shared.resends.take(p.UserID, now); wait > 0 {
		return &tooSoon{wait}
	}
	who, err := a.visitor(ctx, p.Email)
	if err != nil {
		return err
	}
	m, err := a.mayMail(ctx, who, true)
	if err != nil {
		return err
	}
	if m.send {
		err = h.kibo.RequestSecondFactor(ctx, kibo.SecondFactorRequest{UserID: p.UserID, ClientIP: clientIP(a.r)})
	}
	switch {
	case errors.Is(err, kibo.ErrRejected):
		return fmt.Errorf("%w: %w", errNotSent, err)
	case err != nil:
		m.back.do(ctx)
		return err
	}
	p.Resent = now.UnixMilli()
	return h.rekeep(ctx, a.w, p)
}

// cooldown knows when something was last done for a key. It forgets what is
// older than resendPause, so that it holds no more than was done meanwhile.
type cooldown struct {
	mu   sync.Mutex
	last map[string]time.Time
}

// take notes that it is done now. If it is too soon for that, it returns how
// long to wait instead.
func (c *cooldown) take(key string, now time.Time) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	maps.DeleteFunc(c.last, func(_ string, at time.Time) bool { return now.Sub(at) >= resendPause })
	if at, ok := c.last[key]; ok {
		return resendPause - now.Sub(at)
	}
	if c.last == nil {
		c.last = map[string]time.Time{}
	}
	c.last[key] = now
	return 0
}
