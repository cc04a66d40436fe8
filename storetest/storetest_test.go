package storetest_test

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	kiboauth "github.com/kiboauth/caddy-kibo-auth"
	"github.com/kiboauth/caddy-kibo-auth/storetest"
)

// brokenVariable names the broken store that a test opens in place of a good
// one. wantCaught sets it for a process of its own.
const brokenVariable = "STORETEST_BROKEN"

func newMapStore() *MapStore {
	m := new(MapStore)
	_ = m.Provision(caddy.Context{}) // never fails
	return m
}

// opened is the good store, or the broken one that wantCaught asks for.
func opened(s *sharedStore, broken ...map[string]brokenStore) kiboauth.Store {
	for _, stores := range broken {
		if b, ok := stores[os.Getenv(brokenVariable)]; ok {
			if len(b.caught) > 0 {
				storetest.LosePatience()
			}
			return twist(s, b.twist)
		}
	}
	return s
}

func TestMapStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) kiboauth.Store { return newMapStore() })
}

func TestStoreForEach(t *testing.T) {
	storetest.Run(t, func(*testing.T) kiboauth.Store { return opened(newSharedStore(), brokenStores, brokenLists) })
}

// TestOneStoreForAll has one store for all tests, as a server would be.
func TestOneStoreForAll(t *testing.T) {
	s := newSharedStore()
	storetest.Run(t, func(*testing.T) kiboauth.Store { return opened(s, brokenShared) })
	if left := s.of(""); len(left) > 0 && os.Getenv(brokenVariable) == "" {
		t.Errorf("the tests left %d sessions behind, want none", len(left))
	}
}

func TestUnavailable(t *testing.T) {
	storetest.RunUnavailable(t, func(*testing.T) (kiboauth.Store, func(), func()) {
		s := newSharedStore()
		return opened(s, brokenOutages), s.cut, s.mend
	})
}

func TestRunCatchesBrokenStores(t *testing.T) { wantCaught(t, "TestStoreForEach", brokenStores) }

func TestRunCatchesBrokenLists(t *testing.T) { wantCaught(t, "TestStoreForEach", brokenLists) }

func TestRunCatchesBrokenCachersAndLockers(t *testing.T) {
	wantCaught(t, "TestOneStoreForAll", brokenShared)
}

func TestRunUnavailableCatchesBrokenStores(t *testing.T) {
	wantCaught(t, "TestUnavailable", brokenOutages)
}

// wantCaught has a test run with each broken store in a process of its own, and
// checks that the named parts of it fail, one by one.
func wantCaught(t *testing.T, test string, broken map[string]brokenStore) {
	t.Helper()
	for name, b := range broken {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out := runBroken(t, name, pattern(test, b.caught))
			for _, part := range b.caught {
				failed := "--- FAIL: " + test + "/" + strings.ReplaceAll(part, " ", "_") + " ("
				if !strings.Contains(out, failed) {
					t.Errorf("%q did not find the fault; output:\n%s", part, out)
				}
			}
			if len(b.caught) == 0 && !regexp.MustCompile(`(?m)^PASS$`).MatchString(out) {
				t.Errorf("a good store failed; output:\n%s", out)
			}
		})
	}
}

// pattern is for go test -run: parts of a test, or all of it if none is named.
func pattern(test string, parts []string) string {
	if len(parts) == 0 {
		return "^" + test + "$"
	}
	return "^" + test + "$/^(" + strings.ReplaceAll(strings.Join(parts, "|"), " ", "_") + ")$"
}

// runBroken returns what a test says of a broken store.
func runBroken(t *testing.T, name, run string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0],
		"-test.run="+run, "-test.v", "-test.timeout=1m", "-rapid.nofailfile", "-rapid.shrinktime=1ms")
	cmd.Env = append(os.Environ(), brokenVariable+"="+name, "GORACE=atexit_sleep_ms=0")
	out, err := cmd.CombinedOutput()
	if (err == nil) != (name == "nothing") {
		t.Errorf("the test of a store with %q broken ended with %v", name, err)
	}
	return string(out)
}
