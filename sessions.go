package kiboauth

import (
	"context"
	"encoding/binary"
	"errors"
	"iter"
	"strings"
	"time"

	"github.com/kiboauth/caddy-kibo-auth/internal/redact"
)

// sessions is the store as the gateway sees it: sessions in the open, found by
// their IDs. What leaves the process is sealed on its way out, and kept near on
// its way in.
type sessions struct {
	redact.Hidden

	Store
	keyring *keyring
	realm   string
	near    *near // nil: the store keeps sessions in this process, open
	cacher  Cacher
	stop    func()
}

// opener marks the store that keeps sessions in this process, open.
type opener interface{ keepsOpen() }

func newSessions(store Store, keyring *keyring, realm string) *sessions {
	s := &sessions{Store: store, keyring: keyring, realm: realm, stop: func() {}}
	if _, open := store.(opener); open {
		return s
	}
	s.near = newNear()
	if cacher, ok := store.(Cacher); ok {
		s.cacher, s.stop = cacher, cacher.Watch(s.near.changed)
	}
	return s
}

// load returns the session of an ID, from nearby where the store allows it.
func (s *sessions) load(ctx context.Context, id SessionID) (*Record, error) {
	if s.near == nil {
		return s.Load(ctx, id.key)
	}
	r, ask := s.near.fresh(&id.key, time.Now().UnixMilli())
	switch {
	case r == nil:
		return s.askOrLast(ctx, id)
	case ask:
		s.askBeside(ctx, id)
	}
	return r, nil
}

// askBeside asks the store for whoever comes next. It is apart from load, where
// its closure would cost every request an allocation.
func (s *sessions) askBeside(ctx context.Context, id SessionID) {
	beside(ctx, func(ctx context.Context) { _, _ = s.ask(ctx, id) })
}

// askOrLast asks the store. If it cannot answer, it may have allowed to go on
// for a while with what it said last.
func (s *sessions) askOrLast(ctx context.Context, id SessionID) (*Record, error) {
	r, err := s.ask(ctx, id)
	if err != nil && !errors.Is(err, ErrNoSession) {
		if last := s.near.stale(&id.key, time.Now().UnixMilli()); last != nil {
			return last, nil
		}
	}
	return r, err
}

// besideTimeout bounds what is asked of a store while no request waits for it.
const besideTimeout = 5 * time.Second

// beside does something that no request waits for. A panic in a goroutine of
// nobody's would end the whole server.
func beside(ctx context.Context, do func(context.Context)) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), besideTimeout)
	go func() {
		defer cancel()
		defer func() {
			if p := recover(); p != nil {
				logPanic(logOfTheDay(), p)
			}
		}()
		do(ctx)
	}()
}

// ask asks the store, and opens what it has not yet seen.
func (s *sessions) ask(ctx context.Context, id SessionID) (*Record, error) {
	if s.near == nil {
		return s.Load(ctx, id.key)
	}
	changes := s.near.changes(&id.key)
	r, err := s.Load(ctx, id.key)
	switch {
	case errors.Is(err, ErrNoSession):
		s.near.drop(&id.key)
		return nil, err
	case err != nil:
		return nil, err
	}
	if r, err = s.open(ctx, id, r); err != nil {
		return nil, err
	}
	s.keep(id.key, r, changes)
	return r, nil
}

// open decrypts a record, unless the same version was opened before. What does
// not open is no session: its key is gone, or somebody has changed it.
func (s *sessions) open(ctx context.Context, id SessionID, r *Record) (*Record, error) {
	opened := *r
	opened.Sealed = nil
	if last := s.near.last(&id.key); last != nil && last.Version == r.Version {
		opened.open = last.open
		return &opened, nil
	}
	text, old, err := s.keyring.openSession(ctx, id, r.Sealed, r.label(&id.key))
	if errors.Is(err, errSealBroken) {
		return nil, ErrNoSession
	} else if err != nil {
		return nil, err
	}
	if opened.open, err = decodeSession(s.realm, text); err != nil || opened.open.customerKey() != r.Customer {
		return nil, ErrNoSession
	}
	if old { // it moves to the first key; if it changes meanwhile, whoever changed it has done so
		beside(ctx, func(ctx context.Context) { _, _ = s.replace(ctx, id, &opened, opened.open) })
	}
	return &opened, nil
}

// label is what a seal covers without hiding it: a store that is tampered with
// cannot give a session to another customer, prolong it, or bring back an
// earlier version under a later number.
func (r *Record) label(key *Key) []byte {
	b := append(make([]byte, 0, len(key)+4*8+len(r.Customer)), key[:]...)
	for _, n := range []uint64{r.Version, uint64(r.Created), uint64(r.Ends), uint64(r.Idle)} {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	return append(b, r.Customer...)
}

// sealed returns the record as the store gets it.
func (s *sessions) sealed(ctx context.Context, id SessionID, r *Record) (*Record, error) {
	if s.near == nil {
		return r, nil
	}
	text, err := s.keyring.sealSession(ctx, id, r.open.encode(), r.label(&id.key))
	if err != nil {
		return nil, err
	}
	closed := *r
	closed.Sealed, closed.open = text, nil
	return &closed, nil
}

// newRecord is what a store keeps of a session that begins now.
func newRecord(s *Session, now time.Time, idle time.Duration) *Record {
	at := now.UnixMilli()
	return &Record{Version: 1, Customer: s.customerKey(), Created: at, Seen: at, Ends: s.ends(), Idle: idle.Milliseconds(), open: s}
}

// create saves a new session.
func (s *sessions) create(ctx context.Context, id SessionID, r *Record) error {
	closed, err := s.sealed(ctx, id, r)
	if err != nil {
		return err
	}
	return s.Create(ctx, id.key, closed)
}

// replace puts next in the place of the session of a record, and returns its
// new record.
func (s *sessions) replace(ctx context.Context, id SessionID, old *Record, next *Session) (*Record, error) {
	r := *old
	r.Version++
	r.Ends, r.Sealed, r.open = next.ends(), nil, next
	closed, err := s.sealed(ctx, id, &r)
	if err != nil {
		return nil, err
	}
	if s.near == nil {
		return &r, s.Replace(ctx, id.key, old.Version, closed)
	}
	changes := s.near.changes(&id.key)
	err = s.Replace(ctx, id.key, old.Version, closed)
	switch {
	case err == nil:
		s.keep(id.key, &r, changes)
	case errors.Is(err, ErrNoSession):
		s.near.drop(&id.key)
	}
	return &r, err
}

// keep notes nearby what the store has given or taken.
func (s *sessions) keep(key Key, r *Record, changes uint64) {
	var fresh, stale time.Duration
	if s.cacher != nil {
		fresh, stale = s.cacher.CacheFor()
	}
	s.near.keep(&key, r, changes, fresh, stale)
}

// judged notes a new verdict on a session's token. It is this process's own.
func (s *sessions) judged(ctx context.Context, id SessionID, old *Record, next *Session) (*Record, error) {
	if s.near == nil {
		return s.replace(ctx, id, old, next)
	}
	r := *old
	r.open = next
	s.near.swap(&id.key, &r)
	return &r, nil
}

// touch notes that a session is used. If the store cannot, it is noted nearby,
// so that the next try is not at the next request.
func (s *sessions) touch(ctx context.Context, id SessionID, at int64) error {
	err := s.Touch(ctx, id.key, at)
	if s.near == nil {
		return err
	}
	if errors.Is(err, ErrNoSession) {
		s.near.drop(&id.key)
	} else {
		s.near.touch(&id.key, at)
	}
	return err
}

// end ends a session. That there is none is no error.
func (s *sessions) end(ctx context.Context, key Key) error {
	err := s.Delete(ctx, key)
	if err == nil && s.near != nil {
		s.near.drop(&key)
	}
	return err
}

// mine goes through the sessions of this realm; see Store.List.
func (s *sessions) mine(ctx context.Context, customer string) iter.Seq2[Listed, error] {
	return func(yield func(Listed, error) bool) {
		for l, err := range s.List(ctx, customer) {
			if err == nil && !strings.HasPrefix(l.Record.Customer, s.realm) {
				continue
			}
			if !yield(l, err) {
				return
			}
		}
	}
}

// endAll ends the sessions of a customer, or of all if customer is empty, that
// a choice falls on, and says how many there were.
func (s *sessions) endAll(ctx context.Context, customer string, choice func(Listed) bool) (int, error) {
	ended := 0
	for l, err := range s.mine(ctx, customer) {
		if err != nil {
			return ended, err
		}
		if !choice(l) {
			continue
		}
		if err := s.end(ctx, l.Key); err != nil {
			return ended, err
		}
		ended++
	}
	return ended, nil
}

// lock keeps other processes from refreshing the same session.
func (s *sessions) lock(ctx context.Context, key Key) (unlock func(), err error) {
	if l, ok := s.Store.(Locker); ok {
		return l.Lock(ctx, key)
	}
	return func() {}, nil
}
