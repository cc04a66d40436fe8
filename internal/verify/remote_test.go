package verify

import (
	"context"
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
	"testing/synctest"
	"time"
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
		"redirect": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) },
		"200 MB": func(w http.ResponseWriter, _ *http.Request) {
			chunk := []byte(strings.Repeat(" ", 1<<20))
			for range 200 {
				if _, err := w.Write(chunk); err != nil {
					return
				}
			}
			_, _ = io.WriteString(w, setOf(entry(&rsaKey2().PublicKey, "new", nil)))
		},
		"large head": func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X", strings.Repeat("x", 1<<20)) },
		"empty":      text(""),
		"null":       text("null"),
		"list":       text("[]"),
		"no keys":    text("{}"),
		"keys null":  text(`{"keys":null}`),
		"keys empty": text(`{"keys":[]}`),
		"keys text":  text(`{"keys":"x"}`),
		"KEYS":       text(strings.Replace(setOf(entry(&rsaKey2().PublicKey, "new", nil)), "keys", "KEYS", 1)),
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

// script answers in place of an endpoint, inside a bubble.
type script struct {
	calls  atomic.Int64
	answer func(*http.Request) (string, error)
}

func (s *script) RoundTrip(r *http.Request) (*http.Response, error) {
	s.calls.Add(1)
	body, err := s.answer(r)
	if err != nil {
		return nil, err
	}
	return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader(body)), Header: http.Header{}}, nil
}

var errDown = errors.New("connection refused")

func down(*http.Request) (string, error) { return "", errDown }

func hang(r *http.Request) (string, error) {
	<-r.Context().Done()
	return "", r.Context().Err()
}

func publish(set string) func(*http.Request) (string, error) {
	return func(*http.Request) (string, error) { return set, nil }
}

// inBubble runs a test against a scripted endpoint under a fake clock. check
// fails unless a token signed by rsaKey under kid has the outcome wanted.
func inBubble(t *testing.T, f func(t *testing.T, v *Verifier, s *script, check func(kid string, want error))) {
	set := setOf(entry(&rsaKey().PublicKey, "r", nil)) // keys are made outside: that takes real time
	synctest.Test(t, func(t *testing.T) {
		s := &script{answer: publish(set)}
		v := newVerifier(t, Config{JWKSURL: "https://keys.example/", Client: &http.Client{Transport: s}})
		f(t, v, s, func(kid string, want error) {
			t.Helper()
			if _, err := v.Verify(t.Context(), good("RS256", rsaKey(), kid), now); !errors.Is(err, want) {
				t.Errorf("key %q: %v, want %v", kid, err, want)
			}
		})
	})
}

func TestOutageOfADay(t *testing.T) {
	inBubble(t, func(t *testing.T, v *Verifier, s *script, check func(string, error)) {
		check("r", nil)
		stamp := v.Stamp()
		back := s.answer
		s.answer = down
		for range 23 {
			time.Sleep(time.Hour)
			check("r", nil)
			synctest.Wait()
		}
		time.Sleep(time.Hour - time.Second)
		check("r", nil)
		check("unknown", ErrKeysUnavailable)
		time.Sleep(2 * time.Second)
		check("r", ErrKeysUnavailable)

		s.answer = back
		time.Sleep(fetchEvery)
		check("r", nil)
		if v.Stamp() != stamp {
			t.Error("the same keys have another stamp after the outage")
		}
	})
}

func TestEndpointDownAtStart(t *testing.T) {
	inBubble(t, func(t *testing.T, v *Verifier, s *script, check func(string, error)) {
		back := s.answer
		s.answer = down
		for range 10 {
			check("r", ErrKeysUnavailable)
		}
		if n := s.calls.Load(); n != 2 {
			t.Errorf("%d fetches, want 2", n)
		}
		s.answer = back
		time.Sleep(fetchEvery)
		check("r", nil)
	})
}

func TestRefreshRunsBesideTheRequest(t *testing.T) {
	inBubble(t, func(t *testing.T, v *Verifier, s *script, check func(string, error)) {
		check("r", nil)
		stamp := v.Stamp()
		s.answer = hang
		time.Sleep(refreshEvery + time.Second)
		start := time.Now()
		check("r", nil)
		if waited := time.Since(start); waited != 0 {
			t.Errorf("a known key waited %s for the refresh", waited)
		}
		time.Sleep(fetchTimeout)
		synctest.Wait()
		if n := s.calls.Load(); n != 2 {
			t.Errorf("%d fetches, want 2", n)
		}
		if v.Stamp() != stamp {
			t.Error("a failed refresh changed the stamp")
		}
	})
}

func TestWithdrawnKey(t *testing.T) {
	other := setOf(entry(&rsaKey2().PublicKey, "other", nil))
	inBubble(t, func(t *testing.T, v *Verifier, s *script, check func(string, error)) {
		check("r", nil)
		stamp := v.Stamp()
		s.answer = publish(other)
		time.Sleep(refreshEvery + time.Second)
		check("r", nil) // starts the refresh
		synctest.Wait()
		if v.Stamp() == stamp {
			t.Error("verdicts outlive the key")
		}
		check("r", ErrInvalid)
	})
}

func TestRefreshOfTheSameKeysKeepsVerdicts(t *testing.T) {
	shuffled := setOf(object{"kty": "oct", "k": "AAAA"}, entry(&rsaKey().PublicKey, "r", object{"x-new": 1}))
	inBubble(t, func(t *testing.T, v *Verifier, s *script, check func(string, error)) {
		check("r", nil)
		stamp := v.Stamp()
		s.answer = publish(shuffled)
		time.Sleep(refreshEvery + time.Second)
		check("r", nil)
		synctest.Wait()
		if n := s.calls.Load(); n != 2 {
			t.Errorf("%d fetches, want 2", n)
		}
		if v.Stamp() != stamp {
			t.Error("the same keys have another stamp")
		}
	})
}

func TestHangingEndpointDelaysAMomentOnly(t *testing.T) {
	inBubble(t, func(t *testing.T, v *Verifier, s *script, check func(string, error)) {
		answer := s.answer
		s.answer = hang
		start := time.Now()
		check("r", ErrKeysUnavailable)
		if waited := time.Since(start); waited != firstWait {
			t.Errorf("first login waited %s, want %s", waited, firstWait)
		}
		synctest.Wait()
		s.answer = answer
		check("r", nil)
		s.answer = hang
		time.Sleep(time.Minute)
		start = time.Now()
		check("unknown", ErrKeysUnavailable)
		if waited := time.Since(start); waited != unknownWait {
			t.Errorf("unknown key waited %s, want %s", waited, unknownWait)
		}
	})
}

func TestLeavingCustomerDoesNotEndTheFetch(t *testing.T) {
	inBubble(t, func(t *testing.T, v *Verifier, s *script, check func(string, error)) {
		answer := s.answer
		s.answer = func(r *http.Request) (string, error) {
			time.Sleep(2 * time.Second)
			if r.Context().Err() != nil {
				return "", r.Context().Err()
			}
			return answer(r)
		}
		ctx, leave := context.WithTimeout(t.Context(), time.Second)
		defer leave()
		_, err := v.Verify(ctx, good("RS256", rsaKey(), "r"), now)
		if !errors.Is(err, ErrKeysUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("left after 1s: %v, want %v", err, ErrKeysUnavailable)
		}
		check("r", nil)
		if n := s.calls.Load(); n != 1 {
			t.Errorf("%d fetches, want 1", n)
		}
	})
}

func TestFloodOfAMinute(t *testing.T) {
	inBubble(t, func(t *testing.T, v *Verifier, s *script, check func(string, error)) {
		for i := range 600 {
			check(fmt.Sprint("k", i), ErrInvalid)
			time.Sleep(100 * time.Millisecond)
		}
		if n := s.calls.Load(); n > 2+60/15 {
			t.Errorf("%d fetches in a minute, want at most %d", n, 2+60/15)
		}
		check("r", nil)
	})
}

func TestCloseEndsTheFetch(t *testing.T) {
	inBubble(t, func(t *testing.T, v *Verifier, s *script, check func(string, error)) {
		check("r", nil)
		s.answer = hang
		time.Sleep(refreshEvery + time.Second)
		check("r", nil)
		start := time.Now()
		v.Close()
		if waited := time.Since(start); waited != 0 {
			t.Errorf("Close took %s", waited)
		}
		check("r", nil) // by the keys at hand
		check("unknown", ErrKeysUnavailable)
		if n := s.calls.Load(); n != 2 {
			t.Errorf("%d fetches, want none after Close", n-2)
		}
	})
}

func TestClosedBeforeTheFirstFetch(t *testing.T) {
	inBubble(t, func(t *testing.T, v *Verifier, s *script, check func(string, error)) {
		v.Close()
		check("r", ErrKeysUnavailable)
		if n := s.calls.Load(); n != 0 {
			t.Errorf("%d fetches after Close", n)
		}
	})
}
