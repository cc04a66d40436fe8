package caddytest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/kiboauth/caddy-kibo-auth/internal/attack"
)

// forged marks every value that an attacker sends.
const forged = "forged"

// openTo are the "servers" lines that let names with underscores and dots
// through. They need every name in full, and keep back its spelling with "-".
func openTo(names []string) string {
	var lines []string
	for separator, option := range map[string]string{"_": "expected_underscore_headers", ".": "expected_dot_headers"} {
		var some []string
		for _, name := range names {
			if strings.Contains(name, separator) && !strings.Contains(name, "*") {
				some = append(some, `"`+name+`"`)
			}
		}
		lines = append(lines, option+" "+strings.Join(some, " "))
	}
	return strings.Join(lines, "\n")
}

// A route is where a request may go in a shop.
type route struct {
	name     string
	message  message
	signedIn bool
	asked    bool // the shop is
}

// shopRoutes are routes of every kind: protected, public, on the login path,
// and those that end on an error page of the shop's.
var shopRoutes = []route{
	{"protected page", message{path: "/account"}, true, true},
	{"protected page, nobody", message{path: "/account"}, false, false},
	{"public page", message{path: "/public/x"}, false, true},
	{"public page, signed in", message{path: "/public/x"}, true, true},
	{"the shop's login form", message{path: "/login"}, false, true},
	{"the shop's login form, signed in", message{path: "/login"}, true, true},
	{"post on the login path", message{method: "POST", path: "/login", fields: []field{{"content-type", "text/plain"}}, body: "a=b"}, false, true},
	{"other method on the login path", message{method: "DELETE", path: "/login"}, true, true},
	{"CORS preflight", message{method: "OPTIONS", path: "/public/x"}, false, true},
	{"error page", message{path: "/public/dead"}, false, true},
	{"error page, signed in", message{path: "/dead"}, true, true},
	{"malformed path", message{path: "/public/%00"}, false, false},
}

// with is the route's message with further fields, and the session if that is
// part of it.
func (r route) with(session string, fields []field) *message {
	m := r.message
	m.fields = slices.Concat(m.fields, fields)
	if r.signedIn {
		m.fields = append(m.fields, field{"cookie", sessionCookie + "=" + session})
	}
	return &m
}

// spoofable is a shop with every route, whose error pages are its own.
var spoofable = setup{
	quiet:   true,
	gateway: "identity Kibo-Account-Id account_id\nidentity X-Customer-Email email\npublic /public/*\nlogin {\npage upstream\n}",
	last:    "@dead path /dead /public/dead\nreverse_proxy @dead 127.0.0.1:1\nreverse_proxy SHOP\nhandle_errors {\nreverse_proxy SHOP\n}",
}

// startSecure starts a world that is secure, and signs in.
func startSecure(t *testing.T, s setup) (w *world, session string) {
	t.Helper()
	w = start(t, s)
	w.secure()
	b := w.secureBrowser()
	b.signIn(w, jane)
	return w, b.cookies[sessionCookie]
}

// lies are what the shop is told although nobody but an attacker says so, and
// what it is told of a customer otherwise than by us.
func lies(got *seen, signedIn bool) (all []string) {
	for name, values := range got.header {
		for _, v := range values {
			if strings.Contains(v, forged) || strings.Contains(name, forged) {
				all = append(all, fmt.Sprintf("%.80q: %q", name, v))
			}
		}
	}
	want := map[string][]string{}
	if signedIn {
		want = map[string][]string{"kibo_account_id": {janeID}, "x_customer_email": {jane}}
	}
	if told := claims(got.header); fmt.Sprint(told) != fmt.Sprint(want) {
		all = append(all, fmt.Sprintf("who asks is %v, want %v", told, want))
	}
	if len(got.trailer) > 0 {
		all = append(all, fmt.Sprintf("trailers %v", got.trailer))
	}
	return all
}

// forge makes a field of every name, each with a value of its own. HTTP/2 and
// 3 know lower case only.
func forge(names []string, to wire) (fields []field) {
	for i, name := range names {
		if _, as := to.(*wire1); !as {
			name = strings.ToLower(name)
		}
		fields = append(fields, field{name, fmt.Sprint(forged, "-", i)})
	}
	return fields
}

// TestSpoofedIdentityInEverySpelling: no spelling of an identity header gets
// to the shop, in any version of HTTP, on any route. Underscores and dots, which
// Caddy drops by default, are allowed by its configuration for the second half.
func TestSpoofedIdentityInEverySpelling(t *testing.T) {
	ours := attack.HeaderSpellings(accountHeader)
	var others []string
	for _, name := range []string{"X-Customer-Email", "Remote-User", "X-Remote-User", "X-Vol-User-Claims", "X-Original-URL", "X-Rewrite-URL"} {
		others = append(others, attack.HeaderSpellings(name)...)
	}
	dropped := func(name string) bool { return strings.ContainsAny(name, "_.") }
	kept := func(name string) bool { return !dropped(name) }
	for filter, without := range map[string]func(string) bool{"on": dropped, "off": kept} {
		t.Run("Caddy's filter "+filter, func(t *testing.T) {
			ours, others := slices.DeleteFunc(slices.Clone(ours), without), slices.DeleteFunc(slices.Clone(others), without)
			all := slices.Concat(ours, others)
			s := spoofable
			if filter == "off" {
				s.servers = openTo(all)
			}
			w, session := startSecure(t, s)
			for version, wire := range versions(t, w.addr) {
				t.Run(version, func(t *testing.T) {
					for _, r := range shopRoutes {
						w.spoof(t, wire, r, session, ours, 1)
						w.spoof(t, wire, r, session, others, 30)
					}
				})
			}
			checkBite(t, w, all)
		})
	}
}

// spoof tries names on a route, so many at once.
func (w *world) spoof(t *testing.T, wire wire, r route, session string, names []string, atOnce int) {
	t.Helper()
	for some := range slices.Chunk(names, atOnce) {
		w.checkSpoof(t, wire, r, session, forge(some, wire))
	}
}

// checkSpoof sends one message, after which the shop may know nothing but what
// we say.
func (w *world) checkSpoof(t *testing.T, wire wire, r route, session string, fields []field) {
	t.Helper()
	m := r.with(session, fields)
	status := wire.send(m)
	got := w.shop.got()
	switch {
	case (got != nil) != r.asked:
		t.Errorf("%s, %s: the answer is %d, the shop was asked: %t, want %t", r.name, m.names(), status, got != nil, r.asked)
	case got != nil:
		for _, lie := range lies(got, r.signedIn) {
			t.Errorf("%s, %s: the shop is told %s", r.name, m.names(), lie)
		}
	}
}

// checkBite makes sure that the names would get to the shop if there were no
// gateway: otherwise nothing would have been tried above.
func checkBite(t *testing.T, w *world, names []string) {
	t.Helper()
	for version, wire := range versions(t, w.stock) {
		arrived := map[string]bool{}
		for _, name := range names {
			wire.send(&message{path: "/", fields: forge([]string{name}, wire)})
			got := w.shop.got()
			if got != nil && strings.Contains(fmt.Sprint(slices.Collect(maps.Values(got.header))), forged) {
				arrived[name] = true
			}
		}
		for _, name := range names {
			// Caddy cannot be told to let a name with "*" through.
			if !arrived[name] && !(strings.Contains(name, "*") && strings.ContainsAny(name, "_.")) {
				t.Errorf("%s: %.80q does not reach the shop without the gateway either", version, name)
			}
		}
		t.Logf("%s: %d of %d spellings reach the shop without the gateway", version, len(arrived), len(names))
	}
}
