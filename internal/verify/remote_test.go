package verify

import (
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// endpoint publishes a keyset over real HTTP.
type endpoint struct {
	*httptest.Server
	calls  atomic.Int64
	answer atomic.Pointer[http.HandlerFunc]
}

func newEndpoint(t testing.TB, set string) *endpoint {
	t.Helper()
	e := new(endpoint)
	e.publish(set)
	e.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e.calls.Add(1)
		(*e.answer.Load())(w, r)
	}))
	t.Cleanup(e.Close)
	return e
}

func (e *endpoint) handle(h http.HandlerFunc) { e.answer.Store(&h) }

func (e *endpoint) publish(set string) {
	e.handle(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, set) })
}

func (e *endpoint) count() int64 { return e.calls.Load() }

func TestKeysetIsFetchedByTheFirstVerify(t *testing.T) {
	e := newEndpoint(t, setOf(
		entry(&rsaKey().PublicKey, "r", nil), entry(&ecKey().PublicKey, "e", nil),
		entry(&p384Key().PublicKey, "p", object{"alg": "ES384"}), entry(edKey().Public(), "d", object{"key_ops": []string{"verify"}}),
	))
	v := newVerifier(t, Config{JWKSURL: e.URL})
	if !v.Signs() {
		t.Error("Signs() is false with a jwks")
	}
	if n := e.count(); n != 0 {
		t.Errorf("New fetched %d times, want 0", n)
	}
	for _, token := range []string{
		good("RS256", rsaKey(), "r"), good("ES256", ecKey(), "e"), good("ES384", p384Key(), "p"), good("EdDSA", edKey(), "d"),
		good("RS256", rsaKey(), ""), // names no key, but only one fits
	} {
		if _, err := v.Verify(t.Context(), token, now); err != nil {
			t.Errorf("Verify: %v", err)
		}
	}
	refuse(t, v, good("ES256", ecKey(), "r")) // the id of a key of another kind
	refuse(t, v, good("PS256", rsaKey(), "r"))
	refuse(t, v, good("HS256", pemOf(&rsaKey().PublicKey), "r"))
	if n := e.count(); n != 1 {
		t.Errorf("%d fetches, want 1", n)
	}
}

func TestForeignClaimsFetchNoKeys(t *testing.T) {
	e := newEndpoint(t, setOf(entry(&rsaKey().PublicKey, "r", nil)))
	v := newVerifier(t, Config{JWKSURL: e.URL})
	foreign := swap(t, goodClaims, `"iss":"https://www.kibocommerce.com"`, `"iss":"https://evil.example"`)
	refuse(t, v, sign("RS256", rsaKey2(), goodHeader("RS256", "r"), foreign))
	if n := e.count(); n != 0 {
		t.Errorf("%d fetches, want 0", n)
	}
}

func TestColdStartOf40LoginsFetchesOnce(t *testing.T) {
	e := newEndpoint(t, "")
	set := setOf(entry(&rsaKey().PublicKey, "r", nil))
	release := make(chan struct{})
	e.handle(func(w http.ResponseWriter, _ *http.Request) {
		<-release
		_, _ = io.WriteString(w, set)
	})
	v := newVerifier(t, Config{JWKSURL: e.URL})
	token := good("RS256", rsaKey(), "r")
	var group sync.WaitGroup
	for range 40 {
		group.Go(func() {
			if _, err := v.Verify(t.Context(), token, now); err != nil {
				t.Errorf("Verify: %v", err)
			}
		})
	}
	close(release)
	group.Wait()
	if n := e.count(); n != 1 {
		t.Errorf("%d fetches, want 1", n)
	}
}

func TestRotation(t *testing.T) {
	e := newEndpoint(t, setOf(entry(&rsaKey().PublicKey, "old", nil)))
	v := newVerifier(t, Config{JWKSURL: e.URL})
	oldToken, newToken := good("RS256", rsaKey(), "old"), good("RS256", rsaKey2(), "new")
	if _, err := v.Verify(t.Context(), oldToken, now); err != nil {
		t.Fatalf("before the rotation: %v", err)
	}
	before := v.Stamp()
	e.publish(setOf(entry(&rsaKey().PublicKey, "old", nil), entry(&rsaKey2().PublicKey, "new", nil)))
	for _, token := range []string{newToken, oldToken} {
		if _, err := v.Verify(t.Context(), token, now); err != nil {
			t.Errorf("after the rotation: %v", err)
		}
	}
	if v.Stamp() == before {
		t.Error("the stamp outlives a change of keys")
	}
	refuse(t, v, good("RS256", rsaKey(), "new")) // old key under the new id
}

func TestUnknownKeyFlood(t *testing.T) {
	e := newEndpoint(t, setOf(entry(&rsaKey().PublicKey, "r", nil)))
	v := newVerifier(t, Config{JWKSURL: e.URL})
	var group sync.WaitGroup
	for i := range 200 {
		token := good("HS256", secret, "") // any signature: no key is found
		token = b64(fmt.Sprintf(`{"alg":"RS256","kid":"k%d"}`, i)) + token[strings.IndexByte(token, '.'):]
		group.Go(func() { refuse(t, v, token) })
	}
	group.Wait()
	if n := e.count(); n > 2 {
		t.Errorf("%d fetches, want at most 2", n)
	}
	if _, err := v.Verify(t.Context(), good("RS256", rsaKey(), "r"), now); err != nil {
		t.Errorf("known key after the flood: %v", err)
	}
}

// Whatever the endpoint answers instead of a good set, the last good one
// serves, and a key that it does not have is an open question.
func TestEndpointFaults(t *testing.T) {
	text := func(s string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, s) }
	}
	weak := entry(&rsaKey().PublicKey, "r", object{"e": "AQ"})
	next := setOf(entry(&rsaKey2().PublicKey, "new", nil))
	faults := map[string]http.HandlerFunc{
		"500":         func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) },
		"204":         func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) },
		"404 as HTML": func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "<html>", 404) },
		"reset":       func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"hang":        func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"hang in the body": func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, `{"keys":[`)
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		},
		"redirect": func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/elsewhere" {
				http.Redirect(w, r, "/elsewhere", http.StatusFound)
			}
			_, _ = io.WriteString(w, next)
		},
		"good set with status 500": func(w http.ResponseWriter, _ *http.Request) { http.Error(w, next, 500) },
		"good set with status 203": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(203)
			_, _ = io.WriteString(w, next)
		},
		"512 KiB and one": text(next + strings.Repeat(" ", maxKeyset+1-len(next))),
		"200 MB": func(w http.ResponseWriter, _ *http.Request) {
			chunk := []byte(strings.Repeat(" ", 1<<20))
			for range 200 {
				if _, err := w.Write(chunk); err != nil {
					return
				}
			}
			_, _ = io.WriteString(w, next)
		},
		"large head": func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X", strings.Repeat("x", 1<<20)) },
		"empty":      text(""),
		"null":       text("null"),
		"list":       text("[]"),
		"no keys":    text("{}"),
		"keys null":  text(`{"keys":null}`),
		"keys empty": text(`{"keys":[]}`),
		"keys text":  text(`{"keys":"x"}`),
		"KEYS":       text(strings.Replace(next, "keys", "KEYS", 1)),
		"cut":        text(`{"keys":[{"kty":"RSA"`),
		"HTML":       text("<!doctype html>"),
		"weak only":  text(setOf(weak)),
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEndpoint(t, setOf(entry(&rsaKey().PublicKey, "r", nil)))
			heard := make(chan error, 5)
			v := newVerifier(t, Config{JWKSURL: e.URL + "/?key=sesame", OnError: func(err error) { heard <- err }})
			if _, err := v.Verify(t.Context(), good("RS256", rsaKey(), "r"), now); err != nil {
				t.Fatalf("before the fault: %v", err)
			}
			before := v.Stamp()
			e.handle(fault)
			if _, err := v.Verify(t.Context(), good("RS256", rsaKey2(), "new"), now); !errors.Is(err, ErrKeysUnavailable) {
				t.Errorf("unknown key: %v, want %v", err, ErrKeysUnavailable)
			}
			if _, err := v.Verify(t.Context(), good("RS256", rsaKey(), "r"), now); err != nil {
				t.Errorf("known key: %v", err)
			}
			if v.Stamp() != before {
				t.Error("the fault changed the stamp")
			}
			err := <-heard
			if strings.Contains(err.Error(), "sesame") || strings.Contains(err.Error(), e.URL) {
				t.Errorf("OnError hears the URL: %v", err)
			}
		})
	}
}

func TestEndlessKeysetIsNotRead(t *testing.T) {
	e := newEndpoint(t, "")
	var sent atomic.Int64 // MiB; what the sockets hold is sent, but not read
	e.handle(func(w http.ResponseWriter, _ *http.Request) {
		chunk := make([]byte, 1<<20)
		for sent.Load() < 200 {
			if _, err := w.Write(chunk); err != nil {
				return
			}
			sent.Add(1)
		}
	})
	v := newVerifier(t, Config{JWKSURL: e.URL})
	if _, err := v.Verify(t.Context(), good("RS256", rsaKey(), "r"), now); !errors.Is(err, ErrKeysUnavailable) {
		t.Errorf("Verify: %v, want %v", err, ErrKeysUnavailable)
	}
	e.Close() // waits for the handler
	if n := sent.Load(); n > 32 {
		t.Errorf("%d MiB were read, want 512 KiB", n)
	}
}

func TestLargestKeyset(t *testing.T) {
	set := setOf(entry(&rsaKey().PublicKey, "r", nil))
	e := newEndpoint(t, set+strings.Repeat(" ", maxKeyset-len(set)))
	v := newVerifier(t, Config{JWKSURL: e.URL})
	if _, err := v.Verify(t.Context(), good("RS256", rsaKey(), "r"), now); err != nil {
		t.Errorf("a set of exactly 512 KiB: %v", err)
	}
}

// An endpoint whose certificate nobody vouches for gets no question at all.
func TestUntrustedCertificate(t *testing.T) {
	var calls atomic.Int64
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { calls.Add(1) }))
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // the refused handshake is expected
	s.StartTLS()
	defer s.Close()
	v := newVerifier(t, Config{JWKSURL: s.URL})
	if _, err := v.Verify(t.Context(), good("RS256", rsaKey(), "r"), now); !errors.Is(err, ErrKeysUnavailable) {
		t.Errorf("Verify: %v, want %v", err, ErrKeysUnavailable)
	}
	if n := calls.Load(); n != 0 {
		t.Errorf("%d calls over an untrusted connection", n)
	}
}
