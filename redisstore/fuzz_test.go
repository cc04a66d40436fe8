package redisstore

import (
	"encoding/binary"
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/redis/rueidis"

	kiboauth "github.com/kiboauth/caddy-kibo-auth"
)

// reply makes the elements of an array reply, of the types given (one character
// of RESP3 each), out of text that bars divide.
func reply(f testing.TB, types, text string) (messages []rueidis.RedisMessage) {
	for i, part := range strings.Split(text, "|") {
		kind := byte('$')
		if i < len(types) {
			kind = types[i]
		}
		if !strings.ContainsRune("$+-:,_#!(=", rune(kind)) {
			return nil
		}
		buf := append(make([]byte, 7), kind)
		switch kind {
		case ':', '_', '#':
			var n [8]byte
			copy(n[:], part)
			buf = append(buf, n[:]...)
		default:
			buf = append(binary.BigEndian.AppendUint64(buf, uint64(len(part))), part...)
		}
		var m rueidis.RedisMessage
		if err := m.CacheUnmarshalView(buf); err != nil {
			f.Fatalf("a reply of %q cannot be made: %v", part, err)
		}
		messages = append(messages, m)
	}
	return messages
}

// FuzzReply reads what Redis may answer, or another program may have written. A
// record that is taken is live and is written as it was read; an error has no
// part of it.
func FuzzReply(f *testing.F) {
	const ends = "9223372036854775807"
	for _, text := range []string{
		"1|customer|1|2|" + ends + "|0|sealed", "1|customer|1|2|" + ends + "|0", "0|c|0|0|0|0|", "-1|c|1|2|3|4|x", "1e3|c|1|2|" + ends + "|0|x",
		"18446744073709551616|c|1|2|3|4|x", "1|c|+1|02|" + ends + "|0|x", "1|c|1|" + ends + "|" + ends + "|" + ends + "|x", "1", "", "a-secret-in-a-record|b|c|d|e|f|g",
	} {
		f.Add("", text)
		f.Add("$$:_#", text)
	}
	f.Add("_______", "||||||")
	f.Add("------", "ERR|x|y|z|1|2")
	f.Add("$::", "5|\x00\x00\x00\x01|\x00\x00")
	f.Fuzz(func(t *testing.T, types, text string) {
		messages := reply(t, types, text)
		if len(messages) == len(fields) || len(messages) == len(listed) { // HMGET answers for each field
			checkRecord(t, messages, types, text)
		}
		if value, at, ok := counted(messages); ok && (len(messages) != 3 || at.IsZero() || value < -1 && !strings.Contains(text, "-") && types == "") {
			t.Errorf("%q %q counts as %d at %s", types, text, value, at)
		}
	})
}

func checkRecord(t *testing.T, messages []rueidis.RedisMessage, types, text string) {
	t.Helper()
	r, err := record(messages)
	switch {
	case errors.Is(err, kiboauth.ErrNoSession):
	case err != nil:
		if strings.Contains(err.Error(), "a-secret-in-a-record") {
			t.Errorf("%q shows what is in a record", err)
		}
		for part := range strings.SplitSeq(text, "|") {
			if len(part) > 12 && strings.Contains(err.Error(), part) {
				t.Errorf("%q is in %q", part, err)
			}
		}
	case r.Expires() <= now():
		t.Errorf("%q is taken, and has expired", text)
	default:
		for i, part := range strings.Split(text, "|") {
			if _, err := strconv.ParseInt(part, 10, 64); types == "" && i >= 2 && i <= 5 && err != nil {
				t.Errorf("%q is taken, and %q is no number", text, part)
			}
		}
		again, err := record(reply(t, "", strings.Join(values(r), "|")))
		bars := strings.Contains(r.Customer, "|") || slices.Contains(r.Sealed, '|')
		if !bars && (err != nil || !slices.Equal(values(again), values(r))) {
			t.Errorf("%q is read as %+v, and again as %+v, %v", text, r, again, err)
		}
	}
}

// FuzzKeys: of all names only that of a record is one, in one spelling. A record
// of another gateway's prefix is none.
func FuzzKeys(f *testing.F) {
	c := &client{set: Store{Prefix: "kibo:"}}
	name := c.recordName(&kiboauth.Key{1, 2, 3})
	for _, s := range []string{name, name + "x", strings.ToUpper(name), strings.Replace(name, "{", "{{", 1), "kibo:{}:s", "kibo:{\n}:s", "x" + name, strings.Replace(name, "A}", "B}", 1), strings.Replace(name, "}:s", "}:l", 1), ""} {
		f.Add("kibo:", s)
		f.Add("", s)
		f.Add("kib", s)
	}
	f.Fuzz(func(t *testing.T, prefix, name string) {
		c := &client{set: Store{Prefix: prefix}}
		if key, ok := parseRecordName(prefix, name); ok && c.recordName(&key) != name {
			t.Errorf("with the prefix %q, %q is taken for %q", prefix, name, c.recordName(&key))
		}
	})
}

// FuzzURL: a server's URL gives an address and a database, or an error that shows
// nothing of it: it may have a password in it.
func FuzzURL(f *testing.F) {
	for _, raw := range []string{
		"redis://localhost:6379", "rediss://user:a-password-of-redis@host/3", "localhost:6379", "a-password-of-redis@host:6379", "redis://:a-password-of-redis%zz@host",
		"valkeys://[::1]:6380/0", "redis://host/-1", "redis://host/99999999999999999999", "redis://host:port", "http://host", "redis://", "redis://host?db=1", "redis://a-password-of-redis\x00@host", "redis://host:0",
	} {
		f.Add(raw, false)
		f.Add(raw, true)
	}
	f.Fuzz(func(t *testing.T, raw string, withTLS bool) {
		s, err := parseURL(raw, withTLS)
		if err != nil {
			if len(raw) > 20 && strings.Contains(err.Error(), raw) || strings.Contains(err.Error(), "a-password-of-redis") {
				t.Errorf("%q is in %q", raw, err)
			}
			return
		}
		if s.database < 0 || !strings.Contains(s.address, ":") || strings.ContainsAny(s.address, "@/") {
			t.Errorf("parseURL(%q) = %q, database %d", raw, s.address, s.database)
		}
		if withTLS && !strings.Contains(raw, "://") && !s.tls {
			t.Errorf("parseURL(%q) is without TLS", raw)
		}
	})
}
