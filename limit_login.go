package kiboauth

import (
	"context"
	"crypto/hmac"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"
)

// visitor finds out who it is that wants something of an account. Without the
// gateway's secret nobody can tell, and nothing is let through.
func (a *attempt) visitor(ctx context.Context, email string) (*visitor, error) {
	v := &visitor{account: email, client: network(clientIP(a.r))}
	if a.h.limits == nil {
		return v, nil
	}
	keys, err := a.h.keyring.ready(ctx)
	if err != nil {
		return nil, err
	}
	v.key = keys[0].limit
	for _, key := range keys {
		if a.known && hmac.Equal([]byte(a.proof), []byte(deviceProof(key.limit, a.h.realm, a.device, email))) {
			v.device = a.device
		}
	}
	return v, nil
}

// mailing is what the limits say of a code that is to be mailed.
type mailing struct {
	send  bool // else the answer must look as if it had been
	back  undo // to be done when Kibo could not mail it
	pause undo // to be done as well when Kibo was not asked to
}

// mayMail asks the limits whether a code may be mailed. The error says that the
// post must be refused.
func (a *attempt) mayMail(ctx context.Context, who *visitor, again bool) (m mailing, err error) {
	m.back, m.pause, err = a.h.limits.mail(ctx, who, again)
	over, ok := errors.AsType[*overLimit](err)
	switch {
	case ok && over.scope == scopeTotal:
		return mailing{}, fmt.Errorf("%w: %w", errOverTotal, err)
	case ok:
		a.h.reportLimit("no code was sent", who, err)
		return mailing{}, nil
	}
	m.send = err == nil
	return m, err
}

// reportLimit logs what a limit has kept from happening, and whose that was.
func (h *Handler) reportLimit(what string, who *visitor, err error) {
	if over, ok := errors.AsType[*overLimit](err); ok {
		h.log.Info(what, zap.String("limit", over.scope), zap.String("account_hash", who.hash()), zap.Bool("known_device", who.device != ""))
	}
}

// rest waits until the post has taken as long as any that is refused, so that
// time does not tell why, nor which addresses there are.
func (a *attempt) rest() {
	wait := time.Until(a.arrived.Add(time.Duration(a.h.Limits.Floor)))
	if wait <= 0 {
		return
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-a.r.Context().Done():
	}
}
