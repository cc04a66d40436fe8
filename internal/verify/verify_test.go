package verify

import (
	"crypto/rsa"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// signer is one way to sign, with the Config that trusts it.
type signer struct {
	name, alg string
	key       any
	config    Config
}

func signers() []signer {
	return []signer{
		{"direct", "HS256", []byte("a key that only Kibo knows"), Config{}},
		{"hmac", "HS256", secret, Config{HMACKeys: [][]byte{secret}}},
		{"rsa", "RS256", rsaKey(), Config{PublicKeys: [][]byte{pemOf(&rsaKey().PublicKey)}}},
		{"ec", "ES256", ecKey(), Config{PublicKeys: [][]byte{pemOf(&ecKey().PublicKey)}}},
		{"ed25519", "EdDSA", edKey(), Config{PublicKeys: [][]byte{pemOf(edKey().Public())}}},
	}
}

// modes are all ways to sign and to be trusted, a published keyset among them.
func modes(t *testing.T) []signer {
	keys := newEndpoint(t, setOf(entry(&rsaKey().PublicKey, "r", nil), entry(&ecKey().PublicKey, "e", nil)))
	return append(signers(), signer{"jwks", "RS256", rsaKey(), Config{JWKSURL: keys.URL}})
}

func TestGoodToken(t *testing.T) {
	want := Claims{
		Subject:   "0123456789abcdef0123456789abcdef",
		UserID:    "0123456789abcdef0123456789abcdef",
		AccountID: "1007", Tenant: "12345", Site: "67890",
		FirstName: "Zoë", LastName: "O'Neil", SessionID: "fedcba9876543210fedcba9876543210",
		IssuedAt: now.Add(-time.Minute), Expires: now.Add(14 * time.Minute),
	}
	for _, s := range signers() {
		t.Run(s.name, func(t *testing.T) {
			s.config.Tenant, s.config.Site = "12345", "67890"
			v := newVerifier(t, s.config)
			got, err := v.Verify(t.Context(), good(s.alg, s.key, ""), now)
			if err != nil {
				t.Fatalf("Verify: %v", err)
			}
			if *got != want {
				t.Errorf("claims are\n%+v, want\n%+v", *got, want)
			}
			if wantSigns := s.name != "direct"; v.Signs() != wantSigns {
				t.Errorf("Signs() = %v, want %v", v.Signs(), wantSigns)
			}
		})
	}
}

// A refusal of these would lock out customers.
func TestAcceptedVariations(t *testing.T) {
	const user = `"https://www.kibocommerce.com/user_claims":{`
	tests := []struct {
		name, header string
		old, new     string
	}{
		{"no typ", `{"alg":"HS256"}`, "", ""},
		{"typ at+jwt", `{"alg":"HS256","typ":"at+JWT"}`, "", ""},
		{"kid that names no configured key", `{"alg":"HS256","kid":"x"}`, "", ""},
		{"blanks in the header", "{ \"alg\" :\n\"HS256\" }", "", ""},
		{"aud as list", "", `"aud":"https://www.kibocommerce.com"`, `"aud":["other","https://www.kibocommerce.com"]`},
		{"no iat, no nbf", "", `"iat":1772366340,"nbf":1772366340,`, ``},
		{"fractional exp", "", `"exp":1772368200,`, `"exp":1772368200.75,`},
		{"exp with exponent", "", `"exp":1772368200,`, `"exp":1.7723682e9,`},
		{"expired within the leeway", "", `"exp":1772368200,`, `"exp":1772366371,`},
		{"nbf ahead within the leeway", "", `"nbf":1772366340`, `"nbf":1772366430`},
		{"inner exp with Z", "", `12:14:00"`, `12:14:00Z"`},
		{"inner exp with fraction", "", `12:14:00"`, `12:14:00.123"`},
		{"inner exp absent", "", `"exp":"2026-03-01T12:14:00",`, ``},
		{"ids as numbers", "", `"b.TenantId":"12345","b.SiteId":"67890","b.AccountId":"1007"`, `"b.TenantId":12345,"b.SiteId":67890,"b.AccountId":1007`},
		{"anon as number", "", `"anon":"0"`, `"anon":0`},
		{"anon absent", "", `"anon":"0",`, ``},
		{"st absent", "", `"st":"Shopper",`, ``},
		{"no names", "", `"b.UserFirstName":"Zoë","b.UserLastName":"O'Neil",`, `"b.UserFirstName":null,`},
		{"unknown claims", "", user, user + `"new":[{"a":null}],`},
		{"20 levels", "", user, user + `"deep":` + strings.Repeat("[", 18) + strings.Repeat("]", 18) + `,`},
	}
	v := newVerifier(t, Config{HMACKeys: [][]byte{[]byte("another, still valid key of rotation"), secret}})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			header, claims := tt.header, goodClaims
			if header == "" {
				header = goodHeader("HS256", "")
			}
			if tt.old != "" {
				claims = swap(t, claims, tt.old, tt.new)
			}
			if _, err := v.Verify(t.Context(), sign("HS256", secret, header, claims), now); err != nil {
				t.Errorf("Verify: %v, want accepted", err)
			}
		})
	}
}

func TestExpiresIsTheEarlierOfBoth(t *testing.T) {
	tests := []struct {
		name, old, new string
		want           time.Time
	}{
		{"inner earlier", `12:14:00"`, `12:05:00"`, now.Add(5 * time.Minute)},
		{"outer earlier", `"exp":1772368200,`, `"exp":1772366460,`, now.Add(time.Minute)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			claims := swap(t, goodClaims, tt.old, tt.new)
			got, err := newVerifier(t, Config{}).Verify(t.Context(), sign("HS256", secret, goodHeader("HS256", ""), claims), now)
			if err != nil {
				t.Fatalf("Verify: %v", err)
			}
			if !got.Expires.Equal(tt.want) {
				t.Errorf("Expires = %s, want %s", got.Expires, tt.want)
			}
		})
	}
}

// The times at which a verdict changes, to the second.
func TestLeewayBoundaries(t *testing.T) {
	v := newVerifier(t, Config{Leeway: 10 * time.Second})
	token := good("HS256", secret, "")
	tests := []struct {
		at   time.Time
		want error
	}{
		{now.Add(-time.Minute - 10*time.Second), nil},
		{now.Add(-time.Minute - 11*time.Second), ErrInvalid},
		{now.Add(14*time.Minute + 9*time.Second), nil},
		{now.Add(14*time.Minute + 10*time.Second), ErrInvalid},
	}
	for _, tt := range tests {
		if _, err := v.Verify(t.Context(), token, tt.at); !errors.Is(err, tt.want) {
			t.Errorf("at %s: %v, want %v", tt.at, err, tt.want)
		}
	}
}

func TestSignatureAttacks(t *testing.T) {
	rsaConfig := Config{PublicKeys: [][]byte{pemOf(&rsaKey().PublicKey)}}
	psConfig := Config{Algorithms: []string{"PS256"}, PublicKeys: rsaConfig.PublicKeys}
	oddSalt := &jwt.SigningMethodRSAPSS{
		SigningMethodRSA: jwt.SigningMethodPS256.SigningMethodRSA,
		Options:          &rsa.PSSOptions{SaltLength: 20},
	}
	signed := b64(goodHeader("PS256", "")) + "." + b64(goodClaims)
	odd := signed + "." + b64(string(must(oddSalt.Sign(signed, rsaKey()))))

	tests := []struct {
		name, token string
		config      Config
	}{
		{"another RSA key", good("RS256", rsaKey2(), ""), rsaConfig},
		{"RS384 with an RS256 key", good("RS384", rsaKey(), ""), rsaConfig},
		{"RS512 with an RS256 key", good("RS512", rsaKey(), ""), rsaConfig},
		{"PS256 with an RS256 key", good("PS256", rsaKey(), ""), rsaConfig},
		{"RS256 with PS256 configured", good("RS256", rsaKey(), ""), psConfig},
		{"PSS salt of odd length", odd, psConfig},
		{"ES256 header on an RSA key", sign("RS256", rsaKey(), goodHeader("ES256", ""), goodClaims), rsaConfig},
		{"EC token, RSA key", good("ES256", ecKey(), ""), rsaConfig},
		{"HS384 with HS256 configured", good("HS384", secret, ""), Config{HMACKeys: [][]byte{secret}}},
		{"HMAC with another secret", good("HS256", secret[1:], ""), Config{HMACKeys: [][]byte{secret}}},
		{"HMAC with an empty secret", good("HS256", []byte{}, ""), Config{HMACKeys: [][]byte{secret}}},
		{"embedded key in jwk", sign("RS256", rsaKey2(), `{"alg":"RS256","jwk":{"kty":"RSA","e":"AQAB","n":"`+
			entry(&rsaKey2().PublicKey, "", nil)["n"].(string)+`"}}`, goodClaims), rsaConfig},
		{"key behind jku", sign("RS256", rsaKey2(), `{"alg":"RS256","jku":"http://127.0.0.1:1/keys"}`, goodClaims), rsaConfig},
		{"key behind x5u", sign("RS256", rsaKey2(), `{"alg":"RS256","x5u":"http://127.0.0.1:1/keys"}`, goodClaims), rsaConfig},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			refuse(t, newVerifier(t, tt.config), tt.token)
		})
	}
}

// refuse fails unless the token is refused, with nothing of it in the error.
func refuse(t *testing.T, v *Verifier, token string) {
	t.Helper()
	got, err := v.Verify(t.Context(), token, now)
	if !errors.Is(err, ErrInvalid) || got != nil {
		t.Fatalf("Verify = %v, %v, want refusal", got, err)
	}
	for _, private := range []string{"0123456789abcdef", "1007", "Neil", "eyJ"} {
		if strings.Contains(err.Error(), private) {
			t.Errorf("error %q repeats %q of the token", err, private)
		}
	}
}

func TestDirectModeRestrictsToPinnedAlgorithms(t *testing.T) {
	v := newVerifier(t, Config{Algorithms: []string{"RS256"}})
	refuse(t, v, good("HS256", secret, ""))
	if _, err := v.Verify(t.Context(), good("RS256", rsaKey(), ""), now); err != nil {
		t.Errorf("RS256: %v, want accepted", err)
	}
}

func TestStamp(t *testing.T) {
	stamp := func(c Config) uint64 { return newVerifier(t, c).Stamp() }
	other := []byte(strings.Repeat("k", 32))
	base := Config{HMACKeys: [][]byte{secret}}
	if stamp(base) != stamp(Config{HMACKeys: [][]byte{secret}, Algorithms: []string{"HS256"}, Issuer: DefaultIssuer}) {
		t.Error("equal policies have different stamps")
	}
	if stamp(Config{HMACKeys: [][]byte{secret, other}}) != stamp(Config{HMACKeys: [][]byte{other, secret}}) {
		t.Error("the order of the keys changes the stamp")
	}
	if stamp(Config{Algorithms: []string{"RS256", "ES256"}}) != stamp(Config{Algorithms: []string{"ES256", "RS256", "ES256"}}) {
		t.Error("the order of the algorithms changes the stamp")
	}
	seen := map[uint64]string{0: "zero"}
	for name, c := range map[string]Config{
		"direct":     {},
		"hmac":       base,
		"other key":  {HMACKeys: [][]byte{other}},
		"both keys":  {HMACKeys: [][]byte{secret, other}},
		"issuer":     {Issuer: "x"},
		"audience":   {Audience: "x"},
		"tenant":     {Tenant: "1"},
		"site":       {Site: "1"},
		"leeway":     {Leeway: time.Second},
		"algorithms": {Algorithms: []string{"RS256"}},
		"public key": {PublicKeys: [][]byte{pemOf(&ecKey().PublicKey)}},
		"jwks":       {JWKSURL: "https://keys.example/a"},
		"jwks b":     {JWKSURL: "https://keys.example/b"},
	} {
		s := stamp(c)
		if with, ok := seen[s]; ok {
			t.Errorf("%s has the stamp of %s", name, with)
		}
		seen[s] = name
	}
}
