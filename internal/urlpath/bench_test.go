package urlpath

import (
	"strings"
	"testing"
)

// worstPath is about as dear as a path can be made: every trick applies, and
// again after each layer of decoding.
var worstPath = strings.Repeat(`/a;b%3bc%253bd:e%3f%23%20.%2f.%252f%255c\%EF%BC%8E/..%2500x`, 25)

var benchPatterns = [2][]string{
	{"/account", "/account/*", "/checkout/*", "/orders*"},
	{"/public/*", "/login", "*.css", "*.js"},
}

func TestPlainPathCostsNoMemory(t *testing.T) {
	rules := mustRules(t, benchPatterns[0], benchPatterns[1])
	for _, path := range []string{"/", "/account/orders/17", "/Catalog/Shoes/red-shoe_42.html", "/public/x"} {
		u := parse(t, path+"?a=b")
		if n := testing.AllocsPerRun(100, func() { _, _ = rules.Of(u) }); n != 0 {
			t.Errorf("Of(%q) allocates %v times, want 0", path, n)
		}
	}
}

func BenchmarkOf(b *testing.B) {
	paths := []struct{ name, target string }{
		{"plain", "/catalog/shoes/red-shoe"},
		{"plain protected", "/account/orders/17"},
		{"plain file", "/js/jquery.min.js"},
		{"encoded", "/catalog/caf%C3%A9"},
		{"session parameter", "/catalog/shoes;jsessionid=0A1B2C"},
		{"every trick", worstPath},
	}
	rules := mustRules(b, benchPatterns[0], benchPatterns[1])
	for _, p := range paths {
		b.Run(p.name, func(b *testing.B) {
			u := parse(b, p.target)
			b.ReportAllocs()
			for b.Loop() {
				_, _ = rules.Of(u)
			}
		})
	}
}

func BenchmarkLocalTarget(b *testing.B) {
	for _, raw := range []string{"/account/orders?id=17", "/a%20b;c/d", worstPath[:maxTarget/2]} {
		b.Run(raw[:10], func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				LocalTarget(raw)
			}
		})
	}
}
