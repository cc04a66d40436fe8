package redisstore

import (
	"context"
	"strconv"
	"time"

	"github.com/redis/rueidis"
)

// limitEnd ends the names of counters.
const limitEnd = "}:g"

// Counters are text, and compared as such: a number of nanoseconds since 1970
// does not fit into the doubles of Lua. So the server's time is handed out in
// two parts, too.

// countScript answers the counter KEYS[1], or nil, and the server's time.
var countScript = rueidis.NewLuaScript(`
local value, now = redis.call('GET', KEYS[1]), redis.call('TIME')
return {value, now[1], now[2]}`)

// beginScript sets the counter KEYS[1], if there is none, to ARGV[1] for ARGV[2]
// milliseconds.
var beginScript = rueidis.NewLuaScript(`
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1`)

// swapScript sets the counter KEYS[1], if it is ARGV[3], to ARGV[1] for ARGV[2]
// milliseconds.
var swapScript = rueidis.NewLuaScript(`
if redis.call('GET', KEYS[1]) ~= ARGV[3] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1`)

func (c *client) limitName(key string) string { return c.set.Prefix + "{l:" + key + limitEnd }

// GetWithTime implements kiboauth.Counters.
func (s *Store) GetWithTime(ctx context.Context, key string) (int64, time.Time, error) {
	reply, err := call(ctx, s.client, func(ctx context.Context, redis rueidis.Client) ([]rueidis.RedisMessage, error) {
		return countScript.Exec(ctx, redis, []string{s.client.limitName(key)}, nil).ToArray()
	})
	if err != nil {
		return 0, time.Time{}, err
	}
	value, at, ok := counted(reply)
	if !ok {
		return 0, time.Time{}, refused(errUnreadable)
	}
	return value, at, nil
}

// counted reads the answer of countScript.
func counted(reply []rueidis.RedisMessage) (value int64, at time.Time, ok bool) {
	if len(reply) != 3 {
		return 0, at, false
	}
	seconds, err1 := reply[1].AsInt64()
	micros, err2 := reply[2].AsInt64()
	if err1 != nil || err2 != nil {
		return 0, at, false
	}
	at = time.Unix(seconds, micros*int64(time.Microsecond))
	if reply[0].IsNil() {
		return -1, at, true
	}
	value, err := reply[0].AsInt64()
	return value, at, err == nil
}

// SetIfNotExistsWithTTL implements kiboauth.Counters. It is not repeated when
// the connection breaks: to count once too often does less harm than to count
// on an answer that did not come.
func (s *Store) SetIfNotExistsWithTTL(ctx context.Context, key string, value int64, ttl time.Duration) (bool, error) {
	return s.count(ctx, beginScript, key, number(value), lasts(ttl))
}

// CompareAndSwapWithTTL implements kiboauth.Counters.
func (s *Store) CompareAndSwapWithTTL(ctx context.Context, key string, old, next int64, ttl time.Duration) (bool, error) {
	return s.count(ctx, swapScript, key, number(next), lasts(ttl), number(old))
}

func (s *Store) count(ctx context.Context, script *rueidis.Lua, key string, args ...string) (bool, error) {
	n, err := call(ctx, s.client, func(ctx context.Context, redis rueidis.Client) (int64, error) {
		return script.Exec(ctx, redis, []string{s.client.limitName(key)}, args).ToInt64()
	})
	return n == 1, err
}

// lasts are the milliseconds of a counter, at least one: what is taken back may
// have passed already.
func lasts(ttl time.Duration) string {
	return strconv.FormatInt(max(1, (ttl+time.Millisecond-1).Milliseconds()), 10)
}
