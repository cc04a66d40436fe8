package verify

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net/http"
	"strings"
	"testing"
)

// nones are spellings of no algorithm, as JSON text.
var nones = []string{
	"none", "None", "NONE", "nOnE", "none ", " none", "nonE", "noNe", "none\\u0000", "n\\u006fne", "\\u006eone",
	"null", "NULL", "undefined", "false", "0", "no", "off", "plain", "unsecured", "ｎｏｎｅ", "nοne", "none\\n", "\\tnone",
	"HS256,none", "none,HS256",
}

// TestAlgNone: a token that says it is not signed is refused in every spelling,
// with whatever stands where its signature would be.
func TestAlgNone(t *testing.T) {
	if len(nones) < 26 {
		t.Errorf("%d spellings, want 26", len(nones))
	}
	for _, s := range modes(t) {
		v, sig := newVerifier(t, s.config), lastSegment(good(s.alg, s.key, ""))
		for _, none := range nones {
			signed := b64(`{"alg":"`+none+`","typ":"JWT"}`) + "." + b64(goodClaims)
			for _, end := range []string{"", ".", ".AA", ".bm9uZQ", "." + sig} {
				refuse(t, v, signed+end)
			}
		}
	}
}

// publicBytes are the texts and bytes that an attacker can make of a public
// key, to use them as the secret of an HMAC.
func publicBytes(t *testing.T) map[string]string {
	pub := &rsaKey().PublicKey
	spki, pkcs1 := must(x509.MarshalPKIXPublicKey(pub)), x509.MarshalPKCS1PublicKey(pub)
	text := string(pemOf(pub))
	body, _ := strings.CutPrefix(text, "-----BEGIN PUBLIC KEY-----\n")
	body, _, _ = strings.Cut(body, "-----END")
	jwk := entry(pub, "r", nil)
	n := jwk["n"].(string)
	print := sha256.Sum256(spki)
	all := map[string]string{
		"PEM":                     text,
		"PEM without line end":    strings.TrimSpace(text),
		"PEM with CRLF":           strings.ReplaceAll(text, "\n", "\r\n"),
		"PEM in one line":         strings.ReplaceAll(text, "\n", ""),
		"PEM with \\n written":    strings.ReplaceAll(text, "\n", `\n`),
		"PEM body":                body,
		"PEM body in one line":    strings.ReplaceAll(body, "\n", ""),
		"PEM of PKCS 1":           string(pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: pkcs1})),
		"DER":                     string(spki),
		"DER of PKCS 1":           string(pkcs1),
		"DER as base64url":        base64.RawURLEncoding.EncodeToString(spki),
		"DER as hexadecimal":      hex.EncodeToString(spki),
		"modulus":                 string(pub.N.Bytes()),
		"modulus, a zero before":  "\x00" + string(pub.N.Bytes()),
		"modulus as base64url":    n,
		"modulus, decimal":        pub.N.String(),
		"JWK":                     string(must(json.Marshal(jwk))),
		"JWK set":                 setOf(jwk),
		"fingerprint":             string(print[:]),
		"fingerprint, hex":        hex.EncodeToString(print[:]),
		"key id":                  "r",
		"nothing":                 "",
		"one NUL":                 "\x00",
		"modulus and exponent":    n + "AQAB",
		"modulus, base64 with ==": base64.StdEncoding.EncodeToString(pub.N.Bytes()),
	}
	if len(all) < 18 {
		t.Errorf("%d encodings, want 18", len(all))
	}
	return all
}

// TestPublicKeyAsHMACSecret is the oldest confusion: who verifies by what the
// header says takes the public key, which everybody has, for a secret.
func TestPublicKeyAsHMACSecret(t *testing.T) {
	keys := newEndpoint(t, setOf(entry(&rsaKey().PublicKey, "r", nil)))
	for name, c := range map[string]Config{
		"key":  {PublicKeys: [][]byte{pemOf(&rsaKey().PublicKey)}},
		"jwks": {JWKSURL: keys.URL},
		"hmac": {HMACKeys: [][]byte{secret}},
	} {
		v := newVerifier(t, c)
		for encoding, key := range publicBytes(t) {
			for _, alg := range symmetric {
				for _, kid := range []string{"", "r"} {
					t.Run(name+"/"+alg+"/"+encoding+"/"+kid, func(t *testing.T) {
						refuse(t, v, good(alg, []byte(key), kid))
						for _, header := range asymmetric() { // the header lies as well
							refuse(t, v, sign(alg, []byte(key), goodHeader(header, kid), goodClaims))
						}
					})
				}
			}
		}
	}
}

// TestAlgorithmConfusion crosses every algorithm with every kind of key: a
// good signature under the wrong name, and the right name under another key's.
func TestAlgorithmConfusion(t *testing.T) {
	private := map[string]any{
		"HS256": secret, "HS384": secret, "HS512": secret, "EdDSA": edKey(), "ES256": ecKey(), "ES384": p384Key(),
		"RS256": rsaKey(), "RS384": rsaKey(), "RS512": rsaKey(), "PS256": rsaKey(), "PS384": rsaKey(), "PS512": rsaKey(),
	}
	own := map[string]string{"r": "RS256", "e": "ES256", "p": "ES384", "d": "EdDSA"}
	keys := newEndpoint(t, setOf(
		entry(&rsaKey().PublicKey, "r", nil), entry(&ecKey().PublicKey, "e", nil),
		entry(&p384Key().PublicKey, "p", nil), entry(edKey().Public(), "d", nil),
	))
	v := newVerifier(t, Config{JWKSURL: keys.URL})
	refused := 0
	for kid, right := range own {
		if _, err := v.Verify(t.Context(), good(right, private[right], kid), now); err != nil {
			t.Errorf("%s: %v, want accepted", right, err)
		}
		for alg, key := range private {
			for _, header := range knownAlgorithms() {
				if alg == right && header == right {
					continue
				}
				refused++
				refuse(t, v, sign(alg, key, goodHeader(header, kid), goodClaims))
			}
		}
	}
	if refused < 600 {
		t.Errorf("%d confusions, want 600 at least", refused)
	}
}

// TestECDSASignatureForms: r and s lie in 1..n-1 and take 32 bytes each, and
// nothing else is a signature (RFC 7518 §3.4; CVE-2022-21449 took zeros).
func TestECDSASignatureForms(t *testing.T) {
	v := newVerifier(t, Config{PublicKeys: [][]byte{pemOf(&ecKey().PublicKey)}})
	token := good("ES256", ecKey(), "")
	signed := token[:strings.LastIndexByte(token, '.')]
	sig := string(must(decodeSegment(lastSegment(token))))
	r, s := sig[:32], sig[32:]
	n := string(ecKey().Params().N.Bytes())
	zero, one := strings.Repeat("\x00", 32), strings.Repeat("\x00", 31)+"\x01"
	hash := sha256.Sum256([]byte(signed))
	long := sha512.Sum384([]byte(signed))
	der := string(must(ecdsa.SignASN1(nil, ecKey(), hash[:])))
	plus := new(big.Int).Add(new(big.Int).SetBytes([]byte(s)), ecKey().Params().N)
	forms := map[string]string{
		"r and s zero": zero + zero, "r zero": zero + s, "s zero": r + zero, "r is n": n + s, "s is n": r + n, "both are n": n + n,
		"r and s one": one + one, "r zero, s one": zero + one, "swapped": s + r, "r twice": r + r, "s twice": s + s,
		"DER": der, "DER padded to 72": der + zero[:max(0, 72-len(der))], "DER cut to 64": der[:64],
		"63 bytes": sig[:63], "65 bytes": sig + "\x00", "65 bytes, zero before": "\x00" + sig, "66 bytes": "\x00" + r + "\x00" + s,
		"r alone": r, "96 bytes, as ES384": strings.Repeat("\x00", 16) + r + strings.Repeat("\x00", 16) + s,
		"s past n": r + string(plus.Bytes()), "hexadecimal": hex.EncodeToString([]byte(sig)), "base64 of base64": lastSegment(token),
		"other hash":   string(must(ecdsa.SignASN1(nil, ecKey(), long[:]))),
		"DER of zeros": string(must(asn1.Marshal(struct{ R, S *big.Int }{new(big.Int), new(big.Int)}))),
	}
	for name, form := range forms {
		t.Run(name, func(t *testing.T) { refuse(t, v, signed+"."+b64(form)) })
	}
}

// TestHeaderNamesAKeyOfTheAttackers: a key, or the address of one, in the
// header is not read: the address never has a visitor.
func TestHeaderNamesAKeyOfTheAttackers(t *testing.T) {
	trap := newEndpoint(t, setOf(entry(&rsaKey2().PublicKey, "r", nil), entry(&rsaKey2().PublicKey, "evil", nil)))
	trap.handle(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(pemOf(&rsaKey2().PublicKey)) })
	jwk := string(must(json.Marshal(entry(&rsaKey2().PublicKey, "evil", nil))))
	address, der := `"`+trap.URL+`"`, base64.StdEncoding.EncodeToString(must(x509.MarshalPKIXPublicKey(&rsaKey2().PublicKey)))
	var headers []string
	for _, kid := range []string{``, `"kid":"r",`, `"kid":"evil",`, `"kid":` + address + `,`} {
		for _, member := range []string{
			`"jwk":` + jwk, `"jku":` + address, `"x5u":` + address, `"x5c":["` + der + `"]`, `"jwks":{"keys":[` + jwk + `]}`,
			`"jwks_uri":` + address, `"iss":` + address, `"url":` + address, `"key":` + jwk, `"x5t":"` + b64("evil") + `"`, `"x5t#S256":"evil"`,
			`"jku":` + address + `,"jwk":` + jwk + `,"x5u":` + address + `,"x5c":["` + der + `"]`,
			`"epk":` + jwk, `"jku":[` + address + `]`, `"x5u":"file:///etc/passwd"`, `"jku":"//` + trap.Listener.Addr().String() + `"`,
		} {
			headers = append(headers, `{"alg":"RS256",`+kid+member+`}`)
		}
	}
	for _, s := range modes(t)[1:] {
		v := newVerifier(t, s.config)
		for _, header := range headers {
			refuse(t, v, sign("RS256", rsaKey2(), header, goodClaims))
		}
	}
	direct := newVerifier(t, Config{}) // it believes what Kibo says, but looks nothing up either
	for _, header := range headers {
		_, _ = direct.Verify(t.Context(), sign("RS256", rsaKey2(), header, goodClaims), now)
	}
	if n := trap.count(); n != 0 {
		t.Errorf("the trap had %d visitors", n)
	}
	t.Logf("%d headers", len(headers))
}

// TestKeysetEntryNamesAnAddress: not even a published key makes us look
// anywhere else.
func TestKeysetEntryNamesAnAddress(t *testing.T) {
	trap := newEndpoint(t, "")
	more := object{"x5u": trap.URL, "jku": trap.URL, "jwks_uri": trap.URL, "x5c": []string{"AAAA"}}
	keys := newEndpoint(t, setOf(entry(&rsaKey().PublicKey, "r", more), object{"kty": "RSA", "kid": "x", "x5u": trap.URL}))
	v := newVerifier(t, Config{JWKSURL: keys.URL})
	if _, err := v.Verify(t.Context(), good("RS256", rsaKey(), "r"), now); err != nil {
		t.Errorf("the key itself: %v, want accepted", err)
	}
	refuse(t, v, good("RS256", rsaKey(), "x"))
	if n := trap.count(); n != 0 {
		t.Errorf("the trap had %d visitors", n)
	}
}
