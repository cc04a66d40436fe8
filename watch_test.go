package kiboauth

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// newcomer is a session that nobody had to sign in for, with its cookie.
func (g *gateway) newcomer() (cookie string) {
	g.t.Helper()
	id, s := newSessionID(g.realm), testSession(g.realm, testCustomer())
	s.stamp = g.verifier.Stamp()
	if err := g.sessions.create(g.t.Context(), id, newRecord(s, time.Now(), time.Hour)); err != nil {
		g.t.Fatal(err)
	}
	return g.cookies.session + "=" + id.value
}

// underWay is a request that the upstream does not answer.
type underWay struct {
	httptest.ResponseRecorder
	arrived chan struct{}
	cut     chan struct{} // closed by a deadline in the past
	once    sync.Once
	goOn    chan struct{}
	left    chan any // what the handler panicked with
}

func (u *underWay) SetReadDeadline(time.Time) error { return nil }

func (u *underWay) SetWriteDeadline(at time.Time) error {
	if at.Before(time.Now()) {
		u.once.Do(func() { close(u.cut) })
	}
	return nil
}

func (u *underWay) wasCut() bool {
	select {
	case <-u.cut:
		return true
	default:
		return false
	}
}

// begin sends a request that stays with the upstream until it is cut or told to go on.
func (g *gateway) begin(h *Handler, r *http.Request) *underWay {
	g.t.Helper()
	u := &underWay{arrived: make(chan struct{}), cut: make(chan struct{}), goOn: make(chan struct{}), left: make(chan any, 1)}
	r = caddyhttp.PrepareRequest(r, caddy.NewReplacer(), u, nil)
	go func() {
		defer func() { u.left <- recover() }()
		_ = h.ServeHTTP(u, r, caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error {
			close(u.arrived)
			select {
			case <-u.cut:
			case <-u.goOn:
			}
			return nil
		}))
	}()
	await(g.t, u.arrived)
	return u
}

// looks lets the watch pass over a request and then look at it.
func (g *gateway) looks() {
	for range 3 {
		g.shared.watch.look()
	}
}

func TestRequestsOfEndedSessionsAreCut(t *testing.T) {
	tests := []struct {
		name string
		end  func(g *gateway, cookie string)
		want bool
	}{
		{"it lives", func(*gateway, string) {}, false},
		{"ended in the store", func(g *gateway, cookie string) {
			if err := g.sessions.Delete(g.t.Context(), g.id(cookie).Key()); err != nil {
				g.t.Fatal(err)
			}
		}, true},
		{"absolute limit", func(g *gateway, cookie string) {
			g.edit(cookie, func(l *live) { l.limit, l.Ends = ago(-time.Millisecond), ago(-20*time.Millisecond) })
			waitUntil(t, "the session is ended", func() bool { return g.session(cookie) == nil })
		}, true},
		{"idle limit: a stream is no activity", func(g *gateway, cookie string) {
			g.edit(cookie, func(l *live) { l.Seen, l.Idle = ago(2*time.Hour), 0 })
		}, true},
		{"the store cannot answer", func(g *gateway, _ string) { g.breakStore().load = errors.New("down") }, false},
		{"another session ended", func(g *gateway, _ string) {
			if err := g.sessions.end(g.t.Context(), g.id(g.newcomer()).Key()); err != nil {
				g.t.Fatal(err)
			}
		}, false},
		{"a reload", func(g *gateway, _ string) {
			g.provision()
			if err := g.Cleanup(); err != nil {
				g.t.Fatal(err)
			}
		}, false},
		{"ended after a reload", func(g *gateway, cookie string) {
			next := g.provision()
			if err := g.Cleanup(); err != nil {
				g.t.Fatal(err)
			}
			g.breakStore().load = errors.New("closed") // the old handler's own is of no use any more
			if err := next.sessions.end(g.t.Context(), g.id(cookie).Key()); err != nil {
				g.t.Fatal(err)
			}
		}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := newGateway(t)
			cookie := g.newcomer()
			u := g.begin(g.Handler, request(t, http.MethodGet, "/stream", "Cookie", cookie))
			defer close(u.goOn)
			// The end comes between looks of the watch's own.
			tt.end(g, cookie)
			g.looks()
			if got := u.wasCut(); got != tt.want {
				t.Errorf("cut: %t, want %t", got, tt.want)
			}
			if tt.want {
				if left := await(t, u.left); left != http.ErrAbortHandler {
					t.Errorf("the handler came to %v, want ErrAbortHandler: the connection must not be used again", left)
				}
			}
		})
	}
}

// TestWatchNeedsNoHelp: it looks by itself.
func TestWatchNeedsNoHelp(t *testing.T) {
	g := newGateway(t)
	cookie := g.newcomer()
	u := g.begin(g.Handler, request(t, http.MethodGet, "/stream", "Cookie", cookie))
	if err := g.sessions.end(t.Context(), g.id(cookie).Key()); err != nil {
		t.Fatal(err)
	}
	await(t, u.cut)
	await(t, u.left)
}

// TestNobodyIsLeftUnwatched: what is under way when the last handler goes, is cut.
func TestNobodyIsLeftUnwatched(t *testing.T) {
	g := newGateway(t)
	u := g.begin(g.Handler, request(t, http.MethodGet, "/stream", "Cookie", g.newcomer()))
	if err := g.Cleanup(); err != nil {
		t.Fatal(err)
	}
	await(t, u.cut)
	await(t, u.left)
}

// TestFinishedRequestIsNeverCut: its connection may carry the next customer's
// request by then.
func TestFinishedRequestIsNeverCut(t *testing.T) {
	g := newGateway(t)
	cookie := g.newcomer()
	u := g.begin(g.Handler, request(t, http.MethodGet, "/stream", "Cookie", cookie))
	close(u.goOn)
	if left := await(t, u.left); left != nil {
		t.Fatalf("the handler came to %v", left)
	}
	if err := g.sessions.end(t.Context(), g.id(cookie).Key()); err != nil {
		t.Fatal(err)
	}
	g.looks()
	if u.wasCut() {
		t.Error("a request was cut that is over")
	}
}

// closing is a connection that tells when it is closed.
type closing struct {
	net.Conn
	closed chan struct{}
	once   sync.Once
}

func (c *closing) Close() error { c.once.Do(func() { close(c.closed) }); return nil }

// TestConnectionsAreClosed with HTTP/1, where Caddy's own deadlines would bring
// a stream back to life, and only there: HTTP/2 has others' streams beside it.
func TestConnectionsAreClosed(t *testing.T) {
	for proto, want := range map[string]bool{"HTTP/1.1": true, "HTTP/2.0": false} {
		g := newGateway(t)
		cookie := g.newcomer()
		conn := &closing{closed: make(chan struct{})}
		r := request(t, http.MethodGet, "/stream", "Cookie", cookie)
		r.Proto, r.ProtoMajor = proto, int(proto[5]-'0')
		u := g.begin(g.Handler, r.WithContext(context.WithValue(r.Context(), connKey{}, net.Conn(conn))))
		if err := g.sessions.end(t.Context(), g.id(cookie).Key()); err != nil {
			t.Fatal(err)
		}
		g.looks()
		if want {
			await(t, conn.closed)
			close(u.goOn)
		}
		await(t, u.left)
		select {
		case <-conn.closed:
			if !want {
				t.Errorf("%s: the whole connection was closed", proto)
			}
		default:
		}
	}
}

// TestHTTP3RequestsHaveAnEnd: quic-go has no deadline that ends a request, and
// Caddy moves those of writes.
func TestHTTP3RequestsHaveAnEnd(t *testing.T) {
	g := newGateway(t)
	cookie := g.newcomer()
	r := request(t, http.MethodGet, "/stream", "Cookie", cookie)
	r.Proto, r.ProtoMajor = "HTTP/3.0", 3
	w := &underWay{cut: make(chan struct{})}
	r = caddyhttp.PrepareRequest(r, caddy.NewReplacer(), w, nil)
	defer func() {
		if recover() != http.ErrAbortHandler {
			t.Error("the stream goes on")
		}
	}()
	_ = g.ServeHTTP(w, r, caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		if _, err := w.Write([]byte("x")); err != nil {
			t.Errorf("writing before the end: %v", err)
		}
		if err := g.sessions.end(t.Context(), g.id(cookie).Key()); err != nil {
			t.Error(err)
		}
		g.looks()
		await(t, r.Context().Done())
		if _, err := w.Write([]byte("x")); err == nil {
			t.Error("a write goes through")
		}
		if n, err := w.(io.ReaderFrom).ReadFrom(strings.NewReader("x")); err == nil || n > 0 {
			t.Errorf("a copy goes through: %d bytes, %v", n, err)
		}
		return nil
	}))
}

// TestRequestsComeAndGo while sessions end: nobody stays on the list, and
// nobody else is cut.
func TestRequestsComeAndGo(t *testing.T) {
	g := newGateway(t)
	stays := g.newcomer()
	var done sync.WaitGroup
	for range 8 {
		done.Go(func() {
			for range 100 {
				cookie := g.newcomer()
				ended, alive := g.begin(g.Handler, request(t, http.MethodGet, "/", "Cookie", cookie)), g.begin(g.Handler, request(t, http.MethodGet, "/", "Cookie", stays))
				_ = g.sessions.end(t.Context(), g.id(cookie).Key())
				close(alive.goOn)
				g.looks()
				if left := await(t, alive.left); left != nil || alive.wasCut() {
					t.Error("the request of a live session was cut")
				}
				await(t, ended.left)
			}
		})
	}
	done.Wait()
	for i := range g.shared.watch.shards {
		if g.shared.watch.shards[i].first != nil {
			t.Errorf("shard %d still lists requests", i)
		}
	}
}

// TestBearerRequestsAreNotWatched: they have no session that could end.
func TestBearerRequestsAreNotWatched(t *testing.T) {
	g := newGateway(t)
	p := &passage{h: g.Handler, session: testSession(g.realm, testCustomer())}
	p.ResponseWriter = httptest.NewRecorder()
	r := caddyhttp.PrepareRequest(request(t, http.MethodGet, "/"), caddy.NewReplacer(), p.ResponseWriter, nil)
	if err := p.through(r, caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error {
		if p.next != nil || g.shared.watch.shards[0].first != nil {
			t.Error("the request is on the list")
		}
		return nil
	})); err != nil {
		t.Fatal(err)
	}
}

// away is a store whose sessions are sealed, and kept near for a while unless it
// tells of a change.
type away struct {
	Store
	changed func(*Key)
}

func (a *away) Watch(changed func(*Key)) (stop func()) { a.changed = changed; return func() {} }

func (*away) CacheFor() (fresh, stale time.Duration) { return time.Hour, time.Hour }

// TestRequestsAreCutOnOtherNodes: as soon as the store tells what another
// gateway has ended.
func TestRequestsAreCutOnOtherNodes(t *testing.T) {
	g := newGateway(t)
	memory := g.sessions.Store.(*MemoryStore)
	store := &away{Store: struct{ Store }{memory}}
	g.sessions = newSessions(store, g.keyring, g.realm)
	cookie := g.signIn(jane)
	key := g.id(cookie).Key()
	u := g.begin(g.Handler, request(t, http.MethodGet, "/stream", "Cookie", cookie))
	g.looks()
	if err := memory.Delete(t.Context(), key); err != nil { // past this gateway
		t.Fatal(err)
	}
	if g.looks(); u.wasCut() {
		t.Fatal("cut, although the store has told nothing yet")
	}
	store.changed(&key)
	g.looks()
	await(t, u.cut)
	await(t, u.left)
}
