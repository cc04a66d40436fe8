// Package redisstore keeps sessions in Redis or Valkey, so that several
// gateways share them: one server, a master with Sentinels, or a Cluster. It is
// the Caddy module http.kibo_auth.stores.redis; see [Store] for its settings.
//
// Redis 6.2 or Valkey 7.2 is the oldest that has every command used here.
//
// # What lies in Redis
//
// With the default prefix and K a session's key in base64url:
//
//	kibo:{K}:s    hash    the record: v version, c customer, t created, n seen,
//	                      e ends, i idle, b the sealed session
//	kibo:{K}:l    string  who holds the session's lock
//	kibo:{l:H}:g  string  a counter of the limits; H is a keyed hash that tells nothing
//	kibo:{c:H}:idx zset   keys of a customer's sessions by their end; H is
//	                      SHA-256 of the customer in base64url
//
// The braces are hash tags (Redis Cluster specification, "Hash tags"): a session
// and its lock share a slot. Every key carries an expiry, so nothing needs to be
// swept. The sealed session cannot be opened with what lies in Redis.
//
// # What Redis must be
//
// Its maxmemory-policy must be noeviction, Redis' default: any other throws out
// live sessions. Clocks of gateways and servers must agree to a second or so,
// as expiry is an absolute time. Redis acknowledges a write before its replicas
// or, by default, its disk have it: a failover or a power cut may lose the last
// moments, an ended session may so return, and a fresh one may be gone. Lower
// the risk with min-replicas-to-write and appendfsync.
//
// The rights that an ACL user needs, with the default prefix:
//
//	ACL SETUSER gateway on >secret resetkeys ~kibo:* resetchannels -@all +ping +info +role +select +client|tracking +client|setname +cluster|slots +cluster|shards +asking +time +eval +evalsha +hmget +hget +hset +exists +del +get +set +pexpire +pexpireat +zadd +zrem +zrange +zrangebyscore +zremrangebyscore +scan
//
// and those at the Sentinels, if they have users at all:
//
//	ACL SETUSER gateway on >secret resetchannels &+* &-* -@all +ping +role +client|tracking +client|setname +subscribe +unsubscribe +sentinel|sentinels +sentinel|get-master-addr-by-name
//
// # Revocation
//
// The gateway keeps decrypted records in its own memory. Redis tells every
// gateway which of the keys that it has read were changed ("client-side
// caching", CLIENT TRACKING), usually within a millisecond. When such a message
// is lost because a connection broke, the gateway forgets all it has once it
// notices, within twice the timeout. The setting cache bounds the rest.
package redisstore
