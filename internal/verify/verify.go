package verify

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// What a caller can do about a token that was not accepted.
var (
	// ErrInvalid: the token is refused, for good. The text names the check
	// that failed and repeats nothing of the token.
	ErrInvalid = errors.New("token is invalid")
	// ErrKeysUnavailable: the keys to judge the token with cannot be had just
	// now. It says nothing about the token: neither admit nor end a session.
	ErrKeysUnavailable = errors.New("signature keys are unavailable")
)

func reject(reason string) error {
	return fmt.Errorf("%w: %s", ErrInvalid, reason)
}

// Verifier judges tokens by one Config. It is safe for concurrent use.
type Verifier struct {
	policy policy
	algs   []string
	keys   keySource // nil in direct mode
	remote *remoteKeys

	print string // of everything but the keys
	stamp atomic.Uint64
}

// keySource finds the keys that may have signed a token. No key and no error
// means that no key of ours fits it.
type keySource interface {
	find(ctx context.Context, alg, kid string) ([]any, error)
}

// New returns a Verifier, or the first fault of the configuration. It opens
// no connection: with a JWKSURL the first Verify does. Close the Verifier
// after use.
func New(c Config) (*Verifier, error) {
	m, err := c.mode()
	if err != nil {
		return nil, err
	}
	v := new(Verifier)
	if v.algs, err = c.algorithms(m); err != nil {
		return nil, err
	}
	if v.policy, err = c.policy(); err != nil {
		return nil, err
	}
	p := v.policy
	v.print = fmt.Sprintf("%d %q %s %q", m, v.algs, p.leeway,
		[]string{p.issuer, p.audience, p.tenant, p.site, c.JWKSURL})
	if err = v.loadKeys(c, m); err != nil {
		return nil, err
	}
	return v, nil
}

func (v *Verifier) loadKeys(c Config, m mode) (err error) {
	set := new(keyset) // no keys: direct, or not fetched yet
	switch m {
	case hmac:
		set, err = newHMACKeys(c.HMACKeys, v.algs)
		v.keys = set
	case publicKey:
		set, err = newPublicKeys(c.PublicKeys, v.algs)
		v.keys = set
	case jwks:
		if err = checkJWKSURL(c.JWKSURL); err == nil {
			v.remote = newRemoteKeys(c, v.algs, v.restamp)
			v.keys = v.remote
		}
	}
	if err != nil {
		return err
	}
	v.restamp(set)
	return nil
}

// Close ends a fetch of keys that is under way and waits for its end. The
// Verifier still judges by the keys that it holds.
func (v *Verifier) Close() {
	if v.remote != nil {
		v.remote.close()
	}
}

// Signs reports whether signatures are checked. If not, only tokens that came
// from Kibo itself may be given to Verify.
func (v *Verifier) Signs() bool { return v.keys != nil }

// Stamp identifies the policy and the present keys; it is never 0. A verdict
// holds, until the token expires, for as long as the stamp equals the one
// read *before* the call of Verify. Equal configurations with equal keys have
// equal stamps, also across restarts. It costs one atomic load.
func (v *Verifier) Stamp() uint64 { return v.stamp.Load() }

func (v *Verifier) restamp(set *keyset) {
	sum := sha256.Sum256(append([]byte(v.print), set.print[:]...))
	v.stamp.Store(max(1, binary.BigEndian.Uint64(sum[:])))
}

// Verify judges a token at the time now. An error that is ErrInvalid refuses
// it; one that is ErrKeysUnavailable leaves the question open. Verify waits
// for keys for at most 3s, or until ctx ends.
func (v *Verifier) Verify(ctx context.Context, token string, now time.Time) (*Claims, error) {
	t, err := splitToken(token)
	if err != nil {
		return nil, err
	}
	h, err := readHeader(t.header, v.algs)
	if err != nil {
		return nil, err
	}
	c, err := decodeObject(t.claims)
	if err != nil {
		return nil, err
	}
	// Claims before the signature: a stale or foreign token then costs
	// neither a signature nor a fetch of keys. Nothing of them leaves this
	// function before the signature has been found good.
	claims, err := v.policy.check(c, now)
	if err != nil {
		return nil, err
	}
	if v.keys != nil {
		err = v.checkSignature(ctx, t, h)
	}
	if err != nil {
		return nil, err
	}
	return claims, nil
}

func (v *Verifier) checkSignature(ctx context.Context, t *token, h header) error {
	keys, err := v.keys.find(ctx, h.alg, h.kid)
	if err != nil {
		return err
	}
	return verifySignature(t, h.alg, keys)
}
