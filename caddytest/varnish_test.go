package caddytest

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// behindVarnish starts a real shared cache in front of the gateway, which
// lives until the test ends, and returns its address. The rules are VCL behind
// the line that names the gateway; none are what Varnish does by itself.
func (w *world) behindVarnish(t *testing.T, rules string) string {
	t.Helper()
	program, err := exec.LookPath("varnishd")
	if err != nil {
		program = "/usr/sbin/varnishd" // not on the path of everybody
	}
	if _, err := os.Stat(program); err != nil {
		t.Fatalf("varnishd is needed, Debian's package varnish: %v", err)
	}
	dir, addr := shortDir(t), freeAddr(t)
	file := filepath.Join(dir, "rules.vcl")
	vcl := "vcl 4.1;\nbackend gateway { .host = \"127.0.0.1\"; .port = \"" + port(w.addr) + "\"; }\n" + rules
	if err := os.WriteFile(file, []byte(vcl), 0o600); err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	cmd := exec.Command(program, "-F", "-j", "none", "-n", filepath.Join(dir, "n"), "-a", addr, "-T", "none", "-f", file,
		"-s", "malloc,16m", "-p", "vsl_space=2m", "-p", "thread_pool_min=10")
	cmd.Stdout, cmd.Stderr = &said, &said
	dieWithParent(cmd)
	if err := cmd.Start(); err != nil {
		t.Fatalf("starting varnishd: %v", err)
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		<-ended
	})
	eventually(t, "varnishd listens", func() bool {
		select {
		case <-ended:
			t.Fatalf("varnishd has ended: %s", said.String())
		default:
		}
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			return false
		}
		_ = conn.Close()
		return true
	})
	return addr
}

// through is a browser that knows the shop by another address.
func (w *world) through(addr string) *browser {
	b := w.browser()
	b.base = "http://" + addr
	return b
}
