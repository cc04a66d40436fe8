package kiboauth

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// adminReply is what Caddy's admin endpoint makes of an answer.
type adminReply struct {
	status int
	header http.Header
	body   string
	logs   *observer.ObservedLogs
}

// askAdmin sends a request to the admin API.
func askAdmin(ctx context.Context, t *testing.T, method, target string) adminReply {
	t.Helper()
	core, logs := observer.New(zapcore.DebugLevel)
	r := httptest.NewRequestWithContext(ctx, method, target, nil)
	for _, route := range (&adminAPI{zap.New(core)}).Routes() {
		if route.Pattern != r.URL.Path {
			continue
		}
		w := httptest.NewRecorder()
		err := route.Handler.ServeHTTP(w, r)
		if api, ok := errors.AsType[caddy.APIError](err); ok {
			return adminReply{api.HTTPStatus, w.Header(), api.Error(), logs}
		} else if err != nil {
			t.Fatalf("%s %s: %v is no answer of an admin API", method, target, err)
		}
		return adminReply{w.Code, w.Header(), w.Body.String(), logs}
	}
	t.Fatalf("there is no route %s", target)
	return adminReply{}
}

// listed asks for a list that must be given.
func listed(t *testing.T, params ...string) shownSessions {
	t.Helper()
	r := askAdmin(t.Context(), t, http.MethodGet, sessionsPath+"?"+strings.Join(params, "&"))
	var found shownSessions
	if err := json.Unmarshal([]byte(r.body), &found); err != nil || r.status != http.StatusOK {
		t.Fatalf("listing: status %d, %q (%v)", r.status, r.body, err)
	}
	return found
}

// ref is what an operator calls a session.
func (g *gateway) ref(cookie string) string {
	key := g.id(cookie).Key()
	return hex.EncodeToString(key[:8])
}

// alive says which of the sessions are still there: "+-+".
func (g *gateway) alive(cookies ...string) (signs string) {
	for _, c := range cookies {
		if g.session(c) != nil {
			signs += "+"
		} else {
			signs += "-"
		}
	}
	return signs
}

func TestAdminListsSessions(t *testing.T) {
	g := newGateway(t)
	first, second, johns := g.signIn(jane), g.signIn(jane), g.signIn(john)
	g.edit(second, func(s *live) { s.Created = ago(time.Hour) })
	all := listed(t, "site="+g.site())
	if len(all.Sessions) != 3 || all.Truncated {
		t.Fatalf("all: %d sessions, truncated %t; want 3, false", len(all.Sessions), all.Truncated)
	}
	if all.Sessions[2].Ref != g.ref(second) {
		t.Error("the oldest does not stand last")
	}
	hers := listed(t, "account="+g.session(first).AccountID())
	if len(hers.Sessions) != 2 || hers.Sessions[0].Ref != g.ref(first) || hers.Sessions[1].Ref != g.ref(second) {
		t.Errorf("Jane's: %v, want %s and %s", hers.Sessions, g.ref(first), g.ref(second))
	}
	want, got := g.session(johns), listed(t, "account="+g.session(johns).AccountID()).Sessions[0]
	if got.AccountID != want.AccountID() || got.Site != strings.TrimPrefix(g.kibo.URL, "http://") ||
		got.Created.Unix() != want.Created/1000 || got.Seen.Unix() != want.Seen/1000 || got.Expires.Unix() != want.Expires()/1000 {
		t.Errorf("John's is shown as %+v, wanted account %s, created %d, seen %d, expires %d", got, want.AccountID(), want.Created, want.Seen, want.Expires())
	}
	if cut := listed(t, "limit=2"); len(cut.Sessions) != 2 || !cut.Truncated {
		t.Errorf("limit=2: %d sessions, truncated %t; want 2, true", len(cut.Sessions), cut.Truncated)
	}
	if exact := listed(t, "limit=3"); len(exact.Sessions) != 3 || exact.Truncated {
		t.Errorf("limit=3: %d sessions, truncated %t; want 3, false", len(exact.Sessions), exact.Truncated)
	}
	if none := listed(t, "account=404404"); len(none.Sessions) != 0 {
		t.Errorf("an account without sessions has %d", len(none.Sessions))
	}
}

// Whoever can ask the admin API for sessions must not be able to use them, nor
// learn more of the customer than the account ID.
func TestAdminAnswersHoldNoSecrets(t *testing.T) {
	g := newGateway(t)
	cookie := g.signIn(jane)
	s := g.session(cookie)
	account := s.AccountID()
	var answers strings.Builder
	for _, target := range []string{"GET " + sessionsPath, "GET " + statusPath, "DELETE " + sessionsPath + "?account=" + account} {
		method, path, _ := strings.Cut(target, " ")
		r := askAdmin(t.Context(), t, method, path)
		fmt.Fprintln(&answers, r.body, r.header)
		for _, entry := range r.logs.All() {
			fmt.Fprintln(&answers, entry.Message, entry.ContextMap())
		}
	}
	key := g.id(cookie).Key()
	secrets := map[string]string{
		"session ID": g.id(cookie).value, "whole key": hex.EncodeToString(key[:]), "realm": g.realm, "e-mail": jane, "token": s.jwt(),
	}
	for f := fieldUserID; f < fieldCount; f++ {
		if f != fieldTenant && f != fieldSite { // numbers that say nothing of the customer
			secrets[fmt.Sprintf("field %d", f)] = s.plain(f)
		}
	}
	for what, text := range secrets {
		if text != "" && strings.Contains(answers.String(), text) {
			t.Errorf("the answers or logs hold the %s", what)
		}
	}
	if !strings.Contains(answers.String(), account) {
		t.Error("not even the account ID is there: were they the right answers?")
	}
}

func TestAdminEndsSessions(t *testing.T) {
	g := newGateway(t)
	tests := []struct {
		name, query string
		ended       int
		alive       string // Jane's first, which is two days old, her second, John's
	}{
		{"a customer's", "account=ACCOUNT", 2, "--+"},
		{"a customer's, at a site", "account=ACCOUNT&site=SITE", 2, "--+"},
		{"a customer's, who has none", "account=404404", 0, "+++"},
		{"one", "ref=REF", 1, "-++"},
		{"old ones", "older_than=1d", 1, "-++"},
		{"older ones still", "older_than=72h", 0, "+++"},
		{"all", "all=true", 3, "---"},
		{"all of a site", "all=true&site=SITE", 3, "---"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cookies := []string{g.signIn(jane), g.signIn(jane), g.signIn(john)}
			g.edit(cookies[0], func(s *live) { s.Created = ago(48 * time.Hour) })
			query := strings.NewReplacer("ACCOUNT", g.session(cookies[0]).AccountID(), "REF", g.ref(cookies[0]), "SITE", strings.ToUpper(g.site())).Replace(tt.query)
			r := askAdmin(t.Context(), t, http.MethodDelete, sessionsPath+"?"+query)
			if want := fmt.Sprintf("{\"ended\":%d}\n", tt.ended); r.status != http.StatusOK || r.body != want {
				t.Errorf("status %d, %q; want 200, %q", r.status, r.body, want)
			}
			if got := g.alive(cookies...); got != tt.alive {
				t.Errorf("alive: %s, want %s", got, tt.alive)
			}
			if n := r.logs.FilterMessage("sessions ended through the admin API").FilterField(zap.Int("ended", tt.ended)).Len(); n != min(1, tt.ended) {
				t.Errorf("%d lines in the log for %d ended", n, tt.ended)
			}
			askAdmin(t.Context(), t, http.MethodDelete, sessionsPath+"?all=true")
		})
	}
}

// A customer whose session was ended is asked to sign in.
func TestKillSwitch(t *testing.T) {
	g := newGateway(t)
	cookie := g.signIn(jane)
	if o := g.serve(request(t, http.MethodGet, "/", page("Cookie", cookie)...)); o.upstream == nil {
		t.Fatalf("before: status %d", o.Code)
	}
	askAdmin(t.Context(), t, http.MethodDelete, sessionsPath+"?account="+g.session(cookie).AccountID())
	if o := g.serve(request(t, http.MethodGet, "/", page("Cookie", cookie)...)); o.upstream != nil || o.Code != http.StatusSeeOther {
		t.Errorf("after: status %d, seen by the shop %t; want 303, false", o.Code, o.upstream != nil)
	}
}

// A slip in a request must not end what nobody wanted to end.
func TestSlipEndsNothing(t *testing.T) {
	g := newGateway(t)
	cookie := g.signIn(jane)
	account, ref := g.session(cookie).AccountID(), g.ref(cookie)
	for query, want := range map[string]string{
		"":                                    "exactly one",
		"site=" + g.site():                    "exactly one",
		"account=":                            "account is empty",
		"account":                             "account is empty",
		"account=%20":                         "no account ID",
		"account=*%00":                        "no account ID",
		"account=" + strings.Repeat("1", 117): "no account ID",
		"acount=" + account:                   `did you mean "account"?`,
		"Account=" + account:                  `did you mean "account"?`,
		"account=1&account=" + account:        "2 times",
		"account=" + account + "&all=true":    "account and all",
		"all=true&acount=1":                   "not known",
		"all=true;account=1":                  "cannot be read",
		"all=true&site=%zz":                   "cannot be read",
		"all=true&site=":                      "site is empty",
		"all=1":                               "all=true",
		"all=false":                           "all=true",
		"older_than=0":                        "older_than",
		"older_than=-1h":                      "older_than",
		"older_than=soon":                     "older_than",
		"older_than=999999999999d":            "older_than",
		"ref=" + ref[:15]:                     "all 16 digits",
		"ref=" + ref + "00":                   "all 16 digits",
		"ref=*":                               "all 16 digits",
		"limit=1":                             "not known",
	} {
		r := askAdmin(t.Context(), t, http.MethodDelete, sessionsPath+"?"+query)
		if r.status != http.StatusBadRequest || !strings.Contains(r.body, want) {
			t.Errorf("%q: status %d, %q; want 400 with %q", query, r.status, r.body, want)
		}
	}
	for _, query := range []string{"limit=0", "limit=-1", "limit=10001", "limit=ten", "ref=" + ref, "all=true"} {
		if r := askAdmin(t.Context(), t, http.MethodGet, sessionsPath+"?"+query); r.status != http.StatusBadRequest {
			t.Errorf("listing with %q: status %d, want 400", query, r.status)
		}
	}
	if r := askAdmin(t.Context(), t, http.MethodDelete, sessionsPath+"?ref=0123456789abcdef"); r.status != http.StatusNotFound {
		t.Errorf("a ref that is not there: status %d, want 404", r.status)
	}
	if g.session(cookie) == nil {
		t.Error("one of these has ended the session")
	}
}

func TestAdminMethods(t *testing.T) {
	for path, allow := range map[string]string{sessionsPath: "DELETE, GET", statusPath: "GET"} {
		for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodHead, "delete"} {
			r := askAdmin(t.Context(), t, method, path+"?all=true")
			if r.status != http.StatusMethodNotAllowed || r.header.Get("Allow") != allow {
				t.Errorf("%s %s: status %d, Allow %q; want 405, %q", method, path, r.status, r.header.Get("Allow"), allow)
			}
		}
	}
}

// "Nothing ended" would be a comforting answer from a Caddy that has nothing
// to do with the shop.
func TestAdminWithoutGateway(t *testing.T) {
	for _, method := range []string{http.MethodGet, http.MethodDelete} {
		r := askAdmin(t.Context(), t, method, sessionsPath+"?account=1001")
		if r.status != http.StatusNotFound || !strings.Contains(r.body, "no kibo_auth is running in this Caddy") {
			t.Errorf("%s: status %d, %q; want 404", method, r.status, r.body)
		}
	}
	if r := askAdmin(t.Context(), t, http.MethodGet, statusPath); r.body != "{\"gateways\":[]}\n" {
		t.Errorf("status: %q", r.body)
	}
	g := newGateway(t)
	r := askAdmin(t.Context(), t, http.MethodDelete, sessionsPath+"?all=true&site=shop.example.com")
	if r.status != http.StatusNotFound || !strings.Contains(r.body, "there is "+g.site()) {
		t.Errorf("another site: status %d, %q; want 404 that names %s", r.status, r.body, g.site())
	}
}

// A configuration that is refused, and one that is gone, are not asked.
func TestHandlersLeave(t *testing.T) {
	g := newGateway(t)
	if err := (&Handler{APIHost: g.kibo.URL}).Provision(caddy.Context{}); err == nil {
		t.Fatal("a handler without client was provisioned")
	}
	next := g.provision()
	if got := askAdmin(t.Context(), t, http.MethodGet, statusPath).body; !strings.Contains(got, `"handlers":2`) {
		t.Errorf("during a reload: %q, want 2 handlers", got)
	}
	if err := next.Cleanup(); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("{\"gateways\":[{\"site\":%q,\"store\":\"memory\",\"answers\":true,\"handlers\":1}]}\n", g.site())
	if got := askAdmin(t.Context(), t, http.MethodGet, statusPath).body; got != want {
		t.Errorf("after a reload: %q, want %q", got, want)
	}
}

// quietStore allows to keep records nearby for long, and tells of no change.
type quietStore struct{ Store }

func (quietStore) Watch(func(*Key)) func()                { return func() {} }
func (quietStore) CacheFor() (fresh, stale time.Duration) { return time.Hour, time.Hour }

// Two configurations have one store during a reload, and two sites may have one
// at any time. A session is listed once, and ended at both at once, whatever
// they keep nearby.
func TestKillSwitchReachesEveryHandler(t *testing.T) {
	g := newGateway(t)
	next := g.provision()
	store := quietStore{g.sessions.Store}
	for _, h := range []*Handler{g.Handler, next} {
		h.sessions = newSessions(store, h.keyring, h.realm)
	}
	cookie := g.signIn(jane)
	for _, h := range []*Handler{g.Handler, next} {
		if _, err := h.sessions.load(t.Context(), g.id(cookie)); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(listed(t).Sessions); n != 1 {
		t.Errorf("listed %d times", n)
	}
	r := askAdmin(t.Context(), t, http.MethodDelete, sessionsPath+"?all=true")
	if r.body != "{\"ended\":1}\n" {
		t.Errorf("ending: %q, want one", r.body)
	}
	for i, h := range []*Handler{g.Handler, next} {
		if _, err := h.sessions.load(t.Context(), g.id(cookie)); !errors.Is(err, ErrNoSession) {
			t.Errorf("handler %d: %v, want %v", i, err, ErrNoSession)
		}
	}
}
