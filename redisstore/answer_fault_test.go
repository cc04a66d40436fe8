package redisstore_test

import (
	"context"
	"errors"
	"testing"

	kiboauth "github.com/kiboauth/caddy-kibo-auth"
	"github.com/kiboauth/caddy-kibo-auth/internal/redistest"
	"github.com/kiboauth/caddy-kibo-auth/redisstore"
)

// TestLostAnswer: Redis does what it was asked to do and the connection breaks
// before its answer arrives. To repeat the call blindly would make the store
// say that somebody else was faster.
func TestLostAnswer(t *testing.T) {
	tests := []struct {
		name string
		do   func(context.Context, *redisstore.Store, kiboauth.Key, *kiboauth.Record) error
		nth  int  // the answer to lose
		gone bool // whether the session is there afterwards
	}{
		{"Load", load, 1, false},
		{"Create, of the index", createAnother, 1, false},
		{"Create, of the record", createAnother, 2, false},
		{"Replace, of the index", replaceIt, 1, false},
		{"Replace, of the record", replaceIt, 2, false},
		{"Touch", touch, 1, false},
		{"Delete", deleteIt, 1, true},
		{"Delete, of the index", deleteIt, 2, true},
		{"Lock", lockIt, 1, false},
		{"unlock", lockIt, 2, false},
	}
	server := redistest.Start(t, redistest.Options{})
	relay := redistest.StartRelay(t)
	far, near := openFault(t, "redis://"+relay.To(server.Addr())), openFault(t, server.URL())
	for _, tt := range tests { // so that Redis knows the scripts: that costs answers
		key := newKey()
		if err := tt.do(soon(t), far, key, mustCreate(t, near, key)); err != nil {
			t.Fatalf("%s without a fault: %v", tt.name, err)
		}
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			awaitWorking(t, "the last fault", far)
			key := newKey()
			r := mustCreate(t, near, key)
			relay.LoseAnswer(tt.nth)
			if err := tt.do(soon(t), far, key, r); err != nil {
				t.Errorf("%s whose answer is lost: %v", tt.name, err)
			}
			if relay.Loses() {
				t.Error("no answer was lost")
			}
			if tt.gone {
				mustBeGone(t, near, key)
			} else if _, err := near.Load(soon(t), key); err != nil {
				t.Errorf("Load afterwards: %v", err)
			}
		})
	}
}

func load(ctx context.Context, s *redisstore.Store, key kiboauth.Key, _ *kiboauth.Record) error {
	_, err := s.Load(ctx, key)
	return err
}

// createAnother checks that the session it makes is the one that is there.
func createAnother(ctx context.Context, s *redisstore.Store, _ kiboauth.Key, r *kiboauth.Record) error {
	key, mine := newKey(), newRecord(r.Customer)
	if err := s.Create(ctx, key, mine); err != nil {
		return err
	}
	return loads(ctx, s, key, mine)
}

func replaceIt(ctx context.Context, s *redisstore.Store, key kiboauth.Key, r *kiboauth.Record) error {
	n := next(r)
	if err := s.Replace(ctx, key, r.Version, n); err != nil {
		return err
	}
	return loads(ctx, s, key, n)
}

func loads(ctx context.Context, s *redisstore.Store, key kiboauth.Key, want *kiboauth.Record) error {
	got, err := s.Load(ctx, key)
	if err == nil && !same(got, want) {
		err = errors.New("another record is there")
	}
	return err
}

func touch(ctx context.Context, s *redisstore.Store, key kiboauth.Key, r *kiboauth.Record) error {
	at := r.Seen + 60_000
	if err := s.Touch(ctx, key, at); err != nil {
		return err
	}
	got, err := s.Load(ctx, key)
	if err == nil && got.Seen != at {
		err = errors.New("the session was not touched")
	}
	return err
}

func deleteIt(ctx context.Context, s *redisstore.Store, key kiboauth.Key, _ *kiboauth.Record) error {
	return s.Delete(ctx, key)
}

// lockIt takes the lock twice: the second fails if the first was not given back.
func lockIt(ctx context.Context, s *redisstore.Store, key kiboauth.Key, _ *kiboauth.Record) error {
	for range 2 {
		unlock, err := s.Lock(ctx, key)
		if err != nil {
			return err
		}
		unlock()
	}
	return nil
}
