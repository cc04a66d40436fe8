package caddytest

import (
	"bufio"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/kiboauth/caddy-kibo-auth/internal/freeport"
)

// TestAdminEndpointsOnTheShopsListener: there are none, of the gateway or of
// Caddy, for anybody and in any spelling. What stands there is the shop's.
func TestAdminEndpointsOnTheShopsListener(t *testing.T) {
	w := start(t, setup{admin: freeport.Addr(t), gateway: "public /public/*"})
	b := w.browser()
	b.signIn(w, jane)
	for _, path := range []string{
		"/kibo_auth/sessions?all=true", "/kibo_auth/sessions?account=" + janeID, "/kibo_auth/status", "/kibo_auth", "/kibo-auth/sessions", "/KIBO_AUTH/status", "/%6bibo_auth/status",
		"/public/..%2fkibo_auth/status", "/metrics", "/config/", "/load", "/stop", "/adapt", "/id/x", "/pki/ca/local", "/reverse_proxy/upstreams", "/debug/pprof/", "/debug/vars", "/.well-known/kibo",
	} {
		for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodDelete} {
			if r := w.browser().do(method, path, nil, asScript); r.status != http.StatusUnauthorized && r.status != http.StatusBadRequest {
				t.Errorf("%s %s: nobody gets %d %.60q", method, path, r.status, r.body)
			}
			w.shop.got()
			if r := b.do(method, path, nil, asScript); r.body != "shop for "+janeID || w.shop.got() == nil {
				t.Errorf("%s %s: Jane gets %d %.60q, want the shop's answer", method, path, r.status, r.body)
			}
		}
	}
	if got := b.signedInAs("/"); got != janeID {
		t.Errorf("after all that Jane is %q", got)
	}
}

// TestAdminEndpointFromABrowser: a page that the operator has open beside it
// ends no session and reads none, by any way to send a request (CVE-2026-27589).
func TestAdminEndpointFromABrowser(t *testing.T) {
	w := start(t, setup{admin: freeport.Addr(t)})
	b := w.browser()
	b.signIn(w, jane)
	host := "Host: " + w.setup.admin
	for name, lines := range map[string][]string{
		"fetch of another origin":      {host, "Origin: https://evil.example", "Sec-Fetch-Mode: cors", "Sec-Fetch-Site: cross-site"},
		"fetch without CORS":           {host, "Sec-Fetch-Mode: no-cors", "Sec-Fetch-Site: cross-site"},
		"no CORS, a friendly origin":   {host, "Sec-Fetch-Mode: no-cors", "Origin: http://" + w.setup.admin},
		"form":                         {host, "Origin: https://evil.example", "Content-Type: application/x-www-form-urlencoded"},
		"sandboxed frame":              {host, "Origin: null"},
		"image":                        {host, "Sec-Fetch-Mode: no-cors", "Sec-Fetch-Dest: image"},
		"link":                         {host, "Sec-Fetch-Mode: navigate", "Sec-Fetch-Site: cross-site"},
		"page of the shop":             {host, "Origin: http://" + w.addr, "Sec-Fetch-Mode: cors", "Sec-Fetch-Site: same-site"},
		"older browser":                {host, "Origin: https://evil.example"},
		"another port":                 {host, "Origin: http://127.0.0.1:1"},
		"preflight":                    {host, "Origin: https://evil.example", "Access-Control-Request-Method: DELETE"},
		"rebound name":                 {"Host: evil.example"},
		"rebound name, its own origin": {"Host: evil.example:" + port(w.setup.admin), "Origin: http://evil.example:" + port(w.setup.admin)},
		"name of the shop":             {"Host: " + w.addr},
	} {
		for _, line := range []string{
			"DELETE /kibo_auth/sessions?all=true", "DELETE /kibo_auth/sessions?account=" + janeID, "POST /kibo_auth/sessions?all=true&_method=DELETE",
			"GET /kibo_auth/sessions?account=" + janeID, "GET /kibo_auth/status", "OPTIONS /kibo_auth/sessions", "GET /metrics",
		} {
			status, permit := w.rawAdmin(t, line, lines)
			if status < 400 || permit != "" {
				t.Errorf("%s: %s gets %d, Access-Control-Allow-Origin %q", name, line, status, permit)
			}
		}
	}
	if got := b.signedInAs("/"); got != janeID {
		t.Errorf("after all that Jane is %q", got)
	}
	if status, _ := w.rawAdmin(t, "DELETE /kibo_auth/sessions?all=true", []string{host}); status != http.StatusOK || b.signedInAs("/") != "" {
		t.Errorf("the operator's own request: %d", status)
	}
}

// rawAdmin sends a request as it is to the admin endpoint.
func (w *world) rawAdmin(t *testing.T, line string, lines []string) (status int, permit string) {
	t.Helper()
	conn, err := net.Dial("tcp", w.setup.admin)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	text := line + " HTTP/1.1\r\n" + strings.Join(lines, "\r\n") + "\r\nConnection: close\r\nX-Http-Method-Override: DELETE\r\n\r\n"
	if _, err := conn.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	defer resp.Body.Close()
	return resp.StatusCode, resp.Header.Get("Access-Control-Allow-Origin")
}
