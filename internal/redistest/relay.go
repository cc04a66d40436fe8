package redistest

import (
	"net"
	"sync"
	"testing"
	"time"
)

// Relay stands between clients and servers and is as bad a network as it is
// told to be. A new one passes everything on.
type Relay struct {
	t testing.TB

	mu        sync.Mutex
	mode      mode
	delay     time.Duration
	answers   int // until the one to lose; 0: none
	listeners []net.Listener
	links     map[*link]bool
	running   sync.WaitGroup
}

// mode is what happens to bytes.
type mode int

const (
	passes mode = iota
	swallows
	cuts
)

// link is one connection through the relay.
type link struct {
	relay          *Relay
	client, server *net.TCPConn
	lost           bool // bytes of it were swallowed; guarded by relay.mu
}

// StartRelay returns a relay that ends with the test.
func StartRelay(t testing.TB) *Relay {
	r := &Relay{t: t, links: map[*link]bool{}}
	t.Cleanup(r.cleanUp)
	return r
}

// To returns an address at which the relay stands for the server at addr.
func (r *Relay) To(addr string) string {
	r.t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		r.t.Fatal(err)
	}
	r.mu.Lock()
	r.listeners = append(r.listeners, l)
	r.mu.Unlock()
	r.running.Go(func() { r.serve(l, addr) })
	return l.Addr().String()
}

// Pass passes everything on. A connection that lost bytes stays dead: nothing
// that comes after them would make sense.
func (r *Relay) Pass() { r.turn(passes, 0) }

// Delay passes everything on, a while later in either direction.
func (r *Relay) Delay(d time.Duration) { r.turn(passes, d) }

// Swallow is a black hole: connections stay and new ones are accepted, but
// every byte vanishes, as if a firewall had forgotten them.
func (r *Relay) Swallow() { r.turn(swallows, 0) }

// Cut resets all connections, and new ones too until Pass.
func (r *Relay) Cut() {
	r.turn(cuts, 0)
	for _, l := range r.all() {
		reset(l.client)
		reset(l.server)
	}
}

// LoseAnswer passes on what clients send and, from now on, n-1 chunks of what
// servers answer. In place of the nth, the connection is reset: the server did
// what it was asked to do, and the client cannot know.
func (r *Relay) LoseAnswer(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mode, r.delay, r.answers = passes, 0, n
}

// Loses says whether the answer to lose is still to come.
func (r *Relay) Loses() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.answers > 0
}

// Count returns how many connections there are.
func (r *Relay) Count() int { return len(r.all()) }

func (r *Relay) turn(m mode, delay time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mode, r.delay = m, delay
}

func (r *Relay) all() []*link {
	r.mu.Lock()
	defer r.mu.Unlock()
	links := make([]*link, 0, len(r.links))
	for l := range r.links {
		links = append(links, l)
	}
	return links
}

// serve accepts until the listener is closed.
func (r *Relay) serve(l net.Listener, addr string) {
	for {
		client, err := l.Accept()
		if err != nil {
			return
		}
		server, err := net.DialTimeout("tcp", addr, 5*time.Second)
		if err != nil { // as a server that is not there
			reset(client.(*net.TCPConn))
			continue
		}
		r.join(client.(*net.TCPConn), server.(*net.TCPConn))
	}
}

// join makes a link of two connections.
func (r *Relay) join(client, server *net.TCPConn) {
	l := &link{relay: r, client: client, server: server}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.mode == cuts {
		reset(client)
		reset(server)
		return
	}
	r.links[l] = true
	var pumps sync.WaitGroup
	pumps.Go(func() { l.pump(server, client) })
	pumps.Go(func() { l.pump(client, server) })
	r.running.Go(func() {
		pumps.Wait()
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.links, l)
	})
}

// reset closes a connection by RST: what was not sent yet is dropped.
func reset(c *net.TCPConn) {
	_ = c.SetLinger(0)
	c.Close()
}

// pump passes bytes from one side to the other until either is gone. Then
// both go: Redis never half-closes.
func (l *link) pump(to, from *net.TCPConn) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 && from == l.server && l.relay.losesThis() {
			reset(l.client)
			return
		}
		if n > 0 && l.passes() {
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// passes says whether bytes that have come are to go on, when it is time.
func (l *link) passes() bool {
	l.relay.mu.Lock()
	l.lost = l.lost || l.relay.mode == swallows
	lost, delay := l.lost, l.relay.delay
	l.relay.mu.Unlock()
	if delay > 0 {
		<-time.After(delay)
	}
	return !lost
}

// losesThis counts an answer and says whether it is the one to lose.
func (r *Relay) losesThis() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.answers == 0 {
		return false
	}
	r.answers--
	return r.answers == 0
}

// cleanUp closes everything and waits for its goroutines.
func (r *Relay) cleanUp() {
	r.mu.Lock()
	listeners := r.listeners
	r.mu.Unlock()
	for _, l := range listeners {
		l.Close()
	}
	// A link may still come of what was accepted just before.
	r.Cut()
	r.running.Wait()
}
