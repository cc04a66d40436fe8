package kiboauth

import (
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/kiboauth/caddy-kibo-auth/internal/kibo"
	"github.com/kiboauth/caddy-kibo-auth/internal/kibosim"
	"github.com/kiboauth/caddy-kibo-auth/internal/redact"
)

func TestTicketsThatCannotBeTrusted(t *testing.T) {
	for _, variant := range []string{"alg_none", "garbage", "exp_past", "inner_past", "nbf_future", "wrong_issuer", "wrong_audience", "wrong_account", "wrong_subject", "anonymous", "missing_user_claims"} {
		g := newGateway(t)
		g.sim.Set(func(sw *kibosim.Switches) { sw.JWT = variant })
		kept, code := g.firstStep(jane)
		o := g.codePost(jane, code, kept)
		if o.Code != http.StatusServiceUnavailable || o.Header()["Set-Cookie"] != nil {
			t.Errorf("%s: status %d, cookies %q, want 503 and none", variant, o.Code, o.Header()["Set-Cookie"])
		}
	}
}

// A ticket whose parts name different customers makes nobody known.
func TestTicketOfTwoCustomers(t *testing.T) {
	g := newGateway(t)
	token := g.sim.Issue("", jane)
	claims, err := g.verifier.Verify(t.Context(), token, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		userID, accountID string
		want              error
	}{
		"one customer":           {claims.UserID, claims.AccountID, nil},
		"ticket says less":       {"", "", nil},
		"another user":           {"0123456789abcdef0123456789abcdef", claims.AccountID, errBadTicket},
		"another account":        {claims.UserID, "1002", errBadTicket},
		"another user, no claim": {"0123456789abcdef0123456789abcdef", "", errBadTicket},
	} {
		ticket := &kibo.Ticket{JWT: redact.New(token), UserID: tt.userID, Customer: &kibo.Customer{AccountID: tt.accountID}}
		if _, err := g.trust(t.Context(), ticket); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
	}
}
