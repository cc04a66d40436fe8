package caddytest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kiboauth/caddy-kibo-auth/internal/freeport"
)

// johnID is the account of john@example.com at the simulator.
const john, johnID = "john@example.com", "1002"

// An outcome is what became of a command.
type outcome struct {
	code           int
	stdout, stderr string
}

// caddy runs a command as an operator does, in a process of its own.
func (w *world) caddy(args ...string) outcome {
	w.t.Helper()
	exe, err := os.Executable()
	if err != nil {
		w.t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(w.t.Context(), exe, args...)
	cmd.Env = append(os.Environ(), asCaddy+"=1", "CADDY_ADMIN="+w.setup.admin)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err = cmd.Run()
	if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited {
		w.t.Fatalf("caddy %s: %v", strings.Join(args, " "), err)
	}
	sightings.add(inCommand, strings.Join(args, " "), stdout.String()+stderr.String())
	return outcome{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// caddyOn runs a command that takes a Caddyfile.
func (w *world) caddyOn(caddyfile, command string) outcome {
	w.t.Helper()
	return w.caddy(command, "--adapter", "caddyfile", "--config", configFile(w.t, "Caddyfile", caddyfile))
}

// ask sends a request to the admin endpoint.
func (w *world) ask(method, target string) *reply {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.t.Context(), method, "http://"+w.setup.admin+target, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		w.t.Fatalf("%s %s: %v", method, target, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	sightings.add(inAdmin, method+" "+target, headerText(resp.Header)+string(text))
	return &reply{resp.StatusCode, resp.Header, string(text)}
}

// TestAdminAPI asks a running Caddy as curl does.
func TestAdminAPI(t *testing.T) {
	w := start(t, setup{admin: freeport.Addr(t)})
	b := w.browser()
	b.signIn(w, jane)
	for range 3 { // the old configuration's handlers leave
		w.reload()
	}
	w.settle()
	var found struct {
		Sessions []struct {
			AccountID string `json:"account_id"`
			Site      string
		}
		Truncated bool
	}
	r := w.ask(http.MethodGet, "/kibo_auth/sessions?account="+janeID)
	if err := json.Unmarshal([]byte(r.body), &found); err != nil || len(found.Sessions) != 1 || found.Sessions[0].AccountID != janeID {
		t.Errorf("listing: %d, %q (%v); want one session", r.status, r.body, err)
	}
	want := `{"gateways":[{"site":"` + strings.TrimPrefix(w.kibo.url(), "http://") + `","store":"memory","answers":true,"handlers":1}]}` + "\n"
	if r := w.ask(http.MethodGet, "/kibo_auth/status"); r.body != want {
		t.Errorf("status: %q, want %q", r.body, want)
	}
	for target, status := range map[string]int{"?": 400, "?acount=" + janeID: 400, "?ref=0123456789abcdef": 404, "?all=true&site=a.b": 404} {
		r := w.ask(http.MethodDelete, "/kibo_auth/sessions"+target)
		if r.status != status || !strings.HasPrefix(r.body, `{"error":"`) {
			t.Errorf("DELETE %s: %d, %q; want %d and what is wrong", target, r.status, r.body, status)
		}
	}
	if r := w.ask(http.MethodPost, "/kibo_auth/sessions?all=true"); r.status != http.StatusMethodNotAllowed || r.header.Get("Allow") != "DELETE, GET" {
		t.Errorf("POST: %d, Allow %q", r.status, r.header.Get("Allow"))
	}
	if got := b.signedInAs("/"); got != janeID {
		t.Fatalf("signed in as %q before the end", got)
	}
	if r := w.ask(http.MethodDelete, "/kibo_auth/sessions?account="+janeID); r.body != "{\"ended\":1}\n" {
		t.Errorf("ending: %d, %q", r.status, r.body)
	}
	if got := b.signedInAs("/"); got != "" {
		t.Errorf("signed in as %q after the end", got)
	}
}

// TestCommand works through a support call, over a port and over a socket.
func TestCommand(t *testing.T) {
	for name, address := range map[string]string{"port": freeport.Addr(t), "socket": "unix/" + filepath.Join(shortDir(t), "admin.sock")} {
		t.Run(name, func(t *testing.T) {
			w := start(t, setup{admin: address})
			janes, other, johns := w.browser(), w.browser(), w.browser()
			janes.signIn(w, jane)
			other.signIn(w, jane)
			johns.signIn(w, john)
			list := w.caddy("kibo-auth", "sessions", "list", "--account", johnID)
			lines := strings.Split(list.stdout, "\n")
			if list.code != 0 || len(lines) != 3 || strings.Fields(lines[1])[1] != johnID {
				t.Fatalf("listing John's: %+v", list)
			}
			ref := strings.Fields(lines[1])[0]
			if got := w.caddy("kibo-auth", "sessions", "end", "--ref", ref); got.code != 0 || got.stdout != "one session ended\n" || johns.signedInAs("/") != "" {
				t.Errorf("ending John's: %+v, signed in as %q", got, johns.signedInAs("/"))
			}
			if got := w.caddy("kibo-auth", "sessions", "end", "--ref", ref); got.code != 1 || !strings.Contains(got.stderr, "list the sessions again") {
				t.Errorf("ending it again: %+v, want a failure", got)
			}
			if got := w.caddy("kibo-auth", "sessions", "end", "--all"); got.code != 1 || !strings.Contains(got.stderr, "--yes") || janes.signedInAs("/") != janeID {
				t.Errorf("ending all without --yes: %+v", got)
			}
			if got := w.caddy("kibo-auth", "sessions", "end", "--all", "--yes"); got.code != 0 || got.stdout != "2 sessions ended\n" {
				t.Errorf("ending all: %+v", got)
			}
			if got := janes.signedInAs("/") + other.signedInAs("/"); got != "" {
				t.Errorf("signed in as %q after all were ended", got)
			}
		})
	}
}

// shortDir is a directory whose name leaves room for that of a socket.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "kibo")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// TestCommandAlone needs no Caddy that runs, and says so where it does.
func TestCommandAlone(t *testing.T) {
	w := &world{t: t, setup: setup{admin: freeport.Addr(t)}}
	if got := w.caddy("kibo-auth", "keygen"); got.code != 0 || len(got.stdout) != 44 || got.stderr != "" {
		t.Errorf("keygen: status %d, %d bytes, %q on stderr", got.code, len(got.stdout), got.stderr)
	}
	for args, want := range map[string]string{
		"sessions list": "is it running", "sessions kill": "no command", "session": "no command", "sessions end": "at least one of the flags",
	} {
		if got := w.caddy(append([]string{"kibo-auth"}, strings.Fields(args)...)...); got.code != 1 || !strings.Contains(got.stderr, want) || got.stdout != "" {
			t.Errorf("%s: %+v, want status 1 and %q", args, got, want)
		}
	}
}
