package kiboauth

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// serveLogin is a real server with the gateway in it. The upstream waits as
// long as the last body takes, and answers with it.
func serveLogin(t *testing.T, g *gateway, readTimeout time.Duration) *httptest.Server {
	t.Helper()
	upstream := caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return caddyhttp.Error(http.StatusBadGateway, err)
		}
		_, err = w.Write(body)
		return err
	})
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := context.WithValue(r.Context(), caddy.ReplacerCtxKey, caddy.NewReplacer())
		ctx = context.WithValue(ctx, caddyhttp.OriginalRequestCtxKey, *r)
		ctx = context.WithValue(ctx, caddyhttp.VarsCtxKey, map[string]any{})
		if said, ok := errors.AsType[caddyhttp.HandlerError](g.ServeHTTP(w, r.WithContext(ctx), upstream)); ok {
			w.WriteHeader(said.StatusCode)
		}
	}))
	srv.EnableHTTP2 = true
	srv.Config.ReadTimeout = readTimeout
	srv.StartTLS()
	t.Cleanup(srv.Close)
	return srv
}

// dripping is a body whose end comes after a while.
func dripping(begin, rest string, after time.Duration) io.Reader {
	r, w := io.Pipe()
	time.AfterFunc(after, func() {
		_, _ = io.WriteString(w, rest)
		_ = w.Close()
	})
	return io.MultiReader(strings.NewReader(begin), r)
}

func overVersions(t *testing.T, srv *httptest.Server, test func(t *testing.T, client *http.Client)) {
	t.Helper()
	for name, http2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2": true} {
		t.Run(name, func(t *testing.T) {
			transport := srv.Client().Transport.(*http.Transport).Clone()
			transport.ForceAttemptHTTP2 = http2
			if !http2 {
				transport.TLSClientConfig.NextProtos = []string{"http/1.1"}
			}
			t.Cleanup(transport.CloseIdleConnections)
			test(t, &http.Client{Transport: transport, Timeout: 20 * time.Second})
		})
	}
}

func send(t *testing.T, client *http.Client, url, contentType string, body io.Reader) (status int, answer string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, body)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", contentType)
	resp, err := client.Do(r)
	if err != nil {
		t.Fatalf("%s: %v", url, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%s: reading the answer: %v", url, err)
	}
	return resp.StatusCode, string(text)
}

const formType = "application/x-www-form-urlencoded"

// TestSlowLoginBody: who sends a login post drop by drop is sent away.
func TestSlowLoginBody(t *testing.T) {
	g := newGateway(t)
	g.bodyTime = 50 * time.Millisecond
	srv := serveLogin(t, g, 0)
	overVersions(t, srv, func(t *testing.T, client *http.Client) {
		status, _ := send(t, client, srv.URL+"/login", formType, dripping("email=jane%40exam", "ple.com", time.Second))
		if status != http.StatusRequestTimeout {
			t.Errorf("status %d, want 408", status)
		}
		if n := g.sim.Calls("otp/request"); n != 0 {
			t.Errorf("Kibo was asked %d times", n)
		}
	})
}

// TestLoginBodyTimeEndsWithTheForm: the limit is lifted for a post that goes on
// to the upstream, and for the next request on the connection. Where the
// server has a limit of its own, that one holds again.
func TestLoginBodyTimeEndsWithTheForm(t *testing.T) {
	g := newGateway(t)
	g.bodyTime = 200 * time.Millisecond
	srv := serveLogin(t, g, 0)
	overVersions(t, srv, func(t *testing.T, client *http.Client) {
		head := strings.Repeat("a", 64<<10) + "b" // more than a login post may have
		if status, answer := send(t, client, srv.URL+"/login", formType, dripping(head, "c", 3*g.bodyTime)); status != http.StatusOK || answer != head+"c" {
			t.Errorf("a slow upload on the login path: %d, %d bytes; want 200, %d", status, len(answer), len(head)+1)
		}
		for range 2 {
			if status, _ := send(t, client, srv.URL+"/login", formType, strings.NewReader("email=jane%40example.com")); status != http.StatusOK {
				t.Errorf("the login post after it: %d, want 200", status)
			}
		}
	})
	limited := serveLogin(t, g, 300*time.Millisecond)
	overVersions(t, limited, func(t *testing.T, client *http.Client) {
		body := dripping(strings.Repeat("a", 64<<10)+"b", "c", time.Second)
		if status, _ := send(t, client, limited.URL+"/login", formType, body); status != http.StatusBadGateway {
			t.Errorf("an upload slower than the server's limit: %d, want the upstream to give up", status)
		}
	})
}
