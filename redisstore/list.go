package redisstore

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"iter"
	"slices"
	"strings"

	"github.com/redis/rueidis"

	kiboauth "github.com/kiboauth/caddy-kibo-auth"
)

const (
	// scanCount is how many keys Redis looks at in one step of a scan.
	scanCount = 500
	// chunkSize is how many records are loaded at once.
	chunkSize = 100
)

// indexName is the key of a customer's index. The customer is hashed: a brace
// in it would end the hash tag.
func (c *client) indexName(customer string) string {
	sum := sha256.Sum256([]byte(customer))
	return c.set.Prefix + "{c:" + base64.RawURLEncoding.EncodeToString(sum[:]) + "}:idx"
}

// index notes whose a session is. To repeat it changes nothing.
func (s *Store) index(ctx context.Context, key *kiboauth.Key, r *kiboauth.Record) error {
	add := func(ctx context.Context, redis rueidis.Client) (int64, error) {
		args := []string{encode(key), number(r.Ends), number(now())}
		return indexScript.Exec(ctx, redis, []string{s.client.indexName(r.Customer)}, args).ToInt64()
	}
	_, err := call(ctx, s.client, add)
	if wasCut(err) {
		_, err = call(ctx, s.client, add)
	}
	return err
}

// List implements kiboauth.Store. Of all customers it scans every master;
// sessions whose slot moves to another master meanwhile may be missed.
func (s *Store) List(ctx context.Context, customer string) iter.Seq2[kiboauth.Listed, error] {
	keys := s.allKeys(ctx)
	if customer != "" {
		keys = s.keysOf(ctx, customer)
	}
	return func(yield func(kiboauth.Listed, error) bool) {
		for chunk, err := range keys {
			if err != nil {
				yield(kiboauth.Listed{}, err)
				return
			}
			found, err := s.records(ctx, chunk)
			if err != nil {
				yield(kiboauth.Listed{}, err)
				return
			}
			for _, one := range found {
				if customer != "" && one.Record.Customer != customer {
					continue
				}
				if !yield(one, nil) {
					return
				}
			}
		}
	}
}

// records loads the sessions that are still there, without what is sealed.
func (s *Store) records(ctx context.Context, keys []kiboauth.Key) ([]kiboauth.Listed, error) {
	replies, err := call(ctx, s.client, func(ctx context.Context, redis rueidis.Client) ([]rueidis.RedisResult, error) {
		commands := make(rueidis.Commands, len(keys))
		for i := range keys {
			commands[i] = redis.B().Hmget().Key(s.client.recordName(&keys[i])).Field(listed...).Build()
		}
		replies := redis.DoMulti(ctx, commands...)
		for _, reply := range replies {
			if err := reply.Error(); err != nil {
				return nil, err
			}
		}
		return replies, nil
	})
	if err != nil {
		return nil, err
	}
	var found []kiboauth.Listed
	for i, reply := range replies {
		fields, err := reply.ToArray()
		if err != nil {
			return nil, refused(err)
		}
		r, err := record(fields)
		switch {
		case errors.Is(err, kiboauth.ErrNoSession):
		case err != nil:
			return nil, refused(err)
		default:
			found = append(found, kiboauth.Listed{Key: keys[i], Record: r})
		}
	}
	return found, nil
}

// keysOf goes through a customer's index, in chunks.
func (s *Store) keysOf(ctx context.Context, customer string) iter.Seq2[[]kiboauth.Key, error] {
	return func(yield func([]kiboauth.Key, error) bool) {
		members, err := call(ctx, s.client, func(ctx context.Context, redis rueidis.Client) ([]string, error) {
			name := s.client.indexName(customer)
			return redis.Do(ctx, redis.B().Zrangebyscore().Key(name).Min(number(now())).Max("+inf").Build()).AsStrSlice()
		})
		if err != nil {
			yield(nil, err)
			return
		}
		for some := range slices.Chunk(members, chunkSize) {
			var keys []kiboauth.Key
			for _, member := range some {
				if key, ok := decode(member); ok {
					keys = append(keys, key)
				}
			}
			if !yield(keys, nil) {
				return
			}
		}
	}
}

// allKeys scans all masters. Redis may tell a key twice; each is passed on once.
func (s *Store) allKeys(ctx context.Context) iter.Seq2[[]kiboauth.Key, error] {
	return func(yield func([]kiboauth.Key, error) bool) {
		masters, err := call(ctx, s.client, masters)
		if err != nil {
			yield(nil, err)
			return
		}
		told := map[kiboauth.Key]bool{}
		for _, master := range masters {
			for names, err := range s.scan(ctx, master) {
				if err != nil {
					yield(nil, err)
					return
				}
				var keys []kiboauth.Key
				for _, name := range names {
					if key, ok := parseRecordName(s.client.set.Prefix, name); ok && !told[key] {
						told[key] = true
						keys = append(keys, key)
					}
				}
				for chunk := range slices.Chunk(keys, chunkSize) {
					if !yield(chunk, nil) {
						return
					}
				}
			}
		}
	}
}

// masters are the servers that have the keys.
func masters(ctx context.Context, redis rueidis.Client) ([]rueidis.Client, error) {
	var found []rueidis.Client
	for _, node := range redis.Nodes() {
		if redis.Mode() != rueidis.ClientModeCluster {
			return []rueidis.Client{node}, nil
		}
		role, err := node.Do(ctx, node.B().Role().Build()).ToArray()
		if err != nil {
			return nil, err
		}
		if len(role) == 0 {
			return nil, errUnreadable
		}
		if name, _ := role[0].ToString(); name == "master" {
			found = append(found, node)
		}
	}
	return found, nil
}

// scan goes through the names of one server's records.
func (s *Store) scan(ctx context.Context, master rueidis.Client) iter.Seq2[[]string, error] {
	pattern := globEscaper.Replace(s.client.set.Prefix) + "{*" + recordEnd
	return func(yield func([]string, error) bool) {
		for cursor, first := uint64(0), true; first || cursor != 0; first = false {
			entry, err := call(ctx, s.client, func(ctx context.Context, _ rueidis.Client) (rueidis.ScanEntry, error) {
				return master.Do(ctx, master.B().Scan().Cursor(cursor).Match(pattern).Count(scanCount).Build()).AsScanEntry()
			})
			if !yield(entry.Elements, err) || err != nil {
				return
			}
			cursor = entry.Cursor
		}
	}
}

// globEscaper takes the meaning from what MATCH reads as a pattern.
var globEscaper = strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`)
