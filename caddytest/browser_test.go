package caddytest

import (
	"bufio"
	"bytes"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

var discard = log.New(io.Discard, "", 0)

func readAll(r io.Reader) []byte {
	b, _ := io.ReadAll(r) // what a broken connection still brought will do
	return b
}

// A browser keeps cookies and follows nothing.
type browser struct {
	t       testing.TB
	base    string
	client  *http.Client
	cookies map[string]string
}

// browser returns one without cookies.
func (w *world) browser() *browser {
	transport := &http.Transport{MaxIdleConnsPerHost: 256}
	w.t.Cleanup(transport.CloseIdleConnections)
	return &browser{
		t: w.t, base: "http://" + w.addr, cookies: map[string]string{},
		client: &http.Client{
			Transport:     transport,
			Timeout:       30 * time.Second,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// clone is the same browser in another window.
func (b *browser) clone() *browser {
	c := *b
	c.cookies = maps.Clone(b.cookies)
	return &c
}

// A reply is an answer, read to its end.
type reply struct {
	status int
	header http.Header
	body   string
}

func (r *reply) location() string { return r.header.Get("Location") }

// A tweak changes a request before it is sent.
type tweak func(*http.Request)

func header(name string, values ...string) tweak {
	return func(r *http.Request) { r.Header[name] = values }
}

// asPage and asScript are how a browser opens a page, and how a script asks.
func asPage(r *http.Request) {
	r.Header.Set("Accept", "text/html,application/xhtml+xml")
	r.Header.Set("Sec-Fetch-Mode", "navigate")
	r.Header.Set("Sec-Fetch-Dest", "document")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
}

func asScript(r *http.Request) {
	r.Header.Set("Accept", "application/json")
	r.Header.Set("Sec-Fetch-Mode", "cors")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
}

// try sends a request. The error is the connection's.
func (b *browser) try(method, target string, body io.Reader, tweaks ...tweak) (*reply, error) {
	r, err := http.NewRequestWithContext(b.t.Context(), method, b.base+target, body)
	if err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(b.cookies)) {
		r.Header.Add("Cookie", name+"="+b.cookies[name])
	}
	for _, t := range tweaks {
		t(r)
	}
	resp, err := b.client.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	b.keep(resp.Cookies())
	sightAnswer(r.Method+" "+r.URL.Path, resp, text)
	return &reply{resp.StatusCode, resp.Header, string(text)}, nil
}

func (b *browser) keep(set []*http.Cookie) {
	for _, c := range set {
		if c.MaxAge < 0 {
			delete(b.cookies, c.Name)
			continue
		}
		b.cookies[c.Name] = c.Value
		note("cookie", c.Value)
	}
}

func (b *browser) do(method, target string, body io.Reader, tweaks ...tweak) *reply {
	b.t.Helper()
	r, err := b.try(method, target, body, tweaks...)
	if err != nil {
		b.t.Errorf("%s %s: %v", method, target, err)
		return &reply{header: http.Header{}}
	}
	return r
}

// open opens a page.
func (b *browser) open(target string, tweaks ...tweak) *reply {
	b.t.Helper()
	return b.do(http.MethodGet, target, nil, append([]tweak{asPage}, tweaks...)...)
}

// post sends a form as a page does.
func (b *browser) post(target string, form url.Values, tweaks ...tweak) *reply {
	b.t.Helper()
	tweaks = append([]tweak{asPage, header("Content-Type", "application/x-www-form-urlencoded")}, tweaks...)
	return b.do(http.MethodPost, target, strings.NewReader(form.Encode()), tweaks...)
}

// postJSON sends JSON as a script does.
func (b *browser) postJSON(target, text string, tweaks ...tweak) *reply {
	b.t.Helper()
	tweaks = append([]tweak{asScript, header("Content-Type", "application/json")}, tweaks...)
	return b.do(http.MethodPost, target, strings.NewReader(text), tweaks...)
}

// askCode takes the first step as a page and returns the code.
func (b *browser) askCode(w *world, email string) string {
	b.t.Helper()
	note("e-mail", email)
	r := b.post("/login", url.Values{"email": {email}})
	if r.status != http.StatusOK && r.status != http.StatusSeeOther { // our page, or back to the shop's
		b.t.Errorf("asking for a code: status %d", r.status)
		return ""
	}
	return w.code(email)
}

// giveCode takes the second step as a page.
func (b *browser) giveCode(email, code string) *reply {
	b.t.Helper()
	return b.post("/login", url.Values{"email": {email}, "otpCode": {code}})
}

// signIn takes both steps.
func (b *browser) signIn(w *world, email string) {
	b.t.Helper()
	code := b.askCode(w, email)
	if r := b.giveCode(email, code); r.status != http.StatusSeeOther || b.cookies[sessionCookie] == "" {
		b.t.Errorf("signing in: status %d, session %t; want 303 and a session", r.status, b.cookies[sessionCookie] != "")
	}
}

// signedInAs asks the shop who is asking; "" is nobody, or no answer of the
// shop's.
func (b *browser) signedInAs(target string) string {
	b.t.Helper()
	r := b.do(http.MethodGet, target, nil, asScript)
	account, _ := strings.CutPrefix(r.body, "shop for ")
	if r.status != http.StatusOK || account == r.body {
		return ""
	}
	return account
}

// raw sends bytes as they are over a connection of their own and reads one
// answer.
func (w *world) raw(text string) *reply {
	w.t.Helper()
	conn, err := net.Dial("tcp", w.addr)
	if err != nil {
		w.t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(conn, text); err != nil {
		w.t.Fatalf("sending: %v", err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		w.t.Errorf("reading the answer to %q: %v", firstLine(text), err)
		return &reply{header: http.Header{}}
	}
	defer resp.Body.Close()
	answer := readAll(resp.Body)
	sightAnswer(firstLine(text), resp, answer)
	return &reply{resp.StatusCode, resp.Header, string(answer)}
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\r\n")
	return line
}

// head puts a request together for raw: every line as given, and what every
// request needs.
func (w *world) head(line string, lines ...string) string {
	var b bytes.Buffer
	b.WriteString(line + "\r\nHost: " + w.addr + "\r\n")
	for _, l := range lines {
		b.WriteString(l + "\r\n")
	}
	b.WriteString("\r\n")
	return b.String()
}

// body is a form's body with one field.
func body(field, value string) io.Reader {
	return strings.NewReader(url.Values{field: {value}}.Encode())
}
