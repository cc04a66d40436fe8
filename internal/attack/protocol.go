package attack

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strings"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
)

// A protocol is a way to ask besides HTTP/1.1.
type protocol struct {
	name  string
	trip  http.RoundTripper
	close func()
}

// The names of the protocols.
const (
	http2Name = "HTTP/2"
	http3Name = "HTTP/3"
)

// protocols are those that the target speaks besides HTTP/1.1. Where it
// announces HTTP/3, that is tried too.
func (s *suite) protocols(public *answer) []*protocol {
	tries := []*protocol{s.overHTTP2()}
	if s.Base.Scheme == "https" && strings.Contains(public.header.Get("Alt-Svc"), "h3=") {
		tries = append(tries, s.overHTTP3())
	}
	var spoken []*protocol
	for _, p := range tries {
		if a := s.askOver(p, request{"GET", s.Public, []string{page}, ""}); a.status != 0 {
			spoken = append(spoken, p)
		} else {
			p.close()
		}
	}
	return spoken
}

// over returns the protocol of a name, or nil if the target does not speak it.
func (s *suite) over(name string) *protocol {
	for _, p := range s.more {
		if p.name == name {
			return p
		}
	}
	return nil
}

func (s *suite) overHTTP2() *protocol {
	spoken := new(http.Protocols)
	spoken.SetHTTP2(s.Base.Scheme == "https")
	spoken.SetUnencryptedHTTP2(s.Base.Scheme == "http")
	t := &http.Transport{
		Protocols: spoken, TLSClientConfig: s.tls("h2"), ResponseHeaderTimeout: s.Timeout,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", s.addr)
		},
	}
	return &protocol{http2Name, t, t.CloseIdleConnections}
}

func (s *suite) overHTTP3() *protocol {
	t := &http3.Transport{
		TLSClientConfig: s.tls(http3.NextProtoH3),
		Dial: func(ctx context.Context, _ string, secure *tls.Config, c *quic.Config) (*quic.Conn, error) {
			return quic.DialAddr(ctx, s.addr, secure, c)
		},
	}
	return &protocol{http3Name, t, func() { _ = t.Close() }}
}

// askOver sends a request. What the protocol's client refuses to send counts as
// a connection that was closed.
func (s *suite) askOver(p *protocol, r request) *answer {
	none := &answer{header: http.Header{}}
	if s.wait() != nil {
		return none
	}
	ctx, cancel := context.WithTimeout(s.ctx, s.Timeout)
	defer cancel()
	out, err := http.NewRequestWithContext(ctx, r.method, s.Base.String()+r.target, strings.NewReader(r.body))
	if err != nil {
		return none
	}
	for _, line := range r.lines {
		name, value, _ := strings.Cut(line, ":")
		out.Header[name] = append(out.Header[name], strings.TrimSpace(value))
	}
	resp, err := p.trip.RoundTrip(out)
	if err != nil {
		return none
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	return &answer{status: resp.StatusCode, header: resp.Header, body: string(body)}
}
