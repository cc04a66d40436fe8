package kiboauth

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
)

// sickStore fails in the middle of its work.
type sickStore struct {
	Store
	list   error // after all that is there
	delete func() error
}

func (s sickStore) List(ctx context.Context, customer string) iter.Seq2[Listed, error] {
	return func(yield func(Listed, error) bool) {
		for l, err := range s.Store.List(ctx, customer) {
			if !yield(l, err) {
				return
			}
		}
		if s.list != nil {
			yield(Listed{}, s.list)
		} else if err := ctx.Err(); err != nil {
			yield(Listed{}, err)
		}
	}
}

func (s sickStore) Delete(ctx context.Context, key Key) error {
	if s.delete != nil {
		if err := s.delete(); err != nil {
			return err
		}
	}
	return s.Store.Delete(ctx, key)
}

// With one site's store down, the kill switch still ends what it can, says what
// it could not, and never says that all is well.
func TestKillSwitchWithAStoreDown(t *testing.T) {
	sick, well := newGateway(t), newGateway(t)
	a, b, c := sick.signIn(jane), sick.signIn(jane), well.signIn(jane)
	account, deletes := sick.session(a).AccountID(), 0
	sick.sessions.Store = sickStore{Store: sick.sessions.Store, delete: func() error {
		if deletes++; deletes > 1 {
			return errors.New("disk on fire")
		}
		return nil
	}}
	r := askAdmin(t.Context(), t, http.MethodDelete, sessionsPath+"?account="+account)
	want := "the session store of " + sick.site() + " does not answer: disk on fire; before that, 2 sessions ended: ask again to end the rest"
	if r.status != http.StatusServiceUnavailable || r.body != want {
		t.Errorf("status %d, %q; want 503, %q", r.status, r.body, want)
	}
	if got := sick.alive(a, b); strings.Count(got, "+") != 1 || well.alive(c) != "-" {
		t.Errorf("alive: %s and %s, want one and none", got, well.alive(c))
	}
	if n := r.logs.FilterField(zap.String("account_id", account)).FilterField(zap.Int("ended", 2)).Len(); n != 1 {
		t.Errorf("%d lines in the log, want 1", n)
	}
}

func TestAdminWithAStoreDown(t *testing.T) {
	g := newGateway(t)
	g.signIn(jane)
	f := g.breakStore()
	f.load = errors.New("disk on fire")
	g.sessions.Store = sickStore{Store: f, list: f.load}
	for _, target := range []string{"GET " + sessionsPath, "DELETE " + sessionsPath + "?older_than=1h", "DELETE " + sessionsPath + "?ref=0123456789abcdef"} {
		method, path, _ := strings.Cut(target, " ")
		r := askAdmin(t.Context(), t, method, path)
		if r.status != http.StatusServiceUnavailable || !strings.Contains(r.body, g.site()+" does not answer: disk on fire") {
			t.Errorf("%s: status %d, %q; want 503 that says why", target, r.status, r.body)
		}
	}
	var state struct{ Gateways []shownGateway }
	r := askAdmin(t.Context(), t, http.MethodGet, statusPath)
	if err := json.Unmarshal([]byte(r.body), &state); err != nil || r.status != http.StatusOK {
		t.Fatalf("status %d, %q (%v)", r.status, r.body, err)
	}
	if got := state.Gateways[0]; got.Answers || got.Error != "disk on fire" {
		t.Errorf("%+v, want a store that does not answer, and why", got)
	}
}

// Who does not wait for the answer does not keep the store busy.
func TestAdminRequestGivenUp(t *testing.T) {
	g := newGateway(t)
	g.sessions.Store = sickStore{Store: g.sessions.Store}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, method := range []string{http.MethodGet, http.MethodDelete} {
		if r := askAdmin(ctx, t, method, sessionsPath+"?account=1001"); r.status != http.StatusServiceUnavailable || !strings.Contains(r.body, "canceled") {
			t.Errorf("%s: status %d, %q; want 503, as the store was not asked to the end", method, r.status, r.body)
		}
	}
}

// hangingStore answers when the caller has had enough.
type hangingStore struct{ Store }

func (hangingStore) Load(ctx context.Context, _ Key) (*Record, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func TestStatusOfAHangingStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &Handler{APIHost: "t1-s2.example.com", realm: strings.Repeat("r", realmLen)}
		h.sessions = newSessions(hangingStore{}, nil, h.realm)
		running.LoadOrStore(h, h)
		defer running.Delete(h)
		began := time.Now()
		r := askAdmin(t.Context(), t, http.MethodGet, statusPath)
		if !strings.Contains(r.body, `"answers":false`) || time.Since(began) != statusTimeout {
			t.Errorf("%q after %v, want no answer after %v", r.body, time.Since(began), statusTimeout)
		}
	})
}
