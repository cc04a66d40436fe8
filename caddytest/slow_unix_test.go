//go:build unix

package caddytest

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/kiboauth/caddy-kibo-auth/internal/freeport"
)

// stalls are requests that stop somewhere and never go on.
var stalls = map[string]string{
	"nothing at all":             "",
	"the request line":           "POST /login HT",
	"the header":                 "POST /login HTTP/1.1\r\nHost: shop\r\nX-Slow: ",
	"the body of a login post":   "POST /login HTTP/1.1\r\nHost: shop\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 60000\r\n\r\nemail=jane",
	"a chunk of a login post":    "POST /login HTTP/1.1\r\nHost: shop\r\nContent-Type: application/x-www-form-urlencoded\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nemail=jane",
	"a multipart login post":     "POST /login HTTP/1.1\r\nHost: shop\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: 60000\r\n\r\n--b\r\nContent-Disp",
	"a JSON login post":          "POST /login HTTP/1.1\r\nHost: shop\r\nContent-Type: application/json\r\nContent-Length: 60000\r\n\r\n{\"email\":\"jane",
	"a post without a session":   "POST /account HTTP/1.1\r\nHost: shop\r\nContent-Length: 60000\r\n\r\na=b",
	"a sign-out":                 "POST /logout HTTP/1.1\r\nHost: shop\r\nContent-Length: 60000\r\n\r\na=b",
	"an upload to a public page": "POST /public/x HTTP/1.1\r\nHost: shop\r\nContent-Length: 60000\r\n\r\na=b",
}

// stall opens connections that say so much and no more.
func stall(t *testing.T, addr, text string, count int) (all []net.Conn) {
	t.Helper()
	t.Cleanup(func() { hangUp(all) })
	for range count {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatalf("connection %d: %v", len(all), err)
		}
		all = append(all, conn)
		if _, err := io.WriteString(conn, text); err != nil {
			t.Fatalf("connection %d: %v", len(all), err)
		}
	}
	return all
}

// hangUp closes connections without leaving their ports occupied.
func hangUp(all []net.Conn) {
	for _, conn := range all {
		_ = conn.(*net.TCPConn).SetLinger(0)
		_ = conn.Close()
	}
}

// TestStalledConnections: 250 of each kind hold up nobody.
func TestStalledConnections(t *testing.T) {
	w := start(t, setup{gateway: "public /public/*", quiet: true})
	for name, text := range stalls {
		all := stall(t, w.addr, text, 250)
		b := w.browser()
		b.signIn(w, jane)
		if got := b.signedInAs("/account"); got != janeID {
			t.Errorf("while 250 clients stall in %s, jane is %q", name, got)
		}
		if r := w.browser().open("/public/x"); r.status != http.StatusOK {
			t.Errorf("while 250 clients stall in %s, a public page is %d", name, r.status)
		}
		hangUp(all)
	}
}

// heapOf is the memory in use in a node, in bytes, after a collection.
func heapOf(t *testing.T, admin string) int {
	t.Helper()
	resp, err := http.Get("http://" + admin + "/debug/pprof/heap?gc=1&debug=1")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	in := regexp.MustCompile(`# HeapAlloc = (\d+)`).FindStringSubmatch(string(readAll(resp.Body)))
	if in == nil {
		t.Fatalf("no heap profile: %d", resp.StatusCode)
	}
	n, err := strconv.Atoi(in[1])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// connections are as many as this process may open, 10,000 at most.
func connections(t *testing.T) int {
	t.Helper()
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	return int(min(limit.Cur-min(limit.Cur, 1000), 10_000))
}

// TestTenThousandHalfLogins: login posts that never end cost a bounded amount of
// memory each, all of which comes back, and keep nobody from signing in.
func TestTenThousandHalfLogins(t *testing.T) {
	const mib, each = 1 << 20, 64 << 10
	f := newFleet(t)
	admin := freeport.Addr(t)
	n := f.add("", "admin off", "admin "+admin)
	b := n.browser()
	b.signIn(f.world, jane)
	before := heapOf(t, admin)

	count := connections(t)
	all := stall(t, n.addr, stalls["the body of a login post"], count)
	b = n.browser()
	b.signIn(f.world, jane)
	if got := b.signedInAs("/account"); got != janeID {
		t.Errorf("among %d half logins, jane is %q", count, got)
	}
	during := heapOf(t, admin)
	if during-before > count*each {
		t.Errorf("%d half logins take %d MiB, want %d at most", count, (during-before)/mib, count*each/mib)
	}
	hangUp(all)
	after := 0
	eventually(t, "the memory comes back", func() bool { after = heapOf(t, admin); return after-before < 16*mib })
	t.Logf("%d half logins: %d MiB before, %d during, %d afterwards", count, before/mib, during/mib, after/mib)
}

// TestTenThousandSignInsBegun and never finished leave nothing behind: what is
// pending lives in the browser's cookie.
func TestTenThousandSignInsBegun(t *testing.T) {
	const mib, count, workers = 1 << 20, 10_000, 32
	f := newFleet(t)
	admin := freeport.Addr(t)
	n := f.add("", "admin off", "admin "+admin)
	n.browser().signIn(f.world, jane)
	before := heapOf(t, admin)
	var all sync.WaitGroup
	for i := range workers {
		all.Go(func() {
			for k := range count / workers {
				email := fmt.Sprintf("stranger-%d-%d@example.com", i, k)
				if r := n.browser().post("/login", url.Values{"email": {email}}); r.status != http.StatusOK {
					t.Errorf("beginning a sign-in: %d", r.status)
					return
				}
			}
		})
	}
	all.Wait()
	b := n.browser()
	b.signIn(f.world, "john@example.com")
	if got := b.signedInAs("/account"); got != "1002" {
		t.Errorf("after %d sign-ins that were begun, john is %q", count, got)
	}
	after := 0
	eventually(t, "the memory comes back", func() bool { after = heapOf(t, admin); return after-before < 16*mib })
	t.Logf("%d sign-ins begun: %d MiB before, %d afterwards", count, before/mib, after/mib)
}

// TestDecompressionBomb: a login post that is compressed is none. It goes on to
// the shop as it is, and nothing of it is unpacked.
func TestDecompressionBomb(t *testing.T) {
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	_, _ = io.WriteString(z, "email="+url.QueryEscape(jane)+"&x=")
	_, _ = io.Copy(z, io.LimitReader(endless{}, 16<<20))
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	w := start(t, setup{})
	for _, encoding := range []string{"gzip", "x-gzip", "GZIP", "deflate", "br", "zstd", "identity, gzip", "gzip, gzip"} {
		for _, name := range []string{"Content-Encoding", "Transfer-Encoding"} {
			if name == "Transfer-Encoding" && strings.Contains(encoding, "identity") {
				continue
			}
			r := w.raw(w.head("POST /login HTTP/1.1", "Content-Type: application/x-www-form-urlencoded", name+": "+encoding,
				fmt.Sprint("Content-Length: ", bomb.Len())) + bomb.String())
			got := w.shop.got()
			switch {
			case name == "Transfer-Encoding" && (got != nil || r.status < 400):
				t.Errorf("%s: %s: %d, the shop was asked: %t; want it refused", name, encoding, r.status, got != nil)
			case name == "Content-Encoding" && (got == nil || !bytes.Equal(got.body, bomb.Bytes())):
				t.Errorf("%s: %s: %d, and the shop does not get it as it was sent", name, encoding, r.status)
			}
		}
	}
	form := "email=" + url.QueryEscape(jane) // said to be packed, and is not
	w.raw(w.head("POST /login HTTP/1.1", "Content-Type: application/x-www-form-urlencoded", "Content-Encoding: gzip", fmt.Sprint("Content-Length: ", len(form))) + form)
	if got := w.shop.got(); got == nil || string(got.body) != form {
		t.Error("a post that is said to be compressed did not go on to the shop")
	}
	if n := w.sim.Calls("otp/request"); n != 0 {
		t.Errorf("Kibo was asked %d times", n)
	}
}

// endless is the same letter without end.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'a'
	}
	return len(p), nil
}
