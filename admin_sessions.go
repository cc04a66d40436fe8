package kiboauth

import (
	"bytes"
	"cmp"
	"context"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
)

// shownSession is what an operator sees of a session.
type shownSession struct {
	Ref       string    `json:"ref"`
	AccountID string    `json:"account_id"`
	Site      string    `json:"site"`
	Created   time.Time `json:"created"`
	Seen      time.Time `json:"seen"`
	Expires   time.Time `json:"expires"`
}

// shownSessions answers a list, newest first. Truncated: there are more.
type shownSessions struct {
	Sessions  []shownSession `json:"sessions"`
	Truncated bool           `json:"truncated"`
}

// How many sessions one list has.
const (
	defaultListed = 100
	maxListed     = 10_000
)

// list serves GET /kibo_auth/sessions?[account=<id>][&site=<host>][&limit=<n>].
func (a *adminAPI) list(w http.ResponseWriter, r *http.Request) error {
	q, err := query(r, "account", "site", "limit")
	if err != nil {
		return err
	}
	limit := defaultListed
	if q.Has("limit") {
		if limit, err = strconv.Atoi(q.Get("limit")); err != nil || limit < 1 || limit > maxListed {
			return apiError(http.StatusBadRequest, "limit=%s: give a number from 1 to %d", q.Get("limit"), maxListed)
		}
	}
	asked, err := gateways(q.Get("site"))
	if err != nil {
		return err
	}
	answer, err := listSessions(r.Context(), asked, q.Get("account"), limit)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, "application/json", answer)
}

// listSessions asks every gateway. Several may have one store, also during a
// reload, so that each may know the same session.
func listSessions(ctx context.Context, asked []*Handler, account string, limit int) (shownSessions, error) {
	answer, known := shownSessions{Sessions: []shownSession{}}, map[Key]bool{}
	for _, h := range asked {
		for l, err := range h.sessions.mine(ctx, h.customer(account)) {
			switch {
			case err != nil:
				return answer, apiError(http.StatusServiceUnavailable, "the session store of %s does not answer: %w", h.site(), err)
			case known[l.Key]:
				continue
			case len(answer.Sessions) == limit:
				answer.Truncated = true
				answer.sort()
				return answer, nil
			}
			known[l.Key] = true
			answer.Sessions = append(answer.Sessions, h.shown(l))
		}
	}
	answer.sort()
	return answer, nil
}

func (s *shownSessions) sort() {
	slices.SortFunc(s.Sessions, func(a, b shownSession) int {
		return cmp.Or(b.Created.Compare(a.Created), cmp.Compare(a.Ref, b.Ref))
	})
}

// customer names an account in the store; none is none.
func (h *Handler) customer(account string) string {
	if account == "" {
		return ""
	}
	return h.realm + account
}

// refLen is how many bytes of a store key an operator sees. The key is a hash
// of the session ID, and not even all of it would serve as a cookie.
const refLen = 8

func (h *Handler) shown(l Listed) shownSession {
	return shownSession{
		Ref:       hex.EncodeToString(l.Key[:refLen]),
		AccountID: strings.TrimPrefix(l.Record.Customer, h.realm),
		Site:      h.site(),
		Created:   shownTime(l.Record.Created),
		Seen:      shownTime(l.Record.Seen),
		Expires:   shownTime(l.Record.Expires()),
	}
}

func shownTime(ms int64) time.Time { return time.UnixMilli(ms).UTC().Truncate(time.Second) }

// endedSessions answers an end.
type endedSessions struct {
	Ended int `json:"ended"`
}

// end serves DELETE /kibo_auth/sessions?<which>[&site=<host>], which being one
// of account=<id>, ref=<ref>, older_than=<duration> and all=true.
func (a *adminAPI) end(w http.ResponseWriter, r *http.Request) error {
	q, err := query(r, "account", "ref", "older_than", "all", "site")
	if err != nil {
		return err
	}
	which, choice, err := chosen(q)
	if err != nil {
		return err
	}
	asked, err := gateways(q.Get("site"))
	if err != nil {
		return err
	}
	n, err := endSessions(r.Context(), asked, q.Get("account"), choice)
	if n > 0 {
		a.logEnded(n, which, q.Get("account"))
	}
	switch {
	case err != nil:
		return apiError(http.StatusServiceUnavailable, "%w; before that, %s ended: ask again to end the rest", err, plural(n, "session"))
	case n == 0 && which == "ref":
		return apiError(http.StatusNotFound, "no session has the ref %s; it may have ended: list the sessions again", q.Get("ref"))
	}
	return writeJSON(w, http.StatusOK, "application/json", endedSessions{n})
}

func (a *adminAPI) logEnded(n int, which, account string) {
	fields := []zap.Field{zap.Int("ended", n), zap.String("by", which)}
	if account != "" {
		fields = append(fields, zap.String("account_id", account))
	}
	a.log.Info("sessions ended through the admin API", fields...)
}

// chosen returns which sessions a request means: exactly one way of saying it,
// so that no slip ends more than was meant.
func chosen(q url.Values) (which string, choice func(Listed) bool, err error) {
	var said []string
	for _, name := range []string{"account", "ref", "older_than", "all"} {
		if q.Has(name) {
			said = append(said, name)
		}
	}
	if len(said) != 1 {
		return "", nil, apiError(http.StatusBadRequest, "say which sessions to end by exactly one of account=<id>, ref=<ref>, older_than=<duration> and all=true; there is %s",
			cmp.Or(strings.Join(said, " and "), "none"))
	}
	switch which, choice = said[0], func(Listed) bool { return true }; which {
	case "ref":
		choice, err = byRef(q.Get("ref"))
	case "older_than":
		choice, err = byAge(q.Get("older_than"))
	case "all":
		if q.Get("all") != "true" {
			err = apiError(http.StatusBadRequest, "all=%s: write all=true to end all sessions", q.Get("all"))
		}
	}
	return which, choice, err
}

func byRef(text string) (func(Listed) bool, error) {
	ref, err := hex.DecodeString(text)
	if err != nil || len(ref) != refLen {
		return nil, apiError(http.StatusBadRequest, "ref=%s: give all %d digits, as the list of sessions has them", text, 2*refLen)
	}
	return func(l Listed) bool { return bytes.Equal(l.Key[:refLen], ref) }, nil
}

func byAge(text string) (func(Listed) bool, error) {
	age, err := caddy.ParseDuration(text)
	if err != nil || age <= 0 {
		return nil, apiError(http.StatusBadRequest, "older_than=%s: give a time since the sign-in, such as 90m, 24h or 7d", text)
	}
	before := time.Now().Add(-age).UnixMilli()
	return func(l Listed) bool { return l.Record.Created <= before }, nil
}

// endSessions ends sessions at every gateway, past those whose store does not
// answer, and says how many there were.
func endSessions(ctx context.Context, asked []*Handler, account string, choice func(Listed) bool) (int, error) {
	total, down := 0, []string(nil)
	var first error
	for _, h := range asked {
		var keys []Key
		n, err := h.sessions.endAll(ctx, h.customer(account), func(l Listed) bool {
			if !choice(l) {
				return false
			}
			keys = append(keys, l.Key)
			return true
		})
		forget(keys)
		total += n
		if err != nil {
			down, first = append(down, h.site()), cmp.Or(first, err)
		}
	}
	if first == nil {
		return total, nil
	}
	return total, fmt.Errorf("the session store of %s does not answer: %w", strings.Join(slices.Compact(down), ", "), first)
}

// forget has every gateway drop what it keeps nearby of sessions that have
// ended. A store may tell of changes late, or not those of its own process.
func forget(keys []Key) {
	running.Range(func(_, value any) bool {
		if near := value.(*Handler).sessions.near; near != nil {
			for i := range keys {
				near.drop(&keys[i])
			}
		}
		return true
	})
}
