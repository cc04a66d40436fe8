package caddytest

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kiboauth/caddy-kibo-auth/internal/kibosim"
)

// lapse is how far Kibo's clock is behind while a ticket is made that has
// lapsed when it arrives, but by less than the leeway between clocks.
const lapse = 20 * time.Second

// lapsed signs a customer in with a ticket that must be refreshed before the
// next request.
func (w *world) lapsed(email string) *browser {
	w.t.Helper()
	w.sim.Advance(-lapse)
	w.sim.Set(func(sw *kibosim.Switches) { sw.AccessTTL = lapse - time.Second })
	defer func() {
		w.sim.Advance(lapse)
		w.sim.Set(func(sw *kibosim.Switches) { sw.AccessTTL = 0 })
	}()
	b := w.browser()
	b.signIn(w, email)
	return b
}

func TestRefreshIsOneCallForAThousandRequests(t *testing.T) {
	w := start(t, setup{})
	b := w.lapsed(jane)
	w.set("refresh", kibosim.Fault{Delay: 500 * time.Millisecond}) // until all are there
	got := make(chan string, 1000)
	for range cap(got) {
		go func() { got <- b.clone().signedInAs("/account") }()
	}
	for range cap(got) {
		if who := <-got; who != janeID {
			t.Errorf("one request was served as %q", who)
		}
	}
	if n := w.sim.Calls("refresh"); n != 1 {
		t.Errorf("%d refresh calls, want 1", n)
	}
}

func TestRefreshOfManySessionsAtOnce(t *testing.T) {
	w := start(t, setup{})
	emails := []string{jane, "john@example.com", "zoe@example.com", "buyer@example.com"}
	ids := []string{"1001", "1002", "1003", "1004"}
	var browsers []*browser
	for i := range 24 {
		browsers = append(browsers, w.lapsed(emails[i%4]))
	}
	var all sync.WaitGroup
	for i, b := range browsers {
		for range 10 {
			all.Go(func() {
				if got := b.clone().signedInAs("/"); got != ids[i%4] {
					t.Errorf("%s was served as %q", emails[i%4], got)
				}
			})
		}
	}
	all.Wait()
	if n := w.sim.Calls("refresh"); n != 24 {
		t.Errorf("%d refresh calls for 24 sessions", n)
	}
}

// TestRefreshBesideARequest: a ticket that still is good is used, while a new
// one is fetched beside it.
func TestRefreshBesideARequest(t *testing.T) {
	w := start(t, setup{})
	w.sim.Set(func(sw *kibosim.Switches) { sw.AccessTTL = 10 * time.Second })
	b := w.browser()
	b.signIn(w, jane)
	w.set("refresh", kibosim.Fault{Kind: "hang"})
	eventually(t, "the ticket is being refreshed", func() bool {
		if got := b.signedInAs("/"); got != janeID {
			t.Fatalf("a good ticket was served as %q", got)
		}
		return w.sim.Calls("refresh") == 1
	})
	if got := b.signedInAs("/"); got != janeID { // Kibo still hangs
		t.Errorf("with a refresh under way served as %q", got)
	}
}

// TestRefreshRefused: Kibo has signed the customer out.
func TestRefreshRefused(t *testing.T) {
	for name, refuse := range map[string]func(*world){
		"unknown token":  func(w *world) { w.sim.Reset() },
		"locked account": func(w *world) { w.sim.AddCustomer(kibosim.Customer{Email: jane, Locked: true}) },
		"locked, says only the ticket": func(w *world) {
			w.sim.Set(func(sw *kibosim.Switches) { sw.LockedStatus = 200 })
			w.sim.AddCustomer(kibosim.Customer{Email: jane, Locked: true})
		},
		"inactive account": func(w *world) { w.sim.AddCustomer(kibosim.Customer{Email: jane, Inactive: true}) },
	} {
		t.Run(name, func(t *testing.T) {
			w := start(t, setup{})
			b := w.lapsed(jane)
			refuse(w)
			other := b.clone()
			if r := b.open("/account"); r.status != http.StatusSeeOther || !strings.HasPrefix(r.location(), "/login?") || b.cookies[sessionCookie] != "" {
				t.Errorf("got %d to %q, cookie kept: %t; want the login form, and the cookie taken back",
					r.status, r.location(), b.cookies[sessionCookie] != "")
			}
			if r := other.do(http.MethodGet, "/account", nil, asScript); r.status != http.StatusUnauthorized {
				t.Errorf("script: %d, want 401", r.status)
			}
			if n := w.sim.Calls("refresh"); n != 1 {
				t.Errorf("%d refresh calls, want 1", n)
			}
		})
	}
}

// TestRefreshCannotChangeTheCustomer: neither Kibo's mistake nor a bad token
// makes a session somebody else's.
func TestRefreshCannotChangeTheCustomer(t *testing.T) {
	for name, spoil := range map[string]func(*kibosim.Switches){
		"another customer":   func(sw *kibosim.Switches) { sw.OtherCustomer = true },
		"another account":    func(sw *kibosim.Switches) { sw.JWT = "wrong_account" },
		"another subject":    func(sw *kibosim.Switches) { sw.JWT = "wrong_subject" },
		"anonymous":          func(sw *kibosim.Switches) { sw.JWT = "anonymous" },
		"no signature":       func(sw *kibosim.Switches) { sw.JWT = "alg_none" },
		"a foreign audience": func(sw *kibosim.Switches) { sw.JWT = "wrong_audience" },
		"garbage":            func(sw *kibosim.Switches) { sw.JWT = "garbage" },
	} {
		t.Run(name, func(t *testing.T) {
			w := start(t, setup{})
			b := w.lapsed(jane)
			w.sim.Set(spoil)
			w.shop.got()
			if r := b.open("/account"); r.status != http.StatusSeeOther || !strings.HasPrefix(r.location(), "/login?") {
				t.Errorf("got %d to %q, want the login form", r.status, r.location())
			}
			if got := b.signedInAs("/account"); got != "" || w.shop.got() != nil {
				t.Errorf("the shop was asked, as %q", got)
			}
		})
	}
}

// TestFaultsOfTheRefresh: a session whose ticket has lapsed waits for Kibo to
// come back, and lives again by itself.
func TestFaultsOfTheRefresh(t *testing.T) {
	w := start(t, setup{gateway: quick + "\nsession {\nmax_per_customer 100\n}"})
	w.sim.Set(func(sw *kibosim.Switches) { sw.RefreshMode = "grace" }) // a token whose answer was lost works once more
	waiting := map[string]*browser{}
	for _, name := range slices.Sorted(maps.Keys(spoilings)) {
		tt := spoilings[name]
		t.Run(name, func(t *testing.T) {
			b := w.lapsed(jane)
			cookie := b.cookies[sessionCookie]
			w.set("refresh", tt.fault)
			defer w.clear()
			if tt.want == fine {
				if got := b.signedInAs("/account"); got != janeID {
					t.Errorf("served as %q", got)
				}
				return
			}
			w.shop.got()
			checkUnavailable(t, b.open("/account"), 503)
			w.clear()
			calls := w.sim.Calls("refresh")
			checkUnavailable(t, b.do(http.MethodGet, "/account", nil, asScript), 503) // not asked again at once
			if n := w.sim.Calls("refresh") - calls; n != 0 {
				t.Errorf("%d calls while backing off", n)
			}
			if got := w.shop.got(); got != nil {
				t.Error("the shop was asked")
			}
			if r := b.open("/public/x"); r.status != 200 || r.body != "shop for " {
				t.Errorf("public page: %d %q, want it without identity", r.status, r.body)
			}
			if b.cookies[sessionCookie] != cookie {
				t.Error("the cookie was touched")
			}
			waiting[name] = b
		})
	}
	for name, b := range waiting {
		eventually(t, name+": the session lives again", func() bool { return b.signedInAs("/account") == janeID })
	}
}

// TestRefreshPutOff: a 429 is no fault of the customer who opens a page, and
// Kibo is left alone for as long as it asked.
func TestRefreshPutOff(t *testing.T) {
	w := start(t, setup{gateway: quick})
	b, another := w.lapsed(jane), w.lapsed("john@example.com")
	w.set("refresh", kibosim.Fault{Kind: "rate_limited", RetryAfter: 2, Times: 1})
	checkUnavailable(t, b.open("/"), 503)
	calls := w.sim.Calls("refresh")
	checkUnavailable(t, another.open("/"), 503)
	if n := w.sim.Calls("refresh") - calls; n != 0 {
		t.Errorf("%d calls during the pause", n)
	}
	eventually(t, "both sessions live again", func() bool {
		return b.signedInAs("/") == janeID && another.signedInAs("/") == "1002"
	})
}

// TestLogoutDuringRefresh: the new ticket does not bring the session back.
func TestLogoutDuringRefresh(t *testing.T) {
	w := start(t, setup{})
	b := w.lapsed(jane)
	kept := b.clone()
	w.set("refresh", kibosim.Fault{Delay: 500 * time.Millisecond, Times: 1})
	during := make(chan string)
	go func() { during <- kept.clone().signedInAs("/account") }()
	eventually(t, "the refresh is under way", func() bool { return w.sim.Calls("refresh") == 1 })
	if r := b.post("/logout", nil); r.status != http.StatusSeeOther {
		t.Errorf("logout: %d", r.status)
	}
	if got := <-during; got != "" {
		t.Errorf("the request that waited was served as %q", got)
	}
	if got := kept.signedInAs("/account"); got != "" {
		t.Errorf("the session is back, as %q", got)
	}
}

// TestVisitorLeavesDuringRefresh: the refresh goes on, and its result is kept.
func TestVisitorLeavesDuringRefresh(t *testing.T) {
	w := start(t, setup{})
	b := w.lapsed(jane)
	w.set("refresh", kibosim.Fault{Delay: 500 * time.Millisecond, Times: 1})
	impatient := b.clone()
	client := *b.client
	impatient.client = &client
	impatient.client.Timeout = 100 * time.Millisecond
	if _, err := impatient.try(http.MethodGet, "/", nil); err == nil {
		t.Error("the visitor did not leave")
	}
	if got := b.signedInAs("/"); got != janeID || w.sim.Calls("refresh") != 1 {
		t.Errorf("served as %q after %d calls, want one", got, w.sim.Calls("refresh"))
	}
}
