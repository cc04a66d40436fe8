package kibosim

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"time"
)

// accessSize is the length of a genuine access token before base64.
const accessSize = 336

// An access is what an accessToken says to those who can open it.
type access struct {
	user      id
	session   id
	expires   time.Time
	anonymous bool
}

// A sealer turns an access into an opaque text and back. Like Kibo's, the
// token carries everything itself, so the simulator has none to remember.
type sealer struct{ aead cipher.AEAD }

func newSealer() sealer {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	block, err := aes.NewCipher(key)
	if err != nil {
		panic("kibosim: " + err.Error()) // 32 bytes are a key
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic("kibosim: " + err.Error())
	}
	return sealer{aead}
}

func (s sealer) seal(a access) string {
	plain := make([]byte, 0, accessSize)
	plain = append(plain, a.user[:]...)
	plain = append(plain, a.session[:]...)
	plain = binary.BigEndian.AppendUint64(plain, uint64(a.expires.Unix()))
	if a.anonymous {
		plain = append(plain, 1)
	} else {
		plain = append(plain, 0)
	}
	plain = plain[:accessSize-s.aead.Overhead()] // zeros up to the usual length
	return base64.StdEncoding.EncodeToString(s.aead.Seal(nil, nil, plain, nil))
}

// open returns what an access token says, expired or not.
func (s sealer) open(token string) (access, bool) {
	sealed, err := base64.StdEncoding.DecodeString(token)
	if err != nil || len(sealed) != accessSize {
		return access{}, false
	}
	plain, err := s.aead.Open(nil, nil, sealed, nil)
	if err != nil {
		return access{}, false
	}
	r := bytes.NewBuffer(plain)
	return access{
		user:      id(r.Next(16)),
		session:   id(r.Next(16)),
		expires:   time.Unix(int64(binary.BigEndian.Uint64(r.Next(8))), 0).UTC(),
		anonymous: r.Next(1)[0] == 1,
	}, true
}
