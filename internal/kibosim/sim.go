// Package kibosim is a stand-in for Kibo Commerce: the calls that a sign-in
// needs (application token, one-time codes, second factor, password, refresh,
// anonymous shopper, the account query), invented customers to sign in with,
// and switches that make it misbehave in every way a real service can.
//
// It is written from Kibo's published schemas and shares no type with the
// client under test, so that a misreading of Kibo does not cancel itself out.
// Where Kibo documents nothing, the behaviour is a [Switches] field.
//
// Nothing here is secret: the client credentials and the signing key are
// constants, and anyone who reaches the simulator can read every code. It
// belongs on a loopback address.
package kibosim

import (
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// What the application under test configures by default.
const (
	ClientID     = "demo.gateway.1.0.0.Release"
	SharedSecret = "demo-shared-secret-known-to-everybody"
	Tenant       = "10001"
	Site         = "20002"
	// JWTSecret signs every HS256 token of the simulator.
	JWTSecret = "kibosim-hs256-secret-known-to-everybody"
)

// Options of a Sim. The zero value is usable.
type Options struct {
	// Now is the clock. Default: time.Now.
	Now func() time.Time
	// OnCode is called with every code that Kibo would mail; it must not
	// call back into the Sim. Default: nothing happens.
	OnCode func(email, code string)
	// NewCode makes a code. Default: six random digits.
	NewCode func() string
	// Log receives one line per call. It never sees a code, token or e-mail
	// address. Default: discarded.
	Log *slog.Logger
	// ClientID and Secret are the application's credentials.
	// Default: the constants ClientID and SharedSecret.
	ClientID, Secret string
}

// Sim is a simulated Kibo tenant with one site. It serves the API under /api,
// GraphQL at /graphql and its own controls under /__sim/. It is safe for
// concurrent use.
type Sim struct {
	o      Options
	offset atomic.Int64 // nanoseconds that the clock was advanced by
	sealer sealer
	keys   keyring
	admin  http.Handler
	routes map[string]endpoint
	calls  map[string]*atomic.Int64 // fixed after New

	appGeneration atomic.Int64 // app tokens of an earlier generation are revoked

	switchMu sync.Mutex // held by writers; readers load the pointer
	switches atomic.Pointer[Switches]

	customers directory

	mu     sync.Mutex // guards what follows
	codes  map[codeKey]*code
	visits map[id]visit
	grants grants
}

// New returns a simulator with the fixture customers of [Fixtures].
func New(o Options) *Sim {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.OnCode == nil {
		o.OnCode = func(string, string) {}
	}
	if o.NewCode == nil {
		o.NewCode = randomCode
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.ClientID == "" {
		o.ClientID = ClientID
	}
	if o.Secret == "" {
		o.Secret = SharedSecret
	}
	s := &Sim{o: o, sealer: newSealer()}
	s.admin = s.adminMux()
	s.routes = s.endpoints()
	s.calls = map[string]*atomic.Int64{}
	for _, name := range counterNames() {
		s.calls[name] = new(atomic.Int64)
	}
	s.Reset()
	return s
}

// Reset puts back what New made: no switches, fixture customers only, no
// codes, no refresh tokens, no clock offset, all counters zero. App tokens and
// RSA keys stay as they are, because clients rightly keep those.
func (s *Sim) Reset() {
	s.Set(func(sw *Switches) { *sw = Switches{} })
	s.offset.Store(0)
	s.customers.replace(Fixtures())
	s.mu.Lock()
	s.codes = map[codeKey]*code{}
	s.visits = map[id]visit{}
	s.grants = grants{}
	s.mu.Unlock()
	s.ResetCalls()
}

// now is the simulator's time: Options.Now plus what was advanced.
func (s *Sim) now() time.Time {
	return s.o.Now().Add(time.Duration(s.offset.Load())).UTC()
}

// Advance moves the simulator's clock forward by d; tokens and codes age, the
// client's clock does not move.
func (s *Sim) Advance(d time.Duration) { s.offset.Add(int64(d)) }

// ServeHTTP implements http.Handler.
func (s *Sim) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if len(r.Header["Cookie"]) > 0 {
		s.calls[withCookie].Add(1)
	}
	path := strings.TrimSuffix(r.URL.Path, "/") // older clients add a slash
	if ep, ok := s.routes[path]; ok {
		s.serve(w, r, ep)
		return
	}
	if strings.HasPrefix(r.URL.Path, "/__sim/") {
		s.admin.ServeHTTP(w, r)
		return
	}
	s.serve(w, r, endpoint{name: other, handle: notFound})
}

func notFound(c *call) reply {
	return c.fail(http.StatusNotFound, "ReverseProxy", "ITEM_NOT_FOUND", "No such resource.", "unknown_path")
}
