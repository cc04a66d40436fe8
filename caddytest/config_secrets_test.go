package caddytest

import (
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kiboauth/caddy-kibo-auth/internal/freeport"
	"github.com/kiboauth/caddy-kibo-auth/internal/kibosim"
)

// adminPages are what Caddy's admin endpoint shows of itself.
var adminPages = []string{
	"/config/", "/config/apps/http", "/config/apps/http/servers/srv0/routes", "/metrics", "/debug/vars",
	"/debug/pprof/cmdline", "/debug/pprof/goroutine?debug=2", "/reverse_proxy/upstreams", "/kibo_auth/status", "/kibo_auth/sessions",
}

// TestSecretsInConfig: what was given as a placeholder stands as a placeholder
// in all that shows the configuration.
func TestSecretsInConfig(t *testing.T) {
	sealing, signing, password := strings.Repeat("5ea1ing.", 5), kibosim.JWTSecret, "redis.passw0rd.hidden"
	const captcha = "c4ptcha.secret.hidden"
	file := filepath.Join(t.TempDir(), "sealing")
	if err := os.WriteFile(file, []byte(sealing), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"CADDYTEST_ID": kibosim.ClientID, "CADDYTEST_SHARED": kibosim.SharedSecret, "CADDYTEST_JWT": signing, "CADDYTEST_REDIS": password, "CADDYTEST_CAPTCHA": captcha,
	} {
		t.Setenv(name, value)
	}
	hidden := map[string]string{"shared secret": kibosim.SharedSecret, "sealing secret": sealing, "signing key": signing, "redis password": password, "captcha secret": captcha}
	common := "secret {file." + file + "}\n\t\tverify {\n\t\t\thmac HS256 {env.CADDYTEST_JWT}\n\t\t}\n\t\tcaptcha {\n\t\t\tsite_key k\n\t\t\tsecret {env.CADDYTEST_CAPTCHA}\n\t\t}\n\t\t"
	for name, store := range map[string]string{
		"memory": "store memory",
		"redis":  "store redis " + freeport.Addr(t) + " {\n\t\t\tpassword {env.CADDYTEST_REDIS}\n\t\t}",
	} {
		t.Run(name, func(t *testing.T) {
			w := start(t, setup{admin: freeport.Addr(t), client: "{env.CADDYTEST_ID} {env.CADDYTEST_SHARED}", gateway: common + store, limits: "limit floor 0s"})
			b := w.browser()
			if name == "memory" {
				b.signIn(w, jane) // so that all of them have been in use
			}
			for _, page := range adminPages {
				wantHidden(t, page, w.ask(http.MethodGet, page).body, hidden)
			}
			if config := w.ask(http.MethodGet, "/config/").body; !strings.Contains(config, `"shared_secret":"{env.CADDYTEST_SHARED}"`) {
				t.Errorf("/config/ has no placeholder: %.300s", config)
			}
			for _, command := range []string{"adapt", "validate"} {
				o := w.caddyOn(w.caddyfile(), command)
				if o.code != 0 {
					t.Errorf("caddy %s: %s", command, o.stderr)
				}
				wantHidden(t, "caddy "+command, o.stdout+o.stderr, hidden)
				if strings.Contains(o.stderr, "in clear") {
					t.Errorf("caddy %s takes a placeholder for clear text: %s", command, o.stderr)
				}
			}
		})
	}
}

func wantHidden(t *testing.T, where, text string, hidden map[string]string) {
	t.Helper()
	for what, value := range hidden {
		if strings.Contains(text, value) || strings.Contains(text, url.QueryEscape(value)) {
			t.Errorf("%s shows the %s", where, what)
		}
	}
}

// TestSecretsInClear: a literal, and {$NAME}, which is one by the time that
// Caddy sees it, are said to be no good place for a secret, without saying it.
func TestSecretsInClear(t *testing.T) {
	t.Setenv("CADDYTEST_SHARED", "5hared.in.clear")
	for name, tt := range map[string]struct{ client, lines, line string }{
		"literal":             {"id 5hared.in.clear", "", `"line":"client"`},
		"adapt-time":          {"id {$CADDYTEST_SHARED}", "", `"line":"client"`},
		"sealing secret":      {"id {env.CADDYTEST_SHARED}", "secret " + strings.Repeat("5ea1ing.", 5), `"line":"secret"`},
		"signing key":         {"id {env.CADDYTEST_SHARED}", "verify {\nhmac HS256 " + strings.Repeat("5igning.", 5) + "\n}", `"line":"verify.hmac"`},
		"captcha":             {"id {env.CADDYTEST_SHARED}", "captcha turnstile {\nsite_key k\nsecret c4ptcha.secret\n}", `"line":"captcha.secret"`},
		"password of redis":   {"id {env.CADDYTEST_SHARED}", "secret {env.CADDYTEST_LONG}\nstore redis localhost:1 {\npassword p4ssw0rd\n}", "a password stands in clear"},
		"URL with a password": {"id {env.CADDYTEST_SHARED}", "secret {env.CADDYTEST_LONG}\nstore redis redis://u:p4ssw0rd@localhost:1", "a password stands in clear"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("CADDYTEST_LONG", strings.Repeat("5ea1ing.", 5))
			text := "{\nadmin off\nauto_https off\n}\nhttp://localhost:1 {\nkibo_auth t1-s2.example.com {\nclient " + tt.client + "\n" + tt.lines + "\n}\n}\n"
			o := (&world{t: t}).caddyOn(text, "validate")
			if o.code != 0 || strings.Count(o.stderr, "in clear in the configuration") != 1 || !strings.Contains(o.stderr, tt.line) {
				t.Errorf("caddy validate: %d, %s", o.code, o.stderr)
			}
			for _, secret := range []string{"5hared.in.clear", "5ea1ing", "5igning", "p4ssw0rd", "c4ptcha"} {
				if strings.Contains(o.stderr, secret) {
					t.Errorf("caddy validate shows %s: %s", secret, o.stderr)
				}
			}
		})
	}
}

// TestCredentialsInTheURL: a URL with fields of the login form in it does not
// get into the access log; every other request does.
func TestCredentialsInTheURL(t *testing.T) {
	w := start(t, setup{gateway: "login /login {\n\t\t\tpassword pass\n\t\t}"})
	b := w.browser()
	leaks := map[string]string{
		"address":              "/login?email=in.the.url@example.com",
		"code":                 "/login?x=1&otpCode=INTHEURL1234",
		"password":             "/login?pass=INTHEURL1234",
		"another case":         "/login?OTPCODE=INTHEURL1234",
		"percent-encoded name": "/login?otp%43ode=INTHEURL1234",
		"encoded in a target":  "/login?return_to=%2Fa%3FotpCode%3DINTHEURL1234",
		"semicolon":            "/login?x=1;otpCode=INTHEURL1234",
		"broken encoding":      "/login?x=%zz&otp%43ode=INTHEURL1234",
		"encoded equals sign":  "/login?otpCode%3DINTHEURL1234",
	}
	for name, target := range leaks {
		b.open(target)
		b.post(target, url.Values{"email": {"nobody"}})
		b.do(http.MethodHead, target, nil)
		if loggedURL(readLog(t)) {
			t.Errorf("%s: the access log has it", name)
		}
	}
	b.post("/login", url.Values{"email": {"nobody"}}, header("Referer", "http://"+w.addr+leaks["code"]))
	if loggedURL(readLog(t)) {
		t.Error("the access log has the page before, by its Referer")
	}
	b.open("/login?return_to=/account&marker=stays")
	eventually(t, "the access log has an ordinary request", func() bool { return strings.Contains(readLog(t), "marker=stays") })
	if !strings.Contains(readLog(t), "a URL has fields of the login form in it") {
		t.Error("nothing takes the place of the access log's line")
	}
}

// loggedURL finds what the test above sends in lines that are not Caddy's own at DEBUG.
func loggedURL(log string) bool {
	for line := range strings.Lines(log) {
		if strings.Contains(line, `"level":"debug"`) {
			continue
		}
		if strings.Contains(line, "INTHEURL1234") || strings.Contains(line, "in.the.url") {
			return true
		}
	}
	return false
}
