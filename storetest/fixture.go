package storetest

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"testing"
	"time"

	kiboauth "github.com/kiboauth/caddy-kibo-auth"
)

var (
	// patience is how long to wait for what must happen soon. A store that
	// keeps the contract needs a small part of it, so that a slow machine
	// fails no test.
	patience = 10 * time.Second
	// late is how long after a session's end a store may still find it, since
	// its clock may be behind the test's.
	late = 2 * time.Second
)

const (
	// pollEvery is how often to look whether something has happened.
	pollEvery = 10 * time.Millisecond
	// longLife is a life that no test sees the end of.
	longLife = time.Hour
)

// tb is what testing.T and rapid.T have in common.
type tb interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Context() context.Context
}

func now() int64 { return time.Now().UnixMilli() }

func newKey() (key kiboauth.Key) {
	rand.Read(key[:])
	return key
}

func newCustomer() string {
	var b [8]byte
	rand.Read(b[:])
	return "storetest-" + hex.EncodeToString(b[:])
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

// newRecord is the record of a customer who has just signed in.
func newRecord(customer string, life time.Duration) *kiboauth.Record {
	at := now()
	return &kiboauth.Record{
		Version:  1,
		Customer: customer,
		Created:  at,
		Seen:     at,
		Ends:     at + life.Milliseconds(),
		Sealed:   randomBytes(100),
	}
}

// nextOf is what a refresh makes of a record.
func nextOf(r *kiboauth.Record) *kiboauth.Record {
	next := *r
	next.Version++
	next.Sealed = randomBytes(100)
	return &next
}

// create saves a record and takes it away again when the test is over.
func create(t *testing.T, s kiboauth.Store, key kiboauth.Key, r *kiboauth.Record) {
	t.Helper()
	removeAfter(t, s, key)
	if err := s.Create(t.Context(), key, r); err != nil {
		t.Fatalf("Create = %v, want no error", err)
	}
}

// session creates a session of a customer of its own.
func session(t *testing.T, s kiboauth.Store) (kiboauth.Key, *kiboauth.Record) {
	t.Helper()
	key, r := newKey(), newRecord(newCustomer(), longLife)
	create(t, s, key, r)
	return key, r
}

// removeAfter takes a session away when the test is over. One that has failed
// may have left a store that hangs.
func removeAfter(t *testing.T, s kiboauth.Store, key kiboauth.Key) {
	t.Cleanup(func() {
		if t.Failed() {
			return
		}
		if err := s.Delete(context.WithoutCancel(t.Context()), key); err != nil {
			t.Errorf("Delete after the test = %v, want no error", err)
		}
	})
}

// wantLoaded checks that the store has exactly want under key.
func wantLoaded(t tb, s kiboauth.Store, key kiboauth.Key, want *kiboauth.Record) {
	t.Helper()
	got, err := s.Load(t.Context(), key)
	if err != nil {
		t.Fatalf("Load = %v, want the record", err)
	}
	if d := difference(got, want); d != "" {
		t.Fatalf("Load: %s", d)
	}
	if !bytes.Equal(got.Sealed, want.Sealed) {
		t.Fatalf("Load: Sealed has %d bytes that are not the %d of the last write", len(got.Sealed), len(want.Sealed))
	}
}

// wantEnded checks that no method finds a session under key.
func wantEnded(t tb, s kiboauth.Store, key kiboauth.Key) {
	t.Helper()
	_, err := s.Load(t.Context(), key)
	wantError(t, "Load", err, kiboauth.ErrNoSession)
	wantError(t, "Touch", s.Touch(t.Context(), key, now()), kiboauth.ErrNoSession)
	next := newRecord(newCustomer(), longLife)
	next.Version = 2
	wantError(t, "Replace", s.Replace(t.Context(), key, 1, next), kiboauth.ErrNoSession)
	_, err = s.Load(t.Context(), key)
	wantError(t, "Load after Touch and Replace", err, kiboauth.ErrNoSession)
}

// wantError checks that an error is the wanted sentinel, or none if it is nil.
func wantError(t tb, call string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Fatalf("%s = %v, want %v", call, got, want)
	}
}

// wantUnanswered checks that an error says no more than that the store could
// not answer. Anything else would end sessions, or sign people out.
func wantUnanswered(t tb, call string, err error) {
	t.Helper()
	for _, answer := range []error{kiboauth.ErrNoSession, kiboauth.ErrConflict, kiboauth.ErrStoreFull} {
		if errors.Is(err, answer) {
			t.Errorf("%s = %v, want an error that does not wrap %q", call, err, answer)
		}
	}
}

// difference names the first field but Sealed in which two records differ.
func difference(got, want *kiboauth.Record) string {
	if got == nil {
		return "got no record"
	}
	if got.Customer != want.Customer {
		return fmt.Sprintf("Customer = %q, want %q", got.Customer, want.Customer)
	}
	for _, field := range []struct {
		name      string
		got, want int64
	}{
		{"Version", int64(got.Version), int64(want.Version)},
		{"Created", got.Created, want.Created},
		{"Seen", got.Seen, want.Seen},
		{"Ends", got.Ends, want.Ends},
		{"Idle", got.Idle, want.Idle},
	} {
		if field.got != field.want {
			return fmt.Sprintf("%s = %d, want %d", field.name, field.got, field.want)
		}
	}
	return ""
}

// list gathers what the store lists.
func list(t tb, s kiboauth.Store, customer string) map[kiboauth.Key]*kiboauth.Record {
	t.Helper()
	listed, err := gather(t.Context(), s, customer)
	if err != nil {
		t.Fatalf("List(%q): %v", customer, err)
	}
	return listed
}

// gather fails no test within the loop, since the store may hold a lock there.
func gather(ctx context.Context, s kiboauth.Store, customer string) (map[kiboauth.Key]*kiboauth.Record, error) {
	listed := map[kiboauth.Key]*kiboauth.Record{}
	for l, err := range s.List(ctx, customer) {
		switch {
		case err != nil:
			return nil, err
		case l.Record == nil:
			return nil, errors.New("a session without its record")
		case listed[l.Key] != nil:
			return nil, errors.New("a session twice")
		}
		listed[l.Key] = l.Record
	}
	return listed, nil
}

// wantListed checks that the store lists exactly the wanted sessions of a
// customer.
func wantListed(t tb, s kiboauth.Store, customer string, want map[kiboauth.Key]*kiboauth.Record) {
	t.Helper()
	got := list(t, s, customer)
	wantAmong(t, got, want)
	if len(got) > len(want) {
		t.Fatalf("List(%q) has %d sessions, want %d", customer, len(got), len(want))
	}
}

// wantAmong checks that wanted sessions are among those listed.
func wantAmong(t tb, got, want map[kiboauth.Key]*kiboauth.Record) {
	t.Helper()
	for key, r := range want {
		if got[key] == nil {
			t.Fatalf("List lacks a session of %q; it has %d, want %d", r.Customer, len(got), len(want))
		}
		if d := difference(got[key], r); d != "" {
			t.Fatalf("List: %s", d)
		}
	}
}

// soon returns what f returns, which must neither hang nor panic. f leaves t
// alone, since it may still be running when the test is over.
func soon(t tb, what string, f func() error) error {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil {
				done <- fmt.Errorf("panic: %v", p)
			}
		}()
		done <- f()
	}()
	select {
	case err := <-done:
		return err
	case <-time.After(patience):
		t.Fatalf("%s has not returned after %s", what, patience)
		return nil
	}
}

// eventually waits until something holds.
func eventually(t tb, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for end := time.Now().Add(patience); !holds(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("after %s still not so: %s", patience, what)
		}
	}
}
