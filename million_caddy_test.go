package kiboauth

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/kiboauth/caddy-kibo-auth/internal/freeport"
	"github.com/kiboauth/caddy-kibo-auth/internal/kibosim"
)

// millionCaddy is a Caddy in this process, with a shop and a Kibo.
type millionCaddy struct {
	addr, admin string // host:port
	kibo, shop  string // URL
	dir         string
	store       *memory       // held, so that it outlives a configuration without kibo_auth
	cookies     [][idLen]byte // of the sessions in the store; no pointers, so that
	keys        []Key         // the collector has no more to do than in a Caddy alone
	client      *http.Client
}

// What a site may have in front of its shop.
const (
	bareSite = ""
	kiboSite = `kibo_auth KIBO {
		auth_host KIBO
		client CLIENT SECRET
		session {
			cookie kibo {
				insecure
			}
		}
	}`
)

const millionConfig = `{
	admin ADMIN
	persist_config off
	auto_https off
	grace_period 1s
	storage file_system "DIR"
	log {
		output discard
	}
	servers {
		protocols h1
	}
}
http://ADDR {
	SITE
	reverse_proxy SHOP
}
`

func startMillionCaddy(b *testing.B) *millionCaddy {
	b.Helper()
	shop := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, strings.Repeat("legacy storefront\n", 57)) // 1 KiB
	}))
	b.Cleanup(shop.Close)
	kibo := httptest.NewServer(kibosim.New(kibosim.Options{}))
	b.Cleanup(kibo.Close)
	held := new(MemoryStore)
	if err := held.Provision(caddy.Context{}); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = held.Cleanup() })
	c := &millionCaddy{addr: freeport.Addr(b), admin: freeport.Addr(b), kibo: kibo.URL, shop: shop.URL, dir: b.TempDir(), store: held.memory}
	c.client = &http.Client{
		Timeout:       10 * time.Second,
		Transport:     &http.Transport{MaxIdleConnsPerHost: visitors},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	if err := caddy.Run(&caddy.Config{Admin: &caddy.AdminConfig{Listen: c.admin, Config: &caddy.ConfigSettings{Persist: new(bool)}}}); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = caddy.Stop() })
	return c
}

// load has Caddy build everything anew from a configuration, as "caddy reload
// --force" does.
func (c *millionCaddy) load(b *testing.B, site string) {
	b.Helper()
	text := strings.NewReplacer("KIBO", c.kibo, "CLIENT", kibosim.ClientID, "SECRET", kibosim.SharedSecret).Replace(site)
	text = strings.NewReplacer("ADMIN", c.admin, "ADDR", c.addr, "DIR", c.dir, "SITE", text, "SHOP", c.shop).Replace(millionConfig)
	r, err := http.NewRequestWithContext(b.Context(), http.MethodPost, "http://"+c.admin+"/load", strings.NewReader(text))
	if err != nil {
		b.Fatal(err)
	}
	r.Header.Set("Content-Type", "text/caddyfile")
	r.Header.Set("Cache-Control", "must-revalidate") // although nothing has changed
	r.Close = true                                   // the admin endpoint is built anew, too
	resp, err := c.client.Do(r)
	if err != nil {
		b.Fatal(err)
	}
	defer resp.Body.Close()
	if body, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusOK {
		b.Fatalf("status %d: %s", resp.StatusCode, body)
	}
}

const (
	// visitors are how many ask at once, at most.
	visitors = 16
	// visitEvery is how often somebody asks: 500 requests a second.
	visitEvery = 2 * time.Millisecond
	// eventCount is how often something happens to the visitors, once a second.
	eventCount = 8
)

// visits is what visitors got while something went on.
type visits struct {
	events []time.Duration // how long each of it took
	took   []time.Duration // from when a request was due to the end of its answer
	failed int
}

// visitReloads has visitors ask while a configuration is reloaded.
func (c *millionCaddy) visitReloads(b *testing.B, site string) visits {
	b.Helper()
	c.load(b, site)
	return c.visitDuring(func() { c.load(b, site) })
}

// visitCollections has visitors ask while garbage is collected: far more often
// than their requests would cause it.
func (c *millionCaddy) visitCollections() visits { return c.visitDuring(runtime.GC) }

// visitDuring has visitors ask while something happens once a second.
func (c *millionCaddy) visitDuring(event func()) (all visits) {
	stop := make(chan struct{})
	var each [visitors]visits
	var group sync.WaitGroup
	for i := range each {
		group.Go(func() { each[i] = c.visit(time.Duration(i)*visitEvery, stop) })
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for range eventCount {
		start := <-tick.C
		event()
		all.events = append(all.events, time.Since(start).Round(100*time.Microsecond))
	}
	<-tick.C // what the last one did to requests is felt a little later
	close(stop)
	group.Wait()
	for _, v := range each {
		all.took, all.failed = append(all.took, v.took...), all.failed+v.failed
	}
	return all
}

// visit asks whenever it is due, late if the answer before was late. A
// request that waits for its turn waits, too: time counts from when it was due.
func (c *millionCaddy) visit(first time.Duration, stop <-chan struct{}) (v visits) {
	for due := time.Now().Add(first); ; due = due.Add(visitors * visitEvery) {
		select {
		case <-stop:
			return v
		case <-time.After(time.Until(due)):
		}
		if err := c.ask(); err != nil {
			v.failed++
		}
		v.took = append(v.took, time.Since(due))
	}
}

// ask opens a page as one of the customers, if there are any.
func (c *millionCaddy) ask() error {
	r, err := http.NewRequest(http.MethodGet, "http://"+c.addr+"/account/orders", nil)
	if err != nil {
		return err
	}
	if len(c.cookies) > 0 {
		r.Header.Set("Cookie", "kibo="+string(c.cookies[rand.IntN(len(c.cookies))][:]))
	}
	resp, err := c.client.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", resp.StatusCode)
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}
