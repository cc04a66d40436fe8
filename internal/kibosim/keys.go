package kibosim

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"fmt"
	"math/big"
	"net/http"
	"sync"
)

type rsaKey struct {
	kid string
	*rsa.PrivateKey
}

// A keyring holds the RSA keys of the rs256 variant, newest last. Keys are
// made when they are first needed.
type keyring struct {
	mu        sync.Mutex
	made      int
	published []rsaKey
	unknown   *rsaKey
}

func newKey(kid string) rsaKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic("kibosim: " + err.Error()) // cannot happen with rand.Reader
	}
	return rsaKey{kid, key}
}

// add makes a key. The caller holds the lock.
func (k *keyring) add() rsaKey {
	k.made++
	key := newKey(fmt.Sprintf("sim-%d", k.made))
	k.published = append(k.published, key)
	return key
}

// current returns the key that signs.
func (k *keyring) current() rsaKey {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.published) == 0 {
		return k.add()
	}
	return k.published[len(k.published)-1]
}

// stranger returns a key that is never published.
func (k *keyring) stranger() rsaKey {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.unknown == nil {
		key := newKey("sim-unknown")
		k.unknown = &key
	}
	return *k.unknown
}

// find returns a published key, nil if there is none of that name.
func (k *keyring) find(kid string) *rsa.PrivateKey {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, key := range k.published {
		if key.kid == kid {
			return key.PrivateKey
		}
	}
	return nil
}

// RotateKeys makes a new RSA key that signs from now on, and returns its key
// ID. The older keys stay published, unless drop is set.
func (s *Sim) RotateKeys(drop bool) (kid string) {
	s.keys.current() // the first key exists, even if nobody asked for it
	s.keys.mu.Lock()
	defer s.keys.mu.Unlock()
	if drop {
		s.keys.published = nil
	}
	return s.keys.add().kid
}

type jwk struct {
	Kty string `json:"kty"`
	Use string `json:"use"`
	Alg string `json:"alg"`
	Kid string `json:"kid"`
	N   string `json:"n"`
	E   string `json:"e"`
}

// jwks publishes the RSA keys as a JWK set (RFC 7517). Kibo has no such
// endpoint that anyone knows of.
func (s *Sim) jwks(*call) reply {
	s.keys.current()
	s.keys.mu.Lock()
	defer s.keys.mu.Unlock()
	var set struct {
		Keys []jwk `json:"keys"`
	}
	for _, key := range s.keys.published {
		set.Keys = append(set.Keys, jwk{
			Kty: "RSA", Use: "sig", Alg: "RS256", Kid: key.kid,
			N: base64.RawURLEncoding.EncodeToString(key.N.Bytes()),
			E: base64.RawURLEncoding.EncodeToString(big.NewInt(int64(key.E)).Bytes()),
		})
	}
	return jsonReply(http.StatusOK, set)
}
