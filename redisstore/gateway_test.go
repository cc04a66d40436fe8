package redisstore

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	_ "github.com/caddyserver/caddy/v2/modules/filestorage"

	kiboauth "github.com/kiboauth/caddy-kibo-auth"
	"github.com/kiboauth/caddy-kibo-auth/internal/kibosim"
	"github.com/kiboauth/caddy-kibo-auth/internal/redistest"
)

// TestGatewaysCountTogether: what one gateway has counted holds at the next,
// which shares nothing with it but Redis.
func TestGatewaysCountTogether(t *testing.T) {
	server := redistest.Start(t, redistest.Options{})
	sim := kibosim.New(kibosim.Options{})
	kibo := httptest.NewServer(sim)
	t.Cleanup(kibo.Close)
	whole, err := caddy.ProvisionContext(&caddy.Config{StorageRaw: fmt.Appendf(nil, `{"module":"file_system","root":%q}`, t.TempDir())})
	if err != nil {
		t.Fatal(err)
	}
	guess := func() int {
		h := &kiboauth.Handler{
			APIHost: kibo.URL, AuthHost: kibo.URL, ClientID: kibosim.ClientID, SharedSecret: kibosim.SharedSecret,
			Secrets: []string{strings.Repeat("secret", 6)}, Login: kiboauth.Login{PasswordField: "password"},
			StoreRaw: fmt.Appendf(nil, `{"backend":"redis","urls":[%q]}`, server.URL()), Limits: kiboauth.Limits{Floor: -1},
		}
		ctx, cancel := caddy.NewContext(whole)
		defer cancel() // cleans the store up
		if err := h.Provision(ctx); err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := h.Cleanup(); err != nil {
				t.Error(err)
			}
		}()
		form := url.Values{"email": {"jane@example.com"}, "password": {"wrong"}}
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/login", strings.NewReader(form.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		w := httptest.NewRecorder()
		if err := h.ServeHTTP(w, caddyhttp.PrepareRequest(r, caddy.NewReplacer(), w, nil), nil); err != nil {
			t.Fatal(err)
		}
		return w.Code
	}
	for i := range 7 {
		want := http.StatusUnauthorized
		if i >= 5 {
			want = http.StatusTooManyRequests
		}
		if got := guess(); got != want {
			t.Errorf("guess %d, at a gateway of its own: status %d, want %d", i, got, want)
		}
	}
	keys := strings.Fields(server.CLI("KEYS", "*"))
	for _, key := range keys {
		if !strings.HasPrefix(key, "kibo:{l:") || !strings.HasSuffix(key, "}:g") || len(key) != len("kibo:{l:}:g")+24 {
			t.Errorf("key %q, want a counter", key)
		}
	}
	if len(keys) != 4 {
		t.Errorf("%d counters, want 4: client, total and two of the account", len(keys))
	}
}
