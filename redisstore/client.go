package redisstore

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"
	"go.uber.org/zap"

	kiboauth "github.com/kiboauth/caddy-kibo-auth"

	"github.com/kiboauth/caddy-kibo-auth/internal/redact"
)

const (
	// retryAfter is how long a server that could not be reached is left alone.
	retryAfter = time.Second
	// maxCalls bounds how many calls wait for Redis at once.
	maxCalls = 4096
)

// client is what stores with the same settings share. It connects at the first
// call, and anew when only that helps.
type client struct {
	redact.Hidden

	set      Store // the settings, unresolved
	timeout  time.Duration
	log      atomic.Pointer[zap.Logger] // of the newest configuration
	tracking atomic.Bool                // Redis tells of changes
	slots    chan struct{}              // one for each call under way

	mu       sync.Mutex
	redis    rueidis.Client
	attempt  *attempt
	failed   error // why the last attempt did
	failedAt time.Time
	closed   bool

	watching sync.RWMutex
	watchers map[int]func(*kiboauth.Key)
	watched  int
}

// attempt is a connecting under way. Its results stand when done is closed.
type attempt struct {
	done  chan struct{}
	redis rueidis.Client
	err   error
}

func newClient(set Store) *client {
	c := &client{
		set:      set,
		timeout:  time.Duration(set.Timeout),
		slots:    make(chan struct{}, maxCalls),
		watchers: map[int]func(*kiboauth.Key){},
	}
	c.log.Store(zap.NewNop())
	return c
}

// Destruct implements caddy.Destructor.
func (c *client) Destruct() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	if c.redis != nil {
		c.redis.Close()
		c.redis = nil
	}
	return nil
}

// call has what ask Redis. It returns when ctx ends or the timeout is over,
// even if rueidis does not: its queue to a silent server may be full, and who
// waits there, or for somebody else's attempt to connect, is deaf to ctx. What
// is under way goes on without ctx, so that nobody who leaves disturbs others
// on the same connection.
func call[T any](ctx context.Context, c *client, what func(context.Context, rueidis.Client) (T, error)) (T, error) {
	var none T
	ctx, cancel := c.within(ctx)
	defer cancel()
	redis, err := c.connected(ctx)
	if err != nil {
		return none, err
	}
	select {
	case c.slots <- struct{}{}:
	default:
		return none, &fault{text: "too many calls wait for an answer already"}
	}
	type answer struct {
		value T
		err   error
	}
	done := make(chan answer, 1)
	go func() {
		defer func() { <-c.slots }()
		ctx, cancel := c.within(context.WithoutCancel(ctx))
		defer cancel()
		value, err := what(ctx, redis)
		done <- answer{value, err}
	}()
	select {
	case a := <-done:
		return a.value, c.explain(redis, a.err)
	case <-ctx.Done():
		return none, noAnswer(ctx.Err())
	}
}

// within bounds what takes several calls.
func (c *client) within(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, c.timeout)
}

// connected returns the connection, once there is one.
func (c *client) connected(ctx context.Context) (rueidis.Client, error) {
	c.mu.Lock()
	switch {
	case c.closed:
		c.mu.Unlock()
		return nil, &fault{text: "the store is closed"}
	case c.redis != nil:
		defer c.mu.Unlock()
		return c.redis, nil
	case c.attempt == nil && time.Since(c.failedAt) < retryAfter:
		defer c.mu.Unlock()
		return nil, c.failed
	case c.attempt == nil:
		c.attempt = &attempt{done: make(chan struct{})}
		go c.connect(c.attempt)
	}
	a := c.attempt
	c.mu.Unlock()
	select {
	case <-a.done:
		return a.redis, a.err
	case <-ctx.Done():
		return nil, noAnswer(ctx.Err())
	}
}

// connect makes an attempt, which may take longer than the calls that wait.
func (c *client) connect(a *attempt) {
	a.redis, a.err = c.open()
	c.mu.Lock()
	defer c.mu.Unlock()
	defer close(a.done)
	c.attempt = nil
	switch {
	case a.err != nil:
		c.failed, c.failedAt = a.err, time.Now()
	case c.closed:
		a.redis.Close()
	default:
		c.redis = a.redis
	}
}

// drop lets go of a connection that will not answer again. The next call
// connects anew, with placeholders resolved anew.
func (c *client) drop(redis rueidis.Client, why error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.redis != redis {
		return
	}
	c.redis, c.failed, c.failedAt = nil, why, time.Now()
	go redis.Close()
	c.log.Load().Warn("leaving redis, to connect anew", zap.Error(why))
}

// open connects. Where a proxy or the rights do not allow for tracking, it is
// done without.
func (c *client) open() (rueidis.Client, error) {
	opt, err := c.set.options()
	if err != nil {
		return nil, &fault{text: err.Error()}
	}
	opt.OnInvalidations = c.invalidated
	redis, err := newRedis(opt)
	if errors.Is(err, rueidis.ErrNoCache) {
		opt.DisableCache = true
		redis, err = newRedis(opt)
	}
	if err != nil {
		return nil, refused(err)
	}
	if c.set.Cluster && redis.Mode() != rueidis.ClientModeCluster {
		redis.Close()
		return nil, &fault{text: "the server is no cluster; remove the line cluster, or give the URL of a cluster's node"}
	}
	c.tracking.Store(!opt.DisableCache)
	c.report(redis)
	return redis, nil
}

func newRedis(opt rueidis.ClientOption) (rueidis.Client, error) {
	opt.DialCtxFn = new(dialer).dial
	return rueidis.NewClient(opt)
}

// report logs what the operator should know of the servers, once a connection.
func (c *client) report(redis rueidis.Client) {
	log := c.log.Load()
	log.Info("connected to redis", zap.String("mode", string(redis.Mode())), zap.Bool("tracking", c.tracking.Load()))
	if !c.tracking.Load() {
		log.Warn("redis refuses CLIENT TRACKING, so every request asks it; allow client|tracking, or connect without a proxy")
	}
	ctx, cancel := c.within(context.Background())
	defer cancel()
	info, err := redis.Do(ctx, redis.B().Info().Section("memory").Build()).ToString()
	const policy = "maxmemory_policy:"
	if _, rest, ok := strings.Cut(info, policy); err == nil && ok && !strings.HasPrefix(rest, "noeviction") {
		log.Warn("redis throws out live sessions when its memory is full; set maxmemory-policy to noeviction")
	}
}

// watch registers a watcher.
func (c *client) watch(changed func(*kiboauth.Key)) (stop func()) {
	c.watching.Lock()
	defer c.watching.Unlock()
	c.watched++
	id := c.watched
	c.watchers[id] = changed
	return func() {
		c.watching.Lock()
		defer c.watching.Unlock()
		delete(c.watchers, id)
	}
}

// notify tells the watchers of a key that changed; of all with nil.
func (c *client) notify(key *kiboauth.Key) {
	c.watching.RLock()
	defer c.watching.RUnlock()
	for _, changed := range c.watchers {
		changed(key)
	}
}

// invalidated hears from Redis which keys changed, and with nil that it lost
// track: a connection broke, or everything was flushed.
func (c *client) invalidated(names []rueidis.RedisMessage) {
	if names == nil {
		c.notify(nil)
		return
	}
	for i := range names {
		name, _ := names[i].ToString()
		if key, ok := parseRecordName(c.set.Prefix, name); ok {
			c.notify(&key)
		}
	}
}
