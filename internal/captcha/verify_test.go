package captcha

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const testSecret = "0x-secret-key-of-the-widget"

// answer is one that can be good.
const answer = "0.an-answer_of.the-widget"

// service is a provider's stand-in.
type service struct {
	*httptest.Server
	calls atomic.Int64
	last  atomic.Pointer[url.Values]
}

// serve answers each call as told.
func serve(t *testing.T, answer http.HandlerFunc) *service {
	t.Helper()
	s := new(service)
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.calls.Add(1)
		if err := r.ParseForm(); err != nil || r.Method != http.MethodPost {
			t.Errorf("%s %s: %v", r.Method, r.URL, err)
		}
		s.last.Store(&r.PostForm)
		answer(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

// says answers with a status and a text.
func says(status int, text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		fmt.Fprint(w, text)
	}
}

func (s *service) verifier(t *testing.T, timeout time.Duration) *Verifier {
	t.Helper()
	p, err := Custom(s.URL+"/siteverify", "")
	if err != nil {
		t.Fatal(err)
	}
	v := New(p, func() (string, error) { return testSecret, nil }, timeout)
	t.Cleanup(v.Close)
	return v
}

var shop = []string{"shop.example.com"}

func TestVerifySendsSecretAnswerAndAddress(t *testing.T) {
	s := serve(t, says(200, `{"success":true,"error-codes":[],"hostname":"shop.example.com","action":"sign_in","challenge_ts":"2026-01-01T00:00:00Z"}`))
	if err := s.verifier(t, 0).Verify(t.Context(), answer, "192.0.2.1", shop); err != nil {
		t.Fatal(err)
	}
	want := url.Values{"secret": {testSecret}, "response": {answer}, "remoteip": {"192.0.2.1"}}
	if got := *s.last.Load(); got.Encode() != want.Encode() {
		t.Errorf("sent %v, want %v", got, want)
	}
}

// What each answer of a provider comes to. A client must not be able to cause
// ErrUnavailable, since an operator may let posts through then.
func TestVerdicts(t *testing.T) {
	huge := `{"success":true,"cdata":"` + strings.Repeat("x", maxBody) + `"}`
	for name, tt := range map[string]struct {
		status int
		text   string
		want   error
	}{
		"good":                      {200, `{"success":true}`, nil},
		"good, host in capitals":    {200, `{"success":true,"hostname":"Shop.Example.COM."}`, nil},
		"good, host not provided":   {200, `{"success":true,"hostname":"not-provided"}`, nil},
		"host null":                 {200, `{"success":true,"hostname":null,"action":null}`, nil},
		"another host":              {200, `{"success":true,"hostname":"evil.example"}`, ErrRefused},
		"host that ends like ours":  {200, `{"success":true,"hostname":"evilshop.example.com"}`, ErrRefused},
		"host below ours":           {200, `{"success":true,"hostname":"a.shop.example.com"}`, ErrRefused},
		"another action":            {200, `{"success":true,"hostname":"shop.example.com","action":"newsletter"}`, ErrRefused},
		"no":                        {200, `{"success":false}`, ErrRefused},
		"missing-input-response":    {200, `{"success":false,"error-codes":["missing-input-response"]}`, ErrRefused},
		"invalid-input-response":    {200, `{"success":false,"error-codes":["invalid-input-response"]}`, ErrRefused},
		"timeout-or-duplicate":      {200, `{"success":false,"error-codes":["timeout-or-duplicate"]}`, ErrRefused},
		"already seen":              {200, `{"success":false,"error-codes":["invalid-or-already-seen-response"]}`, ErrRefused},
		"expired":                   {200, `{"success":false,"error-codes":["expired-input-response"]}`, ErrRefused},
		"somebody else's widget":    {200, `{"success":false,"error-codes":["sitekey-secret-mismatch"]}`, ErrRefused},
		"bad-request":               {400, `{"success":false,"error-codes":["bad-request"]}`, ErrRefused},
		"unknown code":              {200, `{"success":false,"error-codes":["something-new"]}`, ErrRefused},
		"missing-input-secret":      {200, `{"success":false,"error-codes":["missing-input-secret"]}`, ErrUnavailable},
		"invalid-input-secret":      {200, `{"success":false,"error-codes":["invalid-input-secret","invalid-input-response"]}`, ErrUnavailable},
		"internal-error":            {200, `{"success":false,"error-codes":["internal-error"]}`, ErrUnavailable},
		"page for a bad answer":     {400, `<html>Bad Request</html>`, ErrRefused},
		"page for a long answer":    {413, `<html>Too Large</html>`, ErrRefused},
		"success that is no truth":  {200, `{"success":"true"}`, ErrUnavailable},
		"success 1":                 {200, `{"success":1}`, ErrUnavailable},
		"success null":              {200, `{"success":null}`, ErrUnavailable},
		"no success":                {200, `{"hostname":"shop.example.com"}`, ErrUnavailable},
		"success with an error":     {404, `{"success":true}`, ErrUnavailable},
		"success with no content":   {201, `{"success":true}`, ErrUnavailable},
		"empty":                     {200, ``, ErrUnavailable},
		"garbage":                   {200, `<html>interstitial</html>`, ErrUnavailable},
		"list":                      {200, `[{"success":true}]`, ErrUnavailable},
		"cut":                       {200, `{"success":true,"hostname":"sh`, ErrUnavailable},
		"more behind it":            {200, `{"success":true}{"success":true}`, ErrUnavailable},
		"huge":                      {200, huge, ErrUnavailable},
		"forbidden":                 {403, `no`, ErrUnavailable},
		"unauthorized":              {401, `no`, ErrUnavailable},
		"too many requests":         {429, `{"success":false}`, ErrUnavailable},
		"server error":              {500, `{"success":true}`, ErrUnavailable},
		"bad gateway":               {502, `<html>`, ErrUnavailable},
		"redirect without location": {302, ``, ErrUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, says(tt.status, tt.text))
			err := s.verifier(t, 0).Verify(t.Context(), answer, "", shop)
			if !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) {
				t.Errorf("%d %.60q: %v, want %v", tt.status, tt.text, err, tt.want)
			}
			if n := s.calls.Load(); n != 1 {
				t.Errorf("%d calls, want 1", n)
			}
		})
	}
}

// TestSecretDoesNotFollowRedirects: neither where the status keeps the body.
func TestSecretDoesNotFollowRedirects(t *testing.T) {
	elsewhere := serve(t, says(200, `{"success":true}`))
	for _, status := range []int{301, 302, 303, 307, 308} {
		s := serve(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, elsewhere.URL, status) })
		if err := s.verifier(t, 0).Verify(t.Context(), answer, "", shop); !errors.Is(err, ErrUnavailable) {
			t.Errorf("%d: %v, want ErrUnavailable", status, err)
		}
	}
	if n := elsewhere.calls.Load(); n != 0 {
		t.Errorf("%d redirects were followed", n)
	}
}

// TestHangingProvider: the call ends by itself, and is not tried again.
func TestHangingProvider(t *testing.T) {
	free := make(chan struct{})
	s := serve(t, func(http.ResponseWriter, *http.Request) { <-free })
	defer close(free)
	if err := s.verifier(t, 50*time.Millisecond).Verify(t.Context(), answer, "", shop); !errors.Is(err, ErrUnavailable) {
		t.Errorf("%v, want ErrUnavailable", err)
	}
	if n := s.calls.Load(); n != 1 {
		t.Errorf("%d calls, want 1", n)
	}
}

// TestBodyThatNeverEnds: a head and then a byte at a time.
func TestBodyThatNeverEnds(t *testing.T) {
	free := make(chan struct{})
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"success":true`)
		w.(http.Flusher).Flush()
		<-free
	})
	defer close(free)
	if err := s.verifier(t, 50*time.Millisecond).Verify(t.Context(), answer, "", shop); !errors.Is(err, ErrUnavailable) {
		t.Errorf("%v, want ErrUnavailable", err)
	}
}

// TestUsedAnswerIsNotSentAgain: a connection that breaks after the question is
// an outage, not a reason to ask once more.
func TestUsedAnswerIsNotSentAgain(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		conn.Close()
	})
	v := s.verifier(t, 0)
	for want := int64(1); want <= 3; want++ {
		if err := v.Verify(t.Context(), answer, "", shop); !errors.Is(err, ErrUnavailable) {
			t.Errorf("%v, want ErrUnavailable", err)
		}
		if n := s.calls.Load(); n != want {
			t.Errorf("%d calls, want %d", n, want)
		}
	}
}

func TestNobodyListens(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	ln.Close()
	p, err := Custom("http://"+addr+"/siteverify", "")
	if err != nil {
		t.Fatal(err)
	}
	err = New(p, func() (string, error) { return testSecret, nil }, 0).Verify(t.Context(), answer, "", shop)
	if !errors.Is(err, ErrUnavailable) || strings.Contains(fmt.Sprintf("%v %+v %#v", err, err, err), testSecret) {
		t.Errorf("%v, want ErrUnavailable without the secret", err)
	}
}

// TestAnswersThatCannotBe cost no call.
func TestAnswersThatCannotBe(t *testing.T) {
	s := serve(t, says(200, `{"success":true}`))
	v := s.verifier(t, 0)
	for name, bad := range map[string]string{
		"none": "", "long": strings.Repeat("a", shortAnswer+1), "blank": "a b", "newline": "a\nb", "NUL": "a\x00", "DEL": "a\x7f",
		"not ASCII": "aé", "no UTF-8": "a\xff",
	} {
		if err := v.Verify(t.Context(), bad, "", shop); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v, want ErrRefused", name, err)
		}
	}
	if n := s.calls.Load(); n != 0 {
		t.Errorf("%d calls, want 0", n)
	}
	if err := v.Verify(t.Context(), strings.Repeat("a", shortAnswer), "", shop); err != nil {
		t.Errorf("the longest that Turnstile makes: %v", err)
	}
}

// TestFloodOfAnswers: so many at a time, and what is more is neither asked nor
// taken for an outage.
func TestFloodOfAnswers(t *testing.T) {
	free := make(chan struct{})
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		<-free
		fmt.Fprint(w, `{"success":true}`)
	})
	v := s.verifier(t, 0)
	var posts sync.WaitGroup
	var good, busy atomic.Int64
	full := make(chan struct{})
	for range places + 20 {
		posts.Go(func() {
			switch err := v.Verify(t.Context(), answer, "", shop); {
			case err == nil:
				good.Add(1)
			case errors.Is(err, ErrBusy) && !errors.Is(err, ErrUnavailable):
				if busy.Add(1) == 20 {
					close(full)
				}
			default:
				t.Error(err)
			}
		})
	}
	select {
	case <-full:
	case <-time.After(MaxTimeout):
		t.Error("the calls are not bounded")
	}
	close(free)
	posts.Wait()
	if good.Load() != places || busy.Load() != 20 {
		t.Errorf("%d good and %d refused, want %d and 20", good.Load(), busy.Load(), places)
	}
}

// TestReplacedSecretCounts at the next call; one that cannot be read is an outage.
func TestReplacedSecretCounts(t *testing.T) {
	s := serve(t, says(200, `{"success":true}`))
	p, err := Custom(s.URL, "")
	if err != nil {
		t.Fatal(err)
	}
	secret, fault := "first", error(nil)
	v := New(p, func() (string, error) { return secret, fault }, 0)
	defer v.Close()
	for _, secret = range []string{"first", "second"} {
		if err := v.Verify(t.Context(), answer, "", shop); err != nil || s.last.Load().Get("secret") != secret {
			t.Errorf("%v, sent %q, want %q", err, s.last.Load().Get("secret"), secret)
		}
	}
	fault = errors.New("file is gone")
	if err := v.Verify(t.Context(), answer, "", shop); !errors.Is(err, ErrUnavailable) || s.calls.Load() != 2 {
		t.Errorf("%v, %d calls; want ErrUnavailable and 2", err, s.calls.Load())
	}
}
