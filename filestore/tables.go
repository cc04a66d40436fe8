package filestore

import (
	"encoding/binary"
	"errors"
	"fmt"

	"go.etcd.io/bbolt"

	kiboauth "github.com/kiboauth/caddy-kibo-auth"
)

// The tables of the file.
var (
	metaTable     = []byte("meta")      // formatKey and countKey → 8 bytes, big-endian
	sessionTable  = []byte("sessions")  // key → record, see encode
	customerTable = []byte("customers") // customer, zero byte, key → nothing
	expiryTable   = []byte("expiry")    // Unix milliseconds in 8 bytes, big-endian, key → nothing

	formatKey  = []byte("format")
	countKey   = []byte("count")   // of sessions, those among them that have expired and are not swept
	reserveKey = []byte("reserve") // nothing, except for a moment, see reserve
)

// tables is the file in a transaction.
type tables struct {
	meta, sessions, customers, expiry *bbolt.Bucket

	changed []kiboauth.Key // keys of changed records
	moved   bool           // something else has changed
	err     error          // the first of writing; the transaction must not be committed
}

// checkFormat says whether the tables are there. It refuses files of others, and
// those that a newer program has written.
func checkFormat(tx *bbolt.Tx) (ready bool, err error) {
	meta := tx.Bucket(metaTable)
	if meta == nil {
		if first, _ := tx.Cursor().First(); first != nil {
			return false, errors.New("it is a database of another program; move it away")
		}
		return false, nil
	}
	version, ok := number(meta, formatKey)
	switch {
	case !ok:
		return false, errors.New("it is a database of another program; move it away")
	case version > format:
		return false, fmt.Errorf("it has format %d, and this program knows up to format %d; "+
			"go back to the newer program, or move the file away", version, format)
	}
	if _, err := tablesOf(tx); err != nil {
		return false, err
	}
	return version == format, nil
}

// prepare makes the tables, and marks an older file as one of this format: an
// older program must not read the records that are written from now on.
func prepare(tx *bbolt.Tx) error {
	for _, name := range [][]byte{metaTable, sessionTable, customerTable, expiryTable} {
		if _, err := tx.CreateBucketIfNotExists(name); err != nil {
			return fmt.Errorf("making its tables: %w", err)
		}
	}
	return tx.Bucket(metaTable).Put(formatKey, binary.BigEndian.AppendUint64(nil, format))
}

func tablesOf(tx *bbolt.Tx) (*tables, error) {
	t := &tables{
		meta: tx.Bucket(metaTable), sessions: tx.Bucket(sessionTable),
		customers: tx.Bucket(customerTable), expiry: tx.Bucket(expiryTable),
	}
	if t.meta == nil || t.sessions == nil || t.customers == nil || t.expiry == nil {
		return nil, errDamaged
	}
	return t, nil
}

func number(b *bbolt.Bucket, name []byte) (uint64, bool) {
	v := b.Get(name)
	if len(v) != 8 {
		return 0, false
	}
	return binary.BigEndian.Uint64(v), true
}

// count is how many sessions the file has.
func (t *tables) count() int64 {
	n, _ := number(t.meta, countKey)
	return int64(n)
}

func (t *tables) add(n int64) {
	t.keep(t.meta.Put(countKey, binary.BigEndian.AppendUint64(nil, uint64(max(0, t.count()+n)))))
}

// keep remembers the first error of writing.
func (t *tables) keep(err error) {
	if t.err == nil {
		t.err = err
	}
}

// load returns the session under key, expired or not. A damaged record is as
// good as none: the customer can sign in again, and could not otherwise.
func (t *tables) load(key *kiboauth.Key) (*stored, error) {
	b := t.sessions.Get(key[:])
	if b == nil {
		return nil, kiboauth.ErrNoSession
	}
	s, err := decode(key, b)
	if errors.Is(err, errRecord) {
		return nil, kiboauth.ErrNoSession
	}
	return s, err
}

// live returns the session under key, if it has not expired.
func (t *tables) live(key *kiboauth.Key, now int64) (*stored, error) {
	s, err := t.load(key)
	if err == nil && s.Expires() <= now {
		return nil, kiboauth.ErrNoSession
	}
	return s, err
}

// insert saves a session that is not there, under all its names.
func (t *tables) insert(key kiboauth.Key, r *kiboauth.Record) {
	s := &stored{Record: *r, filed: r.Expires()}
	t.save(key, s)
	t.keep(t.customers.Put(customerKey(s.Customer, &key), nil))
	t.keep(t.expiry.Put(expiryKey(s.filed, &key), nil))
	t.add(1)
}

// save writes a session itself.
func (t *tables) save(key kiboauth.Key, s *stored) {
	t.keep(t.sessions.Put(key[:], encode(&key, s)))
	t.changed = append(t.changed, key)
}

// remove takes a session out, if it is there. Of a damaged one the other names
// stay, and lead nowhere.
func (t *tables) remove(key kiboauth.Key) {
	b := t.sessions.Get(key[:])
	if b == nil {
		return
	}
	if s, err := decode(&key, b); err == nil {
		t.keep(t.customers.Delete(customerKey(s.Customer, &key)))
		t.keep(t.expiry.Delete(expiryKey(s.filed, &key)))
	}
	t.keep(t.sessions.Delete(key[:]))
	t.changed = append(t.changed, key)
	t.add(-1)
}

func customerKey(customer string, key *kiboauth.Key) []byte {
	return append(append([]byte(customer), 0), key[:]...)
}

func expiryKey(at int64, key *kiboauth.Key) []byte {
	return append(binary.BigEndian.AppendUint64(nil, uint64(at)), key[:]...)
}
