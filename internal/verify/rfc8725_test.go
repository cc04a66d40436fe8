package verify

import (
	"bytes"
	"compress/flate"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"
)

// A practice is a section of RFC 8725 (JSON Web Token Best Current Practices)
// with tokens that whoever heeds it refuses.
type practice struct {
	section string
	tokens  map[string]string
	// config judges them. Default: every mode that checks signatures.
	config *Config
	// weak are configurations that must not come about at all.
	weak map[string]Config
}

// practices are all sections with a threat (2) or a practice (3), and what the
// RFC's authors have since added in the draft of its successor
// (draft-ietf-oauth-rfc8725bis).
func practices(t *testing.T) []practice {
	ec, other := &Config{PublicKeys: [][]byte{pemOf(&ecKey().PublicKey)}}, rsaKey2()
	stranger := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	hmac := func(header, claims string) string { return sign("HS256", secret, header, claims) }
	changed := func(old, new string) string { return hmac(goodHeader("HS256", ""), swap(t, goodClaims, old, new)) }
	const (
		iss = `"iss":"https://www.kibocommerce.com"`
		aud = `"aud":"https://www.kibocommerce.com"`
		sub = `"sub":"0123456789abcdef0123456789abcdef"`
		uid = `"uid":"0123456789abcdef0123456789abcdef"`
		st  = `"st":"Shopper"`
	)
	return []practice{
		{section: "2.1 weak signatures and insufficient signature validation", tokens: map[string]string{
			"alg none":                unsigned(`{"alg":"none"}`, ""),
			"RS256 changed to HS256":  good("HS256", pemOf(&rsaKey().PublicKey), ""),
			"signature left out":      cutSignature(good("RS256", rsaKey(), "")),
			"signature of other text": unsigned(goodHeader("RS256", ""), lastSegment(sign("RS256", rsaKey(), goodHeader("RS256", ""), "{}"))),
		}},
		{
			section: "2.2 weak symmetric keys",
			tokens: map[string]string{
				"secret":   good("HS256", []byte("secret"), ""),
				"password": good("HS256", []byte("password"), ""),
				"empty":    good("HS256", []byte{}, ""),
				"zeros":    good("HS256", make([]byte, 32), ""),
				"from the RFC's own example of a JWT": good("HS256", must(base64.RawURLEncoding.DecodeString(
					"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow")), ""),
			},
			weak: map[string]Config{
				"human memorable": {HMACKeys: [][]byte{[]byte("correct horse battery staple")}},
				"31 bytes":        {HMACKeys: [][]byte{secret[:31]}},
				"too short for HS512": {
					HMACKeys: [][]byte{secret}, Algorithms: []string{"HS512"},
				},
			},
		},
		{section: "2.3 incorrect composition of encryption and signature", tokens: map[string]string{
			"JWE of a signed token, direct key":  jwe(`{"alg":"dir","enc":"A256GCM","cty":"JWT"}`, good("RS256", rsaKey(), "")),
			"JWE to the public key":              jwe(`{"alg":"RSA-OAEP-256","enc":"A256GCM"}`, goodClaims),
			"JWE header on three segments":       unsigned(`{"alg":"RSA-OAEP","enc":"A128GCM"}`, "AAAA"),
			"signed token around a signed token": sign("RS256", rsaKey(), `{"alg":"RS256","cty":"JWT"}`, `"`+good("RS256", rsaKey(), "")+`"`),
		}},
		{section: "2.4 plaintext leakage through the length of the ciphertext (JWE only)", tokens: map[string]string{
			"JWE with compression": jwe(`{"alg":"dir","enc":"A128CBC-HS256","zip":"DEF"}`, deflated(goodClaims)),
			"zip on a signature":   sign("RS256", rsaKey(), `{"alg":"RS256","zip":"DEF"}`, goodClaims),
			"claims compressed":    sign("RS256", rsaKey(), goodHeader("RS256", ""), deflated(goodClaims)),
		}},
		{
			section: "2.5 insecure use of elliptic curve encryption (JWE only)",
			tokens: map[string]string{
				"ECDH-ES":               jwe(`{"alg":"ECDH-ES","enc":"A128GCM","epk":`+offCurve()+`}`, goodClaims),
				"epk on a signature":    sign("RS256", rsaKey2(), `{"alg":"RS256","epk":`+offCurve()+`}`, goodClaims),
				"key off its own curve": sign("ES256", stranger, `{"alg":"ES256","jwk":`+offCurve()+`}`, goodClaims),
			},
			config: ec,
		},
		{section: "2.6 multiplicity of JSON encodings", tokens: map[string]string{
			"header in UTF-16":       sign("RS256", rsaKey(), utf16(goodHeader("RS256", "")), goodClaims),
			"header in UTF-32":       sign("RS256", rsaKey(), utf32(goodHeader("RS256", "")), goodClaims),
			"claims in UTF-16":       sign("RS256", rsaKey(), goodHeader("RS256", ""), utf16(goodClaims)),
			"claims in UTF-32":       sign("RS256", rsaKey(), goodHeader("RS256", ""), utf32(goodClaims)),
			"claims in Latin-1":      sign("RS256", rsaKey(), goodHeader("RS256", ""), swap(t, goodClaims, "ë", "\xeb")),
			"byte order mark":        sign("RS256", rsaKey(), goodHeader("RS256", ""), "\ufeff"+goodClaims),
			"half a surrogate, raw":  sign("RS256", rsaKey(), goodHeader("RS256", ""), swap(t, goodClaims, "ë", "\xed\xa0\x80")),
			"same name by escape":    sign("RS256", rsaKey(), goodHeader("RS256", ""), swap(t, goodClaims, iss, iss+`,"\u0069ss":"x"`)),
			"overlong encoding":      sign("RS256", rsaKey(), goodHeader("RS256", ""), swap(t, goodClaims, "ë", "\xc1\xa5")),
			"JSON, not compact form": `{"payload":"` + b64(goodClaims) + `","protected":"` + b64(goodHeader("RS256", "")) + `","signature":"AAAA"}`,
		}},
		{section: "2.7 substitution attacks", config: &Config{HMACKeys: [][]byte{secret}, Tenant: "12345", Site: "67890"}, tokens: map[string]string{
			"for another audience":      changed(aud, `"aud":"https://other.example"`),
			"of another tenant":         changed(`"b.TenantId":"12345"`, `"b.TenantId":"54321"`),
			"of another site":           changed(`"b.SiteId":"67890"`, `"b.SiteId":"9"`),
			"no audience":               changed(aud+",", ``),
			"audience hidden in a list": changed(aud, `"aud":[["https://www.kibocommerce.com"]]`),
		}},
		{section: "2.8 cross-JWT confusion", tokens: confusedTypes(t)},
		{section: "2.9 indirect attacks on the server", tokens: map[string]string{
			"jku":             sign("RS256", other, `{"alg":"RS256","jku":"http://169.254.169.254/latest/meta-data"}`, goodClaims),
			"x5u":             sign("RS256", other, `{"alg":"RS256","x5u":"http://127.0.0.1:2019/config/"}`, goodClaims),
			"kid as a path":   good("HS256", []byte{}, "../../../../../dev/null"),
			"kid as SQL":      good("HS256", []byte("1"), "' UNION SELECT '1"),
			"kid as LDAP":     good("RS256", other, "*)(uid=*))(|(uid=*"),
			"kid as command":  good("RS256", other, "|/usr/bin/id"),
			"kid as template": good("RS256", other, "{{.}}${7*7}%{7*7}{env.HOME}"),
		}},
		{section: "3.1 perform algorithm verification", tokens: map[string]string{
			"RS384, not configured":      good("RS384", rsaKey(), ""),
			"PS256, not configured":      good("PS256", rsaKey(), ""),
			"HS384, not configured":      good("HS384", secret, ""),
			"ES256 said, RS256 signed":   sign("RS256", rsaKey(), goodHeader("ES256", ""), goodClaims),
			"the name in lower case":     sign("RS256", rsaKey(), goodHeader("rs256", ""), goodClaims),
			"several names":              sign("RS256", rsaKey(), `{"alg":["RS256","none"]}`, goodClaims),
			"another key's":              good("RS256", other, ""),
			"HS256 under the public key": good("HS256", rsaKey().N.Bytes(), ""),
		}},
		{
			section: "3.2 use appropriate algorithms",
			tokens: map[string]string{
				"none":   unsigned(`{"alg":"none"}`, "AA"),
				"HS1":    sign("HS256", secret, `{"alg":"HS1"}`, goodClaims),
				"RS1":    sign("RS256", rsaKey(), `{"alg":"RS1"}`, goodClaims),
				"MD5":    sign("RS256", rsaKey(), `{"alg":"md5"}`, goodClaims),
				"ES256K": sign("ES256", ecKey(), `{"alg":"ES256K"}`, goodClaims),
				"RSA1_5": jwe(`{"alg":"RSA1_5","enc":"A128CBC-HS256"}`, goodClaims),
			},
			weak: map[string]Config{
				"none":             {Algorithms: []string{"none"}},
				"HS beside public": {PublicKeys: ec.PublicKeys, Algorithms: []string{"ES256", "HS256"}},
				"RSA of 1024 bits": {PublicKeys: [][]byte{pemOf(&must(rsa.GenerateKey(rand.Reader, 1024)).PublicKey)}},
			},
		},
		{section: "3.3 validate all cryptographic operations", tokens: map[string]string{
			"good outside, bad inside": sign("RS256", rsaKey(), `{"alg":"RS256","cty":"JWT"}`, `"`+cutSignature(good("RS256", rsaKey(), ""))+`"`),
			"two signatures, one good": `{"payload":"` + b64(goodClaims) + `","signatures":[{"protected":"` + b64(goodHeader("RS256", "")) +
				`","signature":"` + lastSegment(good("RS256", rsaKey(), "")) + `"},{"signature":"AAAA"}]}`,
			"one bit of the claims": unsignedClaims(goodHeader("RS256", ""), swap(t, goodClaims, `"1007"`, `"1006"`), lastSegment(good("RS256", rsaKey(), ""))),
		}},
		{
			section: "3.4 validate cryptographic inputs",
			tokens: map[string]string{
				"r and s zero":         unsigned(goodHeader("ES256", ""), b64(strings.Repeat("\x00", 64))),
				"salt of PSS too long": oddSalt(),
				"r is the order":       unsigned(goodHeader("ES256", ""), b64(string(ecKey().Params().N.Bytes())+strings.Repeat("\x01", 32))),
			},
			config: &Config{Algorithms: []string{"ES256", "PS256"}, PublicKeys: [][]byte{pemOf(&ecKey().PublicKey), pemOf(&rsaKey().PublicKey)}},
			weak: map[string]Config{
				"no point of its curve": {PublicKeys: [][]byte{corruptPoint()}},
			},
		},
		{
			section: "3.5 ensure cryptographic keys have sufficient entropy",
			tokens:  map[string]string{"a guessed secret": good("HS256", []byte("changeme"), "")},
			weak: map[string]Config{
				"a password":                  {HMACKeys: [][]byte{[]byte("changeme")}},
				"a good secret and a bad one": {HMACKeys: [][]byte{secret, []byte("changeme")}},
				"nothing":                     {HMACKeys: [][]byte{nil}},
			},
		},
		{section: "3.6 avoid compression of encryption inputs", tokens: map[string]string{
			"zip DEF":          sign("RS256", rsaKey(), `{"alg":"RS256","zip":"DEF"}`, deflated(goodClaims)),
			"zip null":         sign("RS256", rsaKey(), `{"alg":"RS256","zip":null}`, goodClaims),
			"JWE zip DEF":      jwe(`{"alg":"dir","enc":"A256GCM","zip":"DEF"}`, deflated(goodClaims)),
			"compressed quiet": sign("RS256", rsaKey(), goodHeader("RS256", ""), deflated(goodClaims)),
		}},
		{section: "3.7 use UTF-8", tokens: map[string]string{
			"invalid in the header": sign("RS256", rsaKey(), `{"alg":"RS256","x":"`+"\xff"+`"}`, goodClaims),
			"invalid in the claims": sign("RS256", rsaKey(), goodHeader("RS256", ""), swap(t, goodClaims, "Zoë", "Zo\xff")),
			"UTF-16 in the claims":  sign("RS256", rsaKey(), goodHeader("RS256", ""), utf16(goodClaims)),
		}},
		{section: "3.8 validate issuer and subject", config: &Config{HMACKeys: [][]byte{secret}}, tokens: map[string]string{
			"another issuer":           changed(iss, `"iss":"https://evil.example"`),
			"no issuer":                changed(iss+",", ``),
			"issuer's look-alike":      changed(iss, `"iss":"https://www.kibocommerce.com/"`),
			"no subject":               changed(sub+",", ``),
			"subject is somebody else": changed(sub, `"sub":"ffffffffffffffffffffffffffffffff"`),
			"subject is nobody":        hmac(goodHeader("HS256", ""), swap(t, swap(t, goodClaims, sub, `"sub":""`), uid, `"uid":""`)),
			"user is nobody":           changed(`"anon":"0"`, `"anon":"1"`),
		}},
		{section: "3.9 use and validate audience", config: &Config{HMACKeys: [][]byte{secret}}, tokens: map[string]string{
			"no audience":        changed(aud+",", ``),
			"another":            changed(aud, `"aud":"https://evil.example"`),
			"others":             changed(aud, `"aud":["https://evil.example","b"]`),
			"an empty list":      changed(aud, `"aud":[]`),
			"a prefix of ours":   changed(aud, `"aud":"https://www.kibocommerce"`),
			"an object of names": changed(aud, `"aud":{"https://www.kibocommerce.com":1}`),
		}},
		{section: "3.10 do not trust received claims", tokens: map[string]string{
			"kid with a query":        good("RS256", other, "r' OR 1=1 --"),
			"kid as a key's address":  good("RS256", other, "https://evil.example/jwks.json"),
			"jku on a list of ours":   sign("RS256", other, `{"alg":"RS256","jku":"https://www.kibocommerce.com@evil.example/k"}`, goodClaims),
			"issuer as an address":    sign("RS256", other, goodHeader("RS256", ""), swap(t, goodClaims, iss, `"iss":"https://evil.example/.well-known"`)),
			"account forges a header": sign("RS256", rsaKey(), goodHeader("RS256", ""), swap(t, goodClaims, `"1007"`, `"1007\r\nX-Admin: 1"`)),
		}},
		{section: "3.11 use explicit typing", tokens: foreignTypes()},
		{section: "3.12 mutually exclusive rules for different kinds of JWTs", config: &Config{HMACKeys: [][]byte{secret}}, tokens: map[string]string{
			"an application's own token": changed(`user_claims`, `x_claims`),
			"an administrator's":         changed(st, `"st":"Tenant"`),
			"an anonymous shopper's":     changed(`"anon":"0"`, `"anon":"1"`),
			"an ID token":                hmac(goodHeader("HS256", ""), `{`+iss+`,`+aud+`,`+sub+`,"iat":1772366340,"exp":1772368200,"nonce":"n","email":"a@b.c"}`),
			"a logout token":             hmac(goodHeader("HS256", ""), `{`+iss+`,`+aud+`,`+sub+`,"iat":1772366340,"exp":1772368200,"events":{"http://schemas.openid.net/event/backchannel-logout":{}}}`),
			"a refresh token":            hmac(goodHeader("HS256", ""), `{`+iss+`,`+aud+`,`+sub+`,"exp":1772368200,"jti":"1"}`),
		}},
		{section: "successor: confusion of signature and encryption", tokens: map[string]string{
			"encrypted to the public key":   jwe(`{"alg":"RSA-OAEP","enc":"A256GCM","typ":"JWT"}`, goodClaims),
			"encrypted under a secret":      jwe(`{"alg":"A256KW","enc":"A256GCM","typ":"JWT"}`, goodClaims),
			"four of five segments":         strings.TrimSuffix(jwe(`{"alg":"dir","enc":"A256GCM"}`, goodClaims), ".AAAA"),
			"signature's alg in five":       jwe(goodHeader("RS256", ""), goodClaims),
			"encryption's members in a JWS": sign("RS256", rsaKey2(), `{"alg":"RS256","enc":"A256GCM","tag":"AA","iv":"AA"}`, goodClaims),
		}},
		{section: "successor: too many iterations of a hash", tokens: map[string]string{
			"PBES2":                 jwe(`{"alg":"PBES2-HS512+A256KW","enc":"A256GCM","p2c":2147483647,"p2s":"AAAA"}`, goodClaims),
			"PBES2, three segments": unsigned(`{"alg":"PBES2-HS256+A128KW","p2c":1000000000,"p2s":"AAAA"}`, "AAAA"),
		}},
		{section: "successor: decompression bomb", tokens: map[string]string{
			"JWE":        jwe(`{"alg":"dir","enc":"A256GCM","zip":"DEF"}`, deflated(strings.Repeat("A", 4<<20))),
			"JWS":        sign("RS256", rsaKey(), `{"alg":"RS256","zip":"DEF"}`, deflated(strings.Repeat("A", 4<<20))),
			"JWS, quiet": sign("RS256", rsaKey(), goodHeader("RS256", ""), deflated(strings.Repeat("A", 4<<20))),
		}},
		{section: "successor: polyglot of compact and JSON form", tokens: map[string]string{
			"compact inside JSON":   `{"protected":"` + good("RS256", rsaKey2(), "") + `","payload":"` + b64(goodClaims) + `","signature":"AA"}`,
			"JSON around compact":   `{"` + good("RS256", rsaKey(), "") + `":"","payload":"` + b64(goodClaims) + `"}`,
			"good token, then more": good("RS256", rsaKey(), "") + `","payload":"` + b64(goodClaims) + `"}`,
		}},
	}
}

// TestRFC8725: every section's tokens are refused, and what it calls weak can
// not be configured.
func TestRFC8725(t *testing.T) {
	var sections []string
	for _, p := range practices(t) {
		number, _, _ := strings.Cut(p.section, " ")
		sections = append(sections, number)
		if len(p.tokens) == 0 {
			t.Errorf("%s: no tokens", p.section)
		}
		var configs []Config
		if p.config != nil {
			configs = append(configs, *p.config)
		} else {
			for _, s := range modes(t)[1:] {
				configs = append(configs, s.config)
			}
		}
		for _, c := range configs {
			v := newVerifier(t, c)
			for name, token := range p.tokens {
				t.Run(p.section+"/"+name, func(t *testing.T) { refuse(t, v, token) })
			}
		}
		for name, c := range p.weak {
			if v, err := New(c); err == nil {
				v.Close()
				t.Errorf("%s: %s can be configured", p.section, name)
			}
		}
	}
	for _, want := range strings.Fields("2.1 2.2 2.3 2.4 2.5 2.6 2.7 2.8 2.9 3.1 3.2 3.3 3.4 3.5 3.6 3.7 3.8 3.9 3.10 3.11 3.12") {
		if !slices.Contains(sections, want) {
			t.Errorf("no row for section %s", want)
		}
	}
}

// unsigned puts any text in the place of the signature.
func unsigned(header, sig string) string { return unsignedClaims(header, goodClaims, sig) }

func unsignedClaims(header, claims, sig string) string {
	return b64(header) + "." + b64(claims) + "." + sig
}

func cutSignature(token string) string { return token[:strings.LastIndexByte(token, '.')+1] }

// jwe has the form of an encrypted token (RFC 7516 §7.1); nobody will decrypt it.
func jwe(header, text string) string {
	return b64(header) + "." + b64("key") + "." + b64("iv") + "." + b64(text) + ".AAAA"
}

func deflated(s string) string {
	var b bytes.Buffer
	w := must(flate.NewWriter(&b, flate.BestCompression))
	_, _ = w.Write([]byte(s)) // a bytes.Buffer takes everything
	_ = w.Close()
	return b.String()
}

func utf16(s string) string { return wide(s, 2) }
func utf32(s string) string { return wide(s, 4) }

func wide(s string, size int) string {
	var b strings.Builder
	for _, r := range s {
		b.WriteString(strings.Repeat("\x00", size-1) + string([]byte{byte(r)}))
	}
	return b.String()
}

// offCurve is a key whose point lies on no curve of ours.
func offCurve() string {
	k := entry(&ecKey().PublicKey, "evil", nil)
	k["y"] = k["x"]
	return string(must(json.Marshal(k)))
}

// corruptPoint is the PEM of a key with one bit of its point changed.
func corruptPoint() []byte {
	text := pemOf(&ecKey().PublicKey)
	at := bytes.LastIndex(text, []byte("\n-----END")) - 8
	if text[at] == 'A' {
		text[at] = 'B'
	} else {
		text[at] = 'A'
	}
	return text
}

// oddSalt is signed with a salt that is longer than the hash.
func oddSalt() string {
	m := &jwt.SigningMethodRSAPSS{
		SigningMethodRSA: jwt.SigningMethodPS256.SigningMethodRSA,
		Options:          &rsa.PSSOptions{SaltLength: 64},
	}
	signed := b64(goodHeader("PS256", "")) + "." + b64(goodClaims)
	return signed + "." + b64(string(must(m.Sign(signed, rsaKey()))))
}

// foreignTypes are signed by the right key, and say that they are something else.
func foreignTypes() map[string]string {
	tokens := map[string]string{}
	for _, typ := range []string{
		"logout+jwt", "secevent+jwt", "dpop+jwt", "JWE", "JOSE", "JOSE+JSON", "oauth-authz-req+jwt", "token-introspection+jwt",
		"kb+jwt", "vc+sd-jwt", "passport", "client-authentication+jwt", "entity-statement+jwt", "application/logout+jwt",
		"JWT ", " JWT", "JWT\\u0000", "JWT,logout+jwt", "J", "",
	} {
		tokens[typ] = sign("RS256", rsaKey(), `{"alg":"RS256","typ":"`+typ+`"}`, goodClaims)
	}
	return tokens
}

// confusedTypes are tokens that are made for something else, by the right key.
func confusedTypes(t *testing.T) map[string]string {
	as := func(typ, old, new string) string {
		return sign("RS256", rsaKey(), `{"alg":"RS256","typ":"`+typ+`"}`, swap(t, goodClaims, old, new))
	}
	return map[string]string{
		"a security event":         as("secevent+jwt", `"st":"Shopper"`, `"events":{}`),
		"a proof of possession":    as("dpop+jwt", `"st":"Shopper"`, `"htm":"GET"`),
		"an administrator's":       as("JWT", `"st":"Shopper"`, `"st":"Tenant"`),
		"no user's, but the app's": as("JWT", `"https://www.kibocommerce.com/user_claims"`, `"https://www.kibocommerce.com/other_claims"`),
	}
}
