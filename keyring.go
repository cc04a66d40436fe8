package kiboauth

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/certmagic"

	"github.com/kiboauth/caddy-kibo-auth/internal/redact"
)

// minSecret is the least length of a configured secret.
const minSecret = 32

// storedSecret is where the secret that the gateway makes itself lies in
// Caddy's storage.
const storedSecret = "kibo_auth/secret"

// storageTimeout bounds the one visit to Caddy's storage.
const storageTimeout = 5 * time.Second

// keyring seals what leaves this process: sign-ins under way, for the browser,
// and sessions, for a store. The first secret seals, all open.
type keyring struct {
	redact.Hidden

	storage certmagic.Storage // for the secret of our own; nil: secrets are configured
	mu      sync.Mutex
	keys    []*masterKey
}

// masterKey is what one secret gives (RFC 5869).
type masterKey struct {
	redact.Hidden

	id      [4]byte     // names the key in what it has sealed; says nothing about it
	pending cipher.AEAD // for sign-ins under way
	session []byte      // makes, with a session ID, the key of one session
	limit   []byte      // hides who is counted, and proves devices
}

// newKeyring derives keys from configured secrets. Without any, the gateway's
// own is looked up or made when it is first needed, not at start.
func newKeyring(ctx caddy.Context, secrets []string) (*keyring, error) {
	if len(secrets) == 0 {
		return &keyring{storage: ctx.Storage()}, nil
	}
	k := new(keyring)
	for _, text := range secrets {
		secret, err := resolve(text)
		if err != nil {
			return nil, &problem{"secret", err.Error(), setPlaceholder}
		}
		if len(secret) < minSecret {
			return nil, &problem{"secret", fmt.Sprintf("is shorter than %d characters", minSecret), "make one with: caddy kibo-auth keygen"}
		}
		key, err := newMasterKey(secret)
		if err != nil {
			return nil, err
		}
		k.keys = append(k.keys, key)
	}
	return k, nil
}

// Each use of a secret has a key of its own.
const (
	pendingUse = "caddy-kibo-auth pending sign-in v1"
	sessionUse = "caddy-kibo-auth session v1"
	keyIDUse   = "caddy-kibo-auth key id v1"
	limitUse   = "caddy-kibo-auth limits v1"
)

func newMasterKey(secret string) (*masterKey, error) {
	key := new(masterKey)
	id, err := deriveKey([]byte(secret), keyIDUse)
	if err != nil {
		return nil, err
	}
	copy(key.id[:], id)
	pending, err := deriveKey([]byte(secret), pendingUse)
	if err != nil {
		return nil, err
	}
	if key.pending, err = newSeal(pending); err != nil {
		return nil, err
	}
	if key.limit, err = deriveKey([]byte(secret), limitUse); err != nil {
		return nil, err
	}
	key.session, err = deriveKey([]byte(secret), sessionUse)
	return key, err
}

func deriveKey(secret []byte, use string) ([]byte, error) {
	key, err := hkdf.Key(sha256.New, secret, nil, use, 32)
	if err != nil {
		return nil, fmt.Errorf("deriving a key: %w", err)
	}
	return key, nil
}

// newSeal is AES-256-GCM. Its random nonce is fine for 2³² messages a key
// (NIST SP 800-38D §8.3), of which no key of ours comes near.
func newSeal(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("making a cipher: %w", err)
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// of is the key of one session: whoever has the store and the secret, but not
// the cookie, opens nothing.
func (m *masterKey) of(id SessionID) (cipher.AEAD, error) {
	key, err := hkdf.Expand(sha256.New, m.session, id.value, 32)
	if err != nil {
		return nil, fmt.Errorf("deriving a session's key: %w", err)
	}
	return newSeal(key)
}

// ready returns the keys. If they cannot be had now, the next call tries again.
func (k *keyring) ready(ctx context.Context) ([]*masterKey, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.keys) > 0 {
		return k.keys, nil
	}
	ctx, cancel := context.WithTimeout(ctx, storageTimeout)
	defer cancel()
	secret, err := ownSecret(ctx, k.storage)
	if err != nil {
		return nil, fmt.Errorf("%w: the gateway's secret in Caddy's storage: %w", errStore, err)
	}
	key, err := newMasterKey(secret)
	if err != nil {
		return nil, err
	}
	k.keys = []*masterKey{key}
	return k.keys, nil
}

// ownSecret loads the secret that is in storage, and makes it if there is none.
// The lock keeps two gateways that share a storage from making two.
func ownSecret(ctx context.Context, storage certmagic.Storage) (string, error) {
	if err := storage.Lock(ctx, storedSecret); err != nil {
		return "", err
	}
	defer storage.Unlock(context.WithoutCancel(ctx), storedSecret)
	secret, err := storage.Load(ctx, storedSecret)
	switch {
	case err == nil && len(secret) >= minSecret:
		return string(secret), nil
	case err == nil:
		return "", errors.New("is damaged; delete it to have a new one made")
	case !errors.Is(err, fs.ErrNotExist):
		return "", err
	}
	fresh := make([]byte, 32)
	rand.Read(fresh)
	text := base64.RawURLEncoding.EncodeToString(fresh)
	return text, storage.Store(ctx, storedSecret, []byte(text))
}

// seal encrypts text for a purpose, into characters that a cookie may have.
func (k *keyring) seal(ctx context.Context, purpose string, text []byte) (string, error) {
	keys, err := k.ready(ctx)
	if err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(keys[0].pending.Seal(nil, nil, text, []byte(purpose))), nil
}

// errSealBroken: not sealed by us, for this purpose, with a key still listed.
var errSealBroken = errors.New("seal does not open")

// open reverses seal. Errors other than errSealBroken mean: cannot tell.
func (k *keyring) open(ctx context.Context, purpose, sealed string) ([]byte, error) {
	keys, err := k.ready(ctx)
	if err != nil {
		return nil, err
	}
	raw, err := base64.RawURLEncoding.DecodeString(sealed)
	if err != nil {
		return nil, errSealBroken
	}
	for _, key := range keys {
		if text, err := key.pending.Open(nil, nil, raw, []byte(purpose)); err == nil {
			return text, nil
		}
	}
	return nil, errSealBroken
}

// sealSession encrypts an encoded session: the key's name, then the sealed text.
// The label goes with it unsealed, and cannot be changed.
func (k *keyring) sealSession(ctx context.Context, id SessionID, text, label []byte) ([]byte, error) {
	keys, err := k.ready(ctx)
	if err != nil {
		return nil, err
	}
	seal, err := keys[0].of(id)
	if err != nil {
		return nil, err
	}
	return seal.Seal(keys[0].id[:], nil, text, label), nil
}

// openSession reverses sealSession. old tells that the key is not the first any
// more. errSealBroken: no key that is listed has sealed this for this session.
func (k *keyring) openSession(ctx context.Context, id SessionID, sealed, label []byte) (text []byte, old bool, err error) {
	keys, err := k.ready(ctx)
	if err != nil {
		return nil, false, err
	}
	for i, key := range keys {
		if !bytes.HasPrefix(sealed, key.id[:]) {
			continue
		}
		seal, err := key.of(id)
		if err != nil {
			return nil, false, err
		}
		if text, err := seal.Open(nil, nil, sealed[len(key.id):], label); err == nil {
			return text, i > 0, nil
		}
	}
	return nil, false, errSealBroken
}
