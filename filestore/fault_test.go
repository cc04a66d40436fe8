package filestore

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/bbolt"

	kiboauth "github.com/kiboauth/caddy-kibo-auth"
)

// written is the path of a file with sessions, which is not open.
func written(t *testing.T, n int) (path string, keys []kiboauth.Key) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "s.db")
	with(t, path, func(s *Store) { keys = create(t, s, n, 500) })
	return path, keys
}

// overwrite writes over a part of a file.
func overwrite(t *testing.T, path string, from int64, b []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(b, from); err != nil {
		t.Fatal(err)
	}
}

func junk(pages int) []byte { return []byte(strings.Repeat("junk", pages*os.Getpagesize()/4)) }

// wantFault checks that every call fails, and names the file and the reason.
func wantFault(t *testing.T, s *Store, reason string) {
	t.Helper()
	_, load := s.Load(t.Context(), newKey())
	var listed error
	for _, err := range s.List(t.Context(), "") {
		listed = err
	}
	for name, err := range map[string]error{
		"Load": load, "List": listed, "Create": s.Create(t.Context(), newKey(), record("1")),
		"Replace": s.Replace(t.Context(), newKey(), 1, record("1")), "Touch": s.Touch(t.Context(), newKey(), 1),
		"Delete": s.Delete(t.Context(), newKey()),
	} {
		switch {
		case err == nil || errors.Is(err, kiboauth.ErrNoSession) || errors.Is(err, kiboauth.ErrConflict) || errors.Is(err, kiboauth.ErrStoreFull):
			t.Errorf("%s: %v, want that the store cannot answer", name, err)
		case !strings.Contains(err.Error(), s.path) || !strings.Contains(err.Error(), reason):
			t.Errorf("%s: %v, want %s and %q", name, err, s.path, reason)
		}
	}
}

func TestFilesThatCannotBeOpened(t *testing.T) {
	for _, tc := range []struct {
		name, reason string
		spoil        func(t *testing.T, path string)
	}{
		{"not a database", "no session file", func(t *testing.T, path string) { write(t, path, strings.Repeat("hello ", 9999)) }},
		{"a few bytes", "no session file", func(t *testing.T, path string) { write(t, path, "hello") }},
		{"both first pages damaged", "no session file", func(t *testing.T, path string) { overwrite(t, path, 0, junk(2)) }},
		{"all but the first pages damaged", "damaged", func(t *testing.T, path string) {
			overwrite(t, path, int64(2*os.Getpagesize()), junk(pagesOf(t, path)-2))
		}},
		{"cut short", "damaged", func(t *testing.T, path string) { truncate(t, path, 5*int64(os.Getpagesize())) }},
		{"cut short by a page", "should have", func(t *testing.T, path string) {
			var size int64
			alter(t, path, func(tx *bbolt.Tx) error { size = tx.Size(); return nil })
			truncate(t, path, size-1)
		}},
		{"cut within the first pages", "no session file", func(t *testing.T, path string) { truncate(t, path, 100) }},
		{"a directory", "directory", func(t *testing.T, path string) { remove(t, path); mkdir(t, path) }},
		{"not a regular file", "not a regular file", func(t *testing.T, path string) {
			remove(t, path)
			if err := os.Symlink(os.DevNull, path); err != nil {
				t.Fatal(err)
			}
		}},
		{"of another program", "another program", func(t *testing.T, path string) {
			alter(t, path, func(tx *bbolt.Tx) error { return tx.DeleteBucket(metaTable) })
		}},
		{"of a newer format", "format 9, and this program knows up to format 1", func(t *testing.T, path string) {
			alter(t, path, func(tx *bbolt.Tx) error {
				return tx.Bucket(metaTable).Put(formatKey, []byte("\x00\x00\x00\x00\x00\x00\x00\x09"))
			})
		}},
		{"without a table", "damaged", func(t *testing.T, path string) {
			alter(t, path, func(tx *bbolt.Tx) error { return tx.DeleteBucket(expiryTable) })
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				path, _ := written(t, 20)
				tc.spoil(t, path)
				s := provisioned(t, path, 0)
				wantFault(t, s, tc.reason)
				time.Sleep(retryEvery)
				wantFault(t, s, tc.reason)
				remove(t, path) // somebody moves it away
				time.Sleep(retryEvery)
				mustCreate(t, s, record("1"))
				wantTables(t, s, 1)
			})
		})
	}
}

func TestDirectoryThatCannotBeMade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		below := filepath.Join(t.TempDir(), "a file")
		write(t, below, "")
		s := provisioned(t, filepath.Join(below, "sessions", "s.db"), 0)
		wantFault(t, s, "not a directory")
		remove(t, below)
		time.Sleep(retryEvery)
		mustCreate(t, s, record("1"))
	})
}

// A process that the system gives no more than reading cannot be made in a
// test that runs as root; a file system that takes no new file can.
func TestFileSystemThatTakesNoFile(t *testing.T) {
	s := provisioned(t, "/proc/self/sessions.db", 0)
	wantFault(t, s, "no such file")
}

// Between two attempts nobody waits for the disk or for a lock.
func TestOneAttemptASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "s.db")
		mkdir(t, path)
		s := provisioned(t, path, 0)
		wantFault(t, s, "directory")
		remove(t, path)
		time.Sleep(retryEvery - time.Nanosecond)
		wantFault(t, s, "directory")
		time.Sleep(time.Nanosecond)
		mustCreate(t, s, record("1"))
	})
}

// One damaged first page is mended from the other: bbolt writes them in turn.
func TestOneFirstPageDamaged(t *testing.T) {
	path, keys := written(t, 20)
	overwrite(t, path, 0, junk(1))
	s := provisioned(t, path, 0)
	if _, err := s.Load(t.Context(), keys[0]); err != nil {
		t.Errorf("Load: %v", err)
	}
	mustCreate(t, s, record("1"))
}

// The sessions on a damaged page are lost, and only those.
func TestDamagedPageLeavesOtherSessionsReadable(t *testing.T) {
	path, keys := written(t, 60)
	damagePages(t, path, keys[7])
	s := provisioned(t, path, 0)
	if _, err := s.Load(t.Context(), keys[7]); !errors.Is(err, errDamaged) {
		t.Errorf("Load from the damaged page: %v, want errDamaged", err)
	}
	if err := s.Delete(t.Context(), keys[7]); !errors.Is(err, errDamaged) {
		t.Errorf("Delete on the damaged page: %v, want errDamaged", err)
	}
	read, touched := 0, 0
	for _, key := range keys {
		if _, err := s.Load(t.Context(), key); err == nil {
			read++
		}
		if err := s.Touch(t.Context(), key, time.Now().UnixMilli()+1); err == nil {
			touched++
		}
	}
	if read < 40 || touched < 40 {
		t.Errorf("%d of 60 sessions can be read and %d changed, want all but those of one page", read, touched)
	}
}

// places are where a file has the record of a session: behind its key stands
// the version. Those that are in use no more do not matter.
func places(t *testing.T, path string, key kiboauth.Key) (at []int64) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	name := append(key[:], format)
	for from := 0; ; {
		i := bytes.Index(b[from:], name)
		if i < 0 {
			return at
		}
		from += i + len(key)
		at = append(at, int64(from))
	}
}

// damagePages writes over the pages that have a session.
func damagePages(t *testing.T, path string, key kiboauth.Key) {
	t.Helper()
	for _, at := range places(t, path, key) {
		overwrite(t, path, at-at%int64(os.Getpagesize()), junk(1))
	}
}

// A damaged page must not fail the sign-ins that share a transaction with it.
func TestDamagedPageInABatch(t *testing.T) {
	path, keys := written(t, 60)
	damagePages(t, path, keys[7])
	s := provisioned(t, path, 0)
	h, err := s.handle(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var jobs []*job
	good := farthest(keys, keys[7])
	for _, key := range []kiboauth.Key{keys[7], good} {
		jobs = append(jobs, &job{ctx: t.Context(), done: make(chan error, 1), change: func(t *tables) error {
			_, err := t.load(&key)
			t.moved = true
			return err
		}})
	}
	done := make(chan struct{})
	go func() { h.commit(jobs); close(done) }()
	<-done
	if err := <-jobs[0].done; !errors.Is(err, errDamaged) {
		t.Errorf("on the damaged page: %v, want errDamaged", err)
	}
	if err := <-jobs[1].done; err != nil {
		t.Errorf("beside it: %v", err)
	}
}

// farthest returns the key that is farthest from another one.
func farthest(keys []kiboauth.Key, other kiboauth.Key) (far kiboauth.Key) {
	for _, key := range keys {
		if abs(int(key[0])-int(other[0])) > abs(int(far[0])-int(other[0])) || far == (kiboauth.Key{}) {
			far = key
		}
	}
	return far
}

func abs(n int) int { return max(n, -n) }

// A single bit that turns in a record is found by its checksum.
func TestDamagedRecordIsNoSession(t *testing.T) {
	path, keys := written(t, 20)
	for _, at := range places(t, path, keys[3]) {
		overwrite(t, path, at+5, []byte{4})
	}
	s := provisioned(t, path, 0)
	if _, err := s.Load(t.Context(), keys[3]); !errors.Is(err, kiboauth.ErrNoSession) {
		t.Errorf("Load: %v, want ErrNoSession", err)
	}
	mustLoad(t, s, keys[4])
	if n := len(list(t, s, "")); n != 19 {
		t.Errorf("the list has %d sessions, want the other 19", n)
	}
	if err := s.Create(t.Context(), keys[3], record("2")); err != nil {
		t.Errorf("Create over it: %v", err)
	}
}

func TestErrorsHoldNoText(t *testing.T) {
	for _, p := range []any{"misplaced bucket header: 6b65790a", errors.New("6b65790a"), 7} {
		if err := damage(p); err.Error() != errDamaged.Error() {
			t.Errorf("damage(%v) = %v", p, err)
		}
	}
}

// alter changes a file from outside.
func alter(t *testing.T, path string, change func(*bbolt.Tx) error) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(db.Update(change), db.Close()); err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func truncate(t *testing.T, path string, size int64) {
	t.Helper()
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

func mkdir(t *testing.T, path string) {
	t.Helper()
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
}
