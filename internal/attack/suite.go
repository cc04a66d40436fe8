package attack

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Bounds of the rate, in requests a second.
const (
	DefaultRate = 200
	RemoteRate  = 5 // the most for other machines
)

// DefaultTimeout is how long one answer is waited for.
const DefaultTimeout = 10 * time.Second

// A suite is a run against one target.
type suite struct {
	Target
	ctx  context.Context
	ips  []netip.Addr
	port string
	addr string // where all connections go, looked up once
	tick *time.Ticker
	more []*protocol // what is spoken besides HTTP/1.1
	some bool        // the echo shows some headers only

	alive func() bool // asks whether the target still answers
}

func newSuite(ctx context.Context, t Target) (*suite, error) {
	s := &suite{Target: t, ctx: ctx}
	s.Timeout = cmp.Or(s.Timeout, DefaultTimeout)
	s.Rate = cmp.Or(s.Rate, DefaultRate)
	local, err := s.lookUp()
	if err != nil {
		return nil, err
	}
	if err := s.permit(local); err != nil {
		return nil, err
	}
	if err := s.find(); err != nil {
		return nil, err
	}
	s.tick = time.NewTicker(max(time.Duration(float64(time.Second)/s.Rate), time.Microsecond))
	return s, nil
}

// permit refuses other machines than this one, unless their operator named the
// host a second time, and is slow with those.
func (s *suite) permit(local bool) error {
	switch {
	case local:
		return nil
	case s.Owned == "" || !strings.EqualFold(s.Owned, s.Base.Hostname()):
		return fmt.Errorf("%w: %s is not this machine. Attack nobody but yourself, and name the host twice: -remote -i-own %[2]s",
			ErrTarget, s.Base.Hostname())
	case s.InsecureTLS:
		return fmt.Errorf("%w: certificates are always checked on other machines", ErrTarget)
	}
	s.Rate = min(s.Rate, RemoteRate)
	return nil
}

// lookUp finds the address of the target once, so that a name cannot lead
// elsewhere later, and tells whether it is on this machine.
func (s *suite) lookUp() (local bool, err error) {
	port := s.Base.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[s.Base.Scheme]
	}
	if port == "" || s.Base.Hostname() == "" {
		return false, fmt.Errorf("%w: want an address such as http://127.0.0.1:8080", ErrTarget)
	}
	ctx, cancel := context.WithTimeout(s.ctx, s.Timeout)
	defer cancel()
	all, err := net.DefaultResolver.LookupNetIP(ctx, "ip", s.Base.Hostname())
	if err != nil {
		return false, fmt.Errorf("%w: looking up the host: %w", ErrTarget, err)
	}
	local = true
	for _, ip := range all {
		local = local && ip.Unmap().IsLoopback()
	}
	s.port, s.ips = port, all
	return local, nil
}

// find takes the first of the addresses that answers.
func (s *suite) find() error {
	var err error
	for _, ip := range s.ips {
		s.addr = net.JoinHostPort(ip.Unmap().String(), s.port)
		var conn net.Conn
		if conn, err = (&net.Dialer{Timeout: s.Timeout}).DialContext(s.ctx, "tcp", s.addr); err == nil {
			return conn.Close()
		}
	}
	return fmt.Errorf("%w: nobody answers: %w", ErrTarget, err)
}

func (s *suite) close() {
	s.tick.Stop()
	for _, p := range s.more {
		p.close()
	}
}

// meet makes sure that the target is what it was said to be, and finds out
// which protocols it speaks.
func (s *suite) meet() error {
	public := s.get(s.Public)
	switch {
	case public.status == 0:
		return fmt.Errorf("%w: no answer to GET %s: %s", ErrTarget, s.Public, public)
	case s.toLogin(public), public.status == http.StatusUnauthorized:
		return fmt.Errorf("%w: -public %s needs a session; name a path that does not, such as the sign-in page", ErrTarget, s.Public)
	case public.status >= 500:
		return fmt.Errorf("%w: GET %s is answered by %s", ErrTarget, s.Public, public)
	}
	if a := s.get(s.Protected); !s.toLogin(a) && a.status != http.StatusUnauthorized {
		return fmt.Errorf("%w: -protected %s is open: without a session it is answered by %s", ErrTarget, s.Protected, a)
	}
	if s.Session != "" {
		if a := s.get(s.Protected, s.ticket()); s.held(a) {
			return fmt.Errorf("%w: the session does not open %s: %s; is it alive, and is %q the cookie's name?", ErrTarget, s.Protected, a, s.Cookie)
		}
	}
	if s.takesForRequest(s.post(s.Login, s.credentials(madeUp), ownSite)) {
		return fmt.Errorf("%w: the form takes an address with a code for a request for a code; is %q the field of the code?", ErrTarget, s.Code)
	}
	if s.Echo != "" {
		a := s.get(s.Echo, "Cookie: control="+mark)
		b := s.get(s.Echo, "X-Control: "+mark)
		if s.some = !strings.Contains(b.body, mark); s.some && !strings.Contains(a.body, mark) {
			return fmt.Errorf("%w: -echo %s shows neither Cookie nor X-Control of a request without a session: %s", ErrTarget, s.Echo, a)
		}
	}
	s.more = s.protocols(public)
	s.alive = func() bool { return s.get(s.Public).status != 0 }
	return nil
}

// takesForRequest tells whether a sign-in was begun by what was to be its second
// step. Each such post would have Kibo send a code.
func (s *suite) takesForRequest(a *answer) bool {
	return slices.ContainsFunc(cookies(a), func(c *http.Cookie) bool { return c.Name == s.Cookie+"-login" && c.MaxAge >= 0 })
}

// ticket is the header line that carries the session.
func (s *suite) ticket() string { return "Cookie: " + s.Cookie + "=" + s.Session }

// held tells whether an answer is the gateway's refusal. A 403, 404 or 405 is
// none: the gateway has no such answer for who is not signed in, so it comes
// from behind it.
func (s *suite) held(a *answer) bool {
	switch a.status {
	case 0, http.StatusBadRequest, http.StatusUnauthorized, http.StatusRequestURITooLong, http.StatusMisdirectedRequest,
		http.StatusRequestHeaderFieldsTooLarge, http.StatusNotImplemented, http.StatusHTTPVersionNotSupported:
		return !a.late
	}
	return s.toLogin(a)
}

// toLogin tells whether an answer sends the browser to sign in, here.
func (s *suite) toLogin(a *answer) bool {
	location := a.header.Get("Location")
	path, _, _ := strings.Cut(location, "?")
	return a.status/100 == 3 && path == s.Login
}
