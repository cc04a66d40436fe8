package caddytest

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// letters is endless text whose period is prime, so that no two buffers of it
// are the same.
type letters struct{ at int }

const period = 65521

var pattern = func() []byte {
	b, n := make([]byte, period), uint32(1)
	for i := range b {
		n = n*1664525 + 1013904223
		b[i] = 'a' + byte(n>>24)%26
	}
	return b
}()

// Read implements io.Reader.
func (l *letters) Read(p []byte) (int, error) {
	n := copy(p, pattern[l.at:])
	l.at = (l.at + n) % period
	return n, nil
}

func text(n int64) io.Reader { return io.LimitReader(new(letters), n) }

// TestOtherPostsPassUnchanged: what is no sign-in reaches the shop byte for
// byte, however large and however framed.
func TestOtherPostsPassUnchanged(t *testing.T) {
	const urlencoded, multipart, huge = "application/x-www-form-urlencoded", "multipart/form-data; boundary=b", 64 << 20
	w := start(t, setup{gateway: "login {\nrequire action login\n}"})
	part := func(name, value string) string {
		return fmt.Sprintf("--b\r\nContent-Disposition: form-data; name=%q\r\n\r\n%s\r\n", name, value)
	}
	file := "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\n"
	for _, tt := range []struct {
		name, contentType string
		body              func() io.Reader
	}{
		{"nothing", urlencoded, func() io.Reader { return strings.NewReader("") }},
		{"newsletter form", urlencoded, func() io.Reader { return strings.NewReader("email=jane%40example.com&action=subscribe&x=%zz") }},
		{"register form", multipart, func() io.Reader {
			return strings.NewReader(part("email", "jane@example.com") + part("action", "register") + "--b--\r\n")
		}},
		{"JSON of the shop", "application/json", func() io.Reader { return strings.NewReader("{\"email\":\"jane@example.com\",\n \"a\": [1.50]}") }},
		{"broken JSON", "application/json", func() io.Reader { return strings.NewReader(`{"email":"jane@example.com"`) }},
		{"just under the limit", urlencoded, func() io.Reader { return text(64<<10 - 1) }},
		{"at the limit", urlencoded, func() io.Reader { return text(64 << 10) }},
		{"just over the limit", urlencoded, func() io.Reader { return text(64<<10 + 1) }},
		{"64 MiB of a form", urlencoded, func() io.Reader { return text(huge) }},
		{"64 MiB in a multipart form", multipart, func() io.Reader {
			return io.MultiReader(strings.NewReader(part("action", "upload")+file), text(huge), strings.NewReader("\r\n--b--\r\n"))
		}},
		{"64 MiB of anything", "application/octet-stream", func() io.Reader { return text(huge) }},
	} {
		for _, chunked := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, chunked %t", tt.name, chunked), func(t *testing.T) {
				sum := sha256.New()
				n, _ := io.Copy(sum, tt.body())
				frame := func(r *http.Request) {
					r.ContentLength = n
					if chunked {
						r.ContentLength = -1
					}
				}
				r := w.browser().do(http.MethodPost, "/login?x=1", tt.body(), header("Content-Type", tt.contentType), frame)
				got := w.shop.got()
				if got == nil {
					t.Fatalf("the shop was not asked: %d %s", r.status, r.body)
				}
				if is := sha256.Sum256(got.body); !bytes.Equal(is[:], sum.Sum(nil)) {
					t.Errorf("the shop gets %d bytes, or others than the %d that were sent", len(got.body), n)
				}
				if got.uri != "/login?x=1" || got.header.Get("Content-Type") != tt.contentType {
					t.Errorf("the shop is asked for %s with %s", got.uri, got.header.Get("Content-Type"))
				}
			})
		}
	}
	if n := w.sim.Calls("otp/request"); n != 0 {
		t.Errorf("Kibo was called %d times", n)
	}
}
