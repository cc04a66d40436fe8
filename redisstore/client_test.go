package redisstore

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	kiboauth "github.com/kiboauth/caddy-kibo-auth"
	"github.com/kiboauth/caddy-kibo-auth/internal/redistest"
)

// TestFullQueue: calls end with their ctx, also those that rueidis has no room
// for while the network swallows everything.
func TestFullQueue(t *testing.T) {
	server := redistest.Start(t, redistest.Options{})
	relay := redistest.StartRelay(t)
	s := open(t, Store{URLs: []string{relay.To(server.Addr())}, Timeout: duration(20 * time.Second)})
	key, _ := create(t, s, "queue")
	relay.Swallow()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		var group sync.WaitGroup
		for range maxCalls {
			group.Go(func() {
				if _, err := s.Load(ctx, key); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("Load: %v, want the end of its time", err)
				}
			})
		}
		group.Wait()
	}()
	redistest.Await(t, 10*time.Second, "see all calls end", func() bool {
		select {
		case <-ended:
			return true
		default:
			return false
		}
	})
	if _, err := s.Load(t.Context(), key); err == nil || errors.Is(err, kiboauth.ErrNoSession) {
		t.Errorf("one call too many: %v, want a refusal", err)
	}
}

// TestModule: Caddy finds the store under its name.
func TestModule(t *testing.T) {
	info, err := caddy.GetModule("http.kibo_auth.stores.redis")
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := info.New().(kiboauth.Store); !ok {
		t.Errorf("%T is no kiboauth.Store", info.New())
	}
}
