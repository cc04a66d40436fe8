package kibo

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"time"
)

const (
	dialTimeout = 2 * time.Second
	tlsTimeout  = 3 * time.Second
	// idleTimeout is below the 60 s after which usual load balancers hang up,
	// so that we seldom write to a connection that is being closed.
	idleTimeout = 55 * time.Second
	maxHead     = 64 << 10 // of an answer, in bytes
	maxBody     = 4 << 20  // of an answer, in bytes
	maxErrBody  = 64 << 10 // of an answer that is only read to name the error
)

// newTransport returns a transport of its own for Kibo. It is used without an
// http.Client: so no redirect is ever followed, no cookie is kept, and no
// error is wrapped together with the URL (which may hold a refresh token).
//
// HTTP/1.1 only, with as many idle connections as there may be calls: the cap
// is then exact, and a burst of sign-ins pays no TLS handshakes.
func newTransport(maxConns int) *http.Transport {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}).DialContext,
		Protocols:           protocols,
		TLSHandshakeTimeout: tlsTimeout,
		TLSClientConfig: &tls.Config{
			MinVersion:         tls.VersionTLS12,
			ClientSessionCache: tls.NewLRUClientSessionCache(16),
		},
		MaxConnsPerHost:        maxConns,
		MaxIdleConnsPerHost:    maxConns,
		IdleConnTimeout:        idleTimeout,
		MaxResponseHeaderBytes: maxHead,
		DisableCompression:     true,
	}
}

// A gate bounds the calls in progress. All that are inside hold a place in
// door; those that talk to Kibo at the moment hold one in lane too.
type gate struct {
	door, lane chan struct{}
}

func newGate(conns, queue int) gate {
	return gate{door: make(chan struct{}, conns+queue), lane: make(chan struct{}, conns)}
}

// enter reports whether there is room for one more call. It never waits.
func (g gate) enter() bool {
	select {
	case g.door <- struct{}{}:
		return true
	default:
		return false
	}
}

func (g gate) leave() { <-g.door }

// acquire waits, in turn, for leave to talk to Kibo.
func (g gate) acquire(ctx context.Context) error {
	select {
	case g.lane <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (g gate) release() { <-g.lane }
