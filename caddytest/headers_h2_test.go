package caddytest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/kiboauth/caddy-kibo-auth/internal/attack"
)

// malformed are fields that RFC 9113 §8.2 and RFC 9114 §4.2 forbid, or that
// would become another header in HTTP/1.1 towards the shop.
var malformed = []field{
	{"Kibo-Account-Id", forged},
	{"KIBO-ACCOUNT-ID", forged},
	{"kibo-Account-id", forged},
	{":kibo-account-id", forged},
	{"kibo-account-id:", forged},
	{"kibo-account-id: forged", ""},
	{" kibo-account-id", forged},
	{"kibo-account-id ", forged},
	{"\tkibo-account-id", forged},
	{"kibo account-id", forged},
	{"kibo-account-id\x00", forged},
	{"kibo-account-id\x7f", forged},
	{"kibo-account-id\xc3\xad", forged},
	{"\uff4bibo-account-id", forged},
	{"x\r\nkibo-account-id", forged},
	{"x: 1\r\nkibo-account-id", forged},
	{"x\nkibo-account-id", forged},
	{"", forged},
	{"x-other", "1\r\nKibo-Account-Id: forged"},
	{"x-other", "1\nKibo-Account-Id: forged"},
	{"x-other", "1\rKibo-Account-Id: forged"},
	{"x-other", "1\x00Kibo-Account-Id: forged"},
	{"x-other", "1\r\n\r\nGET /hidden HTTP/1.1\r\nHost: x\r\nKibo-Account-Id: forged\r\n\r\n"},
	{"cookie", "a=1\r\nKibo-Account-Id: forged"},
	{"user-agent", "x\r\nKibo-Account-Id: forged"},
	{"connection", "kibo-account-id"},
	{"connection", "close, Kibo-Account-Id, X-Customer-Email"},
	{"proxy-connection", "kibo-account-id"},
	{"keep-alive", "kibo-account-id"},
	{"upgrade", "kibo-account-id"},
	{"upgrade", "websocket"},
	{"te", "trailers, kibo-account-id"},
	{"te", "gzip"},
	{"transfer-encoding", "chunked"},
	{"transfer-encoding", "kibo-account-id, chunked"},
	{"content-length", "5"},
	{"content-length", "-1"},
	{"content-length", "0x5"},
	{"host", "forged.example"},
	{":path", "/public/" + forged},
	{":authority", "forged.example"},
	{":status", "200"},
	{":protocol", "websocket"},
	{"trailer", "Kibo-Account-Id"},
}

// trials are messages that can be told apart at the shop, which may get one
// that is cut off on its way after the next one has been answered.
type trials struct {
	*world
	sent []route
}

// send sends one more and returns what the shop has got of it so far.
func (x *trials) send(wire wire, r route, m *message) (status int, got []*seen) {
	id := strconv.Itoa(len(x.sent))
	x.sent = append(x.sent, r)
	m.fields = append(m.fields, field{"x-try", id})
	status = wire.send(m)
	return status, x.shop.try(id)
}

// checkLate looks at what came afterwards.
func (x *trials) checkLate(t *testing.T) {
	t.Helper()
	for id, r := range x.sent {
		for _, got := range x.shop.try(strconv.Itoa(id)) {
			for _, lie := range lies(got, r.signedIn) {
				t.Errorf("%s, of a request that was cut off: the shop is told %s", r.name, lie)
			}
		}
	}
}

// TestMalformedFieldsOverHTTP2And3: whatever becomes of such a request, the
// shop is told of no identity but ours, and asked nothing but what was asked.
func TestMalformedFieldsOverHTTP2And3(t *testing.T) {
	s := spoofable
	s.last = "" // an error page would be a second request
	w, session := startSecure(t, s)
	x := &trials{world: w}
	for version, wire := range versions(t, w.addr) {
		if version == "HTTP/1.1" {
			continue // which is put together of lines, and has tests of its own
		}
		for _, r := range []route{shopRoutes[0], shopRoutes[2], shopRoutes[6]} {
			for _, f := range malformed {
				x.checkMalformed(t, version, wire, r, r.with(session, []field{f}), f)
			}
			for _, f := range pseudoTricks {
				m := r.with(session, nil)
				m.pseudo = append(m.block(w.addr)[:4:4], f)
				x.checkMalformed(t, version, wire, r, m, f)
			}
			wire.close() // which the server may have done already
			if status, got := x.send(wire, r, r.with(session, nil)); r.asked && (status != 200 || len(got) != 1) {
				t.Errorf("%s, %s: afterwards an honest request is not served", version, r.name)
			}
		}
	}
	x.checkLate(t)
}

// pseudoTricks follow right behind the pseudo-headers that must be there.
var pseudoTricks = []field{
	{":kibo", forged},
	{":kibo-account-id", forged},
	{":Kibo-Account-Id", forged},
	{":", forged},
	{":path", "/public/" + forged},
	{":method", "POST"},
	{":authority", "forged.example"},
	{":scheme", "http"},
	{":status", "200"},
	{":protocol", "websocket"},
	{":path", ""},
}

func (x *trials) checkMalformed(t *testing.T, version string, wire wire, r route, m *message, f field) {
	t.Helper()
	status, all := x.send(wire, r, m)
	if len(all) > 1 {
		t.Errorf("%s, %s, %.60q: the shop got %d requests of one", version, r.name, f, len(all))
	}
	if len(all) == 0 && status >= 200 && status < 300 {
		t.Errorf("%s, %s, %.60q: %d, and the shop was not asked", version, r.name, f, status)
	}
	for _, got := range all {
		if got.uri != r.message.path || got.method != r.message.verb() {
			t.Errorf("%s, %s, %.60q: the shop is asked %s %s", version, r.name, f, got.method, got.uri)
		}
		for _, lie := range lies(got, r.signedIn) {
			t.Errorf("%s, %s, %.60q: the shop is told %s", version, r.name, f, lie)
		}
	}
}

// TestCookieCrumbs: HTTP/2 and 3 may send each cookie in a field of its own (RFC
// 9113 §8.2.3), in HTTP/1.1 some clients do. Ours is found in each, taken out of
// each, and counts for nothing if there are two.
func TestCookieCrumbs(t *testing.T) {
	w, session := startSecure(t, spoofable)
	givenAway(t, session)
	own := sessionCookie + "=" + session
	for version, wire := range versions(t, w.addr) {
		for _, tt := range []struct {
			name   string
			crumbs []string
			good   bool
		}{
			{"one by one", []string{"a=1", own, "b=2"}, true},
			{"ours last", []string{"a=1; b=2", own}, true},
			{"ours in the middle of one", []string{"a=1; " + own + "; b=2"}, true},
			{"ours twice", []string{own, "a=1", own, "b=2"}, true},
			{"an other one before", []string{sessionCookie + "=x", "a=1", own, "b=2"}, false},
			{"an other one behind", []string{own, "a=1; b=2", sessionCookie + "=" + strings.Repeat("A", 43)}, false},
			{"cut in two", []string{"a=1", sessionCookie, "=" + session, "b=2"}, false},
			{"half the value", []string{own[:len(own)-9], own[len(own)-9:], "a=1", "b=2"}, false},
		} {
			m := &message{path: "/public/x"}
			for _, c := range tt.crumbs {
				m.fields = append(m.fields, field{"cookie", c})
			}
			status := wire.send(m)
			got := w.shop.got()
			if got == nil {
				t.Fatalf("%s, %s: %d, the shop was not asked", version, tt.name, status)
			}
			if is := got.header.Get(accountHeader); (is == janeID) != tt.good || is != "" && is != janeID {
				t.Errorf("%s, %s: the shop is told of %q", version, tt.name, is)
			}
			cookies := strings.Join(got.header["Cookie"], "; ")
			if strings.Contains(cookies, own) || !strings.Contains(cookies, "a=1") || !strings.Contains(cookies, "b=2") {
				t.Errorf("%s, %s: the shop gets the cookies %q", version, tt.name, strings.ReplaceAll(cookies, session, "SESSION"))
			}
		}
	}
}

// TestTrailersInEveryVersion: announced or not, a trailer says nothing. Some may
// not stand in a trailer at all, so that the request is cut off.
func TestTrailersInEveryVersion(t *testing.T) {
	w, session := startSecure(t, spoofable)
	x := &trials{world: w}
	var trailers []field
	for _, name := range append(attack.HeaderSpellings(accountHeader), "X-Customer-Email", "Remote-User", "X-Other") {
		trailers = append(trailers, field{strings.ToLower(name), forged})
	}
	forbidden := []field{{"content-length", "9"}, {"host", forged}, {"transfer-encoding", "chunked"}, {":path", "/" + forged}, {"cookie", forged}, {"X-Upper", forged}}
	for version, wire := range versions(t, w.addr) {
		for _, announced := range [][]field{nil, {{"trailer", "kibo-account-id, x-customer-email, x-other"}, {"te", "trailers"}}, {{"trailer", "x-other"}}} {
			for _, r := range []route{shopRoutes[0], shopRoutes[2], shopRoutes[6]} {
				r.message.method, r.message.body = "POST", "a=b"
				for some := range slices.Chunk(trailers, 12) {
					m := r.with(session, announced)
					m.trailers = some
					status, got := x.send(wire, r, m)
					if len(got) != 1 || string(got[0].body) != "a=b" {
						t.Fatalf("%s, %s, %v: %d, the shop gets %+v", version, r.name, announced, status, got)
					}
					for _, lie := range lies(got[0], r.signedIn) {
						t.Errorf("%s, %s, %v: the shop is told %s", version, r.name, announced, lie)
					}
				}
				for _, f := range forbidden {
					m := r.with(session, announced)
					m.trailers = []field{f}
					_, got := x.send(wire, r, m)
					for _, g := range got {
						for _, lie := range lies(g, r.signedIn) {
							t.Errorf("%s, %s, %v: the shop is told %s", version, r.name, announced, lie)
						}
					}
				}
			}
		}
	}
	x.checkLate(t)
}

// TestHopByHop: no header about the connection takes away what we say, in any
// spelling of it, or brings anything else to the shop.
func TestHopByHop(t *testing.T) {
	w, session := startSecure(t, spoofable)
	wire := versions(t, w.addr)["HTTP/1.1"]
	names := append(attack.HeaderSpellings(accountHeader), "X-Customer-Email", "x-customer-email", "X_Customer_Email", "*", "Cookie", "Host", "X-Forwarded-For")
	check := func(fields ...field) {
		t.Helper()
		status := wire.send(shopRoutes[0].with(session, fields))
		got := w.shop.got()
		if got == nil {
			t.Errorf("%.80q: %d, the shop was not asked", fmt.Sprint(fields), status)
			return
		}
		for _, lie := range lies(got, true) {
			t.Errorf("%.80q: the shop is told %s", fmt.Sprint(fields), lie)
		}
		if said := got.header["Connection"]; len(said) > 0 && !slices.Equal(said, []string{"Upgrade"}) {
			t.Errorf("%.80q: the shop gets Connection: %q", fmt.Sprint(fields), said)
		}
	}
	for _, name := range names {
		check(field{"Connection", "close, " + name})
		check(field{"connection", "keep-alive"}, field{"CONNECTION", name + ",," + name})
	}
	for _, name := range []string{"Kibo-Account-Id", "kibo-account-id, X-Customer-Email"} {
		for _, of := range []string{"Keep-Alive", "Te", "Proxy-Connection", "Proxy-Authenticate", "Trailer", "Upgrade", "Proxy-Authorization", "Via", "Vary"} {
			check(field{of, name})
			check(field{of, name}, field{"Connection", of + ", " + name})
			check(field{of, "trailers"}, field{"Connection", "Upgrade, " + of + ", " + name}, field{"Upgrade", "kibo"})
		}
	}
}

// TestExpectContinue: a request whose body waits for leave is stripped and
// framed like any other.
func TestExpectContinue(t *testing.T) {
	w, session := startSecure(t, spoofable)
	for version, wire := range versions(t, w.addr) {
		for _, r := range []route{shopRoutes[0], shopRoutes[2], shopRoutes[6]} {
			r.message.method, r.message.body = "POST", "a=b"
			for _, expect := range []string{"100-continue", "100-Continue", "100-continue, kibo-account-id", "kibo-account-id"} {
				status := wire.send(r.with(session, append(forge([]string{accountHeader}, wire), field{"expect", expect})))
				got := w.shop.got()
				switch {
				case got == nil && status == 200:
					t.Errorf("%s, %s, %s: 200, and the shop was not asked", version, r.name, expect)
				case got == nil && strings.EqualFold(expect, "100-continue"):
					t.Errorf("%s, %s, %s: %d, the shop was not asked", version, r.name, expect, status)
				case got != nil && len(lies(got, r.signedIn)) > 0:
					t.Errorf("%s, %s, %s: the shop is told %v", version, r.name, expect, lies(got, r.signedIn))
				}
			}
		}
	}
}
