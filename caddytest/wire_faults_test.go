package caddytest

import (
	"bytes"
	"compress/gzip"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// onTheWire reads a request and answers with bytes as they are.
func onTheWire(answer string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err) // HTTP/1.1 can be hijacked
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, answer)
	}
}

// gzipBomb is 64 KiB that unpack to 64 MiB.
var gzipBomb = sync.OnceValue(func() []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	zeros := make([]byte, 1<<20)
	for range 64 {
		_, _ = z.Write(zeros) // a bytes.Buffer takes everything
	}
	_ = z.Close()
	return b.Bytes()
})

const (
	ok200   = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
	bareEnd = "Connection: close\r\n\r\n"
)

// wireFaults are answers that the simulator's own faults do not have: together
// they are 58 and more.
var wireFaults = map[string]string{
	"nothing at all":            "",
	"one byte":                  "H",
	"cut in the status line":    "HTTP/1.1 20",
	"cut in the head":           ok200 + "Content-Le",
	"cut in the body":           ok200 + "Content-Length: 1000\r\n\r\n{\"accessToken\":",
	"cut in a chunk":            ok200 + "Transfer-Encoding: chunked\r\n\r\nfff\r\n{",
	"bad chunk length":          ok200 + "Transfer-Encoding: chunked\r\n\r\nzz\r\n{}",
	"negative chunk":            ok200 + "Transfer-Encoding: chunked\r\n\r\n-1\r\n{}",
	"endless chunk line":        ok200 + "Transfer-Encoding: chunked\r\n\r\n" + strings.Repeat("0", 1<<20),
	"unknown transfer coding":   ok200 + "Transfer-Encoding: gzip\r\n\r\n{}",
	"two lengths":               ok200 + "Content-Length: 3\r\nContent-Length: 4\r\n\r\n{}  ",
	"negative length":           ok200 + "Content-Length: -1\r\n\r\n{}",
	"length past int64":         ok200 + "Content-Length: 99999999999999999999\r\n\r\n{}",
	"length of 200 GB":          ok200 + "Content-Length: 200000000000\r\n\r\n{}",
	"bad status line":           "HTTP/1.1 twohundred OK\r\n\r\n{}",
	"status 99":                 "HTTP/1.1 99 Too Few\r\n" + bareEnd + "{}",
	"status 999":                "HTTP/1.1 999 Too Many\r\n" + bareEnd + "{}",
	"status without a number":   "HTTP/1.1\r\n\r\n{}",
	"no version":                "200 OK\r\n\r\n{}",
	"HTTP/0.9":                  "{\"accessToken\":\"nope\"}",
	"HTTP/2 preface":            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
	"SMTP":                      "220 mail.example.com ESMTP accessToken nope\r\n",
	"SSH":                       "SSH-2.0-OpenSSH_9.9\r\n",
	"TLS alert":                 "\x15\x03\x01\x00\x02\x02\x46",
	"bad header line":           ok200 + "accessToken nope\r\n\r\n{}",
	"header with NUL":           ok200 + "X: a\x00b\r\n\r\n{}",
	"header of 1 MiB":           ok200 + "X: " + strings.Repeat("x", 1<<20) + "\r\n\r\n{}",
	"100,000 headers":           ok200 + strings.Repeat("X: y\r\n", 100_000) + "\r\n{}",
	"switching protocols":       "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
	"flood of 100":              strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 20_000),
	"flood of 103":              strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", 20_000),
	"no content":                "HTTP/1.1 204 No Content\r\n" + bareEnd,
	"reset content":             "HTTP/1.1 205 Reset Content\r\n" + bareEnd,
	"not modified":              "HTTP/1.1 304 Not Modified\r\n" + bareEnd,
	"moved, with a cookie":      "HTTP/1.1 301 Moved\r\nLocation: /trap\r\nSet-Cookie: sb-sf-at-prod=1\r\n" + bareEnd,
	"see other":                 "HTTP/1.1 303 See Other\r\nLocation: /trap\r\n" + bareEnd,
	"307 with the body":         "HTTP/1.1 307 Temporary Redirect\r\nLocation: /trap\r\n" + bareEnd,
	"308 with the body":         "HTTP/1.1 308 Permanent Redirect\r\nLocation: /trap\r\n" + bareEnd,
	"multiple choices":          "HTTP/1.1 300 Multiple Choices\r\nLocation: /trap\r\n" + bareEnd + "{}",
	"said to be gzip":           ok200 + "Content-Encoding: gzip\r\n" + bareEnd + "{}",
	"brotli":                    ok200 + "Content-Encoding: br\r\n" + bareEnd + "{}",
	"a list":                    ok200 + bareEnd + `[{"accessToken":"nope"}]`,
	"a text":                    ok200 + bareEnd + `"accessToken"`,
	"a number":                  ok200 + bareEnd + `200`,
	"two objects":               ok200 + bareEnd + `{"accessToken":"nope"}{"accessToken":"nope"}`,
	"wrong types":               ok200 + bareEnd + `{"accessToken":1,"refreshToken":[],"jwtAccessToken":{},"userId":true,"access_token":{}}`,
	"invalid UTF-8":             ok200 + bareEnd + "{\"accessToken\":\"\xff\xfe\",\"access_token\":\"\xff\"}",
	"nested 100,000 deep":       ok200 + bareEnd + `{"accessToken":` + strings.Repeat("[", 100_000),
	"teapot as HTML":            "HTTP/1.1 418 Teapot\r\n" + bareEnd + "<h1>Server Error</h1>",
	"firewall's 403":            "HTTP/1.1 403 Forbidden\r\nContent-Type: text/html\r\n" + bareEnd + "<h1>Server Error</h1>",
	"proxy wants authorization": "HTTP/1.1 407 Proxy Authentication Required\r\n" + bareEnd,
	"not implemented":           "HTTP/1.1 501 Not Implemented\r\n" + bareEnd,
	"unavailable":               "HTTP/1.1 503 Service Unavailable\r\n" + bareEnd,
	"gateway timeout":           "HTTP/1.1 504 Gateway Timeout\r\n" + bareEnd,
}

// allWireFaults adds what is made when first needed.
func allWireFaults() map[string]string {
	all := maps.Clone(wireFaults)
	all["gzip bomb"] = ok200 + "Content-Encoding: gzip\r\n" + bareEnd + string(gzipBomb())
	all["gzip bomb, not said"] = ok200 + bareEnd + string(gzipBomb())
	all["5 MiB"] = ok200 + bareEnd + `{"pad":"` + strings.Repeat("x", 5<<20) + `"}`
	return all
}

// A cutter stands before Kibo and spoils the answers of one path.
type cutter struct {
	kibo    http.Handler
	fault   atomic.Pointer[string]
	path    atomic.Pointer[string]
	spoiled atomic.Int64 // calls
	trapped atomic.Int64
}

// ServeHTTP implements http.Handler.
func (c *cutter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, "/trap") {
		c.trapped.Add(1)
	}
	path, fault := c.path.Load(), c.fault.Load()
	if path == nil || fault == nil || !strings.HasSuffix(strings.TrimSuffix(r.URL.Path, "/"), *path) {
		c.kibo.ServeHTTP(w, r)
		return
	}
	c.spoiled.Add(1)
	onTheWire(*fault)(w, r)
}

func (c *cutter) spoil(path, fault string) {
	c.spoiled.Store(0)
	c.fault.Store(&fault)
	c.path.Store(&path)
}

// clear ends the fault, which must have met somebody, and a POST or PUT only
// once: whether Kibo has used up a code or token nobody knows.
func (c *cutter) clear(t *testing.T, most int64) {
	t.Helper()
	c.path.Store(nil)
	if n := c.spoiled.Load(); n < 1 || n > most {
		t.Errorf("%d calls met the fault, want 1 to %d", n, most)
	}
}

// startCut starts a gateway with a cutter in front of Kibo.
func startCut(t *testing.T) (*world, *cutter) {
	t.Helper()
	c := new(cutter)
	w := start(t, setup{
		gateway: quick + "session {\nmax_per_customer 100\n}",
		front:   func(kibo http.Handler) http.Handler { c.kibo = kibo; return c },
	})
	return w, c
}

// TestWireFaultsOfTheExchange: there is no session, the answer says when to
// try again and nothing of the fault, and everybody else goes on.
func TestWireFaultsOfTheExchange(t *testing.T) {
	w, c := startCut(t)
	bystander := w.browser()
	bystander.signIn(w, john)
	faults := allWireFaults()
	for _, name := range slices.Sorted(maps.Keys(faults)) {
		t.Run(name, func(t *testing.T) {
			b := w.browser()
			code := b.askCode(w, jane)
			c.spoil("/otp/auth", faults[name])
			r := b.giveCode(jane, code)
			c.clear(t, 1)
			checkUnavailable(t, r, http.StatusServiceUnavailable)
			if sessionLine(r) != "" || b.signedInAs("/") != "" || bystander.signedInAs("/") != "1002" || w.browser().open("/public/x").status != 200 {
				t.Error("somebody is in, or somebody else suffers")
			}
			if r := b.giveCode(jane, code); r.status != fine { // Kibo has not seen the code
				t.Errorf("after the fault: %d, want a session", r.status)
			}
		})
	}
	if n := c.trapped.Load(); n != 0 {
		t.Errorf("%d redirects were followed", n)
	}
	if n := len(faults) + len(spoilings); n < 58 {
		t.Errorf("%d faults, want 58", n)
	}
}

// TestWireFaultsOfTheAppToken: without an app token nobody is asked anything.
func TestWireFaultsOfTheAppToken(t *testing.T) {
	w, c := startCut(t)
	bystander := w.browser()
	bystander.signIn(w, john)
	faults := allWireFaults()
	for _, name := range slices.Sorted(maps.Keys(faults)) {
		t.Run(name, func(t *testing.T) {
			b := w.browser()
			code := b.askCode(w, jane)
			w.sim.RevokeAppTokens()
			c.spoil("/oauth", faults[name])
			r := b.giveCode(jane, code)
			checkUnavailable(t, r, http.StatusServiceUnavailable)
			if sessionLine(r) != "" || bystander.signedInAs("/") != "1002" {
				t.Error("somebody is in, or somebody else suffers")
			}
			checkHidden(t, w.browser().post("/login", url.Values{"email": {jane}}))
			c.clear(t, 4)
			eventually(t, "the code still works", func() bool { return b.giveCode(jane, code).status == fine })
		})
	}
	if n := c.trapped.Load(); n != 0 {
		t.Errorf("%d redirects were followed", n)
	}
}

// TestWireFaultsOfTheRefresh: the session waits, unserved and unharmed, and
// lives again.
func TestWireFaultsOfTheRefresh(t *testing.T) {
	w, c := startCut(t)
	faults := allWireFaults()
	waiting := map[string]*browser{}
	for _, name := range slices.Sorted(maps.Keys(faults)) {
		t.Run(name, func(t *testing.T) {
			b := w.lapsed(jane)
			cookie := b.cookies[sessionCookie]
			w.shop.got()
			c.spoil("/refresh", faults[name])
			r := b.open("/account")
			c.clear(t, 1)
			checkUnavailable(t, r, http.StatusServiceUnavailable)
			if w.shop.got() != nil || b.cookies[sessionCookie] != cookie {
				t.Error("the shop was asked, or the cookie was touched")
			}
			waiting[name] = b
		})
	}
	for name, b := range waiting {
		eventually(t, name+": the session lives again", func() bool { return b.signedInAs("/account") == janeID })
	}
	if n := c.trapped.Load(); n != 0 {
		t.Errorf("%d redirects were followed", n)
	}
}

// treeOf lists the files below a directory.
func treeOf(t *testing.T, dir string) string {
	t.Helper()
	var all strings.Builder
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, _ fs.DirEntry, err error) error {
		all.WriteString(path + "\n")
		return err
	})
	if err != nil && !os.IsNotExist(err) { // a file may go while we look
		t.Fatal(err)
	}
	return all.String()
}
