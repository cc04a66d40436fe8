package caddytest

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"testing"

	"github.com/kiboauth/caddy-kibo-auth/internal/freeport"
)

// withTLS loads the configuration of w with TLS on the shop's address, and a
// site that reaches it over HTTP/3.
func (w *world) withTLS(hop string) {
	w.t.Helper()
	w.loadSecure(fmt.Sprintf("http://:%s {\nbind 127.0.0.1\nreverse_proxy https://localhost:%s {\ntransport http {\nversions 3\ntls_insecure_skip_verify\n}\nheader_up Host localhost:%[2]s\n}\n}\n", port(hop), port(w.addr)), w.addr)
}

// TestStreamsEndWithTheSessionOverTLS: HTTP/1.1, HTTP/2 and HTTP/3.
func TestStreamsEndWithTheSessionOverTLS(t *testing.T) {
	w, shop := startStreams(t, setup{site: "header X-Proto {http.request.proto}"})
	hop := freeport.Addr(t)
	w.withTLS(hop)
	trusting := &tls.Config{InsecureSkipVerify: true, ServerName: "localhost"}
	secure := func(http2 bool) *browser {
		b := w.browser()
		b.base = "https://localhost:" + port(w.addr)
		transport := b.client.Transport.(*http.Transport)
		transport.TLSClientConfig, transport.ForceAttemptHTTP2 = trusting.Clone(), http2
		return b
	}
	eventually(t, "there is a certificate", func() bool {
		_, err := secure(false).try(http.MethodGet, "/", nil)
		return err == nil
	})
	over3 := func() *browser {
		b := w.browser()
		b.base = "http://" + hop
		return b
	}
	for _, tt := range []struct {
		name   string
		browse func() *browser
	}{
		{"HTTP/1.1", func() *browser { return secure(false) }},
		{"HTTP/2.0", func() *browser { return secure(true) }},
		{"HTTP/3.0", over3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			signIn := secure(true)
			signIn.t = t
			signIn.signIn(w, jane)
			b := tt.browse()
			b.t, b.cookies = t, signIn.cookies
			if got := b.open("/").header.Get("X-Proto"); got != tt.name {
				t.Fatalf("the gateway is reached over %q", got)
			}
			all := b.streams(shop)
			if tt.name == "HTTP/1.1" {
				all = append(all, b.webSocket(shop, trusting.Clone()))
			}
			checkStay(t, "the session lives", all)
			if tt.name != "HTTP/3.0" { // there the browser is a Caddy, which hangs up at its reload
				w.withTLS(hop)
				checkStay(t, "a reload", all)
			}
			signIn.clone().post("/logout", nil)
			checkCut(t, "after signing out over "+tt.name, all)
		})
	}
}
