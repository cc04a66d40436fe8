package freeport

import (
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

// TestNoPortTwice: neither here nor in another process that asks meanwhile.
func TestNoPortTwice(t *testing.T) {
	const each = 200
	if os.Getenv("FREEPORT_CHILD") != "" {
		for range each {
			os.Stdout.WriteString(Addr(t) + "\n")
		}
		return
	}
	seen := make(map[string]bool)
	take := func(addr string) {
		if seen[addr] {
			t.Errorf("%s a second time", addr)
		}
		seen[addr] = true
	}
	for range each {
		take(Addr(t))
	}
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestNoPortTwice$")
	child.Env = append(os.Environ(), "FREEPORT_CHILD=1")
	out, err := child.Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		if strings.HasPrefix(line, "127.0.0.1:") {
			take(strings.TrimSpace(line))
		}
	}
	if len(seen) != 2*each {
		t.Errorf("%d ports, want %d", len(seen), 2*each)
	}
}

// TestAddr: one can listen there, it is out of the system's own range, and a
// port that somebody listens on is passed over.
func TestAddr(t *testing.T) {
	addr := Addr(t)
	_, text, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(text)
	if err != nil || port < firstPort || port >= firstPort+blockCount*blockSize {
		t.Errorf("%s lies outside", addr)
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for range 2 * blockSize { // more than there are: they come round again
		if again := Addr(t); again == addr {
			t.Fatalf("%s, where somebody listens", again)
		}
	}
}
