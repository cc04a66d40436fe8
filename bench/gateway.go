package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/kiboauth/caddy-kibo-auth/internal/kibosim"
)

//go:embed Caddyfile
var caddyfile []byte

// startTimeout is how long a gateway may take until it answers.
const startTimeout = 20 * time.Second

// gateway is a Caddy in a process of its own, held to one core.
type gateway struct {
	addr, counter, admin string // host:port
	cmd                  *exec.Cmd
	folder               string
}

// startGateway starts one contender of the Caddyfile. The caller must stop it,
// also when there is an error.
func startGateway(ctx context.Context, o options, c contender, env []string, p *peers) (*gateway, error) {
	g := new(gateway)
	err := freeAddresses(&g.addr, &g.counter, &g.admin)
	if err != nil {
		return g, err
	}
	if g.folder, err = os.MkdirTemp("", "kibo-bench-"); err != nil {
		return g, err
	}
	config := filepath.Join(g.folder, "Caddyfile")
	if err := os.WriteFile(config, caddyfile, 0o600); err != nil {
		return g, err
	}
	g.cmd = exec.Command("taskset", "-c", strconv.Itoa(o.core), o.caddy, "run", "--adapter", "caddyfile", "--config", config)
	g.cmd.Stderr = os.Stderr
	g.cmd.Env = append(withoutCollector(os.Environ()), env...)
	g.cmd.Env = append(
		g.cmd.Env, "GOMAXPROCS=1", "HOME="+g.folder, "BENCH_CONTENDER="+c.snippet, "BENCH_STORAGE="+g.folder,
		"BENCH_PORT="+port(g.addr), "BENCH_COUNTER="+port(g.counter), "BENCH_ADMIN="+g.admin,
		"BENCH_SHOP="+p.shop, "BENCH_KIBO=http://"+p.kibo,
		"KIBO_CLIENT_ID="+kibosim.ClientID, "KIBO_SHARED_SECRET="+kibosim.SharedSecret,
	)
	if err := g.cmd.Start(); err != nil {
		return g, fmt.Errorf("starting a gateway: %w", err)
	}
	return g, g.answers(ctx)
}

// withoutCollector drops settings of the collector that come from outside.
func withoutCollector(environ []string) []string {
	var kept []string
	for _, line := range environ {
		if !strings.HasPrefix(line, "GOGC=") && !strings.HasPrefix(line, "GOMEMLIMIT=") {
			kept = append(kept, line)
		}
	}
	return kept
}

// freeAddresses finds loopback addresses that nobody listens on, all of them
// before it lets go of the first, so that no two are the same.
func freeAddresses(addrs ...*string) error {
	for _, addr := range addrs {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		defer l.Close()
		*addr = l.Addr().String()
	}
	return nil
}

func port(addr string) string {
	_, port, _ := net.SplitHostPort(addr)
	return port
}

// answers waits until the gateway listens.
func (g *gateway) answers(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for _, addr := range []string{g.addr, g.counter} {
		for {
			conn, err := net.Dial("tcp", addr)
			if err == nil {
				conn.Close()
				break
			}
			select {
			case <-ctx.Done():
				return errors.New("a gateway does not listen; see what it said above")
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
	return nil
}

// stop ends the gateway and leaves nothing on disk.
func (g *gateway) stop() {
	if g.cmd != nil && g.cmd.Process != nil {
		_ = g.cmd.Process.Signal(syscall.SIGTERM)
		late := time.AfterFunc(5*time.Second, func() { _ = g.cmd.Process.Kill() })
		_ = g.cmd.Wait() // ended by a signal: that is meant
		late.Stop()
	}
	if g.folder != "" {
		_ = os.RemoveAll(g.folder)
	}
}
