package kiboauth

import (
	"encoding/binary"
	"errors"
)

// codecVersion is the first byte of an encoded session. It changes when an old
// reader would misread a new session; then the new reader still reads the old
// one. Mere additions need no new version: a reader skips tags that it does not
// know, and takes what is missing for none.
const codecVersion = 1

// Tags of an encoded session. They are for ever: what is no longer used keeps
// its number.
const (
	tagLimit = iota + 1
	tagGood
	tagDue
	tagRefreshEnds
	tagRetryAt
	tagRetries
	tagRemembered
)

// fieldTags are the tags of text.
var fieldTags = [fieldCount]byte{
	fieldAccountID: 32, fieldUserID: 33, fieldEmail: 34, fieldUserName: 35, fieldFirstName: 36, fieldLastName: 37,
	fieldSegments: 38, fieldLocale: 39, fieldAccountType: 40, fieldTenant: 41, fieldSite: 42,
	fieldAssurance:   43,
	fieldAccessToken: 64, fieldRefreshToken: 65, fieldBearer: 66,
}

// maxEncoded keeps a session's text within the reach of its offsets.
const maxEncoded = 63 << 10

var errCodec = errors.New("encoded session cannot be read")

// encode writes a session down: the version, then tag, length (two bytes, big
// endian) and value of each thing that is not zero. The verdict is left out: it
// is worth something only in the process that reached it.
func (s *Session) encode() []byte {
	b := make([]byte, 1, len(s.text)+11*int(fieldCount))
	b[0] = codecVersion
	for _, n := range []struct {
		tag   byte
		value int64
	}{
		{tagLimit, s.limit},
		{tagGood, s.good},
		{tagDue, s.due},
		{tagRefreshEnds, s.refreshEnds},
		{tagRetryAt, s.retryAt},
		{tagRetries, int64(s.retries)},
		{tagRemembered, oneIf(s.remembered)},
	} {
		if n.value != 0 {
			b = append(b, n.tag, 0, 8)
			b = binary.BigEndian.AppendUint64(b, uint64(n.value))
		}
	}
	for f, tag := range fieldTags {
		if text := s.header(field(f)); text != "" {
			b = append(b, tag)
			b = binary.BigEndian.AppendUint16(b, uint16(len(text)))
			b = append(b, text...)
		}
	}
	return b
}

func oneIf(yes bool) int64 {
	if yes {
		return 1
	}
	return 0
}

// decodeSession reads what encode has written, for a realm.
func decodeSession(realm string, b []byte) (*Session, error) {
	if len(b) == 0 || len(b) > maxEncoded || b[0] != codecVersion {
		return nil, errCodec
	}
	s, c := new(Session), new(customer)
	for b = b[1:]; len(b) > 0; {
		if len(b) < 3 {
			return nil, errCodec
		}
		tag, size := b[0], int(binary.BigEndian.Uint16(b[1:]))
		if b = b[3:]; len(b) < size {
			return nil, errCodec
		}
		if !s.take(tag, b[:size], c) {
			return nil, errCodec
		}
		b = b[size:]
	}
	if c[fieldAccountID] == "" {
		return nil, errCodec
	}
	s.fill(realm, c)
	return s, nil
}

// take notes one value of an encoded session.
func (s *Session) take(tag byte, value []byte, c *customer) bool {
	if tag >= 32 {
		for f, known := range fieldTags {
			if known == tag {
				c[f] = string(value)
			}
		}
		return true
	}
	if len(value) != 8 {
		return false
	}
	switch n := int64(binary.BigEndian.Uint64(value)); tag {
	case tagLimit:
		s.limit = n
	case tagGood:
		s.good = n
	case tagDue:
		s.due = n
	case tagRefreshEnds:
		s.refreshEnds = n
	case tagRetryAt:
		s.retryAt = n
	case tagRetries:
		s.retries = uint8(min(max(n, 0), maxRetries))
	case tagRemembered:
		s.remembered = n == 1
	}
	return true
}
