package caddytest

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// behind are the options of a Caddy behind a proxy on this machine.
const behind = "trusted_proxies static 127.0.0.1/32"

func by(ip string) tweak { return header("X-Forwarded-For", ip) }

// TestMailBomb: the defaults of a real Caddy keep a customer's mailbox from
// being flooded, and nobody sees that they do.
func TestMailBomb(t *testing.T) {
	w := start(t, setup{limits: "limit floor 0s", servers: behind})
	var first string
	for i := range 30 {
		ip := fmt.Sprintf("198.51.100.%d", i/2) // each twice
		r := w.browser().post("/login", url.Values{"email": {jane}}, asPage, by(ip))
		if first == "" {
			first = summary(r)
		}
		if got := summary(r); r.status != http.StatusOK || got != first {
			t.Errorf("post %d is answered\n%s\nand the first\n%s", i, got, first)
		}
	}
	eventually(t, "ten mails", func() bool { return w.sim.Calls("otp/request") == 10 })
}

// TestGuessingThroughReloads: five wrong codes are what there is, and neither
// another address of the network, nor a reload, nor the right code helps.
func TestGuessingThroughReloads(t *testing.T) {
	w := start(t, setup{limits: "limit floor 0s", servers: behind})
	b := w.browser().withoutKeepAlive() // which a reload may cut
	b.post("/login", url.Values{"email": {jane}}, asPage, by("2001:db8::1"))
	code := w.code(jane)
	form := url.Values{"email": {jane}, "otpCode": {wrongCode(code)}}
	for i := range 12 {
		if i%4 == 0 {
			w.reload()
			w.settle()
		}
		r := b.post("/login", form, asPage, by(fmt.Sprintf("2001:db8::%d", i)))
		if want := map[bool]int{true: http.StatusUnauthorized, false: http.StatusTooManyRequests}[i < 5]; r.status != want {
			t.Errorf("guess %d: %d, want %d", i, r.status, want)
		}
	}
	form.Set("otpCode", code)
	r := b.post("/login", form, asPage, by("2001:db8::1"))
	if r.status != http.StatusTooManyRequests || r.header.Get("Retry-After") == "" {
		t.Errorf("the right code: %d, Retry-After %q", r.status, r.header.Get("Retry-After"))
	}
	b.post("/login", url.Values{"email": {jane}}, asPage, by("192.0.2.1"))
	form.Set("otpCode", w.code(jane)) // Kibo takes three tries at one code
	if r = b.post("/login", form, asPage, by("192.0.2.1")); r.status != http.StatusSeeOther {
		t.Errorf("and from elsewhere: %d, want 303", r.status)
	}
}

// TestOneAddressForAll: a proxy that Caddy was not told to trust shows in the log.
func TestOneAddressForAll(t *testing.T) {
	w := start(t, setup{limits: "limit floor 0s"})
	const says = "set trusted_proxies"
	before := strings.Count(readFile(t, logFile), says)
	for i := range 60 {
		w.browser().post("/login", url.Values{"email": {fmt.Sprint(i, "@example.com")}}, asPage, by("192.0.2.1"))
	}
	if n := strings.Count(readFile(t, logFile), says) - before; n != 1 {
		t.Errorf("%d warnings, want 1", n)
	}
}

// TestOneAddressAtStart: where only this machine can connect and Caddy trusts
// nothing on it, a warning says at start that all customers have one address.
func TestOneAddressAtStart(t *testing.T) {
	for name, tt := range map[string]struct {
		servers, bind, gateway string
		want                   int
	}{
		"loopback":              {"", "127.0.0.1", "", 1},
		"name":                  {"", "localhost", "", 1},
		"IPv6":                  {"", "[::1]", "", 1},
		"socket":                {"", "unix//tmp/caddytest.sock", "", 1},
		"two":                   {"", "127.0.0.1 [::1]", "", 1},
		"everywhere":            {"", "0.0.0.0", "", 0},
		"not only loopback":     {"", "127.0.0.1 192.0.2.1", "", 0},
		"private network":       {"", "10.0.0.1", "", 0},
		"trusted":               {"trusted_proxies static private_ranges", "127.0.0.1 [::1]", "", 0},
		"strictly trusted":      {"trusted_proxies static 127.0.0.0/8\ntrusted_proxies_strict", "127.0.0.1", "", 0},
		"trusted socket":        {"trusted_proxies_unix", "unix//tmp/caddytest.sock", "", 0},
		"another one trusted":   {"trusted_proxies static 10.0.0.0/8", "127.0.0.1", "", 1},
		"socket, others too":    {"trusted_proxies static private_ranges", "unix//tmp/caddytest.sock", "", 1},
		"nothing shares limits": {"", "127.0.0.1", "limit off", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("CADDYTEST_SHARED", "shared")
			text := "{\nadmin off\nauto_https off\nservers {\n" + tt.servers + "\n}\n}\nhttp://:1 {\nbind " + tt.bind +
				"\nkibo_auth t1-s2.example.com {\nclient id {env.CADDYTEST_SHARED}\n" + tt.gateway + "\n}\n}\n"
			o := (&world{t: t}).caddyOn(text, "validate")
			if n := strings.Count(o.stderr, "share one address and its limits"); o.code != 0 || n != tt.want {
				t.Errorf("%d warnings, want %d; exit code %d, %s", n, tt.want, o.code, o.stderr)
			}
		})
	}
}

// TestRefusalsTakeTheSameTime: with the default floor.
func TestRefusalsTakeTheSameTime(t *testing.T) {
	w := start(t, setup{limits: "limit send client 100/1m"})
	for _, email := range []string{jane, "nobody@example.com", "locked@example.com"} {
		b := w.browser()
		b.post("/login", url.Values{"email": {email}}, asPage)
		began := time.Now()
		r := b.post("/login", url.Values{"email": {email}, "otpCode": {"111111"}}, asPage)
		if took := time.Since(began); r.status != http.StatusUnauthorized || took < 600*time.Millisecond {
			t.Errorf("%s: %d after %s, want 401 after 600ms", email, r.status, took)
		}
	}
}
