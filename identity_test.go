package kiboauth

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/kiboauth/caddy-kibo-auth/internal/attack"
)

// spoofs are the spellings under which a client may try to speak for the
// customer, with Shop-User configured beside Kibo-Account-Id.
var spoofs = []string{
	"Kibo-Account-Id", "kibo-account-id", "KIBO-ACCOUNT-ID", "Kibo_Account_Id", "KIBO.ACCOUNT.ID", "kibo!account~id",
	"Kibo+Account'Id", "Kibo-Account_Id", "HTTP_KIBO_ACCOUNT_ID", "Http-Kibo-Account-Id", "http.kibo.account.id", "Kibo-",
	"Kibo-Anything", "kibo_email", "HTTP_KIBO_", "Remote-User", "REMOTE_USER", "HTTP_REMOTE_USER", "X-Remote-User", "x.remote.user",
	"X-Vol-User-Claims", "x_vol_user_claims", "X-Vol-App-Claims", "X-Vol-Exclude-User-Claims", "X-Original-Url", "X_ORIGINAL_URL",
	"X-Rewrite-Url", "Shop-User", "shop_user", "SHOP.USER", "HTTP_SHOP_USER", "HTTP-Shop-User",
}

// harmless are names of a client's own that only resemble ours.
var harmless = []string{
	"Kibo", "Kibos-Account-Id", "X-Kibo-Account-Id", "Http", "Http-", "Https-Kibo-Account-Id", "Host-Name", "Remote-Users", "Remoteuser",
	"X-Remote-Use", "Shop-Users", "Shop", "S", "X-Vol-Tenant", "X-Vol-Site", "Accept", "User-Agent", "X-Forwarded-For", "Httpkibo-Account-Id",
}

func withShopUser(h *Handler) {
	h.Identity = []Identity{{"Kibo-Account-Id", "account_id"}, {"Shop-User", "email"}}
}

func TestFoldName(t *testing.T) {
	for name, want := range map[string]string{
		"": "", "A": "a", "Kibo-Account-Id": "kibo_account_id", "KIBO.account~ID": "kibo_account_id", "HTTP_A": "a", "http-a-1": "a_1",
		"HTTP_": "http", "HTTP": "http", "HTTP_HTTP_A": "a", "HTTP__A": "a", "É": "", "@[`{": "", "Zz09": "zz09", "-a--b-.c_": "a_b_c",
		strings.Repeat("a", 200): strings.Repeat("a", maxFolded),
	} {
		if got := foldName(name); got != want {
			t.Errorf("foldName(%q) = %q, want %q", name, got, want)
		}
	}
}

func TestReservedNames(t *testing.T) {
	long := strings.Repeat("X-Long-", 15)
	r := newReserved([]boundHeader{{"Kibo-Account-Id", 0}, {"Shop-User", 0}, {long, 0}, {"Http-Customer", 0}})
	for _, name := range append(spoofs, long, strings.ReplaceAll(long, "-", "."), "Customer", "Http_Customer") {
		if !r.has(name) {
			t.Errorf("has(%q) = false, want true", name)
		}
	}
	for _, name := range append(harmless, "", "-", "--", "!", long+"x", long[:70], "Customers") {
		if r.has(name) {
			t.Errorf("has(%q) = true, want false", name)
		}
	}
	for _, own := range []string{"Kibo-Account-Id", "Shop-User", "Http-Customer", "Remote-User", "X-Original-URL"} {
		for _, name := range attack.HeaderSpellings(own) {
			if !r.has(name) {
				t.Errorf("has(%q) = false, want true, as for %s", name, own)
			}
		}
	}
	names := append(slices.Clone(spoofs), harmless...)
	if n := testing.AllocsPerRun(100, func() {
		for _, name := range names {
			r.has(name)
		}
	}); n > 0 {
		t.Errorf("has allocates %v times, want 0", n)
	}
}

// On no route does the upstream see what a client sent in our name.
func TestSpoofedIdentityHeaders(t *testing.T) {
	g := newGateway(t, withShopUser, func(h *Handler) { h.Public = []string{"/public/*"}; h.Login.Page = pageUpstream })
	cookie := g.signIn(jane)
	for route, r := range map[string]*http.Request{
		"public, nobody":   request(t, http.MethodGet, "/public/a"),
		"public, customer": request(t, http.MethodGet, "/public/a", "Cookie", cookie),
		"protected":        request(t, http.MethodGet, "/account", "Cookie", cookie),
		"shop's own form":  request(t, http.MethodGet, "/login"),
		"no login post":    post(t, "/login", url.Values{"search": {"x"}}),
	} {
		t.Run(route, func(t *testing.T) {
			for _, name := range append(slices.Clone(spoofs), harmless...) {
				r.Header[name] = []string{"evil", "evil"}
			}
			signedIn := len(r.Header["Cookie"]) > 0
			o := g.serve(r)
			if o.upstream == nil {
				t.Fatalf("status %d, want the request to go on", o.Code)
			}
			for _, name := range harmless {
				if !slices.Equal(o.upstream.Header[name], []string{"evil", "evil"}) {
					t.Errorf("%s = %q, want it untouched", name, o.upstream.Header[name])
				}
				delete(o.upstream.Header, name)
			}
			for name, values := range o.upstream.Header {
				if slices.Contains(values, "evil") {
					t.Errorf("%s: %q reaches the upstream", name, values)
				}
			}
			want := map[string][]string{"Kibo-Account-Id": nil, "Shop-User": nil}
			if signedIn {
				want = map[string][]string{"Kibo-Account-Id": {"1001"}, "Shop-User": {jane}}
			}
			for name, values := range want {
				if got := o.upstream.Header[name]; !slices.Equal(got, values) {
					t.Errorf("%s = %q, want %q", name, got, values)
				}
			}
		})
	}
}

// A proxy drops every header that Connection lists, ours too.
func TestConnectionListsIdentity(t *testing.T) {
	tests := []struct {
		name                string
		connection, upgrade []string
		want                []string
	}{
		{"none", nil, nil, nil},
		{"close and our header", []string{"close, Kibo-Account-Id"}, nil, nil},
		{"keep-alive", []string{"keep-alive"}, nil, nil},
		{"upgrade without Upgrade", []string{"Upgrade"}, nil, nil},
		{"upgrade", []string{"Upgrade"}, []string{"websocket"}, []string{"Upgrade"}},
		{"upgrade and our header", []string{"Kibo-Account-Id, upgrade"}, []string{"websocket"}, []string{"Upgrade"}},
		{"in several lines", []string{"Kibo-Account-Id", "keep-alive, Upgrade"}, []string{"websocket"}, []string{"Upgrade"}},
		{"Upgrade without upgrade", []string{"keep-alive, Kibo-Account-Id"}, []string{"websocket"}, nil},
	}
	g := newGateway(t)
	cookie := g.signIn(jane)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := request(t, http.MethodGet, "/account", "Cookie", cookie, "Sec-Fetch-Site", "same-origin")
			if tt.connection != nil {
				r.Header["Connection"] = tt.connection
			}
			if tt.upgrade != nil {
				r.Header["Upgrade"] = tt.upgrade
			}
			o := g.serve(r)
			if o.upstream == nil {
				t.Fatalf("status %d, want the request to go on", o.Code)
			}
			if got := o.upstream.Header["Connection"]; !slices.Equal(got, tt.want) {
				t.Errorf("Connection = %q, want %q", got, tt.want)
			}
			if got := o.upstream.Header["Upgrade"]; !slices.Equal(got, tt.upgrade) {
				t.Errorf("Upgrade = %q, want %q", got, tt.upgrade)
			}
			if got := o.upstream.Header.Get("Kibo-Account-Id"); got != "1001" {
				t.Errorf("Kibo-Account-Id = %q, want 1001", got)
			}
		})
	}
}

// Trailers come after our headers, announced or not.
func TestSpoofedTrailers(t *testing.T) {
	g := newGateway(t, func(h *Handler) { h.Public = []string{"*"} })
	got := make(chan http.Header, 1)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r = caddyhttp.PrepareRequest(r, caddy.NewReplacer(), w, nil)
		_ = g.ServeHTTP(w, r, caddyhttp.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) error {
			_, err := io.Copy(io.Discard, r.Body)
			all := r.Trailer.Clone()
			if all == nil {
				all = http.Header{}
			}
			for _, v := range r.Header["Trailer"] {
				all.Add("Trailer", v)
			}
			got <- all
			return err
		}))
	}))
	defer srv.Close()
	for _, announced := range []string{"", "Trailer: Kibo-Account-Id, X-Sum\r\n"} {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", srv.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n%s\r\n1\r\nx\r\n0\r\nKibo-Account-Id: evil\r\nX-Sum: 1\r\n\r\n", announced)
		if _, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil {
			t.Fatal(err)
		}
		conn.Close()
		if trailers := <-got; len(trailers) != 0 {
			t.Errorf("announced %q: the upstream gets %q", announced, trailers)
		}
	}
}

func TestAuthorizationOfTheClient(t *testing.T) {
	tests := []struct {
		name    string
		values  []string
		forward []string
		want    []string
	}{
		{"basic", []string{"Basic YTpi"}, nil, []string{"Basic YTpi"}},
		{"basic, where the gateway forwards", []string{"Basic YTpi"}, []string{forwardBearer}, nil},
		{"bearer", []string{"Bearer x"}, nil, nil},
		{"bearer in another case", []string{"bEARER x"}, nil, nil},
		{"bearer behind basic", []string{"Basic YTpi", "Bearer x"}, nil, nil},
		{"digest", []string{"Digest a=b"}, nil, []string{"Digest a=b"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := newGateway(t, func(h *Handler) { h.Public, h.Forward = []string{"*"}, tt.forward })
			r := request(t, http.MethodGet, "/a")
			r.Header["Authorization"] = tt.values
			if got := g.serve(r).upstream.Header["Authorization"]; !slices.Equal(got, tt.want) {
				t.Errorf("Authorization = %q, want %q", got, tt.want)
			}
		})
	}
}

func TestForwardedTokens(t *testing.T) {
	g := newGateway(t, func(h *Handler) { h.Forward = []string{forwardBearer, forwardUserClaims} })
	cookie := g.signIn(jane)
	s := g.session(cookie)
	o := g.serve(request(t, http.MethodGet, "/account", "Cookie", cookie, "Authorization", "Basic YTpi"))
	if got := o.upstream.Header["Authorization"]; !slices.Equal(got, []string{"Bearer " + s.jwt()}) {
		t.Errorf("Authorization has %d values, want the jwtAccessToken alone", len(got))
	}
	if got := o.upstream.Header["X-Vol-User-Claims"]; !slices.Equal(got, []string{s.header(fieldAccessToken)}) {
		t.Errorf("X-Vol-User-Claims has %d values, want the access token alone", len(got))
	}
}

func TestSessionCookieStaysHere(t *testing.T) {
	g := newGateway(t)
	cookie := g.signIn(jane)
	r := request(t, http.MethodGet, "/account", "Cookie", "a=1; "+cookie+"; b=2; "+g.cookies.login+"=x; c=3")
	if got := g.serve(r).upstream.Header["Cookie"]; !slices.Equal(got, []string{"a=1; b=2; c=3"}) {
		t.Errorf("Cookie = %q, want those of the shop", got)
	}
}

func TestPlaceholders(t *testing.T) {
	g := newGateway(t, func(h *Handler) { h.Public = []string{"/public"} })
	cookie := g.signIn("zoe@example.com")
	ask := func(repl *caddy.Replacer, name string) any {
		v, _ := repl.Get("http.auth.user." + name)
		return v
	}
	o := g.serve(request(t, http.MethodGet, "/account", "Cookie", cookie))
	for name, want := range map[string]any{
		"id": "1003", "account_id": "1003", "email": "zoe@example.com", "first_name": "Zoë", "last_name": "Ångström-日本",
		"segments": "newsletter", "locale": "de-DE", "account_type": "B2C", "tenant": "10001", "site": "20002",
		"access_token": nil, "refresh_token": nil, "bearer": nil, "jwt": nil, "": nil,
	} {
		if got := ask(o.repl, name); got != want {
			t.Errorf("{http.auth.user.%s} = %v, want %v", name, got, want)
		}
	}
	for route, r := range map[string]*http.Request{
		"nobody": request(t, http.MethodGet, "/public"), "customer": request(t, http.MethodGet, "/public", "Cookie", cookie),
	} {
		repl := caddy.NewReplacer()
		w := httptest.NewRecorder()
		r = caddyhttp.PrepareRequest(r, repl, w, nil)
		repl.Set("http.auth.user.id", "admin") // as basic_auth before us would
		if err := g.ServeHTTP(w, r, caddyhttp.HandlerFunc(shop)); err != nil {
			t.Fatal(err)
		}
		if got := ask(repl, "id"); got == "admin" {
			t.Errorf("%s: another handler's user is taken for the customer", route)
		}
	}
}
