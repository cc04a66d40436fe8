package kiboauth

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/kiboauth/caddy-kibo-auth/internal/redact"
)

// pendingLife is how long a sign-in may rest between its steps. Kibo's codes
// live three minutes; NIST SP 800-63B allows ten.
const pendingLife = 10 * time.Minute

// pending is a sign-in between its steps. It lives sealed in a cookie of the
// browser that began it, and so cannot be finished in another one.
type pending struct {
	redact.Unprinted `json:"-"`

	Nonce    string `json:"n"`
	Email    string `json:"e"`
	ReturnTo string `json:"r,omitempty"`
	Remember bool   `json:"m,omitempty"`
	First    string `json:"f,omitempty"` // the first factor; "": factorCode
	UserID   string `json:"u,omitempty"` // set: the second factor is what is missing
	Resent   int64  `json:"s,omitempty"` // Unix milliseconds: when its code was last asked for again
	Solved   int    `json:"c"`           // solvedCaptcha, or 0; both have the same length
	Began    int64  `json:"t"`           // Unix seconds
}

// solvedCaptcha says that a captcha has been solved to have the code sent.
const solvedCaptcha = 1

// First factors.
const (
	factorCode     = "code"
	factorPassword = "password"
)

// assurance says how a customer signs in who finishes this sign-in.
func (p *pending) assurance() string {
	first := cmp.Or(p.First, factorCode)
	if p.UserID != "" {
		return first + "+2fa"
	}
	return first
}

// purpose binds what is sealed to its cookie and realm.
func (h *Handler) purpose() string { return h.cookies.login + " " + h.realm }

// keep hands the browser its pending sign-in, which begins a step.
func (h *Handler) keep(ctx context.Context, w http.ResponseWriter, p *pending) error {
	p.Nonce, p.Began = rand.Text(), time.Now().Unix()
	return h.seal(ctx, w, p, pendingLife)
}

// rekeep hands the browser its pending sign-in as it is now. The step does not
// begin anew: what is asked for again does not live longer.
func (h *Handler) rekeep(ctx context.Context, w http.ResponseWriter, p *pending) error {
	return h.seal(ctx, w, p, max(time.Until(time.Unix(p.Began, 0).Add(pendingLife)), time.Second))
}

func (h *Handler) seal(ctx context.Context, w http.ResponseWriter, p *pending, age time.Duration) error {
	text, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("encoding a pending sign-in: %w", err)
	}
	sealed, err := h.keyring.seal(ctx, h.purpose(), text)
	if err != nil {
		return err
	}
	http.SetCookie(w, h.Session.Cookie.cookie(h.cookies.login, sealed, age))
	return nil
}

// resume reads the pending sign-in of this browser. errNotHere: there is none,
// or it has rested too long.
func (h *Handler) resume(ctx context.Context, cookie string) (*pending, error) {
	if cookie == "" {
		return nil, errNotHere
	}
	text, err := h.keyring.open(ctx, h.purpose(), cookie)
	if errors.Is(err, errSealBroken) {
		return nil, errNotHere
	} else if err != nil {
		return nil, err
	}
	p := new(pending)
	if json.Unmarshal(text, p) != nil || time.Since(time.Unix(p.Began, 0)) > pendingLife {
		return nil, errNotHere
	}
	return p, nil
}
