package urlpath

import (
	"net/url"
	"strings"
	"testing"

	"github.com/kiboauth/caddy-kibo-auth/internal/attack"
)

// TestEverySpellingOfAProtectedPath is Protected, or no path at all.
func TestEverySpellingOfAProtectedPath(t *testing.T) {
	lists := map[string]*Rules{
		"deny list":  mustRules(t, []string{"/account", "/account/*"}, nil),
		"with open":  mustRules(t, []string{"/account", "/account/*"}, []string{"/public/*", "/assets/*", "/", "*.css"}),
		"allow list": mustRules(t, nil, []string{"/public/*", "/assets/*", "*.css", "*.png", "/login"}),
	}
	for _, protected := range []string{"/account", "/account/secret.html", "/account/orders/17"} {
		for _, target := range attack.Paths(protected) {
			u, err := url.ParseRequestURI(target)
			if err != nil {
				continue // net/http answers 400
			}
			for name, rules := range lists {
				if got, err := rules.Of(u); got != Protected {
					t.Errorf("%s: Of(%q) = %v, %v, want protected", name, target, got, err)
				}
			}
		}
	}
}

func checkProtected(t *testing.T, rules *Rules, targets ...string) {
	t.Helper()
	for _, target := range targets {
		if got, err := rules.Of(parse(t, target)); got != Protected || err != nil {
			t.Errorf("Of(%q) = %v, %v, want protected", target, got, err)
		}
	}
}

// TestHostInThePath: PHP's parse_url and JavaScript's URL take what follows two
// slashes for a host.
func TestHostInThePath(t *testing.T) {
	checkProtected(t, mustRules(t, []string{"/account", "/account/*"}, []string{"/public/*"}),
		"//x/account", "//x:80/account", "//u@x/account", "///x/account", `/\x/account`, "/%2fx/account", "/%5cx/account",
		"/%252fx/account", "//public/account", "//x//account", "//x/y/../account", "/./%2fx/account", "//x;y/account/orders")
	checkProtected(t, mustRules(t, nil, []string{"/public/*", "/x/*"}), "//public/account", "//x/account", "/x/..//x/account")
}

// TestThirdLayerOfEncoding: who decodes that often is not followed, but refused.
func TestThirdLayerOfEncoding(t *testing.T) {
	targets := []string{"/%252561ccount", "/public/%25252e%25252e/account", "/public/..%25252faccount", "/account%252500.css"}
	checkProtected(t, mustRules(t, []string{"/account"}, nil), targets...)
	checkProtected(t, mustRules(t, nil, []string{"/public/*", "*.css"}), targets...)
}

// TestScriptBelowAPublicFolder: what follows a script is a path of its own to
// that script, wherever it lies.
func TestScriptBelowAPublicFolder(t *testing.T) {
	checkProtected(t, mustRules(t, []string{"/account"}, nil), "/cgi-bin/shop.cgi/account", "/public/index.php/account", "/a/b.php/c.php/account")
	rules := mustRules(t, nil, []string{"/public/*", "/shop/index.php/*", "/assets*"})
	checkProtected(t, rules, "/public/index.php/account", "/public/index.php/account/x.css", "/public/x/../index.php/account", "/assets/x.php/account")
	for _, target := range []string{"/public/index.php", "/public/index.php/public/x", "/shop/index.php/catalog", "/public/jquery.min.js"} {
		if got, err := rules.Of(parse(t, target)); got != Public || err != nil {
			t.Errorf("Of(%q) = %v, %v, want public", target, got, err)
		}
	}
}

// TestLettersThatAServerConverts: NFKC, the code pages of Windows.
func TestLettersThatAServerConverts(t *testing.T) {
	targets := []string{
		"/%E2%93%90ccount", "/%F0%9D%90%9Account", "/%C2%AAccount", // ⓐ, mathematical a, ª
		"/%C3%A1ccount", "/a%CC%81ccount", "/a%CD%8Fccount", // á in one, in two, and with a joiner
		"/public/..%C2%A5account", "/public/..%E2%82%A9account", "/public/%E2%80%A5/account", // ¥ and ₩ are backslashes there; ‥
	}
	checkProtected(t, mustRules(t, []string{"/account"}, nil), targets...)
	checkProtected(t, mustRules(t, nil, []string{"/public/*"}), targets...)
	rules := mustRules(t, nil, []string{"/über/*"})
	checkProtected(t, rules, "/uber/x")
	if got, err := rules.Of(parse(t, "/%C3%BCber/x")); got != Public || err != nil {
		t.Errorf("a public path with an accent is %v, %v", got, err)
	}
}

// TestLineBreakBeforeAPublicEnding: routers that match a line do not see what
// follows it.
func TestLineBreakBeforeAPublicEnding(t *testing.T) {
	rules := mustRules(t, nil, []string{"*.css"})
	checkProtected(t, rules, "/account%250a.css", "/account%250d%250a.css", "/account%2509.css", "/account%257f.css", "/account%25c2%2585.css")
}

// TestRedirectPayloads: none leads away, and none is taken over changed.
func TestRedirectPayloads(t *testing.T) {
	kept := 0
	for _, payload := range attack.Redirects("shop.example") {
		target := LocalTarget(payload)
		checkLocal(t, payload, target)
		if target != "" {
			kept++
		}
		if line := strings.ToLower(decode(decode(target))); strings.ContainsAny(line, "\r\n") {
			t.Errorf("LocalTarget(%q) = %q breaks a header line once it is decoded", payload, target)
		}
	}
	if kept > 20 { // a handful are odd paths of this site
		t.Errorf("%d payloads are kept", kept)
	}
}
