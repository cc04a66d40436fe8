package redisstore

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/kiboauth/caddy-kibo-auth/internal/freeport"
)

// TestDialerRests: after a failure the address is left alone, others are not.
func TestDialerRests(t *testing.T) {
	nobody := freeport.Addr(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	d := new(dialer)
	dial := func(address string) error {
		conn, err := d.dial(context.Background(), address, new(net.Dialer), nil)
		if err == nil {
			conn.Close()
		}
		return err
	}
	resting := func(err error) bool { _, ok := errors.AsType[restingError](err); return ok }
	if err := dial(nobody); err == nil || resting(err) {
		t.Errorf("the first attempt: %v, want a refusal", err)
	}
	if err := dial(nobody); !resting(err) {
		t.Errorf("the second attempt: %v, want the refusal told again", err)
	}
	if err := dial(l.Addr().String()); err != nil {
		t.Errorf("another address: %v", err)
	}
	d.failed[nobody] = failure{time.Now().Add(-retryAfter), errors.New("long ago")}
	if err := dial(nobody); err == nil || resting(err) {
		t.Errorf("after the rest: %v, want a new refusal", err)
	}
}

func TestRetryDelay(t *testing.T) {
	tests := []struct {
		attempts int
		err      error
		want     time.Duration
	}{
		{1, io.EOF, 5 * time.Millisecond},
		{2, io.EOF, 20 * time.Millisecond},
		{3, io.EOF, 80 * time.Millisecond},
		{4, io.EOF, -1},
		{1, restingError{io.EOF}, -1},
	}
	for _, tc := range tests {
		if got := retryDelay(tc.attempts, rueidis.Completed{}, tc.err); got != tc.want {
			t.Errorf("retryDelay(%d, %v) = %s, want %s", tc.attempts, tc.err, got, tc.want)
		}
	}
}
