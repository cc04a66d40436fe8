package caddytest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/html"

	"github.com/kiboauth/caddy-kibo-auth/internal/kibosim"
)

// xssPayloads are tried here against the markup, and in e2e/ in a browser.
func xssPayloads(t *testing.T) (all []string) {
	t.Helper()
	if err := json.Unmarshal([]byte(readFile(t, filepath.Join("testdata", "xss.json"))), &all); err != nil {
		t.Fatal(err)
	}
	if len(all) < 60 {
		t.Fatalf("only %d payloads", len(all))
	}
	return all
}

// skeleton is a page as a browser reads it, without its texts and the values
// of its inputs: elements, attributes, and what any other attribute says.
func skeleton(t *testing.T, page string) string {
	t.Helper()
	root, err := html.Parse(strings.NewReader(page))
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for n := range root.Descendants() {
		if n.Type == html.CommentNode {
			b.WriteString("comment ")
		}
		if n.Type != html.ElementNode {
			continue
		}
		b.WriteString("<" + n.Data)
		for _, a := range n.Attr {
			if b.WriteString(" " + a.Key); a.Key != "value" {
				b.WriteString("=" + a.Val)
			}
		}
		b.WriteString(">")
	}
	return b.String()
}

// A reflection is a way in which a stranger's text may get into an answer.
type reflection struct {
	name string
	send func(b *browser, text string) *reply
}

func reflections(code func() string) []reflection {
	post := func(fields ...string) func(*browser, string) *reply {
		return func(b *browser, text string) *reply {
			form := url.Values{}
			for i := 0; i < len(fields); i += 2 {
				form.Set(strings.ReplaceAll(fields[i], "TEXT", text), strings.ReplaceAll(fields[i+1], "TEXT", text))
			}
			return b.post("/login", form)
		}
	}
	get := func(target string, tweaks ...func(string) tweak) func(*browser, string) *reply {
		return func(b *browser, text string) *reply {
			var as []tweak
			for _, t := range tweaks {
				as = append(as, t(text))
			}
			return b.open(strings.ReplaceAll(target, "TEXT", url.QueryEscape(text)), as...)
		}
	}
	in := func(name string) func(string) tweak {
		return func(text string) tweak {
			return header(name, strings.Map(func(r rune) rune { // what no client can send
				if r < ' ' {
					return -1
				}
				return r
			}, text))
		}
	}
	cookie := func(name string) func(string) tweak {
		return func(text string) tweak { return in("Cookie")(name + "=" + text) }
	}
	return []reflection{
		{"return path", get("/login?return_to=TEXT")},
		{"return path by another name", get("/login?ReturnUrl=TEXT&redirect=TEXT&back=TEXT")},
		{"query", get("/login?email=TEXT&otpCode=TEXT&stay=TEXT&kind=TEXT&TEXT=TEXT&kibo_auth=TEXT")},
		{"e-mail", post("email", "TEXT", "kind", "login")},
		{"e-mail's local part", post("email", "TEXT@example.com", "kind", "login")},
		{"everything beside a good e-mail", post("email", "jane@example.com", "return_to", "TEXT", "stay", "TEXT", "kind", "login", "device", "TEXT", "TEXT", "TEXT")},
		{"marker", post("email", "jane@example.com", "kind", "TEXT")},
		{"code", func(b *browser, text string) *reply {
			b.askCodeQuietly(code)
			return b.post("/login", url.Values{"email": {jane}, "otpCode": {text}, "return_to": {text}, "stay": {text}, "kind": {"login"}})
		}},
		{"path of a challenge", get("/account/TEXT")},
		{"path of an error", get("/account%00TEXT?TEXT")},
		{"method error", get("/logout?return_to=TEXT")},
		{"scope", get("/logout?scope=TEXT")},
		{"headers", get("/a%00b", in("Referer"), in("User-Agent"), in("Accept-Language"), in("X-Forwarded-Host"), in("X-Forwarded-Prefix"), in("X-Original-Url"), in("Forwarded"))},
		{"headers on the form", get("/login", in("Referer"), in("X-Forwarded-Host"), in("X-Forwarded-Proto"), in("X-Forwarded-Uri"))},
		{"session cookie", get("/account", cookie(sessionCookie))},
		{"login cookie", get("/login", cookie(loginCookie))},
		{"device cookie", get("/login", cookie(deviceCookie))},
	}
}

// askCodeQuietly takes the first step and leaves the code where it is.
func (b *browser) askCodeQuietly(code func() string) {
	b.t.Helper()
	b.post("/login", url.Values{"email": {jane}, "kind": {"login"}})
	code()
}

// TestReflectedScriptEverywhere: nothing that a stranger says changes the markup
// of a page, gets into an attribute that takes URLs, or is served as a page
// where it is none.
func TestReflectedScriptEverywhere(t *testing.T) {
	w := start(t, setup{
		gateway: "login {\nremember stay\nrequire kind\nfingerprint device\n}",
		last:    `respond "the shop" 200`,
	})
	ways := reflections(func() string { return w.code(jane) })
	known := map[string]bool{}
	for _, way := range ways {
		for _, clean := range []string{"plain", "/plain", "plain@shop.test", "1"} {
			if r := way.send(w.browser(), clean); strings.HasPrefix(r.header.Get("Content-Type"), "text/html") {
				known[skeleton(t, r.body)] = true
			}
		}
	}
	payloads, pages := xssPayloads(t), 0
	for _, way := range ways {
		for _, text := range payloads {
			r := way.send(w.browser(), text)
			switch contentType := r.header.Get("Content-Type"); {
			case strings.HasPrefix(contentType, "text/html"):
				pages++
				if got := skeleton(t, r.body); contentType != "text/html; charset=utf-8" || !known[got] {
					t.Errorf("%s %q: %d, %s, with markup of its own:\n%s", way.name, text, r.status, contentType, got)
				}
				if r.header.Get("Content-Security-Policy") == "" {
					t.Errorf("%s %q: %d without a policy", way.name, text, r.status)
				}
			case r.body != "" && r.body != "the shop":
				t.Errorf("%s %q: %d, %q", way.name, text, r.status, contentType)
			}
			if strings.ContainsAny(r.location(), "<>\"'\r\n \x00") {
				t.Errorf("%s %q: sent to %q", way.name, text, r.location())
			}
		}
	}
	t.Logf("%d payloads in %d ways: %d pages, of %d kinds", len(payloads), len(ways), pages, len(known))
}

// TestReflectedScriptInJSON: what scripts are told is never taken for a page.
func TestReflectedScriptInJSON(t *testing.T) {
	w := start(t, setup{})
	w.sim.Set(func(sw *kibosim.Switches) { sw.FixedCode = "123456" })
	for _, text := range xssPayloads(t) {
		b := w.browser()
		for _, fields := range []map[string]string{{"email": text}, {"email": jane, "return_to": text}, {"email": jane, "otpCode": text}, {"email": jane, "otpCode": "123456", "return_to": text}} {
			post, err := json.Marshal(fields)
			if err != nil {
				t.Fatal(err)
			}
			r := b.postJSON("/login", string(post))
			kind := r.header.Get("Content-Type")
			if kind != "application/json" && kind != "application/problem+json" || r.header.Get("X-Content-Type-Options") != "nosniff" {
				t.Errorf("%q: %d as %q", fields, r.status, kind)
			}
			if strings.ContainsAny(r.body, "<>&") || !json.Valid([]byte(r.body)) {
				t.Errorf("%q: %d %q", fields, r.status, r.body)
			}
		}
	}
}

// TestScriptInTheBrand: what the operator writes is text, too.
func TestScriptInTheBrand(t *testing.T) {
	var clean string
	for i, name := range []string{"Shop", `<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `</title></style><svg onload=alert(1)>`, `{{.Style}}`, `{env.HOME}`} {
		w := start(t, setup{gateway: fmt.Sprintf("login {\nbrand {\nname `%s`\nsupport `%s`\n}\n}", name, "call "+name)})
		got := skeleton(t, w.browser().open("/login").body)
		if i == 0 {
			clean = got
		}
		if got != clean {
			t.Errorf("%q:\n%s\nwant\n%s", name, got, clean)
		}
	}
}

// A wiretap keeps what Kibo is sent.
type wiretap struct {
	mu    sync.Mutex
	heard bytes.Buffer
	next  http.Handler
}

func (tap *wiretap) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	body := readAll(r.Body)
	tap.mu.Lock()
	fmt.Fprintln(&tap.heard, r.URL, r.Header, string(body))
	tap.mu.Unlock()
	r.Body = io.NopCloser(bytes.NewReader(body))
	tap.next.ServeHTTP(rw, r)
}

func (tap *wiretap) String() string {
	tap.mu.Lock()
	defer tap.mu.Unlock()
	return tap.heard.String()
}

func (tap *wiretap) forget() {
	tap.mu.Lock()
	defer tap.mu.Unlock()
	tap.heard.Reset()
}

// tapped puts something between the gateway and Kibo, before the first call.
func (w *world) tapped(between func(http.Handler) http.Handler) {
	w.kibo.handler = between(w.kibo.handler)
	w.kibo.server.Handler = w.kibo.handler
}

// TestPlaceholdersAreNobodysToExpand: Caddy's placeholders in what a stranger
// sends, or in what a customer is called, reveal nothing: to nobody's browser,
// to no shop, not to Kibo and not to the log (cf. CVE-2026-30852).
func TestPlaceholdersAreNobodysToExpand(t *testing.T) {
	const canary = "canary-5d1c9b"
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(canary), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("KIBO_CANARY", canary)
	placeholders := []string{
		"{env.KIBO_CANARY}", "{$KIBO_CANARY}", "{{env `KIBO_CANARY`}}", "{file." + file + "}", "{http.request.header.X-Canary}", "{header.X-Canary}", "{http.vars.canary}", "{vars.canary}",
		"{http.request.cookie.canary}", "{cookie.canary}", "{{env.KIBO_CANARY}}", "{{placeholder `env.KIBO_CANARY`}}", "{env.{env.KIBO_NAME}}", `\{env.KIBO_CANARY\}`, "{env.KIBO_CANARY", "%7Benv.KIBO_CANARY%7D",
	}
	w := start(t, setup{
		site:    "vars canary " + canary,
		gateway: "public /public/*\nlogin {\nremember stay\nrequire kind\nfingerprint device\nregion region\n}\nidentity Kibo-Account-Id account_id\nidentity Kibo-First-Name first_name\nidentity Kibo-Segments segments",
		last:    "reverse_proxy SHOP {\nheader_up X-First {http.auth.user.first_name}\nheader_up +X-Id {http.auth.user.id}\nheader_down X-First {http.auth.user.first_name}\n}",
	})
	tap := &wiretap{}
	w.tapped(func(next http.Handler) http.Handler { tap.next = next; return tap })
	var told strings.Builder
	w.shop.answers(func(rw http.ResponseWriter, r *http.Request) {
		h := r.Header.Clone()
		delete(h, "X-Canary") // who sends it may see it
		delete(h, "Cookie")
		fmt.Fprintln(&told, r.RequestURI, h)
	})
	arrived := map[string]bool{}
	check := func(where, text string, r *reply) {
		t.Helper()
		all := fmt.Sprint(r.header, r.body, tap, told.String())
		if strings.Contains(all, canary) {
			t.Errorf("%s of %s reveals the secret: %d", where, text, r.status)
		}
		arrived[text] = arrived[text] || strings.Contains(all, text)
		tap.forget()
		told.Reset()
	}
	ways := reflections(func() string { return w.code(jane) })
	for i, text := range placeholders {
		for _, way := range ways {
			b := w.browser()
			b.client.Transport = carrying{b.client.Transport, canary}
			check(way.name, text, way.send(b, text))
		}
		email := fmt.Sprintf("who%d@example.com", i)
		w.sim.AddCustomer(kibosim.Customer{Email: email, FirstName: text, LastName: text, Segments: []string{text}})
		b := w.browser()
		b.post("/login", url.Values{"email": {email}, "kind": {"login"}, "return_to": {"/account/" + text}})
		r := b.post("/login", url.Values{"email": {email}, "otpCode": {w.code(email)}, "kind": {"login"}, "device": {text}, "region": {text}})
		check("return path", text, r)
		if b.cookies[sessionCookie] == "" {
			t.Fatalf("%s: no session: %d", text, r.status)
		}
		for _, target := range []string{"/account", "/public/" + url.PathEscape(text) + "?q=" + url.QueryEscape(text)} {
			check("a customer's name", text, b.open(target))
		}
	}
	for _, text := range []string{"{env.KIBO_CANARY}", "{http.vars.canary}"} {
		if !arrived[text] {
			t.Errorf("%s does not even arrive: was it sent?", text)
		}
	}
	for line := range strings.SplitSeq(readLog(t), "\n") {
		if strings.Contains(withoutCanary(line), canary) {
			t.Errorf("the log reveals the secret: %.300s", line)
			break
		}
	}
}

// carrying is a client that brings the canary itself, for placeholders of its request.
type carrying struct {
	http.RoundTripper
	canary string
}

func (c carrying) RoundTrip(r *http.Request) (*http.Response, error) {
	r.Header.Set("X-Canary", c.canary)
	r.Header.Add("Cookie", "canary="+c.canary)
	return c.RoundTripper.RoundTrip(r)
}

// withoutCanary is a line of the log without what it says of the request's
// headers and, where the configuration is logged, the configuration.
func withoutCanary(line string) string {
	var entry map[string]any
	if json.Unmarshal([]byte(line), &entry) != nil {
		return line
	}
	if r, ok := entry["request"].(map[string]any); ok {
		delete(r, "headers")
	}
	maps.DeleteFunc(entry, func(name string, _ any) bool { return slices.Contains([]string{"headers", "config"}, name) })
	text, err := json.Marshal(entry)
	if err != nil {
		return line
	}
	return string(text)
}
