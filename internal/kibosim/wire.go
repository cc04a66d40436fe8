package kibosim

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"maps"
	"net"
	"net/http"
	"strconv"
	"time"
)

// send puts the reply on the wire, in the way of the fault.
func (rp reply) send(w http.ResponseWriter, r *http.Request, f Fault) {
	h := w.Header()
	h.Set("x-vol-correlation", correlation(r))
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Length", strconv.Itoa(len(rp.body)))
	if len(rp.body) > 0 {
		h.Set("Content-Type", "application/json; charset=utf-8")
	}
	maps.Copy(h, rp.header)
	switch f.Kind {
	case "hang":
		hang(r.Context(), f.Delay)
	case "drip":
		rp.drip(w, r, cmp.Or(f.Delay, 50*time.Millisecond))
	case "reset":
		rp.reset(w)
	default:
		w.WriteHeader(rp.status)
		_, _ = w.Write(rp.body) // a client that has left is no concern of ours
	}
}

// hang never answers: it ends when the client does, or hangs up after d.
func hang(ctx context.Context, d time.Duration) {
	if d > 0 {
		sleep(ctx, d)
	} else {
		<-ctx.Done()
	}
	panic(http.ErrAbortHandler) // closes the connection without an answer
}

func (rp reply) drip(w http.ResponseWriter, r *http.Request, every time.Duration) {
	w.WriteHeader(rp.status)
	flush := http.NewResponseController(w)
	for i := range rp.body {
		if !sleep(r.Context(), every) {
			return
		}
		_, _ = w.Write(rp.body[i : i+1])
		_ = flush.Flush()
	}
}

// reset sends half of the answer and then a TCP reset, as a crashing server
// or an impatient middlebox does. Over HTTP/2 only the stream is reset.
func (rp reply) reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	_, _ = fmt.Fprintf(conn, "HTTP/1.1 %d %s\r\n", rp.status, http.StatusText(rp.status))
	_ = w.Header().Write(conn)
	_, _ = conn.Write([]byte("\r\n"))
	_, _ = conn.Write(rp.body[:len(rp.body)/2])
	under := conn
	if t, ok := conn.(*tls.Conn); ok {
		under = t.NetConn()
	}
	if t, ok := under.(*net.TCPConn); ok {
		_ = t.SetLinger(0) // closing now sends RST instead of FIN
	}
	_ = under.Close()
}
