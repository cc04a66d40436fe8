package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// A screen collects what is printed and tells when something new is there.
type screen struct {
	mu    sync.Mutex
	text  bytes.Buffer
	wrote chan struct{}
}

func newScreen() *screen { return &screen{wrote: make(chan struct{}, 1)} }

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case s.wrote <- struct{}{}:
	default:
	}
	return s.text.Write(p)
}

// find waits until the screen shows what the pattern's group matches.
func (s *screen) find(t *testing.T, pattern string) string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	for {
		s.mu.Lock()
		match := re.FindStringSubmatch(s.text.String())
		s.mu.Unlock()
		if match != nil {
			return match[1]
		}
		select {
		case <-s.wrote:
		case <-t.Context().Done():
			t.Fatalf("never printed: %s", pattern)
		}
	}
}

// start runs the command until the test ends, and checks that it ends well.
func start(t *testing.T, args ...string) (out *screen, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	out = newScreen()
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, append([]string{"-listen", "127.0.0.1:0"}, args...), out, out) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-ended; err != nil {
				t.Errorf("run: %v", err)
			}
		})
	}
	t.Cleanup(stop)
	return out, stop
}

func post(t *testing.T, c *http.Client, url, token, body string) []byte {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	read, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("POST %s: status %d, %v, body %s", url, resp.StatusCode, err, read)
	}
	return read
}

// requestCode gets an app token and asks for a code.
func requestCode(t *testing.T, c *http.Client, base, clientID, secret string) {
	t.Helper()
	grant := post(t, c, base+"/api/platform/applications/authtickets/oauth", "",
		`{"client_id":"`+clientID+`","client_secret":"`+secret+`","grant_type":"client_credentials"}`)
	token := regexp.MustCompile(`"access_token":"([^"]+)"`).FindSubmatch(grant)
	if token == nil {
		t.Fatalf("no access_token in %s", grant)
	}
	post(t, c, base+"/api/commerce/customer/authtickets/otp/request", string(token[1]), `{"email":"jane@example.com"}`)
}

func TestCodesArePrinted(t *testing.T) {
	out, stop := start(t, "-client-id", "my.app", "-secret", "s3cret", "-v")
	base := out.find(t, `kibo_auth (http://127\.0\.0\.1:\d+) \{`)
	if got := out.find(t, `client (my\.app s3cret)`); got == "" {
		t.Error("the credentials are not printed")
	}
	requestCode(t, http.DefaultClient, base, "my.app", "s3cret")
	out.find(t, `code (\d{6}) for jane@example\.com`)
	http.DefaultClient.CloseIdleConnections()
	stop()
	if _, err := http.Get(base + "/__sim/"); err == nil {
		t.Error("it still answers after the end")
	}
}

func TestTLSCertificateCanBeTrusted(t *testing.T) {
	file := filepath.Join(t.TempDir(), "sim.pem")
	out, _ := start(t, "-tls", "-cert-out", file)
	base := out.find(t, `auth_host (https://127\.0\.0\.1:\d+)`)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		t.Fatalf("no certificate in %s", text)
	}
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	defer tr.CloseIdleConnections()
	requestCode(t, &http.Client{Transport: tr}, base, "demo.gateway.1.0.0.Release", "demo-shared-secret-known-to-everybody")
}

// A hanging call must not keep the simulator from ending.
func TestEndsWhileACallHangs(t *testing.T) {
	out, stop := start(t, "-v")
	base := out.find(t, `kibo_auth (http://\S+) \{`)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPatch, base+"/__sim/switches",
		strings.NewReader(`{"faults":{"graphql":{"kind":"hang"}}}`))
	if err != nil {
		t.Fatal(err)
	}
	if resp, err := http.DefaultClient.Do(req); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("PATCH: %v, %v", resp, err)
	}
	ended := make(chan error)
	go func() {
		resp, err := http.Post(base+"/graphql", "application/json", strings.NewReader("{}"))
		if err == nil {
			resp.Body.Close()
		}
		ended <- err
	}()
	out.find(t, `endpoint=(graphql)`) // the call has arrived
	stop()
	if err := <-ended; err == nil {
		t.Error("the hanging call got an answer")
	}
}

func TestRefusedCommandLines(t *testing.T) {
	for _, args := range [][]string{
		{"-listen", ":8085"},
		{"-listen", "0.0.0.0:8085"},
		{"-listen", "192.0.2.1:8085"},
		{"-listen", "shop.example.com:8085"},
		{"-listen", "[::]:8085"},
		{"-listen", "nonsense"},
		{"-cert-out", "x.pem"},
		{"serve"},
		{"-port", "1"},
	} {
		if err := run(t.Context(), args, io.Discard, io.Discard); err == nil {
			t.Errorf("%q: accepted", args)
		}
	}
}

func TestLoopbackAndPublicAddresses(t *testing.T) {
	for _, args := range [][]string{
		{"-listen", "localhost:0"},
		{"-listen", "[::1]:0"},
		{"-listen", "127.0.0.2:0"},
		{"-listen", ":0", "-public"},
	} {
		if _, err := parse(args, io.Discard); err != nil {
			t.Errorf("%q: %v", args, err)
		}
	}
}
