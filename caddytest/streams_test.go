package caddytest

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

// streamKinds are what a shop can take its time with.
var streamKinds = []string{"/silent", "/chatty", "/poll", "/download"}

// A streamer is a shop whose answers end only when somebody ends them.
type streamer struct {
	mu   sync.Mutex
	open map[string]bool // by URI
}

func (s *streamer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	serve := map[string]func(http.ResponseWriter, *http.Request){
		"/silent": s.silent, "/chatty": s.chatty, "/poll": s.poll, "/download": s.download, "/socket": s.socket,
	}[r.URL.Path]
	if serve == nil {
		return
	}
	s.note(r.RequestURI, true)
	defer s.note(r.RequestURI, false)
	serve(w, r)
}

func (s *streamer) note(uri string, open bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open[uri] = open
}

func (s *streamer) isOpen(uri string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open[uri]
}

func (*streamer) silent(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	_, _ = io.WriteString(w, ": hello\n\n")
	_ = http.NewResponseController(w).Flush()
	<-r.Context().Done()
}

func (*streamer) chatty(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for r.Context().Err() == nil {
		if _, err := io.WriteString(w, "data: price\n\n"); err != nil {
			return
		}
		_ = http.NewResponseController(w).Flush()
		<-tick.C
	}
}

func (*streamer) poll(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

func (*streamer) download(w http.ResponseWriter, r *http.Request) {
	for chunk := make([]byte, 64<<10); r.Context().Err() == nil; {
		if _, err := w.Write(chunk); err != nil {
			return
		}
	}
}

func (*streamer) socket(w http.ResponseWriter, _ *http.Request) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello")
	_, _ = io.Copy(io.Discard, conn)
}

// A stream is a browser's end of one.
type stream struct {
	shop *streamer
	uri  string
	mute bool // the browser does not read on
	done chan struct{}
	rest func() error // reads on, to the end
}

// isOpen: neither side has seen an end.
func (s *stream) isOpen() bool {
	select {
	case <-s.done:
		return false
	default:
		return s.shop.isOpen(s.uri)
	}
}

// isOver: both sides have.
func (s *stream) isOver() bool {
	if s.shop.isOpen(s.uri) {
		return false
	}
	if s.mute {
		return true
	}
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

// streams are all kinds of streams, of one session.
func (b *browser) streams(s *streamer) []*stream {
	b.t.Helper()
	var all []*stream
	for _, path := range streamKinds {
		all = append(all, b.stream(s, path+"?"+url.QueryEscape(fmt.Sprintf("%p %s", b, b.base))))
	}
	return all
}

// stream opens one and reads it, a download only at its beginning.
func (b *browser) stream(shop *streamer, uri string) *stream {
	b.t.Helper()
	s := &stream{shop: shop, uri: uri, mute: strings.HasPrefix(uri, "/download"), done: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	b.t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, b.base+uri, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	r.Header.Set("Cookie", sessionCookie+"="+b.cookies[sessionCookie])
	client := *b.client
	client.Timeout = 0
	body := make(chan io.ReadCloser, 1)
	go func() {
		defer close(body)
		resp, err := client.Do(r)
		if err != nil {
			close(s.done)
			return
		}
		body <- resp.Body
		if s.mute {
			return
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		close(s.done)
	}()
	s.rest = func() error {
		kept, ok := <-body
		if !ok {
			return io.ErrUnexpectedEOF
		}
		defer kept.Close()
		_, err := io.Copy(io.Discard, kept)
		return err
	}
	eventually(b.t, uri+" is open", s.isOpen)
	return s
}

// webSocket opens a socket by hand, over TLS if config is given.
func (b *browser) webSocket(shop *streamer, config *tls.Config) *stream {
	b.t.Helper()
	u, err := url.Parse(b.base)
	if err != nil {
		b.t.Fatal(err)
	}
	conn, err := net.Dial("tcp", u.Host)
	if err == nil && config != nil {
		conn = tls.Client(conn, config)
	}
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { conn.Close() })
	s := &stream{shop: shop, uri: fmt.Sprintf("/socket?%p", conn), done: make(chan struct{})}
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nOrigin: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nCookie: %s=%s\r\n\r\n",
		s.uri, u.Host, b.base, sessionCookie, b.cookies[sessionCookie])
	reader := bufio.NewReader(conn)
	resp, err := http.ReadResponse(reader, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		b.t.Fatalf("opening a socket: %v, %+v", err, resp)
	}
	go func() {
		defer resp.Body.Close()
		_, _ = io.Copy(io.Discard, reader)
		close(s.done)
	}()
	return s
}

// checkStay sees that streams stay open for a while.
func checkStay(t *testing.T, why string, all []*stream) {
	t.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for range 32 {
		for _, s := range all {
			if !s.isOpen() {
				t.Fatalf("%s was cut: %s", s.uri, why)
			}
		}
		<-tick.C
	}
}

// checkCut sees that streams come to their end, at both ends.
func checkCut(t *testing.T, why string, all []*stream) {
	t.Helper()
	from := time.Now()
	for _, s := range all {
		eventually(t, s.uri+" is cut "+why, s.isOver)
		t.Logf("%s was over at most %s %s", s.uri, time.Since(from).Round(time.Millisecond), why)
		if s.mute && s.rest() == nil {
			t.Errorf("%s: the browser takes the download for whole", s.uri)
		}
	}
}

// keepSockets has Caddy leave sockets alone at a reload. It closes them with a
// data race (2.11.9).
const keepSockets = "reverse_proxy SHOP {\nstream_close_delay 10m\n}"

func startStreams(t *testing.T, s setup) (*world, *streamer) {
	t.Helper()
	s.last = keepSockets
	w := start(t, s)
	shop := &streamer{open: map[string]bool{}}
	w.shop.answers(shop.ServeHTTP)
	return w, shop
}

// TestStreamsEndWithTheSession: not before, not at a reload, and nobody else's.
func TestStreamsEndWithTheSession(t *testing.T) {
	w, shop := startStreams(t, setup{})
	for name, browse := range map[string]func() *browser{"HTTP/1.1": w.browser, "h2c": w.http2} {
		t.Run(name, func(t *testing.T) {
			b, other := browse(), browse()
			b.t, other.t = t, t
			b.signIn(w, jane)
			other.signIn(w, "john@example.com")
			hers, his := b.streams(shop), other.streams(shop)
			if name == "HTTP/1.1" {
				hers, his = append(hers, b.webSocket(shop, nil)), append(his, other.webSocket(shop, nil))
			}
			checkStay(t, "the sessions live", append(hers, his...))
			w.reload()
			w.settle()
			checkStay(t, "a reload", append(hers, his...))
			if r := b.clone().post("/logout", nil); r.status != http.StatusSeeOther {
				t.Fatalf("signing out: %d", r.status)
			}
			checkCut(t, "after signing out", hers)
			checkStay(t, "somebody else signed out", his)
			other.clone().post("/logout", nil)
			checkCut(t, "after signing out", his)
		})
	}
}

// TestStreamsEndAtTheAbsoluteLimit: nobody has to do anything for it.
func TestStreamsEndAtTheAbsoluteLimit(t *testing.T) {
	w, shop := startStreams(t, setup{gateway: "session {\nlifetime 4s\n}"})
	b := w.browser()
	b.signIn(w, jane)
	checkCut(t, "at the end of its life", append(b.streams(shop), b.webSocket(shop, nil)))
}

// TestStreamsEndOnOtherDevices when a customer signs out there.
func TestStreamsEndOnOtherDevices(t *testing.T) {
	w, shop := startStreams(t, setup{})
	here, there := w.browser(), w.http2()
	here.signIn(w, jane)
	there.signIn(w, jane)
	mine, theirs := here.streams(shop), there.streams(shop)
	if r := here.clone().post("/logout?scope=others", nil); r.status != http.StatusSeeOther {
		t.Fatalf("signing out elsewhere: %d", r.status)
	}
	checkCut(t, "after signing out elsewhere", theirs)
	checkStay(t, "it is the session that is left", mine)
	here.clone().post("/logout?scope=everywhere", nil)
	checkCut(t, "after signing out everywhere", mine)
}

// TestPipelinedByteKeepsNoStream: with a byte of a next request waiting, the
// server no longer notices what becomes of the connection.
func TestPipelinedByteKeepsNoStream(t *testing.T) {
	w, shop := startStreams(t, setup{})
	b := w.browser()
	b.signIn(w, jane)
	for _, path := range []string{"/silent", "/chatty"} {
		conn, err := net.Dial("tcp", w.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "GET %s?pipelined HTTP/1.1\r\nHost: %s\r\nCookie: %s=%s\r\n\r\n", path, w.addr, sessionCookie, b.cookies[sessionCookie])
		s := &stream{shop: shop, uri: path + "?pipelined", done: make(chan struct{})}
		eventually(t, path+" is open", s.isOpen)
		_, _ = io.WriteString(conn, "G")
		go func() {
			_, _ = io.Copy(io.Discard, conn)
			close(s.done)
		}()
		b.clone().post("/logout", nil)
		eventually(t, path+" is cut", func() bool {
			select {
			case <-s.done:
				return true
			default:
				return false
			}
		})
		b.signIn(w, jane)
	}
}
