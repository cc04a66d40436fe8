package kiboauth

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// pendingLife is how long a sign-in may rest between its steps. Kibo's codes
// live three minutes; NIST SP 800-63B allows ten.
const pendingLife = 10 * time.Minute

// pending is a sign-in between its steps. It lives sealed in a cookie of the
// browser that began it, and so cannot be finished in another one.
type pending struct {
	Nonce    string `json:"n"`
	Email    string `json:"e"`
	ReturnTo string `json:"r,omitempty"`
	Remember bool   `json:"m,omitempty"`
	UserID   string `json:"u,omitempty"` // set: the second factor is what is missing
	Began    int64  `json:"t"`           // Unix seconds
}

// purpose binds what is sealed to its cookie and realm.
func (h *Handler) purpose() string { return h.cookies.login + " " + h.realm }

// keep hands the browser its pending sign-in.
func (h *Handler) keep(ctx context.Context, w http.ResponseWriter, p *pending) error {
	p.Nonce, p.Began = rand.Text(), time.Now().Unix()
	text, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("encoding a pending sign-in: %w", err)
	}
	sealed, err := h.keyring.seal(ctx, h.purpose(), text)
	if err != nil {
		return err
	}
	http.SetCookie(w, h.Session.Cookie.cookie(h.cookies.login, sealed, pendingLife))
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
