package urlpath

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"
)

func FuzzLocalTarget(f *testing.F) {
	for _, raw := range offSite {
		f.Add(raw)
	}
	for _, raw := range []string{"/account?x=1#y", "/a;b/%2e%2e/c", "/x/..%2fy//z", worstPath[:200]} {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		checkLocal(t, raw, LocalTarget(raw))
	})
}

// A disguise changes a path so that one server or another still serves the
// same page. arg varies it.
var makeDisguise = []func(path string, arg byte) string{
	func(p string, _ byte) string { return "/" + p },
	func(p string, _ byte) string { return "/." + p },
	func(p string, _ byte) string { return "/x/.." + p },
	func(p string, _ byte) string { return "/public/.." + p },
	func(p string, _ byte) string { return "/public/..;" + p },
	func(p string, _ byte) string { return "/.." + p },
	func(p string, _ byte) string { return "/;a=1" + p },
	func(p string, a byte) string { return p + ";" + string('a'+rune(a%26)) },
	func(p string, _ byte) string { return strings.TrimRight(p, "./") + "." }, // not "/.." out of "/."
	func(p string, _ byte) string { return p + " " },
	func(p string, _ byte) string { return p + "/." },
	func(p string, _ byte) string { return p + "::$DATA" },
	func(p string, _ byte) string { return p + "/x/.." },
	func(p string, _ byte) string { return p + "?.css" },
	func(p string, _ byte) string { return p + "#.css" },
	func(p string, a byte) string { return replaceAt(p, '/', a, `\`) },
	func(p string, a byte) string { return replaceAt(p, '/', a, "//") },
	func(p string, a byte) string { return replaceAt(p, '/', a, "/./") },
	func(p string, a byte) string { return replaceAt(p, '/', a, "\uFF0F") },
	func(p string, a byte) string { return replaceAt(p, '.', a, "\uFF0E") },
	func(p string, a byte) string { return replaceAt(p, 'c', a, "C") },
	func(p string, a byte) string { return replaceAt(p, 'a', a, "\uFF41") },
	func(p string, a byte) string { return replaceAt(p, 'o', a, "\u200Bo") },
}

// replaceAt replaces one occurrence of old, the n-th in a circle.
func replaceAt(p string, old byte, n byte, with string) string {
	count := strings.Count(p, string(old))
	if count == 0 {
		return p
	}
	nth := int(n) % count
	for i := range len(p) {
		if p[i] != old {
			continue
		}
		if nth == 0 {
			return p[:i] + with + p[i+1:]
		}
		nth--
	}
	return p
}

// encodeSome percent-encodes every character no, one or two times, as the
// bits of key say; what may not stand in a path raw is encoded at least once.
func encodeSome(path string, key uint64) string {
	var b strings.Builder
	for i := range len(path) {
		c, layers := path[i], key%4
		key = key>>2 | key<<62
		must := c <= ' ' || c >= 0x7F || c == '?' || c == '#' || c == '%'
		switch {
		case i == 0: // the request line needs it
			b.WriteByte(c)
		case layers == 2:
			fmt.Fprintf(&b, "%%25%02x", c)
		case layers == 1 || must:
			fmt.Fprintf(&b, "%%%02x", c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

func FuzzRules(f *testing.F) {
	rules, err := NewRules([]string{"/account", "/account/*"}, []string{"/public/*", "/x/*", "/"})
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte{}, uint64(0), "")
	f.Add([]byte{4, 0, 7, 1, 15, 0}, uint64(0x9999999999), "/orders")
	f.Add([]byte{20, 0, 21, 0, 22, 0, 18, 1}, uint64(0xFFFF00001111), "/a%2e")
	f.Add([]byte{3, 0, 13, 0, 8, 0}, ^uint64(0), "/x.css")
	f.Fuzz(func(t *testing.T, tricks []byte, key uint64, below string) {
		path := "/account"
		if strings.HasPrefix(below, "/") && plain(below) {
			path += below
		}
		for i := 0; i+1 < min(len(tricks), 8); i += 2 {
			path = makeDisguise[int(tricks[i])%len(makeDisguise)](path, tricks[i+1])
		}
		target := encodeSome(path, key)
		if target[0] != '/' {
			return
		}
		u, err := url.ParseRequestURI(target)
		if err != nil {
			return // net/http answers 400
		}
		if got, err := rules.Of(u); got == Public {
			t.Errorf("Of(%q) = %v, %v: /account is open (%q)", target, got, err, path)
		}
	})
}

// FuzzOf sends anything at all: no panic, no public answer beside an error,
// and never one for what plainly is a protected path.
func FuzzOf(f *testing.F) {
	for _, target := range disguises {
		f.Add(target)
	}
	rules, err := NewRules([]string{"/account*"}, []string{"/public/*", "/css/*"})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, target string) {
		u, err := url.ParseRequestURI(target)
		if err != nil {
			return
		}
		got, err := rules.Of(u)
		if err != nil && got != Protected {
			t.Errorf("Of(%q) = %v beside error %v", target, got, err)
		}
		if err == nil && got == Public && strings.HasPrefix(strings.ToLower(u.Path), "/account") {
			t.Errorf("Of(%q) = public", target)
		}
		if err == nil && !utf8.ValidString(u.Path) {
			t.Errorf("Of(%q) takes a path that is not UTF-8", target)
		}
	})
}
