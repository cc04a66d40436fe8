package kibosim

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"strings"
	"time"
)

const maxBody = 1 << 20 // bytes of a request; Kibo's bodies are a few hundred

// A call is one request with everything that its answer depends on, read once,
// so that switches changed meanwhile do not give half an answer each.
type call struct {
	sim  *Sim
	r    *http.Request
	body []byte
	sw   *Switches
	now  time.Time
	app  appToken // the caller's, once admit has checked it
}

// A reply is an answer not yet sent; faults may still spoil it.
type reply struct {
	status int
	header http.Header
	body   []byte
	reason string // what happened, for the log only
}

// serve answers one endpoint: count, fault, handler, wire.
func (s *Sim) serve(w http.ResponseWriter, r *http.Request, ep endpoint) {
	s.calls[ep.name].Add(1)
	f := s.takeFault(ep.name)
	// The whole body is read first: only then does the server notice that a
	// client has left during a hang.
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		w.WriteHeader(http.StatusRequestEntityTooLarge)
		return
	}
	if !f.pause(r.Context()) {
		return
	}
	c := &call{sim: s, r: r, body: body, sw: s.switches.Load(), now: s.now()}
	rp := f.apply(c, ep)
	s.o.Log.LogAttrs(r.Context(), slog.LevelInfo, "call",
		slog.String("endpoint", ep.name), slog.Int("status", rp.status),
		slog.String("reason", rp.reason), slog.String("fault", f.Kind))
	rp.send(w, r, f)
}

// answer is the honest reply of an endpoint.
func (ep endpoint) answer(c *call) reply {
	if ep.method != "" && c.r.Method != ep.method {
		rp := c.fail(http.StatusMethodNotAllowed, "ReverseProxy", "METHOD_NOT_ALLOWED", "Method not allowed.", "method")
		rp.header = http.Header{"Allow": {ep.method}}
		return rp
	}
	if ep.customer {
		if rp, ok := c.admit(); !ok {
			return rp
		}
	}
	return ep.handle(c)
}

// admit checks what Kibo's front proxy checks before a customer call: the app
// token, the application's behaviour, and the scope headers.
func (c *call) admit() (reply, bool) {
	app, reason := c.sim.openAppToken(bearer(c.r), c.now)
	switch {
	case reason != "":
		return c.unauthorized(reason), false
	case c.sw.NoBehaviour:
		return c.fail(http.StatusForbidden, "ReverseProxy", "FORBIDDEN",
			"The application lacks the required behavior.", "no_behaviour"), false
	case !c.inScope():
		return c.fail(http.StatusNotFound, "Tenant", "ITEM_NOT_FOUND", "Site or tenant not found.", "wrong_scope"), false
	}
	c.app = app
	return reply{}, true
}

// inScope says whether the scope headers, if there are any, name our site.
func (c *call) inScope() bool {
	tenant, site := c.r.Header.Get("x-vol-tenant"), c.r.Header.Get("x-vol-site")
	return (tenant == "" || tenant == Tenant) && (site == "" || site == Site)
}

func bearer(r *http.Request) string {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return token
}

// decode reads the JSON body into v as leniently as .NET does: unknown fields
// and letter case are ignored. The reply says what is wrong with it.
func (c *call) decode(v any) (reply, bool) {
	ct, _, _ := mime.ParseMediaType(c.r.Header.Get("Content-Type"))
	if ct != "application/json" && ct != "text/json" {
		return c.fail(http.StatusUnsupportedMediaType, "Customer", "UNSUPPORTED_MEDIA_TYPE",
			"Only JSON is understood.", "content_type"), false
	}
	if len(bytes.TrimSpace(c.body)) == 0 || bytes.Equal(bytes.TrimSpace(c.body), []byte("null")) {
		return c.missing("body"), false
	}
	if err := json.Unmarshal(c.body, v); err != nil {
		return c.missing("body"), false
	}
	return reply{}, true
}

func jsonReply(status int, v any) reply {
	body, err := json.Marshal(v)
	if err != nil {
		panic("kibosim: encoding an answer: " + err.Error()) // all types are ours
	}
	return reply{status: status, body: body}
}

// correlation returns the caller's correlation ID if it is a harmless one, or
// a new one of 32 hex digits.
func correlation(r *http.Request) string {
	id := r.Header.Get("x-vol-correlation")
	isWord := func(c rune) bool {
		return c == '-' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
	}
	if id != "" && len(id) <= 64 && strings.TrimFunc(id, isWord) == "" {
		return id
	}
	return newID().String()
}

// An id is one of Kibo's 32-hex-digit names: user, session, refresh token.
type id [16]byte

func newID() (i id) {
	_, _ = rand.Read(i[:]) // never fails
	return i
}

func parseID(s string) (i id, ok bool) {
	if len(s) != 2*len(i) {
		return id{}, false
	}
	_, err := hex.Decode(i[:], []byte(s))
	return i, err == nil
}

func (i id) String() string { return hex.EncodeToString(i[:]) }
