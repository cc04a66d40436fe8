package caddytest

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kiboauth/caddy-kibo-auth/internal/freeport"
)

// sharedCache is a real cache before the gateway, with rules of its own.
type sharedCache struct {
	name  string
	start func(t *testing.T, gateway, rules string) (addr string)
	rules string
}

// startBehind starts a gateway behind a cache, with two customers who are signed in
// and a stranger. The cache lives until the test ends.
func startBehind(t *testing.T, c sharedCache) (w *world, cache string, janes, johns, nobodys *browser) {
	t.Helper()
	w = start(t, setup{gateway: "public /public/*\nlogout /logout get\nsession {\ncontrol " + controlHeader + "\n}"})
	cache = c.start(t, w.addr, c.rules)
	janes, johns, nobodys = w.through(cache), w.through(cache), w.through(cache)
	janes.signIn(w, jane)
	johns.signIn(w, john)
	return w, cache, janes, johns, nobodys
}

// through is a browser that knows the shop by another address.
func (w *world) through(addr string) *browser {
	b := w.browser()
	b.base = "http://" + addr
	return b
}

// isKept tells whether an answer came out of the cache, as that itself says.
func (r *reply) isKept(t *testing.T) bool {
	t.Helper()
	said := r.header.Get("X-Cache")
	if said == "" {
		t.Errorf("%d: the cache does not say what it did", r.status)
	}
	return said == "HIT"
}

// startVarnish takes rules in VCL.
func startVarnish(t *testing.T, gateway, rules string) string {
	t.Helper()
	dir, addr := shortDir(t), freeport.Addr(t)
	vcl := fmt.Sprintf(`
		vcl 4.1;
		backend gateway { .host = "127.0.0.1"; .port = "%s"; }
		sub vcl_deliver {
			set resp.http.X-Cache = "MISS";
			if (obj.hits > 0) { set resp.http.X-Cache = "HIT"; }
		}
		%s`, port(gateway), rules)
	serve(t, "varnish", addr, "varnishd", "-F", "-j", "none", "-n", filepath.Join(dir, "n"), "-a", addr, "-T", "none",
		"-f", configFile(t, "rules.vcl", strings.TrimSpace(vcl)), "-s", "malloc,16m", "-p", "vsl_space=2m", "-p", "thread_pool_min=10")
	return addr
}

// startNginxCache takes directives of a location.
func startNginxCache(t *testing.T, gateway, rules string) string {
	t.Helper()
	return serveNginx(t, "proxy_cache_path "+t.TempDir()+" keys_zone=shop:1m;", fmt.Sprintf(`
		location / {
			proxy_pass http://%s;
			proxy_set_header Host $http_host;
			proxy_cache shop;
			add_header X-Cache $upstream_cache_status always;
			%s
		}`, gateway, rules))
}
