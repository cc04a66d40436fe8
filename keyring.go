package kiboauth

import (
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
)

// minSecret is the least length of a configured secret.
const minSecret = 32

// storedSecret is where the secret that the gateway makes itself lies in
// Caddy's storage.
const storedSecret = "kibo_auth/secret"

// storageTimeout bounds the one visit to Caddy's storage.
const storageTimeout = 5 * time.Second

// keyring seals what browsers keep for us. The first key seals, all open.
type keyring struct {
	storage certmagic.Storage // for the secret of our own; nil: keys are configured
	mu      sync.Mutex
	keys    []cipher.AEAD
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
			return nil, &problem{"secret", fmt.Sprintf("is shorter than %d characters", minSecret), "make one with: openssl rand -base64 32"}
		}
		key, err := deriveKey(secret)
		if err != nil {
			return nil, err
		}
		k.keys = append(k.keys, key)
	}
	return k, nil
}

// deriveKey makes the key that seals sign-ins out of a secret (RFC 5869).
func deriveKey(secret string) (cipher.AEAD, error) {
	key, err := hkdf.Key(sha256.New, []byte(secret), nil, "caddy-kibo-auth pending sign-in v1", 32)
	if err != nil {
		return nil, fmt.Errorf("deriving a key: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("deriving a key: %w", err)
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// ready returns the keys. If they cannot be had now, the next call tries again.
func (k *keyring) ready(ctx context.Context) ([]cipher.AEAD, error) {
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
	key, err := deriveKey(secret)
	if err != nil {
		return nil, err
	}
	k.keys = []cipher.AEAD{key}
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
	return base64.RawURLEncoding.EncodeToString(keys[0].Seal(nil, nil, text, []byte(purpose))), nil
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
		if text, err := key.Open(nil, nil, raw, []byte(purpose)); err == nil {
			return text, nil
		}
	}
	return nil, errSealBroken
}
