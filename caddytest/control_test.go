package caddytest

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"testing"
)

const controlHeader = "Kibo-Session"

var controlled = setup{gateway: "session {\ncontrol " + controlHeader + "\n}\npublic /public/*"}

// TestTheShopsWord ends sessions and reaches no browser, whatever the answer.
func TestTheShopsWord(t *testing.T) {
	w := start(t, controlled)
	w.shop.answers(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set(controlHeader, "something")
		rw.WriteHeader(http.StatusEarlyHints)
		rw.Header().Set(controlHeader, r.URL.Query().Get("word"))
		rw.Header().Set("Trailer", controlHeader)
		var status int
		_, _ = fmt.Sscan(r.URL.Query().Get("status"), &status)
		rw.WriteHeader(status)
	})
	for name, browse := range map[string]func() *browser{"HTTP/1.1": w.browser, "h2c": w.http2} {
		for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPost} {
			for _, status := range []int{200, 204, 303, 304, 401, 500} {
				what := fmt.Sprintf("%s %s %d", name, method, status)
				b := browse()
				b.signIn(w, jane)
				before := b.clone()
				hints := 0
				r := b.do(method, fmt.Sprintf("/account?word=end&status=%d", status), nil, asPage, func(r *http.Request) {
					*r = *r.WithContext(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{
						Got1xxResponse: func(_ int, h textproto.MIMEHeader) error {
							if hints++; h[controlHeader] != nil {
								t.Errorf("%s: a hint carries %q", what, h[controlHeader])
							}
							return nil
						},
					}))
				})
				if r.status != status || r.header[controlHeader] != nil || hints == 0 {
					t.Errorf("%s: status %d, header %q, %d hints", what, r.status, r.header[controlHeader], hints)
				}
				if b.cookies[sessionCookie] != "" || r.header.Get("Clear-Site-Data") != `"cache"` {
					t.Errorf("%s: the browser keeps its session", what)
				}
				if before.open("/account?status=200").status != http.StatusSeeOther {
					t.Errorf("%s: the session goes on", what)
				}
			}
		}
	}
	nobody := w.browser()
	if r := nobody.open("/public/x?word=end-all&status=200"); r.status != 200 || r.header[controlHeader] != nil || r.header["Set-Cookie"] != nil {
		t.Errorf("nobody: %d, %v", r.status, r.header)
	}
}

// TestTheShopsWordOnErrorPages: what an upstream said before it failed is not
// passed on by Caddy's error routes.
func TestTheShopsWordOnErrorPages(t *testing.T) {
	s := controlled
	s.last = "header " + controlHeader + " end\nerror 503\nhandle_errors {\nrespond oops 503\n}"
	w := start(t, s)
	b := w.browser()
	b.signIn(w, jane)
	if r := b.open("/account"); r.status != http.StatusServiceUnavailable || r.body != "oops" || r.header[controlHeader] != nil {
		t.Errorf("%d %q, header %q", r.status, r.body, r.header[controlHeader])
	}
}

// TestTheShopsLastWordIsHeard: a long answer that ends its own session is not cut.
func TestTheShopsLastWordIsHeard(t *testing.T) {
	w := start(t, controlled)
	streams := &streamer{open: map[string]bool{}}
	goOn := make(chan struct{})
	w.shop.answers(func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/bye" {
			streams.ServeHTTP(rw, r)
			return
		}
		rw.Header().Set(controlHeader, "end")
		_, _ = io.WriteString(rw, "good")
		_ = http.NewResponseController(rw).Flush()
		<-goOn
		_, _ = io.WriteString(rw, "bye")
	})
	b := w.browser()
	b.signIn(w, jane)
	other := b.stream(streams, "/silent?other")
	conn, err := net.Dial("tcp", w.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, w.head("GET /bye HTTP/1.1", "Cookie: "+sessionCookie+"="+b.cookies[sessionCookie]))
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	checkCut(t, "at the shop's word", []*stream{other})
	close(goOn)
	if text, err := io.ReadAll(resp.Body); err != nil || string(text) != "goodbye" {
		t.Errorf("the last answer is %q, %v", text, err)
	}
}
