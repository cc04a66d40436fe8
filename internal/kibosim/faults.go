package kibosim

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A Fault spoils the answers of one endpoint. Endpoints are named oauth,
// otp/request, otp/auth, 2fa/request, 2fa/auth, password, refresh,
// anonymousshopper, graphql and jwks; "*" is all of them but jwks, and yields
// to a fault aimed at the endpoint by name.
//
// These kinds replace the answer, and the call has no effect unless After is
// set:
//
//	rate_limited      429, empty body, Retry-After
//	html_500          500 with an HTML page
//	empty_502         502 without a body
//	empty_200         200 without a body
//	null_json         200 with the JSON text null
//	garbage           200 with something that is no JSON
//	error_200         200 with an error object
//	redirect          307 to /__sim/elsewhere, which counts its visitors
//	unauthorized_app  401 as for an app token that is not accepted
//	hang              nothing at all, until the client leaves
//
// These kinds let the call take effect and spoil the way the answer comes:
//
//	truncated_json  half of the body, with a matching length
//	text_plain      Content-Type text/plain
//	pascal_case     JSON names in PascalCase
//	gzip            compressed, whatever was asked for
//	huge_head       1 MiB of response headers
//	oversize        8 MiB of body, valid JSON
//	set_cookie      a session cookie along with the answer
//	drip            byte by byte
//	reset           half of the answer, then a TCP reset
//
// An empty kind spoils nothing but the time.
type Fault struct {
	Kind string `json:"kind"`
	// RetryAfter is in seconds, for rate_limited. Default: 60.
	RetryAfter int `json:"retry_after,omitempty"`
	// Delay comes before the answer. For drip it comes before each byte
	// (default 50ms); for hang it is when the simulator hangs up (default:
	// never).
	Delay time.Duration `json:"-"`
	// Times is for how many calls the fault lasts. Default: until removed.
	Times int `json:"times,omitempty"`
	// After makes a replacing kind happen after the call took effect: the
	// code is used up, the answer is lost.
	After bool `json:"after,omitempty"`
}

type plainFault Fault

type faultJSON struct {
	*plainFault
	Delay duration `json:"delay,omitempty"`
}

// MarshalJSON implements json.Marshaler.
func (f Fault) MarshalJSON() ([]byte, error) {
	return json.Marshal(faultJSON{(*plainFault)(&f), duration(f.Delay)})
}

// UnmarshalJSON implements json.Unmarshaler. Unknown fields are an error.
func (f *Fault) UnmarshalJSON(text []byte) error {
	wire := faultJSON{plainFault: (*plainFault)(f)}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&wire); err != nil {
		return err
	}
	f.Delay = time.Duration(wire.Delay)
	return nil
}

func replacingKinds() []string {
	return []string{
		"rate_limited", "html_500", "empty_502", "empty_200", "null_json",
		"garbage", "error_200", "redirect", "unauthorized_app", "hang",
	}
}

func spoilingKinds() []string {
	return []string{
		"truncated_json", "text_plain", "pascal_case", "gzip", "huge_head",
		"oversize", "set_cookie", "drip", "reset",
	}
}

func (f Fault) validate(name string) error {
	switch {
	case name != "*" && !isEndpoint(name):
		return fmt.Errorf("fault for %q: no such endpoint", name)
	case f.Kind != "" && !f.replaces() && !slices.Contains(spoilingKinds(), f.Kind):
		return fmt.Errorf("fault for %q: no such kind: %q", name, f.Kind)
	case f.RetryAfter < 0 || f.Delay < 0 || f.Times < 0:
		return fmt.Errorf("fault for %q: negative value", name)
	}
	return nil
}

func (f Fault) replaces() bool { return slices.Contains(replacingKinds(), f.Kind) }

// takeFault returns the fault that hits this call and counts it down.
func (s *Sim) takeFault(name string) Fault {
	if len(s.switches.Load().Faults) == 0 {
		return Fault{} // the usual case costs no lock
	}
	s.switchMu.Lock()
	defer s.switchMu.Unlock()
	sw := *s.switches.Load()
	f, ok := sw.Faults[name]
	if !ok && name != "jwks" && isEndpoint(name) {
		name = "*"
		f = sw.Faults[name]
	}
	if f.Times > 0 {
		sw.Faults = maps.Clone(sw.Faults)
		if left := f.Times - 1; left > 0 {
			rest := f
			rest.Times = left
			sw.Faults[name] = rest
		} else {
			delete(sw.Faults, name)
		}
		s.switches.Store(&sw)
	}
	return f
}

// pause waits for the fault's delay and says whether the client is still there.
func (f Fault) pause(ctx context.Context) bool {
	if f.Kind == "hang" || f.Kind == "drip" {
		return true // they delay in their own way
	}
	return sleep(ctx, f.Delay)
}

func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// apply returns the answer as the fault leaves it.
func (f Fault) apply(c *call, ep endpoint) reply {
	if !f.replaces() {
		return f.spoil(ep.answer(c))
	}
	if f.After {
		ep.answer(c)
	}
	return f.replacement(c)
}

func (f Fault) replacement(c *call) reply {
	html := http.Header{"Content-Type": {"text/html; charset=utf-8"}}
	switch f.Kind {
	case "rate_limited":
		after := strconv.Itoa(cmp.Or(f.RetryAfter, 60))
		return reply{status: http.StatusTooManyRequests, header: http.Header{"Retry-After": {after}}}
	case "html_500":
		return reply{status: 500, header: html, body: []byte("<!DOCTYPE html><title>Error</title><h1>Server Error</h1>\n")}
	case "empty_502":
		return reply{status: http.StatusBadGateway}
	case "null_json":
		return reply{status: http.StatusOK, body: []byte("null")}
	case "garbage":
		return reply{status: http.StatusOK, body: []byte("\x00<<<<{\"accessToken\": nope")}
	case "error_200":
		return c.fail(http.StatusOK, "Customer", "UNEXPECTED_ERROR", "Something went wrong.", "")
	case "redirect":
		return reply{status: http.StatusTemporaryRedirect, header: http.Header{"Location": {"/__sim/elsewhere"}}}
	case "unauthorized_app":
		return c.unauthorized("")
	default: // empty_200; hang sends nothing
		return reply{status: http.StatusOK}
	}
}

func (f Fault) spoil(rp reply) reply {
	if rp.header == nil {
		rp.header = http.Header{}
	}
	switch f.Kind {
	case "truncated_json":
		rp.body = rp.body[:len(rp.body)/2]
	case "text_plain":
		rp.header.Set("Content-Type", "text/plain; charset=utf-8")
	case "pascal_case":
		rp.body = pascalCase(rp.body)
	case "gzip":
		rp.header.Set("Content-Encoding", "gzip")
		rp.body = gzipped(rp.body)
	case "huge_head":
		for i := range 64 {
			rp.header.Set(fmt.Sprintf("X-Padding-%02d", i), strings.Repeat("x", 16<<10))
		}
	case "oversize":
		rp.body = padded(rp.body, 8<<20)
	case "set_cookie":
		rp.header.Set("Set-Cookie", "sb-sf-at-prod=simulated; Path=/; HttpOnly")
	}
	return rp
}

func gzipped(body []byte) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write(body) // a bytes.Buffer takes everything
	_ = z.Close()
	return b.Bytes()
}

// padded puts a long member in front of a JSON object, so that a reader has to
// get past it to find what it wants.
func padded(body []byte, size int) []byte {
	rest := []byte("}")
	if len(body) > 2 && body[0] == '{' {
		rest = append([]byte(","), body[1:]...)
	}
	return slices.Concat([]byte(`{"padding":"`), bytes.Repeat([]byte("x"), size), []byte(`"`), rest)
}

func pascalCase(body []byte) []byte {
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	var v any
	if dec.Decode(&v) != nil {
		return body // an empty body has no names
	}
	return jsonReply(0, pascalNames(v)).body
}

func pascalNames(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for name, member := range v {
			out[strings.ToUpper(name[:1])+name[1:]] = pascalNames(member)
		}
		return out
	case []any:
		for i := range v {
			v[i] = pascalNames(v[i])
		}
	}
	return v
}
