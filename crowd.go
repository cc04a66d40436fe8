package kiboauth

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
)

// warnOfOneAddress warns at start if every request must come through a proxy on
// this machine that Caddy does not trust to say who the client is: then all
// customers have one address, and share its limits. Where others can connect,
// too, nothing is known before they do; see noticeCrowd. Whether a listener takes
// the PROXY protocol, which would do as well, is not to be found out.
func (h *Handler) warnOfOneAddress(ctx caddy.Context) {
	server, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if !ok || h.Limits.Off {
		return
	}
	for _, listen := range server.Listen {
		peer := localPeer(listen)
		if peer == "" || trusts(server, peer) {
			return
		}
	}
	h.log.Warn("only this machine can connect, and no proxy on it is trusted: customers who come through one share one address and its limits; "+
		"set trusted_proxies, or trusted_proxies_unix for a socket", zap.Strings("listen", server.Listen))
}

// localPeer returns the address, as in http.Request.RemoteAddr, that all have
// who connect to a listener that only this machine can reach; "" if others can.
func localPeer(listen string) string {
	addr, err := caddy.ParseNetworkAddress(listen)
	if err != nil {
		return ""
	}
	if addr.IsUnixNetwork() {
		return "@"
	}
	if addr.Host == "localhost" {
		addr.Host = "127.0.0.1"
	}
	ip, err := netip.ParseAddr(addr.Host)
	if err != nil || !ip.IsLoopback() {
		return ""
	}
	return net.JoinHostPort(ip.String(), "0")
}

// trusts asks Caddy whether it takes the word of this peer for a client's address.
func trusts(server *caddyhttp.Server, peer string) bool {
	r := &http.Request{RemoteAddr: peer, URL: new(url.URL), Header: make(http.Header)}
	r = caddyhttp.PrepareRequest(r, caddy.NewReplacer(), nil, server)
	trusted, _ := caddyhttp.GetVar(r.Context(), caddyhttp.TrustedProxyVarKey).(bool)
	return trusted
}

// noticeCrowd warns when a proxy hides the clients' addresses.
func (a *attempt) noticeCrowd() {
	peer, _, _ := net.SplitHostPort(a.r.RemoteAddr) // "" is nobody's address
	if a.h.shared.counts.crowd.sees(clientIP(a.r), peer, a.r.Header.Get("X-Forwarded-For") != "") {
		a.h.log.Warn("all sign-ins seem to come from one address, and share its limits; set trusted_proxies to the proxy in front of Caddy",
			zap.String("client", peer))
	}
}

// crowd notices that everybody seems to come from the same address, because
// Caddy does not know which proxy to trust.
type crowd struct {
	mu   sync.Mutex
	ip   string
	row  int
	told bool
}

// crowdFrom is how many sign-in posts in a row make a crowd.
const crowdFrom = 20

// sees notes a post. It tells once that there is a crowd.
func (c *crowd) sees(client, peer string, forwarded bool) (tell bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	addr, err := netip.ParseAddr(client)
	addr = addr.Unmap()
	if near := err == nil && (addr.IsPrivate() || addr.IsLoopback() || addr.IsLinkLocalUnicast()); !near || !forwarded || client != peer {
		c.row = 0
		return false
	}
	if client != c.ip {
		c.ip, c.row = client, 0
	}
	c.row++
	tell = c.row >= crowdFrom && !c.told
	c.told = c.told || tell
	return tell
}
