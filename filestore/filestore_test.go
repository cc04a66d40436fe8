package filestore

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/goleak"

	kiboauth "github.com/kiboauth/caddy-kibo-auth"
)

// children are what this binary does when a test runs it as a process of its own.
var children = map[string]func(path string) error{
	"hold": hold, "create": createForever, "cut": cut,
}

// childVar names the child to be.
const childVar = "FILESTORE_TEST_CHILD"

func TestMain(m *testing.M) {
	if child, ok := children[os.Getenv(childVar)]; ok {
		if err := child(os.Args[len(os.Args)-1]); err != nil {
			_, _ = os.Stderr.WriteString(err.Error() + "\n")
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// provisioned is a store as Caddy makes it.
func provisioned(t testing.TB, path string, limit int) *Store {
	t.Helper()
	s := &Store{Path: path, MaxSessions: limit}
	if err := s.Provision(caddy.Context{}); err != nil {
		t.Fatalf("Provision: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Cleanup(); err != nil {
			t.Errorf("Cleanup: %v", err)
		}
	})
	return s
}

// with runs a store over a file and closes it again.
func with(t testing.TB, path string, do func(s *Store)) {
	t.Helper()
	s := &Store{Path: path}
	if err := s.Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
	do(s)
	if err := s.Cleanup(); err != nil {
		t.Fatal(err)
	}
}

// newStore is a store with a file of its own.
func newStore(t testing.TB) *Store {
	t.Helper()
	return provisioned(t, filepath.Join(t.TempDir(), "sessions.db"), 0)
}

// record is a session of a customer, to be used for an hour from now.
func record(customer string) *kiboauth.Record {
	at := time.Now().UnixMilli()
	return &kiboauth.Record{
		Version: 1, Customer: customer, Created: at, Seen: at, Ends: at + time.Hour.Milliseconds(),
		Sealed: []byte("sealed for " + customer),
	}
}

func newKey() (key kiboauth.Key) {
	rand.Read(key[:])
	return key
}

func mustCreate(t testing.TB, s *Store, r *kiboauth.Record) kiboauth.Key {
	t.Helper()
	key := newKey()
	if err := s.Create(t.Context(), key, r); err != nil {
		t.Fatalf("Create: %v", err)
	}
	return key
}

func mustLoad(t testing.TB, s *Store, key kiboauth.Key) *kiboauth.Record {
	t.Helper()
	r, err := s.Load(t.Context(), key)
	if err != nil {
		t.Fatalf("Load: %v", err)
	}
	return r
}

// wantGone checks that nothing knows a session any more.
func wantGone(t *testing.T, s *Store, key kiboauth.Key) {
	t.Helper()
	if r, err := s.Load(t.Context(), key); !errors.Is(err, kiboauth.ErrNoSession) || r != nil {
		t.Errorf("Load of an ended session = %v, %v, want ErrNoSession", r, err)
	}
	if err := s.Touch(t.Context(), key, time.Now().UnixMilli()); !errors.Is(err, kiboauth.ErrNoSession) {
		t.Errorf("Touch of an ended session: %v, want ErrNoSession", err)
	}
	if err := s.Replace(t.Context(), key, 1, record("1")); !errors.Is(err, kiboauth.ErrNoSession) {
		t.Errorf("Replace of an ended session: %v, want ErrNoSession", err)
	}
	for l, err := range s.List(t.Context(), "") {
		if err != nil || l.Key == key {
			t.Errorf("List has an ended session, or an error: %v", err)
		}
	}
}

// eventually polls until a condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(30 * time.Second); !holds(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("still not: %s", what)
		}
	}
}

func TestUnmarshalCaddyfile(t *testing.T) {
	for text, want := range map[string]Store{
		"file /a/b":                          {Path: "/a/b"},
		"file {env.DIR}/b":                   {Path: "{env.DIR}/b"},
		"file /a {\n}":                       {Path: "/a"},
		"file /a {\n max_sessions 5\n}":      {Path: "/a", MaxSessions: 5},
		"file /a {\n max_sessions 5 \n\n}\n": {Path: "/a", MaxSessions: 5},
	} {
		s := new(Store)
		if err := s.UnmarshalCaddyfile(caddyfile.NewTestDispenser(text)); err != nil || *s != want {
			t.Errorf("%q: %+v, %v, want %+v", text, *s, err, want)
		}
	}
}

func TestUnmarshalCaddyfileErrors(t *testing.T) {
	for text, want := range map[string]string{
		"file":                             "takes one argument",
		"file /a /b":                       "takes one argument",
		`file ""`:                          "takes one argument",
		"file {\n}":                        "takes one argument",
		"file /a {\n\n max_sesions 5\n}":   `unknown option "max_sesions"; the options here are: max_sessions, at Testfile:3`,
		"file /a {\n max_sessions\n}":      "takes one argument, but has 0",
		"file /a {\n max_sessions 1 2\n}":  "takes one argument, but has 2",
		"file /a {\n max_sessions 0\n}":    `"0" is not a number above zero`,
		"file /a {\n max_sessions many\n}": `"many" is not a number above zero`,
		"file /a {\n max_sessions 5\n max_sessions 6\n}": "max_sessions stands here twice, first on line 2; keep one, at Testfile:3",
		"file /a {\n max_sessions 5 {\n fast\n}\n}":      `no block is expected here, but there is "fast"`,
	} {
		err := new(Store).UnmarshalCaddyfile(caddyfile.NewTestDispenser(text))
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "Testfile:") {
			t.Errorf("%q: %v, want file, line and %q", text, err, want)
		}
	}
}

func TestJSON(t *testing.T) {
	s := new(Store)
	if err := json.Unmarshal([]byte(`{"path": "/a", "max_sessions": 7}`), s); err != nil || s.Path != "/a" || s.MaxSessions != 7 {
		t.Errorf("unmarshalling: %+v, %v", s, err)
	}
	text, err := json.Marshal(provisioned(t, filepath.Join(t.TempDir(), "s"), 0))
	if err != nil || strings.Count(string(text), ":") != 2 {
		t.Errorf("marshalling: %s, %v, want path and max_sessions only", text, err)
	}
}

func TestProvisionRefuses(t *testing.T) {
	for _, tc := range []struct {
		name  string
		store Store
		want  string
	}{
		{"no path", Store{}, "has no path"},
		{"unknown placeholder", Store{Path: "/a/{no.such}"}, "no.such"},
		{"empty placeholder", Store{Path: "/a/{env.FILESTORE_TEST_UNSET}"}, "FILESTORE_TEST_UNSET"},
		{"negative number", Store{Path: "/a", MaxSessions: -1}, "max_sessions is negative"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if err := tc.store.Provision(caddy.Context{}); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("Provision: %v, want %q", err, tc.want)
			}
			if err := tc.store.Cleanup(); err != nil {
				t.Errorf("Cleanup: %v", err)
			}
		})
	}
}

// caddy validate provisions while the service runs.
func TestProvisionTouchesNothing(t *testing.T) {
	dir := t.TempDir()
	provisioned(t, filepath.Join(dir, "new", "sessions.db"), 0)
	if names, err := os.ReadDir(dir); len(names) != 0 || err != nil {
		t.Errorf("Provision made %v, %v", names, err)
	}
}

func TestPathNamesOneFileHoweverWritten(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	t.Setenv("FILESTORE_TEST_DIR", dir)
	first := provisioned(t, filepath.Join(dir, "s.db"), 5)
	for _, path := range []string{"s.db", "./x/../s.db", "{env.FILESTORE_TEST_DIR}/s.db"} {
		if s := provisioned(t, path, 9); s.file != first.file {
			t.Errorf("%q is another file than %q", path, first.Path)
		}
	}
	if n := first.limit.Load(); n != 9 {
		t.Errorf("limit = %d, want the highest, 9", n)
	}
}

// In a reload, the new configuration is there before the old one goes.
func TestReloadKeepsSessions(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.db")
	old := &Store{Path: path, MaxSessions: 9}
	if err := old.Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
	key := mustCreate(t, old, record("1"))
	next := provisioned(t, path, 5)
	if err := old.Cleanup(); err != nil {
		t.Fatal(err)
	}
	mustLoad(t, next, key)
	if n := next.limit.Load(); n != 5 {
		t.Errorf("limit = %d, want that of the new configuration, 5", n)
	}
}

func TestRestartKeepsSessions(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.db")
	var key kiboauth.Key
	with(t, path, func(s *Store) { key = mustCreate(t, s, record("1")) })
	if r := mustLoad(t, provisioned(t, path, 0), key); r.Customer != "1" || string(r.Sealed) != "sealed for 1" {
		t.Errorf("after a restart: %+v", r)
	}
}

func TestFileIsForItsOwnerOnly(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "var", "sessions")
	s := provisioned(t, filepath.Join(dir, "s.db"), 0)
	mustCreate(t, s, record("1"))
	for path, want := range map[string]os.FileMode{dir: 0o700, s.Path: 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s has mode %v, %v, want %v", path, info.Mode().Perm(), err, want)
		}
	}
}

// A file copied from a backup may be open to everybody.
func TestWideFileIsNarrowed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.db")
	with(t, path, func(s *Store) { mustCreate(t, s, record("1")) })
	if err := os.Chmod(path, 0o664); err != nil {
		t.Fatal(err)
	}
	mustCreate(t, provisioned(t, path, 0), record("1"))
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v, want 0600", info.Mode().Perm(), err)
	}
}
