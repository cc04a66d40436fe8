package kiboauth

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

// FuzzRate: a rate that is accepted is within its bounds, can be counted by, and
// is the same when written plainly.
func FuzzRate(f *testing.F) {
	for _, text := range []string{
		"3/15m", "10/24h", "30/1h", "300/1m", "1/30d", "1000000/1s", "5", "/", "0/1m", "-1/1m", "+5/1m", "1e3/1m", "5/0s", "5/31d", "5/1.5h", "5/15m/1h",
		" 5/15m", "0x5/15m", "５/15m", "9223372036854775808/1s", "5/9223372036854775807ns", "5/99999999999999999999d",
	} {
		f.Add(text)
	}
	here := newCounts()
	f.Fuzz(func(t *testing.T, text string) {
		r, err := parseRate(text)
		if err != nil {
			return
		}
		if r.count < 1 || r.count > maxCount || r.per < minPeriod || r.per > maxPeriod {
			t.Errorf("parseRate(%q) = %+v", text, r)
		}
		if again, err := parseRate(fmt.Sprintf("%d/%s", r.count, r.per)); err != nil || again != r {
			t.Errorf("parseRate(%q) = %+v, written plainly %+v, %v", text, r, again, err)
		}
		limiter, err := r.limiter(here.shelves[accounts])
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		if wait, err := count(t.Context(), limiter, rand.Text(), 1); err != nil || wait > 0 {
			t.Errorf("%q lets not even one through: %s, %v", text, wait, err)
		}
	})
}

// FuzzNetwork: what counts as one client does not depend on how its address is
// written, nor on the half of an IPv6 address that it chooses itself.
func FuzzNetwork(f *testing.F) {
	for _, ip := range []string{"", "192.0.2.1", "::ffff:192.0.2.1", "2001:db8:1:2::1", "2001:DB8:1:2:ffff::", "fe80::1%eth0", "::", "192.0.2.1:80", "[::1]", "0192.0.2.1", "::ffff:c000:201", "1"} {
		f.Add(ip, uint64(1))
	}
	f.Fuzz(func(t *testing.T, ip string, low uint64) {
		got := network(ip)
		addr, err := netip.ParseAddr(ip)
		if err != nil {
			if got != "" {
				t.Errorf("network(%q) = %q, and it is no address", ip, got)
			}
			return
		}
		for _, same := range []string{addr.StringExpanded(), strings.ToUpper(addr.WithZone("").String()), addr.Unmap().String()} {
			if other := network(same); other != got {
				t.Errorf("network(%q) = %q, but network(%q) = %q", ip, got, same, other)
			}
		}
		if addr = addr.Unmap().WithZone(""); addr.Is4() {
			if network(got) != got || network("::ffff:"+got) != got {
				t.Errorf("network(%q) = %q has other spellings", ip, got)
			}
			return
		}
		prefix, err := netip.ParsePrefix(got)
		if err != nil || prefix.Bits() != 64 || !prefix.Contains(addr) {
			t.Fatalf("network(%q) = %q, %v", ip, got, err)
		}
		b := addr.As16()
		for i := range 8 {
			b[8+i] = byte(low >> (8 * i))
		}
		if neighbour := netip.AddrFrom16(b); !neighbour.Is4In6() && network(neighbour.String()) != got {
			t.Errorf("%s and %s are two clients", addr, neighbour)
		}
	})
}

// FuzzAdminQuery: sessions are ended only by a query that says in exactly one way
// which; a slip is told as such and ends nothing.
func FuzzAdminQuery(f *testing.F) {
	for _, q := range []string{
		"", "all=true", "all=TRUE", "all", "all=true&all=true", "all=true&account=1007", "account=1007", "account=", "ref=0123456789abcdef", "ref=0123", "ref=%00",
		"older_than=24h", "older_than=-1h", "older_than=7d&site=a", "ALL=true", "al=true", "account=1007;all=true", "account=%zz", "account=a%0Ab", "limit=5", "older_than=1e9h",
	} {
		f.Add(q)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		r := httptest.NewRequestWithContext(context.Background(), http.MethodDelete, sessionsPath, nil)
		r.URL.RawQuery = raw
		q, err := query(r, "account", "ref", "older_than", "all", "site")
		which, choice := "", func(Listed) bool { return false }
		if err == nil {
			which, choice, err = chosen(q)
		}
		if err != nil {
			if api, ok := err.(caddy.APIError); !ok || api.HTTPStatus != http.StatusBadRequest {
				t.Errorf("%q: %v, want a 400", raw, err)
			}
			return
		}
		said := 0
		for _, name := range []string{"account", "ref", "older_than", "all"} {
			said += len(q[name])
		}
		if said != 1 || q.Get(which) == "" || choice == nil {
			t.Errorf("%q ends sessions by %q", raw, which)
		}
		if fresh := (Listed{Key: Key{1}, Record: &Record{Created: 1 << 60}}); choice(fresh) && which != "account" && which != "all" && !strings.HasPrefix(strings.ToLower(q.Get("ref")), "01") {
			t.Errorf("%q ends a session that it does not mean", raw)
		}
	})
}
