package caddytest

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kiboauth/caddy-kibo-auth/internal/kibosim"
	"github.com/kiboauth/caddy-kibo-auth/internal/redistest"
)

// Secrets that the gateways of a fleet have in common.
const (
	oldSecret = "0ld-secret-of-the-whole-fleet-0123456789"
	newSecret = "new-secret-of-the-whole-fleet-0123456789"
)

// overRedis are the lines of a gateway that shares its sessions. Calls may take
// long: the machine that tests run on is busy.
func overRedis(s *redistest.Server, secrets string, more ...string) string {
	note("secret", oldSecret)
	note("secret", newSecret)
	return fmt.Sprintf("secret %s\nstore redis %s {\ntimeout 5s\n%s\n}", secrets, s.URL(), strings.Join(more, "\n"))
}

// signOuts is how often the way of a sign-out through the fleet is measured.
const signOuts = 200

// TestSignOutIsHeardByTheFleet: who signs out at one gateway is refused by the
// other, though it keeps sessions in memory for ten minutes.
func TestSignOutIsHeardByTheFleet(t *testing.T) {
	f, redis := newFleet(t), redistest.Start(t, redistest.Options{})
	a, b := f.add(overRedis(redis, oldSecret, "cache 10m")), f.add(overRedis(redis, oldSecret, "cache 10m"))
	took := make([]time.Duration, signOuts)
	for i := range took {
		if took[i] = f.timeSignOut(a, b); t.Failed() {
			return
		}
	}
	slices.Sort(took)
	t.Logf("%d sign-outs, from the answer at one gateway to the first refusal at the other: p50 %v, p99 %v, longest %v",
		signOuts, took[signOuts/2], took[signOuts*99/100], took[signOuts-1])
}

// timeSignOut signs in and out at one node while the session is used at
// another, and returns how long after the sign-out's answer it is refused there.
func (f *fleet) timeSignOut(at, elsewhere *node) time.Duration {
	f.t.Helper()
	b := at.browser()
	b.signIn(f.world, jane)
	other := b.at(elsewhere)
	served, refused := make(chan struct{}), make(chan time.Time)
	go func() { refused <- other.askUntilRefused(served) }()
	<-served
	if r := b.post("/logout", nil); r.status != http.StatusSeeOther {
		f.t.Errorf("signing out: %d", r.status)
	}
	out := time.Now()
	took := max(0, (<-refused).Sub(out))
	if got := other.signedInAs("/account"); got != "" {
		f.t.Errorf("once refused, the session is %q's again", got)
	}
	return took
}

// askUntilRefused asks without a pause, and returns when the session was first
// refused. served is closed with the first answer.
func (b *browser) askUntilRefused(served chan<- struct{}) time.Time {
	late := time.After(20 * time.Second)
	first := sync.OnceFunc(func() { close(served) })
	for {
		r := b.do(http.MethodGet, "/account", nil, asScript)
		first()
		if r.status != http.StatusOK {
			if r.status != http.StatusUnauthorized {
				b.t.Errorf("answered with %d, want 401", r.status)
			}
			return time.Now()
		}
		select {
		case <-late:
			b.t.Error("the session is served on and on")
			return time.Now()
		default:
		}
	}
}

// TestRedisKilled: while Redis is away, a gateway serves who it knows or tells
// them to wait, as configured, and never takes a cookie for one that ended.
// Once Redis is back, everything goes on.
func TestRedisKilled(t *testing.T) {
	f := newFleet(t)
	redis := redistest.Start(t, redistest.Options{Config: []string{"appendonly yes", "appendfsync always"}})
	serving := f.add(overRedis(redis, oldSecret, "cache 4s"))
	denying := f.add(overRedis(redis, oldSecret, "on_failure deny"))
	known, unseen, nobody := serving.browser(), denying.browser(), serving.browser()
	known.signIn(f.world, jane)
	unseen.signIn(f.world, "john@example.com")
	nobody.cookies[sessionCookie] = strings.Repeat("x", 43)
	if known.at(serving).signedInAs("/") != janeID || known.at(denying).signedInAs("/") != janeID {
		t.Fatal("the session is not shared")
	}
	redis.Kill()
	for range 20 {
		if got := known.waitOrServe(); got != http.StatusOK {
			t.Errorf("a session confirmed a moment ago: %d", got)
		}
		if unseen.at(serving).waitOrServe() != 503 || nobody.waitOrServe() != 503 {
			t.Error("who can tell whether this session lives?")
		}
	}
	for _, b := range []*browser{known.at(denying), known} {
		eventually(t, b.base+" does not serve from memory, or not for ever", func() bool { return b.waitOrServe() == 503 })
		checkUnavailable(t, b.open("/account"), 503)
		if r := b.post("/logout", nil); r.status != 503 || r.header.Get("Set-Cookie") != "" {
			t.Errorf("a sign-out that nobody can note: %d", r.status)
		}
	}
	redis.Restart()
	for _, n := range f.nodes {
		eventually(t, n.name+" serves again", func() bool {
			return known.at(n).waitOrServe() == 200 && unseen.at(n).waitOrServe() == 200
		})
	}
	if nobody.open("/"); nobody.cookies[sessionCookie] != "" {
		t.Error("the cookie of no session was kept")
	}
	if f.timeSignOut(serving, denying); known.at(denying).signedInAs("/") != janeID {
		t.Error("another session ended")
	}
}

// waitOrServe opens a page during an outage, and returns the status. A session
// is served or put off; its cookie stays.
func (b *browser) waitOrServe() int {
	b.t.Helper()
	r := b.open("/account")
	if r.status != http.StatusOK && r.status != http.StatusServiceUnavailable || r.header.Get("Set-Cookie") != "" {
		b.t.Errorf("%s: %d, cookie touched: %t; want 200 or 503, and the cookie left alone",
			b.base, r.status, r.header.Get("Set-Cookie") != "")
	}
	return r.status
}

// TestFleetRefreshesOnce: a refresh token works once, so two gateways that need
// a new ticket at the same moment must not both ask for it.
func TestFleetRefreshesOnce(t *testing.T) {
	f, redis := newFleet(t), redistest.Start(t, redistest.Options{})
	nodes := []*node{f.add(overRedis(redis, oldSecret)), f.add(overRedis(redis, oldSecret))}
	b := f.lapsed(jane)
	f.set("refresh", kibosim.Fault{Delay: 500 * time.Millisecond}) // until all are there
	got := make(chan string, 2000)
	for i := range cap(got) {
		go func() { got <- b.at(nodes[i%2]).signedInAs("/account") }()
	}
	served := map[string]int{}
	for range cap(got) {
		served[<-got]++
	}
	if served[janeID] != cap(got) || f.sim.Calls("refresh") != 1 {
		t.Errorf("served as %v with %d refresh calls, want %d as %s with one", served, f.sim.Calls("refresh"), cap(got), janeID)
	}
}
