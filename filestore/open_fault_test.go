package filestore

import (
	"encoding/binary"
	"errors"
	"os"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	kiboauth "github.com/kiboauth/caddy-kibo-auth"
)

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
