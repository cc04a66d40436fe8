package kiboauth

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
)

// runCommand runs `caddy kibo-auth` with arguments.
func runCommand(t *testing.T, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	caddy, cmd := &cobra.Command{Use: "caddy", SilenceUsage: true}, &cobra.Command{Use: "kibo-auth"}
	caddycmd.Commands()["kibo-auth"].CobraFunc(cmd)
	caddy.AddCommand(cmd)
	var out, log bytes.Buffer
	caddy.SetOut(&out)
	caddy.SetErr(&log)
	caddy.SetArgs(append([]string{"kibo-auth"}, args...))
	err = caddy.ExecuteContext(t.Context())
	return out.String(), log.String(), err
}

func TestKeygen(t *testing.T) {
	first, stderr, err := runCommand(t, "keygen")
	if err != nil || stderr != "" {
		t.Fatalf("keygen: %v, %q on stderr", err, stderr)
	}
	key, rest, _ := strings.Cut(first, "\n")
	if len(key) != idLen || rest != "" {
		t.Errorf("%d characters and %d more after them; want %d and none", len(key), len(rest), idLen)
	}
	if second, _, _ := runCommand(t, "keygen"); second == first {
		t.Error("the same key twice")
	}
	newGateway(t, func(h *Handler) { h.Secrets = []string{key} }).signIn(jane)
}

// fakeCaddy answers as an admin endpoint, and counts how often it is asked.
func fakeCaddy(t *testing.T, status int, body string) (address string, asked *[]string) {
	t.Helper()
	asked = new([]string)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		*asked = append(*asked, r.Method+" "+r.URL.String())
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body)) // whoever asked finds out
	}))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://"), asked
}

func TestCommandAsks(t *testing.T) {
	for args, want := range map[string]string{
		"list": "GET /kibo_auth/sessions?",
		"list --account 1001 --limit 7 --site a.b": "GET /kibo_auth/sessions?account=1001&limit=7&site=a.b",
		"list --account a&all=true":                "GET /kibo_auth/sessions?account=a%26all%3Dtrue",
		"list --account=":                          "GET /kibo_auth/sessions?account=",
		"end --account 1001 --site a.b":            "DELETE /kibo_auth/sessions?account=1001&site=a.b",
		"end --account=":                           "DELETE /kibo_auth/sessions?account=",
		"end --ref 0123456789abcdef":               "DELETE /kibo_auth/sessions?ref=0123456789abcdef",
		"end --older-than 7d":                      "DELETE /kibo_auth/sessions?older_than=7d",
		"end --all --yes":                          "DELETE /kibo_auth/sessions?all=true",
		"end --all=false":                          "DELETE /kibo_auth/sessions?all=false",
	} {
		address, asked := fakeCaddy(t, http.StatusOK, "{}")
		_, _, err := runCommand(t, append(strings.Fields("sessions "+args), "--address", address)...)
		if err != nil || len(*asked) != 1 || (*asked)[0] != want {
			t.Errorf("%s asked for %q (%v), want %q", args, *asked, err, want)
		}
	}
}

// A slip on the command line ends nothing: Caddy is not even asked.
func TestCommandSlips(t *testing.T) {
	address, asked := fakeCaddy(t, http.StatusOK, `{"ended":1}`)
	for args, want := range map[string]string{
		"sessions end":                         "at least one of the flags",
		"sessions end --site a.b":              "at least one of the flags",
		"sessions end --yes":                   "at least one of the flags",
		"sessions end --all":                   "add --yes",
		"sessions end --all --yes --account 1": "none of the others can be",
		"sessions end --account 1 --ref 2":     "none of the others can be",
		"sessions end --acount 1":              "unknown flag",
		"sessions end 1001":                    "unknown command",
		"sessions list 1001":                   "unknown command",
		"sessions list --limit ten":            "invalid argument",
		"sessions kill":                        `no command "kill"`,
		"session":                              `no command "session"`,
	} {
		_, _, err := runCommand(t, append(strings.Fields(args), "--address", address)...)
		if args == "session" {
			_, _, err = runCommand(t, args)
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want an error with %q", args, err, want)
		}
	}
	if len(*asked) != 0 {
		t.Errorf("Caddy was asked %q", *asked)
	}
}

func TestCommandTellsWhatIsWrong(t *testing.T) {
	for _, tt := range []struct {
		name, body string
		status     int
		want       string
	}{
		{"the API's words", `{"error":"no session has the ref 00"}`, 404, "no session has the ref 00"},
		{"Caddy without kibo_auth", "404 page not found\n", 404, "was it built with kibo_auth?"},
		{"no JSON at all", "", 502, "was it built with kibo_auth?"},
		{"another service", "<html>", 200, "reading Caddy's answer"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			address, _ := fakeCaddy(t, tt.status, tt.body)
			for _, command := range []string{"list", "end"} {
				args := []string{"sessions", command, "--address", address}
				if command == "end" {
					args = append(args, "--ref", "00")
				}
				if _, _, err := runCommand(t, args...); err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("%s: %v, want an error with %q", command, err, tt.want)
				}
			}
		})
	}
	if _, _, err := runCommand(t, "sessions", "list", "--address", "127.0.0.1:1"); err == nil || !strings.Contains(err.Error(), "is it running") {
		t.Errorf("nobody there: %v, want an error that asks whether Caddy runs", err)
	}
	for _, args := range []string{"--config /nowhere/Caddyfile", "--address 1:2:3:4"} {
		if _, _, err := runCommand(t, append([]string{"sessions", "list"}, strings.Fields(args)...)...); err == nil {
			t.Errorf("%s: no error", args)
		}
	}
}

func TestCommandPrints(t *testing.T) {
	created := time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC)
	local := func(after time.Duration) string { return created.Add(after).Local().Format("2006-01-02 15:04:05 MST") }
	const body = `{"sessions":[{"ref":"0123456789abcdef","account_id":"1001","site":"a.b","created":"2026-11-23T08:00:00Z",` +
		`"seen":"2026-11-23T08:01:00Z","expires":"2026-11-24T08:00:00Z"}],"truncated":true}` + "\n"
	address, _ := fakeCaddy(t, http.StatusOK, body)
	stdout, stderr, err := runCommand(t, "sessions", "list", "--address", address)
	lines := strings.SplitAfter(stdout, "\n")
	want := "0123456789abcdef  1001     " + local(0) + "  " + local(time.Minute) + "  " + local(24*time.Hour) + "  a.b\n"
	if len(lines) != 3 || lines[1] != want || strings.Index(lines[0], "SITE") != strings.Index(lines[1], "a.b") {
		t.Errorf("got\n%s\nwant a head and\n%s", stdout, want)
	}
	if !strings.Contains(stderr, "1 of more") || err != nil {
		t.Errorf("%v, %q on stderr; want a word on what is not shown", err, stderr)
	}
	if stdout, stderr, err = runCommand(t, "sessions", "list", "--json", "--address", address); stdout != body || stderr != "" || err != nil {
		t.Errorf("as JSON: %q, %q on stderr (%v); want %q", stdout, stderr, err, body)
	}
	for body, want := range map[string]string{`{"ended":0}`: "no session ended\n", `{"ended":1}`: "one session ended\n", `{"ended":12}`: "12 sessions ended\n"} {
		address, _ := fakeCaddy(t, http.StatusOK, body)
		if stdout, _, err := runCommand(t, "sessions", "end", "--account", "1", "--address", address); stdout != want || err != nil {
			t.Errorf("%s: %q (%v), want %q", body, stdout, err, want)
		}
	}
}
