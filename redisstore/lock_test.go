package redisstore

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kiboauth/caddy-kibo-auth/internal/redistest"
)

// TestLocksExclude: between two processes, too.
func TestLocksExclude(t *testing.T) {
	here, _ := start(t)
	there := another(t, here)
	key := newKey()
	inside := 0 // the race detector watches it
	var group sync.WaitGroup
	for i := range 10 {
		s := here
		if i%2 == 0 {
			s = there
		}
		group.Go(func() {
			unlock, err := s.Lock(t.Context(), key)
			if err != nil {
				t.Error(err)
				return
			}
			defer unlock()
			if inside++; inside != 1 {
				t.Errorf("%d hold the lock at once", inside)
			}
			inside--
		})
	}
	group.Wait()
}

// TestLockIsRenewed, so that slow work does not lose it.
func TestLockIsRenewed(t *testing.T) {
	t.Parallel()
	s, server := start(t)
	key := newKey()
	unlock, err := s.Lock(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	name := s.client.set.Prefix + "{" + encode(&key) + lockEnd
	server.CLI("PEXPIRE", name, "3500") // as if 6.5 s had passed
	redistest.Await(t, 5*time.Second, "see the lock renewed", func() bool {
		left := strings.TrimSpace(server.CLI("PTTL", name))
		return len(left) >= 4 && left > "6000" || len(left) > 4
	})
}

// TestForeignLockIsLeftAlone: who lost the lock does not give back another's.
func TestForeignLockIsLeftAlone(t *testing.T) {
	s, server := start(t)
	key := newKey()
	unlock, err := s.Lock(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	name := s.client.set.Prefix + "{" + encode(&key) + lockEnd
	server.CLI("SET", name, "somebody else")
	unlock()
	if got := strings.TrimSpace(server.CLI("GET", name)); got != "somebody else" {
		t.Errorf("the lock of somebody else is %q now", got)
	}
}
