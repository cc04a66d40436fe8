package caddytest

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

// newCode makes codes that can be searched for: six digits may stand anywhere.
func newCode() string { return "CODE" + rand.Text()[:12] }

// A channel is a way on which something leaves the gateway.
type channel string

const (
	inAnswer     channel = "answer to a browser"
	inShopAnswer channel = "page of the shop"
	inSetCookie  channel = "Set-Cookie"
	inKiboURL    channel = "URL at Kibo"
	inShop       channel = "request to the shop"
	inAdmin      channel = "answer of the admin endpoint"
	inCommand    channel = "output of a caddy command"
)

// allowed are the secrets that belong where they are, by channel: all others
// are leaks.
var allowed = []struct {
	channel channel
	where   string // what the place begins with; "": anywhere
	kind    string
	why     string
}{
	{inSetCookie, "", "cookie", "the browser is handed its own cookie"},
	{inKiboURL, "PUT /api/commerce/customer/authtickets/refresh", "refreshToken", "Kibo's own API takes it there, and nowhere else"},
	{inAnswer, "POST ", "e-mail", "the form shows customers the address that they have typed"},
	{inShopAnswer, "", "e-mail", "what a shop shows its customer is the shop's"},
	{inShop, "POST /login", "code", "a query that is no sign-in goes on to the shop as it came"},
}

// sighted is everything that has been seen on its way in the whole run, once.
type sighted struct {
	mu   sync.Mutex
	seen map[[sha256.Size]byte]bool
	all  []sighting
}

type sighting struct {
	channel     channel
	place, text string
}

var sightings sighted

// maxSighted is how much of a text is looked at.
const maxSighted = 64 << 10

// add notes what was seen, and where.
func (s *sighted) add(c channel, place, text string) {
	text = text[:min(len(text), maxSighted)]
	sum := sha256.Sum256([]byte(string(c) + "\x00" + place + "\x00" + text))
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seen == nil {
		s.seen = map[[sha256.Size]byte]bool{}
	}
	if !s.seen[sum] {
		s.seen[sum] = true
		s.all = append(s.all, sighting{c, place, text})
	}
}

// search looks for every secret of the run in all that was seen. A secret may
// have become known only after it was seen.
func (s *sighted) search() (leaks []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	known := knownSecrets()
	for _, one := range s.all {
		if kind := one.leak(known); kind != "" && len(leaks) < 20 && !slices.ContainsFunc(leaks, func(l string) bool { return strings.HasPrefix(l, kind+" in "+string(one.channel)+", "+one.place+":") }) {
			leaks = append(leaks, fmt.Sprintf("%s in %s, %s: %.600s", kind, one.channel, one.place, one.text))
		}
	}
	return leaks
}

// leak says which kind of secret stands where it must not. What is escaped for
// a URL or for HTML is read, too.
func (s sighting) leak(known search) string {
	var but []string
	for _, a := range allowed {
		if a.channel == s.channel && strings.HasPrefix(s.place, a.where) {
			but = append(but, a.kind)
		}
	}
	for _, text := range []string{s.text, unescaped(s.text)} {
		if kind := known.in([]byte(text), but...); kind != "" {
			return kind
		}
	}
	return ""
}

func unescaped(text string) string {
	text = strings.NewReplacer("&#43;", "+", "&amp;", " ", "&#34;", " ", "&#39;", " ", "%25", "%", "+", " ").Replace(text)
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] == '%' && i+2 < len(text) {
			if one, err := url.PathUnescape(text[i : i+3]); err == nil {
				b.WriteString(one)
				i += 2
				continue
			}
		}
		b.WriteByte(text[i])
	}
	return b.String()
}

// typedCode is what a customer has typed a moment ago. It stands in the form
// again while a captcha is asked for, since Kibo has not seen it.
var typedCode = regexp.MustCompile(`(<input id="code"[^>]*) value="[^"]*"`)

// sightAnswer notes an answer, its Set-Cookie lines by themselves.
func sightAnswer(place string, resp *http.Response, body []byte) {
	from := inAnswer
	if resp.Header.Get("Via") != "" { // the proxy's
		from = inShopAnswer
	}
	if resp.StatusCode == http.StatusForbidden && bytes.Contains(body, []byte(`class="captcha"`)) {
		body = typedCode.ReplaceAll(body, []byte("$1"))
	}
	sightings.add(from, place, headerText(resp.Header, "Set-Cookie")+string(body))
	for _, line := range resp.Header["Set-Cookie"] {
		sightings.add(inSetCookie, place, line)
	}
}

// headerText is a header as text, but for some names.
func headerText(header http.Header, without ...string) string {
	header = header.Clone()
	for _, name := range without {
		delete(header, name)
	}
	var b strings.Builder
	_ = header.Write(&b) // cannot fail
	return b.String()
}

// sight notes what the shop got. Identity is what it is there for, and tokens
// only where the configuration says so.
func (s *shop) sight(r *http.Request) {
	header := r.Header.Clone()
	for name := range header {
		folded := folded(name)
		switch {
		case strings.HasPrefix(folded, "kibo_"), folded == "x_customer_email":
			delete(header, name)
		case s.forwards && (folded == "authorization" || folded == "x_vol_user_claims"):
			delete(header, name)
		}
	}
	sightings.add(inShop, r.Method+" "+r.URL.Path, r.URL.RequestURI()+"\r\n"+headerText(header)+headerText(r.Trailer))
}

// TestPlantedLeaksAreFound: the search of the whole run finds a leak on every
// channel, and lets through what belongs there.
func TestPlantedLeaksAreFound(t *testing.T) {
	known := search{
		"CODEABCDEFGH2345": "code", "leak+test@example.com": "e-mail", "cookie-cookie_cookie": "cookie",
		"refresh-token-0123456789": "refreshToken", "eyJhbGciOiJub25lIn0.e30.c2lnbmF0dXJl": "jwtAccessToken", "5hared-5ecret-5hared": "secret",
	}
	tests := []struct {
		name string
		seen sighting
		want string
	}{
		{"code in an error page", sighting{inAnswer, "POST /login", "<p>CODEABCDEFGH2345</p>"}, "code"},
		{"code in JSON", sighting{inAnswer, "POST /login", `{"detail":"CODEABCDEFGH2345"}`}, "code"},
		{"code at the start of a line", sighting{inAnswer, "GET /", "a\nCODEABCDEFGH2345\nb"}, "code"},
		{"code in a redirect", sighting{inAnswer, "GET /", "Location: /login?otpCode=CODEABCDEFGH2345&x=1\r\n"}, "code"},
		{"address in a page of the shop", sighting{inAnswer, "GET /account", "leak+test@example.com"}, "e-mail"},
		{"address, escaped for HTML", sighting{inAnswer, "GET /account", "leak&#43;test@example.com"}, "e-mail"},
		{"address, escaped twice", sighting{inAnswer, "GET /account", "/a?r=%252Fx%253Fe%253Dleak%252Btest%2540example.com"}, "e-mail"},
		{"address in its own form", sighting{inAnswer, "POST /login", `value="leak&#43;test@example.com"`}, ""},
		{"cookie in a page", sighting{inAnswer, "POST /login", "cookie-cookie_cookie"}, "cookie"},
		{"its own cookie", sighting{inSetCookie, "POST /login", "__Host-kibo=cookie-cookie_cookie; Path=/"}, ""},
		{"token as a cookie", sighting{inSetCookie, "POST /login", "t=eyJhbGciOiJub25lIn0.e30.c2lnbmF0dXJl; Path=/"}, "jwtAccessToken"},
		{"refresh token in its URL", sighting{inKiboURL, "PUT /api/commerce/customer/authtickets/refresh", "refreshToken=refresh-token-0123456789"}, ""},
		{"refresh token in another URL", sighting{inKiboURL, "POST /api/commerce/customer/authtickets/otp/auth", "t=refresh-token-0123456789"}, "refreshToken"},
		{"code in a URL to Kibo", sighting{inKiboURL, "PUT /api/commerce/customer/authtickets/refresh", "c=CODEABCDEFGH2345"}, "code"},
		{"cookie at the shop", sighting{inShop, "GET /", "Cookie: __Host-kibo=cookie-cookie_cookie\r\n"}, "cookie"},
		{"token at the shop", sighting{inShop, "GET /", "Authorization: Bearer eyJhbGciOiJub25lIn0.e30.c2lnbmF0dXJl\r\n"}, "jwtAccessToken"},
		{"token in a session list", sighting{inAdmin, "GET /kibo_auth/sessions", `{"t":"refresh-token-0123456789"}`}, "refreshToken"},
		{"secret in /config/", sighting{inAdmin, "GET /config/", `{"shared_secret":"5hared-5ecret-5hared"}`}, "secret"},
		{"secret in a metric", sighting{inAdmin, "GET /metrics", `kibo_x{account="leak+test@example.com"} 1`}, "e-mail"},
		{"secret in an error of a command", sighting{inCommand, "validate", `Error: 5hared-5ecret-5hared: bad`}, "secret"},
	}
	for _, tt := range tests {
		if got := tt.seen.leak(known); got != tt.want {
			t.Errorf("%s: found %q, want %q", tt.name, got, tt.want)
		}
	}
}
