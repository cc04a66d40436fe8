package main

import (
	"crypto/rand"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// newTestShop serves the shop without a gateway, so that a test can play one.
func newTestShop(t *testing.T) http.Handler {
	t.Helper()
	h, err := newShop()
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// get asks the shop for a page, with header pairs as the gateway would set them.
func get(h http.Handler, target string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, target, nil)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header[header[i]] = append(r.Header[header[i]], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

var jane = []string{
	"Kibo-Account-Id", "1001", "Kibo-Email", "jane@example.com",
	"Kibo-First-Name", "Jane", "Kibo-Last-Name", "Doe",
}

func TestShopPages(t *testing.T) {
	h := newTestShop(t)
	tests := []struct {
		name   string
		target string
		header []string
		status int
		want   []string
	}{
		{"catalogue", "/", nil, 200, []string{"Storm lantern", "Sign in", "$48.00"}},
		{"catalogue, signed in", "/", jane, 200, []string{"Jane Doe", "Sign out"}},
		{"product", "/product/enamel-mug", nil, 200, []string{"Enamel mug", "Dishwasher safe"}},
		{"no such product", "/product/anchor", nil, 404, []string{"Page not found"}},
		{"no such page", "/.env", nil, 404, []string{"Page not found"}},
		{"empty cart", "/cart", nil, 200, []string{"nothing in it"}},
		{"account", "/account", jane, 200, []string{"Jane Doe", "jane@example.com", "1001", "Delivered"}},
		{"account of nobody", "/account", nil, 403, nil},
		{"checkout of nobody", "/checkout", nil, 403, nil},
		{"drawing", "/static/storm-lantern.svg", nil, 200, []string{"<svg"}},
		{
			"name outside ASCII", "/account",
			[]string{"Kibo-Account-Id", "1003", "Kibo-First-Name", "Zo%C3%AB", "Kibo-Last-Name", "%C3%85ngstr%C3%B6m-%E6%97%A5%E6%9C%AC"},
			200,
			[]string{"Zoë Ångström-日本"},
		},
		{
			"name that is no encoding", "/account",
			[]string{"Kibo-Account-Id", "1004", "Kibo-First-Name", "100%", "Kibo-Last-Name", "Wool"},
			200,
			[]string{"100% Wool"},
		},
		{
			"name with markup", "/account",
			[]string{"Kibo-Account-Id", "1005", "Kibo-First-Name", "%3Cscript%3E"},
			200,
			[]string{"&lt;script&gt;"},
		},
		{"customer without a name", "/", []string{"Kibo-Account-Id", "1006", "Kibo-Email", "a@example.com"}, 200, []string{"a@example.com"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := get(h, test.target, test.header...)
			if w.Code != test.status {
				t.Errorf("GET %s: got status %d, want %d", test.target, w.Code, test.status)
			}
			for _, want := range test.want {
				if !strings.Contains(w.Body.String(), want) {
					t.Errorf("GET %s: no %q in\n%s", test.target, want, w.Body)
				}
			}
		})
	}
}

func TestShopTrustsNoOtherHeader(t *testing.T) {
	h := newTestShop(t)
	for _, name := range []string{
		"Kibo_Account_Id", "X-Kibo-Account-Id", "Remote-User", "REMOTE_USER", "X-Forwarded-User",
		"Authorization", "Kibo-Email", "X-Vol-User-Claims",
	} {
		if w := get(h, "/account", name, "1001"); w.Code != http.StatusForbidden {
			t.Errorf("%s: 1001 opened the account page: got status %d, want 403", name, w.Code)
		}
	}
}

func TestShopLoginForm(t *testing.T) {
	h := newTestShop(t)
	tests := []struct {
		query string
		want  []string
	}{
		{"", []string{`name="login[username]"`, `name="login[password]"`, `value="/account"`, "Code from the e-mail"}},
		{"?returnUrl=/checkout", []string{`value="/checkout"`}},
		{"?returnUrl=%22%3E%3Cscript%3E", []string{"&#34;&gt;&lt;script&gt;"}},
		{"?kibo_auth=code_sent", []string{"on its way", `role="status"`}},
		{"?kibo_auth=second_step", []string{"second code", `role="status"`}},
		{"?kibo_auth=rejected", []string{"did not work", `role="alert"`}},
		{"?kibo_auth=limited", []string{"wait", `role="alert"`}},
		{"?kibo_auth=unavailable", []string{"not lost", `role="alert"`}},
		{"?kibo_auth=nonsense", []string{"Code from the e-mail"}},
	}
	for _, test := range tests {
		w := get(h, "/login"+test.query)
		for _, want := range test.want {
			if !strings.Contains(w.Body.String(), want) {
				t.Errorf("GET /login%s: no %q in\n%s", test.query, want, w.Body)
			}
		}
	}
}

func TestShopCartAndCheckout(t *testing.T) {
	h := newTestShop(t)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/checkout") || strings.HasPrefix(r.URL.Path, "/account") {
			for i := 0; i+1 < len(jane); i += 2 {
				r.Header.Set(jane[i], jane[i+1])
			}
		}
		h.ServeHTTP(w, r)
	}))
	defer srv.Close()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	client := srv.Client()
	client.Jar = jar
	post := func(path string, form url.Values, want string) {
		t.Helper()
		resp, err := client.PostForm(srv.URL+path, form)
		if err != nil {
			t.Fatal(err)
		}
		if body := readAll(t, resp); !strings.Contains(body, want) {
			t.Errorf("POST %s: no %q in\n%s", path, want, body)
		}
	}
	post("/cart", url.Values{"product": {"enamel-mug"}}, "$12.00")
	post("/cart", url.Values{"product": {"enamel-mug"}}, "$24.00")
	post("/cart", url.Values{"product": {"signal-bell"}}, "$100.00")
	post("/cart", url.Values{"product": {"signal-bell"}, "action": {"remove"}}, "$24.00")
	post("/cart", url.Values{"product": {"anchor"}}, "no such product")
	post("/checkout", nil, "20418")
	post("/checkout", nil, "nothing in it")
}

func TestShopMemoryIsBounded(t *testing.T) {
	m := newMemory()
	for range 2 * maxKept {
		m.add(rand.Text(), "enamel-mug")
	}
	if got := len(m.carts); got != maxKept {
		t.Errorf("got %d carts, want %d", got, maxKept)
	}
	for range 2 * maxPieces {
		m.add("same", "enamel-mug")
	}
	if got := m.cart("same")["enamel-mug"]; got != maxPieces {
		t.Errorf("got %d mugs, want %d", got, maxPieces)
	}
}

func TestWhoami(t *testing.T) {
	w := get(newTestShop(t), "/whoami",
		"Kibo-Account-Id", "1001", "Kibo_account_id", "9", "Remote_user", "root", "Cookie", "LEGACYSESS=abc", "Accept", "text/html")
	want := "Cookie: LEGACYSESS=abc\nKibo-Account-Id: 1001\nKibo_account_id: 9\nRemote_user: root\n"
	if got := w.Body.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// readAll returns an answer's body as text, and closes it.
func readAll(t *testing.T, resp *http.Response) string {
	t.Helper()
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}
