package caddytest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"mime/multipart"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/kiboauth/caddy-kibo-auth/internal/kibosim"
)

const jane, janeID = "jane@example.com", "1001"

func TestSignInKeepsTheReturnPath(t *testing.T) {
	w := start(t, setup{})
	b := w.browser()
	r := b.open("/orders/7?tab=1&q=a%2Fb")
	if r.status != http.StatusSeeOther || r.location() != "/login?return_to=%2Forders%2F7%3Ftab%3D1%26q%3Da%252Fb" {
		t.Fatalf("challenge: %d to %q", r.status, r.location())
	}
	if r = b.open(r.location()); r.status != http.StatusOK || !strings.Contains(r.body, `name="return_to" value="/orders/7?tab=1&amp;q=a%2Fb"`) {
		t.Fatalf("form: status %d, without the way back:\n%s", r.status, r.body)
	}
	r = b.post("/login", url.Values{"email": {jane}, "return_to": {"/orders/7?tab=1&q=a%2Fb"}})
	if r.status != http.StatusOK || !strings.Contains(r.body, `name="otpCode"`) {
		t.Fatalf("first step: %d\n%s", r.status, r.body)
	}
	r = b.post("/login", url.Values{"otpCode": {w.code(jane)}}) // nothing but the code
	if r.status != http.StatusSeeOther || r.location() != "/orders/7?tab=1&q=a%2Fb" {
		t.Fatalf("second step: %d to %q", r.status, r.location())
	}
	if got := b.signedInAs("/orders/7"); got != janeID {
		t.Errorf("the shop takes us for %q, want %q", got, janeID)
	}
	if b.cookies[loginCookie] != "" {
		t.Error("the cookie of the pending sign-in is still there")
	}
}

// forms are the ways in which a login form can arrive.
var forms = map[string]func(fields ...string) (contentType, body string){
	"urlencoded": func(fields ...string) (string, string) {
		v := url.Values{}
		for i := 0; i < len(fields); i += 2 {
			v.Set(fields[i], fields[i+1])
		}
		return "application/x-www-form-urlencoded", v.Encode()
	},
	"multipart": func(fields ...string) (string, string) {
		var b bytes.Buffer
		m := multipart.NewWriter(&b)
		for i := 0; i < len(fields); i += 2 {
			_ = m.WriteField(fields[i], fields[i+1])
		}
		_ = m.Close()
		return m.FormDataContentType(), b.String()
	},
	"JSON": func(fields ...string) (string, string) {
		v := map[string]string{}
		for i := 0; i < len(fields); i += 2 {
			v[fields[i]] = fields[i+1]
		}
		text, _ := json.Marshal(v)
		return "application/json", string(text)
	},
}

func TestSignInWithEveryKindOfForm(t *testing.T) {
	w := start(t, setup{gateway: "login /account/login {\n fields login[username] code \n success /welcome \n}"})
	send := func(b *browser, as tweak, contentType, body string) *reply {
		return b.do(http.MethodPost, "/account/login", strings.NewReader(body), as, header("Content-Type", contentType))
	}
	for kind, encode := range forms {
		for name, as := range map[string]tweak{"page": asPage, "script": asScript} {
			t.Run(kind+" "+name, func(t *testing.T) {
				b := w.browser()
				script := name == "script" || kind == "JSON"
				contentType, body := encode("login[username]", " Jane@Example.com ", "return_to", "/cart")
				first := send(b, as, contentType, body)
				checkAnswer(t, first, script, http.StatusOK, `{"status":"code_sent"}`, `name="code"`)
				contentType, body = encode("login[username]", jane, "code", w.code(jane))
				second := send(b, as, contentType, body)
				if script {
					checkAnswer(t, second, true, http.StatusOK, `{"return_to":"/cart","status":"signed_in"}`, "")
				} else if second.status != http.StatusSeeOther || second.location() != "/cart" {
					t.Errorf("second step: %d to %q, want 303 to /cart", second.status, second.location())
				}
				if got := b.signedInAs("/"); got != janeID {
					t.Errorf("signed in as %q", got)
				}
			})
		}
	}
	if n := w.sim.Calls("otp/auth"); n != 2*len(forms) {
		t.Errorf("%d exchanges for %d sign-ins", n, 2*len(forms))
	}
}

// checkAnswer wants the JSON from a script's answer, else a page with the
// fragment.
func checkAnswer(t *testing.T, r *reply, script bool, status int, text, fragment string) {
	t.Helper()
	kind, want := "text/html; charset=utf-8", fragment
	if script {
		kind, want = "application/json", text
	}
	if r.status != status || r.header.Get("Content-Type") != kind || !strings.Contains(r.body, want) {
		t.Errorf("got %d, %s\n%s\nwant %d, %s with %s", r.status, r.header.Get("Content-Type"), r.body, status, kind, want)
	}
	if got := r.header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control: %q, want no-store", got)
	}
}

func TestCookiesOfASignIn(t *testing.T) {
	w := start(t, setup{gateway: "login {\n remember stay \n}"})
	for _, tt := range []struct {
		name, stay string
		remembered bool
	}{{"plain", "", false}, {"remembered", "1", true}, {"declined", "off", false}} {
		t.Run(tt.name, func(t *testing.T) {
			b := w.browser()
			b.post("/login", url.Values{"email": {jane}, "stay": {tt.stay}})
			r := b.post("/login", url.Values{"email": {jane}, "otpCode": {w.code(jane)}})
			line := sessionLine(r)
			for _, attribute := range []string{"; Path=/", "; HttpOnly", "; Secure", "; SameSite=Lax"} {
				if !strings.Contains(line, attribute) {
					t.Errorf("%s is missing in %d bytes of Set-Cookie", attribute, len(line))
				}
			}
			if strings.Contains(line, "Domain=") || len(line) > 150 {
				t.Errorf("the cookie has a domain, or %d bytes are too many", len(line))
			}
			if got := strings.Contains(line, "Max-Age="); got != tt.remembered {
				t.Errorf("outlives the browser: %t, want %t", got, tt.remembered)
			}
			if tt.remembered && !strings.Contains(line, "Max-Age=2591") && !strings.Contains(line, "Max-Age=2592000") {
				t.Error("is not kept for 30 days")
			}
		})
	}
}

// sessionLine is the Set-Cookie line of the session.
func sessionLine(r *reply) string {
	for _, line := range r.header["Set-Cookie"] {
		if strings.HasPrefix(line, sessionCookie+"=") {
			return line
		}
	}
	return ""
}

func TestRefusedCodes(t *testing.T) {
	same := func(code string) string { return code }
	for name, tt := range map[string]struct {
		spoil func(w *world, b *browser, code string)
		give  func(code string) string
	}{
		"wrong":   {func(*world, *browser, string) {}, wrongCode},
		"expired": {func(w *world, _ *browser, _ string) { w.sim.Advance(3*time.Minute + time.Second) }, same},
		"used":    {func(_ *world, b *browser, code string) { b.clone().giveCode(jane, code) }, same},
		"fourth try": {func(_ *world, b *browser, code string) {
			for range 3 {
				b.giveCode(jane, wrongCode(code))
			}
		}, same},
	} {
		t.Run(name, func(t *testing.T) {
			w := start(t, setup{})
			b := w.browser()
			code := b.askCode(w, jane)
			tt.spoil(w, b, code)
			page := b.giveCode(jane, tt.give(code))
			checkRefused(t, b, page)
			if !strings.Contains(page.body, "<strong>"+jane) || !strings.Contains(page.body, `name="otpCode"`) {
				t.Errorf("address or code field are gone from the page:\n%s", page.body)
			}
			script := b.postJSON("/login", fmt.Sprintf(`{"email":%q,"otpCode":%q}`, jane, tt.give(code)))
			if script.status != http.StatusUnauthorized || script.header.Get("Content-Type") != "application/problem+json" ||
				!strings.Contains(script.body, `"code":"rejected"`) {
				t.Errorf("script: %d, %s", script.status, script.body)
			}
			if name == "expired" {
				w.sim.Advance(-3*time.Minute - time.Second) // or its tokens would not be valid yet
			}
			b.signIn(w, jane)
		})
	}
}

// wrongCode is a code that is not this one.
func wrongCode(code string) string {
	if code == "000000" {
		return "000001"
	}
	return "000000"
}

// checkRefused wants the page for what Kibo does not accept, and nobody in.
func checkRefused(t *testing.T, b *browser, r *reply) {
	t.Helper()
	if r.status != http.StatusUnauthorized || sessionLine(r) != "" {
		t.Errorf("got %d, session %t; want 401 and none", r.status, sessionLine(r) != "")
	}
	if got := b.signedInAs("/account"); got != "" {
		t.Errorf("%q got in", got)
	}
}

func TestSecondFactor(t *testing.T) {
	for _, tokens := range []string{"bare", "with_tokens"} {
		t.Run(tokens, func(t *testing.T) {
			w := start(t, setup{})
			w.sim.Set(func(sw *kibosim.Switches) { sw.Requires2FA = tokens })
			for name, script := range map[string]bool{"page": false, "script": true} {
				b := w.browser()
				code := b.askCode(w, jane)
				send := func(code string) *reply {
					if script {
						return b.postJSON("/login", fmt.Sprintf(`{"email":%q,"otpCode":%q}`, jane, code))
					}
					return b.giveCode(jane, code)
				}
				first := send(code)
				checkAnswer(t, first, script, http.StatusOK, `{"status":"second_step"}`, "Second code")
				if sessionLine(first) != "" || b.signedInAs("/account") != "" {
					t.Fatalf("%s: half signed in is signed in", name)
				}
				second := w.code(jane)
				if r := send(wrongCode(second)); r.status != http.StatusUnauthorized || b.signedInAs("/") != "" {
					t.Errorf("%s: wrong second code: %d", name, r.status)
				}
				send(second)
				if got := b.signedInAs("/account"); got != janeID {
					t.Errorf("%s: after both steps signed in as %q", name, got)
				}
			}
			if n := w.sim.Calls("2fa/auth"); n != 4 {
				t.Errorf("%d calls of 2fa/auth, want 4", n)
			}
		})
	}
}

func TestFormDrawnByTheShop(t *testing.T) {
	w := start(t, setup{gateway: "login /signin {\n page upstream \n}"})
	b := w.browser()
	if r := b.open("/signin?return_to=/cart"); r.status != http.StatusOK || r.body != "shop for " {
		t.Fatalf("the shop's own form: %d %q", r.status, r.body)
	}
	form := url.Values{"email": {jane}, "return_to": {"/cart"}}
	step := func(code, want string) {
		t.Helper()
		if code != "" {
			form.Set("otpCode", code)
		}
		if r := b.post("/signin", form); r.status != http.StatusSeeOther || r.location() != want {
			t.Errorf("got %d to %q, want 303 to %q", r.status, r.location(), want)
		}
	}
	step("", "/signin?kibo_auth=code_sent&return_to=%2Fcart")
	code := w.code(jane)
	step(wrongCode(code), "/signin?kibo_auth=rejected&return_to=%2Fcart")
	w.sim.Set(func(sw *kibosim.Switches) { sw.Faults["otp/auth"] = kibosim.Fault{Kind: "empty_502"} })
	step(code, "/signin?kibo_auth=unavailable&return_to=%2Fcart")
	w.sim.Set(func(sw *kibosim.Switches) { delete(sw.Faults, "otp/auth"); sw.Requires2FA = "bare" })
	step(code, "/signin?kibo_auth=second_step&return_to=%2Fcart")
	step(w.code(jane), "/cart")
	if got := b.signedInAs("/cart"); got != janeID {
		t.Errorf("signed in as %q", got)
	}
}
