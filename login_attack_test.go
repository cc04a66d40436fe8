package kiboauth

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kiboauth/caddy-kibo-auth/internal/kibosim"
)

// Another site can neither sign a customer in, nor have codes sent.
func TestLoginCSRF(t *testing.T) {
	tests := []struct {
		name   string
		header []string
		status int
	}{
		{"own page", []string{"Sec-Fetch-Site", "same-origin", "Origin", "https://" + testHost}, 200},
		{"bookmark", []string{"Sec-Fetch-Site", "none"}, 200},
		{"old browser, own page", []string{"Sec-Fetch-Site", "", "Origin", "https://" + testHost}, 200},
		{"old browser, Referer only", []string{"Sec-Fetch-Site", "", "Referer", "https://" + testHost + "/login"}, 200},
		{"nothing", []string{"Sec-Fetch-Site", ""}, 200},
		{"another site", []string{"Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"}, 403},
		{"sibling", []string{"Sec-Fetch-Site", "same-site", "Origin", "https://blog.example.com"}, 403},
		{"old browser, another site", []string{"Sec-Fetch-Site", "", "Origin", "https://evil.example"}, 403},
		{"old browser, another Referer", []string{"Sec-Fetch-Site", "", "Referer", "https://evil.example/"}, 403},
		{"sandboxed frame", []string{"Sec-Fetch-Site", "", "Origin", "null"}, 403},
		{"script of another site", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "cors", "Accept", "application/json"}, 403},
	}
	g := newGateway(t)
	kept, code := g.firstStep(jane)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g.sim.ResetCalls()
			o := g.serve(post(t, "/login", url.Values{"email": {john}}, tt.header...))
			if o.Code != tt.status {
				t.Errorf("asking for a code: status %d, want %d", o.Code, tt.status)
			}
			if tt.status == http.StatusOK {
				g.mailed()
				return
			}
			o = g.codePost(jane, code, kept, tt.header...)
			if o.Code != tt.status || o.Header()["Set-Cookie"] != nil {
				t.Errorf("sending a code: status %d, cookies %q, want %d and none", o.Code, o.Header()["Set-Cookie"], tt.status)
			}
			if n := g.sim.Calls("otp/auth") + g.sim.Calls("otp/request") + g.sim.Calls("oauth"); n != 0 {
				t.Errorf("Kibo was called %d times, want 0", n)
			}
		})
	}
	if o := g.codePost(jane, code, kept); o.Code != http.StatusSeeOther {
		t.Errorf("after all that the code is lost: status %d", o.Code)
	}
}

// A code works only in the browser that asked for it, and for the address that
// it was sent to.
func TestCodeFromAnotherBrowser(t *testing.T) {
	g := newGateway(t)
	kept, code := g.firstStep(jane)
	other, _ := g.firstStep(john)
	g.sim.ResetCalls()
	for name, o := range map[string]outcome{
		"no cookie":            g.codePost(jane, code, ""),
		"another's cookie":     g.codePost(jane, code, other),
		"another address":      g.codePost(john, code, kept),
		"tampered cookie":      g.codePost(jane, code, kept[:len(kept)-2]+"AA"),
		"two cookies":          g.codePost(jane, code, kept+"; "+other),
		"cookie of a sign-in":  g.codePost(jane, code, strings.Replace(kept, g.cookies.login, g.cookies.session, 1)),
		"long ago":             g.codePost(jane, code, g.sealed(pending{Email: jane, Began: time.Now().Add(-pendingLife - time.Minute).Unix()})),
		"of another gateway":   g.codePost(jane, code, g.sealedFor("other", pending{Email: jane, Began: time.Now().Unix()})),
		"garbage, well sealed": g.codePost(jane, code, g.sealedText(g.purpose(), []byte("{"))),
	} {
		if o.Code != http.StatusUnauthorized || o.cookie(g.cookies.session) != nil {
			t.Errorf("%s: status %d, want 401 and no session", name, o.Code)
		}
	}
	if n := g.sim.Calls("otp/auth"); n != 0 {
		t.Errorf("Kibo was asked %d times, want 0", n)
	}
	o := g.serve(post(t, "/login", url.Values{"email": {" JANE@example.com"}, "otpCode": {code}}, "Cookie", kept))
	if o.Code != http.StatusSeeOther {
		t.Errorf("the right browser, with another spelling: status %d", o.Code)
	}
}

func (g *gateway) sealed(p pending) string { return g.sealedFor(g.realm, p) }

func (g *gateway) sealedFor(realm string, p pending) string {
	g.t.Helper()
	p.Nonce = "n"
	text, err := json.Marshal(p)
	if err != nil {
		g.t.Fatal(err)
	}
	return g.sealedText(g.cookies.login+" "+realm, text)
}

func (g *gateway) sealedText(purpose string, text []byte) string {
	g.t.Helper()
	sealed, err := g.keyring.seal(g.t.Context(), purpose, text)
	if err != nil {
		g.t.Fatal(err)
	}
	return g.cookies.login + "=" + sealed
}

// Credentials count only in the body of a post.
func TestCredentialsInTheURL(t *testing.T) {
	g := newGateway(t)
	kept, code := g.firstStep(jane)
	g.sim.ResetCalls()
	query := "/login?" + url.Values{"email": {jane}, "otpCode": {code}}.Encode()
	for name, r := range map[string]*http.Request{
		"GET": request(t, http.MethodGet, query, page("Cookie", kept)...), "HEAD": request(t, http.MethodHead, query, page("Cookie", kept)...),
		"POST":     post(t, query, url.Values{}, "Cookie", kept),
		"override": request(t, http.MethodGet, query, page("Cookie", kept, "X-HTTP-Method-Override", "POST")...),
		"text":     post(t, "/login", url.Values{"email": {jane}, "otpCode": {code}}, "Cookie", kept, "Content-Type", "text/plain"),
	} {
		if o := g.serve(r); o.cookie(g.cookies.session) != nil || o.Code == http.StatusSeeOther {
			t.Errorf("%s: status %d with a session", name, o.Code)
		}
	}
	if n := g.sim.Calls("otp/auth"); n != 0 {
		t.Errorf("Kibo was asked %d times, want 0", n)
	}
}

// waitingContext tells when somebody first waits for its end.
type waitingContext struct {
	context.Context
	once    sync.Once
	waiting func()
}

func (c *waitingContext) Done() <-chan struct{} {
	c.once.Do(c.waiting)
	return c.Context.Done()
}

func TestDoubleClick(t *testing.T) {
	g := newGateway(t)
	kept, code := g.firstStep(jane)
	kibo := g.holdUp("/otp/auth")
	var posts sync.WaitGroup
	outcomes := make([]outcome, 20)
	joined := make(chan struct{}, len(outcomes))
	for i := range outcomes {
		r := post(t, "/login", url.Values{"email": {jane}, "otpCode": {code}}, "Cookie", kept)
		r = r.WithContext(&waitingContext{Context: r.Context(), waiting: func() { joined <- struct{}{} }})
		posts.Go(func() { outcomes[i] = g.serve(r) })
	}
	for range outcomes { // until all of them are in the flight
		await(t, joined)
	}
	kibo.await(t)
	close(kibo.goOn)
	posts.Wait()
	ids := map[string]bool{}
	for _, o := range outcomes {
		if c := o.cookie(g.cookies.session); o.Code != http.StatusSeeOther || c == nil {
			t.Errorf("status %d, cookie %v", o.Code, c)
		} else {
			ids[c.Value] = true
		}
	}
	if n := g.sim.Calls("otp/auth"); n != 1 || len(ids) != 1 {
		t.Errorf("%d exchanges and %d sessions, want 1 and 1", n, len(ids))
	}
}

// A straggler that presents a used code must not sign the customer out.
func TestLateTwinKeepsTheSession(t *testing.T) {
	g := newGateway(t)
	kept, code := g.firstStep(jane)
	c := g.codePost(jane, code, kept).cookie(g.cookies.session)
	o := g.codePost(jane, code, kept)
	if o.Code != http.StatusUnauthorized || o.Header()["Set-Cookie"] != nil {
		t.Errorf("status %d, cookies %q, want 401 and none", o.Code, o.Header()["Set-Cookie"])
	}
	g.wantServed(g.open(c.Name+"="+c.Value), "1001")
}

// The ID that a browser brings is never adopted, and ends with the sign-in.
func TestSessionFixation(t *testing.T) {
	g := newGateway(t)
	victim := g.signIn(john)
	planted := g.cookies.session + "=" + newSessionID(g.realm).value
	for name, brought := range map[string]string{"live session": victim, "planted ID": planted, "garbage": g.cookies.session + "=x"} {
		kept, code := g.firstStep(jane)
		c := g.codePost(jane, code, kept+"; "+brought).cookie(g.cookies.session)
		if c == nil || c.Name+"="+c.Value == brought {
			t.Errorf("%s: cookie %v, want a new ID", name, c)
			continue
		}
		g.wantServed(g.open(c.Name+"="+c.Value), "1001")
		if o := g.open(brought); o.upstream != nil {
			t.Errorf("%s: what the browser brought still opens a session", name)
		}
	}
}

func TestOpenRedirect(t *testing.T) {
	g := newGateway(t, func(h *Handler) { h.Login.Success = "/account" })
	for target, want := range map[string]string{
		"/orders?x=1": "/orders?x=1", "": "/account", "https://evil.example/": "/account", "//evil.example": "/account", `/\evil.example`: "/account",
		"/%2fevil.example": "/account", "javascript:alert(1)": "/account", "/\t/evil.example": "/account", "evil": "/account", "/a\r\nSet-Cookie: x": "/account",
		"http:/evil.example": "/account", "/" + strings.Repeat("a", 3000): "/account",
	} {
		for _, name := range []string{"return_to", "RETURNURL", "back"} {
			kept, code := g.firstStep(jane)
			o := g.serve(post(t, "/login", url.Values{"email": {jane}, "otpCode": {code}, name: {target}}, "Cookie", kept))
			if got := o.Header().Get("Location"); o.Code != http.StatusSeeOther || got != want {
				t.Errorf("%s=%.30q: status %d to %q, want %q", name, target, o.Code, got, want)
			}
		}
	}
}

// Whether an address has an account cannot be told from the answer.
func TestEnumeration(t *testing.T) {
	for name, spoil := range map[string]func(*kibosim.Switches){
		"usual": func(*kibosim.Switches) {}, "Kibo reveals": func(sw *kibosim.Switches) { sw.UnknownEmail = "reveal" },
		"Kibo fails": func(sw *kibosim.Switches) { sw.Faults["otp/request"] = kibosim.Fault{Kind: "html_500", Times: 4} }, // one more, and Kibo is left alone
	} {
		for as, header := range map[string][]string{"page": nil, "script": xhr} {
			t.Run(name+", "+as, func(t *testing.T) { // four failures: Kibo is not yet left alone
				g := newGateway(t)
				g.sim.Set(spoil)
				first := ""
				for _, email := range []string{jane, "nobody@example.com", "locked@example.com", "nootp@example.com"} {
					o := g.serve(post(t, "/login", url.Values{"email": {email}}, header...))
					cookie := o.cookie(g.cookies.login)
					o.Header().Del("Set-Cookie")
					o.Header().Del("Content-Length")
					got := fmt.Sprint(o.Code, o.Header(), cookie != nil, strings.ReplaceAll(o.Body.String(), email, "ADDRESS"))
					if first == "" {
						first = got
					} else if got != first {
						t.Errorf("%s: %s\nwant as for the first: %s", email, got, first)
					}
				}
			})
		}
	}
}

func TestRefusedCustomersLookTheSame(t *testing.T) {
	g := newGateway(t)
	var first string
	for _, email := range []string{"nobody@example.com", jane, "locked@example.com", "inactive@example.com"} {
		o := g.serve(post(t, "/login", url.Values{"email": {email}}))
		kept, code := o.kept(), "999999"
		if email == "inactive@example.com" { // whose ticket only says so
			for g.sim.Code(email) == "" {
				g.mailed()
			}
			code = g.sim.Code(email)
		}
		o = g.codePost(email, code, kept)
		body := strings.ReplaceAll(o.Body.String(), email, "ADDRESS")
		if first == "" {
			first = body
		}
		if o.Code != http.StatusUnauthorized || o.Header()["Set-Cookie"] != nil || body != first {
			t.Errorf("%s: status %d, cookies %q, body as the first's: %v", email, o.Code, o.Header()["Set-Cookie"], body == first)
		}
	}
}

// An insecure cookie is for trials on this machine only.
func TestInsecureCookieOnTheNetwork(t *testing.T) {
	g := newGateway(t, func(h *Handler) { h.Session.Cookie.Insecure = true })
	for address, want := range map[string]int{"127.0.0.1": 200, "::1": 200, "::ffff:127.0.0.1": 200, "192.0.2.1": 503, "0.0.0.0": 503, "::": 503} {
		r := post(t, "/login", url.Values{"email": {jane}})
		local := net.Addr(&net.TCPAddr{IP: net.ParseIP(address), Port: 80})
		if o := g.serve(r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, local))); o.Code != want {
			t.Errorf("on %s: status %d, want %d", address, o.Code, want)
		}
	}
	r := post(t, "/login", url.Values{"email": {jane}})
	if o := g.serve(r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, nil))); o.Code != http.StatusServiceUnavailable {
		t.Errorf("on an unknown address: status %d, want 503", o.Code)
	}
}

// What a customer types is never expanded (CVE-2026-30852).
func TestPlaceholdersInTheForm(t *testing.T) {
	t.Setenv("KIBO_TEST_SECRET", "top-secret")
	const evil = "{env.KIBO_TEST_SECRET}"
	g := newGateway(t, func(h *Handler) { h.Login.Fingerprint, h.Login.Region = "device", "{http.request.header.X-Region}" })
	var bodies []string
	g.seen = func(r *http.Request, body string) { bodies = append(bodies, body) }
	kept, code := g.firstStep(jane)
	form := url.Values{"email": {jane}, "otpCode": {code}, "device": {evil}, "return_to": {"/" + evil}}
	o := g.serve(post(t, "/login", form, "Cookie", kept, "X-Region", evil))
	if all := strings.Join(bodies, "\n") + o.Header().Get("Location") + o.Body.String(); strings.Contains(all, "top-secret") || !strings.Contains(all, evil) {
		t.Errorf("a placeholder of the customer's was expanded, or lost: %s", all)
	}
}

// Nothing secret is logged, whatever happens.
func TestSecretsInLogs(t *testing.T) {
	g := newGateway(t)
	logs := g.logs
	kept, code := g.firstStep(jane)
	g.codePost(jane, "wrong-code", kept)
	c := g.codePost(jane, code, kept).cookie(g.cookies.session)
	cookie := c.Name + "=" + c.Value
	s := g.session(cookie)
	secrets := []string{jane, code, "wrong-code", c.Value, s.jwt(), s.header(fieldAccessToken), s.header(fieldRefreshToken), kibosim.SharedSecret, testSecret}
	for pair := range strings.SplitSeq(kept, "; ") {
		_, value, _ := strings.Cut(pair, "=")
		secrets = append(secrets, value)
	}
	for _, kind := range []string{"html_500", "reset", "garbage"} {
		g.sim.Set(func(sw *kibosim.Switches) {
			for _, name := range []string{"refresh", "otp/request", "otp/auth"} {
				sw.Faults[name] = kibosim.Fault{Kind: kind}
			}
		})
		g.edit(cookie, func(s *live) { lapse(s); s.retryAt = 0 })
		g.open(cookie)
		g.codePost(jane, code, kept)
	}
	g.sim.Set(func(sw *kibosim.Switches) { sw.Faults = nil; sw.OtherCustomer = true })
	g.edit(cookie, func(s *live) { lapse(s); s.retryAt = 0 })
	g.open(cookie)
	if logs.Len() < 5 {
		t.Errorf("%d lines are logged, want one for each trouble", logs.Len())
	}
	for _, entry := range logs.All() {
		line := fmt.Sprint(entry.Message, entry.ContextMap())
		for _, secret := range secrets {
			if strings.Contains(line, secret) {
				t.Errorf("%q is logged in %s", secret, line)
			}
		}
	}
}

// Many customers who sign in and shop at once never get each other's session.
func TestMixUpUnderLoad(t *testing.T) {
	const customers = 40
	g := newGateway(t)
	email := func(i int) string { return fmt.Sprintf("customer%d@example.com", i) }
	var wg sync.WaitGroup
	kept := make([]string, customers)
	for i := range kept {
		g.sim.AddCustomer(kibosim.Customer{AccountID: 5000 + i, Email: email(i)})
		wg.Go(func() { kept[i], _ = g.firstStep(email(i)) })
	}
	wg.Wait()
	for i := range kept {
		wg.Go(func() {
			c := g.codePost(email(i), g.sim.Code(email(i)), kept[i]).cookie(g.cookies.session)
			if c == nil {
				t.Errorf("customer %d is not signed in", i)
				return
			}
			cookie := c.Name + "=" + c.Value
			g.edit(cookie, lapse)
			for range 5 {
				g.wantServed(g.open(cookie), fmt.Sprint(5000+i))
			}
		})
	}
	wg.Wait()
}

// Who has a second cookie of our name planted is signed out all the same.
func TestLogoutUnderATossedCookie(t *testing.T) {
	g := newGateway(t)
	planted := g.cookies.session + "=" + newSessionID(g.realm).value
	for _, plantedFirst := range []bool{true, false} {
		cookie := g.signIn(jane)
		both := cookie + "; " + planted
		if plantedFirst {
			both = planted + "; " + cookie
		}
		g.serve(post(t, "/logout", nil, "Cookie", both))
		if g.session(cookie) != nil {
			t.Errorf("planted first %v: the session goes on", plantedFirst)
		}
	}
}
