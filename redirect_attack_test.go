package kiboauth

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/kiboauth/caddy-kibo-auth/internal/attack"
)

// TestOpenRedirectOutOfTheSealedCookie: what the cookie of a pending sign-in
// says is checked once more, whoever has sealed it.
func TestOpenRedirectOutOfTheSealedCookie(t *testing.T) {
	g := newGateway(t, func(h *Handler) { h.Login.Success = "/welcome" })
	for _, payload := range attack.Redirects("shop.example")[:100] {
		_, code := g.firstStep(jane)
		sealed := httptest.NewRecorder()
		if err := g.keep(t.Context(), sealed, &pending{Email: jane, ReturnTo: payload, First: factorCode}); err != nil {
			t.Fatal(err)
		}
		cookie := sealed.Result().Cookies()[0]
		o := g.serve(post(t, "/login", url.Values{"email": {jane}, "otpCode": {code}}, "Cookie", cookie.Name+"="+cookie.Value))
		if got := o.Header().Get("Location"); o.Code != http.StatusSeeOther || got != "/welcome" {
			t.Errorf("%q: status %d to %q, want 303 to /welcome", payload, o.Code, got)
		}
	}
}
