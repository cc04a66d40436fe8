package attack

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

// maxBody is how much of an answer is read.
const maxBody = 1 << 20

// A request is sent as it is: no part of it is checked or made proper.
type request struct {
	method, target string
	lines          []string // header lines besides Host
	body           string
}

// page is how a browser without Fetch metadata asks for a page.
const page = "Accept: text/html"

// form is what a form's body is.
const form = "Content-Type: application/x-www-form-urlencoded"

// ownSite and otherSite are what browsers say of where a request comes from.
const (
	ownSite   = "Sec-Fetch-Site: same-origin"
	otherSite = "Sec-Fetch-Site: cross-site"
)

// An answer is what came back, read to its end.
type answer struct {
	status int // 0: the connection was closed without one, or nothing came
	late   bool
	header http.Header
	body   string
}

func (a *answer) String() string {
	switch {
	case a.late:
		return "no answer in time"
	case a.status == 0:
		return "connection closed"
	case a.header.Get("Location") != "":
		return fmt.Sprintf("%d to %s", a.status, short(a.place()))
	}
	return fmt.Sprint(a.status)
}

// place is the Location without its query, which differs with each request.
func (a *answer) place() string {
	path, _, _ := strings.Cut(a.header.Get("Location"), "?")
	return path
}

// get asks for a page over HTTP/1.1.
func (s *suite) get(target string, lines ...string) *answer {
	return s.ask(request{"GET", target, append([]string{page}, lines...), ""})
}

// post sends a form over HTTP/1.1.
func (s *suite) post(target, body string, lines ...string) *answer {
	return s.ask(request{"POST", target, append([]string{page, form}, lines...), body})
}

// ask sends a request over a connection of its own and reads one answer.
func (s *suite) ask(r request) *answer {
	all := s.raw(r.text(s.Base.Host), r.method, 1)
	if len(all) == 0 {
		return &answer{header: http.Header{}}
	}
	return all[0]
}

// text is the request as it goes over the wire.
func (r request) text(host string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n", r.method, r.target, host)
	for _, l := range r.lines {
		b.WriteString(l + "\r\n")
	}
	if r.body != "" {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(r.body))
	}
	return b.String() + "\r\n" + r.body
}

// raw sends bytes over a connection of their own and reads as many answers as
// come, at most so many. method is that of the first request.
func (s *suite) raw(text, method string, most int) []*answer {
	conn, err := s.dial()
	if err != nil {
		return nil
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(s.Timeout))
	go func() { _, _ = io.WriteString(conn, text) }() // who refuses a long head may not read it all
	r := bufio.NewReader(conn)
	var all []*answer
	for len(all) < most {
		a, err := readAnswer(r, method)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			a = &answer{late: true, header: http.Header{}}
		} else if err != nil {
			break
		}
		all = append(all, a)
		method = http.MethodGet
		if a.late {
			break
		}
	}
	return all
}

func readAnswer(r *bufio.Reader, method string) (*answer, error) {
	resp, err := http.ReadResponse(r, &http.Request{Method: method})
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusSwitchingProtocols {
		return &answer{status: resp.StatusCode, header: resp.Header}, nil
	}
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxBody)) // what a cut answer still brought will do
	return &answer{status: resp.StatusCode, header: resp.Header, body: string(body)}, nil
}

// dial waits for its turn and connects, with TLS if the target has it.
func (s *suite) dial() (net.Conn, error) {
	if err := s.wait(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(s.ctx, s.Timeout)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", s.addr)
	if err != nil || s.Base.Scheme != "https" {
		return conn, err
	}
	secure := tls.Client(conn, s.tls("http/1.1"))
	if err := secure.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, err
	}
	return secure, nil
}

func (s *suite) tls(protocols ...string) *tls.Config {
	return &tls.Config{ServerName: s.Base.Hostname(), NextProtos: protocols, InsecureSkipVerify: s.InsecureTLS}
}

// wait keeps to the rate.
func (s *suite) wait() error {
	select {
	case <-s.tick.C:
		return nil
	case <-s.ctx.Done():
		return s.ctx.Err()
	}
}
