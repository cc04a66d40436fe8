package main

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"strings"
	"testing"
)

// visitor is a browser without eyes: it keeps cookies and follows redirects.
type visitor struct {
	t      *testing.T
	site   string
	client *http.Client
}

func newVisitor(t *testing.T, site string) *visitor {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &visitor{t, site, &http.Client{Jar: jar}}
}

// open gets a page, or posts a form if there is one, and returns the path it
// ends at, the status and the text.
func (v *visitor) open(path string, form url.Values) (at string, status int, body string) {
	v.t.Helper()
	method, payload := http.MethodGet, ""
	if form != nil {
		method, payload = http.MethodPost, form.Encode()
	}
	r, err := http.NewRequestWithContext(v.t.Context(), method, v.site+path, strings.NewReader(payload))
	if err != nil {
		v.t.Fatal(err)
	}
	r.Header.Set("Accept", "text/html")
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	resp, err := v.client.Do(r)
	if err != nil {
		v.t.Fatal(err)
	}
	return resp.Request.URL.Path, resp.StatusCode, readAll(v.t, resp)
}

// expect is open with a demand: where it ends, and what it says there.
func (v *visitor) expect(path string, form url.Values, wantAt string, want ...string) {
	v.t.Helper()
	at, status, body := v.open(path, form)
	if at != wantAt {
		v.t.Fatalf("opening %s: got to %s (status %d), want %s\n%s", path, at, status, wantAt, body)
	}
	for _, text := range want {
		if !strings.Contains(body, text) {
			v.t.Errorf("opening %s: no %q in\n%s", path, text, body)
		}
	}
}

// startTestDemo runs a demo on a free port until the test ends, and returns
// the codes that it sends.
func startTestDemo(t *testing.T, upstreamForm bool) (*demo, <-chan string) {
	t.Helper()
	codes := make(chan string, 8)
	d, err := startDemo(options{
		Listen:       "127.0.0.1:0",
		UpstreamForm: upstreamForm,
		OnCode:       func(_, code string) { codes <- code },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.stop(); err != nil {
			t.Error(err)
		}
	})
	return d, codes
}

func loginPost(email, code string) url.Values {
	form := url.Values{"login[username]": {email}, "returnUrl": {"/account"}}
	if code != "" {
		form.Set("login[password]", code)
	}
	return form
}

func TestSignInAndOut(t *testing.T) {
	tests := []struct {
		name         string
		upstreamForm bool
		asks, sent   string // what the forms say
		rejected     string
	}{
		{"built-in page", false, `type="email"`, "a code is on its way", `role="alert"`},
		{"the shop's own form", true, "Code from the e-mail", "a code is on its way", "That did not work"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			d, codes := startTestDemo(t, test.upstreamForm)
			v := newVisitor(t, d.URL)
			v.expect("/", nil, "/", "Storm lantern", "Sign in")
			v.expect("/account", nil, "/login", test.asks)
			v.expect("/login", loginPost("jane@example.com", ""), "/login", test.sent)
			v.expect("/login", loginPost("jane@example.com", "000"), "/login", test.rejected)
			v.expect("/login", loginPost("jane@example.com", <-codes), "/account", "Jane Doe", "1001")
			v.expect("/", nil, "/", "Welcome back", "Jane Doe")
			v.expect("/logout", url.Values{}, "/", "Sign in")
			v.expect("/account", nil, "/login", test.asks)
		})
	}
}

func TestSpoofedIdentityNeverReachesTheShop(t *testing.T) {
	d, _ := startTestDemo(t, false)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, d.URL+"/whoami", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"Kibo-Account-Id", "Kibo_Account_Id", "KIBO-ACCOUNT_ID", "Kibo-Email"} {
		r.Header[name] = []string{"1001"}
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	if got := readAll(t, resp); got != "" {
		t.Errorf("the shop was told: %s", got)
	}
}

func TestListenAddress(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	tests := []struct{ name, listen, want string }{
		{"taken port", taken.Addr().String(), "choose another port with -listen"},
		{"every interface", ":8080", "stays on this machine"},
		{"another machine's network", "0.0.0.0:8080", "stays on this machine"},
		{"no port", "127.0.0.1", "want host:port"},
		{"port out of range", "127.0.0.1:70000", "-listen 127.0.0.1:70000"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			err := run(t.Context(), []string{"-listen", test.listen}, new(bytes.Buffer))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("listening on %s: got error %v, want %q", test.listen, err, test.want)
			}
		})
	}
}

func TestInterruptLeavesNothingBehind(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	ctx, interrupt := context.WithCancel(t.Context())
	interrupt()
	var out bytes.Buffer
	if err := run(ctx, []string{"-listen", "127.0.0.1:0"}, &out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"http://localhost:", "jane@example.com", "Ctrl-C"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
	left, err := os.ReadDir(os.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if len(left) > 0 {
		t.Errorf("got %d leftovers in the temporary folder, want none: %v", len(left), left)
	}
}
