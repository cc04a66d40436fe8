package caddytest

import (
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

// through has customers open pages, and new ones sign in and out, each step at
// another node.
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
// what the shop says in between.
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
	if out, err := l.send(b, http.MethodPost, "/logout", "", ""); err != nil || out.status != http.StatusSeeOther {
		f.t.Errorf("signing out: %v, %+v", err, out)
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
			eventually(t, "requests go on", func() bool { return n.served.Load() > before+1000 })
		}
	}
	everybody.check(t, f.nodes)
	t.Logf("4 restarts: %d requests served, %d refused, %d sign-ins", n.served.Load(), n.refused.Load(), n.signIns.Load())
}

// TestRestartDuringARefresh: a gateway that is drained and ended while it
// refreshes a ticket beside its requests keeps the new ticket: the old refresh
// token is dead by then.
func TestRestartDuringARefresh(t *testing.T) {
	f, redis := newFleet(t), redistest.Start(t, redistest.Options{})
	a, b := f.add(overRedis(redis, oldSecret)), f.add(overRedis(redis, oldSecret))
	f.sim.Set(func(sw *kibosim.Switches) { sw.AccessTTL = 10 * time.Second })
	who := a.browser()
	who.signIn(f.world, jane)
	f.sim.Set(func(sw *kibosim.Switches) { sw.AccessTTL = 0 })
	f.set("refresh", kibosim.Fault{Kind: "drip", Delay: 500 * time.Microsecond}) // it is done, and the answer takes its time
	eventually(t, "the ticket is being refreshed", func() bool {
		return who.signedInAs("/") == janeID && f.sim.Calls("refresh") == 1
	})
	a.end(syscall.SIGTERM)
	if got := who.at(b).signedInAs("/"); got != janeID || writes(redis) != "1" || f.sim.Calls("refresh") != 1 {
		t.Errorf("served as %q, %s new tickets kept of %d", got, writes(redis), f.sim.Calls("refresh"))
	}
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
