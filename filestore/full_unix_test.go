//go:build unix

package filestore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	kiboauth "github.com/kiboauth/caddy-kibo-auth"
)

func init() { children["fill"] = fill }

// fill fills a "disk" of 8 MiB: beyond it, writing fails, for root too. Then
// it sees to what must work all the same, and makes room.
func fill(path string) error {
	signal.Ignore(syscall.SIGXFSZ)
	s, err := childStore(path)
	if err != nil {
		return err
	}
	ctx := context.Background()
	if err := s.Create(ctx, newKey(), record("first")); err != nil {
		return err
	}
	var was syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &was); err != nil {
		return err
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: 8 << 20, Max: was.Max}); err != nil {
		return err
	}
	keys, err := createUntilFull(ctx, s)
	if err != nil {
		return err
	}
	for _, key := range keys {
		if _, err := s.Load(ctx, key); err != nil {
			return fmt.Errorf("Load while the disk is full: %w", err)
		}
	}
	for _, key := range keys[:20] {
		if err := s.Delete(ctx, key); err != nil {
			return fmt.Errorf("Delete while the disk is full: %w", err)
		}
	}
	if err := s.Create(ctx, newKey(), record("room")); err != nil {
		return fmt.Errorf("Create after Delete has made room in the file: %w", err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &was); err != nil {
		return err
	}
	for range 100 {
		if err := s.Create(ctx, newKey(), record("later")); err != nil {
			return fmt.Errorf("Create after the disk has room: %w", err)
		}
	}
	fmt.Println(len(keys) - 20 + 102)
	return s.Cleanup()
}

func createUntilFull(ctx context.Context, s *Store) (keys []kiboauth.Key, err error) {
	for range 5000 {
		key, r := newKey(), record("1")
		r.Sealed = make([]byte, 20_000)
		switch err := s.Create(ctx, key, r); {
		case err == nil:
			keys = append(keys, key)
		case !errors.Is(err, errDamaged) && !errors.Is(err, kiboauth.ErrStoreFull) &&
			strings.Contains(err.Error(), s.path) && strings.Contains(err.Error(), "file too large"):
			return keys, nil
		default:
			return nil, fmt.Errorf("want an error with path and reason, but got: %w", err)
		}
	}
	return nil, errors.New("the disk is never full")
}

func TestDiskFull(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.db")
	p := start(t, "fill", path)
	var left int64
	if !p.stdout.Scan() {
		_ = p.Wait()
		t.Fatalf("the child failed: %s", p.stderr)
	}
	if _, err := fmt.Sscan(p.stdout.Text(), &left); err != nil {
		t.Fatal(err)
	}
	if err := p.Wait(); err != nil {
		t.Fatalf("the child: %v, %s", err, p.stderr)
	}
	wantTables(t, provisioned(t, path, 0), left)
}

// Caddy must start, and serve who is signed in, while the disk is full.
func TestOpensWithAFullDisk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.db")
	var key kiboauth.Key
	with(t, path, func(s *Store) { key = mustCreate(t, s, record("1")) })
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	with(t, path, func(s *Store) { mustLoad(t, s, key) })
	if after, err := os.ReadFile(path); err != nil || string(after) != string(before) {
		t.Errorf("to open and to read the file has written to it (%v)", err)
	}
}
