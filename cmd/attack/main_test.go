package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kiboauth/caddy-kibo-auth/internal/attack"
)

// cookie is a session's value that no output may show.
const cookie = "c2VjcmV0LXNlc3Npb24tb2YtdGhpcy10ZXN0LWFsb25l"

// gate protects /account: whoever says so in the cookie gets in.
func gate(w http.ResponseWriter, r *http.Request) {
	in := strings.Contains(r.Header.Get("Cookie"), cookie)
	if strings.HasPrefix(r.URL.Path, "/account") && !in {
		http.Redirect(w, r, "/login", http.StatusSeeOther)
		return
	}
	_ = r.Header.Write(w)
}

func command(t *testing.T, stdin string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	code = run(t.Context(), args, strings.NewReader(stdin), &out, &err)
	return code, out.String(), err.String()
}

func TestRefusedCommandLines(t *testing.T) {
	for name, tt := range map[string]struct {
		args []string
		want string
	}{
		"no target":           {nil, "-target is missing"},
		"target with a path":  {[]string{"-target", "http://127.0.0.1/x"}, "scheme and a host"},
		"target without one":  {[]string{"-target", "shop.test"}, "scheme and a host"},
		"another machine":     {[]string{"-target", "http://192.0.2.1"}, "not this machine"},
		"remote only":         {[]string{"-target", "http://192.0.2.1", "-remote"}, "go together"},
		"own only":            {[]string{"-target", "http://192.0.2.1", "-i-own", "192.0.2.1"}, "go together"},
		"another one owned":   {[]string{"-target", "http://192.0.2.1", "-remote", "-i-own", "192.0.2.2"}, "not this machine"},
		"any certificate":     {[]string{"-target", "https://192.0.2.1", "-remote", "-i-own", "192.0.2.1", "-insecure-tls"}, "certificates"},
		"session on the line": {[]string{"-target", "http://127.0.0.1:1", "-session", cookie}, "name of a file"},
		"bad path":            {[]string{"-target", "http://127.0.0.1:1", "-login", "login"}, "-login"},
		"bad protected path":  {[]string{"-target", "http://127.0.0.1:1", "-protected", "/"}, "-protected"},
		"no rate":             {[]string{"-target", "http://127.0.0.1:1", "-rate", "0"}, "-rate"},
		"unknown family":      {[]string{"-target", "http://127.0.0.1:1", "-only", "x"}, "no family or check"},
		"nobody there":        {[]string{"-target", "http://127.0.0.1:1"}, "nobody answers"},
		"too many arguments":  {[]string{"-target", "http://127.0.0.1:1", "x"}, "unexpected"},
	} {
		t.Run(name, func(t *testing.T) {
			code, stdout, stderr := command(t, "", tt.args...)
			if code != unusable || !strings.Contains(stderr, tt.want) || stdout != "" {
				t.Errorf("code %d, %q, %q; want %d and %q", code, stdout, stderr, unusable, tt.want)
			}
			if strings.Contains(stderr, cookie) {
				t.Error("the session is shown")
			}
		})
	}
}

func TestReportAndExitCode(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(gate))
	t.Cleanup(srv.Close)
	file := filepath.Join(t.TempDir(), "session")
	if err := os.WriteFile(file, []byte("__Host-kibo="+cookie+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := command(t, "", "-target", srv.URL, "-only", "cookies", "-session", file, "-echo", "/", "-rate", "10000")
	if code != failed || !strings.Contains(stdout, "FAIL cookies/kept-from-application") || !strings.Contains(stdout, "6 checks, ") {
		t.Errorf("code %d\n%s%s", code, stdout, stderr)
	}
	code, again, stderr := command(t, cookie, "-target", srv.URL, "-only", "cookies", "-session", "-", "-echo", "/", "-rate", "10000", "-json")
	if code != failed {
		t.Errorf("code %d\n%s%s", code, again, stderr)
	}
	if strings.Contains(stdout+again+stderr, cookie) {
		t.Error("the session is shown")
	}
	lines := strings.Split(strings.TrimSpace(again), "\n")
	for _, line := range lines[:len(lines)-1] {
		var r attack.Result
		if err := json.Unmarshal([]byte(line), &r); err != nil || r.Family != "cookies" {
			t.Errorf("%s: %v", line, err)
		}
	}
	var s summary
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &s); err != nil || s.Checks != 6 || s.Failed == 0 {
		t.Errorf("summary %+v, %v", s, err)
	}
	code, stdout, stderr = command(t, "", "-target", srv.URL, "-only", "framing", "-rate", "10000")
	if code != passed || !strings.Contains(stdout, "3 checks, 0 failed") {
		t.Errorf("code %d\n%s%s", code, stdout, stderr)
	}
}
