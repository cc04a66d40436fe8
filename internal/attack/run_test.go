package attack

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestSafeGatewayPasses(t *testing.T) {
	var results []Result
	err := Run(t.Context(), serve(t, &fake{}, false), "", func(r Result) { results = append(results, r) })
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range results {
		unknown := r.Outcome == NA && (strings.Contains(r.Name, "http3") || r.Name == "attributes")
		if r.Outcome != OK && !unknown {
			t.Errorf("%s", r)
		}
	}
	if len(results) != len(all()) {
		t.Errorf("%d results, want %d", len(results), len(all()))
	}
}

// TestSafeGatewayPassesOverTLS: HTTP/2, HTTP/3 and Secure cookies are there
// only so.
func TestSafeGatewayPassesOverTLS(t *testing.T) {
	s, err := newSuite(t.Context(), serve(t, &fake{}, true))
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	if err := s.meet(); err != nil {
		t.Fatal(err)
	}
	for _, c := range all() {
		if c.family == "pages" || c.family == "cookies" || strings.Contains(c.name, "http2") || strings.Contains(c.name, "http3") {
			if r := s.try(c); r.Outcome != OK {
				t.Errorf("%s", r)
			}
		}
	}
}

// TestEachCheckFindsItsWeakness: a check that cannot fail checks nothing.
func TestEachCheckFindsItsWeakness(t *testing.T) {
	for _, c := range all() {
		name := c.family + "/" + c.name
		t.Run(name, func(t *testing.T) {
			var target Target
			switch {
			case c.family == "framing":
				target = naive(t)
			default:
				target = serve(t, &fake{weak: name}, strings.Contains(name, "http3") || name == "cookies/attributes")
			}
			s, err := newSuite(t.Context(), target)
			if err != nil {
				t.Fatal(err)
			}
			defer s.close()
			if err := s.meet(); err != nil {
				t.Fatal(err)
			}
			if r := s.try(c); r.Outcome != Fail || len(r.Failures) == 0 {
				t.Errorf("%s", r)
			}
		})
	}
}

// naive is a server that believes everything: it takes each head for a request
// and goes by Content-Length alone.
func naive(t *testing.T) Target {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go believe(conn)
		}
	}()
	target := targetAt(t, "http://"+ln.Addr().String())
	target.Echo = ""
	return target
}

func believe(conn net.Conn) {
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	r := bufio.NewReader(conn)
	for {
		head, length := "", 0
		for !strings.HasSuffix(head, "\r\n\r\n") {
			line, err := r.ReadString('\n')
			if err != nil {
				return
			}
			head += line
			if value, ok := strings.CutPrefix(line, "Content-Length: "); ok {
				length = int(value[0] - '0') // of one digit
			}
		}
		answer := "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
		if strings.Contains(head, "/account") && strings.Count(head, "Host:") == 1 && !strings.Contains(head, live) {
			answer = "HTTP/1.1 303 See Other\r\nLocation: /login\r\nContent-Length: 0\r\n\r\n"
		}
		if _, err := io.WriteString(conn, answer); err != nil {
			return
		}
		if _, err := io.CopyN(io.Discard, r, int64(length)); err != nil {
			return
		}
	}
}

// TestTargetThatIsNoTarget: what is wrong with it is said before anything is
// sent that could look like an attack.
func TestTargetThatIsNoTarget(t *testing.T) {
	good := serve(t, &fake{}, false)
	for name, tt := range map[string]struct {
		change func(*Target)
		want   string
	}{
		"nobody there":     {func(g *Target) { g.Base.Host = closedPort(t) }, "nobody answers"},
		"open":             {func(g *Target) { g.Protected = "/" }, "is open"},
		"protected public": {func(g *Target) { g.Public = "/account" }, "needs a session"},
		"dead session":     {func(g *Target) { g.Session = strings.Repeat("x", 43) }, "does not open"},
		"no echo":          {func(g *Target) { g.Echo = "/" }, "shows neither"},
		"no code field":    {func(g *Target) { g.Code = "other" }, "field of the code"},
		"no host":          {func(g *Target) { g.Base.Host = "" }, "want an address"},
		"another machine":  {func(g *Target) { g.Base.Host = "203.0.113.7:1"; g.Timeout = time.Millisecond }, "is not this machine"},
	} {
		t.Run(name, func(t *testing.T) {
			target, base := good, *good.Base
			target.Base = &base
			tt.change(&target)
			err := Run(t.Context(), target, "", func(Result) { t.Error("something was tried") })
			if !errors.Is(err, ErrTarget) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one that says %q", err, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), live) {
				t.Error("the error shows the session")
			}
		})
	}
	if err := Run(t.Context(), good, "nonsense", func(Result) {}); err == nil || !strings.Contains(err.Error(), "framing") {
		t.Errorf("unknown family: %v", err)
	}
}

func closedPort(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// TestOtherMachines are attacked only if their host is named twice, and slowly.
func TestOtherMachines(t *testing.T) {
	for name, tt := range map[string]struct {
		owned    string
		insecure bool
		want     string
	}{
		"not named":         {"", false, "name the host twice"},
		"another one named": {"www.shop.test", false, "name the host twice"},
		"any certificate":   {"shop.test", true, "certificates"},
		"named":             {"Shop.Test", false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			target := targetAt(t, "http://shop.test:8080")
			target.Owned, target.InsecureTLS = tt.owned, tt.insecure
			s := &suite{Target: target}
			err := s.permit(false)
			if tt.want == "" {
				if err != nil || s.Rate > RemoteRate {
					t.Errorf("error %v, rate %v; want none, and %d at most", err, s.Rate, RemoteRate)
				}
			} else if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one that says %q", err, tt.want)
			}
		})
	}
}

// TestTargetThatGoesAway: silence is no refusal.
func TestTargetThatGoesAway(t *testing.T) {
	s, err := newSuite(t.Context(), serve(t, &fake{}, false))
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	if err := s.meet(); err != nil {
		t.Fatal(err)
	}
	s.addr = closedPort(t)
	if r := s.try(methodChecks[0]); r.Outcome != Fail {
		t.Errorf("%s", r)
	}
}

// TestNoCookieInTheReport: not even where an answer has it.
func TestNoCookieInTheReport(t *testing.T) {
	s := &suite{Target: Target{Session: live}}
	r := s.try(check{run: func(_ *suite, v *verdict) {
		v.judge("Cookie: "+live, &answer{status: 303, header: http.Header{"Location": {"/" + live}}}, false)
	}})
	if text := r.String() + strings.Join(r.Failures, ""); strings.Contains(text, live) || !strings.Contains(text, "[the session]") {
		t.Errorf("the report shows it: %s", text)
	}
}

// TestAway is what a browser makes of addresses.
func TestAway(t *testing.T) {
	s := &suite{Target: targetAt(t, "http://shop.test")}
	for address, want := range map[string]bool{
		"/": false, "": false, "/a?b=//c": false, "account": false, "http://shop.test/x": false, "?x": false,
		"//evil.test": true, `/\evil.test`: true, "\t//evil.test": true, "/\t/evil.test": true, "https://shop.test/": true, "http://x@shop.test": true,
		"javascript:alert(1)": true, "///evil.test": true, "http://shop.test:81/": true, "//[": true,
	} {
		if got := s.away(address); got != want {
			t.Errorf("away(%q) = %t, want %t", address, got, want)
		}
	}
}

func TestFamilies(t *testing.T) {
	names := map[string]bool{}
	for _, c := range all() {
		if names[c.family+"/"+c.name] {
			t.Errorf("two checks are called %s/%s", c.family, c.name)
		}
		names[c.family+"/"+c.name] = true
		if c.sent == "" || c.why == "" {
			t.Errorf("%s/%s does not say what it is for", c.family, c.name)
		}
	}
	if got := Families(); !slices.Contains(got, "headers") || !slices.Contains(got, "limit") {
		t.Errorf("families %q", got)
	}
}
