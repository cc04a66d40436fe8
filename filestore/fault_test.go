package filestore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strconv"
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
		time.Sleep(retryEvery - 1)
		wantFault(t, s, "directory")
		time.Sleep(1)
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

// The system faults where a mapped file ends. That must not end the process.
func TestFileCutShortWhileOpen(t *testing.T) {
	for _, pages := range []int64{0, 1, 2, 4, 10} {
		t.Run(strconv.FormatInt(pages, 10), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				path, keys := written(t, 60)
				s := provisioned(t, path, 0)
				mustLoad(t, s, keys[0])
				truncate(t, path, pages*int64(os.Getpagesize()))
				failed := 0
				for _, key := range keys {
					if _, err := s.Load(t.Context(), key); err != nil {
						failed++
					}
					_ = s.Touch(t.Context(), key, time.Now().UnixMilli()+1) // must only return
				}
				if failed == 0 {
					t.Error("every session is there")
				}
				remove(t, path)
				wantNewFile(t, s)
			})
		})
	}
}

// wantNewFile checks that sessions go into a new file after the old one has gone.
func wantNewFile(t *testing.T, s *Store) {
	t.Helper()
	time.Sleep(sweepEvery + time.Millisecond)
	synctest.Wait()
	mustCreate(t, s, record("1"))
	wantTables(t, s, 1)
	if _, err := os.Stat(s.path); err != nil {
		t.Error(err)
	}
}

func TestFileDamagedWhileOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path, keys := written(t, 60)
		s := provisioned(t, path, 0)
		mustLoad(t, s, keys[0])
		overwrite(t, path, 0, junk(pagesOf(t, path)))
		wantFault(t, s, "damaged")
		remove(t, path)
		wantNewFile(t, s)
	})
}

// A change that cannot be taken back must not stop who only reads.
func TestListOfFreePagesDamagedWhileOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path, keys := written(t, 60)
		s := provisioned(t, path, 0)
		mustLoad(t, s, keys[0])
		damageFreelist(t, path)
		if err := s.update(t.Context(), func(*tables) error { panic("a page that makes no sense") }); !errors.Is(err, errDamaged) {
			t.Errorf("update: %v, want errDamaged", err)
		}
		for range 2 {
			if err := s.Create(t.Context(), newKey(), record("1")); !errors.Is(err, errDamaged) {
				t.Errorf("Create: %v, want errDamaged", err)
			}
			mustLoad(t, s, keys[0])
		}
		remove(t, path)
		time.Sleep(sweepEvery + time.Millisecond)
		synctest.Wait()
		if err := s.Create(t.Context(), newKey(), record("1")); err != nil {
			t.Errorf("Create after the file was moved away: %v", err)
		}
	})
}

// damageFreelist writes over every page that is, or was, a list of free pages.
func damageFreelist(t *testing.T, path string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	size := os.Getpagesize()
	for at := 2 * size; at < len(b); at += size {
		if binary.NativeEndian.Uint64(b[at:]) == uint64(at/size) && binary.NativeEndian.Uint16(b[at+8:]) == 0x10 {
			overwrite(t, path, int64(at), junk(1))
		}
	}
}

func pagesOf(t *testing.T, path string) int {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return int(info.Size()) / os.Getpagesize()
}

// What is written to a file that has no name any more is lost.
func TestFileReplacedWhileOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path, keys := written(t, 3)
		backup, _ := written(t, 5)
		s := provisioned(t, path, 0)
		mustLoad(t, s, keys[0])
		all := 0
		defer s.Watch(func(key *kiboauth.Key) {
			if key == nil {
				all++
			}
		})()
		if err := os.Rename(backup, path); err != nil {
			t.Fatal(err)
		}
		time.Sleep(sweepEvery + time.Millisecond)
		synctest.Wait()
		if all != 1 {
			t.Errorf("told %d times that all may have changed, want once", all)
		}
		wantTables(t, s, 5)
		wantGone(t, s, keys[0])
	})
}

func TestErrorsHoldNoText(t *testing.T) {
	for _, p := range []any{"misplaced bucket header: 6b65790a", errors.New("6b65790a"), 7} {
		if err := damage(p); err.Error() != errDamaged.Error() {
			t.Errorf("damage(%v) = %v", p, err)
		}
	}
}

// Sessions outlive a format: the program that knows format n reads n-1.
func TestOlderFormatIsRead(t *testing.T) {
	const older = 0 // no release ever wrote it
	decoders[older] = func(b []byte) (*stored, error) {
		return &stored{Record: kiboauth.Record{Version: 1, Customer: "old", Ends: 1 << 50, Sealed: append([]byte(nil), b...)}}, nil
	}
	defer delete(decoders, older)
	path, keys := written(t, 1)
	key := newKey()
	alter(t, path, func(tx *bbolt.Tx) error {
		b := []byte("\x00as it was")
		sum := checksum(&key, b)
		b = append(b, byte(sum>>24), byte(sum>>16), byte(sum>>8), byte(sum))
		return errors.Join(tx.Bucket(metaTable).Put(formatKey, make([]byte, 8)), tx.Bucket(sessionTable).Put(key[:], b))
	})
	s := provisioned(t, path, 0)
	if r := mustLoad(t, s, key); r.Customer != "old" || string(r.Sealed) != "as it was" {
		t.Errorf("Load = %+v", r)
	}
	mustLoad(t, s, keys[0])
	if err := s.Touch(t.Context(), key, 5); err != nil {
		t.Fatal(err)
	}
	err := s.view(t.Context(), func(tb *tables) error {
		if b := tb.sessions.Get(key[:]); b[0] != format {
			t.Errorf("after a change, the record has format %d, want %d", b[0], format)
		}
		if n, _ := number(tb.meta, formatKey); n != format {
			t.Errorf("the file has format %d, want %d, so that no older program reads it", n, format)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestRecordOfUnknownFormat(t *testing.T) {
	path, keys := written(t, 2)
	alter(t, path, func(tx *bbolt.Tx) error {
		b := []byte("\x09from the future")
		sum := checksum(&keys[0], b)
		return tx.Bucket(sessionTable).Put(keys[0][:], append(b, byte(sum>>24), byte(sum>>16), byte(sum>>8), byte(sum)))
	})
	s := provisioned(t, path, 0)
	if _, err := s.Load(t.Context(), keys[0]); err == nil || !strings.Contains(err.Error(), "format 9") {
		t.Errorf("Load: %v, want an error that names format 9", err)
	}
	mustLoad(t, s, keys[1])
}

func FuzzDecode(f *testing.F) {
	key := kiboauth.Key{1}
	f.Add(encode(&key, &stored{Record: *record("1")})[1:])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := decode1(b)
		if err != nil {
			return
		}
		if got := encode(&key, s); string(got[1:len(got)-4]) != string(b) {
			t.Errorf("decode1(%x) is written as %x", b, got)
		}
	})
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
