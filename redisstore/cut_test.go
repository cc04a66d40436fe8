package redisstore

import (
	"bytes"
	"errors"
	"net"
	"reflect"
	"sync/atomic"
	"testing"

	kiboauth "github.com/kiboauth/caddy-kibo-auth"
	"github.com/kiboauth/caddy-kibo-auth/internal/redistest"
)

// cutter stands before a server and cuts connections at the worst moment:
// once, at the first script that names a key.
type cutter struct {
	server string
	key    atomic.Pointer[string]
	done   bool // the server gets what is asked, and only the answer is lost
}

// startCutter returns a store behind a cutter.
func startCutter(t *testing.T, done bool) (*Store, *cutter) {
	t.Helper()
	server := redistest.Start(t, redistest.Options{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	c := &cutter{server: server.Addr(), done: done}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go c.pass(conn)
		}
	}()
	s := open(t, Store{URLs: []string{l.Addr().String()}})
	key, r := create(t, s, "warm") // Redis knows the scripts from now on
	if err := errors.Join(s.Touch(t.Context(), key, r.Seen+1), s.Replace(t.Context(), key, 1, next(r)), s.Delete(t.Context(), key)); err != nil {
		t.Fatal(err)
	}
	return s, c
}

// at has the next script with a record cut.
func (c *cutter) at(s *Store, key kiboauth.Key) {
	name := s.client.recordName(&key)
	c.key.Store(&name)
}

func (c *cutter) pass(conn net.Conn) {
	defer conn.Close()
	server, err := net.Dial("tcp", c.server)
	if err != nil {
		return
	}
	defer server.Close()
	quiet := atomic.Bool{}
	go func() {
		defer conn.Close()
		for b := make([]byte, 1<<16); ; {
			n, err := server.Read(b)
			if err != nil || quiet.Load() {
				return // with the answer
			}
			conn.Write(b[:n])
		}
	}()
	for b := make([]byte, 1<<16); ; {
		n, err := conn.Read(b)
		if err != nil {
			return
		}
		if name := c.key.Load(); name != nil && bytes.Contains(b[:n], []byte("EVALSHA")) && bytes.Contains(b[:n], []byte(*name)) {
			c.key.Store(nil)
			if !c.done {
				return
			}
			quiet.Store(true)
		}
		if _, err := server.Write(b[:n]); err != nil {
			return
		}
	}
}

// TestCutAfterCreate: the session that was created is not called a conflict.
func TestCutAfterCreate(t *testing.T) {
	s, c := startCutter(t, true)
	key, r := newKey(), newRecord("cut")
	c.at(s, key)
	if err := s.Create(t.Context(), key, r); err != nil {
		t.Errorf("Create: %v", err)
	}
	if got, err := s.Load(t.Context(), key); err != nil || !reflect.DeepEqual(got, r) {
		t.Errorf("Load: %+v, %v", got, err)
	}
}

// TestCutAfterForeignCreate: a session of somebody else is not taken for ours.
func TestCutAfterForeignCreate(t *testing.T) {
	s, c := startCutter(t, true)
	key, _ := create(t, s, "theirs")
	c.at(s, key)
	if err := s.Create(t.Context(), key, newRecord("ours")); err == nil || errors.Is(err, kiboauth.ErrNoSession) {
		t.Errorf("Create: %v, want an error", err)
	}
}

// TestCutBeforeCreate: the sign-in fails, and no session comes up later.
func TestCutBeforeCreate(t *testing.T) {
	s, c := startCutter(t, false)
	key := newKey()
	c.at(s, key)
	if err := s.Create(t.Context(), key, newRecord("cut")); err == nil || errors.Is(err, kiboauth.ErrConflict) || errors.Is(err, kiboauth.ErrNoSession) {
		t.Errorf("Create: %v, want an error that says that Redis could not answer", err)
	}
	if _, err := s.Load(t.Context(), key); !errors.Is(err, kiboauth.ErrNoSession) {
		t.Errorf("Load: %v, want ErrNoSession", err)
	}
}

// TestCutWrites: what can be repeated is, and gives the answer that the first
// would have given.
func TestCutWrites(t *testing.T) {
	for _, done := range []bool{true, false} {
		name := map[bool]string{true: "after", false: "before"}[done]
		t.Run(name, func(t *testing.T) {
			s, c := startCutter(t, done)
			key, r := create(t, s, "cut")
			second := next(r)
			second.Seen += 5
			c.at(s, key)
			if err := s.Replace(t.Context(), key, 1, second); err != nil {
				t.Errorf("Replace: %v", err)
			}
			c.at(s, key)
			if err := s.Replace(t.Context(), key, 1, next(second)); !errors.Is(err, kiboauth.ErrConflict) {
				t.Errorf("Replace of an old version: %v, want ErrConflict", err)
			}
			c.at(s, key)
			if err := s.Touch(t.Context(), key, r.Seen+9); err != nil {
				t.Errorf("Touch: %v", err)
			}
			second.Seen = r.Seen + 9
			if got, err := s.Load(t.Context(), key); err != nil || !reflect.DeepEqual(got, second) {
				t.Errorf("Load: %+v, %v; want %+v", got, err, second)
			}
			c.at(s, key)
			if err := s.Delete(t.Context(), key); err != nil {
				t.Errorf("Delete: %v", err)
			}
			if _, err := s.Load(t.Context(), key); !errors.Is(err, kiboauth.ErrNoSession) {
				t.Errorf("Load after Delete: %v", err)
			}
		})
	}
}
