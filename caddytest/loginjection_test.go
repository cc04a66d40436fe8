package caddytest

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"unicode/utf8"

	"github.com/caddyserver/caddy/v2"

	"github.com/kiboauth/caddy-kibo-auth/internal/kibosim"
)

// forgedAccount is one that exists only in entries that nobody wrote.
const forgedAccount = "FORGED-31337"

// forgeries are texts that would make entries of their own, or change how a
// terminal shows those around them.
var forgeries = []string{
	"x\n{\"level\":\"info\",\"ts\":1,\"logger\":\"http.handlers.kibo_auth\",\"msg\":\"signed in\",\"account_id\":\"" + forgedAccount + "\"}",
	"x\r\n2026/11/23 10:00:00.000\tINFO\thttp.handlers.kibo_auth\tsigned in\t{\"account_id\": \"" + forgedAccount + "\"}",
	`x","account_id":"` + forgedAccount + `","y":"`, `x\","account_id":"` + forgedAccount + `"}`, `"}` + "\n" + `{"account_id":"` + forgedAccount + `"}`,
	"x\r2026 INFO " + forgedAccount, "x\x00{\"account_id\":\"" + forgedAccount + "\"}", "x\v\f" + forgedAccount,
	"\x1b[2J\x1b[1;1H" + forgedAccount, "\x1b]0;" + forgedAccount + "\x07", "\x1b[31m" + forgedAccount + "\x1b[0m", "x\x08\x08\x08" + forgedAccount, "\x7f" + forgedAccount,
	"\xff\xfe" + forgedAccount, "\xc0\x8a" + forgedAccount, "\xed\xa0\x80" + forgedAccount, "x\u2028" + forgedAccount, "x\u0085" + forgedAccount, "\u202e" + forgedAccount, "\u009b31m" + forgedAccount,
	"%0a" + forgedAccount, "%0d%0a" + forgedAccount, `\n` + forgedAccount, "%s%n%d" + forgedAccount, "${jndi:ldap://" + forgedAccount + "}", "{env.HOME}" + forgedAccount,
	forgedAccount + strings.Repeat("A", 7000), strings.Repeat("\n", 3000) + forgedAccount,
}

// logAlso has all be logged to a file of the test's own, too.
func (w *world) logAlso(format string) (path string) {
	w.t.Helper()
	w.reloads++
	var all map[string]any
	if err := json.Unmarshal(w.adapted(w.caddyfile()), &all); err != nil {
		w.t.Fatal(err)
	}
	path = filepath.Join(w.t.TempDir(), format+".log")
	all["logging"].(map[string]any)["logs"].(map[string]any)["also"] = map[string]any{
		"writer":  map[string]any{"output": "file", "filename": path, "roll": false},
		"encoder": map[string]any{"format": format, "level_format": "upper"},
		"level":   "DEBUG",
	}
	config, err := json.Marshal(all)
	if err != nil {
		w.t.Fatal(err)
	}
	w.load(config)
	w.settle()
	return path
}

// hostileKibo answers with a forged account in every field that could be logged.
func hostileKibo(rw http.ResponseWriter, text string) {
	rw.Header().Set("X-Vol-Correlation", strings.Map(func(r rune) rune {
		if r < ' ' {
			return -1
		}
		return r
	}, text))
	rw.Header().Set("Content-Type", "application/json")
	rw.WriteHeader(http.StatusUnauthorized)
	_ = json.NewEncoder(rw).Encode(map[string]any{
		"message": text, "errorCode": text, "applicationName": text, "items": []any{map[string]any{"errorCode": text, "message": text, "applicationName": text}},
		"exceptionDetail": map[string]any{"message": text, "type": text, "stackTrace": text},
	})
}

// sendForgeries puts a text wherever a stranger, the shop or Kibo can put one.
func (w *world) sendForgeries(text string, fromKibo func(string)) {
	plain := strings.Map(func(r rune) rune { // what HTTP lets through in a header
		if r < ' ' && r != '\t' || r == 0x7f {
			return -1
		}
		return r
	}, text)
	in := url.QueryEscape(text)
	b := w.browser()
	b.cookies[sessionCookie], b.cookies["a"] = plain, plain
	headers := func(r *http.Request) {
		for _, name := range []string{"User-Agent", "Referer", "X-Forwarded-For", "X-Forwarded-Host", "Accept-Language", "X-Request-Id", "Authorization", accountHeader} {
			r.Header.Set(name, plain)
		}
	}
	b.open("/account/"+url.PathEscape(text)+"?q="+in, headers)
	b.open("/login?return_to=/"+in+"&kibo_auth="+in, headers)
	b.open("/a%00"+url.PathEscape(text), headers)
	b.post("/logout?scope="+in, nil, headers)
	b.post("/login", url.Values{"email": {text}, "return_to": {text}}, headers)
	b.post("/login", url.Values{"email": {text + "@example.com"}}, headers)
	b.postJSON("/login", `{"email":`+string(quoted(text))+`,"otpCode":`+string(quoted(text))+`}`, headers)
	b.post("/login", url.Values{"email": {jane}, "return_to": {"/" + text}}, headers)
	fromKibo(text)
	b.post("/login", url.Values{"email": {jane}, "otpCode": {text}, "device": {text}}, headers)
	b.post("/login", url.Values{"email": {jane}, "otpCode": {"123456"}, "device": {text}}, headers)
	fromKibo("")
	email := fmt.Sprintf("who%d@example.com", len(text))
	w.sim.AddCustomer(kibosim.Customer{Email: email, FirstName: text, LastName: text, Segments: []string{text}})
	customer := w.browser()
	customer.post("/login", url.Values{"email": {email}})
	customer.post("/login", url.Values{"email": {email}, "otpCode": {"123456"}}, headers)
	w.shop.answers(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set(controlHeader, plain)
		rw.Header().Set("X-Shop", plain)
	})
	customer.open("/account", headers)
}

func quoted(text string) []byte {
	b, _ := json.Marshal(text) // a string always can be
	return b
}

// consoleLine is what every entry looks like on a console: time, level, then
// perhaps the logger, a message, and fields as JSON.
var consoleLine = regexp.MustCompile(`^\d{4}/\d\d/\d\d \d\d:\d\d:\d\d\.\d+\t(DEBUG|INFO|WARN|ERROR)\t[^\t]+(\t[^\t]+)?(\t\{.*\})?$`)

// TestLogInjection: whatever is sent, an entry is one line, and none is forged,
// in the encoding for programs and in that for people.
func TestLogInjection(t *testing.T) {
	for _, format := range []string{"json", "console"} {
		t.Run(format, func(t *testing.T) {
			w := start(t, setup{gateway: "login {\nfingerprint device\n}\nsession {\ncontrol " + controlHeader + "\n}\nidentity Kibo-Account-Id account_id\nidentity Kibo-First-Name first_name"})
			w.sim.Set(func(sw *kibosim.Switches) { sw.FixedCode = "123456" })
			var said atomic.Value
			said.Store("")
			w.tapped(func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
					if text := said.Load().(string); text != "" {
						hostileKibo(rw, text)
						return
					}
					next.ServeHTTP(rw, r)
				})
			})
			path := w.logAlso(format)
			for _, text := range forgeries {
				w.sendForgeries(text, func(text string) { said.Store(text) })
				for len(w.mail.box(jane)) > 0 {
					<-w.mail.box(jane)
				}
			}
			if err := caddy.Stop(); err != nil { // so that all is written
				t.Fatal(err)
			}
			checkLog(t, format, readFile(t, path))
		})
	}
}

func checkLog(t *testing.T, format, text string) {
	t.Helper()
	lines, ours, quoted := bufio.NewScanner(strings.NewReader(text)), 0, 0
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		if strings.Contains(line, forgedAccount) {
			quoted++
		}
		if strings.ContainsFunc(line, func(r rune) bool { return r < ' ' && r != '\t' }) || !utf8.ValidString(line) {
			t.Errorf("control characters, or no UTF-8: %.300q", line)
		}
		logger, fields := "", line
		if format == "console" {
			if !consoleLine.MatchString(line) {
				t.Errorf("a line that is no entry: %.300q", line)
				continue
			}
			fields = line[strings.LastIndexByte(line, '\t')+1:]
			logger = strings.Split(line, "\t")[2]
		}
		var entry map[string]any
		if err := json.Unmarshal([]byte(fields), &entry); err != nil && format == "json" {
			t.Errorf("a line that is no entry: %.300q", line)
			continue
		}
		if l, ok := entry["logger"].(string); ok {
			logger = l
		}
		if entry["account_id"] == forgedAccount || entry["msg"] == forgedAccount {
			t.Errorf("a forged entry: %.300q", line)
		}
		if strings.HasPrefix(logger, "http.handlers.kibo_auth") {
			ours++
			checkOurEntry(t, line)
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d entries of ours, %d entries of all that quote a forged account", ours, quoted)
	if ours < len(forgeries) || quoted < len(forgeries) {
		t.Errorf("%d entries of ours and %d quotes: was anything sent?", ours, quoted)
	}
}

// checkOurEntry: what strangers write is not in our entries at all, and of
// what Kibo writes only plain words are.
func checkOurEntry(t *testing.T, line string) {
	t.Helper()
	for _, trick := range []string{"\\n", "\\r", "\\u00", "\ufffd", "account_id\\\"", "\u2028", "\u0085", "\u202e", "\u009b"} {
		if strings.Contains(line, trick) {
			t.Errorf("an entry of ours with %q: %.300q", trick, line)
		}
	}
	if len(line) > 2000 {
		t.Errorf("an entry of ours with %d bytes: %.300q", len(line), line)
	}
}
