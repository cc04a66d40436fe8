package verify

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"slices"
	"strings"
	"testing"
)

func ids(s *keyset) (ids []string) {
	for _, k := range s.keys {
		ids = append(ids, k.id)
	}
	return ids
}

// TestPoisonedKeyset puts one bad entry beside a good one: the bad one is
// passed over, the good one stays.
func TestPoisonedKeyset(t *testing.T) {
	rsaPub, ecPub := &rsaKey().PublicKey, &ecKey().PublicKey
	long := base64.RawURLEncoding.EncodeToString(make([]byte, 100))
	bytes := func(b ...byte) string { return base64.RawURLEncoding.EncodeToString(b) }
	even := slices.Clone(rsaPub.N.Bytes())
	even[len(even)-1] &^= 1
	p384 := entry(&p384Key().PublicKey, "", nil)
	small := entry(rsaPub, "bad", object{"n": bytes(rsaPub.N.Bytes()[:128]...)})

	tests := map[string]any{
		"RSA of 1024 bits":          small,
		"RSA of 65536 bits":         entry(rsaPub, "bad", object{"n": strings.Repeat("_", 8192*4/3)}),
		"RSA modulus zero":          entry(rsaPub, "bad", object{"n": "AA"}),
		"RSA modulus even":          entry(rsaPub, "bad", object{"n": bytes(even...)}),
		"RSA exponent 1":            entry(rsaPub, "bad", object{"e": bytes(1)}),
		"RSA exponent 2":            entry(rsaPub, "bad", object{"e": bytes(2)}),
		"RSA exponent even":         entry(rsaPub, "bad", object{"e": bytes(1, 0, 0)}),
		"RSA exponent zero":         entry(rsaPub, "bad", object{"e": bytes(0)}),
		"RSA exponent of 65 bits":   entry(rsaPub, "bad", object{"e": bytes(1, 0, 0, 0, 0, 0, 1, 0, 1)}),
		"RSA exponent of 33 bits":   entry(rsaPub, "bad", object{"e": bytes(1, 0, 0, 0, 1)}),
		"RSA exponent missing":      entry(rsaPub, "bad", object{"e": nil}),
		"RSA with alg HS256":        entry(rsaPub, "bad", object{"alg": "HS256"}),
		"RSA with alg none":         entry(rsaPub, "bad", object{"alg": "none"}),
		"RSA with alg ES256":        entry(rsaPub, "bad", object{"alg": "ES256"}),
		"RSA with alg PS256":        entry(rsaPub, "bad", object{"alg": "PS256"}), // not configured
		"RSA with alg for keys":     entry(rsaPub, "bad", object{"alg": "RSA-OAEP"}),
		"alg null":                  entry(rsaPub, "bad", object{"alg": nil}),
		"alg list":                  entry(rsaPub, "bad", object{"alg": []string{"RS256"}}),
		"use enc":                   entry(rsaPub, "bad", object{"use": "enc"}),
		"use SIG":                   entry(rsaPub, "bad", object{"use": "SIG"}),
		"use list":                  entry(rsaPub, "bad", object{"use": []string{"sig"}}),
		"use null":                  entry(rsaPub, "bad", object{"use": nil}),
		"key_ops without verify":    entry(rsaPub, "bad", object{"key_ops": []string{"encrypt", "sign"}}),
		"key_ops empty":             entry(rsaPub, "bad", object{"key_ops": []string{}}),
		"key_ops text":              entry(rsaPub, "bad", object{"key_ops": "verify"}),
		"kid number":                entry(rsaPub, "bad", object{"kid": 1}),
		"private RSA key":           entry(rsaPub, "bad", object{"d": bytes(rsaKey().D.Bytes()...)}),
		"private EC key":            entry(ecPub, "bad", object{"d": bytes(1)}),
		"symmetric key":             object{"kty": "oct", "kid": "bad", "k": bytes(secret...)},
		"symmetric key, alg RS256":  object{"kty": "oct", "kid": "bad", "alg": "RS256", "k": bytes(secret...)},
		"RSA with a secret beside":  entry(rsaPub, "bad", object{"k": bytes(secret...)}),
		"EC point off the curve":    entry(ecPub, "bad", object{"y": bytes(make([]byte, 31)...) + "E"}),
		"EC point at zero":          entry(ecPub, "bad", object{"x": bytes(make([]byte, 32)...), "y": bytes(make([]byte, 32)...)}),
		"EC coordinate too long":    entry(ecPub, "bad", object{"x": long}),
		"EC second too long":        entry(ecPub, "bad", object{"y": long}),
		"EC P-384 as P-256":         entry(ecPub, "bad", object{"x": p384["x"], "y": p384["y"]}),
		"EC P-256 as P-384":         entry(ecPub, "bad", object{"crv": "P-384"}),
		"EC secp256k1":              entry(ecPub, "bad", object{"crv": "secp256k1"}),
		"EC without curve":          entry(ecPub, "bad", object{"crv": nil}),
		"EC alg of another curve":   entry(ecPub, "bad", object{"alg": "ES384"}),
		"EC called RSA":             entry(ecPub, "bad", object{"kty": "RSA"}),
		"Ed25519 of 31 bytes":       entry(edKey().Public(), "bad", object{"x": bytes(make([]byte, 31)...)}),
		"X25519":                    entry(edKey().Public(), "bad", object{"crv": "X25519"}),
		"Ed448":                     entry(edKey().Public(), "bad", object{"crv": "Ed448"}),
		"unknown kind":              object{"kty": "AKP", "kid": "bad"},
		"empty entry":               object{},
		"number":                    1,
		"null":                      nil,
		"text":                      "key",
		"list":                      []any{entry(rsaPub, "bad", nil)},
		"names in another case":     object{"KTY": "RSA", "N": entry(rsaPub, "", nil)["n"], "E": "AQAB", "kid": "bad"},
		"use in two cases":          entry(rsaPub, "bad", object{"USE": "enc"}),
		"certificate of nobody":     object{"kty": "RSA", "kid": "bad", "x5c": []string{"AAAA"}},
		"key only behind x5u":       object{"kty": "RSA", "kid": "bad", "x5u": "http://127.0.0.1:1/"},
		"nested too deep":           object{"kty": "RSA", "kid": "bad", "x": []any{strings.Repeat("[", 30)}},
		"parameters of other types": object{"kty": "RSA", "kid": "bad", "n": 5, "e": true},
	}
	for name, bad := range tests {
		t.Run(name, func(t *testing.T) {
			body := setOf(bad, entry(&rsaKey2().PublicKey, "good", nil), bad)
			set, err := parseKeyset([]byte(body), defaultAlgorithms(jwks))
			if err != nil {
				t.Fatalf("parseKeyset: %v", err)
			}
			if got := ids(set); !slices.Equal(got, []string{"good"}) {
				t.Errorf("keys are %q, want only the good one", got)
			}
			if set, err := parseKeyset([]byte(setOf(bad)), defaultAlgorithms(jwks)); err == nil {
				t.Errorf("a set of nothing else is accepted: %q", ids(set))
			}
		})
	}
}

func TestDuplicateKeyID(t *testing.T) {
	a, b, c := &rsaKey().PublicKey, &rsaKey2().PublicKey, &ecKey().PublicKey
	body := setOf(entry(a, "twice", nil), entry(b, "twice", nil), entry(c, "once", nil))
	set, err := parseKeyset([]byte(body), defaultAlgorithms(jwks))
	if err != nil {
		t.Fatalf("parseKeyset: %v", err)
	}
	if got := ids(set); !slices.Equal(got, []string{"once"}) {
		t.Errorf("keys are %q, want only the unambiguous one", got)
	}
}

// An encryption key may share the id of a signature key: it is no rival.
func TestEncryptionKeyUnderTheSameID(t *testing.T) {
	body := setOf(entry(&rsaKey().PublicKey, "r", nil), entry(&rsaKey2().PublicKey, "r", object{"use": "enc"}))
	set, err := parseKeyset([]byte(body), defaultAlgorithms(jwks))
	if err != nil || len(set.keys) != 1 {
		t.Errorf("parseKeyset = %v, %v, want one key", set, err)
	}
}

func TestTokenWithoutKeyID(t *testing.T) {
	two := must(parseKeyset([]byte(setOf(entry(&rsaKey().PublicKey, "a", nil), entry(&rsaKey2().PublicKey, "b", nil),
		entry(&ecKey().PublicKey, "c", nil))), defaultAlgorithms(jwks)))
	tests := []struct {
		alg   string
		keys  int
		known bool
	}{
		{"RS256", 0, true},  // two fit: which one is a guess, and no newer set is asked
		{"ES256", 1, true},  // one fits
		{"EdDSA", 0, false}, // none fits: a newer set may have one
	}
	for _, tt := range tests {
		keys, known := two.lookup(tt.alg, "")
		if len(keys) != tt.keys || known != tt.known {
			t.Errorf("%s: %d keys, known %v, want %d, %v", tt.alg, len(keys), known, tt.keys, tt.known)
		}
	}
}

// Keys without an id serve only tokens without one.
func TestKeysWithoutID(t *testing.T) {
	set := must(parseKeyset([]byte(setOf(entry(&rsaKey().PublicKey, "", nil), entry(&ecKey().PublicKey, "", nil))), defaultAlgorithms(jwks)))
	if keys, known := set.lookup("RS256", "x"); known || len(keys) != 0 {
		t.Errorf("an id finds a key without one")
	}
	if keys, _ := set.lookup("RS256", ""); len(keys) != 1 {
		t.Errorf("%d keys without an id, want 1", len(keys))
	}
}

func TestConfiguredAlgorithmsRestrictTheSet(t *testing.T) {
	body := []byte(setOf(entry(&rsaKey().PublicKey, "any", nil), entry(&rsaKey2().PublicKey, "ps", object{"alg": "PS384"})))
	tests := []struct {
		algs []string
		want []string
	}{
		{[]string{"RS256"}, []string{"any"}},
		{[]string{"PS384"}, []string{"any", "ps"}},
		{[]string{"PS384", "RS256"}, []string{"any", "ps"}},
	}
	for _, tt := range tests {
		set, err := parseKeyset(body, tt.algs)
		if err != nil {
			t.Fatalf("%q: %v", tt.algs, err)
		}
		if got := ids(set); !slices.Equal(got, tt.want) {
			t.Errorf("%q: keys are %q, want %q", tt.algs, got, tt.want)
		}
	}
	if set, err := parseKeyset(body, []string{"ES256"}); err == nil {
		t.Errorf("RSA keys serve ES256: %q", ids(set))
	}
}

func TestWeakConfiguredKeys(t *testing.T) {
	weak := must(rsa.GenerateKey(rand.Reader, 1024))
	for name, c := range map[string]Config{
		"RSA of 1024 bits": {PublicKeys: [][]byte{pemOf(&weak.PublicKey)}},
		"HMAC of 31 bytes": {HMACKeys: [][]byte{make([]byte, 31)}},
	} {
		if err := c.Check(); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}
