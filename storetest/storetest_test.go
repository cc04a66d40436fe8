package storetest_test

import (
	"os"
	"testing"

	"github.com/caddyserver/caddy/v2"

	kiboauth "github.com/kiboauth/caddy-kibo-auth"
	"github.com/kiboauth/caddy-kibo-auth/storetest"
)

// brokenVariable names the broken store that these tests open in place of a
// good one. TestSuiteCatches sets it for a process of its own.
const brokenVariable = "STORETEST_BROKEN"

func newMapStore() *MapStore {
	m := new(MapStore)
	_ = m.Provision(caddy.Context{}) // never fails
	return m
}

// opened is the good store, or what TestSuiteCatches asks for.
func opened(s *sharedStore) kiboauth.Store {
	if broken, ok := brokenStores[os.Getenv(brokenVariable)]; ok {
		return broken.of(s)
	}
	return s
}

func TestMapStore(t *testing.T) {
	storetest.Run(t, func(*testing.T) kiboauth.Store { return newMapStore() })
}

func TestSharedStore(t *testing.T) {
	s := newSharedStore() // one for all tests, as a server would be
	storetest.Run(t, func(*testing.T) kiboauth.Store { return opened(s) })
	if left := s.of(""); len(left) > 0 {
		t.Errorf("the tests left %d sessions behind, want none", len(left))
	}
}

func TestUnavailable(t *testing.T) {
	storetest.RunUnavailable(t, func(*testing.T) (kiboauth.Store, func(), func()) {
		s := newSharedStore()
		return opened(s), s.cut, s.mend
	})
}
