package kiboauth

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// passageTo is what a handler behind the gateway writes to.
func passageTo(w http.ResponseWriter, s *Session, protected bool) *passage {
	p := &passage{h: &Handler{cookies: testNames}, session: s, protected: protected}
	p.ResponseWriter = w
	return p
}

func TestCachingOfSignedInPages(t *testing.T) {
	someone := testSession(testRealm, testCustomer())
	tests := []struct {
		name      string
		session   *Session
		protected bool
		said      string
		want      string
		vary      string
	}{
		{"protected, nothing said", someone, true, "", "private, no-store", ""},
		{"protected, public", someone, true, "public, max-age=60", "private, no-store", ""},
		{"protected, max-age", someone, true, "max-age=60", "private, no-store", ""},
		{"protected, private", someone, true, "private, max-age=60", "private, max-age=60", ""},
		{"protected, no-store", someone, true, "No-Store", "No-Store", ""},
		{"protected, no-store that may be overlooked", someone, true, "no-store, must-understand", "private, no-store", ""},
		{"protected, a word in a word", someone, true, "x-private", "private, no-store", ""},
		{"public, nothing said", someone, false, "", "private", "Cookie"},
		{"public, public", someone, false, "public, max-age=60", "public, max-age=60", ""},
		{"public, no-cache", someone, false, "no-cache", "no-cache", ""},
		{"nobody, nothing said", nil, false, "", "", ""},
		{"nobody, public", nil, false, "public", "public", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			p := passageTo(w, tt.session, tt.protected)
			if tt.said != "" {
				p.Header().Set("Cache-Control", tt.said)
			}
			p.WriteHeader(http.StatusOK)
			if got := strings.Join(w.Result().Header["Cache-Control"], "|"); got != tt.want {
				t.Errorf("Cache-Control = %q, want %q", got, tt.want)
			}
			if got := strings.Join(w.Result().Header["Vary"], "|"); got != tt.vary {
				t.Errorf("Vary = %q, want %q", got, tt.vary)
			}
		})
	}
}

// What an upstream says to a CDN alone would go before our Cache-Control.
func TestCachingByAnotherHeader(t *testing.T) {
	someone := testSession(testRealm, testCustomer())
	for _, name := range []string{"Surrogate-Control", "CDN-Cache-Control", "Cloudflare-CDN-Cache-Control", "X-LiteSpeed-Cache-Control", "Edge-Control", "X-Accel-Expires"} {
		for protected, want := range map[bool]string{true: "", false: "max-age=60"} {
			w := httptest.NewRecorder()
			p := passageTo(w, someone, protected)
			p.Header().Set(name, "max-age=60")
			p.Header().Set("Cache-Control", "private")
			p.WriteHeader(http.StatusOK)
			if got := w.Result().Header; got.Get(name) != want || got.Get("Cache-Control") != "private" {
				t.Errorf("%s, protected %t: %v, want %q", name, protected, got, want)
			}
		}
	}
}

func TestVaryOfTheShopIsKept(t *testing.T) {
	w := httptest.NewRecorder()
	p := passageTo(w, testSession(testRealm, testCustomer()), false)
	p.Header().Set("Vary", "Accept-Encoding")
	p.WriteHeader(http.StatusOK)
	if got := w.Result().Header["Vary"]; !slices.Equal(got, []string{"Accept-Encoding", "Cookie"}) {
		t.Errorf("Vary = %q, want both", got)
	}
}

// However an upstream begins to answer, what is not its to say is taken out.
func TestUpstreamAnswersAreCleaned(t *testing.T) {
	ways := map[string]func(*passage) error{
		"WriteHeader": func(p *passage) error { p.WriteHeader(http.StatusNotFound); return nil },
		"Write":       func(p *passage) error { _, err := p.Write([]byte("x")); return err },
		"io.Copy": func(p *passage) error {
			_, err := io.Copy(p, io.LimitReader(strings.NewReader("x"), 1))
			return err
		},
		"Flush":        func(p *passage) error { return http.NewResponseController(p).Flush() },
		"after a hint": func(p *passage) error { p.WriteHeader(http.StatusEarlyHints); p.WriteHeader(http.StatusOK); return nil },
		"http.Redirect": func(p *passage) error {
			http.Redirect(p, &http.Request{Method: "GET", URL: new(url.URL)}, "/", http.StatusFound)
			return nil
		},
	}
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			got := make(chan http.Header, 1)
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				h := w.Header()
				h.Add("Set-Cookie", "__Host-kibo=evil")
				h.Add("Set-Cookie", "a=1")
				h.Set("X-Vol-User-Claims", "secret")
				h.Set("X-Vol-App-Claims", "secret")
				if err := way(passageTo(w, testSession(testRealm, testCustomer()), true)); err != nil {
					t.Errorf("writing: %v", err)
				}
				got <- h.Clone()
			}))
			defer srv.Close()
			resp, err := http.DefaultTransport.RoundTrip(request(t, http.MethodGet, srv.URL))
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			<-got
			if c := resp.Header["Set-Cookie"]; !slices.Equal(c, []string{"a=1"}) {
				t.Errorf("Set-Cookie = %q, want a=1", c)
			}
			if c := resp.Header.Get("X-Vol-User-Claims") + resp.Header.Get("X-Vol-App-Claims"); c != "" {
				t.Errorf("claims reach the browser")
			}
			if c := resp.Header.Get("Cache-Control"); c != "private, no-store" {
				t.Errorf("Cache-Control = %q, want private, no-store", c)
			}
		})
	}
}

// A hint before the answer must not count as the answer.
func TestEarlyHintDoesNotEndCleaning(t *testing.T) {
	w := httptest.NewRecorder()
	p := passageTo(w, testSession(testRealm, testCustomer()), true)
	p.WriteHeader(http.StatusEarlyHints)
	if p.Header().Get("Cache-Control") != "" {
		t.Error("the hint got the answer's headers")
	}
	p.Header().Set("Set-Cookie", "__Host-kibo=evil")
	p.WriteHeader(http.StatusSwitchingProtocols)
	if p.Header().Get("Set-Cookie") != "" {
		t.Error("a switch of protocols sets our cookie")
	}
}

// hijackable is a connection that a WebSocket may take over.
type hijackable struct {
	http.ResponseWriter
	taken bool
}

func (h *hijackable) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	h.taken = true
	return nil, nil, nil
}

func TestPassageLetsThroughWhatTheServerCan(t *testing.T) {
	w := &hijackable{ResponseWriter: httptest.NewRecorder()}
	p := passageTo(w, nil, false)
	if _, _, err := http.NewResponseController(p).Hijack(); err != nil || !w.taken {
		t.Errorf("Hijack: %v, taken %v", err, w.taken)
	}
	var readerFrom io.ReaderFrom = p
	if n, err := readerFrom.ReadFrom(strings.NewReader("abc")); n != 3 || err != nil {
		t.Errorf("ReadFrom = %d, %v, want 3", n, err)
	}
	if got := w.ResponseWriter.(*httptest.ResponseRecorder).Body.String(); got != "abc" {
		t.Errorf("ReadFrom wrote %q, want abc", got)
	}
}
