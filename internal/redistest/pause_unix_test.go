//go:build unix

package redistest

import (
	"net"
	"testing"
	"time"
)

// TestPausedServerAnswersLater: a paused server takes bytes, and answers them
// when it goes on.
func TestPausedServerAnswersLater(t *testing.T) {
	s := Start(t, Options{})
	conn, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	s.Pause()
	if _, err := conn.Write([]byte("PING\r\n")); err != nil {
		t.Fatalf("sending to a paused server: %v", err)
	}
	answered := make(chan error, 1)
	go func() { answered <- ping(conn) }()
	select {
	case err := <-answered:
		t.Errorf("paused server answered: %v", err)
	case <-time.After(200 * time.Millisecond):
		s.Resume()
		if err := <-answered; err != nil {
			t.Errorf("PING after Resume: %v", err)
		}
	}
}

func TestPausedServerCanBeKilled(t *testing.T) {
	s := Start(t, Options{})
	s.Pause()
	s.Restart()
	if got := s.CLI("PING"); got != "PONG" {
		t.Errorf("PING = %q", got)
	}
}
