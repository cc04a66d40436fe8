package urlpath

import (
	"net/url"
	"strings"
	"testing"
)

// parse reads a request target as net/http does.
func parse(t testing.TB, target string) *url.URL {
	t.Helper()
	u, err := url.ParseRequestURI(target)
	if err != nil {
		t.Fatalf("request target %q: %v", target, err)
	}
	return u
}

func mustRules(t testing.TB, protect, public []string) *Rules {
	t.Helper()
	r, err := NewRules(protect, public)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// disguises are spellings under which one server or another serves /account
// or a page below it.
var disguises = []string{
	"/account", "/account/", "/account/orders", "/account/orders/17?x=1",
	"/ACCOUNT", "/Account/Orders", "/aCCount", "/%41ccount", "/%61ccount", "/acc%6Funt", "/acc%6funt",
	"/%61%63%63%6f%75%6e%74", "/a%63count/", "/account?x", "/account?/public/", "/account?a=%00",
	// ;-parameters
	"/account;x=1", "/account;", "/account;jsessionid=1/orders", "/;a/account", "/;/account", "/;a=b;c/account",
	"/account;/x", "/account;.css", "/account%3bx", "/account%3B/x", "/account%253bx", "/account/;x",
	"/public/..;/account", "/public/..;a=1/account", "/public/.;/../account", "/public;/../account",
	"/public/..%3b/account", "/public/..%253b/account", "/public/%2e%2e;/account", "/..;/account",
	"/account;/../public/x", "/account;a/..;b/account",
	// slashes
	"//account", "///account", "////account/", "/%2Faccount", "/%2f%2faccount", "/%252faccount", "/account//",
	"/account%2Forders", "/account%2f", "/account%252forders", "//account//orders", "/x/..//account", "/x//../account",
	// backslashes
	"/%5Caccount", "/%5caccount", "/%5c%5caccount", "/%255caccount", "/account%5corders", "/account%5C", `/\account`,
	`/account\orders`, `/public\..\account`, "/public%5c..%5caccount", "/public%255c..%255caccount", "/public/..%5caccount",
	// dot segments
	"/./account", "/././account", "/x/../account", "/x/y/../../account", "/../account", "/../../account",
	"/account/.", "/account/./", "/account/..", "/account/../public/x", "/account/../account", "/public/../account",
	"/public/./../account/orders", "/public/x/../../account", "/public//../account", "/public/..//account",
	"/%2e/account", "/%2E/account", "/x/%2e%2e/account", "/x/%2E%2e/account", "/x/.%2e/account", "/x/%2e./account",
	"/public/%2e%2e/account", "/public/%252e%252e/account", "/public/%252e%252e%252faccount", "/public/..%2faccount",
	"/public%2f..%2faccount", "/public%2f%2e%2e%2faccount", "/public%252f%252e%252e%252faccount",
	"/public/%2e%252e/account", "/public/..%252faccount", "/%252e/account", "/account%2f..", "/account%2f%2e%2e",
	"/account%2f..%2fpublic%2fx", "/account%252f..", "/account/%2e%2e/public/x", "/account/%252e%252e/public/x",
	"/public/x%2f../../account", "/x%2fy/../account", "/public/a%2fb/../../account", "/x%3b/../account",
	// trailing dots and blanks
	"/account.", "/account..", "/account...", "/account./orders", "/account.../orders", "/account%2e", "/account%252e",
	"/account%20", "/account%20/orders", "/account%20.", "/account.%20", "/account.%20.", "/account%2520", "/account+",
	"/%20account", "/account%2509", "/account%250a", "/account%250d%250a", "/account%c2%a0", "/account%E3%80%80",
	"/public/..%20/account", "/public/.%20./../account", "/public/%20../account", "/.../account", "/...%20/account",
	"/ACCOUNT.", "/account.%20;x",
	// NUL, only double encoding can bring it here
	"/account%2500", "/account%2500.css", "/account%2500/public", "/account%2500%2e", "/acc%6funt%2500", "/account%25c0%2580",
	"/public/..%2500/account", "/x/../account%2500",
	// query and fragment marks inside of the path
	"/account%3f", "/account%3fx.css", "/account%253f", "/account%23", "/account%23.css", "/account%2523x", "/account%3F/../public",
	// full width, look-alikes, foreign case
	"/%EF%BD%81ccount", "/%EF%BC%A1ccount", "/%EF%BD%81%EF%BD%83%EF%BD%83%EF%BD%8F%EF%BD%95%EF%BD%8E%EF%BD%94",
	"/%EF%BC%8Faccount", "/public/%EF%BC%8E%EF%BC%8E/account", "/public%EF%BC%8F..%EF%BC%8Faccount",
	"/public/..%EF%BC%BCaccount", "/account%EF%BC%9Bx", "/account%EF%BC%8E",
	"/%25EF%25BD%2581ccount", "/%E2%88%95account", "/%E2%81%84account", "/public/%E2%80%A4%E2%80%A4/account",
	"/ac%E2%80%8Bcount", "/ac%C2%ADcount", "/%EF%BB%BFaccount", "/account%EF%BC%9Fx",
	"/public/%E3%80%82%E3%80%82/account", "/public/..%E2%88%96account", "/%25uFF41ccount",
	// overlong UTF-8 and %u, twice decoded
	"/public/..%25c0%25afaccount", "/public/%25c0%25ae%25c0%25ae/account", "/%25c1%25a1ccount", "/%25e0%2581%25a1ccount",
	"/public/..%25u002faccount", "/public/%25u002e%25u002e/account", "/%25u0061ccount", "/public/..%25e0%2580%25afaccount",
	// NTFS streams
	"/account::$DATA", "/account:x", "/account::$INDEX_ALLOCATION/orders", "/account:$i30:$INDEX_ALLOCATION/", "/account%3a%3a$DATA",
	// front controllers
	"/index.php/account", "/index.php/account/orders", "/INDEX.PHP/Account", "/shop.aspx/account", "/index.php/index.php/account",
	"/index.php;x/account", "/index.php//account", "/index.php/x/../account", "/index.php%2faccount",
	// combinations
	"/public/.;%2f..%2f.;/account;x=1/", "/%2e;/ACCOUNT.;x", `/public/%2e.;a\%2e/Account%20`, "/PUBLIC/..;/%EF%BC%A1ccount.",
	"/%252e%252e;/%2541ccount%2520", "//x//..//account..;v=1", "/public/%252e.%253bx/ACCOUNT%2500.css",
	"http://shop.example/account", "http://shop.example//account;x",
}

func TestProtectedPathInDisguise(t *testing.T) {
	if len(disguises) < 150 {
		t.Errorf("only %d spellings, want 150 at least", len(disguises))
	}
	lists := map[string]*Rules{
		"deny list":  mustRules(t, []string{"/account", "/account/*"}, nil),
		"with open":  mustRules(t, []string{"/account", "/account/*"}, []string{"/public/*", "/", "*.css"}),
		"allow list": mustRules(t, nil, []string{"/public/*", "*.css", "/login"}),
		"upper case": mustRules(t, []string{"/ACCOUNT/*"}, []string{"/PUBLIC/*"}),
	}
	for name, rules := range lists {
		for _, target := range disguises {
			if got, err := rules.Of(parse(t, target)); got != Protected || err != nil {
				t.Errorf("%s: Of(%q) = %v, %v, want protected", name, target, got, err)
			}
		}
	}
}

func TestPathsOfAnHonestShop(t *testing.T) {
	rules := mustRules(t, []string{"/account", "/account/*", "/checkout*", "/konto/*"}, nil)
	for _, target := range []string{
		"/", "/catalog", "/accounts", "/accountant/x", "/my/account", "/shop/item;jsessionid=ABC.node1", "/shop/a%2Fb",
		"//shop//item", "/caf%C3%A9", "/100%25-cotton", "/a%20b", "/index.php/catalog/x", "/js/jquery-3.7.1.min.js",
		"/.well-known/acme-challenge/x", "/a+b", "/wiki/File:Foo", "/x?return=/account", "/x?y=%00", "/~user/", "/a,b/(c)/'d'",
		"/%E6%97%A5%E6%9C%AC", "/accoun%74s", "http://shop.example", "/emoji/%F0%9F%9B%92", "/ver/1.2/",
	} {
		if got, err := rules.Of(parse(t, target)); got != Public || err != nil {
			t.Errorf("Of(%q) = %v, %v, want public", target, got, err)
		}
	}
}

func TestPublicOnlyWhenEveryReadingIs(t *testing.T) {
	rules := mustRules(t, nil, []string{"/login", "/login;*", "/public/*", "*.css", "/über/*", "/basket"})
	tests := []struct {
		target string
		want   Access
	}{
		{"/login", Public},
		{"/LOGIN?x=1", Public},
		{"/login;jsessionid=1", Public}, // because both spellings are listed
		{"/login/", Protected},
		{"/login/x", Protected},
		{"/loginx", Protected},
		{"/public", Protected},
		{"/public/", Public},
		{"/public/a/b.gif", Public},
		{"/Public/a%20b", Public},
		{"/public/a;v=1/b", Public},
		{"/public//a", Public},
		{"/public/../public/a", Public},
		{"/public/../a", Protected},
		{"/public;x/a", Protected}, // a server that does not cut sees another folder
		{"//public/a", Protected},
		{"/publi%63/a", Public},
		{"/publi%2563/a", Protected}, // decoded once it is another folder
		{"/%C3%BCber/x", Public},
		{"/%C3%9CBER/x", Public},
		{"/ba%C5%BFket", Protected}, // long s: only some servers fold it
		{"/theme/a.css", Public},
		{"/theme/A.CSS", Public},
		{"/account.css", Public},
		{"/account;.css", Protected},
		{"/account%3f.css", Protected},
		{"/account%2500.css", Protected},
		{"/account/x.css/", Protected},
		{"/account.php/x.css", Protected}, // account.php answers
		{"/account.ASPX/x.css", Protected},
		{"/account.php%2fx.css", Protected},
		{"/a.php.css", Public},
		{"/x.css.", Protected},
		{"/.css", Public},
		{"*", Protected},
	}
	for _, tt := range tests {
		u := &url.URL{Path: tt.target}
		if tt.target != "*" {
			u = parse(t, tt.target)
		}
		if got, err := rules.Of(u); got != tt.want || err != nil {
			t.Errorf("Of(%q) = %v, %v, want %v", tt.target, got, err, tt.want)
		}
	}
}

func TestScriptAnswersForPathsBelowIt(t *testing.T) {
	rules := mustRules(t, []string{"/account.php", "*.aspx", "/customer/*"}, []string{"/index.php/catalog/*"})
	tests := []struct {
		target string
		want   Access
	}{
		{"/account.php", Protected},
		{"/account.php/", Protected},
		{"/account.php/x/y.css", Protected},
		{"/Account.PHP/x", Protected},
		{"/a/b.aspx/x", Protected},
		{"/index.php/customer/account", Protected},
		{"/index.php/account.php/x", Protected},
		{"/index.php/catalog/x", Public},
		{"/index.php/customers", Public},
		{"/account.phps", Public},
		{"/a.php/b.php/c.php/d.php/e", Protected}, // nobody honest asks for that
	}
	for _, tt := range tests {
		if got, err := rules.Of(parse(t, tt.target)); got != tt.want || err != nil {
			t.Errorf("Of(%q) = %v, %v, want %v", tt.target, got, err, tt.want)
		}
	}
}

func TestParametersCutTheRestOfThePath(t *testing.T) {
	rules := mustRules(t, []string{"/account"}, nil)
	for _, target := range []string{"/account;/x", "/account;a=1/b/c", "/account%3b/x.css", "/x/../account;/y"} {
		if got, err := rules.Of(parse(t, target)); got != Protected || err != nil {
			t.Errorf("Of(%q) = %v, %v, want protected", target, got, err)
		}
	}
}

func TestMalformedPath(t *testing.T) {
	rules := mustRules(t, nil, []string{"*"})
	for _, target := range []string{
		"/a%00", "/%00", "/a%00.css", "/a%0a", "/a%0d%0ab", "/a%09", "/%7f", "/%1b", "/%c2%85", "/a%c2%9f",
		"/a%ff", "/a%c0%af", "/a%e9", "/%ed%a0%80", "/%80", "/a%f5%80%80%80",
		"/a#b", "/#", "/a?x#y", "/a#?x", "/a%2f#",
	} {
		if got, err := rules.Of(parse(t, target)); err == nil || got != Protected {
			t.Errorf("Of(%q) = %v, %v, want protected and an error", target, got, err)
		}
	}
	for _, u := range []*url.URL{
		{Path: "/a\x00b"}, {Path: "/a\nb"}, {Path: "/a\xff"}, {Path: "/a", Fragment: "x"}, {Path: "/a", RawPath: "/a#"},
	} {
		if _, err := rules.Of(u); err == nil {
			t.Errorf("Of(%#v): no error", u)
		}
	}
}

func TestErrorsDoNotShowThePath(t *testing.T) {
	rules := mustRules(t, nil, nil)
	if _, err := rules.Of(&url.URL{Path: "/jane@shop.example\n"}); strings.Contains(err.Error(), "jane") {
		t.Errorf("error shows the path: %v", err)
	}
}

func TestRewrittenURL(t *testing.T) {
	rules := mustRules(t, []string{"/account/*"}, nil)
	tests := []struct {
		name string
		u    url.URL
		want Access
	}{
		{"path only", url.URL{Path: "/account"}, Protected},
		{"raw path contradicts", url.URL{Path: "/account", RawPath: "/public"}, Protected},
		{"path contradicts", url.URL{Path: "/public", RawPath: "/account"}, Protected},
		{"raw path with backslash", url.URL{Path: `/x\..\account`, RawPath: `/x\..\account`}, Protected},
		{"raw path broken", url.URL{Path: "/public", RawPath: "/acc%6funt/%"}, Protected},
		{"opaque", url.URL{Scheme: "http", Opaque: "//x/public"}, Protected},
		{"star", url.URL{Path: "*"}, Protected},
		{"relative", url.URL{Path: "public"}, Protected},
		{"empty", url.URL{}, Public},
		{"harmless", url.URL{Path: "/a/b", RawPath: "/a%2Fb"}, Public},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got, err := rules.Of(&tt.u); got != tt.want || err != nil {
				t.Errorf("Of(%#v) = %v, %v, want %v", tt.u, got, err, tt.want)
			}
		})
	}
}

func TestEndlessOddPathIsProtected(t *testing.T) {
	rules := mustRules(t, []string{"/account"}, []string{"/public/*"})
	for _, target := range []string{
		"/public/" + strings.Repeat("a;", maxOdd),
		"/public/" + strings.Repeat("%2e%2e/", maxOdd),
		"/x" + worstPath,
	} {
		if got, err := rules.Of(parse(t, target)); got != Protected || err != nil {
			t.Errorf("Of(%.40q…) = %v, %v, want protected", target, got, err)
		}
	}
	long := "/public/" + strings.Repeat("a/", 8<<10)
	if got, err := rules.Of(parse(t, long)); got != Public || err != nil {
		t.Errorf("long plain path = %v, %v, want public", got, err)
	}
}

func TestAccessNames(t *testing.T) {
	var zero Access
	if got := zero.String() + " " + Public.String(); got != "protected public" {
		t.Errorf("got %q", got)
	}
}
