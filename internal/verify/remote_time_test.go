package verify

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

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

func TestCloseWaitsForTheEndOfTheFetch(t *testing.T) {
	inBubble(t, func(t *testing.T, v *Verifier, s *script, check func(string, error)) {
		s.answer = func(r *http.Request) (string, error) {
			<-r.Context().Done()
			time.Sleep(time.Minute) // a transport that is slow to give up
			return "", r.Context().Err()
		}
		check("r", ErrKeysUnavailable)
		start := time.Now()
		v.Close()
		if waited := time.Since(start); waited < 50*time.Second {
			t.Errorf("Close waited %s: a fetch outlives it", waited)
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
