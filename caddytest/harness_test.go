// Package caddytest holds every test that needs a running Caddy. There is one
// Caddy in a process, so these tests never run in parallel.
package caddytest

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/kiboauth/caddy-kibo-auth"
	"github.com/kiboauth/caddy-kibo-auth/internal/freeport"
	"github.com/kiboauth/caddy-kibo-auth/internal/kibosim"
)

// accountHeader is the identity header of the default configuration.
const accountHeader = "Kibo-Account-Id"

// Names of the gateway's two cookies.
const (
	sessionCookie = "__Host-kibo"
	loginCookie   = "__Host-kibo-login"
)

// A world is a browser's view of a shop: Caddy with the gateway in front of a
// recording upstream, and a simulated Kibo.
type world struct {
	t    *testing.T
	sim  *kibosim.Sim
	kibo *host
	mail *mail
	shop *shop
	// addr is where the shop is, stock where Caddy is without the gateway.
	addr, stock string

	setup   setup
	dir     string // Caddy's storage
	reloads int
}

// A setup is what a test changes of the configuration.
type setup struct {
	client  string                               // what the client line says; default: the simulator's application, in clear
	gateway string                               // further lines of the kibo_auth block; KIBO is Kibo's URL
	limits  string                               // limit lines; default: none that a test could reach
	servers string                               // further lines of the global "servers" option
	site    string                               // further lines of the site
	admin   string                               // where Caddy's admin endpoint listens; default: off
	front   func(kibo http.Handler) http.Handler // what stands before Kibo; default: nothing
	// quiet switches the access log off: Caddy 2.11.9 reads there, with a data
	// race, how much of a body has been read, even if that is still being sent on.
	quiet bool
	last  string // what stands behind the gateway, SHOP being the shop's address; default: reverse_proxy SHOP
}

// start runs Caddy until the test ends.
func start(t *testing.T, s setup) *world {
	t.Helper()
	w := &world{t: t, setup: s, mail: newMail(), shop: newShop(t), dir: t.TempDir()}
	w.sim = kibosim.New(kibosim.Options{OnCode: w.mail.deliver, NewCode: newCode})
	kibo := noteTickets(w.sim)
	if s.front != nil {
		kibo = s.front(kibo)
	}
	w.kibo = newHost(t, kibo)
	w.shop.forwards = strings.Contains(s.gateway, "forward ")
	note("secret", kibosim.SharedSecret)
	w.addr, w.stock = freeport.Addr(t), freeport.Addr(t)
	t.Cleanup(func() {
		w.shop.CloseClientConnections()
		if err := caddy.Stop(); err != nil {
			t.Errorf("stopping Caddy: %v", err)
		}
	})
	w.reload()
	return w
}

// reload loads the configuration anew, with one harmless value changed, so
// that Caddy builds everything again.
func (w *world) reload() {
	w.t.Helper()
	w.reloads++
	w.load(w.adapted(w.caddyfile()))
}

// adapted is a Caddyfile as JSON.
func (w *world) adapted(text string) []byte {
	w.t.Helper()
	config, warnings, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), nil)
	if err != nil {
		w.t.Fatalf("adapting the Caddyfile: %v (warnings: %v)", err, warnings)
	}
	return config
}

func (w *world) load(config []byte) {
	w.t.Helper()
	if err := caddy.Load(config, true); err != nil {
		w.t.Fatalf("loading the configuration: %v", err)
	}
}

// loadSecure loads the configuration with TLS and HTTP/1.1, 2 and 3 on some of
// its addresses, and with more sites.
func (w *world) loadSecure(more string, addrs ...string) {
	w.t.Helper()
	w.t.Setenv("KIBO_TEST_SECRET", kibosim.SharedSecret)
	w.reloads++
	pairs := []string{
		"auto_https off", "auto_https disable_redirects\nocsp_stapling off",
		"protocols h1 h2c", "protocols h1 h2 h3",
		kibosim.SharedSecret, "{env.KIBO_TEST_SECRET}", // with TLS, Caddy logs the configuration at DEBUG
	}
	for _, addr := range addrs {
		pairs = append(pairs, "http://:"+port(addr)+" {", "https://localhost:"+port(addr)+" {\ntls internal")
	}
	w.load(w.adapted(strings.NewReplacer(pairs...).Replace(w.caddyfile()) + more))
	w.settleFor(w.secureBrowser)
}

// settle waits until only the newest configuration answers: Caddy cuts some
// connections that come while the old one leaves.
func (w *world) settle() {
	w.t.Helper()
	w.settleFor(w.browser)
}

func (w *world) settleFor(one func() *browser) {
	w.t.Helper()
	fine := 0
	eventually(w.t, "only the newest configuration answers", func() bool {
		r, err := one().withoutKeepAlive().try(http.MethodGet, "/login", nil, asPage)
		if fine++; err != nil || r.header.Get("X-Reload") != strconv.Itoa(w.reloads) {
			fine = 0
		}
		return fine >= 10
	})
	w.shop.got() // forget what it was asked for this
}

func (w *world) caddyfile() string {
	last := w.setup.last
	if last == "" {
		last = "reverse_proxy SHOP"
	}
	last = strings.ReplaceAll(last, "SHOP", w.shop.addr())
	text := fmt.Sprintf(`{
	admin %[13]s
	persist_config off
	auto_https off
	skip_install_trust
	grace_period 5s
	storage file_system %[1]s
	log {
		output file %[2]s {
			roll_disabled
		}
		format json
		level DEBUG
	}
	servers {
		protocols h1 h2c
		%[12]s
	}
}
http://%[3]s {
	bind 127.0.0.1
	log
	header X-Reload %[10]d
	%[6]s
	kibo_auth %[5]s {
		client %[7]s
		auth_host %[5]s
		%[14]s
		%[8]s
	}
	%[9]s
}
http://%[4]s {
	bind 127.0.0.1
	log
	header X-Reload %[10]d
	reverse_proxy %[11]s
}
`, strconv.Quote(w.dir), strconv.Quote(logFile), ":"+port(w.addr), ":"+port(w.stock), w.kibo.url(), w.setup.site,
		cmp.Or(w.setup.client, kibosim.ClientID+" "+kibosim.SharedSecret), strings.ReplaceAll(w.setup.gateway, "KIBO", w.kibo.url()), last, w.reloads, w.shop.addr(), w.setup.servers, cmp.Or(w.setup.admin, "off"), cmp.Or(w.setup.limits, "limit off\n\t\tlimit floor 0s"))
	if w.setup.quiet {
		text = strings.ReplaceAll(text, "\tbind 127.0.0.1\n\tlog\n", "\tbind 127.0.0.1\n")
	}
	return text
}

func port(addr string) string {
	_, p, _ := net.SplitHostPort(addr)
	return p
}

// eventually asks until the answer is yes.
func eventually(t testing.TB, what string, ask func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ask() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("it never came to this: %s", what)
		}
	}
}

// asCaddy in the environment makes a caddy command of this program.
const asCaddy = "CADDYTEST_AS_CADDY"

// TestMain runs all tests on one Caddy, whose log of the whole run is then
// searched for secrets.
func TestMain(m *testing.M) {
	if os.Getenv(asCaddy) != "" {
		caddycmd.Main()
		os.Exit(0)
	}
	dir, err := os.MkdirTemp("", "caddytest")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	logFile = filepath.Join(dir, "caddy.log")
	code := m.Run()
	if leaks := append(searchLog(logFile), sightings.search()...); len(leaks) > 0 {
		fmt.Fprintf(os.Stderr, "FAIL: secrets where they must not be:\n%s\n", strings.Join(leaks, "\n"))
		code = 1
	}
	_ = os.RemoveAll(dir)
	os.Exit(code)
}
