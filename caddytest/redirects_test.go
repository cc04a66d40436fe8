package caddytest

import (
	"bytes"
	"encoding/json"
	"html"
	"net/http"
	"net/url"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/kiboauth/caddy-kibo-auth/internal/attack"
)

// returnNames are the names of the return path, by default.
var returnNames = []string{"return_to", "returnUrl", "redirect", "back"}

// A sentOn is where the gateway has sent somebody, or has kept to send them.
type sentOn struct {
	Place   string `json:"place"`
	Payload string `json:"payload"`
	Target  string `json:"target"`
}

// whatwg asks the URL parser of browsers (WHATWG URL §4.4, as Node.js has it)
// where the targets lead: from some pages of the shop, and also from a script
// that decodes their path once or twice before it redirects.
const whatwg = `
const all = JSON.parse(require('fs').readFileSync(0));
const bases = ['https://shop.example/login', 'https://shop.example/a/b?x=1', 'http://127.0.0.1:8080/login'];

function readings(target) {
  const list = [target];
  let path = target.split('?')[0];
  for (let i = 0; i < 2; i++) {
    path = path.replace(/(%[0-9a-f]{2})+/gi, (s) => Buffer.from(s.replaceAll('%', ''), 'hex').toString());
    list.push(path);
  }
  return list;
}

function leaves(target, base) {
  try {
    const { origin, username } = new URL(target, base);
    return origin !== new URL(base).origin || username !== '';
  } catch {
    return true;
  }
}

console.log(JSON.stringify(all.filter(({ target }) => readings(target).some((r) => bases.some((base) => leaves(r, base))))));
`

// leave returns what leads a browser to another origin.
func leave(t *testing.T, all []sentOn) (away []sentOn) {
	t.Helper()
	in, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "node", "-e", whatwg)
	cmd.Stdin = bytes.NewReader(in)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("node is needed (apt-get install nodejs): %v", err)
	}
	if err := json.Unmarshal(out, &away); err != nil {
		t.Fatalf("%v: %.200s", err, out)
	}
	return away
}

// checkStays fails for what leads away, and where nothing was looked at.
func checkStays(t *testing.T, all []sentOn, least int) {
	t.Helper()
	for _, s := range leave(t, all) {
		t.Errorf("%s: %q leads to %q", s.Place, s.Payload, s.Target)
	}
	for _, s := range all {
		if !strings.HasPrefix(s.Target, "/") {
			t.Errorf("%s: %q leads to %q, which is no path", s.Place, s.Payload, s.Target)
		}
	}
	t.Logf("%d redirects", len(all))
	if len(all) < least {
		t.Errorf("only %d redirects were looked at, want %d at least", len(all), least)
	}
}

// TestRedirectPayloadsLeadAway: followed as they are, or decoded, most payloads
// do; or the tests below prove nothing.
func TestRedirectPayloadsLeadAway(t *testing.T) {
	var all []sentOn
	for _, payload := range attack.Redirects("shop.example") {
		all = append(all, sentOn{"nobody", payload, payload})
	}
	away := leave(t, all)
	t.Logf("%d of %d payloads lead away", len(away), len(all))
	if len(away) < 300 {
		t.Errorf("only %d of %d payloads lead away", len(away), len(all))
	}
}

var hiddenTarget = regexp.MustCompile(`type="hidden" name="return_to" value="([^"]*)"`)

// kept is the return path in a page's form, if there is one.
func (r *reply) kept() string {
	if found := hiddenTarget.FindStringSubmatch(r.body); found != nil {
		return html.UnescapeString(found[1])
	}
	return ""
}

// TestOpenRedirectThroughTheLoginPage: by every name that the query may have,
// in any case, and by repeated ones.
func TestOpenRedirectThroughTheLoginPage(t *testing.T) {
	w := start(t, setup{})
	b := w.browser()
	var all []sentOn
	asked := 0
	for i, payload := range attack.Redirects("shop.example") {
		value := url.QueryEscape(payload)
		repeated := []string{"return_to=&return_to=" + value, "return_to=/&return_to=" + value, "return_to=" + value + "&return_to=/", "x=1&back=" + value + "&RETURN_TO=" + value}
		queries := []string{repeated[i%len(repeated)], strings.ToUpper(returnNames[i%len(returnNames)]) + "=" + value}
		for _, name := range returnNames {
			queries = append(queries, name+"="+value)
		}
		for _, query := range queries {
			r := b.open("/login?" + query)
			if asked++; r.status != http.StatusOK || r.location() != "" {
				t.Errorf("%.80q: %d to %q", query, r.status, r.location())
			}
			if to := r.kept(); to != "" {
				all = append(all, sentOn{"login page", payload, to})
			}
		}
	}
	t.Logf("%d pages", asked)
	checkStays(t, all, 1)
}

// TestOpenRedirectThroughASignIn: in the first step, whose return path is kept
// in a sealed cookie, and in the second, in the post or in its query, for every
// kind of form.
func TestOpenRedirectThroughASignIn(t *testing.T) {
	w := start(t, setup{gateway: "login {\nsuccess /welcome\n}"})
	stranger := w.browser()
	var all []sentOn
	for kind, encode := range forms {
		for i, payload := range attack.Redirects("shop.example") {
			b := stranger.clone()
			step := func(inQuery bool, fields ...string) {
				name, target := returnNames[i%len(returnNames)], "/login"
				if inQuery {
					target += "?" + name + "=" + url.QueryEscape(payload)
				} else {
					fields = append(fields, name, payload)
				}
				contentType, body := encode(fields...)
				r := b.do(http.MethodPost, target, strings.NewReader(body), asPage, header("Content-Type", contentType))
				for _, to := range r.sentOn() {
					all = append(all, sentOn{"sign-in, " + kind, payload, to})
				}
			}
			step(kind == "multipart", "email", jane)
			step(kind == "urlencoded", "email", jane, "otpCode", w.code(jane))
			if b.cookies[sessionCookie] == "" {
				t.Errorf("%s, %.80q: no sign-in", kind, payload)
			}
		}
	}
	checkStays(t, all, 3*300)
}

// sentOn is where an answer leads: now, or by its form, or by its JSON.
func (r *reply) sentOn() (targets []string) {
	said := struct {
		ReturnTo string `json:"return_to"`
	}{}
	_ = json.Unmarshal([]byte(r.body), &said) // a page is none
	for _, to := range []string{r.location(), r.kept(), said.ReturnTo} {
		if to != "" {
			targets = append(targets, to)
		}
	}
	return targets
}

// TestOpenRedirectThroughTheShopsForm: the gateway sends a browser back to the
// form that the shop draws, and keeps the return path in the address.
func TestOpenRedirectThroughTheShopsForm(t *testing.T) {
	w := start(t, setup{gateway: "login /signin {\npage upstream\n}"})
	b := w.browser()
	var all []sentOn
	for i, payload := range attack.Redirects("shop.example") {
		for name, fields := range map[string]url.Values{
			"code sent": {"email": {"nobody@example.com"}}, "rejected": {"email": {jane}, "otpCode": {"000000"}}, "bad address": {"email": {"x"}},
		} {
			delete(b.cookies, loginCookie)
			fields[returnNames[i%len(returnNames)]] = []string{"", payload, "/"}
			r := b.post("/signin", fields)
			if r.status != http.StatusSeeOther {
				t.Errorf("%s: %d", name, r.status)
			}
			all = append(all, sentOn{name, payload, r.location()})
			if to := returnPath(r.location()); to != "" {
				all = append(all, sentOn{name + ", afterwards", payload, to})
			}
		}
	}
	checkStays(t, all, 3*300)
}

// returnPath is the return path in the address of the login page.
func returnPath(location string) string {
	u, err := url.Parse(location)
	if err != nil {
		return location
	}
	return u.Query().Get("return_to")
}

// TestOpenRedirectThroughAChallenge: the way back is the request target.
func TestOpenRedirectThroughAChallenge(t *testing.T) {
	w := start(t, setup{})
	var all []sentOn
	least := 0
	for _, payload := range append(attack.Redirects("shop.example"), attack.Paths("/account")...) {
		if payload == "" || strings.ContainsAny(payload, " \r\n") {
			continue
		}
		least++
		r := w.raw(w.head("GET "+payload+" HTTP/1.1", "Accept: text/html", "Connection: close",
			"X-Forwarded-Host: evil.example", "X-Forwarded-Proto: evil", "Forwarded: host=evil.example", "Referer: https://evil.example/"))
		if w.shop.got() != nil {
			t.Errorf("%q reaches the shop", payload)
		}
		if to := r.location(); to != "" {
			all = append(all, sentOn{"challenge", payload, to})
			if to = returnPath(to); to != "" {
				all = append(all, sentOn{"challenge, afterwards", payload, to})
			}
		}
	}
	checkStays(t, all, least/3)
}

// TestOpenRedirectThroughASignOut, as a page and as a script.
func TestOpenRedirectThroughASignOut(t *testing.T) {
	w := start(t, setup{gateway: "logout /logout get"})
	b := w.browser()
	var all []sentOn
	for i, payload := range attack.Redirects("shop.example") {
		target := "/logout?" + returnNames[i%len(returnNames)] + "=" + url.QueryEscape(payload)
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			page := b.do(method, target, nil, asPage)
			all = append(all, sentOn{"sign-out", payload, page.location()})
			said := map[string]string{}
			script := b.do(method, target, nil, asScript)
			if err := json.Unmarshal([]byte(script.body), &said); err != nil {
				t.Fatalf("%d %q: %v", script.status, script.body, err)
			}
			all = append(all, sentOn{"sign-out of a script", payload, said["return_to"]})
		}
	}
	checkStays(t, all, 4*300)
}

// TestPlaceholdersInAReturnPath are not Caddy's to expand.
func TestPlaceholdersInAReturnPath(t *testing.T) {
	w := start(t, setup{})
	const path = "/{http.request.header.X-Evil}{env.HOME}"
	r := w.browser().do(http.MethodPost, "/logout?return_to="+url.QueryEscape(path), nil, asPage, header("X-Evil", "/evil.example"))
	if r.location() != path {
		t.Errorf("sent on to %q, want %q", r.location(), path)
	}
	if r = w.browser().open("/login?return_to="+url.QueryEscape(path), header("X-Evil", "/evil.example")); r.kept() != path {
		t.Errorf("kept %q, want %q", r.kept(), path)
	}
}
