package urlpath

import (
	"net/url"
	"strings"
	"testing"
)

// browserHost is the host that a browser on base would go to: the part of the
// WHATWG URL standard that decides about it (§4.4, basic URL parser with a
// special scheme).
func browserHost(base, raw string) string {
	raw = strings.TrimFunc(raw, func(r rune) bool { return r <= ' ' })
	raw = strings.NewReplacer("\t", "", "\n", "", "\r", "", `\`, "/").Replace(raw)
	raw, _, _ = strings.Cut(raw, "#")
	if scheme, rest, ok := strings.Cut(raw, ":"); ok && isScheme(scheme) {
		if !strings.EqualFold(scheme, "https") || strings.HasPrefix(rest, "/") {
			return strings.ToLower(scheme) + ":" + rest
		}
		raw = rest // "https:evil" is relative to an https page
	}
	if !strings.HasPrefix(raw, "//") {
		return base
	}
	authority := strings.TrimLeft(raw, "/")
	if i := strings.IndexAny(authority, "/?"); i >= 0 {
		authority = authority[:i]
	}
	return authority[strings.LastIndexByte(authority, '@')+1:]
}

func isScheme(s string) bool {
	for i, c := range strings.ToLower(s) {
		if (c < 'a' || c > 'z') && (i == 0 || !strings.ContainsRune("0123456789+-.", c)) {
			return false
		}
	}
	return s != ""
}

// checkLocal fails if following target could lead off the site, in a browser,
// in net/url, or through a script that decodes the path before it redirects.
func checkLocal(t *testing.T, raw, target string) {
	t.Helper()
	if target == "" {
		return
	}
	if !strings.HasPrefix(raw, target) {
		t.Errorf("LocalTarget(%q) = %q, want a part of it", raw, target)
	}
	base, _ := url.Parse("https://shop.example/login")
	dest, err := base.Parse(target)
	if err != nil {
		t.Fatalf("LocalTarget(%q) = %q does not parse: %v", raw, target, err)
	}
	if dest.Host != base.Host || dest.Scheme != base.Scheme || dest.User != nil {
		t.Errorf("LocalTarget(%q) = %q leaves the site: %s", raw, target, dest)
	}
	path, _, _ := strings.Cut(target, "?")
	for range 3 {
		if host := browserHost(base.Host, path); host != base.Host {
			t.Errorf("LocalTarget(%q) = %q leads a browser to %q, as %q", raw, target, host, path)
		}
		path = decode(path)
	}
	if strings.ContainsAny(target, "\r\n\t\x00 #\\") {
		t.Errorf("LocalTarget(%q) = %q contains a character that browsers drop", raw, target)
	}
}

func TestLocalTargetKeeps(t *testing.T) {
	tests := []struct{ raw, want string }{
		{"/", "/"},
		{"/account", "/account"},
		{"/account/orders?id=17&x=%2f%2fy", "/account/orders?id=17&x=%2f%2fy"},
		{"/a?next=https://evil.example/", "/a?next=https://evil.example/"},
		{"/a?//evil.example", "/a?//evil.example"},
		{"/?//evil.example", "/?//evil.example"},
		{"/a#top", "/a"},
		{"/#//evil.example", "/"},
		{"/a;jsessionid=1?x", "/a;jsessionid=1?x"},
		{"/;jsessionid=1", "/;jsessionid=1"},
		{"/caf%C3%A9/a%20b", "/caf%C3%A9/a%20b"},
		{"/a//b", "/a//b"},
		{"/a/../b", "/a/../b"},
		{"/100%25", "/100%25"},
		{"/a%2Fb", "/a%2Fb"},
		{"/index.php/customer/account/", "/index.php/customer/account/"},
		{"/wiki/File:Foo", "/wiki/File:Foo"},
		{"/@team", "/@team"},
		{"/a@b.example", "/a@b.example"},
		{"/http://evil.example", "/http://evil.example"}, // a path of this site
		{"/?", "/?"},
	}
	for _, tt := range tests {
		if got := LocalTarget(tt.raw); got != tt.want {
			t.Errorf("LocalTarget(%q) = %q, want %q", tt.raw, got, tt.want)
		}
		checkLocal(t, tt.raw, LocalTarget(tt.raw))
	}
}

// offSite are redirect payloads from advisories and from the lists that
// attackers use. None of them may be followed.
var offSite = []string{
	"", "evil.example", "account", "./account", "../account", "?x", "#x", "*",
	"//evil.example", "///evil.example", "////evil.example/", "//evil.example/%2f..", "//evil.example:443/x",
	"//user@evil.example", "//shop.example@evil.example", "//shop.example.evil.example", "//[::1]/", "//127.1/",
	`/\evil.example`, `\/evil.example`, `\\evil.example`, `/\/evil.example`, `//\evil.example`, `\evil.example`,
	`/\\evil.example`, `/\t\evil.example`, `/a\b`, `/a?x=\`,
	"http://evil.example", "https://evil.example", "https:evil.example", "https:/evil.example", "https:///evil.example",
	"HTTPS://evil.example", `http:\\evil.example`, `https:\evil.example`, "ftp://evil.example", "ws://evil.example",
	"javascript:alert(1)", "JaVaScRiPt:alert(1)", "java\tscript:alert(1)", "javascript://shop.example/%0aalert(1)",
	"data:text/html,x", "vbscript:x", "file:///etc/passwd", "mailto:a@b", "about:blank", "blob:https://x/1", "x:y",
	"https://shop.example", "https://shop.example/account", "https://shop.example@evil.example/", "//shop.example/",
	" //evil.example", " /account", "/account ", "/a b", "\t//evil.example", "\n//evil.example", "\r\n//evil.example",
	"/\t/evil.example", "/\n/evil.example", "/\r/evil.example", "/\r\n/evil.example", "/\x00/evil.example", "/\x0b/evil.example",
	"/\t\\evil.example", "\x00//evil.example", "\x01https://evil.example", "\u00a0//evil.example", "/\u00a0/evil.example",
	"/%09/evil.example", "/%0a/evil.example", "/%0d/evil.example", "/%0d%0a/evil.example", "/%00/evil.example", "/%0b/evil.example",
	"/%0d%0aLocation:%20https://evil.example", "/a%0d%0aSet-Cookie:x=y", "/a\r\nSet-Cookie: x=y", "/%5cevil.example",
	"/%5C%5Cevil.example", "/%5c/evil.example", "/%2fevil.example", "/%2Fevil.example", "/%2f%2fevil.example", "/%2f/evil.example",
	"//%2fevil.example", "/%2f%5cevil.example", "/%252fevil.example", "/%252f%252fevil.example", "/%255cevil.example",
	"/%25252fevil.example", "/%2509/evil.example", "/%250a/evil.example", "/%2500/evil.example", "%2f%2fevil.example",
	"/.//evil.example", "/./%2fevil.example", "/x/..//evil.example", "/x/../%2fevil.example", "/..//evil.example", "/%2e//evil.example",
	"/%2e%2e//evil.example", "/%2e%2e%2f/evil.example", "/.%2f/evil.example",
	"/a/..%2f%2fevil.example", "/a/%2e%2e/%2fevil.example", "/a/%252e%252e//evil.example", "/././/evil.example", "/../..//evil.example",
	"/;//evil.example", "/;/evil.example", "/;x=1/evil.example", "/;a//evil.example", "/%3b//evil.example", "/%3b/evil.example",
	"/x/..;//evil.example", "/.;//evil.example", "/.;/;/evil.example",
	"/%20/evil.example", "/%20//evil.example", "/%2520/evil.example", "/+/evil.example", "/.../evil.example", "/%20./%20/evil.example",
	"/%EF%BC%8Fevil.example", "/%EF%BC%BCevil.example", "/%E2%88%95evil.example", "/%E2%81%84/evil.example", "/%E3%80%80/evil.example",
	"/\uff0fevil.example", "//evil\u3002example", "/%E2%80%8B/evil.example", "/%C2%AD/evil.example", "/%C2%A0/evil.example", "/%25EF%25BC%258Fevil.example",
	"/%25c0%25afevil.example", "/%25u002fevil.example", "/%c0%afevil.example", "/%e0%80%afevil.example", "/%ff/evil.example",
	"/%zz", "/%", "/%2", "/a%gg//evil.example", "/:80/evil.example", "/%3a/evil.example",
	"//", "///", "/%2f", "/%5c", `/\`, "//#", "//?x", "/é", "/日本", "/\x7f", "/a\x80",
	"/%09%2fevil.example", "/%2f%09/evil.example", "/.%09./evil.example", "<//evil.example", "\"//evil.example", "〱evil.example",
	"//evil.example%00.shop.example", "//evil.example%23.shop.example", "//evil.example?.shop.example", `//evil.example\.shop.example`,
	"/x/%2e%2e;/%2fevil.example", "//%5cevil.example", "/%68%74%74%70%3a//evil.example/%252525",
}

// families builds payloads out of what can stand before the host, plain and
// with every separator encoded once or twice.
func families() []string {
	once := strings.NewReplacer("/", "%2f", `\`, "%5c", "\t", "%09", ".", "%2e", ";", "%3b")
	twice := strings.NewReplacer("%", "%25")
	var all []string
	for _, first := range []string{"/", `\`, "/./", "/x/../", "/;/", "/ /", "/\t/", "/.;/", "/../", "/...;/"} {
		for _, second := range []string{"/", `\`, "//", `\/`, "/./"} {
			lead := first + second
			if second == "/./" {
				lead = first + "./" + "/"
			}
			rest := lead[1:]
			all = append(all, lead+"evil.example",
				"/"+once.Replace(rest)+"evil.example",
				"/"+once.Replace(rest)+"/evil.example",
				"/"+twice.Replace(once.Replace(rest))+"evil.example",
				"/"+twice.Replace(once.Replace(rest))+"user@evil.example/x?y=/",
				"https:"+lead+"evil.example")
		}
	}
	return all
}

func TestOpenRedirect(t *testing.T) {
	all := append(families(), offSite...)
	if len(all) < 300 {
		t.Errorf("only %d payloads, want 300 at least", len(all))
	}
	for _, raw := range all {
		if got := LocalTarget(raw); got != "" {
			t.Errorf("LocalTarget(%q) = %q, want refusal", raw, got)
			checkLocal(t, raw, got)
		}
	}
}

func TestLongRedirectTarget(t *testing.T) {
	fits := "/" + strings.Repeat("a", maxTarget-1)
	if got := LocalTarget(fits); got != fits {
		t.Errorf("target of %d bytes refused", len(fits))
	}
	if got := LocalTarget(fits + "a"); got != "" {
		t.Errorf("target of %d bytes kept", len(fits)+1)
	}
	if got := LocalTarget(strings.ReplaceAll(worstPath[:maxTarget/2], `\`, "%5c")); got != "" {
		t.Errorf("target with too many readings kept: %q", got)
	}
}

// The model must itself see the attack, or it proves nothing.
func TestBrowserModel(t *testing.T) {
	tests := []struct{ raw, want string }{
		{"/account", "shop.example"},
		{"account", "shop.example"},
		{"//evil.example/x", "evil.example"},
		{`/\evil.example`, "evil.example"},
		{"/\t/evil.example", "evil.example"},
		{" \x00//evil.example", "evil.example"},
		{"////u@evil.example?x", "evil.example"},
		{"https://evil.example", "https://evil.example"},
		{"javascript:x", "javascript:x"},
		{"https:account", "shop.example"},
	}
	for _, tt := range tests {
		if got := browserHost("shop.example", tt.raw); got != tt.want {
			t.Errorf("browserHost(%q) = %q, want %q", tt.raw, got, tt.want)
		}
	}
}
