package verify

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// now is when the tests' tokens are judged, one minute into their life.
var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// goodClaims has the claims of Kibo's genuine tokens, with invented values.
const goodClaims = `{` +
	`"iss":"https://www.kibocommerce.com","aud":"https://www.kibocommerce.com",` +
	`"sub":"0123456789abcdef0123456789abcdef","unique_name":"0123456789abcdef0123456789abcdef",` +
	`"sid":"fedcba9876543210fedcba9876543210",` +
	`"iat":1772366340,"nbf":1772366340,"exp":1772368200,` +
	`"https://www.kibocommerce.com/app_claims":{"ssl":"1","uc":"0","rnd":1,"bv":[31,4194304],"exp":"2026-03-01T12:30:00"},` +
	`"https://www.kibocommerce.com/user_claims":{"rnd":-5,"anon":"0","uid":"0123456789abcdef0123456789abcdef",` +
	`"bv":[31,4194304],"env":"dev10","exp":"2026-03-01T12:14:00","st":"Shopper",` +
	`"b.TenantId":"12345","b.SiteId":"67890","b.AccountId":"1007",` +
	`"b.UserFirstName":"Zoë","b.UserLastName":"O'Neil","b._sess_":"{\"i\":\"1\"}"}}`

var (
	secret  = []byte("0123456789abcdef0123456789abcdef-hmac")
	rsaKey  = sync.OnceValue(func() *rsa.PrivateKey { return must(rsa.GenerateKey(rand.Reader, 2048)) })
	rsaKey2 = sync.OnceValue(func() *rsa.PrivateKey { return must(rsa.GenerateKey(rand.Reader, 2048)) })
	ecKey   = sync.OnceValue(func() *ecdsa.PrivateKey { return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)) })
	p384Key = sync.OnceValue(func() *ecdsa.PrivateKey { return must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader)) })
	// edKey is the same in every process, as the workers of a fuzz test need.
	edKey = sync.OnceValue(func() ed25519.PrivateKey { return ed25519.NewKeyFromSeed(secret[:ed25519.SeedSize]) })
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func b64(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

// sign makes a token of two JSON texts, whatever they say.
func sign(alg string, key any, header, claims string) string {
	signed := b64(header) + "." + b64(claims)
	sig := must(jwt.GetSigningMethod(alg).Sign(signed, key))
	return signed + "." + base64.RawURLEncoding.EncodeToString(sig)
}

// good makes a valid token; kid may be empty.
func good(alg string, key any, kid string) string {
	return sign(alg, key, goodHeader(alg, kid), goodClaims)
}

func goodHeader(alg, kid string) string {
	if kid == "" {
		return `{"alg":"` + alg + `","typ":"JWT"}`
	}
	return `{"alg":"` + alg + `","typ":"JWT","kid":"` + kid + `"}`
}

// swap replaces text that must be there.
func swap(t testing.TB, s, old, new string) string {
	t.Helper()
	if !strings.Contains(s, old) {
		t.Fatalf("%q does not occur in %s", old, s)
	}
	return strings.Replace(s, old, new, 1)
}

func pemOf(key crypto.PublicKey) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: must(x509.MarshalPKIXPublicKey(key))})
}

func newVerifier(t testing.TB, c Config) *Verifier {
	t.Helper()
	v, err := New(c)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	t.Cleanup(v.Close)
	return v
}

// entry makes a keyset entry of a public key; more overwrites or adds members.
func entry(pub crypto.PublicKey, kid string, more object) object {
	o := object{"kid": kid, "use": "sig"}
	enc := base64.RawURLEncoding.EncodeToString
	switch k := pub.(type) {
	case *rsa.PublicKey:
		o["kty"], o["n"], o["e"] = "RSA", enc(k.N.Bytes()), "AQAB"
	case *ecdsa.PublicKey:
		point := must(k.Bytes())[1:]
		o["kty"], o["crv"] = "EC", k.Curve.Params().Name
		o["x"], o["y"] = enc(point[:len(point)/2]), enc(point[len(point)/2:])
	case ed25519.PublicKey:
		o["kty"], o["crv"], o["x"] = "OKP", "Ed25519", enc(k)
	}
	for name, v := range more {
		o[name] = v
	}
	return o
}

func setOf(entries ...any) string {
	return string(must(json.Marshal(object{"keys": entries})))
}
