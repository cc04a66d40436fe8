package kiboauth

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/kiboauth/caddy-kibo-auth/internal/kibosim"
)

const (
	tove  = "twofa@example.com" // whom Kibo always asks for a second factor
	right = kibosim.FixturePassword
)

// withPassword switches sign-in by password on.
func withPassword(h *Handler) {
	h.Login.PasswordField = "password"
	h.Identity = []Identity{{"Kibo-Account-Id", "account_id"}, {"Kibo-Assurance", "assurance"}}
}

// passwordPost is a sign-in by password.
func (g *gateway) passwordPost(email, password, cookies string, header ...string) outcome {
	g.t.Helper()
	form := url.Values{"email": {email}, "password": {password}}
	return g.serve(post(g.t, "/login", form, append([]string{"Cookie", cookies}, header...)...))
}

// wantSignedIn returns the session's cookie.
func (g *gateway) wantSignedIn(o outcome, account, assurance string) string {
	g.t.Helper()
	c := o.cookie(g.cookies.session)
	if c == nil || o.Code >= http.StatusBadRequest {
		g.t.Fatalf("status %d, cookies %v, want a session", o.Code, o.Result().Cookies())
	}
	cookie := c.Name + "=" + c.Value
	served := g.open(cookie)
	g.wantServed(served, account)
	if got := served.upstream.Header.Get("Kibo-Assurance"); got != assurance {
		g.t.Errorf("assurance %q, want %q", got, assurance)
	}
	return cookie
}

// wantRefused wants a 401 that keeps nothing; a browser may get a device.
func (g *gateway) wantRefused(o outcome) {
	g.t.Helper()
	if o.Code != http.StatusUnauthorized || o.cookie(g.cookies.session) != nil || o.cookie(g.cookies.login) != nil {
		g.t.Errorf("status %d, cookies %v, want 401 and neither session nor sign-in", o.Code, o.Result().Cookies())
	}
}

func TestSignInByPassword(t *testing.T) {
	g := newGateway(t, withPassword)
	o := g.serve(request(t, http.MethodGet, "/login?return_to=/cart", page()...))
	if body := o.Body.String(); !strings.Contains(body, `name="password"`) || !strings.Contains(body, `name="send_code"`) {
		t.Errorf("the page has no password: %s", body)
	}
	o = g.serve(post(t, "/login", url.Values{"email": {" Jane@Example.com "}, "password": {right}, "return_to": {"/cart"}}))
	if got := o.Header().Get("Location"); o.Code != http.StatusSeeOther || got != "/cart" {
		t.Errorf("status %d to %q, want 303 to /cart", o.Code, got)
	}
	g.wantSignedIn(o, "1001", "password")
	o = g.passwordPost(jane, right, "", xhr...)
	if body := o.Body.String(); o.Code != http.StatusOK || !strings.Contains(body, `"signed_in"`) {
		t.Errorf("script: status %d, %s", o.Code, body)
	}
	if n := g.sim.Calls("otp/request") + g.sim.Calls("otp/auth"); n != 0 {
		t.Errorf("%d calls for a code, want 0", n)
	}
}

func TestSignInByPasswordAsJSON(t *testing.T) {
	g := newGateway(t, withPassword, func(h *Handler) { h.Login.EmailField, h.Login.PasswordField = "login[user]", "login[pass]" })
	o := g.serve(jsonPost(t, fmt.Sprintf(`{"login":{"user":%q,"pass":%q}}`, jane, right)))
	g.wantSignedIn(o, "1001", "password")
}

// jsonPost is a post of a script of the shop's own pages.
func jsonPost(t *testing.T, body string, header ...string) *http.Request {
	t.Helper()
	r := request(t, http.MethodPost, "/login", append([]string{"Content-Type", "application/json", "Sec-Fetch-Site", "same-origin"}, header...)...)
	r.Body, r.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
	return r
}

// What a post means, by what has been filled in and pressed.
func TestMeaningOfAPost(t *testing.T) {
	tests := []struct {
		name string
		form url.Values
		want string // the call that is made
	}{
		{"address", url.Values{}, "otp/request"},
		{"empty password", url.Values{"password": {""}}, "otp/request"},
		{"password", url.Values{"password": {"x"}}, "password"},
		{"blank password", url.Values{"password": {" "}}, "password"},
		{"password and empty code", url.Values{"password": {"x"}, "otpCode": {" "}}, "password"},
		{"password that a browser filled in, and code", url.Values{"password": {"x"}, "otpCode": {"1"}}, "otp/auth"},
		{"button for a code", url.Values{"password": {"x"}, "send_code": {"1"}}, "otp/request"},
		{"button for a code, old code still there", url.Values{"otpCode": {"1"}, "send_code": {"1"}}, "otp/request"},
		{"that button is off", url.Values{"password": {"x"}, "send_code": {"0"}}, "password"},
		{"resend of the first step", url.Values{"password": {"x"}, "resend": {"1"}}, "otp/request"},
		{"resend is off", url.Values{"password": {"x"}, "resend": {"false"}}, "password"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := newGateway(t, withPassword)
			kept, _ := g.firstStep(jane)
			g.sim.ResetCalls()
			tt.form.Set("email", jane)
			g.serve(post(t, "/login", tt.form, "Cookie", kept))
			if tt.want == "otp/request" {
				g.mailed()
			}
			for _, call := range []string{"otp/request", "otp/auth", "password", "2fa/request", "2fa/auth"} {
				if got, want := g.sim.Calls(call), map[bool]int{true: 1}[call == tt.want]; got != want {
					t.Errorf("%s is called %d times, want %d", call, got, want)
				}
			}
		})
	}
}

// Without the line a password is nobody's business.
func TestPasswordIsOffByDefault(t *testing.T) {
	g := newGateway(t)
	if o := g.passwordPost(jane, right, ""); o.Code != http.StatusOK || o.cookie(g.cookies.session) != nil {
		t.Errorf("status %d, want a code to be sent", o.Code)
	}
	g.mailed()
	if n := g.sim.Calls("password"); n != 0 {
		t.Errorf("Kibo was asked %d times, want 0", n)
	}
	if body := g.serve(request(t, http.MethodGet, "/login", page()...)).Body.String(); strings.Contains(body, `type="password"`) {
		t.Error("the page has a password field")
	}
}

// Whoever is refused, and why, cannot be told from the answer, nor can a
// password from a code.
func TestRefusedPasswordsLookTheSame(t *testing.T) {
	for name, header := range map[string][]string{"page": nil, "script": xhr} {
		g := newGateway(t, withPassword)
		before := g.signIn(john)
		var first string
		for _, email := range []string{jane, "nobody@example.com", "locked@example.com", "inactive@example.com"} {
			password := "Tr0ub4dor&3"
			if email == "inactive@example.com" { // whose ticket only says so
				password = right
			}
			o := g.passwordPost(email, password, before, header...)
			g.wantRefused(o)
			body := strings.ReplaceAll(o.Body.String(), email, "ADDRESS")
			if first == "" {
				first = body
			}
			if body != first || strings.Contains(body, "Tr0ub4dor") {
				t.Errorf("%s of %s: %s\nwant as for the first: %s", name, email, body, first)
			}
		}
		g.wantServed(g.open(before), "1002")
		kept, _ := g.firstStep(jane)
		if body := g.codePost(jane, "wrong", kept, header...).Body.String(); header != nil && body != first {
			t.Errorf("refused code: %s\nwant as for a password: %s", body, first)
		}
	}
}

// Kibo is not asked about a password that nobody can have, and gets every other
// one byte for byte.
func TestOddPasswords(t *testing.T) {
	g := newGateway(t, withPassword)
	for _, password := range []string{
		"  blanks around  ", " ", "tab\tand\r\nlines", "pässwörd", "pa\u0308sswo\u0308rd", "100% &=+;<>\"'\\{env.HOME}", "\x00\x01", "ｆｕｌｌ",
		strings.Repeat("a", maxPassword),
	} {
		g.sim.AddCustomer(kibosim.Customer{AccountID: 3000, Email: "odd@example.com", Password: password})
		g.wantSignedIn(g.passwordPost("odd@example.com", password, ""), "3000", "password")
		if other := strings.TrimSpace(password); other != password {
			g.wantRefusedOrCode(g.passwordPost("odd@example.com", other, ""), other)
		}
	}
	g.sim.ResetCalls()
	for name, password := range map[string]string{"too long": strings.Repeat("a", maxPassword+1), "not UTF-8": "pass\xff"} {
		g.sim.AddCustomer(kibosim.Customer{AccountID: 3000, Email: "odd@example.com", Password: strings.ToValidUTF8(password, "\ufffd")})
		g.wantRefused(g.passwordPost("odd@example.com", password, ""))
		if n := g.sim.Calls("password"); n != 0 {
			t.Errorf("%s: Kibo was asked %d times, want 0", name, n)
		}
	}
}

func (g *gateway) wantRefusedOrCode(o outcome, password string) {
	g.t.Helper()
	if password == "" {
		g.mailed()
		return
	}
	g.wantRefused(o)
}

func TestTwoPasswordsInOnePost(t *testing.T) {
	g := newGateway(t, withPassword)
	form := url.Values{"email": {jane}, "password": {right, right + " "}}
	if o := g.serve(post(t, "/login", form)); o.Code != http.StatusBadRequest || g.sim.Calls("password") != 0 {
		t.Errorf("status %d after %d calls, want 400 and none", o.Code, g.sim.Calls("password"))
	}
}

// Another site cannot sign a customer in by a password of its own: such a post
// needs no sign-in that was begun here.
func TestPasswordLoginCSRF(t *testing.T) {
	g := newGateway(t, withPassword)
	for name, header := range map[string][]string{
		"another site": {"Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"},
		"sibling":      {"Sec-Fetch-Site", "same-site", "Origin", "https://blog.example.com"},
		"old browser":  {"Sec-Fetch-Site", "", "Origin", "https://evil.example"},
		"sandbox":      {"Sec-Fetch-Site", "", "Origin", "null"},
	} {
		o := g.passwordPost(jane, right, "", header...)
		if o.Code != http.StatusForbidden || o.Header()["Set-Cookie"] != nil {
			t.Errorf("%s: status %d, cookies %q, want 403 and none", name, o.Code, o.Header()["Set-Cookie"])
		}
	}
	if n := g.sim.Calls("password"); n != 0 {
		t.Errorf("Kibo was asked %d times, want 0", n)
	}
}

func TestPasswordInTheURL(t *testing.T) {
	g := newGateway(t, withPassword)
	query := "/login?" + url.Values{"email": {jane}, "password": {right}}.Encode()
	for name, r := range map[string]*http.Request{
		"GET": request(t, http.MethodGet, query, page()...), "POST": post(t, query, url.Values{}),
		"half": post(t, "/login?password="+url.QueryEscape(right), url.Values{"email": {john}}),
	} {
		if o := g.serve(r); o.cookie(g.cookies.session) != nil || strings.Contains(o.Body.String(), right) {
			t.Errorf("%s: status %d with a session, or the password shown", name, o.Code)
		}
	}
	if n := g.sim.Calls("password"); n != 0 {
		t.Errorf("Kibo was asked %d times, want 0", n)
	}
}

// The session that a browser brings ends with a sign-in by password, and its ID
// is never adopted.
func TestSessionFixationByPassword(t *testing.T) {
	g := newGateway(t, withPassword)
	victim := g.signIn(john)
	if fresh := g.wantSignedIn(g.passwordPost(jane, right, victim), "1001", "password"); fresh == victim {
		t.Error("the ID that the browser brought is adopted")
	}
	if g.session(victim) != nil {
		t.Error("the session before goes on")
	}
}

// together makes posts at once, all of which wait for Kibo's answer.
func (g *gateway) together(n int, ask func(i int) *http.Request) []outcome {
	g.t.Helper()
	var posts sync.WaitGroup
	kibo, outcomes, joined := g.holdUp("/authtickets"), make([]outcome, n), make(chan struct{}, n)
	for i := range outcomes {
		r := ask(i)
		r = r.WithContext(&waitingContext{Context: r.Context(), waiting: func() { joined <- struct{}{} }})
		posts.Go(func() { outcomes[i] = g.serve(r) })
	}
	for range outcomes { // until all of them are in a flight
		await(g.t, joined)
	}
	close(kibo.goOn)
	posts.Wait()
	return outcomes
}

// A double click is one sign-in. Two browsers that post the same are two, and
// must never share a session, even if one of them knows nothing of devices.
func TestPasswordDoubleClick(t *testing.T) {
	g := newGateway(t, withPassword)
	device := func(n int) string {
		return g.cookies.device + "=" + strings.Repeat(string(rune('A'+n)), deviceLen-1) + "A"
	}
	one := func(int) string { return device(1) }
	for _, tt := range []struct {
		name            string
		device          func(i int) string
		exchanges, most int
		password        func(i int) string
	}{
		{"one browser", one, 1, 1, nil},
		{"ten browsers", device, 10, 10, nil},
		{"browsers without a device", func(int) string { return "" }, 10, 10, nil},
		{"browsers with two devices each", func(int) string { return device(1) + "; " + device(2) }, 10, 10, nil},
		{"one browser, another password", one, 10, 10, func(i int) string { return fmt.Sprint("wrong", i) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g.sim.ResetCalls()
			ids := map[string]bool{}
			for _, o := range g.together(10, func(i int) *http.Request {
				password := right
				if tt.password != nil {
					password = tt.password(i)
				}
				return post(t, "/login", url.Values{"email": {jane}, "password": {password}}, "Cookie", tt.device(i))
			}) {
				if c := o.cookie(g.cookies.session); c != nil {
					ids[c.Value] = true
				}
			}
			want := tt.most
			if tt.password != nil {
				want = 0
			}
			if n := g.sim.Calls("password"); n != tt.exchanges || len(ids) != want {
				t.Errorf("%d exchanges and %d sessions, want %d and %d", n, len(ids), tt.exchanges, want)
			}
		})
	}
}

// Where no device is asked for, nothing tells browsers apart.
func TestPasswordDoubleClickWithoutDevices(t *testing.T) {
	g := newGateway(t, withPassword, func(h *Handler) { h.Login.Fingerprint = fingerprintOff })
	device := g.cookies.device + "=" + strings.Repeat("A", deviceLen)
	ids := map[string]bool{}
	for _, o := range g.together(5, func(int) *http.Request {
		return post(t, "/login", url.Values{"email": {jane}, "password": {right}}, "Cookie", device)
	}) {
		if c := o.cookie(g.cookies.session); c != nil {
			ids[c.Value] = true
		}
	}
	if len(ids) != 5 {
		t.Errorf("%d sessions, want 5", len(ids))
	}
}

func TestKiboIsInTroubleAtPassword(t *testing.T) {
	for _, kind := range []string{"html_500", "garbage", "reset", "error_200"} {
		g := newGateway(t, withPassword)
		g.sim.Set(func(sw *kibosim.Switches) { sw.Faults["password"] = kibosim.Fault{Kind: kind} })
		o := g.passwordPost(jane, right, "")
		if o.Code != http.StatusServiceUnavailable || o.Header().Get("Retry-After") == "" || o.cookie(g.cookies.session) != nil || g.sim.Calls("password") != 1 {
			t.Errorf("%s: status %d after %d calls, want 503 after one", kind, o.Code, g.sim.Calls("password"))
		}
	}
}

// A password is in no log, no answer, no cookie and no request to the shop,
// whatever happens.
func TestPasswordLeaks(t *testing.T) {
	const typed = "Tr0ub4dor-and-3"
	g := newGateway(t, withPassword)
	for _, email := range []string{jane, tove} {
		g.sim.AddCustomer(kibosim.Customer{Email: email, Password: typed, TwoFA: map[string]string{tove: "always"}[email]})
	}
	var outcomes []outcome
	for _, kind := range []string{"", "html_500", "reset", "garbage", "error_200", "rate_limited"} {
		g.sim.Set(func(sw *kibosim.Switches) { sw.Faults["password"] = kibosim.Fault{Kind: kind} })
		for _, email := range []string{jane, tove, "nobody@example.com", "no address"} {
			for _, header := range [][]string{nil, xhr} {
				outcomes = append(outcomes, g.passwordPost(email, typed, "", header...))
			}
		}
	}
	for _, o := range outcomes {
		if all := fmt.Sprint(o.Header(), o.Body, o.upstream); strings.Contains(all, typed) {
			t.Errorf("the password is in the answer: %s", all)
		}
		if c := o.cookie(g.cookies.login); c != nil && c.MaxAge > 0 {
			text, err := g.keyring.open(t.Context(), g.purpose(), c.Value)
			if err != nil || strings.Contains(string(text), typed) {
				t.Errorf("the password is in the pending sign-in, or that does not open: %v", err)
			}
		}
	}
	for _, entry := range g.logs.All() {
		if line := fmt.Sprint(entry.Message, entry.ContextMap()); strings.Contains(line, typed) {
			t.Errorf("the password is logged in %s", line)
		}
	}
	if g.logs.Len() < 5 {
		t.Errorf("%d lines are logged, want one for each trouble", g.logs.Len())
	}
}
