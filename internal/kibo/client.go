// Package kibo calls the part of Kibo Commerce's REST API that signs customers
// in: it has a one-time code sent, exchanges the code, or a password, for a
// ticket and refreshes the ticket.
//
// A [Client] looks after what every such call needs: the application's own
// token, a bounded number of connections, one deadline for the whole call, and
// a pause when Kibo asks for one or fails again and again. What went wrong is told by three errors that
// callers branch on, [ErrRejected], [ErrLimited] and [ErrUnavailable], and by
// [*Error], which carries what may be logged. No error, and no way of printing
// the types of this package, shows a code, a token, an e-mail address or a URL.
package kibo

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/textproto"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/kiboauth/caddy-kibo-auth/internal/redact"
)

// Defaults of Config.
const (
	defaultAuthURL  = "home.mozu.com"
	defaultTimeout  = 10 * time.Second
	defaultMaxConns = 256
	defaultMaxQueue = 128
)

// Config of a Client. The zero value of an optional field means its default.
type Config struct {
	// APIURL is the host or URL of the tenant or site, with or without /api
	// and a trailing slash; see [ParseURL]. Required.
	APIURL string
	// AuthURL is the host or URL that hands out application tokens.
	// Default: home.mozu.com.
	AuthURL string
	// Credentials returns the application's client ID and shared secret. It is
	// asked each time a new application token is needed, so that a changed
	// secret is picked up. The text of its error is passed on to logs and must
	// not hold the secret. Required.
	Credentials func() (clientID, secret string, err error)
	// Header is sent with every API call, not with the request for an
	// application token: x-vol-tenant, x-vol-site and the like. Default: none.
	Header http.Header
	// Timeout is the most that one method of the Client may take, waiting for
	// a place, the application token and a repeat included. Default: 10s.
	Timeout time.Duration
	// MaxConns is the number of calls, and of connections per host, that may
	// be in flight. Default: 256.
	MaxConns int
	// MaxQueue is how many more calls may wait for their turn; past it a call
	// fails at once with ErrUnavailable. Default: 128.
	MaxQueue int
	// OnState is told when calls to a host of Kibo's begin to fail at once,
	// after failures (open), and when they are let through again. The host is
	// "api" or "auth". It is called by the call that brought the change, with
	// no lock held, and never twice at a time for one host. It lives as long as
	// the Client. Default: nobody is told.
	OnState func(host string, open bool)
	// OnCall is told of each request to Kibo, by the name that Error.Op has,
	// how long it took to read the answer, and what came of it (see Error).
	// Default: nobody is told.
	OnCall func(op string, took time.Duration, err error)
}

// A Client calls Kibo. It is safe for concurrent use.
type Client struct {
	redact.Hidden

	api, auth   *host
	credentials func() (clientID, secret string, err error)
	header      http.Header
	timeout     time.Duration
	onCall      func(op string, took time.Duration, err error)
	transport   http.RoundTripper
	gate        gate

	flight    singleflight.Group // at most one request for an app token
	mu        sync.Mutex
	app       *appToken // nil: none, or dropped
	lastGrant time.Time // end of the last try, good or bad
	sound     *appToken // found not to be at fault when it was new; see vague
}

// New checks cfg and returns a client for it. It opens no connection.
func New(cfg Config) (*Client, error) {
	if cfg.Credentials == nil {
		return nil, errors.New("no application credentials given")
	}
	if cfg.Timeout < 0 || cfg.MaxConns < 0 || cfg.MaxQueue < 0 {
		return nil, errors.New("timeout and limits of calls to Kibo must not be negative")
	}
	api, err := ParseURL(cfg.APIURL)
	if err != nil {
		return nil, fmt.Errorf("API URL: %w", err)
	}
	auth, err := ParseURL(cmp.Or(cfg.AuthURL, defaultAuthURL))
	if err != nil {
		return nil, fmt.Errorf("auth URL: %w", err)
	}
	if err := CheckHeader(cfg.Header); err != nil {
		return nil, err
	}
	conns := cmp.Or(cfg.MaxConns, defaultMaxConns)
	return &Client{
		api:         newHost("api", api.String(), cfg.OnState),
		auth:        newHost("auth", auth.String(), cfg.OnState),
		credentials: cfg.Credentials,
		header:      cfg.Header.Clone(),
		timeout:     cmp.Or(cfg.Timeout, defaultTimeout),
		onCall:      cfg.OnCall,
		transport:   newTransport(conns),
		gate:        newGate(conns, cmp.Or(cfg.MaxQueue, defaultMaxQueue)),
	}, nil
}

// Close closes the idle connections. Calls that are under way end as they would.
func (c *Client) Close() {
	if t, ok := c.transport.(interface{ CloseIdleConnections() }); ok {
		t.CloseIdleConnections()
	}
}

// ownHeaders are set by the client itself, or would change who is asking
// (the claims), how often a request is sent (net/http repeats a POST that has
// an Idempotency-Key) or how it is framed.
var ownHeaders = map[string]bool{
	"Accept": true, "Accept-Encoding": true, "Authorization": true, "Connection": true,
	"Content-Encoding": true, "Content-Length": true, "Content-Type": true, "Cookie": true,
	"Expect": true, "Host": true, "Idempotency-Key": true, "Proxy-Authorization": true,
	"Te": true, "Trailer": true, "Transfer-Encoding": true, "Upgrade": true,
	"X-Forwarded-For": true, "X-Idempotency-Key": true,
	"X-Vol-App-Claims": true, "X-Vol-User-Claims": true,
}

// CheckHeader refuses at configuration time what net/http would refuse, or
// misread, at every call.
func CheckHeader(h http.Header) error {
	for name, values := range h {
		if name == "" || strings.Trim(name, "-_0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" {
			return fmt.Errorf("header %q for Kibo: not a header name", name)
		}
		if ownHeaders[textproto.CanonicalMIMEHeaderKey(name)] {
			return fmt.Errorf("header %q for Kibo: is set by the gateway itself", name)
		}
		for _, v := range values {
			if strings.ContainsFunc(v, func(r rune) bool { return r < ' ' || r > '~' }) {
				return fmt.Errorf("header %q for Kibo: value holds a control or non-ASCII character", name)
			}
		}
	}
	return nil
}
