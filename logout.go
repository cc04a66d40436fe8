package kiboauth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/kiboauth/caddy-kibo-auth/internal/urlpath"
)

// A logoutScope says which of a customer's sessions a sign-out ends.
type logoutScope string

const (
	scopeThis       logoutScope = "this"
	scopeOthers     logoutScope = "others" // all but this one
	scopeEverywhere logoutScope = "everywhere"
)

// status is what scripts are told when it is done.
func (s logoutScope) status() string {
	switch s {
	case scopeOthers:
		return "others_signed_out"
	case scopeEverywhere:
		return "signed_out_everywhere"
	}
	return "signed_out"
}

// logout ends sessions: at the store first, then in the browser. It needs
// nothing of Kibo, which has no way to end a ticket.
func (h *Handler) logout(w http.ResponseWriter, r *http.Request, own credentials) error {
	scope, err := h.scopeOf(r)
	switch {
	case err != nil:
	case r.Method == http.MethodPost, r.Method == http.MethodGet && h.Logout.Get && h.linkMay(scope):
		if isCrossSite(r, h.origins) {
			err = errCrossSite
		}
	default:
		w.Header().Set("Allow", h.logoutMethods(scope))
		err = errMethod
	}
	if err == nil {
		scope, err = h.signOut(r.Context(), own, scope)
	}
	if err != nil {
		return h.refuse(w, r, err)
	}
	if scope != scopeOthers {
		h.forgetSession(w)
	}
	return h.signedOut(w, r, scope)
}

// scopeOf reads the scope: from the query, else as configured.
func (h *Handler) scopeOf(r *http.Request) (logoutScope, error) {
	asked, ok := r.URL.Query()["scope"]
	if !ok {
		return h.usualScope(), nil
	}
	switch scope := logoutScope(asked[0]); {
	case len(asked) > 1: // which one is meant?
	case scope == scopeThis, scope == scopeOthers, scope == scopeEverywhere:
		return scope, nil
	}
	return "", errBadScope
}

func (h *Handler) usualScope() logoutScope {
	if h.Logout.Everywhere {
		return scopeEverywhere
	}
	return scopeThis
}

// linkMay tells whether a plain link may have a scope: only what the operator
// has given to links. A page of the shop can be made to load any link.
func (h *Handler) linkMay(scope logoutScope) bool {
	return scope == scopeThis || scope == h.usualScope()
}

func (h *Handler) logoutMethods(scope logoutScope) string {
	if h.Logout.Get && h.linkMay(scope) {
		return "GET, POST"
	}
	return "POST"
}

// signOut ends what the scope says, and returns what it came to: who has no
// session cannot speak for others of a customer, and just signs out.
func (h *Handler) signOut(ctx context.Context, own credentials, scope logoutScope) (logoutScope, error) {
	if scope != scopeThis {
		r, err := h.liveRecord(ctx, own)
		switch {
		case errors.Is(err, ErrNoSession):
			scope = scopeThis
		case err != nil:
			return scope, err
		default:
			id, _ := parseSessionID(h.realm, own.session.value)
			if err := h.endOthers(ctx, id.key, r); err != nil || scope == scopeOthers {
				return scope, err
			}
		}
	}
	for _, value := range own.session.all() { // this one last: with it the rest can be tried again
		if id, ok := parseSessionID(h.realm, value); ok {
			if err := h.end(ctx, id.key); !errors.Is(err, ErrNoSession) {
				return scope, err
			}
		}
	}
	return scope, nil
}

// liveRecord is the session that a request brought, if it lives.
func (h *Handler) liveRecord(ctx context.Context, own credentials) (*Record, error) {
	id, ok := parseSessionID(h.realm, own.session.value)
	if !ok {
		return nil, ErrNoSession
	}
	r, err := h.load(ctx, id)
	if err == nil && h.ended(r, time.Now().UnixMilli()) {
		return nil, ErrNoSession
	}
	return r, err
}

// endOthers ends all sessions of a customer but one.
func (h *Handler) endOthers(ctx context.Context, this Key, r *Record) error {
	n, err := h.sessions.endAll(ctx, r.Customer, func(l Listed) bool { return l.Key != this })
	if err != nil {
		return fmt.Errorf("%w: after %d: %w", errSomeLeft, n, err)
	}
	h.log.Info("other sessions of a customer were ended", zap.String("account_id", r.open.AccountID()), zap.Int("sessions", n))
	return nil
}

// forgetSession takes from the browser what it keeps of a session.
func (h *Handler) forgetSession(w http.ResponseWriter) {
	h.clearCookie(w, h.cookies.session)
	h.clearCookie(w, h.cookies.login)
	w.Header().Set("Clear-Site-Data", `"cache"`)
}

// signedOut sends the customer on.
func (h *Handler) signedOut(w http.ResponseWriter, r *http.Request, scope logoutScope) error {
	countAnswer(scope.status())
	target := urlpath.LocalTarget(h.returnIn(r.URL.Query()))
	if target == "" {
		target = h.Login.Success
	}
	if wantsJSON(r) {
		return writeJSON(w, http.StatusOK, "application/json", map[string]string{"status": scope.status(), "return_to": target})
	}
	return redirect(w, target)
}
