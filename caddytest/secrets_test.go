package caddytest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/kiboauth/caddy-kibo-auth/internal/kibosim"
)

// logFile is where Caddy logs all it does in the whole run, at DEBUG.
var logFile string

// secrets are the values that no log may show, and what each of them is.
var secrets sync.Map

// minSecret keeps what any number could be, such as six digits, out of the
// search; tests that look for codes use longer ones.
const minSecret = 9

func note(what, value string) {
	if value = strings.TrimRight(value, "="); len(value) >= minSecret {
		secrets.Store(value, what)
	}
}

// givenAway takes out what a test itself sends where a browser would not.
func givenAway(t *testing.T, value string) { t.Cleanup(func() { secrets.Delete(value) }) }

var tokenPattern = regexp.MustCompile(`"(accessToken|refreshToken|jwtAccessToken|access_token|refresh_token)":"([^"]+)"`)

// noteTickets notes every token that Kibo hands out.
func noteTickets(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sightings.add(inKiboURL, r.Method+" "+r.URL.Path, r.URL.RawQuery)
		tee := &teeWriter{ResponseWriter: w}
		defer func() { // also if the simulator hangs up
			for _, m := range tokenPattern.FindAllSubmatch(tee.copy.Bytes(), -1) {
				note(string(m[1]), string(m[2]))
			}
		}()
		next.ServeHTTP(tee, r)
	})
}

type teeWriter struct {
	http.ResponseWriter
	copy bytes.Buffer
}

func (t *teeWriter) Write(b []byte) (int, error) {
	t.copy.Write(b[:min(len(b), max(0, 64<<10-t.copy.Len()))])
	return t.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController find the real writer.
func (t *teeWriter) Unwrap() http.ResponseWriter { return t.ResponseWriter }

// What tokens, cookies, codes and addresses are made of: base64, JWTs and
// e-mail addresses in the first alphabet, and the same without what may stand
// around them in a URL.
var alphabets = [...][256]bool{alphabet("+/_.@-"), alphabet("_-")}

func alphabet(others string) (a [256]bool) {
	for _, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789" + others) {
		a[c] = true
	}
	return a
}

// A search knows the secrets of the run.
type search map[string]string

func knownSecrets() search {
	all := search{}
	secrets.Range(func(value, what any) bool { all[value.(string)] = what.(string); return true })
	return all
}

// searchLog looks for every secret of the run in a log.
func searchLog(path string) (leaks []string) {
	file, err := os.Open(path)
	if err != nil {
		if os.IsNotExist(err) {
			return nil // no test has started Caddy
		}
		return []string{err.Error()}
	}
	defer file.Close()
	all := knownSecrets()
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() && len(leaks) < 20 {
		if what := all.leaked(lines.Bytes()); what != "" {
			leaks = append(leaks, fmt.Sprintf("%s: %.600s", what, lines.Text()))
		}
	}
	if err := lines.Err(); err != nil {
		leaks = append(leaks, err.Error())
	}
	return leaks
}

// leaked says which kind of secret a line of the log shows.
func (s search) leaked(line []byte) string {
	if s.in(line) == "" {
		return ""
	}
	return s.in(withoutIdentity(line))
}

// in finds a secret in a line, of any kind but some.
func (s search) in(line []byte, but ...string) string {
	for i := range alphabets {
		a, from := &alphabets[i], 0
		for to := 0; to <= len(line); to++ {
			if to < len(line) && a[line[to]] {
				continue
			}
			if to-from >= minSecret {
				if what, ok := s[string(line[from:to])]; ok && !slices.Contains(but, what) {
					return what
				}
			}
			from = to + 1
		}
	}
	return ""
}

// withoutIdentity takes out what Caddy itself is known to log: at DEBUG, the
// handlers behind the gateway log the headers that they see and send on, and
// so what the operator has chosen to tell the upstream.
func withoutIdentity(line []byte) []byte {
	var entry map[string]any
	if json.Unmarshal(line, &entry) != nil {
		return line
	}
	logger, _ := entry["logger"].(string)
	if entry["level"] != "debug" || strings.HasPrefix(logger, "http.handlers.kibo_auth") {
		return line
	}
	dropIdentity(entry)
	text, err := json.Marshal(entry)
	if err != nil {
		return line
	}
	return text
}

func dropIdentity(v any) {
	object, _ := v.(map[string]any)
	if uri, ok := object["uri"].(string); ok && strings.HasPrefix(uri, "/login?") {
		delete(object, "uri") // Caddy's own words at DEBUG; see docs/operations.md
	}
	for name, member := range object {
		if f := folded(name); strings.HasPrefix(f, "kibo_") || f == "x_customer_email" || f == "x_vol_user_claims" {
			delete(object, name)
			continue
		}
		dropIdentity(member)
	}
}

// TestNothingSecretInLogs takes every way past the gateway, at DEBUG and with
// an access log. TestMain searches the log of all other tests in the same way.
func TestNothingSecretInLogs(t *testing.T) {
	w := start(t, setup{gateway: quick + "forward bearer user_claims"})
	note("secret", kibosim.SharedSecret)
	w.sim.Set(func(sw *kibosim.Switches) { sw.FixedCode = "QX74PZ1KW93M" })
	b := w.browser()
	b.giveCode("twofa@example.com", b.askCode(w, "twofa@example.com"))
	b.giveCode("twofa@example.com", w.code("twofa@example.com"))
	b.open("/account")
	b.giveCode("twofa@example.com", "QX74PZ1KW93M")
	b.askCode(w, jane)
	for _, kind := range []string{"html_500", "reset", "truncated_json", "garbage", "redirect", "unauthorized_app", "hang"} {
		for _, endpoint := range []string{"otp/auth", "oauth", "refresh"} {
			b := w.lapsed("john@example.com")
			w.set(endpoint, kibosim.Fault{Kind: kind})
			b.giveCode("john@example.com", "QX74PZ1KW93M")
			b.open("/account")
			w.clear()
		}
	}
	w.kibo.off()
	w.browser().post("/login", url.Values{"email": {jane}})
	w.kibo.on()
	b.post("/logout", nil)
	if err := caddy.Stop(); err != nil { // so that all is written
		t.Fatal(err)
	}
	for _, leak := range searchLog(logFile) {
		t.Error(leak)
	}
	if !strings.Contains(readLog(t), `"account_id":"1008"`) {
		t.Error("the log does not even have the account ID: was it the right one?")
	}
}
