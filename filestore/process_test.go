package filestore

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	kiboauth "github.com/kiboauth/caddy-kibo-auth"
)

// process is a second process with the file of a test.
type process struct {
	*exec.Cmd
	stdin  io.Closer
	stdout *bufio.Scanner
	stderr *strings.Builder
}

// start runs this test binary as one of its children.
func start(t *testing.T, child, path string) *process {
	t.Helper()
	p := &process{Cmd: exec.CommandContext(t.Context(), os.Args[0], path), stderr: new(strings.Builder)}
	p.Env = append(os.Environ(), childVar+"="+child)
	p.Stderr = p.stderr
	stdin, err := p.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := p.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	p.stdin, p.stdout = stdin, bufio.NewScanner(stdout)
	return p
}

// wantLine reads a line that the child says.
func (p *process) wantLine(t *testing.T, want string) {
	t.Helper()
	if !p.stdout.Scan() || p.stdout.Text() != want {
		t.Fatalf("the child says %q, want %q; %s", p.stdout.Text(), want, p.stderr)
	}
}

func childStore(path string) (*Store, error) {
	s := &Store{Path: path}
	return s, s.Provision(caddy.Context{})
}

// hold has the file open until its input ends.
func hold(path string) error {
	s, err := childStore(path)
	if err != nil {
		return err
	}
	if err := s.Create(context.Background(), newKey(), record("1")); err != nil {
		return err
	}
	fmt.Println("open")
	_, _ = io.Copy(io.Discard, os.Stdin)
	return s.Cleanup()
}

// createForever makes sessions, and says which as soon as they are made.
func createForever(path string) error {
	s, err := childStore(path)
	if err != nil {
		return err
	}
	var mu sync.Mutex
	errs := make(chan error)
	for range 64 {
		go func() {
			for {
				key, r := newKey(), record("1")
				r.Sealed = make([]byte, 3000)
				if err := s.Create(context.Background(), key, r); err != nil {
					errs <- err
					return
				}
				mu.Lock()
				fmt.Printf("%x\n", key)
				mu.Unlock()
			}
		}()
	}
	return <-errs
}

func TestLockedByAnotherProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.db")
	other := start(t, "hold", path)
	other.wantLine(t, "open")
	s := provisioned(t, path, 0)
	for range 2 { // the second fails at once
		err := s.Create(t.Context(), newKey(), record("1"))
		if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "another process") {
			t.Errorf("Create: %v, want path and reason", err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	cancel()
	eventually(t, "a new attempt that the context ends", func() bool {
		_, err := s.Load(ctx, newKey())
		return errors.Is(err, context.Canceled)
	})
	_ = other.stdin.Close()
	if err := other.Wait(); err != nil {
		t.Fatalf("the other process: %v, %s", err, other.stderr)
	}
	eventually(t, "a Create after the other process has ended", func() bool {
		return s.Create(t.Context(), newKey(), record("1")) == nil
	})
	wantTables(t, s, 2)
}

// Who has been told that he is signed in must be so after a crash, three of
// them among 10,000 writes.
func TestKillLosesNothingThatWasAnswered(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.db")
	var keys []kiboauth.Key
	for _, kill := range []int{2000, 3000, 5000} {
		p := start(t, "create", path)
		for n := 0; n < kill && p.stdout.Scan(); n++ {
			keys = append(keys, parseKey(t, p.stdout.Text()))
		}
		if err := p.Process.Kill(); err != nil { // SIGKILL, with 64 writers under way
			t.Fatalf("the child has ended: %v, %s", err, p.stderr)
		}
		for p.stdout.Scan() { // what it said before it died
			if line := p.stdout.Text(); len(line) == 2*len(kiboauth.Key{}) {
				keys = append(keys, parseKey(t, line))
			}
		}
		_ = p.Wait() // killed
		t.Run("after", func(t *testing.T) { wantAll(t, provisioned(t, path, 0), keys) })
	}
}

func parseKey(t *testing.T, text string) (key kiboauth.Key) {
	t.Helper()
	if n, err := hex.Decode(key[:], []byte(text)); n != len(key) || err != nil {
		t.Fatalf("the child says %q", text)
	}
	return key
}

// wantAll checks that sessions are there, and that the tables agree.
func wantAll(t *testing.T, s *Store, keys []kiboauth.Key) {
	t.Helper()
	lost := 0
	for _, key := range keys {
		if r, err := s.Load(t.Context(), key); err != nil || len(r.Sealed) != 3000 {
			lost++
		}
	}
	found := int64(len(list(t, s, "1")))
	if lost > 0 || found < int64(len(keys)) {
		t.Errorf("%d of %d answered sessions are lost; the file has %d", lost, len(keys), found)
	}
	wantTables(t, s, found)
	t.Logf("%d answered, %d in the file, %d lost", len(keys), found, lost)
}

// cut cuts a file short under readers and writers that wait without end. It is
// a process of its own since some of its goroutines never end.
func cut(path string) error {
	s, err := childStore(path)
	if err != nil {
		return err
	}
	ctx, key := context.Background(), newKey()
	if err := s.Create(ctx, key, record("1")); err != nil {
		return err
	}
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			for err := error(nil); err == nil; {
				_, err = s.Load(ctx, key)
			}
		})
		wg.Go(func() {
			for at := int64(1); s.Touch(ctx, key, 1<<50+at) == nil; {
				at++
			}
		})
	}
	if err := os.Truncate(path, 0); err != nil {
		return err
	}
	wg.Wait()
	if err := os.Remove(path); err != nil {
		return err
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for range 100 {
		if err = s.Create(ctx, key, record("2")); err == nil {
			return s.Cleanup()
		}
		<-tick.C
	}
	return err
}

// Nobody waits for ever for locks that a fault has left behind.
func TestFileCutShortUnderLoad(t *testing.T) {
	for range 2 {
		p := start(t, "cut", filepath.Join(t.TempDir(), "s.db"))
		if err := p.Wait(); err != nil {
			t.Errorf("the child: %v, %.2000s", err, p.stderr)
		}
	}
}
