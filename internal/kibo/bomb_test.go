package kibo

import (
	"compress/gzip"
	"context"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
)

// chunks writes MiB after MiB and counts what the client took, sockets'
// buffers included.
func chunks(w io.Writer, sent *atomic.Int64) {
	chunk := make([]byte, 1<<20)
	for sent.Load() < 200 {
		if _, err := w.Write(chunk); err != nil {
			return
		}
		sent.Add(1)
	}
}

// TestEndlessAnswers: no answer makes us read or keep much more than the
// bound, whatever it says of its length and whatever it would unpack to.
func TestEndlessAnswers(t *testing.T) {
	bombs := map[string]func(w http.ResponseWriter, sent *atomic.Int64){
		"body without a length": func(w http.ResponseWriter, sent *atomic.Int64) { chunks(w, sent) },
		"length of 200 GB": func(w http.ResponseWriter, sent *atomic.Int64) {
			w.Header().Set("Content-Length", "200000000000")
			chunks(w, sent)
		},
		"gzip bomb": func(w http.ResponseWriter, _ *atomic.Int64) {
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			_, _ = z.Write(make([]byte, 32<<20)) // 32 KiB packed: more takes long to make
			_ = z.Close()
		},
		"refusal": func(w http.ResponseWriter, sent *atomic.Int64) {
			w.WriteHeader(http.StatusUnauthorized)
			chunks(w, sent)
		},
		"trouble": func(w http.ResponseWriter, sent *atomic.Int64) {
			w.WriteHeader(http.StatusBadGateway)
			chunks(w, sent)
		},
		"redirect": func(w http.ResponseWriter, sent *atomic.Int64) {
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(http.StatusTemporaryRedirect)
			chunks(w, sent)
		},
		"too many requests": func(w http.ResponseWriter, sent *atomic.Int64) {
			w.WriteHeader(http.StatusTooManyRequests)
			chunks(w, sent)
		},
		"endless head": func(w http.ResponseWriter, sent *atomic.Int64) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				return
			}
			defer conn.Close()
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nX: ")
			chunks(conn, sent)
		},
		"endless flood of 103": func(w http.ResponseWriter, sent *atomic.Int64) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				return
			}
			defer conn.Close()
			hint := strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", 1<<20/40)
			for sent.Load() < 200 {
				if _, err := io.WriteString(conn, hint); err != nil {
					return
				}
				sent.Add(1)
			}
		},
	}
	for name, bomb := range bombs {
		t.Run(name, func(t *testing.T) {
			for path, do := range map[string]func(*Client, context.Context) (*Ticket, error){
				authPath: (*Client).exchange, refreshPath: (*Client).refresh,
			} {
				f := newFake()
				c := overNetwork(t, f) // its own: a pause that was asked for would spare the next
				if err := c.Ready(t.Context()); err != nil {
					t.Fatal(err)
				}
				var sent atomic.Int64
				gone := make(chan struct{})
				f.on(path, func(w http.ResponseWriter, _ *http.Request) {
					defer close(gone)
					bomb(w, &sent)
				})
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				if ticket, err := do(c, t.Context()); err == nil || ticket != nil {
					t.Errorf("%s: got a ticket and %v", path, err)
				}
				runtime.ReadMemStats(&after)
				<-gone
				if n := sent.Load(); n > 32 {
					t.Errorf("%s: %d MiB were taken, want 4 and what the sockets hold", path, n)
				}
				if n := (after.TotalAlloc - before.TotalAlloc) >> 20; n > 80 { // the bomb is made in this process too
					t.Errorf("%s: %d MiB were allocated", path, n)
				}
			}
		})
	}
}
