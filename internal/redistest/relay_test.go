package redistest

import (
	"bufio"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
)

// echo answers every connection with what it is sent, and says goodbye before
// it hangs up on a line "quit".
func echo(t *testing.T) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", host+":0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				lines := bufio.NewScanner(conn)
				for lines.Scan() && lines.Text() != "quit" {
					_, _ = io.WriteString(conn, lines.Text()+"\n")
				}
				_, _ = io.WriteString(conn, "bye\n")
			}()
		}
	}()
	return l.Addr().String()
}

func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// say sends a line and returns the answer, for which it waits so long.
func say(conn net.Conn, line string, wait time.Duration) (string, error) {
	if err := conn.SetDeadline(time.Now().Add(wait)); err != nil {
		return "", err
	}
	if _, err := io.WriteString(conn, line+"\n"); err != nil {
		return "", err
	}
	answer, err := bufio.NewReader(conn).ReadString('\n')
	return answer, err
}

// refused says whether a new connection is reset, be it while it is made.
func refused(t *testing.T, addr string) bool {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err == nil {
		defer conn.Close()
		_, err = say(conn, "hello", patience)
	}
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, io.EOF)
}

const patience = 5 * time.Second

func TestRelayPasses(t *testing.T) {
	r := StartRelay(t)
	one, two := dial(t, r.To(echo(t))), dial(t, r.To(echo(t)))
	for _, conn := range []net.Conn{one, two, one} {
		if got, err := say(conn, "hello", patience); got != "hello\n" {
			t.Errorf("answer %q, %v", got, err)
		}
	}
	if got := r.Count(); got != 2 {
		t.Errorf("%d connections, want 2", got)
	}
}

// TestRelayDropsNothingAtTheEnd: what a server says before it hangs up arrives.
func TestRelayDropsNothingAtTheEnd(t *testing.T) {
	r := StartRelay(t)
	for range 20 {
		if got, err := say(dial(t, r.To(echo(t))), "quit", patience); got != "bye\n" {
			t.Errorf("answer %q, %v", got, err)
		}
	}
	Await(t, patience, "relay to forget ended connections", func() bool { return r.Count() == 0 })
}

func TestRelaySwallows(t *testing.T) {
	r := StartRelay(t)
	addr := r.To(echo(t))
	lossy, idle := dial(t, addr), dial(t, addr)
	r.Swallow()
	if got, err := say(lossy, "hello", 100*time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("answer from a black hole: %q, %v", got, err)
	}
	if got, err := say(dial(t, addr), "hello", 100*time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("answer to a new connection in a black hole: %q, %v", got, err)
	}
	r.Pass()
	if got, err := say(lossy, "again", 100*time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a connection that lost bytes answers %q, %v", got, err)
	}
	for _, conn := range []net.Conn{idle, dial(t, addr)} {
		if got, err := say(conn, "hello", patience); got != "hello\n" {
			t.Errorf("after the black hole: %q, %v", got, err)
		}
	}
}

func TestRelayCuts(t *testing.T) {
	r := StartRelay(t)
	addr := r.To(echo(t))
	conn := dial(t, addr)
	if _, err := say(conn, "hello", patience); err != nil {
		t.Fatal(err)
	}
	r.Cut()
	if got, err := say(conn, "hello", patience); !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
		t.Errorf("after Cut: %q, %v, want a reset", got, err)
	}
	if !refused(t, addr) {
		t.Error("new connection after Cut is not reset")
	}
	r.Pass()
	if got, err := say(dial(t, addr), "hello", patience); got != "hello\n" {
		t.Errorf("after Pass: %q, %v", got, err)
	}
}

// TestRelayDelays: both ways, so an answer takes at least twice the delay.
func TestRelayDelays(t *testing.T) {
	r := StartRelay(t)
	conn := dial(t, r.To(echo(t)))
	r.Delay(50 * time.Millisecond)
	begin := time.Now()
	if got, err := say(conn, "hello", patience); got != "hello\n" {
		t.Fatalf("answer %q, %v", got, err)
	}
	if took := time.Since(begin); took < 100*time.Millisecond {
		t.Errorf("answer after %s, want 100ms at least", took)
	}
}

func TestRelayToNobody(t *testing.T) {
	r := StartRelay(t)
	s := Start(t, Options{})
	addr := r.To(s.Addr())
	s.Kill()
	if !refused(t, addr) {
		t.Error("connection to a dead server is not reset")
	}
}

// TestRelayLosesAnswer: the server is asked, and its answer does not arrive.
func TestRelayLosesAnswer(t *testing.T) {
	r := StartRelay(t)
	s := Start(t, Options{})
	addr := r.To(s.Addr())
	conn := dial(t, addr)
	r.LoseAnswer(2)
	if got, err := say(conn, "INCR n", patience); got != ":1\r\n" {
		t.Fatalf("first answer %q, %v", got, err)
	}
	if got, err := say(conn, "INCR n", patience); err == nil {
		t.Errorf("second answer %q, want it lost", got)
	}
	if got, err := say(dial(t, addr), "GET n", patience); got != "$1\r\n" {
		t.Errorf("answer after the lost one: %q, %v", got, err)
	}
	if got := s.CLI("GET", "n"); got != "2" {
		t.Errorf("the server counted %s, want 2", got)
	}
}
