package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"

	_ "github.com/caddyserver/caddy/v2/modules/standard"
	_ "github.com/kiboauth/caddy-kibo-auth"
	"github.com/kiboauth/caddy-kibo-auth/internal/kibosim"
)

//go:embed Caddyfile
var caddyfile []byte

// stopTimeout bounds how long each server waits for its last answers.
const stopTimeout = 3 * time.Second

// options is what the command line decides.
type options struct {
	Listen       string                   // loopback address of the gateway; port 0 picks a free one
	UpstreamForm bool                     // the shop draws the sign-in form, not the gateway
	Password     bool                     // passwords open accounts, too
	OnCode       func(email, code string) // called for every code that is "sent"
}

// demo is the three servers of a running demo. Caddy keeps its state for the
// whole process, so there can be only one at a time.
type demo struct {
	URL       string // of the gateway, where a browser goes
	Simulator string // URL of the simulated Kibo
	Shop      string // host:port of the shop behind the gateway

	servers []*http.Server
	storage string // Caddy's folder, deleted at the end
}

// startDemo starts the simulator, the shop, and the gateway in front of it.
// The caller must stop the demo, which is nil if there is an error.
func startDemo(o options) (_ *demo, err error) {
	d := new(demo)
	defer func() {
		if err != nil {
			err = errors.Join(err, d.stop())
		}
	}()
	if err := d.startPeers(o.OnCode); err != nil {
		return nil, err
	}
	bind, port, err := freeAddress(o.Listen) // after the peers, which could be given its port
	if err != nil {
		return nil, err
	}
	d.URL = "http://localhost:" + port
	if d.storage, err = os.MkdirTemp("", "kibo-demo-"); err != nil {
		return nil, fmt.Errorf("making a folder for Caddy: %w", err)
	}
	env := map[string]string{
		"DEMO_BIND":          bind,
		"DEMO_PORT":          port,
		"DEMO_KIBO":          d.Simulator,
		"DEMO_SHOP":          d.Shop,
		"DEMO_STORAGE":       d.storage,
		"KIBO_CLIENT_ID":     kibosim.ClientID,
		"KIBO_SHARED_SECRET": kibosim.SharedSecret,
	}
	o.chooseForm(env)
	return d, startGateway(env)
}

// chooseForm fills in what the login block of the Caddyfile leaves open.
func (o options) chooseForm(env map[string]string) {
	env["DEMO_PAGE"], env["DEMO_CODE_FIELD"], env["DEMO_PASSWORD"] = "builtin", "login[password]", ""
	if o.UpstreamForm {
		env["DEMO_PAGE"] = "upstream"
	}
	if o.Password {
		env["DEMO_CODE_FIELD"], env["DEMO_PASSWORD"] = "code", "password login[password]"
	}
}

// freeAddress checks that the gateway can listen there, and splits the address.
// Caddy would not notice another Caddy on the port: it shares ports
// (SO_REUSEPORT) so that reloads lose no connection.
func freeAddress(listen string) (bind, port string, err error) {
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return "", "", fmt.Errorf("-listen %s: want host:port, such as 127.0.0.1:8080", listen)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return "", "", fmt.Errorf("-listen %s: the demo shows every code it sends, so it stays on this machine; use 127.0.0.1", listen)
	}
	l, err := net.Listen("tcp", listen)
	if errors.Is(err, syscall.EADDRINUSE) {
		return "", "", fmt.Errorf("%s is taken by another program; choose another port with -listen, such as -listen 127.0.0.1:8090", listen)
	}
	if err != nil {
		return "", "", fmt.Errorf("-listen %s: %w", listen, err)
	}
	defer l.Close()
	addr := l.Addr().(*net.TCPAddr)
	return addr.IP.String(), fmt.Sprint(addr.Port), nil
}

// startPeers starts what the gateway talks to: Kibo and the shop.
func (d *demo) startPeers(onCode func(email, code string)) error {
	sim, err := d.serve(kibosim.New(kibosim.Options{OnCode: onCode}))
	if err != nil {
		return fmt.Errorf("starting the simulator: %w", err)
	}
	d.Simulator = "http://" + sim
	site, err := newShop()
	if err != nil {
		return err
	}
	if d.Shop, err = d.serve(site); err != nil {
		return fmt.Errorf("starting the shop: %w", err)
	}
	return nil
}

// serve runs a handler on a free loopback port and returns its address.
func (d *demo) serve(h http.Handler) (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	d.servers = append(d.servers, srv)
	go srv.Serve(l)
	return l.Addr().String(), nil
}

// startGateway runs the embedded Caddyfile with these values filled in.
func startGateway(env map[string]string) error {
	for name, value := range env {
		if err := os.Setenv(name, value); err != nil {
			return fmt.Errorf("filling in the Caddyfile: %w", err)
		}
	}
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt(caddyfile, map[string]any{"filename": "Caddyfile"})
	if err != nil {
		return fmt.Errorf("adapting the Caddyfile: %w", err)
	}
	if err := caddy.Load(config, true); err != nil {
		return fmt.Errorf("starting the gateway: %w", err)
	}
	return nil
}

// stop ends the gateway, then what is behind it, and leaves nothing on disk.
func (d *demo) stop() error {
	err := caddy.Stop()
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	for _, srv := range d.servers {
		err = errors.Join(err, srv.Shutdown(ctx))
	}
	if d.storage != "" {
		err = errors.Join(err, os.RemoveAll(d.storage))
	}
	return err
}
