package kiboauth

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/kiboauth/caddy-kibo-auth/internal/kibo"
	"github.com/kiboauth/caddy-kibo-auth/internal/redact"
	"github.com/kiboauth/caddy-kibo-auth/internal/urlpath"
	"github.com/kiboauth/caddy-kibo-auth/internal/verify"
)

// ServeHTTP implements caddyhttp.MiddlewareHandler: strip, own paths, admit,
// identify, and on to the upstream, or challenge.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	own := h.strip(r) // only the gateway speaks for the customer
	access, err := h.rules.Of(r.URL)
	if err != nil {
		return h.refuse(w, r, fmt.Errorf("%w: %w", errBadPath, err))
	}
	if done, err := h.serveOwn(w, r, own); done {
		return err
	} else if h.isLogin(r) {
		access = urlpath.Public // the shop's own form, and what else it has there
	}
	id, sess, err := h.admit(r, own)
	if err == nil && isForeignSocket(r, h.origins) {
		return h.refuse(w, r, errCrossSite)
	}
	switch {
	case err == nil:
		p := &passage{h: h, session: sess, id: id, protected: access == urlpath.Protected}
		p.ResponseWriter = w
		p.identify(r)
		return p.through(r, next)
	case access == urlpath.Public: // on it goes, without identity
		nobody(r)
		p := &passage{h: h}
		p.ResponseWriter = w
		return p.through(r, next)
	case errors.Is(err, ErrNoSession):
		return h.challenge(w, r, own.session.seen)
	default: // cannot tell: fail closed, and leave the cookie alone
		return h.refuse(w, r, err)
	}
}

// serveOwn answers what is the gateway's own to answer.
func (h *Handler) serveOwn(w http.ResponseWriter, r *http.Request, own credentials) (done bool, err error) {
	switch {
	case h.isLogin(r):
		h.quiet(r)
		return h.login(w, r, own)
	case slices.Contains(h.Logout.Paths, r.URL.Path):
		return true, h.logout(w, r, own)
	}
	return false, nil
}

func (h *Handler) isLogin(r *http.Request) bool { return slices.Contains(h.Login.Paths, r.URL.Path) }

// admit finds the session that a request may use; a client's own token has no
// ID. ErrNoSession means that there is none; any other error that nobody can
// tell now.
func (h *Handler) admit(r *http.Request, own credentials) (SessionID, *Session, error) {
	id, ok := parseSessionID(h.realm, own.session.value)
	if !ok {
		s, err := h.admitBearer(r.Context(), own.bearer)
		return SessionID{}, s, err
	}
	rec, err := h.load(r.Context(), id)
	if err != nil {
		return id, nil, err
	}
	now := time.Now().UnixMilli()
	if h.ended(rec, now) {
		return id, nil, h.end(r.Context(), id.key)
	}
	if s := rec.open; s.stamp == h.verifier.Stamp() && now < s.due && now-rec.Seen < h.touchEvery() {
		return id, s, nil // the verdict holds, and nothing is due
	}
	s, err := h.tend(r.Context(), id, rec, now)
	return id, s, err
}

// admitBearer takes a client's own token for a session of one request, where
// that is switched on. Such a token is worth its signature and no more. A good
// verdict is kept, by a hash of the whole token, until the token ends or keys or
// policy change.
func (h *Handler) admitBearer(ctx context.Context, token string) (*Session, error) {
	if !h.Verify.Bearer || token == "" || len(token) > maxToken {
		return nil, ErrNoSession
	}
	key, now, stamp := Key(sha256.Sum256([]byte(token))), time.Now(), h.verifier.Stamp()
	if r, _ := h.bearers.fresh(&key, now.UnixMilli()); r != nil && r.open.stamp == stamp {
		return r.open, nil
	}
	claims, err := h.verifier.Verify(ctx, token, now)
	if errors.Is(err, verify.ErrInvalid) {
		return nil, ErrNoSession
	} else if err != nil {
		return nil, err
	}
	s := &Session{stamp: stamp}
	s.pack(h.realm, customerOf(&kibo.Ticket{JWT: redact.New(token)}, claims))
	h.bearers.keep(&key, &Record{open: s}, 0, claims.Expires.Sub(now), 0)
	return s, nil
}

// load asks for a session, and tells one that is not there from a store that
// cannot say.
func (h *Handler) load(ctx context.Context, id SessionID) (*Record, error) {
	r, err := h.sessions.load(ctx, id)
	return r, storeError("loading a session", err)
}

// storeError makes errStore of everything that is no answer of the store.
func storeError(doing string, err error) error {
	if err == nil || errors.Is(err, ErrNoSession) || errors.Is(err, ErrConflict) {
		return err
	}
	return storeFailure(doing, err)
}

// storeFailure counts a failure of the store, unless the client has just gone.
func storeFailure(doing string, err error) error {
	if !errors.Is(err, context.Canceled) {
		metricStoreErrors.WithLabelValues(doing).Inc()
	}
	return fmt.Errorf("%w: %s: %w", errStore, doing, err)
}

// ended tells whether a limit of the session has passed (OWASP ASVS 7.3): the
// absolute one, or, unless the customer is to be remembered, the idle one.
func (h *Handler) ended(r *Record, now int64) bool {
	return now >= r.Ends || (!r.open.remembered && now-r.Seen >= millis(h.Session.Idle))
}

// end deletes a session and says that there is none.
func (h *Handler) end(ctx context.Context, key Key) error {
	if err := h.sessions.end(ctx, key); err != nil {
		return storeError("ending a session", err)
	}
	return ErrNoSession
}

// challenge sends who opens a page to sign in, and tells scripts and other
// clients that they must. A cookie that was refused is taken back, but only
// from a page: a straggling image must not clear a cookie that is newer.
func (h *Handler) challenge(w http.ResponseWriter, r *http.Request, stale bool) error {
	if !isNavigation(r) {
		return h.refuse(w, r, ErrNoSession)
	}
	if stale {
		h.clearCookie(w, h.cookies.session)
	}
	countAnswer("no_session")
	original := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request)
	return redirect(w, h.loginURL(original.URL.RequestURI(), ""))
}

// loginURL is where to sign in, with the way back and what the shop's own form
// is to say.
func (h *Handler) loginURL(returnTo, state string) string {
	query := url.Values{}
	if returnTo = urlpath.LocalTarget(returnTo); returnTo != "" {
		query.Set(h.Login.ReturnTo[0], returnTo)
	}
	if state != "" {
		query.Set("kibo_auth", state)
	}
	if len(query) == 0 {
		return h.Login.Paths[0]
	}
	return h.Login.Paths[0] + "?" + query.Encode()
}

// redirect sends a browser to a place on this site, never to a cached one.
func redirect(w http.ResponseWriter, target string) error {
	w.Header().Set("Location", target)
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusSeeOther)
	return nil
}

// isNavigation tells a browser that opens a page from everything else. By
// Fetch metadata where there is some; otherwise by what is accepted.
func isNavigation(r *http.Request) bool {
	if r.Method != http.MethodGet && r.Method != http.MethodHead || r.Header["Upgrade"] != nil {
		return false
	}
	if mode := r.Header.Get("Sec-Fetch-Mode"); mode != "" {
		return mode == "navigate"
	}
	return r.Header.Get("X-Requested-With") == "" && strings.Contains(r.Header.Get("Accept"), "text/html")
}

// isForeignSocket tells whether a page of another site opens a WebSocket with
// the customer's cookie. Browsers send no preflight for those.
func isForeignSocket(r *http.Request, origins *http.CrossOriginProtection) bool {
	socket := r.Header["Upgrade"] != nil || r.Method == http.MethodConnect // HTTP/1.1; RFC 8441 and 9220
	return socket && isCrossSite(r, origins)
}

// isCrossSite tells whether a request comes from a page of another site: by
// Sec-Fetch-Site, else by Origin, else by Referer. What has none of them is no
// browser of our days. "same-site" is another site too.
func isCrossSite(r *http.Request, origins *http.CrossOriginProtection) bool {
	if r.Host == "" { // HTTP/1.0, and nothing that an origin could be
		return true
	}
	asked := *r
	asked.Method = http.MethodPost // a GET is checked just as well
	if origins.Check(&asked) != nil {
		return true
	}
	if r.Header.Get("Sec-Fetch-Site") != "" || r.Header.Get("Origin") != "" || r.Header.Get("Referer") == "" {
		return false
	}
	from, err := url.Parse(r.Header.Get("Referer"))
	if err != nil {
		return true
	}
	if from.Host == r.Host {
		return false
	}
	asked.Header = http.Header{"Origin": {from.Scheme + "://" + from.Host}}
	return origins.Check(&asked) != nil
}
