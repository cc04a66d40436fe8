package kibo

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kiboauth/caddy-kibo-auth/internal/redact"
)

// raw reads a whole request and then writes answer to the bare connection,
// which it closes.
func raw(answer string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			panic(err)
		}
		defer conn.Close()
		io.WriteString(conn, answer)
	}
}

func reset(w http.ResponseWriter, r *http.Request) {
	io.Copy(io.Discard, r.Body)
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		panic(err)
	}
	conn.(*net.TCPConn).SetLinger(0)
	conn.Close()
}

func zipped(s string) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	io.WriteString(z, s)
	z.Close()
	return b.String()
}

func withHeader(name, value, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set(name, value)
		io.WriteString(w, body)
	}
}

func TestBrokenAnswersAreNotRepeated(t *testing.T) {
	const head = "HTTP/1.1 200 OK\r\n"
	faults := map[string]http.HandlerFunc{
		"closed after reading":    raw(""),
		"reset after reading":     reset,
		"cut in the head":         raw(head + "Content-Le"),
		"cut in the body":         raw(head + "Content-Length: 1000\r\n\r\n" + ticketJSON),
		"cut in a chunk":          raw(head + "Transfer-Encoding: chunked\r\n\r\nfff\r\n" + ticketJSON),
		"bad chunk":               raw(head + "Transfer-Encoding: chunked\r\n\r\nzz\r\n" + ticketJSON),
		"another protocol":        raw("220 mail.example.com ESMTP 123456 ann@example.com\r\n"),
		"bad status line":         raw("HTTP/1.1 twohundred 123456\r\n\r\n"),
		"bad header line":         raw(head + "secret text ann@example.com\r\n\r\n"),
		"two lengths":             raw(head + "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd"),
		"switching protocols":     raw("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"),
		"flood of interim heads":  raw(strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", 1e4) + head + "\r\n"),
		"head too large":          withHeader("X-Filler", strings.Repeat("x", 70<<10), ticketJSON),
		"body too large":          withHeader("X-A", "b", `{"pad":"`+strings.Repeat("x", 4<<20)+`",`+ticketJSON[1:]),
		"gzip":                    withHeader("Content-Encoding", "gzip", zipped(ticketJSON)),
		"gzip bomb":               withHeader("Content-Encoding", "gzip", zipped(strings.Repeat(" ", 8<<20))),
		"said to be gzip":         withHeader("Content-Encoding", "gzip", ticketJSON),
		"unknown encoding":        withHeader("Content-Encoding", "br", ticketJSON),
		"gzip without saying so":  withHeader("Content-Type", "application/json", zipped(ticketJSON)),
		"redirect with the body":  say(307, ticketJSON),
		"refusal cut in the body": raw("HTTP/1.1 401 Unauthorized\r\nContent-Length: 1000\r\n\r\n{}"),
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			f := newFake()
			c := overNetwork(t, f)
			for range 2 { // the first time on a fresh connection, then on a used one
				for path, do := range map[string]func(context.Context) (*Ticket, error){
					authPath: c.exchange, secondPath: c.second, loginPath: c.login, refreshPath: c.refresh,
				} {
					f.on(path, say(200, ticketJSON))
					if _, err := do(t.Context()); err != nil {
						t.Fatalf("before the fault: %v", err)
					}
					f.on(path, fault)
					before := f.count(path)
					_, err := do(t.Context())
					mustFail(t, err, ErrUnavailable)
					if n := f.count(path) - before; n != 1 {
						t.Errorf("%s was sent %d times, want once", path, n)
					}
				}
			}
			if n := f.count(oauthPath); n != 1 {
				t.Errorf("got %d app tokens, want 1", n)
			}
		})
	}
}

func TestHarmlessOddities(t *testing.T) {
	oddities := map[string]http.HandlerFunc{
		"text/plain":        withHeader("Content-Type", "text/plain", ticketJSON),
		"identity encoding": withHeader("Content-Encoding", "identity", ticketJSON),
		"byte order mark":   say(200, "\xef\xbb\xbf\r\n"+ticketJSON+"\r\n"),
		"created":           say(201, ticketJSON),
		"early hints":       raw("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + ticketJSON),
		"HTTP/1.0":          raw("HTTP/1.0 200 OK\r\n\r\n" + ticketJSON),
		"2 MB of customer": say(200, strings.Replace(ticketJSON, `{"id":1001`,
			`{"notes":["`+strings.Repeat("x", 2<<20)+`"],"id":1001`, 1)),
	}
	for name, oddity := range oddities {
		t.Run(name, func(t *testing.T) {
			f := newFake()
			f.on(authPath, oddity)
			tick, err := overNetwork(t, f).exchange(t.Context())
			if err != nil || tick.JWT.Reveal() != "a.b.c" || tick.Customer.AccountID != "1001" {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestRedirectsAndCookiesStayOut(t *testing.T) {
	var elsewhere atomic.Int64
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) }))
	defer other.Close()
	f := newFake()
	f.on(authPath, func(w http.ResponseWriter, r *http.Request) {
		http.SetCookie(w, &http.Cookie{Name: "kibo", Value: "1", Path: "/"})
		http.Redirect(w, r, other.URL, http.StatusTemporaryRedirect)
	})
	var cookies []string
	f.on(refreshPath, func(w http.ResponseWriter, r *http.Request) {
		cookies = r.Header["Cookie"]
		io.WriteString(w, ticketJSON)
	})
	c := overNetwork(t, f)
	_, err := c.exchange(t.Context())
	if e := mustFail(t, err, ErrUnavailable); e.Status != 307 {
		t.Errorf("got status %d, want 307", e.Status)
	}
	if _, err := c.refresh(t.Context()); err != nil || cookies != nil {
		t.Errorf("got %v with cookies %v, want none", err, cookies)
	}
	if n := elsewhere.Load(); n != 0 {
		t.Errorf("followed %d redirects", n)
	}
}

func TestTransportTLS(t *testing.T) {
	var protos sync.Map
	f := newFake()
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		protos.Store(r.Proto, r.TLS.DidResume)
		f.ServeHTTP(w, r)
	}))
	srv.EnableHTTP2 = true
	srv.Config.ErrorLog = log.New(io.Discard, "", 0) // it reports the handshake that we break off
	srv.StartTLS()
	defer srv.Close()
	c, err := New(testConfig(srv.URL))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()

	_, err = c.exchange(t.Context())
	if e := mustFail(t, err, ErrUnavailable); !strings.Contains(e.Error(), "certificate not accepted") {
		t.Errorf("unknown authority: got %v", err)
	}

	roots := x509.NewCertPool()
	roots.AddCert(srv.Certificate())
	tr := c.transport.(*http.Transport)
	tr.TLSClientConfig.RootCAs = roots
	for range 2 {
		if _, err := c.exchange(t.Context()); err != nil {
			t.Fatal(err)
		}
		c.Close()
	}
	if resumed, ok := protos.Load("HTTP/1.1"); !ok || resumed != true {
		t.Error("want HTTP/1.1, and the second connection to resume the TLS session")
	}
	if _, ok := protos.Load("HTTP/2.0"); ok {
		t.Error("HTTP/2 was spoken")
	}
	if v := tr.TLSClientConfig; v.MinVersion != tls.VersionTLS12 || v.InsecureSkipVerify {
		t.Error("TLS is not strict")
	}
}

func TestNobodyListens(t *testing.T) {
	srv := httptest.NewServer(nil)
	srv.Close()
	c, err := New(testConfig(srv.URL))
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.exchange(t.Context())
	if e := mustFail(t, err, ErrUnavailable); !strings.Contains(e.Error(), "connection refused") || e.App {
		t.Errorf("got %v", err)
	}
}

// overPipe returns a client whose connections are pipes, each served by serve:
// a real transport within a bubble.
func overPipe(t *testing.T, serve func(net.Conn)) *Client {
	t.Helper()
	c, err := New(testConfig("http://127.0.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	c.transport.(*http.Transport).DialContext = func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		go serve(theirs)
		return ours, nil
	}
	c.app = &appToken{value: redact.New("app1"), renew: time.Now().Add(time.Hour), expires: time.Now().Add(time.Hour)}
	return c
}

func TestSlowAnswersEndInTime(t *testing.T) {
	const head = "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"
	drip := func(conn net.Conn, s string) {
		for i := range s {
			if _, err := io.WriteString(conn, s[i:i+1]); err != nil {
				return
			}
			time.Sleep(time.Second)
		}
	}
	faults := map[string]func(net.Conn){
		"hang":         func(conn net.Conn) { io.Copy(io.Discard, conn) },
		"hang in body": func(conn net.Conn) { io.WriteString(conn, head) },
		"drip of head": func(conn net.Conn) { drip(conn, head) },
		"drip of body": func(conn net.Conn) { io.WriteString(conn, head); drip(conn, ticketJSON) },
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var sent atomic.Int64
				c := overPipe(t, func(conn net.Conn) {
					defer conn.Close()
					r, err := http.ReadRequest(bufio.NewReader(conn))
					if err != nil {
						return
					}
					io.Copy(io.Discard, r.Body)
					sent.Add(1)
					fault(conn)
					io.Copy(io.Discard, conn)
				})
				defer c.Close()
				start := time.Now()
				_, err := c.exchange(t.Context())
				mustFail(t, err, ErrUnavailable)
				if !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("got %v, want the deadline in it", err)
				}
				if took := time.Since(start); took != 10*time.Second || sent.Load() != 1 {
					t.Errorf("took %v and %d requests, want 10s and 1", took, sent.Load())
				}
				time.Sleep(2 * time.Second) // a drip notices that nobody listens
			})
		})
	}
}

func TestCustomerLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.on(authPath, hang)
		c := inBubble(t, f)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := c.exchange(ctx)
		mustFail(t, err, ErrUnavailable)
		if !c.gate.empty() {
			t.Error("an abandoned call still holds its place")
		}
	})
}

func (g gate) empty() bool { return len(g.door) == 0 && len(g.lane) == 0 }

func TestQueueIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var now, most atomic.Int64
		f := newFake()
		f.on(authPath, func(w http.ResponseWriter, r *http.Request) {
			if n := now.Add(1); n > most.Load() {
				most.Store(n)
			}
			time.Sleep(time.Second)
			now.Add(-1)
			io.WriteString(w, ticketJSON)
		})
		c := inBubble(t, f, func(cfg *Config) { cfg.MaxConns, cfg.MaxQueue = 4, 3 })
		if err := c.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		var good, full atomic.Int64
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				switch _, err := c.exchange(t.Context()); {
				case err == nil:
					good.Add(1)
				case errors.Is(err, ErrUnavailable) && time.Since(start) == 0:
					full.Add(1)
				default:
					t.Errorf("after %v: %v", time.Since(start), err)
				}
			})
		}
		wg.Wait()
		if good.Load() != 7 || full.Load() != 3 || most.Load() != 4 {
			t.Errorf("got %d served, %d turned away, %d at once, want 7, 3 and 4", good.Load(), full.Load(), most.Load())
		}
		if took := time.Since(start); took != 2*time.Second || !c.gate.empty() {
			t.Errorf("took %v, want two rounds of 1s, and an empty gate after", took)
		}
	})
}

func TestQueueHasADeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.on(authPath, hang)
		c := inBubble(t, f, func(cfg *Config) { cfg.MaxConns, cfg.MaxQueue = 1, 5 })
		start := time.Now()
		var wg sync.WaitGroup
		for range 6 {
			wg.Go(func() {
				_, err := c.exchange(t.Context())
				mustFailIn(t, err)
			})
		}
		wg.Wait()
		if took := time.Since(start); took != 10*time.Second || !c.gate.empty() {
			t.Errorf("took %v, want 10s for all", took)
		}
	})
}

func mustFailIn(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want a deadline", err)
	}
}

func TestConnectionsAreReused(t *testing.T) {
	var opened atomic.Int64
	f := newFake()
	f.on(requestPath, say(401, "{}"))
	srv := httptest.NewUnstartedServer(f)
	srv.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			opened.Add(1)
		}
	}
	srv.Start()
	defer srv.Close()
	c, err := New(testConfig(srv.URL))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for range 20 {
		if _, err := c.exchange(t.Context()); err != nil {
			t.Fatal(err)
		}
		mustFail(t, requestOnce(c, t.Context()), ErrRejected)
	}
	if n := opened.Load(); n != 1 {
		t.Errorf("opened %d connections, want 1", n)
	}
}
