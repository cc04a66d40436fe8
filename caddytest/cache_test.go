package caddytest

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

// sharedCaches are the rules of real shared caches, from careful to careless.
var sharedCaches = []sharedCache{
	{"Varnish as it comes", startVarnish, ""},
	{"by URL, whatever the cookie", startVarnish, `
sub vcl_recv {
	if (req.method == "GET" || req.method == "HEAD") { return (hash); }
	return (pass);
}`},
	{"all that Cache-Control does not forbid, with its cookies", startVarnish, `
sub vcl_recv {
	if (req.method == "GET" || req.method == "HEAD") { return (hash); }
	return (pass);
}
sub vcl_backend_response {
	if (beresp.http.Cache-Control ~ "(?i)(no-cache|no-store|private)") {
		set beresp.uncacheable = true;
	}
	set beresp.ttl = 10m;
	return (deliver);
}`},
	{"a CDN that goes by what is said to CDNs", startVarnish, `
sub vcl_recv {
	if (req.method == "GET" || req.method == "HEAD") { return (hash); }
	return (pass);
}
sub vcl_backend_response {
	if (beresp.http.CDN-Cache-Control ~ "max-age" || beresp.http.Acme-CDN-Cache-Control ~ "max-age"
		|| beresp.http.Surrogate-Control ~ "max-age" || beresp.http.Edge-Control ~ "max-age" || beresp.http.X-Accel-Expires) {
		set beresp.ttl = 10m;
		return (deliver);
	}
}`},
	{"nginx as it comes", startNginxCache, ""},
	{"nginx that keeps whatever is not forbidden, by the decoded path", startNginxCache, `
proxy_cache_key $uri$is_args$args;
proxy_cache_valid any 10m;
proxy_ignore_headers Set-Cookie Vary;
proxy_cache_methods GET HEAD;`},
}

// careless are what a shop may say of a page that it should not have cached.
var careless = [][]string{
	{},
	{"Cache-Control", "public, max-age=600"},
	{"Cache-Control", "max-age=600, s-maxage=600, immutable"},
	{"Cache-Control", "public, no-store, must-understand, max-age=600"},
	{"Cache-Control", `private="x", max-age=600`},
	{"Expires", time.Now().Add(time.Hour).UTC().Format(http.TimeFormat)},
	{"Surrogate-Control", "max-age=600"},
	{"CDN-Cache-Control", "max-age=600"},
	{"Acme-CDN-Cache-Control", "max-age=600"},
	{"Edge-Control", "max-age=600"},
	{"X-Accel-Expires", "600"},
	{"Cache-Control", "private", "Surrogate-Control", "max-age=600", "CDN-Cache-Control", "max-age=600"},
	{"Cache-Control", "public, max-age=600", "Set-Cookie", "cart=1; Path=/", "Vary", "X-Nothing"},
	{"ETag", `"same for all"`, "Last-Modified", "Mon, 02 Jan 2006 15:04:05 GMT"},
}

// saysCareless answers with the identity, and what the query chooses of careless.
func saysCareless(rw http.ResponseWriter, r *http.Request) {
	i, _ := strconv.Atoi(r.URL.Query().Get("say"))
	for say := careless[i]; len(say) > 1; say = say[2:] {
		rw.Header().Set(say[0], say[1])
	}
	fmt.Fprintf(rw, "shop for %s", r.Header.Get(accountHeader))
}

// deceptions are protected pages under names that look like a file, which
// caches keep and legacy servers take for the page (web cache deception, Gil
// 2017; USENIX Security 2020).
var deceptions = []string{
	"/account", "/account/x.css", "/account;x.css", "/account%2fx.css", "/account%3bx.css", "/account/x.js", "/account.png",
	"/account%23x.css", "/account%3fx.css", "/account/%2e%2e/account/x.css", "/public/..%2faccount", "/public/..;/account/x.css",
	"/static/..%2faccount", "/favicon.ico", "/account%20.css",
}

// TestSharedCacheHandsNobodyAnothersPage: a real cache stands before the
// gateway, and the shop allows it all that it can.
func TestSharedCacheHandsNobodyAnothersPage(t *testing.T) {
	for _, tt := range sharedCaches {
		t.Run(tt.name, func(t *testing.T) {
			w, cache, janes, johns, nobodys := startBehind(t, tt)
			w.shop.answers(saysCareless)
			w.proveCaching(t, cache)
			for at, path := range deceptions {
				for i := range careless {
					if at > 1 && i > 2 && i != 6 && i != 7 { // every path, and every word of the shop, but not each with each
						continue
					}
					target := fmt.Sprintf("%s?say=%d", path, i)
					nobodys.wantNobody(target)
					janes.wantPage(target, "shop for "+janeID)
					janes.wantPage(target, "shop for "+janeID)
					johns.wantPage(target, "shop for "+johnID)
					nobodys.wantNobody(target)
				}
			}
		})
	}
}

// proveCaching: the cache keeps what everybody may see, or it proves nothing.
func (w *world) proveCaching(t *testing.T, cache string) {
	t.Helper()
	for range 2 {
		w.through(cache).wantPage("/public/logo.png?say=1", "shop for ")
	}
	w.shop.got()
	w.through(cache).open("/public/logo.png?say=1")
	if w.shop.got() != nil {
		t.Error("the cache keeps nothing at all")
	}
}

func (b *browser) wantPage(target, want string) {
	b.t.Helper()
	if r := b.open(target); r.status != http.StatusOK || r.body != want {
		b.t.Errorf("%s (%s): %d %.60q, want %q", target, careless[sayOf(target)], r.status, r.body, want)
	}
}

func (b *browser) wantNobody(target string) {
	b.t.Helper()
	if r := b.open(target); r.status == http.StatusOK || strings.Contains(r.body, "shop") {
		b.t.Errorf("%s (%s): a stranger gets %d %.60q", target, careless[sayOf(target)], r.status, r.body)
	}
	if r := b.do(http.MethodGet, target, nil, asScript); r.status == http.StatusOK || strings.Contains(r.body, "shop") {
		b.t.Errorf("%s (%s): a stranger's script gets %d %.60q", target, careless[sayOf(target)], r.status, r.body)
	}
}

func sayOf(target string) int {
	_, n, _ := strings.Cut(target, "say=")
	i, _ := strconv.Atoi(n)
	return i
}

// TestSharedCacheOnPublicPages: where the shop forbids nothing and allows
// nothing, a page with a customer's name on it is that customer's.
func TestSharedCacheOnPublicPages(t *testing.T) {
	for _, tt := range sharedCaches {
		t.Run(tt.name, func(t *testing.T) {
			w, cache, janes, johns, nobodys := startBehind(t, tt)
			w.shop.answers(saysCareless)
			w.proveCaching(t, cache)
			for i, say := range careless {
				if len(say) > 0 && say[0] == "Cache-Control" {
					continue // the shop has decided itself
				}
				target := fmt.Sprintf("/public/x.css?say=%d", i)
				janes.wantPage(target, "shop for "+janeID)
				johns.wantPage(target, "shop for "+johnID)
				nobodys.wantPage(target, "shop for ")
				janes.wantPage(target+"&again=1", "shop for "+janeID)
			}
		})
	}
}

// TestSharedCacheKeepsNoAnswerOfOurs: not the form, not the way to it, not a
// refusal, and no answer that takes a cookie.
func TestSharedCacheKeepsNoAnswerOfOurs(t *testing.T) {
	for _, tt := range sharedCaches {
		t.Run(tt.name, func(t *testing.T) {
			w, cache, janes, johns, _ := startBehind(t, tt)
			for _, target := range []string{"/login", "/login?return_to=/a", "/account", "/logout?scope=x", "/a%ffb", "/login?email=a@b"} {
				for _, as := range []tweak{asPage, asScript} {
					for range 3 {
						r := w.through(cache).do(http.MethodGet, target, nil, as)
						if r.isKept(t) {
							t.Errorf("%s: %d comes out of the cache", target, r.status)
						}
					}
				}
			}
			stale := w.through(cache)
			stale.cookies[sessionCookie] = strings.Repeat("x", 43)
			stale.open("/account?taken-back")
			w.shop.answers(func(rw http.ResponseWriter, r *http.Request) {
				if r.Header.Get(accountHeader) == johnID {
					rw.Header().Set(controlHeader, "end")
				}
				for _, name := range []string{"Cache-Control", "Surrogate-Control", "CDN-Cache-Control"} {
					rw.Header().Set(name, "public, max-age=600")
				}
			})
			johns.open("/public/ended")
			for _, target := range []string{"/account?taken-back", "/public/ended", "/account"} {
				if r := janes.open(target); r.status != http.StatusOK || janes.cookies[sessionCookie] == "" || len(r.header["Set-Cookie"]) > 0 {
					t.Errorf("%s: %d, and Jane keeps her cookie: %t", target, r.status, janes.cookies[sessionCookie] != "")
				}
			}
		})
	}
}

// TestConditionalRequestNeedsASession: "not modified" also tells something, and
// makes a cache hand out what it has.
func TestConditionalRequestNeedsASession(t *testing.T) {
	w := start(t, setup{})
	w.shop.answers(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("ETag", `"v1"`)
		rw.Header().Set("Last-Modified", "Mon, 02 Jan 2006 15:04:05 GMT")
		if r.Header.Get("If-None-Match") != "" || r.Header.Get("If-Modified-Since") != "" {
			rw.WriteHeader(http.StatusNotModified)
		}
	})
	b := w.browser()
	b.signIn(w, jane)
	stale := w.browser()
	stale.cookies[sessionCookie] = strings.Repeat("x", 43)
	for name, values := range map[string]string{
		"If-None-Match": `"v1"`, "If-Modified-Since": "Mon, 02 Jan 2026 15:04:05 GMT", "If-Range": `"v1"`, "Range": "bytes=0-1", "If-Match": "*",
	} {
		for what, who := range map[string]*browser{"nobody": w.browser(), "a stale cookie": stale.clone()} {
			w.shop.got()
			for _, as := range []tweak{asPage, asScript} {
				r := who.do(http.MethodGet, "/account", nil, as, header(name, values))
				if want := r.status == http.StatusSeeOther || r.status == http.StatusUnauthorized; !want || r.header.Get("ETag") != "" || w.shop.got() != nil {
					t.Errorf("%s with %s: %d, ETag %q", what, name, r.status, r.header.Get("ETag"))
				}
			}
		}
	}
	r := b.open("/account", header("If-None-Match", `"v1"`))
	if r.status != http.StatusNotModified || r.header.Get("Cache-Control") != "private, no-store" {
		t.Errorf("Jane: %d, Cache-Control %q", r.status, r.header.Get("Cache-Control"))
	}
}
