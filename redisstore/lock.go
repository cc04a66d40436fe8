package redisstore

import (
	"context"
	"crypto/rand"
	mathrand "math/rand/v2"
	"sync"
	"time"

	"github.com/redis/rueidis"

	kiboauth "github.com/kiboauth/caddy-kibo-auth"

	"github.com/kiboauth/caddy-kibo-auth/internal/redact"
)

const (
	// lockFor is how long a lock outlives its holder's process.
	lockFor = 10 * time.Second
	// renewEvery lets two renewals fail before the lock is lost.
	renewEvery = 3 * time.Second
)

// lock is one that this process holds, or wants to.
type lock struct {
	redact.Hidden

	client *client
	name   string
	holder string
	stop   chan struct{}
	once   sync.Once
}

// Lock implements kiboauth.Locker. A failover may lose a lock, and its holder
// does not hear of it: the version that Replace compares is what keeps two
// holders from undoing each other's work.
func (s *Store) Lock(ctx context.Context, key kiboauth.Key) (unlock func(), err error) {
	l := &lock{
		client: s.client,
		name:   s.client.set.Prefix + "{" + encode(&key) + lockEnd,
		holder: rand.Text(),
		stop:   make(chan struct{}),
	}
	for {
		taken, err := l.run(ctx, lockScript)
		if wasCut(err) {
			taken, err = l.run(ctx, lockScript)
		}
		if err != nil {
			go l.run(context.Background(), unlockScript) // in case it was taken after all
			return nil, err
		}
		if taken {
			go l.renew()
			return l.unlock, nil
		}
		select {
		case <-ctx.Done():
			return nil, noAnswer(ctx.Err())
		case <-time.After(20*time.Millisecond + mathrand.N(40*time.Millisecond)):
		}
	}
}

// run runs one of the scripts of locks.
func (l *lock) run(ctx context.Context, script *rueidis.Lua) (bool, error) {
	args := []string{l.holder, number(lockFor.Milliseconds())}
	n, err := call(ctx, l.client, func(ctx context.Context, redis rueidis.Client) (int64, error) {
		return script.Exec(ctx, redis, []string{l.name}, args).ToInt64()
	})
	return n == 1, err
}

// renew holds the lock until unlock, or until it is lost.
func (l *lock) renew() {
	tick := time.NewTicker(renewEvery)
	defer tick.Stop()
	for {
		select {
		case <-l.stop:
			return
		case <-tick.C:
			if held, err := l.run(context.Background(), renewScript); err == nil && !held {
				return
			}
		}
	}
}

// unlock gives the lock back. If Redis does not answer, it ends by itself.
func (l *lock) unlock() {
	l.once.Do(func() {
		close(l.stop)
		_, _ = l.run(context.Background(), unlockScript)
	})
}
