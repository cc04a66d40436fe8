package caddytest

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
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

// A balancer hands requests to nodes in turn.
type balancer struct {
	mu      sync.Mutex
	through sync.Cond // a request is
	in      []*node
	turn    int
	busy    map[*node]int
}

func newBalancer(nodes []*node) *balancer {
	l := &balancer{in: slices.Clone(nodes), busy: map[*node]int{}}
	l.through.L = &l.mu
	return l
}

// send sends a request, as a page, to the node whose turn it is.
func (l *balancer) send(b *browser, method, target string, form ...string) (*reply, error) {
	l.mu.Lock()
	l.turn++
	n := l.in[l.turn%len(l.in)]
	l.busy[n]++
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.busy[n]--
		l.through.Broadcast()
	}()
	there := *b // with the same cookies
	there.base, there.client = "http://"+n.addr, n.client
	if len(form) == 0 {
		return there.try(method, target, nil, asPage)
	}
	return there.try(method, target, body(form[0], form[1]), asPage, header("Content-Type", "application/x-www-form-urlencoded"))
}

// replace takes a node out of service, ends it once its requests are through,
// and starts it anew, perhaps with other lines.
func (l *balancer) replace(n *node, lines string) {
	l.mu.Lock()
	l.in = slices.DeleteFunc(l.in, func(other *node) bool { return other == n })
	for l.busy[n] > 0 {
		l.through.Wait()
	}
	l.mu.Unlock()
	n.end(syscall.SIGTERM)
	n.lines = lines
	n.start()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.in = append(l.in, n)
}

// customers are browsers that have signed in, and as whom.
type customers struct {
	browsers []*browser
	ids      []string
}

func (f *fleet) customers(count int) *customers {
	f.t.Helper()
	c := new(customers)
	for i := range count {
		email, id := f.newcomer(i)
		b := f.nodes[i%len(f.nodes)].browser()
		b.signIn(f.world, email)
		c.browsers, c.ids = append(c.browsers, b), append(c.ids, id)
	}
	return c
}

// check asks every node for every customer.
func (c *customers) check(t *testing.T, nodes []*node) {
	t.Helper()
	for i, b := range c.browsers {
		for _, n := range nodes {
			if got := b.at(n).signedInAs("/account"); got != c.ids[i] {
				t.Errorf("%s: the session of %s is now %q's", n.name, c.ids[i], got)
			}
		}
	}
}

// traffic is what customers do through a balancer until it is stopped.
type traffic struct {
	served, refused, signIns atomic.Int64

	stop chan struct{}
	all  sync.WaitGroup
}

// through has customers open pages, and new ones sign in, each step at another node.
func (f *fleet) through(l *balancer, c *customers) *traffic {
	n := &traffic{stop: make(chan struct{})}
	for i, b := range c.browsers {
		b := b.clone()
		n.all.Go(n.again(func(int) {
			r, err := l.send(b, http.MethodGet, "/account")
			if err != nil || r.status != http.StatusOK || r.body != "shop for "+c.ids[i] {
				n.refused.Add(1)
				f.t.Errorf("a request of %s is refused: %v, %+v", c.ids[i], err, r)
				return
			}
			n.served.Add(1)
		}))
	}
	n.all.Go(n.again(func(i int) {
		email, id := f.newcomer(1000 + i)
		if got := f.signInThrough(l, email); got != "shop for "+id {
			f.t.Errorf("%s signed in, but is served %q", id, got)
		}
		n.signIns.Add(1)
	}))
	return n
}

// again repeats until the traffic is stopped.
func (n *traffic) again(do func(i int)) func() {
	return func() {
		for i := 0; ; i++ {
			select {
			case <-n.stop:
				return
			default:
				do(i)
			}
		}
	}
}

// signInThrough takes each step wherever the balancer sends it, and returns
// what the shop says then.
func (f *fleet) signInThrough(l *balancer, email string) string {
	b := f.nodes[0].browser()
	r, err := l.send(b, http.MethodPost, "/login", "email", email)
	if err == nil && r.status == http.StatusOK {
		r, err = l.send(b, http.MethodPost, "/login", "otpCode", f.code(email))
	}
	if err == nil && r.status == http.StatusSeeOther {
		r, err = l.send(b, http.MethodGet, "/account")
	}
	if err != nil {
		return err.Error()
	}
	return r.body
}

func (n *traffic) end() {
	close(n.stop)
	n.all.Wait()
}

// TestRollingRestart: gateways that are restarted one after the other, drained
// by their balancer, refuse nobody.
func TestRollingRestart(t *testing.T) {
	f, redis := newFleet(t), redistest.Start(t, redistest.Options{})
	lines := overRedis(redis, oldSecret)
	f.add(lines)
	f.add(lines)
	everybody, l := f.customers(8), newBalancer(f.nodes)
	n := f.through(l, everybody)
	defer n.end()
	for range 2 {
		for _, node := range f.nodes {
			l.replace(node, lines)
			before := n.served.Load()
			eventually(t, "requests go on", func() bool { return n.served.Load() > before+200 })
		}
	}
	everybody.check(t, f.nodes)
	t.Logf("4 restarts: %d requests served, %d refused, %d sign-ins", n.served.Load(), n.refused.Load(), n.signIns.Load())
}

// TestKeyRotation: a secret is replaced in three rounds of restarts. First all
// learn to open what the new one seals, then the new one seals, and when all
// sessions are sealed by it the old one goes. Nobody is signed out.
func TestKeyRotation(t *testing.T) {
	f, redis := newFleet(t), redistest.Start(t, redistest.Options{})
	for range 2 {
		f.add(overRedis(redis, oldSecret))
	}
	everybody, l := f.customers(8), newBalancer(f.nodes)
	before := seals(redis)
	n := f.through(l, everybody)
	defer n.end()
	for _, secrets := range []string{oldSecret + " " + newSecret, newSecret + " " + oldSecret, newSecret} {
		for _, node := range f.nodes {
			l.replace(node, overRedis(redis, secrets))
			everybody.check(t, f.nodes)
		}
		want := []string{before[0]}
		eventually(t, "all sessions are sealed by the first secret", func() bool {
			now := seals(redis)
			return len(now) == 1 && slices.Equal(now, want) == strings.HasPrefix(secrets, oldSecret)
		})
		t.Logf("after a round: %s writes of the sessions so far, %d requests, %d refused", writes(redis), n.served.Load(), n.refused.Load())
	}
}

// seals are digests of the names of the keys that sessions are sealed with.
func seals(s *redistest.Server) []string {
	names := strings.Fields(s.CLI("EVAL", `local found = {}
		for _, key in ipairs(redis.call('KEYS', '*:s')) do
			local sealed = redis.call('HGET', key, 'b')
			if sealed then found[redis.sha1hex(string.sub(sealed, 1, 4))] = true end
		end
		local names = {}
		for name in pairs(found) do names[#names + 1] = name end
		return names`, "0"))
	slices.Sort(names)
	return names
}

// writes counts how often sessions were replaced.
func writes(s *redistest.Server) string {
	return s.CLI("EVAL", `local n = 0
		for _, key in ipairs(redis.call('KEYS', '*:s')) do n = n + (redis.call('HGET', key, 'v') or 1) - 1 end
		return n`, "0")
}
