package kiboauth

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/throttled/throttled/v2"
)

// What a caller can do about a store's error decides which of these it wraps.
var (
	// ErrNoSession: there is no such session, or it has ended. The customer
	// may sign in again.
	ErrNoSession = errors.New("no session")
	// ErrConflict: the session was replaced meanwhile. Load it again.
	ErrConflict = errors.New("session was replaced meanwhile")
	// ErrStoreFull: the store keeps what it has and takes no new session.
	ErrStoreFull = errors.New("session store is full")
)

// Record is what a store keeps of a session: what the store itself must know,
// in clear, and the session, sealed. Times are Unix milliseconds. A record is
// never changed once it has been handed over; all of it but Seen changes only
// together with Version.
type Record struct {
	// Version counts the writes that Replace guards. It begins at 1.
	Version uint64
	// Customer names whose session it is, the same for all sessions of one
	// customer: up to 128 visible ASCII characters, no secret.
	Customer string
	// Created is when the customer signed in.
	Created int64
	// Seen is when the session was last used. The gateway writes it once a
	// minute at most.
	Seen int64
	// Ends is the moment from which there is no session, whatever happens.
	Ends int64
	// Idle ends the session so many milliseconds after Seen; 0: never.
	Idle int64
	// Sealed is the session, encrypted under a key that the store has no part
	// of: up to 64 KiB.
	Sealed []byte

	open *Session // the session itself, in stores of this process's memory
}

// Format prints what is not sealed, for whatever verb.
func (r Record) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "Record{Version:%d Customer:%q Created:%d Seen:%d Ends:%d Idle:%d Sealed:%d bytes}",
		r.Version, r.Customer, r.Created, r.Seen, r.Ends, r.Idle, len(r.Sealed))
}

// Expires is the moment from which there is no session if it is not used again.
func (r *Record) Expires() int64 {
	if r.Idle > 0 {
		return min(r.Ends, r.Seen+r.Idle)
	}
	return r.Ends
}

// Touched returns the record as of activity at a moment. Seen never goes back.
func (r *Record) Touched(at int64) *Record {
	t := *r
	t.Seen = max(t.Seen, at)
	return &t
}

// Store keeps the records of sessions. Others may write more of them: a store
// is a Caddy module http.kibo_auth.stores.<name> that implements this, and
// whose tests call storetest.Run.
//
// Any error that is not ErrNoSession, ErrConflict or ErrStoreFull means that
// the store could not answer: the request is not admitted, and the browser's
// cookie is left alone. Such an error holds neither keys nor records. Methods
// are called by many requests at once; a call returns soon after ctx ends.
// Provision must open neither a connection nor a file that others may hold:
// `caddy validate` provisions too, and two configurations overlap in a reload.
type Store interface {
	// Load returns the record under key. If there is none, or it has expired,
	// the error is ErrNoSession.
	Load(ctx context.Context, key Key) (*Record, error)
	// Create saves a new record. Once it has returned, the session outlives
	// whatever the store promises to outlive: only then is a sign-in answered.
	// ErrConflict: there is one under that key already; ErrNoSession: it has
	// expired. A store never evicts a live session: it returns ErrStoreFull.
	Create(ctx context.Context, key Key, r *Record) error
	// Replace puts next in the place of the record with the given version. It
	// returns ErrNoSession if the session has ended, and never brings it back;
	// ErrConflict if its version is another one by now. The later Seen of both
	// records counts. A next that has expired ends the session: ErrNoSession.
	Replace(ctx context.Context, key Key, version uint64, next *Record) error
	// Touch moves Seen to at, unless it is later already, and leaves the
	// version alone. ErrNoSession if there is no session.
	Touch(ctx context.Context, key Key, at int64) error
	// Delete ends a session. To end one that is not there is no error. Once it
	// has returned, no Load, Touch or Replace finds the session.
	Delete(ctx context.Context, key Key) error
	// List goes through the live sessions of a customer, of all customers if
	// customer is empty, in no order. Every session whose Create had returned
	// before, and that has not ended, is there once; others may be. Records
	// may lack Sealed. An error ends the list.
	List(ctx context.Context, customer string) iter.Seq2[Listed, error]
}

// Listed is one session of a list.
type Listed struct {
	Key    Key
	Record *Record
}

// A Cacher is a Store whose records the gateway may keep in the process's
// memory between requests, decrypted. Without it, every request loads.
type Cacher interface {
	// Watch has changed called with the key of each record that changes, by
	// whomever, as soon as the store knows; with nil if it may have missed
	// changes, or all may have changed. changed returns at once. stop ends it.
	Watch(changed func(*Key)) (stop func())
	// CacheFor returns for how long a record that was loaded may be used
	// without asking again, if no change was told (fresh), and how long after
	// it was loaded it may be used when the store does not answer (stale).
	CacheFor() (fresh, stale time.Duration)
}

// A Sizer is a Store that knows how many sessions it has without going through
// them. It is asked for Caddy's /metrics.
type Sizer interface {
	// Size returns what to call the store, the same for all that share its
	// sessions, and how many it has. Those that have expired may count.
	Size(ctx context.Context) (name string, sessions int64, err error)
}

// A Locker is a Store that other processes write too. The lock lets one of
// them refresh a ticket, since a refresh token may work only once.
type Locker interface {
	// Lock waits until nobody else holds the lock of key, or ctx ends. It is
	// held until unlock, however long that takes, or for some seconds after
	// the process has died. Who has waited loads the record again.
	Lock(ctx context.Context, key Key) (unlock func(), err error)
}

// A Counters is a Store that several gateways share and that also counts for
// all of them: how often codes are sent and tried. Keys are 24 characters of
// base64url that tell nothing; a counter is one number, of which both changes
// are atomic, and which goes by itself when its time has passed. If the store
// cannot answer soon, each gateway counts by itself for a while.
type Counters interface {
	throttled.GCRAStoreCtx
}
