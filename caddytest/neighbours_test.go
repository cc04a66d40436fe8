package caddytest

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// A host is Kibo's server, which can be switched off and on again.
type host struct {
	t       testing.TB
	handler http.Handler
	addr    string
	server  *http.Server
}

func newHost(t testing.TB, handler http.Handler) *host {
	h := &host{t: t, handler: handler, addr: "127.0.0.1:0"}
	h.on()
	t.Cleanup(h.off)
	return h
}

func (h *host) url() string { return "http://" + h.addr }

func (h *host) on() {
	h.t.Helper()
	ln, err := net.Listen("tcp", h.addr)
	if err != nil {
		h.t.Fatalf("Kibo cannot listen: %v", err)
	}
	h.addr = ln.Addr().String()
	h.server = &http.Server{Handler: h.handler, ReadHeaderTimeout: time.Minute, ErrorLog: discard}
	go h.server.Serve(ln) //nolint:errcheck // ends with off
}

func (h *host) off() { _ = h.server.Close() }

// mail is where Kibo's codes arrive.
type mail struct {
	mu    sync.Mutex
	boxes map[string]chan string
}

func newMail() *mail { return &mail{boxes: map[string]chan string{}} }

func (m *mail) box(email string) chan string {
	m.mu.Lock()
	defer m.mu.Unlock()
	email = strings.ToLower(email)
	if m.boxes[email] == nil {
		m.boxes[email] = make(chan string, 64)
	}
	return m.boxes[email]
}

func (m *mail) deliver(email, code string) {
	note("code", code)
	m.box(email) <- code
}

// code waits for the next code that is mailed to a customer.
func (w *world) code(email string) string {
	w.t.Helper()
	select {
	case code := <-w.mail.box(email):
		return code
	case <-time.After(20 * time.Second):
		w.t.Errorf("no code arrived for %s", email)
		return "000000"
	}
}

// A shop is the legacy storefront. It remembers the last request, and answers
// with the identity that it was told unless a test wants something else.
type shop struct {
	*httptest.Server

	mu     sync.Mutex
	last   *seen
	tries  map[string][]*seen // by the header X-Try, where there is one
	count  int
	answer http.HandlerFunc

	forwards bool // whether it gets Kibo's tokens
}

// seen is a request as the shop got it.
type seen struct {
	method, uri string
	header      http.Header
	body        []byte
	trailer     http.Header
}

func newShop(t testing.TB) *shop {
	s := &shop{tries: map[string][]*seen{}}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *shop) addr() string { return s.Listener.Addr().String() }

// ServeHTTP implements http.Handler.
func (s *shop) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body := readAll(r.Body) // trailers are known only then
	s.sight(r)
	s.mu.Lock()
	s.last = &seen{r.Method, r.RequestURI, r.Header.Clone(), body, r.Trailer}
	s.count++
	if id := r.Header.Get("X-Try"); id != "" {
		s.tries[id] = append(s.tries[id], s.last)
	}
	answer := s.answer
	s.mu.Unlock()
	if answer != nil {
		answer(w, r)
		return
	}
	fmt.Fprintf(w, "shop for %s", strings.Join(r.Header.Values(accountHeader), ","))
}

// answers makes the shop answer in another way.
func (s *shop) answers(f http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = f
}

// got returns the last request, and forgets it. Nil: there was none.
func (s *shop) got() *seen {
	s.mu.Lock()
	defer s.mu.Unlock()
	last := s.last
	s.last = nil
	return last
}

// requests is how many requests the shop has got.
func (s *shop) requests() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count
}

// try takes out what the shop has got with an X-Try.
func (s *shop) try(id string) []*seen {
	s.mu.Lock()
	defer s.mu.Unlock()
	got := s.tries[id]
	delete(s.tries, id)
	return got
}
