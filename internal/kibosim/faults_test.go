package kibosim

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"
)

// aim sets one fault on otp/auth and posts a good code.
func aim(t *testing.T, f Fault) (c *client, a answer, err error) {
	t.Helper()
	c = newClient(t)
	code := c.sendCode("jane@example.com")
	c.sim.Set(func(sw *Switches) { sw.Faults["otp/auth"] = f })
	a, err = c.try("POST", authTickets+"/otp/auth", `{"email":"jane@example.com","otpCode":"`+code+`"}`,
		"Accept-Encoding", "identity")
	return c, a, err
}

func TestFaultsThatReplaceTheAnswer(t *testing.T) {
	tests := []struct {
		fault Fault
		seen  func(a answer) bool
	}{
		{Fault{Kind: "rate_limited"}, func(a answer) bool {
			return a.status == 429 && len(a.body) == 0 && a.header.Get("Retry-After") == "60" && a.header.Get("Content-Length") == "0"
		}},
		{Fault{Kind: "rate_limited", RetryAfter: 900}, func(a answer) bool { return a.header.Get("Retry-After") == "900" }},
		{Fault{Kind: "html_500"}, func(a answer) bool {
			return a.status == 500 && strings.HasPrefix(a.header.Get("Content-Type"), "text/html") && bytes.Contains(a.body, []byte("<h1>"))
		}},
		{Fault{Kind: "empty_502"}, func(a answer) bool { return a.status == 502 && len(a.body) == 0 }},
		{Fault{Kind: "empty_200"}, func(a answer) bool { return a.status == 200 && len(a.body) == 0 }},
		{Fault{Kind: "null_json"}, func(a answer) bool { return a.status == 200 && string(a.body) == "null" }},
		{Fault{Kind: "garbage"}, func(a answer) bool { return a.status == 200 && len(a.body) > 0 && !a.isJSON() }},
		{Fault{Kind: "error_200"}, func(a answer) bool { return a.status == 200 && a.code() == "UNEXPECTED_ERROR" }},
		{Fault{Kind: "redirect"}, func(a answer) bool { return a.status == 307 && a.header.Get("Location") == "/__sim/elsewhere" }},
		{Fault{Kind: "unauthorized_app"}, func(a answer) bool { return a.status == 401 && a.code() == "UNAUTHORIZED" }},
	}
	tried := map[string]bool{"hang": true} // below
	for _, tt := range tests {
		tried[tt.fault.Kind] = true
		for _, after := range []bool{false, true} {
			name := tt.fault.Kind
			if after {
				name += " after the fact"
			}
			t.Run(name, func(t *testing.T) {
				tt.fault.After = after
				c, a, err := aim(t, tt.fault)
				if err != nil || !tt.seen(a) {
					t.Errorf("err %v, status %d, header %v, body %.300q", err, a.status, a.header, a.body)
				}
				if a.header.Get("x-vol-correlation") == "" {
					t.Error("no x-vol-correlation")
				}
				if used := c.sim.Code("jane@example.com") == ""; used != after {
					t.Errorf("code is used up: %v, want %v", used, after)
				}
				if got := c.sim.Calls("otp/auth"); got != 1 {
					t.Errorf("Calls = %d, want 1", got)
				}
			})
		}
	}
	for _, kind := range replacingKinds() {
		if !tried[kind] {
			t.Errorf("fault %q has no test", kind)
		}
	}
}

func TestFaultsThatSpoilTheAnswer(t *testing.T) {
	tests := map[string]func(a answer, err error) bool{
		"": func(a answer, err error) bool { return err == nil && a.text("accessToken") != "" },
		"truncated_json": func(a answer, err error) bool {
			return err == nil && a.status == 200 && len(a.body) > 500 && !a.isJSON()
		},
		"text_plain": func(a answer, err error) bool {
			return err == nil && a.header.Get("Content-Type") == "text/plain; charset=utf-8" && a.text("accessToken") != ""
		},
		"pascal_case": func(a answer, err error) bool {
			account, _ := a.field("CustomerAccount").(map[string]any)
			return err == nil && a.text("AccessToken") != "" && a.text("accessToken") == "" && account["Id"] == 1001.0
		},
		"gzip": func(a answer, err error) bool {
			z, zerr := gzip.NewReader(bytes.NewReader(a.body))
			if err != nil || zerr != nil {
				return false
			}
			plain, _ := io.ReadAll(z)
			return a.header.Get("Content-Encoding") == "gzip" && answer{body: plain}.text("accessToken") != ""
		},
		"huge_head": func(a answer, err error) bool {
			size := 0
			for _, v := range a.header {
				size += len(v[0])
			}
			return err == nil && size > 1<<20 && a.text("accessToken") != ""
		},
		"oversize": func(a answer, err error) bool {
			return err == nil && len(a.body) > 8<<20 && a.text("accessToken") != ""
		},
		"set_cookie": func(a answer, err error) bool {
			return err == nil && strings.HasPrefix(a.header.Get("Set-Cookie"), "sb-sf-at-prod=") && a.text("accessToken") != ""
		},
		"reset": func(a answer, err error) bool {
			return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, io.ErrUnexpectedEOF)
		},
		"drip": nil, // below
	}
	for kind, seen := range tests {
		if seen == nil {
			continue
		}
		t.Run(kind, func(t *testing.T) {
			c, a, err := aim(t, Fault{Kind: kind})
			if !seen(a, err) {
				t.Errorf("err %v, status %d, body %.300q", err, a.status, a.body)
			}
			if c.sim.Code("jane@example.com") != "" {
				t.Error("the code is still good, but the call should have taken effect")
			}
		})
	}
	for _, kind := range spoilingKinds() {
		if _, ok := tests[kind]; !ok {
			t.Errorf("fault %q has no test", kind)
		}
	}
}

func TestDripComesByteByByte(t *testing.T) {
	c := newClient(t)
	c.sim.Set(func(sw *Switches) { sw.Faults["otp/auth"] = Fault{Kind: "drip", Delay: time.Millisecond} })
	resp, err := c.http.Do(c.request("POST", authTickets+"/otp/auth", "null"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	reads := 0
	buf := make([]byte, 4096)
	for {
		n, err := resp.Body.Read(buf)
		if n > 0 {
			reads++
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if reads < 20 {
		t.Errorf("the answer came in %d pieces, want many", reads)
	}
}

// onWrite calls itself for everything that is written.
type onWrite func()

func (f onWrite) Write(p []byte) (int, error) {
	f()
	return len(p), nil
}

func TestHangEndsWithTheClient(t *testing.T) {
	ctx, leave := context.WithCancel(t.Context())
	sim := New(Options{Log: slog.New(slog.NewTextHandler(onWrite(leave), nil))}) // the call is logged, then hangs
	sim.Set(func(sw *Switches) { sw.Faults["refresh"] = Fault{Kind: "hang"} })
	ended := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(ended)
		sim.ServeHTTP(w, r)
	}))
	defer srv.Close()
	req, err := http.NewRequestWithContext(ctx, "PUT", srv.URL+authTickets+"/refresh?refreshToken=x", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	if resp, err := srv.Client().Do(req); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, %v; want no answer", resp, err)
	}
	<-ended
}

func TestHangUp(t *testing.T) {
	_, _, err := aim(t, Fault{Kind: "hang", Delay: time.Millisecond})
	if !errors.Is(err, io.EOF) {
		t.Errorf("err = %v, want EOF", err)
	}
}

func TestResetOverTLS(t *testing.T) {
	for name, http2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2": true} {
		t.Run(name, func(t *testing.T) {
			sim := New(Options{})
			sim.Set(func(sw *Switches) { sw.Faults["*"] = Fault{Kind: "reset"} })
			srv := httptest.NewUnstartedServer(sim)
			srv.EnableHTTP2 = http2
			srv.StartTLS()
			defer srv.Close()
			resp, err := srv.Client().Post(srv.URL+"/graphql", "application/json", strings.NewReader("{}"))
			if err == nil {
				_, err = io.ReadAll(resp.Body)
				resp.Body.Close()
			}
			if err == nil {
				t.Error("the answer arrived whole")
			}
		})
	}
}

func TestFaultsAreAimed(t *testing.T) {
	anonymous := authTickets + "/anonymousshopper"
	t.Run("one endpoint", func(t *testing.T) {
		c := newClient(t)
		c.sim.Set(func(sw *Switches) { sw.Faults["anonymousshopper"] = Fault{Kind: "html_500"} })
		c.wantStatus(c.do("GET", anonymous, ""), 500)
		c.signIn("jane@example.com")
	})
	t.Run("all but jwks", func(t *testing.T) {
		c := newClient(t)
		c.sim.Set(func(sw *Switches) { sw.Faults["*"] = Fault{Kind: "html_500"} })
		for _, path := range []string{appTickets + "/oauth", authTickets, anonymous, "/graphql"} {
			c.wantStatus(c.do("POST", path, "{}"), 500)
		}
		c.wantStatus(c.do("GET", "/__sim/jwks", ""), 200)
	})
	t.Run("name before star", func(t *testing.T) {
		c := newClient(t)
		c.sim.Set(func(sw *Switches) {
			sw.Faults["*"] = Fault{Kind: "html_500"}
			sw.Faults["anonymousshopper"] = Fault{Kind: "empty_502"}
		})
		c.wantStatus(c.do("GET", anonymous, ""), 502)
	})
	t.Run("two times", func(t *testing.T) {
		c := newClient(t)
		c.sim.Set(func(sw *Switches) { sw.Faults["*"] = Fault{Kind: "html_500", Times: 2} })
		for i, want := range []int{500, 500, 200} {
			if i == 1 && c.sim.Switches().Faults["*"].Times != 1 {
				t.Errorf("faults = %v, want one left", c.sim.Switches().Faults)
			}
			c.wantStatus(c.do("GET", anonymous, ""), want)
		}
		if left := c.sim.Switches().Faults; len(left) != 0 {
			t.Errorf("faults left: %v", left)
		}
	})
	t.Run("jwks", func(t *testing.T) {
		c := newClient(t)
		c.sim.Set(func(sw *Switches) { sw.Faults["jwks"] = Fault{Kind: "html_500", Times: 1} })
		c.wantStatus(c.do("GET", "/__sim/jwks", ""), 500)
		c.wantStatus(c.do("GET", "/__sim/jwks", ""), 200)
	})
}

func TestFollowedRedirectIsCounted(t *testing.T) {
	c := newClient(t)
	c.sim.Set(func(sw *Switches) { sw.Faults["otp/auth"] = Fault{Kind: "redirect"} })
	c.exchange("jane@example.com", "123456")
	if got := c.sim.Calls("elsewhere"); got != 0 {
		t.Errorf("Calls(elsewhere) = %d before anybody went there", got)
	}
	c.http.CheckRedirect = nil
	c.exchange("jane@example.com", "123456")
	if got := c.sim.Calls("elsewhere"); got != 1 {
		t.Errorf("Calls(elsewhere) = %d, want 1", got)
	}
}

func TestCallsWithCookieAreCounted(t *testing.T) {
	c := newClient(t)
	c.do("GET", authTickets+"/anonymousshopper", "")
	c.do("GET", authTickets+"/anonymousshopper", "", "Cookie", "a=b")
	if got := c.sim.Calls("with_cookie"); got != 1 {
		t.Errorf("Calls(with_cookie) = %d, want 1", got)
	}
}
