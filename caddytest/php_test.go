package caddytest

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kiboauth/caddy-kibo-auth/internal/attack"
	"github.com/kiboauth/caddy-kibo-auth/internal/freeport"
)

// phpShop starts PHP and returns the Caddyfile lines of a shop in it, whose
// only page shows $_SERVER.
func phpShop(t *testing.T) string {
	t.Helper()
	root, addr := t.TempDir(), freeport.Addr(t)
	page := "<?php header('Content-Type: application/json'); echo json_encode($_SERVER);"
	if err := os.WriteFile(filepath.Join(root, "index.php"), []byte(page), 0o600); err != nil {
		t.Fatal(err)
	}
	php := exec.CommandContext(t.Context(), "php-cgi", "-b", addr)
	if err := php.Start(); err != nil {
		t.Fatalf("php-cgi is needed (apt-get install php-cgi): %v", err)
	}
	t.Cleanup(func() {
		_ = php.Process.Kill()
		_ = php.Wait()
	})
	eventually(t, "PHP listens", func() bool {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	return fmt.Sprintf("root %q\nphp_fastcgi %s", root, addr)
}

// TestRemoteUserInPHP: a real PHP sees the account in REMOTE_USER, and nothing
// of what a client says about it.
func TestRemoteUserInPHP(t *testing.T) {
	s := identityLines
	s.gateway = strings.Replace(s.gateway, "page upstream", "", 1)
	s.last = phpShop(t)
	w := start(t, s)
	b := w.browser()
	b.signIn(w, jane)
	for _, tt := range []struct {
		name, path  string
		signedIn    bool
		user, email string
	}{
		{"signed in", "/account.php", true, janeID, jane},
		{"signed in, public page", "/public/x", true, janeID, jane},
		{"nobody", "/public/x", false, "", ""},
	} {
		for _, spoof := range append([]string{"X-Harmless"}, spoofs...) {
			lines := []string{spoof + ": evil"}
			if tt.signedIn {
				lines = append(lines, "Cookie: "+sessionCookie+"="+b.cookies[sessionCookie])
			}
			r := w.raw(w.head("GET "+tt.path+" HTTP/1.1", lines...))
			var server map[string]any
			if err := json.Unmarshal([]byte(r.body), &server); err != nil {
				t.Fatalf("%s: no answer of PHP's: %d %q", tt.name, r.status, r.body)
			}
			checkServer(t, tt.name+", "+spoof, server, map[string]string{
				"REMOTE_USER": tt.user, "HTTP_KIBO_ACCOUNT_ID": tt.user, "HTTP_X_CUSTOMER_EMAIL": tt.email, "HTTP_COOKIE": "",
			})
		}
	}
}

// TestEverySpellingInPHP: under no spelling of a header does a real PHP find in
// $_SERVER what a stranger says of a customer; what it finds is ours, exactly.
// One of the identity headers is called as CGI calls the user.
func TestEverySpellingInPHP(t *testing.T) {
	var all []string
	for _, name := range []string{accountHeader, "X-Customer-Email", "REMOTE_USER", "Remote-User"} {
		all = append(all, attack.HeaderSpellings(name)...)
	}
	for filter, dropped := range map[string]bool{"on": false, "off": true} {
		names := slices.DeleteFunc(slices.Clone(all), func(name string) bool { return strings.ContainsAny(name, "_.") != dropped })
		s := setup{
			gateway: "identity Kibo-Account-Id account_id\nidentity X-Customer-Email email\nidentity REMOTE_USER account_id\npublic /public/*",
			last:    phpShop(t),
		}
		if filter == "off" {
			s.servers = openTo(names)
		}
		t.Run("Caddy's filter "+filter, func(t *testing.T) {
			w := start(t, s)
			b := w.browser()
			b.signIn(w, jane)
			for _, signedIn := range []bool{false, true} {
				user, email, lines := "", "", []string(nil)
				if signedIn {
					user, email, lines = janeID, jane, []string{"Cookie: " + sessionCookie + "=" + b.cookies[sessionCookie]}
				}
				for some := range slices.Chunk(names, 10) {
					lines := slices.Clone(lines)
					for _, name := range some {
						lines = append(lines, name+": evil")
					}
					r := w.raw(w.head("GET /public/x HTTP/1.1", lines...))
					var server map[string]any
					if err := json.Unmarshal([]byte(r.body), &server); err != nil {
						t.Fatalf("no answer of PHP's: %d %q", r.status, r.body)
					}
					checkServer(t, fmt.Sprintf("signed in %t, %.200q", signedIn, some), server, map[string]string{
						"REMOTE_USER": user, "HTTP_REMOTE_USER": user, "HTTP_KIBO_ACCOUNT_ID": user, "HTTP_X_CUSTOMER_EMAIL": email,
					})
				}
			}
		})
	}
}

// checkServer looks for what is wanted in $_SERVER, and for what was forged.
func checkServer(t *testing.T, name string, server map[string]any, want map[string]string) {
	t.Helper()
	for variable, value := range want {
		if got, _ := server[variable].(string); got != value {
			t.Errorf("%s: %s is %q, want %q", name, variable, got, value)
		}
	}
	for variable, value := range server {
		if text, _ := value.(string); strings.Contains(text, "evil") && variable != "HTTP_X_HARMLESS" {
			t.Errorf("%s: PHP sees the forged %s", name, variable)
		}
	}
}

// TestPlaceholders: the rest of the Caddyfile may use who is asking.
func TestPlaceholders(t *testing.T) {
	w := start(t, setup{gateway: "public /public/*", last: `reverse_proxy SHOP {
		header_up X-Id {http.auth.user.id}
		header_up X-Account {http.auth.user.account_id}
		header_up X-First {http.auth.user.first_name}
		header_up X-Secret "{http.auth.user.bearer} {http.auth.user.access_token} {http.auth.user.refresh_token}"
	}`})
	const unknown = "{http.auth.user.bearer} {http.auth.user.access_token} {http.auth.user.refresh_token}"
	b := w.browser()
	b.signIn(w, "zoe@example.com")
	b.open("/public/x")
	got := w.shop.got().header
	if got.Get("X-Id") != "1003" || got.Get("X-Account") != "1003" || got.Get("X-First") != "Zoë" || got.Get("X-Secret") != unknown {
		t.Errorf("signed in: %q", got)
	}
	w.browser().open("/public/x")
	got = w.shop.got().header
	if got.Get("X-Id")+got.Get("X-Account")+got.Get("X-First") != "" {
		t.Errorf("nobody: %q", got)
	}
}

// TestAnotherHandlersUser: who basic_auth knows is not taken for a customer.
func TestAnotherHandlersUser(t *testing.T) {
	const hash = "$2a$04$LoQ2YOX77JpfuKbPzlX6uOBae857mXXqyoDaGk0YxntAnwSZ4BCXu" // of "pass"
	w := start(t, setup{
		site:    "basic_auth {\nbob " + hash + "\n}",
		gateway: "public /public/*",
		last:    "reverse_proxy SHOP {\nheader_up X-Id {http.auth.user.id}\n}",
	})
	auth := func(r *http.Request) { r.SetBasicAuth("bob", "pass") }
	r := w.browser().open("/public/x", auth)
	got := w.shop.got()
	if got == nil || got.header.Get("X-Id") != "" {
		t.Errorf("bob became a customer, or was not served: %d %v", r.status, got)
	}
}

// TestAccessLogNamesTheCustomer by account ID.
func TestAccessLogNamesTheCustomer(t *testing.T) {
	w := start(t, setup{})
	b := w.browser()
	b.signIn(w, jane)
	b.open("/find-me-in-the-log")
	eventually(t, "the access log has the account as user_id", func() bool {
		for line := range strings.SplitSeq(readLog(t), "\n") {
			if strings.Contains(line, `"uri":"/find-me-in-the-log"`) && strings.Contains(line, `"user_id":"1001"`) {
				return true
			}
		}
		return false
	})
}

func readLog(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(logFile)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
