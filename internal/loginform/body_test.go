package loginform

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// endless repeats a block of letters whose length is prime, so that no
// reordering of buffers can go unnoticed.
type endless struct{ at int }

var block = func() []byte {
	b, n := make([]byte, 65521), uint32(1)
	for i := range b {
		n = n*1664525 + 1013904223
		b[i] = 'a' + byte(n>>24)%26
	}
	return b
}()

func (e *endless) Read(p []byte) (int, error) {
	n := copy(p, block[e.at:])
	e.at = (e.at + n) % len(block)
	return n, nil
}

const huge = 64 << 20

func hugeBody(prefix string) io.Reader {
	return io.MultiReader(strings.NewReader(prefix), io.LimitReader(&endless{}, huge))
}

// A large upload to the login path must reach the shop, byte for byte and
// without being held in memory.
func TestLargeUploadFlowsThrough(t *testing.T) {
	tests := []struct{ name, ctype, prefix string }{
		{"form", formType, "comment="},
		{"multipart", "multipart/form-data; boundary=x", "--x\r\nContent-Disposition: form-data; name=f; filename=f\r\n\r\n"},
		{"JSON", jsonType, `{"picture":"`},
		{"other", "image/png", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got [2][]byte
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.ContentLength != -1 {
					t.Errorf("Content-Length = %d, want a chunked request", r.ContentLength)
				}
				if _, ok, err := Read(r, plainFields); ok || err != nil {
					t.Errorf("Read = %v, %v, want no login post", ok, err)
				}
				got[0] = digest(t, r.Body)
			}))
			defer srv.Close()
			got[1] = digest(t, hugeBody(tt.prefix))
			resp, err := http.Post(srv.URL, tt.ctype, hugeBody(tt.prefix))
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if !bytes.Equal(got[0], got[1]) {
				t.Errorf("the upstream got something else: %x, want %x", got[0], got[1])
			}
		})
	}
}

func digest(t *testing.T, r io.Reader) []byte {
	t.Helper()
	h := sha256.New()
	if _, err := io.Copy(h, r); err != nil {
		t.Errorf("reading body: %v", err)
	}
	return h.Sum(nil)
}

func TestLargeBodyIsReadOnlySoFar(t *testing.T) {
	src := &endless{}
	counted := &counter{r: src}
	r := newPostRequest("/login", formType, "")
	r.Body = io.NopCloser(counted)
	if _, ok, err := Read(r, plainFields); ok || err != nil {
		t.Fatalf("Read = %v, %v, want no login post", ok, err)
	}
	if counted.n > maxBody+1 {
		t.Errorf("Read took %d bytes, want %d at most", counted.n, maxBody+1)
	}
}

type counter struct {
	r io.Reader
	n int
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += n
	return n, err
}

// dribble yields one byte at a time and then err.
type dribble struct {
	data   string
	err    error
	closed bool
}

func (d *dribble) Read(p []byte) (int, error) {
	if d.data == "" {
		return 0, d.err
	}
	n := copy(p, d.data[:1])
	d.data = d.data[n:]
	return n, nil
}

func (d *dribble) Close() error { d.closed = true; return nil }

func TestClientGoesAway(t *testing.T) {
	gone := errors.New("connection reset")
	body := &dribble{data: "email=jane%40shop.example&go=1&code=1", err: gone}
	sent := body.data
	r := newPostRequest("/login", formType, "")
	r.Body = body
	form, ok, err := Read(r, plainFields)
	if !errors.Is(err, gone) || ok || form != nil {
		t.Errorf("Read = %v, %v, %v, want %v", form, ok, err, gone)
	}
	got, err := io.ReadAll(r.Body)
	if string(got) != sent || !errors.Is(err, gone) {
		t.Errorf("replayed body = %q, %v, want %q, %v", got, err, sent, gone)
	}
	if err := r.Body.Close(); err != nil || !body.closed {
		t.Errorf("the client's body stays open, %v", err)
	}
}

func TestSlowBody(t *testing.T) {
	r := newPostRequest("/login", formType, "")
	r.Body = &dribble{data: "email=jane%40shop.example&go=1&code=123456", err: io.EOF}
	form, ok, err := Read(r, plainFields)
	if err != nil || !ok || form.Code.Reveal() != "123456" {
		t.Errorf("Read = %+v, %v, %v, want the code", form, ok, err)
	}
}

func TestBodyLimitOfTheServer(t *testing.T) {
	r := newPostRequest("/login", formType, "email=jane%40shop.example&go=1")
	r.Body = http.MaxBytesReader(httptest.NewRecorder(), r.Body, 10)
	_, ok, err := Read(r, plainFields)
	if tooLarge, is := errors.AsType[*http.MaxBytesError](err); !is || tooLarge.Limit != 10 || ok {
		t.Errorf("Read = %v, %v, want the server's own error", ok, err)
	}
}

// Request trailers arrive at the end of the body and must still do so.
func TestTrailersSurvive(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, ok, err := Read(r, plainFields); ok || err != nil {
			t.Errorf("Read = %v, %v, want no login post", ok, err)
		}
		digest(t, r.Body)
		if got := r.Trailer.Get("X-Sum"); got != "17" {
			t.Errorf("trailer = %q, want 17", got)
		}
	}))
	defer srv.Close()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, srv.URL, hugeBody("a="))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", formType)
	req.Trailer = http.Header{"X-Sum": {"17"}}
	resp, err := srv.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
}
