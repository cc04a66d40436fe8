package verify

import (
	"encoding/base64"
	"encoding/json"
	"io/fs"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/c2sp/wycheproof"
)

// A family is some files of Wycheproof's, by pattern, and what is done with
// them: either they are run, or it is said why they say nothing about us.
type family struct {
	glob  string
	files int
	run   func(t *testing.T, file string) tally
	want  tally // of all files of the family together
	why   string
}

// A tally counts vectors by what became of them.
type tally struct{ accepted, refused int }

func (c *tally) add(accepted bool) {
	if accepted {
		c.accepted++
	} else {
		c.refused++
	}
}

var families = []family{
	{glob: "json_web_signature_test.json", files: 1, run: runJWS, want: tally{36, 365}},
	{glob: "json_web_key_test.json", files: 1, run: runJWS, want: tally{7, 19}},
	{glob: "json_web_crypto_test.json", files: 1, run: runJWS, want: tally{6, 77}},
	{glob: "json_web_encryption_test.json", files: 1, run: runJWE, want: tally{0, 139}},
	{glob: "ecdh_*_webcrypto_test.json", files: 4, run: runKeys, want: tally{1745, 553}},
	{glob: "x*_jwk_test.json", files: 2, run: runKeys, want: tally{6, 1048}},
	{glob: "ecdsa_*_test.json", files: 73, run: runSignatures, want: tally{597, 29306}},
	{glob: "ed25519_test.json", files: 1, run: runSignatures, want: tally{88, 63}},
	{glob: "ed448_test.json", files: 1, run: runSignatures, want: tally{0, 87}},
	{glob: "rsa_signature_*_test.json", files: 24, run: runSignatures, want: tally{89, 6113}},
	{glob: "rsa_pkcs1_*_sig_gen_test.json", files: 5, run: runSignatures, want: tally{77, 81}},
	{glob: "rsa_pss_*_test.json", files: 26, run: runSignatures, want: tally{514, 2983}},
	{glob: "dsa_*_test.json", files: 8, run: runSignatures, want: tally{0, 1956}},
	{glob: "hmac_*_test.json", files: 12, run: runMACs, want: tally{90, 1990}},

	{glob: "a*cbc_hs*_test.json", files: 3, why: "encryption (of JWE): refused as a token, see json_web_encryption"},
	{glob: "aead_*_test.json", files: 1, why: "encryption"},
	{glob: "aegis*_test.json", files: 3, why: "encryption"},
	{glob: "aes_*_test.json", files: 33, why: "encryption, key wrapping, and MACs that JWA does not have"},
	{glob: "aria_*_test.json", files: 6, why: "encryption, and MACs that JWA does not have"},
	{glob: "ascon*_test.json", files: 4, why: "encryption"},
	{glob: "bls_*_test.json", files: 4, why: "signatures that JWA does not have; their keys have no PEM or JWK form here"},
	{glob: "c2sp_*_test.json", files: 2, why: "encryption"},
	{glob: "camellia_*_test.json", files: 4, why: "encryption, and MACs that JWA does not have"},
	{glob: "chacha20_*_test.json", files: 1, why: "encryption"},
	{glob: "ec_prime_order_curves_test.json", files: 1, why: "lists parameters of curves: there is nothing to verify"},
	{glob: "ecdh_brainpool*_test.json", files: 5, why: "key agreement"},
	{glob: "ecdh_sec*1_test.json", files: 11, why: "key agreement, keys in DER"},
	{glob: "ecdh_*_ecpoint_test.json", files: 4, why: "key agreement, keys as bare points"},
	{glob: "ecdh_*_pem_test.json", files: 4, why: "key agreement: validity is that of the agreement, not of the key"},
	{glob: "hkdf_*_test.json", files: 4, why: "key derivation"},
	{glob: "kmac*_test.json", files: 2, why: "a MAC that JWA does not have"},
	{glob: "mldsa_*_test.json", files: 9, why: "signatures without an algorithm name of ours, keys without PEM or JWK here"},
	{glob: "mlkem_*_test.json", files: 12, why: "key encapsulation"},
	{glob: "morus*_test.json", files: 2, why: "encryption"},
	{glob: "pbes2_*_test.json", files: 15, why: "encryption by password"},
	{glob: "pbkdf2_*_test.json", files: 5, why: "key derivation"},
	{glob: "primality_test.json", files: 1, why: "primality: we make no keys"},
	{glob: "rsa_oaep_*_test.json", files: 22, why: "encryption"},
	{glob: "rsa_pkcs1_[0-9][0-9][0-9][0-9]_test.json", files: 3, why: "decryption"},
	{glob: "rsa_three_primes_*_test.json", files: 3, why: "decryption"},
	{glob: "seed_*_test.json", files: 3, why: "encryption"},
	{glob: "siphash*_test.json", files: 5, why: "a MAC that JWA does not have"},
	{glob: "sm4_*_test.json", files: 2, why: "encryption"},
	{glob: "vmac_*_test.json", files: 2, why: "a MAC that JWA does not have"},
	{glob: "x*_asn_test.json", files: 2, why: "key agreement, keys in DER"},
	{glob: "x*_pem_test.json", files: 2, why: "key agreement; keys of these curves are refused, see the JWK files"},
	{glob: "x25519_test.json", files: 1, why: "key agreement"},
	{glob: "x448_test.json", files: 1, why: "key agreement"},
	{glob: "xchacha20_*_test.json", files: 1, why: "encryption"},
}

// TestWycheproof runs every file that can say anything about a token, its
// signature or its key, and counts. A file that a newer Wycheproof brings
// fails the test until it is in the table.
func TestWycheproof(t *testing.T) {
	files := must(fs.Glob(wycheproof.TestVectors, "*"))
	for _, name := range files {
		n := 0
		for _, f := range families {
			if ok, _ := path.Match(f.glob, name); ok {
				n++
			}
		}
		if n != 1 {
			t.Errorf("%s is in %d families, want exactly one", name, n)
		}
	}
	for _, f := range families {
		t.Run(f.glob, func(t *testing.T) { f.check(t) })
	}
}

func (f family) check(t *testing.T) {
	names := must(fs.Glob(wycheproof.TestVectors, f.glob))
	if len(names) != f.files {
		t.Errorf("%d files, want %d: look at the new ones", len(names), f.files)
	}
	if (f.run == nil) == (f.why == "") {
		t.Fatal("a family is run, or it is said why not")
	}
	var got tally
	for _, name := range names {
		if f.run != nil {
			c := f.run(t, name)
			got.accepted += c.accepted
			got.refused += c.refused
		}
	}
	if got != f.want {
		t.Errorf("accepted and refused %v vectors, want %v", got, f.want)
	}
}

func readVectors(t *testing.T, name string, to any) {
	t.Helper()
	if err := json.Unmarshal(must(fs.ReadFile(wycheproof.TestVectors, name)), to); err != nil {
		t.Fatal(err)
	}
}

// departures are the vectors that we judge differently from Wycheproof, with
// the reason. Whatever is not here must be judged the same.
var departures = map[string]map[int]string{
	"json_web_signature_test.json": {
		259: "empty payload", 264: "empty payload", 268: "empty payload",
		272: "empty payload", 320: "empty payload", 325: "empty payload",
		346: "the key says PS256, the token PS384", 350: "the key says PS256, the token PS384",
		347: "the key's alg is the misprint ES521", 351: "the key's alg is the misprint ES521",
		372: "a character outside the alphabet", 373: "a character outside the alphabet",
		// The same text under the same key is valid in vector 357: both have
		// lost the padding that they are named for.
		367: "is valid", 370: "is valid",
	},
	"json_web_key_test.json": {
		1: "a mixed set: symmetric and public keys are judged apart",
		7: "a key generator's flaw is for who publishes the key to find",
	},
	"json_web_crypto_test.json": {
		46: "a key generator's flaw is for who publishes the key to find",
		47: "a mixed set: symmetric and public keys are judged apart",
		50: "encrypted", 67: "encrypted",
	},
}

// runJWS judges tokens as Verify does, but for the claims, which the vectors
// do not have: their payloads are texts such as "foo". Symmetric and public
// keys are judged apart, as no mode has both.
func runJWS(t *testing.T, file string) (c tally) {
	var v struct {
		TestGroups []struct {
			Public, Private json.RawMessage
			Tests           []struct {
				TcID    int             `json:"tcId"`
				Comment string          `json:"comment"`
				JWS     json.RawMessage `json:"jws"`
				JWE     json.RawMessage `json:"jwe"`
				Result  string          `json:"result"`
			}
		}
	}
	readVectors(t, file, &v)
	for _, g := range v.TestGroups {
		keys := publishedKeys(g.Public, g.Private)
		for _, tt := range g.Tests {
			text := append(tt.JWS, tt.JWE...) // it has one of both
			raw := string(text)               // some are JSON objects: not compact, so refused
			_ = json.Unmarshal(text, &raw)
			accepted := verifyJWS(raw, keys, symmetric) == nil || verifyJWS(raw, keys, asymmetric()) == nil
			why := departures[file][tt.TcID]
			if agree := accepted == (tt.Result == "valid"); agree != (why == "") {
				t.Errorf("vector %d (%s) is %s: accepted %v; departure: %q", tt.TcID, tt.Comment, tt.Result, accepted, why)
			}
			c.add(accepted)
		}
	}
	return c
}

var symmetric = []string{"HS256", "HS384", "HS512"}

func asymmetric() []string {
	return slices.DeleteFunc(knownAlgorithms(), func(a string) bool { return strings.HasPrefix(a, "HS") })
}

// publishedKeys reads one key or a set, and drops what a published key would
// not have, without touching what the vectors are about.
func publishedKeys(public, private json.RawMessage) (keys []object) {
	if public == nil {
		public = private
	}
	var o object
	_ = json.Unmarshal(public, &o)
	list, isSet := o["keys"].([]any)
	if !isSet {
		list = []any{o}
	}
	for _, k := range list {
		k := k.(object)
		for _, name := range []string{"d", "p", "q", "dp", "dq", "qi"} {
			delete(k, name)
		}
		keys = append(keys, k)
	}
	return keys
}

// verifyJWS is all of the path of Verify but the claims.
func verifyJWS(raw string, keys []object, algs []string) error {
	tok, err := splitToken(raw)
	if err != nil {
		return err
	}
	h, err := readHeader(tok.header, algs)
	if err != nil {
		return err
	}
	var set []key
	for _, k := range keys {
		if k, ok := vectorKey(k, algs); ok {
			set = append(set, k)
		}
	}
	values, _ := newKeyset(dropAmbiguous(set)).lookup(h.alg, h.kid)
	return verifySignature(tok, h.alg, values)
}

// vectorKey reads a JWK. A symmetric one, which a published set may not hold,
// takes the way of a configured secret, but keeps its id.
func vectorKey(o object, algs []string) (key, bool) {
	if o["kty"] != "oct" {
		return parseEntry(must(json.Marshal(o)), algs)
	}
	alg, _ := o["alg"].(string)
	if !slices.Contains(common(algs, symmetric), alg) {
		return key{}, false
	}
	text, _ := o["k"].(string)
	id, _ := o["kid"].(string)
	k, err := newHMACKeys([][]byte{must(base64.RawURLEncoding.DecodeString(text))}, []string{alg})
	if err != nil {
		return key{}, false
	}
	return key{id: id, algs: k.keys[0].algs, value: k.keys[0].value}, true
}

// runJWE gives encrypted tokens to every mode. Nothing of ours decrypts, so
// that the good ones are refused as well (RFC 8725 §2.3, §3.2).
func runJWE(t *testing.T, file string) (c tally) {
	var v struct {
		TestGroups []struct {
			Tests []struct {
				TcID int             `json:"tcId"`
				JWE  json.RawMessage `json:"jwe"`
			}
		}
	}
	readVectors(t, file, &v)
	all := signers()
	for _, g := range v.TestGroups {
		for _, tt := range g.Tests {
			raw := string(tt.JWE)
			_ = json.Unmarshal(tt.JWE, &raw)
			for _, s := range all {
				refuse(t, newVerifier(t, s.config), raw)
			}
			c.add(false)
		}
	}
	return c
}
