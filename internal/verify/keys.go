package verify

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/kiboauth/caddy-kibo-auth/internal/redact"
)

// methods are the signature algorithms that we know. They are named here and
// not looked up in golang-jwt's registry, which every package of the process
// may change.
var methods = map[string]jwt.SigningMethod{
	"HS256": jwt.SigningMethodHS256,
	"HS384": jwt.SigningMethodHS384,
	"HS512": jwt.SigningMethodHS512,
	"RS256": jwt.SigningMethodRS256,
	"RS384": jwt.SigningMethodRS384,
	"RS512": jwt.SigningMethodRS512,
	"PS256": strictSalt(jwt.SigningMethodPS256),
	"PS384": strictSalt(jwt.SigningMethodPS384),
	"PS512": strictSalt(jwt.SigningMethodPS512),
	"ES256": jwt.SigningMethodES256,
	"ES384": jwt.SigningMethodES384,
	"ES512": jwt.SigningMethodES512,
	"EdDSA": jwt.SigningMethodEdDSA,
}

func knownAlgorithms() []string { return slices.Sorted(maps.Keys(methods)) }

// strictSalt makes the salt as long as the hash, as RFC 7518 §3.5 demands;
// golang-jwt verifies with any.
func strictSalt(m *jwt.SigningMethodRSAPSS) jwt.SigningMethod {
	return &jwt.SigningMethodRSAPSS{SigningMethodRSA: m.SigningMethodRSA, Options: m.Options}
}

// verifySignature holds the signature against each key. Why golang-jwt
// refuses is of no use to a caller, so any error of it is the same refusal.
func verifySignature(t *token, alg string, keys []any) error {
	if len(keys) == 0 {
		return reject("no key fits it")
	}
	for _, k := range keys {
		if methods[alg].Verify(t.signed, t.signature, k) == nil {
			return nil
		}
	}
	return reject("signature")
}

// key is one key with all that it may be used for.
type key struct {
	redact.Hidden

	id    string   // kid; empty for configured keys
	algs  []string // never empty
	value any      // []byte, *rsa.PublicKey, *ecdsa.PublicKey or ed25519.PublicKey
}

// keyset is one generation of keys. It does not change.
type keyset struct {
	redact.Hidden

	keys    []key
	print   [sha256.Size]byte // equal for equal keys, in whatever order
	fetched time.Time         // zero for configured keys
}

func newKeyset(keys []key) *keyset {
	prints := make([]string, len(keys))
	for i, k := range keys {
		der, ok := k.value.([]byte)
		if !ok {
			der, _ = x509.MarshalPKIXPublicKey(k.value) // cannot fail: usable has let it pass
		}
		prints[i] = fmt.Sprintf("%q %q %x", k.id, k.algs, sha256.Sum256(der))
	}
	slices.Sort(prints)
	return &keyset{keys: keys, print: sha256.Sum256(fmt.Append(nil, prints))}
}

// find returns the configured keys for alg. They have no ids, so the token's
// is of no use.
func (s *keyset) find(_ context.Context, alg, _ string) ([]any, error) {
	return s.fitting(alg), nil
}

func (s *keyset) fitting(alg string) (values []any) {
	for _, k := range s.keys {
		if slices.Contains(k.algs, alg) {
			values = append(values, k.value)
		}
	}
	return values
}

func newHMACKeys(secrets [][]byte, algs []string) (*keyset, error) {
	var keys []key
	for i, secret := range secrets {
		for _, alg := range algs {
			m := methods[alg].(*jwt.SigningMethodHMAC)
			if len(secret) < m.Hash.Size() {
				return nil, fmt.Errorf("hmac key %d has %d bytes: %s needs at least %d", i+1, len(secret), alg, m.Hash.Size())
			}
		}
		keys = append(keys, key{algs: algs, value: slices.Clone(secret)})
	}
	return newKeyset(keys), nil
}

func newPublicKeys(pems [][]byte, algs []string) (*keyset, error) {
	var keys []key
	for i, text := range pems {
		value, err := parsePEM(text)
		if err == nil {
			err = usable(value)
		}
		if err != nil {
			return nil, fmt.Errorf("public key %d: %w", i+1, err)
		}
		fit := common(algs, algorithmsOf(value))
		if len(fit) == 0 {
			return nil, fmt.Errorf("public key %d fits none of the algorithms %q", i+1, algs)
		}
		keys = append(keys, key{algs: fit, value: value})
	}
	return newKeyset(keys), nil
}

// parsePEM reads one public key or certificate and nothing else, so that a
// second key behind the first is not overlooked in silence.
func parsePEM(text []byte) (any, error) {
	block, rest := pem.Decode(text)
	if block == nil {
		return nil, errors.New("not in PEM form")
	}
	if more, _ := pem.Decode(rest); more != nil {
		return nil, errors.New("more than one PEM block: give each key by itself")
	}
	switch block.Type {
	case "PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY":
		return nil, errors.New("a private key: give its public half")
	case "PUBLIC KEY":
		return x509.ParsePKIXPublicKey(block.Bytes)
	case "RSA PUBLIC KEY":
		return x509.ParsePKCS1PublicKey(block.Bytes)
	case "CERTIFICATE":
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		return cert.PublicKey, nil
	default:
		return nil, errors.New("neither a public key nor a certificate")
	}
}

// algorithmsOf lists what a key can verify by its type: an EC key has one
// algorithm, that of its curve (RFC 7518 §3.4).
func algorithmsOf(value any) []string {
	switch k := value.(type) {
	case *rsa.PublicKey:
		return []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}
	case *ecdsa.PublicKey:
		return map[int][]string{256: {"ES256"}, 384: {"ES384"}, 521: {"ES512"}}[k.Curve.Params().BitSize]
	case ed25519.PublicKey:
		return []string{"EdDSA"}
	default:
		return nil
	}
}

// usable refuses keys too weak to mean anything, and RSA keys so long that
// verifying with them would be an attack on us.
func usable(value any) error {
	switch k := value.(type) {
	case *rsa.PublicKey:
		if bits := k.N.BitLen(); bits < 2048 || bits > 8192 {
			return fmt.Errorf("RSA key of %d bits: it must have 2048 to 8192", bits)
		}
		if k.E < 3 || k.E&1 == 0 || k.E > 1<<31-1 || k.N.Bit(0) == 0 {
			return errors.New("RSA key with an impossible exponent or modulus")
		}
	case *ecdsa.PublicKey:
		if _, err := k.ECDH(); err != nil { // checks curve and point
			return errors.New("EC key is not a point of P-256, P-384 or P-521")
		}
	case ed25519.PublicKey:
	default:
		return errors.New("neither RSA, EC nor Ed25519")
	}
	return nil
}

func common(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(s string) bool { return !slices.Contains(b, s) })
}
