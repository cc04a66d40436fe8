package kiboauth

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/kiboauth/caddy-kibo-auth/internal/redact"
)

const (
	// lookEvery is how often the sessions of requests under way are looked at,
	// those apart that came since the last look. An ended session's requests
	// are so cut within two looks at most.
	lookEvery = 500 * time.Millisecond
	// lookTimeout bounds one look. What a store has not said by then is asked
	// at the next one.
	lookTimeout = time.Second
	// lookers is how many sessions are asked for at once.
	lookers = 16
	// lastWords is for how many looks the answer that ended its own session
	// may go on: half a minute.
	lastWords = 60
	// watchShards keeps requests of different sessions from waiting for each other.
	watchShards = 256
)

// watch knows the requests that a session of one realm has let through, as long
// as they are under way: streams, sockets and downloads outlive the moment of
// their admission, and must not outlive their session.
type watch struct {
	redact.Hidden

	shards [watchShards]watchShard
	stop   chan struct{}

	mu       sync.Mutex
	handlers []*Handler // those of today's configuration, the newest last
}

// watchShard lists the requests of some sessions. Their passages are the list,
// so that nothing is allocated for it.
type watchShard struct {
	redact.Hidden

	mu    sync.Mutex
	first *passage
	_     [48]byte // keeps neighbours off each other's cache line
}

func newWatch() *watch {
	w := &watch{stop: make(chan struct{})}
	go w.run()
	return w
}

// run looks until the last handler of the realm is gone. What is still under
// way then would be watched by nobody any more: it is cut.
func (w *watch) run() {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			w.look()
		case <-w.stop:
			for i := range w.shards {
				w.shards[i].each((*passage).cutOff)
			}
			return
		}
	}
}

func (w *watch) shard(p *passage) *watchShard { return &w.shards[p.id.key[0]] }

// enter lists a request.
func (w *watch) enter(p *passage) {
	s := w.shard(p)
	s.mu.Lock()
	p.looks, p.next = 1, s.first
	if p.next != nil {
		p.next.prev = p
	}
	s.first = p
	s.mu.Unlock()
}

// leave takes a request off the list, and tells whether it was cut. From here
// on it cannot be.
func (w *watch) leave(p *passage) (cut bool) {
	s := w.shard(p)
	s.mu.Lock()
	if p.prev != nil {
		p.prev.next = p.next
	} else {
		s.first = p.next
	}
	if p.next != nil {
		p.next.prev = p.prev
	}
	cut = p.cut
	s.mu.Unlock()
	return cut
}

// spare lets the answer that ends a session come to its end.
func (w *watch) spare(p *passage) {
	s := w.shard(p)
	s.mu.Lock()
	p.looks = lastWords
	s.mu.Unlock()
}

// join and part tell whose word counts for requests whose own handler is gone.
func (w *watch) join(h *Handler) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.handlers = append(w.handlers, h)
}

func (w *watch) part(h *Handler) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.handlers = slices.DeleteFunc(w.handlers, func(other *Handler) bool { return other == h })
}

// heir is the handler whose store and limits count for a request: the one that
// let it through; after a reload the newest one, of the same store if possible.
func (w *watch) heir(h *Handler) *Handler {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.handlers) == 0 || slices.Contains(w.handlers, h) {
		return h
	}
	for _, other := range slices.Backward(w.handlers) {
		if other.storeName == h.storeName {
			return other
		}
	}
	return w.handlers[len(w.handlers)-1]
}

// seat is a session as one handler sees it.
type seat struct {
	redact.Hidden

	id SessionID
	h  *Handler
}

// look asks for the sessions of what has been under way since the last look at
// least, and cuts what has none any more.
func (w *watch) look() {
	seats := w.seats()
	if len(seats) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), lookTimeout)
	defer cancel()
	var asking errgroup.Group
	asking.SetLimit(lookers)
	for at := range seats {
		asking.Go(func() error {
			if w.isOver(ctx, at) {
				w.end(at)
			}
			return nil
		})
	}
	_ = asking.Wait()
}

func (w *watch) seats() map[seat]struct{} {
	var seats map[seat]struct{}
	for i := range w.shards {
		w.shards[i].each(func(p *passage) {
			if p.looks > 0 {
				p.looks--
				return
			}
			if seats == nil {
				seats = map[seat]struct{}{}
			}
			seats[seat{id: p.id, h: p.h}] = struct{}{}
		})
	}
	return seats
}

// each visits the requests of a shard under its lock: none of them is over.
func (s *watchShard) each(visit func(*passage)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for p := s.first; p != nil; p = p.next {
		visit(p)
	}
}

// isOver asks whether a session has ended. A store that cannot tell says no:
// it is asked again. Being under way is no activity; the idle limit counts on.
func (w *watch) isOver(ctx context.Context, at seat) bool {
	h := w.heir(at.h)
	over, err := detached(h, func(context.Context) (bool, error) {
		r, err := h.sessions.load(ctx, at.id)
		return err == nil && h.ended(r, time.Now().UnixMilli()), err
	})()
	return errors.Is(err, ErrNoSession) || err == nil && over.(bool)
}

// end cuts the requests of a session that one handler let through.
func (w *watch) end(at seat) {
	n := 0
	w.shards[at.id.key[0]].each(func(p *passage) {
		if p.id.key != at.id.key || p.h != at.h || p.looks > 0 {
			return
		}
		if !p.cut {
			n++
		}
		p.cutOff()
	})
	if n > 0 {
		at.h.log.Info("requests of an ended session were cut", zap.Int("requests", n))
	}
}

// cutOff ends a request: with HTTP/1 the connection, whoever has taken it over,
// else the stream. That is done at every look until the request is gone. The
// caller holds the shard's lock, since a server's answer may not be touched
// once its handler is through.
func (p *passage) cutOff() {
	again := p.cut
	p.cut = true
	if p.cancel != nil {
		p.cancel()
	}
	if conn, ok := p.ctx.Value(connKey{}).(net.Conn); ok && p.major == 1 {
		if !again {
			go conn.Close() // TLS says goodbye first, which can take seconds
		}
		return
	}
	past := time.Unix(1, 0) // HTTP/2 then resets the stream; with HTTP/3 a write that waits fails
	answer := http.NewResponseController(innermost(p.ResponseWriter))
	_ = answer.SetReadDeadline(past)
	_ = answer.SetWriteDeadline(past)
}

// innermost is the server's own answer. Caddy's wrappers around it may not be
// used by two at once.
func innermost(w http.ResponseWriter) http.ResponseWriter {
	for {
		wrapper, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return w
		}
		w = wrapper.Unwrap()
	}
}

// connKey is under what a request's context has its connection.
type connKey struct{}

// keepConns has the server note each connection, as Caddy advises those who need
// to close one. Outside of a server nothing is noted.
func keepConns(ctx caddy.Context) {
	server, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if !ok {
		return
	}
	server.RegisterConnContext(func(ctx context.Context, conn net.Conn) context.Context {
		if ctx.Value(connKey{}) != nil { // another handler of the server has done so
			return ctx
		}
		return context.WithValue(ctx, connKey{}, conn)
	})
}

// over is an error once a request with a context of its own was ended. Where the
// server ends connection or stream, a write fails by itself.
func (p *passage) over() error {
	if p.cancel == nil {
		return nil
	}
	return p.ctx.Err()
}

// untilOver reads until the request was ended.
type untilOver struct {
	redact.Hidden

	io.Reader
	p *passage
}

func (u *untilOver) Read(b []byte) (int, error) {
	if err := u.p.over(); err != nil {
		return 0, err
	}
	return u.Reader.Read(b)
}

// through lets a request pass to the upstream, watched as long as it takes.
func (p *passage) through(r *http.Request, next caddyhttp.Handler) error {
	p.ctx, p.major = r.Context(), uint8(r.ProtoMajor)
	p.dropControl()       // what others said before is not the upstream's word
	if p.id.value == "" { // no session that could end
		defer p.drop() // trailers are known only then
		return next.ServeHTTP(p, r)
	}
	if p.major > 2 { // there is no other way to end a request that waits for the upstream
		p.ctx, p.cancel = context.WithCancel(p.ctx)
		r = r.WithContext(p.ctx)
	}
	served := false
	defer func() { p.leave(served) }()
	p.h.shared.watch.enter(p)
	err := next.ServeHTTP(p, r)
	served = true
	return err
}

// leave ends the watch over a request. Of one that was cut nothing more may be
// sent, neither on its connection; where it panicked, that is seen to.
func (p *passage) leave(served bool) {
	p.drop() // trailers are known only now
	cut := p.h.shared.watch.leave(p)
	if p.cancel != nil {
		p.cancel()
	}
	if cut && served {
		panic(http.ErrAbortHandler)
	}
}
