package caddytest

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/kiboauth/caddy-kibo-auth/internal/kibosim"
)

// TestKiboDownForTheLifeOfATicket: who is signed in works on until the ticket
// ends, waits then, and goes on when Kibo is back.
func TestKiboDownForTheLifeOfATicket(t *testing.T) {
	w := start(t, setup{gateway: quick})
	w.sim.Set(func(sw *kibosim.Switches) { sw.AccessTTL = 4 * time.Second })
	b := w.browser()
	b.signIn(w, jane)
	w.sim.Set(func(sw *kibosim.Switches) { sw.AccessTTL = 0 })
	cookie := b.cookies[sessionCookie]
	w.kibo.off()
	served := 0
	eventually(t, "the ticket ends", func() bool {
		r := b.open("/account")
		switch {
		case r.status == http.StatusOK && r.body == "shop for "+janeID:
			served++
			return false
		case r.status != http.StatusServiceUnavailable:
			t.Fatalf("the session did not wait: %d %q", r.status, r.body)
		}
		checkUnavailable(t, r, 503)
		return true
	})
	if served == 0 {
		t.Error("the customer could not go on with a good ticket")
	}
	if r := b.open("/public/x"); r.status != http.StatusOK {
		t.Errorf("public page: %d", r.status)
	}
	w.kibo.on()
	eventually(t, "the session lives again", func() bool { return b.signedInAs("/account") == janeID })
	if b.cookies[sessionCookie] != cookie {
		t.Error("the cookie was touched")
	}
}

// TestKiboDown: no new sign-ins, but signing out and all sessions go on, and
// nothing that was begun is lost.
func TestKiboDown(t *testing.T) {
	w := start(t, setup{gateway: quick})
	b, begun := w.browser(), w.browser()
	b.signIn(w, jane)
	code := begun.askCode(w, "john@example.com")
	w.kibo.off()
	if got := b.signedInAs("/account"); got != janeID {
		t.Errorf("a session is served as %q", got)
	}
	checkUnavailable(t, begun.giveCode("john@example.com", code), 503)
	if r := b.post("/logout", nil); r.status != http.StatusSeeOther || b.signedInAs("/account") != "" {
		t.Errorf("signing out: %d", r.status)
	}
	if r := w.browser().open("/account"); r.status != http.StatusSeeOther {
		t.Errorf("challenge: %d", r.status)
	}
	if r := w.browser().open("/login"); r.status != http.StatusOK {
		t.Errorf("form: %d", r.status)
	}
	w.kibo.on()
	eventually(t, "the code still works", func() bool {
		return begun.giveCode("john@example.com", code).status == http.StatusSeeOther
	})
}

// TestKiboDownAtStart: Caddy starts all the same, serves the public, and
// recovers by itself.
func TestKiboDownAtStart(t *testing.T) {
	w := start(t, setup{gateway: quick})
	w.kibo.off()
	b := w.browser()
	checkUnavailable(t, b.post("/login", url.Values{"email": {jane}}), 503)
	checkUnavailable(t, b.postJSON("/login", `{"email":"jane@example.com"}`), 503)
	if r := b.open("/public/x"); r.status != http.StatusOK {
		t.Errorf("public page: %d", r.status)
	}
	w.kibo.on()
	b.signIn(w, jane)
}

// TestShopDown: the session is untouched.
func TestShopDown(t *testing.T) {
	w := start(t, setup{})
	b := w.browser()
	b.signIn(w, jane)
	w.shop.answers(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	if r := b.open("/account"); r.status != http.StatusBadGateway || r.header.Get("Set-Cookie") != "" {
		t.Errorf("got %d, Set-Cookie %t", r.status, r.header.Get("Set-Cookie") != "")
	}
	w.shop.answers(nil)
	if got := b.signedInAs("/account"); got != janeID {
		t.Errorf("afterwards served as %q", got)
	}
}

// TestIdentityMixUp: many sign in at once, each on a page of their own, and
// everybody is who they are.
func TestIdentityMixUp(t *testing.T) {
	const people = 160
	w := start(t, setup{gateway: "identity Kibo-Account-Id account_id\nidentity Kibo-Email email"})
	w.shop.answers(func(rw http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(rw, "%s %s", r.Header.Get(accountHeader), r.Header.Get("Kibo-Email"))
	})
	for i := range people {
		w.sim.AddCustomer(kibosim.Customer{AccountID: 5000 + i, Email: fmt.Sprintf("person%d@shop.test", i)})
	}
	var all sync.WaitGroup
	for i := range people {
		all.Go(func() {
			email := fmt.Sprintf("person%d@shop.test", i)
			want := strconv.Itoa(5000+i) + " " + email
			b := w.browser()
			b.signIn(w, email)
			for range 5 {
				if r := b.open("/account"); r.body != want {
					t.Errorf("%s is served as %q", want, r.body)
				}
			}
		})
	}
	all.Wait()
	if n := w.sim.Calls("otp/auth"); n != people {
		t.Errorf("%d exchanges for %d sign-ins", n, people)
	}
}
