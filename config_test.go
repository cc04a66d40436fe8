package kiboauth

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// goodHandler is configured as the shortest Caddyfile does it.
func goodHandler() *Handler {
	return &Handler{APIHost: "t12345-s67890.sandbox.mozu.com", ClientID: "app", SharedSecret: "shared-and-secret"}
}

// mistakes are configurations that cannot work, the line to blame and a part of
// what is said about it.
var mistakes = []struct {
	name        string
	change      func(*Handler)
	line, wrong string
}{
	{"no API host", func(h *Handler) { h.APIHost = "" }, "kibo_auth", "missing"},
	{"API host with a query", func(h *Handler) { h.APIHost = "https://a.example.com/?x=1" }, "kibo_auth", ""},
	{"no client ID", func(h *Handler) { h.ClientID = "" }, "client", "missing"},
	{"no shared secret", func(h *Handler) { h.SharedSecret = "" }, "client", "missing"},
	{"auth host with a query", func(h *Handler) { h.AuthHost = "https://a.example.com/?x=1" }, "auth_host", ""},
	{"timeout", func(h *Handler) { h.Timeout = -1 }, "timeout", "negative"},
	{"Kibo header of the client's own", func(h *Handler) { h.KiboHeaders = map[string]string{"Authorization": "x"} }, "kibo_header", "gateway itself"},
	{"Kibo header with a line break", func(h *Handler) { h.KiboHeaders = map[string]string{"x-vol-site": "1\r\nA: b"} }, "kibo_header", "control"},
	{"origin with a path", func(h *Handler) { h.Sites = []string{"https://shop.example.com/"} }, "site", "not an origin"},
	{"origin without scheme", func(h *Handler) { h.Sites = []string{"shop.example.com"} }, "site", "not an origin"},
	{"origin of another scheme", func(h *Handler) { h.Sites = []string{"ftp://shop.example.com"} }, "site", "not an origin"},
	{"origin with a user", func(h *Handler) { h.Sites = []string{"https://a@shop.example.com"} }, "site", "not an origin"},
	{"page", func(h *Handler) { h.Login.Page = "mine" }, "login.page", `"mine" is not known`},
	{"login path without slash", func(h *Handler) { h.Login.Paths = []string{"login"} }, "login", "not a path"},
	{"login path of another host", func(h *Handler) { h.Login.Paths = []string{"//evil.example"} }, "login", "not a path"},
	{"login path with a wildcard", func(h *Handler) { h.Login.Paths = []string{"/login/*"} }, "login", "not a path"},
	{"logout path with a query", func(h *Handler) { h.Logout.Paths = []string{"/logout?x"} }, "logout", "not a path"},
	{"success on another host", func(h *Handler) { h.Login.Success = "https://evil.example/" }, "login.success", "not a path"},
	{"one path for both", func(h *Handler) { h.Logout.Paths = []string{"/out", "/login"} }, "logout", "also a login path"},
	{"one field for both", func(h *Handler) { h.Login.CodeField = "email" }, "login.fields", "same field"},
	{"brand", func(h *Handler) { h.Login.Brand.Color = "blue" }, "login.brand", "not a color"},
	{"protect pattern", func(h *Handler) { h.Protect = []string{"a*b"} }, "protect", ""},
	{"public pattern", func(h *Handler) { h.Public = []string{"/a*b*c"} }, "public", ""},
	{"key confusion: HS256 beside jwks", func(h *Handler) { h.Verify = Verify{JWKS: "https://a.example/k", Algorithms: []string{"hs256"}} }, "verify", "symmetric"},
	{"key confusion: HS256 beside key", func(h *Handler) {
		h.Verify = Verify{Key: &Keys{Algorithm: "RS256", Keys: []string{"k"}}, Algorithms: []string{"RS256", "HS512"}}
	}, "verify", "symmetric"},
	{"key confusion: hmac beside jwks", func(h *Handler) {
		h.Verify = Verify{HMAC: &Keys{Algorithm: "HS256", Keys: []string{"k"}}, JWKS: "https://a.example/k"}
	}, "verify", "symmetric"},
	{"two sources of keys", func(h *Handler) {
		h.Verify = Verify{Key: &Keys{Algorithm: "RS256", Keys: []string{"k"}}, JWKS: "https://a.example/k"}
	}, "verify", "two sources"},
	{"bearer without keys", func(h *Handler) { h.Verify.Bearer = true }, "verify.bearer", "no key"},
	{"leeway below zero", func(h *Handler) { h.Verify.Leeway = -1 }, "verify.leeway", "not between"},
	{"leeway too large", func(h *Handler) { h.Verify.Leeway = caddy.Duration(61 * time.Second) }, "verify.leeway", "not between"},
	{"lifetime", func(h *Handler) { h.Session.Lifetime = -1 }, "session.lifetime", "negative"},
	{"idle", func(h *Handler) { h.Session.Idle = -1 }, "session.idle", "negative"},
	{"remember", func(h *Handler) { h.Session.Remember = -1 }, "session.remember", "negative"},
	{"refresh", func(h *Handler) { h.Session.Refresh = -1 }, "session.refresh", "negative"},
	{"idle beyond lifetime", func(h *Handler) { h.Session.Idle = caddy.Duration(25 * time.Hour) }, "session.idle", "longer than the lifetime"},
	{"remember below lifetime", func(h *Handler) { h.Session.Remember = caddy.Duration(time.Hour) }, "session.remember", "shorter than the lifetime"},
	{"cookie name", func(h *Handler) { h.Session.Cookie.Name = "a b" }, "session.cookie", "cannot name"},
	{"__Host- with a domain", func(h *Handler) { h.Session.Cookie = Cookie{Name: "__Host-a", Domain: "example.com"} }, "session.cookie", "domain"},
	{"__Host- with a path", func(h *Handler) { h.Session.Cookie = Cookie{Name: "__Host-a", Path: "/a"} }, "session.cookie", "path"},
	{"__Host- without Secure", func(h *Handler) { h.Session.Cookie = Cookie{Name: "__Host-a", Insecure: true} }, "session.cookie", "without Secure"},
	{"__Secure- without Secure", func(h *Handler) { h.Session.Cookie = Cookie{Name: "__Secure-a", Insecure: true} }, "session.cookie", "without Secure"},
	{"SameSite", func(h *Handler) { h.Session.Cookie.SameSite = "sometimes" }, "session.cookie", "not known"},
	{"SameSite=None without Secure", func(h *Handler) { h.Session.Cookie = Cookie{SameSite: "None", Insecure: true} }, "session.cookie", "SameSite=None"},
	{"cookie path with an attribute", func(h *Handler) { h.Session.Cookie.Path = "/; Domain=evil.example" }, "session.cookie", "no path"},
	{"cookie domain with a port", func(h *Handler) { h.Session.Cookie.Domain = "example.com:443" }, "session.cookie", "no domain"},
	{"identity without a name", func(h *Handler) { h.Identity = []Identity{{"", "email"}} }, "identity", "cannot name"},
	{"identity of separators only", func(h *Handler) { h.Identity = []Identity{{"-", "email"}} }, "identity", "cannot name"},
	{"identity with a blank", func(h *Handler) { h.Identity = []Identity{{"Shop User", "email"}} }, "identity", "cannot name"},
	{"identity in Host", func(h *Handler) { h.Identity = []Identity{{"host", "email"}} }, "identity", "meaning of its own"},
	{"identity in X_Forwarded_For", func(h *Handler) { h.Identity = []Identity{{"HTTP_X_Forwarded_For", "email"}} }, "identity", "meaning of its own"},
	{"identity twice", func(h *Handler) { h.Identity = []Identity{{"Shop-User", "email"}, {"shop_user", "user_id"}} }, "identity", "set twice"},
	{"identity of an unknown field", func(h *Handler) { h.Identity = []Identity{{"Shop-User", "emial"}} }, "identity", `did you mean "email"?`},
	{"identity of a secret", func(h *Handler) { h.Identity = []Identity{{"Shop-User", "access_token"}} }, "identity", "not known"},
	{"forward", func(h *Handler) { h.Forward = []string{"everything"} }, "forward", "cannot be forwarded"},
	{"too many headers", func(h *Handler) {
		for i := range maxIdentity {
			h.Identity = append(h.Identity, Identity{"Shop-" + string(rune('A'+i)), "email"})
		}
		h.Forward = []string{forwardBearer}
	}, "identity", "too many"},
}

func TestMistakesInTheConfiguration(t *testing.T) {
	for _, tt := range mistakes {
		t.Run(tt.name, func(t *testing.T) {
			h := goodHandler()
			tt.change(h)
			h.setDefaults()
			mistake, ok := errors.AsType[*problem](h.check())
			if !ok {
				t.Fatalf("check() = %v, want a problem", h.check())
			}
			if mistake.line != tt.line || !strings.Contains(mistake.wrong, tt.wrong) || mistake.wrong == "" || mistake.mend == "" {
				t.Errorf("check() = %+v, want line %s, %q and how to mend it", *mistake, tt.line, tt.wrong)
			}
			if text := mistake.Error(); strings.Contains(text, "shared-and-secret") || strings.Contains(text, "\n") {
				t.Errorf("check() says %q", text)
			}
		})
	}
}

func TestGoodConfigurations(t *testing.T) {
	for name, change := range map[string]func(*Handler){
		"minimal":          func(*Handler) {},
		"insecure cookie":  func(h *Handler) { h.Session.Cookie.Insecure = true },
		"cookie of many":   func(h *Handler) { h.Session.Cookie.Domain = "example.com" },
		"cookie of a path": func(h *Handler) { h.Session.Cookie.Path = "/shop" },
		"SameSite":         func(h *Handler) { h.Session.Cookie.SameSite = "STRICT" },
		"sites":            func(h *Handler) { h.Sites = []string{"https://a.example.com", "http://localhost:8080"} },
		"no identity":      func(h *Handler) { h.Identity = []Identity{} },
		"hmac": func(h *Handler) {
			h.Verify.HMAC = &Keys{Algorithm: "HS256", Keys: []string{"k"}}
			h.Verify.Bearer = true
		},
		"jwks": func(h *Handler) { h.Verify.JWKS = "https://a.example.com/keys" },
	} {
		h := goodHandler()
		change(h)
		h.setDefaults()
		if err := h.check(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDefaults(t *testing.T) {
	h := goodHandler()
	h.setDefaults()
	for name, ok := range map[string]bool{
		"auth_host": h.AuthHost == "home.mozu.com",
		"timeout":   h.Timeout == caddy.Duration(10*time.Second),
		"login":     slices.Equal(h.Login.Paths, []string{"/login"}) && slices.Equal(h.Logout.Paths, []string{"/logout"}) && !h.Logout.Get,
		"fields":    h.Login.EmailField == "email" && h.Login.CodeField == "otpCode" && h.Login.RememberField == "",
		"return_to": slices.Equal(h.Login.ReturnTo, []string{"return_to", "returnUrl", "redirect", "back"}),
		"success":   h.Login.Success == "/" && h.Login.Page == pageBuiltin,
		"session":   h.Session.Lifetime == caddy.Duration(24*time.Hour) && h.Session.Idle == caddy.Duration(time.Hour),
		"remember":  h.Session.Remember == caddy.Duration(720*time.Hour) && h.Session.Refresh == caddy.Duration(3*time.Minute),
		"cookie":    h.Session.Cookie == Cookie{Name: "__Host-kibo", Path: "/", SameSite: "lax"},
		"identity":  slices.Equal(h.Identity, []Identity{{"Kibo-Account-Id", "account_id"}}),
		"off":       h.Verify.HMAC == nil && h.Verify.Key == nil && !h.Verify.Bearer && h.Forward == nil && h.Protect == nil && h.Public == nil,
	} {
		if !ok {
			t.Errorf("%s has another default: %+v", name, h)
		}
	}
	h.Identity, h.Login.Success = []Identity{}, "/account"
	if h.setDefaults(); len(h.Identity) != 0 || h.Login.Success != "/account" {
		t.Error("a default replaced what was given")
	}
}

// Mistakes that show only when the whole is looked at still name their line.
func TestMistakesNameFileAndLine(t *testing.T) {
	const head = "kibo_auth t1-s1.sandbox.mozu.com {\n\tclient a b\n"
	for text, want := range map[string]string{
		"kibo_auth":                     "one argument",
		"kibo_auth a b {\n}":            "one argument",
		"kibo_auth t1-s1.mozu.com {\n}": "Testfile:1: client:",
		head + "\tlogin /login {\n\t\tfields a a\n\t}\n}":                 "Testfile:4: login fields:",
		head + "\tsession {\n\t\tidle 48h\n\t}\n}":                        "Testfile:4: session idle:",
		head + "\tidentity Host email\n}":                                 "Testfile:3: identity:",
		head + "\tverify {\n\t\tbearer\n\t}\n}":                           "Testfile:4: verify bearer:",
		head + "\tsession {\n\t\tcookie a {\n\t\t\tpath x\n\t\t}\n\t}\n}": "Testfile:4: session cookie:",
		head + "\tprotekt /a\n}":                                          `did you mean "protect"?`,
		head + "\tprotect /a\n\tprotect /b\n}":                            "twice, first on line 3",
		head + "\ttimeout soon\n}":                                        `"soon" is not a duration`,
		head + "\ttimeout 0s\n}":                                          "above zero",
		head + "\tstore memry\n}":                                         `did you mean "memory"?`,
	} {
		err := new(Handler).UnmarshalCaddyfile(caddyfile.NewTestDispenser(text))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func TestDidYouMean(t *testing.T) {
	known := []string{"protect", "public", "session", "secret", "site"}
	for written, want := range map[string]string{
		"protekt": "protect", "Protect": "protect", "sesion": "session", "secrets": "secret", "sites": "site", "xyzzy": "", "": "", "pub": "",
	} {
		got := didYouMean(written, known)
		if want != "" {
			want = ` (did you mean "` + want + `"?)`
		}
		if got != want {
			t.Errorf("didYouMean(%q) = %q, want %q", written, got, want)
		}
	}
}

func TestEditDistance(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"a", "", 1}, {"", "abc", 3}, {"kitten", "sitting", 3}, {"flaw", "lawn", 2}, {"email", "emial", 2}, {"same", "same", 0}} {
		if got, back := editDistance(tt.a, tt.b), editDistance(tt.b, tt.a); got != tt.want || back != tt.want {
			t.Errorf("editDistance(%q, %q) = %d, back %d, want %d", tt.a, tt.b, got, back, tt.want)
		}
	}
	if got := editDistance(strings.Repeat("a", 50), strings.Repeat("b", 70)); got != 70 {
		t.Errorf("editDistance of strangers = %d, want 70", got)
	}
}
