package caddytest

import (
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kiboauth/caddy-kibo-auth/internal/kibosim"
)

// reloads of one run, as many as an eager operator makes in a day.
const reloads = 60

// A tally counts what came of requests.
type tally struct{ served, cut, wrong atomic.Int64 }

// load sends requests one after the other until stop is closed, and counts
// what came of them: cut off, or not what was wanted.
func (n *tally) load(stop <-chan struct{}, b *browser, target, want string) {
	for {
		select {
		case <-stop:
			return
		default:
		}
		r, err := b.try(http.MethodGet, target, nil)
		switch {
		case err != nil:
			n.cut.Add(1)
		case r.status == http.StatusOK && r.body == want:
			n.served.Add(1)
		default:
			n.wrong.Add(1)
			b.t.Errorf("%s%s: %d %.80q, want %q", b.base, target, r.status, r.body, want)
		}
	}
}

// TestReloadsUnderLoad: no session is lost, nobody is taken for somebody else,
// sign-ins go on, and no more connections are cut than by a Caddy without the
// gateway, which is loaded in the same way.
func TestReloadsUnderLoad(t *testing.T) {
	w := start(t, setup{})
	emails := []string{jane, "john@example.com", "zoe@example.com", "buyer@example.com"}
	ids := []string{"1001", "1002", "1003", "1004"}
	stop := make(chan struct{})
	var users sync.WaitGroup
	var ours, stock tally
	sessions := make([]*browser, len(emails))
	for i, email := range emails {
		sessions[i] = w.browser()
		sessions[i].signIn(w, email)
		plain := w.browser()
		plain.base = "http://" + w.stock
		for _, b := range []*browser{sessions[i].clone(), sessions[i].withoutKeepAlive()} {
			users.Go(func() { ours.load(stop, b, "/account", "shop for "+ids[i]) })
		}
		for _, b := range []*browser{plain, plain.withoutKeepAlive()} {
			users.Go(func() { stock.load(stop, b, "/account", "shop for ") })
		}
		sessions[i] = sessions[i].withoutKeepAlive()
	}
	var signIns tally
	users.Go(func() { w.signInAgainAndAgain(stop, &signIns) })
	for range reloads {
		before := ours.served.Load()
		w.reload()
		eventually(t, "requests go on", func() bool { return ours.served.Load() > before+100 })
	}
	close(stop)
	users.Wait()
	t.Logf("%d reloads: ours served %d, cut %d; stock served %d, cut %d; sign-ins %d, cut %d", reloads,
		ours.served.Load(), ours.cut.Load(), stock.served.Load(), stock.cut.Load(), signIns.served.Load(), signIns.cut.Load())
	if most := stock.cut.Load()*3/2 + 3; ours.cut.Load() > most {
		t.Errorf("%d connections were cut; a stock Caddy cuts %d, so no more than %d are fine", ours.cut.Load(), stock.cut.Load(), most)
	}
	if signIns.served.Load() == 0 {
		t.Error("nobody could sign in")
	}
	for i, b := range sessions {
		if got := b.signedInAs("/account"); got != ids[i] {
			t.Errorf("the session of %s is now %q's", ids[i], got)
		}
	}
	if n := w.sim.Calls("oauth"); n != 1 {
		t.Errorf("%d app tokens were fetched, want 1", n)
	}
}

// withoutKeepAlive is the same browser with a new connection every time.
func (b *browser) withoutKeepAlive() *browser {
	c := b.clone()
	client := *b.client
	transport := b.client.Transport.(*http.Transport).Clone()
	transport.DisableKeepAlives = true
	client.Transport = transport
	c.client = &client
	return c
}

// signInAgainAndAgain counts the sign-ins of new customers. A step whose
// connection was cut is taken again.
func (w *world) signInAgainAndAgain(stop <-chan struct{}, n *tally) {
	for i := 0; ; i++ {
		select {
		case <-stop:
			return
		default:
		}
		email := fmt.Sprintf("newcomer%d@shop.test", i)
		w.sim.AddCustomer(kibosim.Customer{AccountID: 7000 + i, Email: email})
		b := w.browser()
		if !b.signInOrCut(w, email) {
			n.cut.Add(1)
		} else if got := b.signedInOrCut(); got != "" && got != fmt.Sprint("shop for ", 7000+i) {
			w.t.Errorf("%s signed in, but is served %q", email, got)
		} else {
			n.served.Add(1)
		}
		b.client.CloseIdleConnections()
	}
}

// signInOrCut signs in, and says whether the connection held.
func (b *browser) signInOrCut(w *world, email string) bool {
	form := header("Content-Type", "application/x-www-form-urlencoded")
	r, err := b.try(http.MethodPost, "/login", body("email", email), asPage, form)
	if err != nil {
		return false
	}
	if r.status != http.StatusOK {
		w.t.Errorf("%s: first step %d", email, r.status)
		return false
	}
	r, err = b.try(http.MethodPost, "/login", body("otpCode", w.code(email)), asPage, form)
	if err == nil && r.status != http.StatusSeeOther {
		w.t.Errorf("%s: second step %d", email, r.status)
	}
	return err == nil
}

// signedInOrCut is what the shop says; "" if the connection was cut.
func (b *browser) signedInOrCut() string {
	r, err := b.try(http.MethodGet, "/account", nil)
	if err != nil {
		return ""
	}
	return r.body
}

// reach has the browser's next request go to the newest configuration: on
// its way out the old one still takes connections, and closes them.
func (w *world) reach(b *browser) {
	w.t.Helper()
	b.client.CloseIdleConnections()
	newest := strconv.Itoa(w.reloads)
	eventually(w.t, "the new configuration answers", func() bool {
		r, err := b.try(http.MethodGet, "/login", nil)
		return err == nil && r.header.Get("X-Reload") == newest
	})
}

// TestReloadDuringASignIn: each step may meet another generation of Caddy's
// configuration.
func TestReloadDuringASignIn(t *testing.T) {
	w := start(t, setup{})
	b := w.browser()
	code := b.askCode(w, "twofa@example.com")
	w.reload()
	w.reach(b)
	b.giveCode("twofa@example.com", code)
	w.reload()
	w.reach(b)
	if r := b.giveCode("twofa@example.com", w.code("twofa@example.com")); r.status != http.StatusSeeOther {
		t.Errorf("second factor: %d", r.status)
	}
	w.reload()
	w.reach(b)
	if got := b.signedInAs("/"); got != "1008" {
		t.Errorf("signed in as %q", got)
	}
}

// TestReloadDuringARefresh: old and new handlers share the flight, so that a
// rotating refresh token is presented once.
func TestReloadDuringARefresh(t *testing.T) {
	w := start(t, setup{})
	b := w.lapsed(jane)
	w.set("refresh", kibosim.Fault{Delay: time.Second, Times: 1})
	got := make(chan string, 2)
	go func() { got <- b.clone().signedInAs("/account") }()
	eventually(t, "the refresh is under way", func() bool { return w.sim.Calls("refresh") == 1 })
	w.reload()
	other := w.browser()
	w.reach(other)
	other.cookies = b.clone().cookies
	go func() { got <- other.signedInAs("/account") }()
	for range cap(got) {
		if who := <-got; who != janeID {
			t.Errorf("served as %q", who)
		}
	}
	if n := w.sim.Calls("refresh"); n != 1 {
		t.Errorf("%d refresh calls, want 1", n)
	}
}
