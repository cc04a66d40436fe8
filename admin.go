package kiboauth

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/kiboauth/caddy-kibo-auth/internal/kibo"
)

func init() { caddy.RegisterModule((*adminAPI)(nil)) }

// running holds the handlers between Provision and Cleanup. During a reload
// those of the old and of the new configuration are in it.
var running = caddy.NewUsagePool()

// adminAPI shows and ends sessions over Caddy's admin endpoint, which whoever
// can reach may use: it keeps from its answers what could serve as a session.
type adminAPI struct{ log *zap.Logger }

// CaddyModule implements caddy.Module.
func (*adminAPI) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "admin.api.kibo_auth",
		New: func() caddy.Module { return new(adminAPI) },
	}
}

// Provision implements caddy.Provisioner. Caddy makes a new router for every
// configuration, outside of its module loading, so the logger must be asked for by name.
func (a *adminAPI) Provision(ctx caddy.Context) error {
	a.log = ctx.Logger(a)
	return nil
}

// Where the admin API has sessions and status.
const (
	sessionsPath = "/kibo_auth/sessions"
	statusPath   = "/kibo_auth/status"
)

// Routes implements caddy.AdminRouter.
func (a *adminAPI) Routes() []caddy.AdminRoute {
	return []caddy.AdminRoute{
		{Pattern: sessionsPath, Handler: methods{http.MethodGet: a.list, http.MethodDelete: a.end}},
		{Pattern: statusPath, Handler: methods{http.MethodGet: a.status}},
	}
}

// methods answers by the request's method.
type methods map[string]caddy.AdminHandlerFunc

// ServeHTTP implements caddy.AdminHandler.
func (m methods) ServeHTTP(w http.ResponseWriter, r *http.Request) error {
	if handle, ok := m[r.Method]; ok {
		return handle(w, r)
	}
	var known []string
	for method := range m {
		known = append(known, method)
	}
	slices.Sort(known)
	allow := strings.Join(known, ", ")
	w.Header().Set("Allow", allow)
	return apiError(http.StatusMethodNotAllowed, "%s is not possible here; use %s", r.Method, allow)
}

// gateways returns the running handlers, those of one site if it is given.
func gateways(site string) ([]*Handler, error) {
	var found []*Handler
	var sites []string
	running.Range(func(_, value any) bool {
		h := value.(*Handler)
		sites = append(sites, h.site())
		if site == "" || strings.EqualFold(site, h.site()) {
			found = append(found, h)
		}
		return true
	})
	slices.Sort(sites)
	switch {
	case len(sites) == 0:
		return nil, apiError(http.StatusNotFound, "no kibo_auth is running in this Caddy; ask the one whose configuration has it")
	case len(found) == 0:
		return nil, apiError(http.StatusNotFound, "no kibo_auth is running for the site %q; there is %s", site, strings.Join(slices.Compact(sites), ", "))
	}
	slices.SortFunc(found, func(a, b *Handler) int { return cmp.Compare(a.site(), b.site()) })
	return found, nil
}

// site is the host of the site's API, as the admin API names it.
func (h *Handler) site() string {
	u, err := kibo.ParseURL(h.APIHost)
	if err != nil { // not after Provision
		return h.APIHost
	}
	return u.Host
}

// shownGateway is the state of gateways that are alike.
type shownGateway struct {
	Site     string `json:"site"`
	Store    string `json:"store"`
	Answers  bool   `json:"answers"` // whether the store does
	Error    string `json:"error,omitempty"`
	Handlers int    `json:"handlers"`
}

// statusTimeout is how long status waits for stores.
const statusTimeout = 2 * time.Second

// status serves GET /kibo_auth/status.
func (a *adminAPI) status(w http.ResponseWriter, r *http.Request) error {
	if _, err := query(r); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), statusTimeout)
	defer cancel()
	asked, _ := gateways("") // that there is none is an answer too
	states := make([]shownGateway, len(asked))
	var probes sync.WaitGroup
	for i, h := range asked {
		probes.Go(func() { states[i] = h.state(ctx) })
	}
	probes.Wait()
	return writeJSON(w, http.StatusOK, "application/json", map[string][]shownGateway{"gateways": joined(states)})
}

// state asks the store for a session that is not there.
func (h *Handler) state(ctx context.Context) shownGateway {
	s := shownGateway{Site: h.site()}
	if store, ok := h.sessions.Store.(caddy.Module); ok {
		s.Store = store.CaddyModule().ID.Name()
	}
	_, err := h.sessions.Load(ctx, newSessionID(h.realm).key)
	if s.Answers = errors.Is(err, ErrNoSession); !s.Answers {
		s.Error = fmt.Sprint(err)
	}
	return s
}

// joined counts equal states as one, in the order of their sites.
func joined(states []shownGateway) []shownGateway {
	count := map[shownGateway]int{}
	for _, s := range states {
		count[s]++
	}
	all := []shownGateway{}
	for s, n := range count {
		s.Handlers = n
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b shownGateway) int {
		return cmp.Or(cmp.Compare(a.Site, b.Site), cmp.Compare(a.Store, b.Store), cmp.Compare(a.Error, b.Error))
	})
	return all
}

// query returns the parameters of a request. One that is not known, empty or
// there twice is an error: to end sessions, a slip must not pass for a wish.
func query(r *http.Request, known ...string) (url.Values, error) {
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, apiError(http.StatusBadRequest, "the query cannot be read: %w", err)
	}
	for name, values := range q {
		switch {
		case !slices.Contains(known, name):
			return nil, apiError(http.StatusBadRequest, "the parameter %q is not known%s; there is %s",
				name, didYouMean(name, known), cmp.Or(strings.Join(known, ", "), "none"))
		case len(values) > 1:
			return nil, apiError(http.StatusBadRequest, "%s is there %d times; give it once", name, len(values))
		case values[0] == "":
			return nil, apiError(http.StatusBadRequest, "%s is empty; give it a value, or leave it out", name)
		}
	}
	if account := q.Get("account"); !validAccount(account) {
		return nil, apiError(http.StatusBadRequest, "account=%q is no account ID; give one as the list of sessions has it", account)
	}
	return q, nil
}

// validAccount tells whether a store may be asked for an account.
func validAccount(id string) bool {
	return len(id) <= maxCustomer-realmLen && !strings.ContainsFunc(id, func(c rune) bool { return c <= ' ' || c >= 0x7f })
}

// maxCustomer bounds the name of a customer in a store; see Record.
const maxCustomer = 128

// apiError is an answer that Caddy's admin endpoint gives as JSON and logs.
func apiError(status int, format string, args ...any) error {
	return caddy.APIError{HTTPStatus: status, Err: fmt.Errorf(format, args...)}
}

// Interface guards
var (
	_ caddy.AdminRouter  = (*adminAPI)(nil)
	_ caddy.Provisioner  = (*adminAPI)(nil)
	_ caddy.AdminHandler = methods(nil)
)
