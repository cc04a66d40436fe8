package main

import (
	"bytes"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kiboauth/caddy-kibo-auth/internal/kibosim"
)

// pageSize is what the shop sends for every request: small, so that the
// gateway's share in the work is large.
const pageSize = 1 << 10

// peers is what the gateways talk to: a shop and a simulated Kibo.
type peers struct {
	shop, kibo string // host:port
	sim        *kibosim.Sim
	seen       atomic.Pointer[http.Header] // of the shop's latest request
	mail       sync.Map                    // e-mail address → chan string
	servers    []*http.Server
}

// startPeers starts both on free loopback ports.
func startPeers() (*peers, error) {
	p := new(peers)
	p.sim = kibosim.New(kibosim.Options{OnCode: func(email, code string) { p.mailbox(email) <- code }})
	p.sim.Set(func(sw *kibosim.Switches) { // no refresh in the middle of a comparison
		sw.AccessTTL, sw.AppTokenTTL = 12*time.Hour, 12*time.Hour
	})
	page := bytes.Repeat([]byte("legacy storefront\n"), pageSize/16)[:pageSize]
	shop := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.seen.Store(&r.Header)
		w.Header()["Content-Type"] = []string{"text/html; charset=utf-8"}
		_, _ = w.Write(page) // a gateway that is gone shows on the other side
	})
	var err error
	if p.shop, err = p.serve(shop); err == nil {
		p.kibo, err = p.serve(p.sim)
	}
	return p, err
}

// mailbox is where a customer's codes arrive.
func (p *peers) mailbox(email string) chan string {
	box, _ := p.mail.LoadOrStore(email, make(chan string, 8))
	return box.(chan string)
}

func (p *peers) serve(h http.Handler) (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	p.servers = append(p.servers, srv)
	go srv.Serve(l)
	return l.Addr().String(), nil
}

func (p *peers) stop() {
	for _, srv := range p.servers {
		srv.Close()
	}
}
