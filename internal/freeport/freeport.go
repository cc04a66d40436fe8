// Package freeport finds ports for the servers of tests that listen later on:
// a program that is told its port, a Caddy that is given a Caddyfile.
//
// Listening on port 0 and closing again is not enough for them. The system may
// give the same port to the next who asks, or to a connection that goes out,
// before the server is there. The ports of this package lie below those that
// Linux (from 32768) and others (from 49152) give away by themselves, and each
// process has a block of its own.
package freeport

import (
	"net"
	"strconv"
	"sync"
	"testing"
)

// Blocks lie in a range without well-known services.
const (
	firstPort  = 10000
	blockSize  = 500
	blockCount = 20
)

// own is the block of this process.
var own struct {
	sync.Mutex
	lock net.Listener // on the block's first port until the process ends: keeps others out
	last int          // port that was handed out, counted from the block's first
}

// Addr returns 127.0.0.1 with a Port.
func Addr(t testing.TB) string {
	t.Helper()
	return addr(Port(t))
}

// Port returns a port of 127.0.0.1 that nobody listens on. No other caller gets
// the same, in whatever process, until some 500 more have been handed out.
func Port(t testing.TB) int {
	t.Helper()
	own.Lock()
	defer own.Unlock()
	if own.lock == nil {
		if own.lock = takeBlock(); own.lock == nil {
			t.Fatalf("all %d blocks of ports from %d on are taken", blockCount, firstPort)
		}
	}
	first := own.lock.Addr().(*net.TCPAddr).Port
	for range blockSize {
		own.last = own.last%(blockSize-1) + 1
		if Free(first + own.last) {
			return first + own.last
		}
	}
	t.Fatalf("all ports of %d to %d are taken", first, first+blockSize-1)
	return 0
}

// Free tells whether nobody listens on a port of 127.0.0.1 just now.
func Free(port int) bool {
	l := listen(port)
	if l == nil {
		return false
	}
	l.Close()
	return true
}

// takeBlock returns a listener on the first port of a block that nobody has,
// or nil.
func takeBlock() net.Listener {
	for i := range blockCount {
		if l := listen(firstPort + i*blockSize); l != nil {
			return l
		}
	}
	return nil
}

// listen returns nil if the port is taken.
func listen(port int) net.Listener {
	l, err := net.Listen("tcp", addr(port))
	if err != nil {
		return nil
	}
	return l
}

func addr(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
