package caddytest

import (
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	// crashes is how often the gateway is killed while customers sign in.
	crashes = 20
	// signers is how many sign in at once.
	signers = 16
)

// TestCrashLosesNoSession: who has been told that he is signed in still is,
// after a kill -9 in the midst of others' sign-ins.
func TestCrashLosesNoSession(t *testing.T) {
	f := newFleet(t)
	n := f.add("secret " + oldSecret + "\nstore file " + filepath.Join(t.TempDir(), "sessions.db"))
	all := &signIns{fleet: f, node: n}
	begun := time.Now()
	for range crashes {
		all.untilKilled(100*time.Millisecond + rand.N(900*time.Millisecond))
		n.start()
		all.check(len(all.done) - all.last)
	}
	all.check(len(all.done))
	t.Logf("%d crashes in %v: %d sign-ins answered, %d cut off, %d lost", crashes, time.Since(begun).Round(time.Second), len(all.done), all.cut, all.lost)
	if len(all.done) < crashes {
		t.Errorf("only %d sign-ins were answered: there was no load", len(all.done))
	}
}

// signIns are sign-ins of ever new customers at a node.
type signIns struct {
	*fleet
	node *node

	mu        sync.Mutex
	count     int
	done      []signedIn // answered with a session
	last      int        // how many were before the last crash
	cut, lost int
}

// signedIn is a browser that was told that it is signed in, and as whom.
type signedIn struct {
	*browser
	id string
}

// untilKilled lets customers sign in for a while, and then kills the node.
func (s *signIns) untilKilled(after time.Duration) {
	s.last = len(s.done)
	var all sync.WaitGroup
	for range signers {
		all.Go(func() {
			for !s.node.ended() {
				s.signIn()
			}
		})
	}
	<-time.After(after)
	s.node.end(syscall.SIGKILL)
	all.Wait()
}

// signIn takes both steps, unless the node dies before.
func (s *signIns) signIn() {
	s.mu.Lock()
	i := s.count
	s.count++
	s.mu.Unlock()
	email, id := s.newcomer(i)
	b := s.node.browser()
	form := header("Content-Type", "application/x-www-form-urlencoded")
	_, err := b.try(http.MethodPost, "/login", body("email", email), asPage, form)
	if err == nil {
		select {
		case code := <-s.mail.box(email):
			_, err = b.try(http.MethodPost, "/login", body("otpCode", code), asPage, form)
		case <-s.node.done:
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case b.cookies[sessionCookie] != "":
		s.done = append(s.done, signedIn{b, id})
	case s.node.ended() || err != nil: // about to be seen as ended
		s.cut++
	default:
		s.t.Errorf("%s could not sign in", id)
	}
}

// check asks for the newest sessions.
func (s *signIns) check(newest int) {
	s.t.Helper()
	for _, in := range s.done[len(s.done)-newest:] {
		if got := in.signedInAs("/account"); got != in.id {
			s.lost++
			s.t.Errorf("the session of %s is lost, or %q's", in.id, got)
		}
	}
}

// TestFileOfAnotherGateway: two Caddys cannot have one file. The second says
// so, leaves cookies alone, and works once the first has ended.
func TestFileOfAnotherGateway(t *testing.T) {
	f := newFleet(t)
	lines := "secret " + oldSecret + "\nstore file " + filepath.Join(t.TempDir(), "sessions.db")
	first := f.add(lines)
	b := first.browser()
	b.signIn(f.world, jane)
	second := f.add(lines)
	there := b.at(second)
	for range 3 {
		checkUnavailable(t, there.open("/account"), 503)
	}
	if there.cookies[sessionCookie] != b.cookies[sessionCookie] {
		t.Error("the cookie was touched")
	}
	if !strings.Contains(second.log(), "another process has it open, such as a second Caddy; each needs a file of its own") {
		t.Error("the log does not say why")
	}
	if got := b.signedInAs("/account"); got != janeID {
		t.Errorf("the first gateway serves %q", got)
	}
	first.end(syscall.SIGTERM)
	eventually(t, "the second gateway has the file", func() bool { return there.signedInAs("/account") == janeID })
}
