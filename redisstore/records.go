package redisstore

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"

	kiboauth "github.com/kiboauth/caddy-kibo-auth"
)

// errUnreadable: what lies under the key is no record. Its text holds nothing of it.
var errUnreadable = errors.New("a record cannot be read; another program or version wrote it")

// Names of keys, behind the prefix.
const (
	recordEnd = "}:s"
	lockEnd   = "}:l"
)

// keyLen is the length of a key in base64url.
var keyLen = base64.RawURLEncoding.EncodedLen(len(kiboauth.Key{}))

func encode(key *kiboauth.Key) string { return base64.RawURLEncoding.EncodeToString(key[:]) }

func decode(text string) (key kiboauth.Key, ok bool) {
	if len(text) != keyLen {
		return key, false
	}
	n, err := base64.RawURLEncoding.Strict().Decode(key[:], []byte(text))
	return key, err == nil && n == len(key)
}

func (c *client) recordName(key *kiboauth.Key) string {
	return c.set.Prefix + "{" + encode(key) + recordEnd
}

// parseRecordName tells records from other keys.
func parseRecordName(prefix, name string) (key kiboauth.Key, ok bool) {
	name, begins := strings.CutPrefix(name, prefix+"{")
	name, ends := strings.CutSuffix(name, recordEnd)
	if !begins || !ends {
		return key, false
	}
	return decode(name)
}

// fields are what a record's hash has, the sealed session last.
var fields = []string{"v", "c", "t", "n", "e", "i", "b"}

// listed are the fields without the sealed session.
var listed = fields[:len(fields)-1]

// values are a record's, in the order of fields.
func values(r *kiboauth.Record) []string {
	return []string{
		strconv.FormatUint(r.Version, 10),
		r.Customer,
		number(r.Created), number(r.Seen), number(r.Ends), number(r.Idle),
		rueidis.BinaryString(r.Sealed),
	}
}

func number(n int64) string { return strconv.FormatInt(n, 10) }

// record reads the reply to HMGET of fields or listed. ErrNoSession if the key
// is not there, or the session has expired by our clock.
func record(reply []rueidis.RedisMessage) (*kiboauth.Record, error) {
	if len(reply) == 0 || reply[0].IsNil() {
		return nil, kiboauth.ErrNoSession
	}
	text := make([]string, len(reply))
	for i := range reply {
		var err error
		if text[i], err = reply[i].ToString(); err != nil {
			return nil, errUnreadable
		}
	}
	var r kiboauth.Record
	var errs [5]error
	r.Version, errs[0] = strconv.ParseUint(text[0], 10, 64)
	r.Customer = text[1]
	for i, target := range []*int64{&r.Created, &r.Seen, &r.Ends, &r.Idle} {
		*target, errs[i+1] = strconv.ParseInt(text[i+2], 10, 64)
	}
	if errors.Join(errs[:]...) != nil {
		return nil, errUnreadable
	}
	if len(text) == len(fields) {
		r.Sealed = []byte(text[len(listed)])
	}
	if r.Expires() <= now() {
		return nil, kiboauth.ErrNoSession
	}
	return &r, nil
}

func now() int64 { return time.Now().UnixMilli() }

// Load implements kiboauth.Store. Redis will tell when the record changes.
func (s *Store) Load(ctx context.Context, key kiboauth.Key) (*kiboauth.Record, error) {
	c := s.client
	reply, err := call(ctx, c, func(ctx context.Context, redis rueidis.Client) ([]rueidis.RedisMessage, error) {
		return redis.Do(ctx, redis.B().Hmget().Key(c.recordName(&key)).Field(fields...).Build()).ToArray()
	})
	if err != nil {
		return nil, err
	}
	r, err := record(reply)
	if errors.Is(err, errUnreadable) {
		return nil, refused(err)
	}
	return r, err
}

// Create implements kiboauth.Store. The index is written first: a session that
// is not in it could not be ended with the customer's others.
//
// When the connection breaks, Redis may or may not have created the session.
// It is looked up then, and never created a second time: by then somebody may
// have ended it. At worst the sign-in fails, and a session stays behind that
// no browser knows.
func (s *Store) Create(ctx context.Context, key kiboauth.Key, r *kiboauth.Record) error {
	if r.Expires() <= now() {
		return kiboauth.ErrNoSession
	}
	defer s.client.notify(&key)
	ctx, cancel := s.client.within(ctx)
	defer cancel()
	if err := s.index(ctx, &key, r); err != nil {
		return full(err)
	}
	err := s.write(ctx, createScript, &key, append(values(r), number(r.Expires()))...)
	if wasCut(err) {
		if found, loadErr := s.Load(ctx, key); loadErr == nil && same(found, r) {
			return nil
		}
	}
	return full(err)
}

// same says whether a record is the one that was written. Sealing draws a new
// nonce each time, so two writers never seal alike.
func same(found, written *kiboauth.Record) bool {
	return found.Version == written.Version && slices.Equal(found.Sealed, written.Sealed)
}

// full marks the errors of a Redis whose memory is full.
func full(err error) error {
	if hasCode(err, "OOM") {
		return fmt.Errorf("%w: %w", kiboauth.ErrStoreFull, err)
	}
	return err
}

// Replace implements kiboauth.Store. It is repeated when the connection breaks:
// the version keeps the second from doing harm, and if the first did succeed,
// the second finds its own work.
func (s *Store) Replace(ctx context.Context, key kiboauth.Key, version uint64, next *kiboauth.Record) error {
	defer s.client.notify(&key)
	ctx, cancel := s.client.within(ctx)
	defer cancel()
	if next.Expires() > now() {
		if err := s.index(ctx, &key, next); err != nil {
			return err
		}
	}
	args := append(values(next), strconv.FormatUint(version, 10), number(now()))
	err := s.write(ctx, replaceScript, &key, append(args, "first")...)
	if wasCut(err) {
		err = s.write(ctx, replaceScript, &key, append(args, "again")...)
	}
	return err
}

// Touch implements kiboauth.Store. To repeat it changes nothing.
func (s *Store) Touch(ctx context.Context, key kiboauth.Key, at int64) error {
	defer s.client.notify(&key)
	ctx, cancel := s.client.within(ctx)
	defer cancel()
	err := s.write(ctx, touchScript, &key, number(at), number(now()))
	if wasCut(err) {
		err = s.write(ctx, touchScript, &key, number(at), number(now()))
	}
	return err
}

// Delete implements kiboauth.Store. The index follows if it can; what stays in
// it is passed over and goes with the session's end.
func (s *Store) Delete(ctx context.Context, key kiboauth.Key) error {
	defer s.client.notify(&key)
	ctx, cancel := s.client.within(ctx)
	defer cancel()
	customer, err := s.remove(ctx, &key)
	if wasCut(err) {
		customer, err = s.remove(ctx, &key)
	}
	if err != nil || customer == "" {
		return err
	}
	_, _ = call(ctx, s.client, func(ctx context.Context, redis rueidis.Client) (int64, error) {
		return redis.Do(ctx, redis.B().Zrem().Key(s.client.indexName(customer)).Member(encode(&key)).Build()).ToInt64()
	})
	return nil
}

// remove deletes a record and says whose it was.
func (s *Store) remove(ctx context.Context, key *kiboauth.Key) (customer string, err error) {
	return call(ctx, s.client, func(ctx context.Context, redis rueidis.Client) (string, error) {
		return deleteScript.Exec(ctx, redis, []string{s.client.recordName(key)}, nil).ToString()
	})
}

// write runs one of the scripts that change a record.
func (s *Store) write(ctx context.Context, script *rueidis.Lua, key *kiboauth.Key, args ...string) error {
	outcome, err := call(ctx, s.client, func(ctx context.Context, redis rueidis.Client) (int64, error) {
		return script.Exec(ctx, redis, []string{s.client.recordName(key)}, args).ToInt64()
	})
	switch {
	case err != nil:
		return err
	case outcome == outcomeConflict:
		return kiboauth.ErrConflict
	case outcome == outcomeGone:
		return kiboauth.ErrNoSession
	}
	return nil
}
