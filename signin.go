package kiboauth

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/kiboauth/caddy-kibo-auth/internal/kibo"
	"github.com/kiboauth/caddy-kibo-auth/internal/redact"
	"github.com/kiboauth/caddy-kibo-auth/internal/verify"
)

// signedIn is what a good code or password leads to.
type signedIn struct {
	redact.Hidden

	id      SessionID
	session *Session
}

// secondFactor says that a ticket is no sign-in yet.
type secondFactor struct {
	userID string
	solved bool // a captcha came with the first factor
}

func (*secondFactor) Error() string { return errSecondFactor.Error() }
func (*secondFactor) Unwrap() error { return errSecondFactor }

// begin makes the session of a new ticket, under an ID that nobody has seen.
// The assurance says how the customer signed in.
func (h *Handler) begin(ctx context.Context, t *kibo.Ticket, remember bool, assurance string) (*signedIn, error) {
	stamp := h.verifier.Stamp()
	claims, err := h.trust(ctx, t)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	life, idle := h.Session.Lifetime, h.Session.Idle
	if remember {
		life, idle = h.Session.Remember, 0
	}
	s := &Session{stamp: stamp, remembered: remember, limit: now.Add(time.Duration(life)).UnixMilli()}
	c := customerOf(t, claims)
	c[fieldAssurance] = assurance
	s.pack(h.realm, c)
	h.setTimes(s, t, claims)
	id := newSessionID(h.realm)
	if err := h.sessions.create(ctx, id, newRecord(s, now, time.Duration(idle))); err != nil {
		return nil, storeFailure("saving a new session", err)
	}
	h.log.Info("signed in", zap.String("account_id", s.AccountID()), zap.Bool("remembered", remember),
		zap.String("assurance", assurance))
	return &signedIn{id: id, session: s}, nil
}

// makeRoom ends a customer's oldest sessions beyond as many as one may have, and
// never the newest. It comes after the end of the session that the browser had.
// If the store cannot do that now, the next sign-in does.
func (h *Handler) makeRoom(ctx context.Context, in *signedIn) {
	var before []Listed
	for l, err := range h.sessions.mine(ctx, in.session.customerKey()) {
		if err != nil {
			h.log.Warn("counting a customer's sessions", zap.Error(err))
			return
		}
		if l.Key != in.id.key {
			before = append(before, l)
		}
	}
	slices.SortFunc(before, func(a, b Listed) int { return cmp.Compare(a.Record.Created, b.Record.Created) })
	for _, l := range before[:max(0, len(before)+1-h.Session.MaxPerCustomer)] {
		if err := h.sessions.end(ctx, l.Key); err != nil {
			h.log.Warn("ending a customer's oldest session", zap.Error(err))
			return
		}
	}
}

// trust decides whether a ticket makes somebody known: no second factor is
// missing, the customer may sign in, the token holds, and all of it is about
// the same customer.
func (h *Handler) trust(ctx context.Context, t *kibo.Ticket) (*verify.Claims, error) {
	a := t.Customer
	switch {
	case t.Requires2FA: // not signed in, even if tokens came with it
		return nil, &secondFactor{userID: t.UserID}
	case a != nil && (a.Anonymous || a.Locked || a.Inactive):
		return nil, kibo.ErrRejected
	case t.JWT.IsZero():
		return nil, fmt.Errorf("%w: it has no jwtAccessToken", errBadTicket)
	case t.AccessToken.Len() > maxToken, t.RefreshToken.Len() > maxToken:
		return nil, fmt.Errorf("%w: a token has more than %d bytes", errBadTicket, maxToken)
	}
	claims, err := h.verifier.Verify(ctx, t.JWT.Reveal(), time.Now())
	switch {
	case errors.Is(err, verify.ErrInvalid):
		return nil, fmt.Errorf("%w: %w", errBadTicket, err)
	case err != nil:
		return nil, err
	case t.UserID != "" && t.UserID != claims.UserID, a != nil && a.AccountID != "" && a.AccountID != claims.AccountID:
		return nil, fmt.Errorf("%w: token and ticket name different customers", errBadTicket)
	}
	return claims, nil
}
