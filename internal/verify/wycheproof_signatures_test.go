package verify

import (
	"crypto"
	"encoding/hex"
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A group is a key of Wycheproof's with signatures that it is said to have made.
type group struct {
	Type    string `json:"type"`
	KeySize int    `json:"keySize"` // of RSA and MACs, in bits
	SHA     string `json:"sha"`
	MGF     string `json:"mgf"`
	MGFSHA  string `json:"mgfSha"`
	SLen    int    `json:"sLen"`    // of PSS, in bytes
	TagSize int    `json:"tagSize"` // of MACs, in bits

	PublicKey    json.RawMessage `json:"publicKey"`
	PublicKeyPEM string          `json:"publicKeyPem"`
	KeyPEM       string          `json:"keyPem"`
	PublicKeyJWK json.RawMessage `json:"publicKeyJwk"`
	KeyJWK       json.RawMessage `json:"keyJwk"`

	Tests []vector `json:"tests"`
}

type vector struct {
	TcID    int             `json:"tcId"`
	Comment string          `json:"comment"`
	Key     string          `json:"key"`
	Msg     string          `json:"msg"`
	Sig     string          `json:"sig"`
	Tag     string          `json:"tag"`
	Result  string          `json:"result"`
	Public  json.RawMessage `json:"public"` // of key agreement: a JWK
}

func groupsOf(t *testing.T, file string) []group {
	t.Helper()
	var v struct {
		TestGroups []group `json:"testGroups"`
	}
	readVectors(t, file, &v)
	return v.TestGroups
}

// algorithm is JWA's name for what the group does (RFC 7518 §3.1, RFC 8037
// §3.1), or "" if JWA has none, or demands what the group does not have: then
// every signature must be refused, the good ones too.
func (g *group) algorithm() string {
	var key struct{ Curve string }
	_ = json.Unmarshal(g.PublicKey, &key)
	size := map[string]int{"SHA-256": 256, "SHA-384": 384, "SHA-512": 512}[g.SHA]
	name := strings.TrimPrefix(g.SHA, "SHA-")
	switch {
	case g.Type == "EcdsaP1363Verify":
		return map[string]string{
			"secp256r1 SHA-256": "ES256", "secp384r1 SHA-384": "ES384", "secp521r1 SHA-512": "ES512",
		}[key.Curve+" "+g.SHA]
	case g.Type == "EddsaVerify" && key.Curve == "edwards25519":
		return "EdDSA"
	case size == 0 || g.KeySize < 2048:
		return ""
	case g.Type == "RsassaPkcs1Verify", g.Type == "RsassaPkcs1Generate":
		return "RS" + name
	case g.Type == "RsassaPssVerify" && g.MGF == "MGF1" && g.MGFSHA == g.SHA && g.SLen == size/8:
		return "PS" + name
	}
	return ""
}

// keys reads the group's key in each form in which it is given, as the modes
// key and jwks do.
func (g *group) keys() (all []key) {
	add := func(k key) {
		if len(all) == 0 || !all[0].value.(interface{ Equal(crypto.PublicKey) bool }).Equal(k.value) {
			all = append(all, k)
		}
	}
	for _, text := range []string{g.PublicKeyPEM, g.KeyPEM} {
		if value, err := parsePEM([]byte(text)); err == nil && usable(value) == nil {
			add(key{algs: algorithmsOf(value), value: value})
		}
	}
	for _, text := range []json.RawMessage{g.PublicKeyJWK, g.KeyJWK} {
		if k, ok := parseEntry(text, knownAlgorithms()); ok {
			add(k)
		}
	}
	return all
}

// good says whether Wycheproof wants the signature accepted. What a generator
// need not make (short ones, for example) a verifier must accept all the same;
// what only some verifiers accept, we do not.
func (g *group) good(tt vector) bool {
	return tt.Result == "valid" || tt.Result == "acceptable" && g.Type == "RsassaPkcs1Generate"
}

// says reports whether a vector says anything about an algorithm: a bad
// signature is only known to be bad under the algorithm of its group. No DER
// is a JWS's ECDSA signature, the bad ones neither.
func (g *group) says(tt vector, alg string) bool {
	return g.good(tt) || alg == g.algorithm() || g.Type == "EcdsaVerify"
}

// runSignatures holds each signature against its key under every algorithm
// that the key can do: a good one must be good under its own and no other. The
// messages are any bytes, and no token's, so that this begins behind the
// splitting of the token.
func runSignatures(t *testing.T, file string) (c tally) {
	for _, g := range groupsOf(t, file) {
		own, keys := g.algorithm(), g.keys()
		if own != "" && len(keys) != 1 {
			t.Errorf("%s: %d usable keys for %s, want the same one in each form", file, len(keys), own)
		}
		for _, tt := range g.Tests {
			tok := &token{signed: unhex(tt.Msg), signature: []byte(unhex(tt.Sig))}
			accepted := false
			for _, k := range keys {
				for _, alg := range k.algs {
					if !g.says(tt, alg) {
						continue
					}
					got := verifySignature(tok, alg, []any{k.value}) == nil
					if want := alg == own && g.good(tt); got != want {
						t.Errorf("%s: vector %d (%s), %s: accepted %v, want %v", file, tt.TcID, tt.Comment, alg, got, want)
					}
					accepted = accepted || got
				}
			}
			c.add(accepted)
		}
	}
	return c
}

func unhex(s string) string { return string(must(hex.DecodeString(s))) }

// runMACs wants the whole tag, under a key as long as the hash at least
// (RFC 7518 §3.2).
func runMACs(t *testing.T, file string) (c tally) {
	own := map[string]string{"hmac_sha256_test.json": "HS256", "hmac_sha384_test.json": "HS384", "hmac_sha512_test.json": "HS512"}[file]
	bits := map[string]int{"HS256": 256, "HS384": 384, "HS512": 512}
	for _, g := range groupsOf(t, file) {
		for _, tt := range g.Tests {
			tok := &token{signed: unhex(tt.Msg), signature: []byte(unhex(tt.Tag))}
			accepted := false
			for _, alg := range symmetric {
				set, err := newHMACKeys([][]byte{[]byte(unhex(tt.Key))}, []string{alg})
				got := err == nil && verifySignature(tok, alg, set.fitting(alg)) == nil
				want := alg == own && tt.Result == "valid" && g.KeySize >= bits[alg] && g.TagSize == bits[alg]
				if got != want {
					t.Errorf("%s: vector %d (%s), %s: accepted %v, want %v", file, tt.TcID, tt.Comment, alg, got, want)
				}
				accepted = accepted || got
			}
			c.add(accepted)
		}
	}
	return c
}

var foreignCurve = regexp.MustCompile(`wrong curve|^using secp|^uses public key for`)

// runKeys reads JWKs that are made for key agreement. A point that is not on
// the curve that it names is refused, and so is a curve that signs nothing.
func runKeys(t *testing.T, file string) (c tally) {
	for _, g := range groupsOf(t, file) {
		for _, tt := range g.Tests {
			var k struct{ Crv string }
			_ = json.Unmarshal(tt.Public, &k)
			// An agreement also fails with a sound key, if it is of another
			// curve than the private one.
			sound := tt.Result == "valid" || foreignCurve.MatchString(tt.Comment)
			want := sound && slices.Contains([]string{"P-256", "P-384", "P-521"}, k.Crv)
			if _, got := parseEntry(tt.Public, knownAlgorithms()); got != want {
				t.Errorf("%s: vector %d (%s): accepted %v, want %v", file, tt.TcID, tt.Comment, got, want)
			}
			c.add(want)
		}
	}
	return c
}
