package filestore

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"go.etcd.io/bbolt"

	kiboauth "github.com/kiboauth/caddy-kibo-auth"
)

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

// FuzzDecode: a record that is read is written as it was. With its checksum it is
// read under its own key only, and not with a bit changed.
func FuzzDecode(f *testing.F) {
	key, other := kiboauth.Key{1}, kiboauth.Key{2}
	f.Add(encode(&key, &stored{Record: *record("1")})[1:], uint16(9))
	f.Add([]byte{}, uint16(0))
	f.Add(make([]byte, header1), uint16(400))
	f.Fuzz(func(t *testing.T, b []byte, at uint16) {
		s, err := decode1(b)
		if err != nil {
			if s != nil || !errors.Is(err, errRecord) {
				t.Errorf("decode1(%x) = %v, %v", b, s, err)
			}
			return
		}
		if len(s.Customer)+len(s.Sealed) > len(b) {
			t.Errorf("decode1(%x) has grown", b)
		}
		whole := encode(&key, s)
		if got := whole[1 : len(whole)-4]; string(got) != string(b) {
			t.Errorf("decode1(%x) is written as %x", b, got)
		}
		if again, err := decode(&key, whole); err != nil || !reflect.DeepEqual(again, s) {
			t.Errorf("%x is read as %+v, %v, want %+v", whole, again, err, s)
		}
		if _, err := decode(&other, whole); !errors.Is(err, errRecord) {
			t.Errorf("%x is read under another key: %v", whole, err)
		}
		whole[int(at/8)%len(whole)] ^= 1 << (at % 8)
		if _, err := decode(&key, whole); !errors.Is(err, errRecord) {
			t.Errorf("%x is read with a bit changed: %v", whole, err)
		}
	})
}
