package redisstore

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/redis/rueidis"
)

// dialer leaves an address alone for a while after it could not be reached, so
// that calls fail at once, and a server that comes back is not run over.
type dialer struct {
	mu     sync.Mutex
	failed map[string]failure
}

type failure struct {
	at  time.Time
	err error
}

// restingError is a failure some moments ago, told again.
type restingError struct{ error }

func (e restingError) Unwrap() error { return e.error }

// dial is rueidis' own, but for the rest.
func (d *dialer) dial(ctx context.Context, address string, plain *net.Dialer, config *tls.Config) (net.Conn, error) {
	if err := d.resting(address); err != nil {
		return nil, err
	}
	var conn net.Conn
	var err error
	if config != nil {
		conn, err = (&tls.Dialer{NetDialer: plain, Config: config}).DialContext(ctx, "tcp", address)
	} else {
		conn, err = plain.DialContext(ctx, "tcp", address)
	}
	d.note(address, err)
	return conn, err
}

func (d *dialer) resting(address string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	last, ok := d.failed[address]
	if ok && time.Since(last.at) < retryAfter {
		return restingError{last.err}
	}
	return nil
}

func (d *dialer) note(address string, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.failed, address)
	if err == nil {
		return
	}
	if d.failed == nil {
		d.failed = map[string]failure{}
	}
	d.failed[address] = failure{time.Now(), err}
}

// retryDelay has rueidis repeat a read three times within a tenth of a second,
// which is enough for a connection that was cut. Negative: no more.
func retryDelay(attempts int, _ rueidis.Completed, err error) time.Duration {
	if _, resting := errors.AsType[restingError](err); resting || attempts > 3 {
		return -1
	}
	return 5 * time.Millisecond << (2 * (attempts - 1)) // 5, 20, 80
}
