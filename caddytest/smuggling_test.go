package caddytest

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// hidden is the request that every trick tries to get past the gateway. The
// path is public, so that nothing but its framing keeps it from the shop.
const hidden = "GET /public/hidden HTTP/1.1\r\nHost: x\r\nKibo-Account-Id: forged\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"

// A trick frames a body so that two servers may see its end at different
// places.
type trick struct{ name, lines, body string }

// chunk is a chunk of the body.
func chunk(s string) string { return strconv.FormatInt(int64(len(s)), 16) + "\r\n" + s + "\r\n" }

// lengths are tricks with Content-Length (RFC 9112 §6.3).
func lengths(form string) (all []trick) {
	n, all1 := len(form), len(form)+len(hidden)
	for name, line := range map[string]string{
		"two lengths, the second longer":  "Content-Length: %[1]d\r\nContent-Length: %[2]d",
		"two lengths, the first longer":   "Content-Length: %[2]d\r\nContent-Length: %[1]d",
		"a list of lengths":               "Content-Length: %[1]d, %[2]d",
		"a list of the same length":       "Content-Length: %[1]d, %[1]d",
		"plus":                            "Content-Length: +%[1]d",
		"minus":                           "Content-Length: -%[1]d",
		"hexadecimal":                     "Content-Length: 0x%[1]x",
		"octal":                           "Content-Length: 0%[1]o",
		"with a fraction":                 "Content-Length: %[1]d.0",
		"with an exponent":                "Content-Length: %[1]de0",
		"with an underscore":              "Content-Length: %[1]d_0",
		"beyond 64 bits":                  "Content-Length: 1844674407370955161%[1]d",
		"nothing":                         "Content-Length: ",
		"blank before the colon":          "Content-Length : %[1]d",
		"tab before the colon":            "Content-Length\t: %[1]d",
		"blank before the name":           " Content-Length: %[1]d",
		"vertical tab before the number":  "Content-Length: \v%[1]d",
		"NUL behind the number":           "Content-Length: %[1]d\x00",
		"NUL in the name":                 "Content-Length\x00: %[1]d",
		"underscore in the name":          "Content_Length: %[1]d",
		"folded onto the next line":       "Content-Length:\r\n %[1]d",
		"folded, with the other length":   "Content-Length: %[1]d\r\n %[2]d",
		"behind a bare CR":                "X-Other: 1\rContent-Length: %[1]d",
		"behind a bare LF":                "X-Other: 1\nContent-Length: %[1]d",
		"full-width digits":               "Content-Length: \uff11\uff12",
		"length of everything, and TE":    "Content-Length: %[2]d\r\nTransfer-Encoding: chunked",
		"length of the form, X-TE beside": "Content-Length: %[1]d\r\nX-Transfer-Encoding: chunked",
	} {
		if strings.Contains(line, "%") {
			line = fmt.Sprintf(line+"%[3]s", n, all1, "")
		}
		all = append(all, trick{"length: " + name, line, form + hidden})
	}
	return all
}

// encodings are tricks with Transfer-Encoding (RFC 9112 §6.1): the one says
// that a body is chunked, the other that it is not.
func encodings(form string) (all []trick) {
	for name, lines := range map[string]string{
		"CL.TE":                  "Transfer-Encoding: chunked",
		"x before":               "Transfer-Encoding: xchunked",
		"blank before the colon": "Transfer-Encoding : chunked",
		"tab as the blank":       "Transfer-Encoding:\tchunked",
		"vertical tab":           "Transfer-Encoding: \vchunked",
		"quoted":                 "Transfer-Encoding: \"chunked\"",
		"upper case":             "Transfer-Encoding: CHUNKED",
		"twice":                  "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
		"twice, other order":     "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
		"a list":                 "Transfer-Encoding: gzip, chunked",
		"a list, other order":    "Transfer-Encoding: chunked, identity",
		"with a parameter":       "Transfer-Encoding: chunked;q=1",
		"empty":                  "Transfer-Encoding: ",
		"folded":                 "Transfer-Encoding:\r\n chunked",
		"behind a bare CR":       "X-Other: 1\rTransfer-Encoding: chunked",
		"behind a bare LF":       "X-Other: 1\nTransfer-Encoding: chunked",
		"blank before the name":  " Transfer-Encoding: chunked",
		"NUL in the value":       "Transfer-Encoding: chun\x00ked",
		"NUL behind the name":    "Transfer-Encoding\x00: chunked",
		"underscore":             "Transfer_Encoding: chunked",
		"trailing comma":         "Transfer-Encoding: chunked,",
		"as a hop of Connection": "Connection: close, Content-Length, Transfer-Encoding\r\nTransfer-Encoding: chunked",
	} {
		whole := chunk(form) + "0\r\n\r\n" + hidden
		all = append(all,
			trick{"CL and TE: " + name, lines + fmt.Sprintf("\r\nContent-Length: %d", len(whole)), whole},
			trick{"TE and CL: " + name, fmt.Sprintf("Content-Length: %d\r\n", len(form)) + lines, form + hidden},
			trick{"TE alone: " + name, lines, whole},
		)
	}
	return all
}

// chunks are tricks within a chunked body (RFC 9112 §7.1).
func chunks(form string) (all []trick) {
	size := strconv.FormatInt(int64(len(form)), 16)
	for name, body := range map[string]string{
		"size with 0x":              "0x" + size + "\r\n" + form + "\r\n0\r\n\r\n" + hidden,
		"size with plus":            "+" + size + "\r\n" + form + "\r\n0\r\n\r\n" + hidden,
		"size with minus":           "-" + size + "\r\n" + form + "\r\n0\r\n\r\n" + hidden,
		"size with a blank":         " " + size + " \r\n" + form + "\r\n0\r\n\r\n" + hidden,
		"size with an underscore":   size + "_0\r\n" + form + "\r\n0\r\n\r\n" + hidden,
		"size beyond 64 bits":       "1000000000000000" + size + "\r\n" + form + "\r\n0\r\n\r\n" + hidden,
		"size with many zeros":      strings.Repeat("0", 40) + size + "\r\n" + form + "\r\n0\r\n\r\n" + hidden,
		"no size":                   "\r\n" + form + "\r\n0\r\n\r\n" + hidden,
		"size too small":            "1\r\n" + form + "\r\n0\r\n\r\n" + hidden,
		"size too large":            size + "0\r\n" + form + "\r\n0\r\n\r\n" + hidden,
		"an extension":              size + ";a=b\r\n" + form + "\r\n0\r\n\r\n" + hidden,
		"a request in an extension": size + ";a=\"\r\n\r\n" + hidden + "\"\r\n" + form + "\r\n0\r\n\r\n",
		"bare LF in an extension":   size + ";a\n" + form + "\r\n0\r\n\r\n" + hidden,
		"LF for CRLF":               size + "\n" + form + "\n0\n\n" + hidden,
		"CR for CRLF":               size + "\r" + form + "\r0\r\r" + hidden,
		"LF behind the data":        size + "\r\n" + form + "\n0\r\n\r\n" + hidden,
		"two bytes behind the data": size + "\r\n" + form + "xx0\r\n\r\n" + hidden,
		"a bad last chunk":          size + "\r\n" + form + "\r\n0\r\nX" + hidden,
		"a request as a trailer":    size + "\r\n" + form + "\r\n0\r\n" + hidden,
		"a length as a trailer":     size + "\r\n" + form + "\r\n0\r\nContent-Length: 4\r\n\r\n" + hidden,
		"NUL in the size":           size + "\x00\r\n" + form + "\r\n0\r\n\r\n" + hidden,
	} {
		all = append(all, trick{"chunk: " + name, "Transfer-Encoding: chunked", body})
	}
	return all
}

// targets are tricks with the request line and what is no line at all.
var targets = []string{
	"%s %s HTTP/1.1\r\nHost: a\r\nHost: b",
	"%s http://evil.example%s HTTP/1.1\r\nHost: a",
	"%s %s HTTP/1.0\r\nTransfer-Encoding: chunked",
	"%s %s HTTP/1.1 HTTP/1.1\r\nHost: a",
	"%s  %s  HTTP/1.1\r\nHost: a",
	"%s\t%s\tHTTP/1.1\r\nHost: a",
	"%s %s\r\nHost: a",
	"%s %s HTTP/1.1\r\n\r\nHost: a",
	"%s %s HTTP/1.1\r\nHost: a\r\n\rX: 1",
	"\r\n\r\n%s %s HTTP/1.1\r\nHost: a",
	"%s %s HTTP/2.0\r\nHost: a",
	"%s %s HTTP/1.1\r\nHost: a\r\nno colon",
	"%s %s HTTP/1.1\r\nHost: a\r\n: no name",
	"%s %s HTTP/1.1\r\nHost: a\r\nX: \x00",
	"%s %s HTTP/1.1\r\n Host: a",
	"%s %s HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__",
}

// pour sends bytes as they are and returns all that comes back. When nothing
// comes for a while, which is so where a body has no end, it hangs up.
func (w *world) pour(t *testing.T, text string) (answers string) {
	t.Helper()
	conn, err := net.Dial("tcp", w.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, text) // the gateway may hang up meanwhile
	_ = conn.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
	first := readAll(conn)
	_ = conn.(*net.TCPConn).CloseWrite()
	_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
	return string(first) + string(readAll(conn))
}

// passMark is what Caddy adds to every request that it knows of.
const passMark = "X-Pass"

// TestSmuggledRequests: what follows a body on the wire is a request of its
// own, seen and stripped by the gateway, or nothing at all. The shop never
// finds a request in what the gateway takes for a body.
func TestSmuggledRequests(t *testing.T) {
	s := spoofable
	s.last = "reverse_proxy SHOP {\nheader_up " + passMark + " {http.request.uuid}\n}"
	w := start(t, s)
	const form = "a=b"
	var name atomic.Value
	name.Store("")
	w.shop.answers(func(_ http.ResponseWriter, r *http.Request) {
		got := &seen{r.Method, r.RequestURI, r.Header.Clone(), nil, r.Trailer}
		if got.header.Get(passMark) == "" {
			t.Errorf("%s: the shop gets a request that Caddy does not know of: %s %s", name.Load(), got.method, got.uri)
		}
		if lies := lies(got, false); len(lies) > 0 {
			t.Errorf("%s: the shop is told %v", name.Load(), lies)
		}
	})
	tricks := slices.Concat(lengths(form), encodings(form), chunks(form))
	count := 0
	for _, method := range []string{"POST", "PUT"} {
		for _, path := range []string{"/public/x", "/login"} {
			for _, k := range tricks {
				name.Store(fmt.Sprintf("%s %s, %s", method, path, k.name))
				w.pour(t, w.head(method+" "+path+" HTTP/1.1", "Content-Type: application/x-www-form-urlencoded", k.lines)+k.body)
				count++
			}
			for _, line := range targets {
				head := fmt.Sprintf(line, method, path)
				name.Store(strconv.Quote(head))
				w.pour(t, head+"\r\nContent-Length: 3\r\n\r\n"+form+hidden)
				count++
			}
		}
	}
	t.Logf("%d requests, %d tricks; the shop got %d", count, len(tricks)+len(targets), w.shop.requests())
	if w.shop.requests() < 20 {
		t.Errorf("the shop got %d requests: nothing has been tried", w.shop.requests())
	}
}

// TestSmugglingThroughTheLogin: a login post is read once, and as a whole or not
// at all; Kibo is never asked for what is half a body or two.
func TestSmugglingThroughTheLogin(t *testing.T) {
	w := start(t, setup{quiet: true})
	form := url.Values{"email": {jane}}.Encode()
	began := 0
	tricks := slices.Concat(lengths(form), encodings(form), chunks(form))
	for _, k := range tricks {
		answers := w.pour(t, w.head("POST /login HTTP/1.1", "Content-Type: application/x-www-form-urlencoded", k.lines)+k.body)
		signIns := strings.Count(answers, "HTTP/1.1 200 OK\r\n") - strings.Count(answers, "shop for ")
		if began += signIns; signIns > 1 {
			t.Errorf("%s: %d sign-ins began with one post", k.name, signIns)
		}
		if got := w.shop.got(); got != nil && got.uri != "/login" {
			t.Errorf("%s: the shop is asked for %s", k.name, got.uri)
		}
	}
	t.Logf("%d of %d posts began a sign-in", began, len(tricks))
	eventually(t, "Kibo is asked for one code a sign-in", func() bool { return w.sim.Calls("otp/request") == began })
}
