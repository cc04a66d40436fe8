package verify

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"
)

func TestCheckRefuses(t *testing.T) {
	hmacKeys, url := [][]byte{secret}, "https://keys.example/jwks"
	private := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: must(x509.MarshalPKCS8PrivateKey(ecKey()))})
	p224 := must(ecdsa.GenerateKey(elliptic.P224(), rand.Reader))
	x25519 := must(ecdh.X25519().GenerateKey(rand.Reader))
	ec := pemOf(&ecKey().PublicKey)
	tests := []struct {
		name   string
		config Config
		want   string // part of the text
	}{
		{"hmac and jwks", Config{HMACKeys: hmacKeys, JWKSURL: url}, "exclude each other"},
		{"hmac and public key", Config{HMACKeys: hmacKeys, PublicKeys: [][]byte{ec}}, "exclude each other"},
		{"public key and jwks", Config{PublicKeys: [][]byte{ec}, JWKSURL: url}, "exclude each other"},
		{"symmetric with jwks", Config{JWKSURL: url, Algorithms: []string{"RS256", "HS256"}}, "HS256 is symmetric"},
		{"symmetric with public key", Config{PublicKeys: [][]byte{ec}, Algorithms: []string{"HS512"}}, "HS512 is symmetric"},
		{"asymmetric with hmac", Config{HMACKeys: hmacKeys, Algorithms: []string{"RS256"}}, "RS256 needs public keys"},
		{"none", Config{Algorithms: []string{"none"}}, "never accepted"},
		{"None", Config{JWKSURL: url, Algorithms: []string{"None"}}, "never accepted"},
		{"unknown", Config{Algorithms: []string{"RS257"}}, `unknown algorithm "RS257": use one of ES256`},
		{"lower case", Config{Algorithms: []string{"rs256"}}, `unknown algorithm "rs256"`},
		{"empty", Config{Algorithms: []string{""}}, `unknown algorithm ""`},
		{"short key", Config{HMACKeys: [][]byte{secret, secret[:31]}}, "hmac key 2 has 31 bytes: HS256 needs at least 32"},
		{"empty key", Config{HMACKeys: [][]byte{{}}}, "hmac key 1 has 0 bytes"},
		{"short for HS512", Config{HMACKeys: hmacKeys, Algorithms: []string{"HS256", "HS512"}}, "HS512 needs at least 64"},
		{"no PEM", Config{PublicKeys: [][]byte{[]byte("AAAA")}}, "public key 1: not in PEM form"},
		{"private key", Config{PublicKeys: [][]byte{ec, private}}, "public key 2: a private key"},
		{"other PEM", Config{PublicKeys: [][]byte{pem.EncodeToMemory(&pem.Block{Type: "X509 CRL"})}}, "neither a public key nor"},
		{"damaged PEM", Config{PublicKeys: [][]byte{pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY"})}}, "public key 1:"},
		{"two PEM blocks", Config{PublicKeys: [][]byte{bytes.Repeat(ec, 2)}}, "more than one PEM block"},
		{"P-224", Config{PublicKeys: [][]byte{pemOf(&p224.PublicKey)}}, "not a point of P-256"},
		{"X25519", Config{PublicKeys: [][]byte{pemOf(x25519.PublicKey())}}, "neither RSA, EC nor Ed25519"},
		{"key without use", Config{PublicKeys: [][]byte{ec}, Algorithms: []string{"RS256"}}, "fits none of the algorithms"},
		{"leeway", Config{Leeway: 61 * time.Second}, "leeway is 1m1s"},
		{"negative leeway", Config{Leeway: -1}, "leeway"},
		{"tenant", Config{Tenant: "t12345"}, "tenant must be its number"},
		{"site", Config{Site: "s1"}, "site must be its number"},
		{"http", Config{JWKSURL: "http://keys.example/jwks"}, "must be https"},
		{"http, look-alike of loopback", Config{JWKSURL: "http://127.0.0.1.evil.example/"}, "must be https"},
		{"http, private network", Config{JWKSURL: "http://10.0.0.1/"}, "must be https"},
		{"file", Config{JWKSURL: "file:///etc/keys"}, "needs a host"},
		{"no scheme", Config{JWKSURL: "keys.example/jwks"}, "needs a host"},
		{"no host", Config{JWKSURL: "https:///jwks"}, "needs a host"},
		{"user in URL", Config{JWKSURL: "https://me:sesame@keys.example/"}, "neither user"},
		{"not a URL", Config{JWKSURL: "https://keys.example/%zz"}, "does not parse"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.config.Check()
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("Check = %v, want %q", err, tt.want)
			}
			for _, private := range []string{string(secret[:16]), "sesame", "%zz"} {
				if strings.Contains(err.Error(), private) {
					t.Errorf("%q shows a secret", err)
				}
			}
			if v, err := New(tt.config); v != nil || err == nil {
				t.Errorf("New = %v, %v, want no verifier", v, err)
			}
		})
	}
}

func TestCheckAccepts(t *testing.T) {
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "kibo"}}
	cert := must(x509.CreateCertificate(rand.Reader, template, template, &ecKey().PublicKey, ecKey()))
	pkcs1 := x509.MarshalPKCS1PublicKey(&rsaKey().PublicKey)
	for name, c := range map[string]Config{
		"zero value":         {},
		"key rotation":       {HMACKeys: [][]byte{secret, bytes.Repeat(secret, 2)}},
		"HS512":              {HMACKeys: [][]byte{bytes.Repeat(secret, 2)}, Algorithms: []string{"HS512", "HS512"}},
		"RSA and EC":         {PublicKeys: [][]byte{pemOf(&rsaKey().PublicKey), pemOf(&ecKey().PublicKey)}},
		"certificate":        {PublicKeys: [][]byte{pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})}},
		"PKCS 1":             {PublicKeys: [][]byte{pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: pkcs1})}},
		"https":              {JWKSURL: "https://keys.example/jwks?v=1"},
		"loopback":           {JWKSURL: "http://127.0.0.1:8080/jwks"},
		"loopback, IPv6":     {JWKSURL: "http://[::1]:8080/jwks"},
		"localhost":          {JWKSURL: "http://localhost:8080/jwks"},
		"longest leeway":     {Leeway: time.Minute, Tenant: "1", Site: "2"},
		"pinned without key": {Algorithms: []string{"HS256"}},
	} {
		if err := c.Check(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
