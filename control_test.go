package kiboauth

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/kiboauth/caddy-kibo-auth/internal/kibosim"
)

const controlHeader = "Kibo-Session"

func newControlled(t *testing.T) *gateway {
	return newGateway(t, func(h *Handler) {
		h.Session.ControlHeader = "kibo-session" // as one may write it
		h.Public = []string{"/public/*"}
	})
}

// says is an upstream that has a word on the session.
func says(status int, words ...string) caddyhttp.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) error {
		w.Header()[controlHeader] = words
		w.WriteHeader(status)
		return nil
	}
}

func TestTheShopEndsSessions(t *testing.T) {
	tests := []struct {
		name  string
		words []string
		left  string // this, other device, another customer
		warns int
	}{
		{"end", []string{"end"}, "-ox", 0},
		{"in any case", []string{" END "}, "-ox", 0},
		{"end-all", []string{"end-all"}, "--x", 0},
		{"the strongest counts", []string{"end, refresh", "End-All"}, "--x", 0},
		{"unknown", []string{"logout"}, "tox", 1},
		{"several unknown", []string{"logout, ends", "endall"}, "tox", 1},
		{"unknown and known", []string{"end;now, end"}, "-ox", 1},
		{"nothing", []string{"", ","}, "tox", 0},
	}
	for _, tt := range tests {
		for _, status := range []int{200, 204, 303, 304, 404, 500} {
			g := newControlled(t)
			this, other, stranger := g.signIn(jane), g.signIn(jane), g.signIn(john)
			o := g.serveTo(request(t, http.MethodGet, "/account", "Cookie", this), says(status, tt.words...))
			left := ""
			for i, cookie := range []string{this, other, stranger} {
				if g.session(cookie) != nil {
					left += "tox"[i : i+1]
				} else {
					left += "-"
				}
			}
			if left != tt.left {
				t.Errorf("%s, %d: still signed in: %s, want %s", tt.name, status, left, tt.left)
			}
			if o.Code != status || o.Header()[controlHeader] != nil {
				t.Errorf("%s, %d: status %d, control header %q", tt.name, status, o.Code, o.Header()[controlHeader])
			}
			c, ended := o.cookie(g.cookies.session), tt.left[0] == '-'
			if (c != nil && c.MaxAge < 0) != ended || (o.Header().Get("Clear-Site-Data") == `"cache"`) != ended {
				t.Errorf("%s, %d: cookie %v, Clear-Site-Data %q", tt.name, status, c, o.Header().Get("Clear-Site-Data"))
			}
			if n := g.logs.FilterMessageSnippet("the shop says something else").Len(); n != tt.warns {
				t.Errorf("%s, %d: %d warnings, want %d", tt.name, status, n, tt.warns)
			}
		}
	}
}

// TestTheShopsWordStaysHere: no browser sees it, whoever is asking and however
// the shop answers.
func TestTheShopsWordStaysHere(t *testing.T) {
	g := newControlled(t)
	cookie := g.signIn(jane)
	broken := errors.New("broken")
	ways := map[string]func(w http.ResponseWriter) error{
		"header":   func(w http.ResponseWriter) error { w.WriteHeader(http.StatusOK); return nil },
		"body":     func(w http.ResponseWriter) error { _, err := w.Write([]byte("x")); return err },
		"nothing":  func(http.ResponseWriter) error { return nil },
		"an error": func(http.ResponseWriter) error { return broken },
		"a trailer": func(w http.ResponseWriter) error {
			w.WriteHeader(200)
			w.Header()[controlHeader] = []string{"x"}
			return nil
		},
		"named trailer": func(w http.ResponseWriter) error {
			w.Header()[http.TrailerPrefix+controlHeader] = []string{"end"}
			return nil
		},
		"a hint": func(w http.ResponseWriter) error {
			w.WriteHeader(http.StatusEarlyHints)
			if w.Header()[controlHeader] != nil {
				t.Error("a hint carries the header")
			}
			return nil
		},
	}
	for name, way := range ways {
		for who, header := range map[string][]string{"jane": {"Cookie", cookie}, "nobody": nil} {
			w := httptest.NewRecorder()
			r := prepared(request(t, http.MethodGet, "/public/x", header...), w)
			err := g.ServeHTTP(w, r, caddyhttp.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) error {
				w.Header()[controlHeader] = []string{"something"}
				return way(w)
			}))
			if err != nil && !errors.Is(err, broken) {
				t.Fatal(err)
			}
			if w.Header()[controlHeader] != nil || w.Header()[http.TrailerPrefix+controlHeader] != nil || w.Result().Header[controlHeader] != nil {
				t.Errorf("%s, %s: the header reaches the browser", name, who)
			}
		}
	}
}

// TestOnlyTheUpstreamHasAWord: not what stands in front of the gateway, nobody
// for nobody, and no answer that does not go out.
func TestOnlyTheUpstreamHasAWord(t *testing.T) {
	g := newControlled(t)
	cookie := g.signIn(jane)
	w := httptest.NewRecorder()
	w.Header().Set(controlHeader, "end-all")
	if err := g.ServeHTTP(w, prepared(request(t, http.MethodGet, "/account", "Cookie", cookie), w), caddyhttp.HandlerFunc(shop)); err != nil {
		t.Fatal(err)
	}
	if o := g.serveTo(request(t, http.MethodGet, "/public/x"), says(200, "end-all")); o.Header()["Set-Cookie"] != nil {
		t.Error("nobody is signed out")
	}
	hint := func(w http.ResponseWriter, _ *http.Request) error {
		w.Header().Set(controlHeader, "end")
		w.WriteHeader(http.StatusEarlyHints)
		w.WriteHeader(http.StatusOK)
		return nil
	}
	g.serveTo(request(t, http.MethodGet, "/account", "Cookie", cookie), hint)
	if g.session(cookie) == nil {
		t.Error("the session has ended")
	}
	off := newGateway(t)
	cookie = off.signIn(jane)
	o := off.serveTo(request(t, http.MethodGet, "/account", "Cookie", cookie), says(200, "end"))
	if off.session(cookie) == nil || !slices.Equal(o.Header()[controlHeader], []string{"end"}) {
		t.Error("the shop has a word without being asked for it")
	}
}

// TestTheShopEndsASessionWhileTheStoreIsDown: the answer goes out, and this
// browser is signed out at least.
func TestTheShopEndsASessionWhileTheStoreIsDown(t *testing.T) {
	g := newControlled(t)
	cookie := g.signIn(jane)
	g.breakStore().remove = errors.New("down")
	for _, word := range []string{"end", "end-all"} {
		o := g.serveTo(request(t, http.MethodGet, "/account", "Cookie", cookie), says(200, word))
		if c := o.cookie(g.cookies.session); o.Code != http.StatusOK || c == nil || c.MaxAge >= 0 {
			t.Errorf("%s: status %d, cookie %v", word, o.Code, c)
		}
	}
	if n := g.logs.FilterMessage("ending sessions at the shop's word").Len(); n != 2 {
		t.Errorf("%d errors were logged, want 2", n)
	}
}

// TestTheLastAnswerIsNotCut: the one that ends its own session comes to its end.
func TestTheLastAnswerIsNotCut(t *testing.T) {
	g := newControlled(t)
	cookie := g.signIn(jane)
	o := g.serveTo(request(t, http.MethodGet, "/account", "Cookie", cookie), func(w http.ResponseWriter, _ *http.Request) error {
		g.looks()
		w.Header().Set(controlHeader, "end")
		w.WriteHeader(http.StatusOK)
		g.looks()
		_, err := w.Write([]byte("bye"))
		return err
	})
	if o.Body.String() != "bye" || g.session(cookie) != nil {
		t.Errorf("%q, session %v", o.Body, g.session(cookie))
	}
}

func TestTheShopAsksForANewTicket(t *testing.T) {
	g := newControlled(t)
	cookie := g.signIn(jane)
	before := g.session(cookie)
	g.sim.AddCustomer(kibosim.Customer{AccountID: 1001, Email: jane, FirstName: "Janet"})
	g.serveTo(request(t, http.MethodGet, "/account", "Cookie", cookie), says(200, "refresh"))
	waitUntil(t, "the session has a new ticket", func() bool { s := g.session(cookie); return s != nil && s.Version > before.Version })
	if got := g.session(cookie).plain(fieldFirstName); got != "Janet" {
		t.Errorf("the customer is still %q", got)
	}
	if n := g.sim.Calls("refresh"); n != 1 {
		t.Errorf("%d refreshes, want 1", n)
	}
}

// TestNewTicketIsNotTheOneUnderWay: what Kibo was asked before the shop spoke
// may be too old.
func TestNewTicketIsNotTheOneUnderWay(t *testing.T) {
	g := newControlled(t)
	cookie := g.signIn(jane)
	g.edit(cookie, func(l *live) { l.due = ago(0) })
	h := g.holdUp("/refresh")
	g.serve(request(t, http.MethodGet, "/account", "Cookie", cookie)) // begins a refresh beside it
	h.await(t)
	for range 20 { // share one more
		g.serveTo(request(t, http.MethodGet, "/account", "Cookie", cookie), says(200, "refresh"))
	}
	close(h.goOn)
	waitUntil(t, "Kibo is asked again", func() bool { return g.sim.Calls("refresh") >= 2 })
	g.settle(cookie)
	if n := g.sim.Calls("refresh"); n > 5 {
		t.Errorf("%d refreshes for 20 answers", n)
	}
}

func TestControlsAreWords(t *testing.T) {
	words, known := controls([]string{"refresh,END", "\tend-all "})
	if !known || !words[controlRefresh] || !words[controlEnd] || !words[controlEndAll] {
		t.Errorf("controls = %v, %t", words, known)
	}
	if words, known := controls([]string{strings.Repeat("end ", 2)}); known || len(words) > 0 {
		t.Errorf("controls = %v, %t", words, known)
	}
}

// prepared is a request as Caddy hands it to handlers.
func prepared(r *http.Request, w http.ResponseWriter) *http.Request {
	return caddyhttp.PrepareRequest(r, caddy.NewReplacer(), w, nil)
}
