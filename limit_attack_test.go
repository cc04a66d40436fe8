package kiboauth

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"go.uber.org/zap"

	"github.com/kiboauth/caddy-kibo-auth/internal/kibosim"
)

// withLimits switches the default limits on.
func withLimits(h *Handler) {
	h.Limits = Limits{Floor: -1}
	withPassword(h)
}

// at is where a browser posts from.
func at(r *http.Request, ip string) *http.Request {
	r.RemoteAddr = "[" + ip + "]:1234"
	return r
}

func (g *gateway) askFrom(ip, email, cookies string) outcome {
	g.t.Helper()
	return g.serve(at(post(g.t, "/login", url.Values{"email": {email}}, "Cookie", cookies), ip))
}

func (g *gateway) codeFrom(ip, email, code, cookies string) outcome {
	g.t.Helper()
	return g.serve(at(post(g.t, "/login", url.Values{"email": {email}, "otpCode": {code}}, "Cookie", cookies), ip))
}

func (g *gateway) passwordFrom(ip, email, password, cookies string) outcome {
	g.t.Helper()
	return g.serve(at(post(g.t, "/login", url.Values{"email": {email}, "password": {password}}, "Cookie", cookies), ip))
}

// wantLimited wants a 429 that says when to come again.
func (g *gateway) wantLimited(o outcome) {
	g.t.Helper()
	if o.Code != http.StatusTooManyRequests || o.Header().Get("Retry-After") == "" || o.cookie(g.cookies.session) != nil {
		g.t.Errorf("status %d, Retry-After %q, want 429", o.Code, o.Header().Get("Retry-After"))
	}
}

// Sixty guesses at once are five calls: they are counted before, not after. And
// then the right code is refused, too.
func TestGuessingInParallel(t *testing.T) {
	g := newGateway(t, withLimits)
	o := g.askFrom("192.0.2.1", jane, "")
	kept, code := o.kept(), g.mailed()
	var posts sync.WaitGroup
	limited := make(chan bool, 60)
	for i := range cap(limited) {
		wrong := fmt.Sprintf("%06d", i)
		if wrong == code {
			wrong = "000060"
		}
		r := at(post(t, "/login", url.Values{"email": {jane}, "otpCode": {wrong}}, "Cookie", kept), "192.0.2.1")
		posts.Go(func() { limited <- g.serve(r).Code == http.StatusTooManyRequests })
	}
	posts.Wait()
	close(limited)
	refused := 0
	for l := range limited {
		if l {
			refused++
		}
	}
	if n := g.sim.Calls("otp/auth"); n != 5 || refused != 55 {
		t.Errorf("%d calls and %d refused, want 5 and 55", n, refused)
	}
	g.wantLimited(g.codeFrom("192.0.2.1", jane, code, kept))
	if n := g.sim.Calls("otp/auth"); n != 5 {
		t.Errorf("the right code after the lock was tried: %d calls", n)
	}
}

// Failures count across codes and passwords: a new code is no new chance.
func TestGuessingAcrossCodes(t *testing.T) {
	g := newGateway(t, withLimits)
	o := g.askFrom("192.0.2.1", jane, "")
	code := g.mailed()
	for i := range 3 {
		g.codeFrom("192.0.2.1", jane, wrong(code), o.kept())
		g.passwordFrom("192.0.2.1", jane, fmt.Sprint("wrong", i), "")
	}
	if n := g.sim.Calls("otp/auth") + g.sim.Calls("password"); n != 5 {
		t.Errorf("%d calls, want 5", n)
	}
	g.wantLimited(g.passwordFrom("192.0.2.1", jane, right, ""))
}

// wrong is a code other than the right one.
func wrong(code string) string {
	if code == "111111" {
		return "222222"
	}
	return "111111"
}

func TestSpellingsOfOneAddress(t *testing.T) {
	g := newGateway(t, withLimits)
	for _, email := range []string{
		jane, "JANE@example.com", "Jane@Example.COM", " jane@example.com", "jane@example.com ", "jAnE@example.com", "jane@EXAMPLE.com", "\tjane@example.com",
	} {
		g.passwordFrom("192.0.2.1", email, "wrong", "")
	}
	if n := g.sim.Calls("password"); n != 5 {
		t.Errorf("%d calls, want 5", n)
	}
}

// A stranger who fails at somebody's account locks only themselves out.
func TestLockOutByAStranger(t *testing.T) {
	g := newGateway(t, withLimits)
	for range 10 {
		g.passwordFrom("198.51.100.66", jane, "wrong", "")
		g.askFrom("198.51.100.66", jane, "")
	}
	g.wantLimited(g.passwordFrom("198.51.100.66", jane, "wrong", ""))
	g.mailed()
	o := g.askFrom("192.0.2.1", jane, "")
	if o = g.codeFrom("192.0.2.1", jane, g.mailed(), o.kept()); o.cookie(g.cookies.session) == nil {
		t.Errorf("the customer is locked out: status %d", o.Code)
	}
}

// Many strangers together can use up an account's day, but not that of a
// browser that has signed in to it before.
func TestKnownBrowserStillGetsIn(t *testing.T) {
	g := newGateway(t, withLimits)
	o := g.passwordFrom("192.0.2.1", jane, right, "")
	device := g.cookies.device + "=" + o.cookie(g.cookies.device).Value
	if n := strings.Count(strings.Join(o.Header()["Set-Cookie"], "\n"), g.cookies.device+"="); n != 1 {
		t.Errorf("the device is set %d times in one answer", n)
	}
	for i := range 60 {
		ip := fmt.Sprint("198.51.100.", i)
		g.passwordFrom(ip, jane, "wrong", "")
		g.askFrom(ip, jane, "")
	}
	for range 10 { // of which it mails so many
		g.mailed()
	}
	for i := range 60 { // behind the customer's own address, too
		g.passwordFrom("192.0.2.1", fmt.Sprint(i, "@example.com"), "wrong", "")
	}
	if n := g.sim.Calls("password"); n != 1+50+20 {
		t.Errorf("%d calls, want 71", n)
	}
	john := g.cookies.device + "=" + strings.Repeat("A", deviceLen)
	random, proof, _ := strings.Cut(device, ".")
	for name, cookies := range map[string]string{
		"no device": "", "another device": john, "without its proof": random, "another proof": random + "." + strings.Repeat("A", 43),
		"another device with its proof": john + "." + proof, "two": device + "; " + john,
	} {
		if o := g.passwordFrom("203.0.113.9", jane, right, cookies); o.Code != http.StatusTooManyRequests {
			t.Errorf("%s: status %d, want 429", name, o.Code)
		}
	}
	g.wantLimited(g.passwordFrom("192.0.2.1", "john@example.com", right, device)) // proves nothing for another account
	o = g.askFrom("192.0.2.1", jane, device)
	if o = g.codeFrom("192.0.2.1", jane, g.mailed(), o.kept()+"; "+device); o.cookie(g.cookies.session) == nil {
		t.Errorf("by code: status %d", o.Code)
	}
	g.wantSignedIn(g.passwordFrom("192.0.2.1", jane, right, device), "1001", "password")
	for range 5 { // it has limits of its own
		g.passwordFrom("203.0.113.1", jane, "wrong", device)
	}
	g.wantLimited(g.passwordFrom("203.0.113.2", jane, right, device))
}

// An account gets three mails from one client and ten from all, and every
// answer is the same.
func TestMailBomb(t *testing.T) {
	for _, tt := range []struct {
		name string
		ip   func(i int) string
		want int
	}{
		{"from one client", func(int) string { return "198.51.100.1" }, 1}, // the others fall into the pause
		{"from many", func(i int) string { return fmt.Sprint("198.51.100.", i) }, 10},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := newGateway(t, withLimits)
			var first string
			for i := range 40 {
				o := g.askFrom(tt.ip(i), jane, "")
				got := fmt.Sprint(o.Code, o.cookie(g.cookies.login) != nil, o.Body)
				if first == "" {
					first = got
				}
				if o.Code != http.StatusOK || got != first {
					t.Errorf("post %d is answered %s\nthe first %s", i, got, first)
				}
			}
			for range tt.want {
				g.mailed()
			}
			if n := g.sim.Calls("otp/request"); n != tt.want {
				t.Errorf("%d mails, want %d", n, tt.want)
			}
			entries := g.logs.FilterMessage("no code was sent").All()
			if len(entries) != 40-tt.want || strings.Contains(fmt.Sprint(entries[0].ContextMap()), "jane") {
				t.Errorf("%d lines in the log, want %d without the address: %v", len(entries), 40-tt.want, entries[:1])
			}
		})
	}
}

// One client may ask for thirty codes, whosever they are, and try twenty, from
// wherever in its network.
func TestRotationWithinAnIPv6Network(t *testing.T) {
	g := newGateway(t, withLimits)
	for i := range 60 {
		ip := fmt.Sprintf("2001:db8:1:2::%x", i+1)
		g.passwordFrom(ip, fmt.Sprint("a", i, "@example.com"), "wrong", "")
		if o := g.askFrom(ip, fmt.Sprint("b", i, "@example.com"), ""); o.Code != http.StatusOK {
			t.Errorf("status %d, want 200", o.Code)
		}
	}
	if n := g.sim.Calls("password"); n != 20 {
		t.Errorf("%d tries, want 20", n)
	}
	if n := g.logs.FilterMessage("no code was sent").FilterField(zap.String("limit", scopeClient)).Len(); n != 30 {
		t.Errorf("%d codes were not sent, want 30", n)
	}
	if o := g.passwordFrom("2001:db8:1:3::1", "c@example.com", "wrong", ""); o.Code != http.StatusUnauthorized {
		t.Errorf("the network beside it: status %d, want 401", o.Code)
	}
}

// A flood of made-up addresses pushes no counter out: where the client's limit
// ends, it makes no more.
func TestMadeUpAddressFlood(t *testing.T) {
	g := newGateway(t, withLimits)
	for i := range g.shared.counts.shelves {
		g.shared.counts.shelves[i].size = 200
	}
	for range 5 {
		g.passwordFrom("192.0.2.1", jane, "wrong", "")
	}
	for i := range 1000 {
		g.passwordFrom("198.51.100.1", fmt.Sprint("a", i, "@example.com"), "wrong", "")
		g.askFrom("198.51.100.1", fmt.Sprint("b", i, "@example.com"), "")
	}
	g.wantLimited(g.passwordFrom("192.0.2.1", jane, right, ""))
	if n := g.shared.counts.shelves[accounts].order.Len(); n > 2+20*2+30*3 {
		t.Errorf("%d counters of accounts", n)
	}
}

func TestLimitsResetByReload(t *testing.T) {
	g := newGateway(t, withLimits)
	for range 5 {
		g.passwordFrom("192.0.2.1", jane, "wrong", "")
	}
	g.Handler = g.provision(withLimits, func(h *Handler) { h.Login.Success = "/other" })
	g.wantLimited(g.passwordFrom("192.0.2.1", jane, right, ""))
}

func TestDoubleClickCountsOnce(t *testing.T) {
	g := newGateway(t, withLimits)
	o := g.askFrom("192.0.2.1", jane, "")
	kept, code := o.kept(), g.mailed()
	for range 4 {
		var posts sync.WaitGroup
		kibo := g.holdUp("/otp/auth")
		joined := make(chan struct{}, 10)
		for range cap(joined) {
			r := at(post(t, "/login", url.Values{"email": {jane}, "otpCode": {wrong(code)}}, "Cookie", kept), "192.0.2.1")
			r = r.WithContext(&waitingContext{Context: r.Context(), waiting: func() { joined <- struct{}{} }})
			posts.Go(func() { g.serve(r) })
		}
		for range cap(joined) {
			await(t, joined)
		}
		close(kibo.goOn)
		posts.Wait()
	}
	if o = g.codeFrom("192.0.2.1", jane, wrong(code), kept); o.Code != http.StatusUnauthorized {
		t.Errorf("the fifth try: status %d, want 401", o.Code)
	}
	g.wantLimited(g.codeFrom("192.0.2.1", jane, code, kept))
}

// TestReplayThatKiboWouldTake: a code that has opened a session is not shown to
// Kibo again, whoever brings it, and counts as a failure.
func TestReplayThatKiboWouldTake(t *testing.T) {
	g := newGateway(t, withLimits)
	o := g.askFrom("192.0.2.1", jane, "")
	kept, code := o.kept(), g.mailed()
	o = g.codeFrom("192.0.2.1", jane, code, kept)
	session := o.cookie(g.cookies.session)
	if session == nil {
		t.Fatalf("status %d, want a session", o.Code)
	}
	later := g.askFrom("198.51.100.1", jane, "")
	newer := g.mailed()
	for name, cookies := range map[string]string{"the same sign-in": kept, "another browser's": later.kept()} {
		if o := g.codeFrom("198.51.100.1", jane, code, cookies); o.Code != http.StatusUnauthorized || o.cookie(g.cookies.session) != nil {
			t.Errorf("%s: status %d, want 401", name, o.Code)
		}
	}
	if n := g.sim.Calls("otp/auth"); n != 1 {
		t.Errorf("Kibo was asked %d times, want once", n)
	}
	for range 3 {
		g.codeFrom("198.51.100.1", jane, code, later.kept())
	}
	g.wantLimited(g.codeFrom("198.51.100.1", jane, newer, later.kept()))
	g.wantServed(g.open(session.Name+"="+session.Value), "1001")
}

func TestOutageNeverCounts(t *testing.T) {
	for _, kind := range []string{"html_500", "garbage", "reset", "error_200"} {
		g := newGateway(t, withLimits, func(h *Handler) { h.Limits.Verify.Account = []string{"1/24h"} })
		g.sim.Set(func(sw *kibosim.Switches) { sw.Faults["password"] = kibosim.Fault{Kind: kind, Times: 3} })
		for range 3 {
			if o := g.passwordFrom("192.0.2.1", jane, "wrong", ""); o.Code != http.StatusServiceUnavailable {
				t.Errorf("%s: status %d, want 503", kind, o.Code)
			}
		}
		if o := g.passwordFrom("192.0.2.1", jane, "wrong", ""); o.Code != http.StatusUnauthorized {
			t.Errorf("%s: status %d afterwards, want 401", kind, o.Code)
		}
		g.wantLimited(g.passwordFrom("192.0.2.1", jane, "wrong", ""))
	}
}

// Neither do successes: a customer who signs in again and again is not locked out.
func TestSuccessesNeverCount(t *testing.T) {
	g := newGateway(t, withLimits)
	for i := range 60 {
		if o := g.passwordFrom("192.0.2.1", jane, right, ""); o.cookie(g.cookies.session) == nil {
			t.Fatalf("sign-in %d: status %d", i, o.Code)
		}
	}
	for i := range 30 {
		if o := g.passwordFrom("192.0.2.1", tove, right, ""); o.Code != http.StatusOK { // the second factor is asked for
			t.Fatalf("half a sign-in %d: status %d", i, o.Code)
		}
	}
}

// The second code can be guessed no more often than the first, and the mails
// with it have limits as well.
func TestGuessingTheSecondFactor(t *testing.T) {
	g := newGateway(t, withLimits)
	o := g.passwordFrom("192.0.2.1", tove, right, "")
	kept, code := g.cookies.login+"="+o.cookie(g.cookies.login).Value, g.mailed()
	for range 10 {
		g.codeFrom("192.0.2.1", tove, wrong(code), kept)
	}
	g.wantLimited(g.codeFrom("192.0.2.1", tove, code, kept))
	if n := g.sim.Calls("2fa/auth"); n != 5 {
		t.Errorf("%d tries, want 5", n)
	}
	for range 10 {
		g.forgetResends()
		r := at(post(t, "/login", url.Values{"email": {tove}, "resend": {"1"}}, "Cookie", kept), "192.0.2.1")
		if o := g.serve(r); o.Code != http.StatusOK {
			t.Errorf("resend: status %d, want 200", o.Code)
		}
	}
	if n := g.sim.Calls("2fa/request"); n != 3 {
		t.Errorf("%d mails, want 3", n)
	}
}

// Too many mails in total are told, as an outage is.
func TestMailBombOnAll(t *testing.T) {
	g := newGateway(t, withLimits, func(h *Handler) { h.Limits.Send.Total = []string{"2/1h"} })
	for i := range 4 {
		o := g.askFrom(fmt.Sprint("192.0.2.", i), fmt.Sprint(i, "@example.com"), "")
		if want := map[bool]int{true: http.StatusOK, false: http.StatusServiceUnavailable}[i < 2]; o.Code != want || (o.Header().Get("Retry-After") != "") != (i >= 2) {
			t.Errorf("post %d: status %d, Retry-After %q, want %d", i, o.Code, o.Header().Get("Retry-After"), want)
		}
	}
}

// Without the gateway's secret nobody can be counted, and so nobody gets in.
func TestNoSecretNoGuess(t *testing.T) {
	g := newGateway(t, withLimits)
	s := testStorage(t)
	g.keyring = &keyring{storage: s}
	s.load = fmt.Errorf("disk on fire")
	for _, o := range []outcome{g.passwordFrom("192.0.2.1", jane, right, ""), g.askFrom("192.0.2.1", jane, "")} {
		if o.Code != http.StatusServiceUnavailable || o.cookie(g.cookies.session) != nil {
			t.Errorf("status %d, want 503", o.Code)
		}
	}
	if n := g.sim.Calls("password") + g.sim.Calls("otp/request"); n != 0 {
		t.Errorf("Kibo was asked %d times", n)
	}
}
