package redisstore

import "github.com/redis/rueidis"

// Redis runs a script as one step. Times are handed through as the text that
// they came as: Lua would write 1.7e+12. Only what is computed is formatted
// anew, exactly, as milliseconds since 1970 fit into a double.

// What the scripts that change a record answer.
const (
	outcomeDone     = 1
	outcomeConflict = 0
	outcomeGone     = -1
)

// createScript makes the record KEYS[1] of ARGV, which are the fields v, c, t,
// n, e, i, b and the moment it expires. If that is past by the server's clock,
// PEXPIREAT deletes the record again.
var createScript = rueidis.NewLuaScript(`
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
redis.call('HSET', KEYS[1], 'v', ARGV[1], 'c', ARGV[2], 't', ARGV[3], 'n', ARGV[4], 'e', ARGV[5], 'i', ARGV[6], 'b', ARGV[7])
redis.call('PEXPIREAT', KEYS[1], ARGV[8])
if redis.call('EXISTS', KEYS[1]) == 0 then return -1 end
return 1`)

// expires is kiboauth.Record.Expires.
const expires = `
local function expires(seen, ends, idle)
	seen, ends, idle = tonumber(seen), tonumber(ends), tonumber(idle)
	if idle > 0 then return math.min(ends, seen + idle) end
	return ends
end
local function text(time) return string.format('%.0f', time) end
`

// replaceScript puts a record in the place of KEYS[1]: ARGV are its fields, the
// version that must be there, the time, and "again" for a repetition, which is
// content to find what it would write.
var replaceScript = rueidis.NewLuaScript(expires + `
local old = redis.call('HMGET', KEYS[1], 'v', 'n', 'e', 'i', 'b')
local now = tonumber(ARGV[9])
if not old[1] or expires(old[2], old[3], old[4]) <= now then return -1 end
if ARGV[10] == 'again' and old[1] == ARGV[1] and old[5] == ARGV[7] then return 1 end
if old[1] ~= ARGV[8] then return 0 end
local seen = ARGV[4]
if tonumber(old[2]) > tonumber(seen) then seen = old[2] end
local at = expires(seen, ARGV[5], ARGV[6])
if at <= now then
	redis.call('DEL', KEYS[1])
	return -1
end
redis.call('HSET', KEYS[1], 'v', ARGV[1], 'c', ARGV[2], 't', ARGV[3], 'n', seen, 'e', ARGV[5], 'i', ARGV[6], 'b', ARGV[7])
redis.call('PEXPIREAT', KEYS[1], text(at))
if redis.call('EXISTS', KEYS[1]) == 0 then return -1 end
return 1`)

// touchScript moves n of KEYS[1] to ARGV[1] unless it is later; ARGV[2] is the time.
var touchScript = rueidis.NewLuaScript(expires + `
local old = redis.call('HMGET', KEYS[1], 'n', 'e', 'i')
if not old[1] or expires(old[1], old[2], old[3]) <= tonumber(ARGV[2]) then return -1 end
if tonumber(ARGV[1]) <= tonumber(old[1]) then return 1 end
redis.call('HSET', KEYS[1], 'n', ARGV[1])
redis.call('PEXPIREAT', KEYS[1], text(expires(ARGV[1], old[2], old[3])))
return 1`)

// deleteScript deletes KEYS[1] and answers whose it was.
var deleteScript = rueidis.NewLuaScript(`
local customer = redis.call('HGET', KEYS[1], 'c')
redis.call('DEL', KEYS[1])
return customer or ''`)

// indexScript adds the session ARGV[1], which ends at ARGV[2] at the latest, to
// the index KEYS[1], and takes out those that ended before ARGV[3]. The index
// lives as long as its last session.
var indexScript = rueidis.NewLuaScript(`
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[3])
redis.call('ZADD', KEYS[1], 'GT', ARGV[2], ARGV[1])
local last = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')
redis.call('PEXPIREAT', KEYS[1], string.format('%.0f', tonumber(last[2])))
return 1`)

// lockScript takes the lock KEYS[1] for the holder ARGV[1] and ARGV[2]
// milliseconds. Who has it already keeps it: an answer may get lost.
var lockScript = rueidis.NewLuaScript(`
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1`)

// renewScript holds the lock KEYS[1] for ARGV[2] milliseconds more if ARGV[1]
// still has it.
var renewScript = rueidis.NewLuaScript(`
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])`)

// unlockScript gives the lock KEYS[1] back if ARGV[1] still has it.
var unlockScript = rueidis.NewLuaScript(`
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])`)
