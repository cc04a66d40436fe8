package caddytest

import (
	"bytes"
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/kiboauth/caddy-kibo-auth/internal/kibosim"
)

var (
	keyOfKibo     = sync.OnceValue(newRSAKey)
	keyOfNextYear = sync.OnceValue(newRSAKey)
	keyOfStranger = sync.OnceValue(newRSAKey)
)

func newRSAKey() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
}

// A forger stands between the gateway and Kibo: it replaces the JWT in Kibo's
// tickets, and publishes a keyset at /keys. Nobody has any business at /trap.
type forger struct {
	kibo    http.Handler
	forge   atomic.Pointer[func(claims string) string]
	keys    atomic.Pointer[http.HandlerFunc]
	fetched atomic.Int64
	trapped atomic.Int64
}

// startForged runs the gateway against a forger. FORGER in the verify block is
// its address.
func startForged(t *testing.T, verify string) (*world, *forger) {
	t.Helper()
	f := new(forger)
	f.publish(jwks(jwk("kibo", keyOfKibo())))
	f.sign(nil)
	lines := strings.ReplaceAll(verify, "FORGER", "KIBO")
	return start(t, setup{
		gateway: quick + "verify {\n" + lines + "\n}",
		front:   func(kibo http.Handler) http.Handler { f.kibo = kibo; return f },
	}), f
}

// sign has each ticket's JWT made anew from its claims; nil: by Kibo's key.
func (f *forger) sign(forge func(claims string) string) {
	if forge == nil {
		forge = func(claims string) string { return rs256(keyOfKibo(), `{"alg":"RS256","kid":"kibo"}`, claims) }
	}
	f.forge.Store(&forge)
}

func (f *forger) publish(set string) {
	f.answerKeys(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, set) })
}

func (f *forger) answerKeys(h http.HandlerFunc) { f.keys.Store(&h) }

// ServeHTTP implements http.Handler.
func (f *forger) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path == "/keys":
		f.fetched.Add(1)
		(*f.keys.Load())(w, r)
		return
	case strings.HasPrefix(r.URL.Path, "/trap"):
		f.trapped.Add(1)
		_, _ = io.WriteString(w, jwks(jwk("kibo", keyOfStranger()), jwk("evil", keyOfStranger())))
		return
	}
	rec := httptest.NewRecorder()
	f.kibo.ServeHTTP(rec, r)
	body := rec.Body.Bytes()
	var ticket map[string]json.RawMessage
	var token string
	if json.Unmarshal(body, &ticket) == nil && json.Unmarshal(ticket["jwtAccessToken"], &token) == nil && token != "" {
		forged := (*f.forge.Load())(claimsOf(token))
		if len(forged) > 100 {
			note("forged token", forged)
		}
		quoted, _ := json.Marshal(forged)
		body = bytes.Replace(body, ticket["jwtAccessToken"], quoted, 1)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(rec.Code)
	_, _ = w.Write(body)
}

func claimsOf(token string) string {
	part := strings.Split(token, ".")[1]
	text, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		panic(err) // the simulator's tokens can be read
	}
	return strings.TrimSpace(string(text))
}

func segment(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

func rs256(key *rsa.PrivateKey, header, claims string) string {
	signed := segment(header) + "." + segment(claims)
	sum := sha256.Sum256([]byte(signed))
	sig, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
	if err != nil {
		panic(err) // the keys fit
	}
	return signed + "." + segment(string(sig))
}

func hs256(secret, header, claims string) string {
	signed := segment(header) + "." + segment(claims)
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(signed))
	return signed + "." + segment(string(mac.Sum(nil)))
}

// A signing is a verify mode and how Kibo signs for it.
type signing struct {
	name, verify string
	header       string // of a good token
	sign         func(header, claims string) string
}

// signings are the modes of verify; each trusts what its sign makes.
func signings(t *testing.T) []signing {
	t.Setenv("FORGED_PUBLIC_KEY", publicPEM(&keyOfKibo().PublicKey))
	byKey := func(header, claims string) string { return rs256(keyOfKibo(), header, claims) }
	bySecret := func(header, claims string) string { return hs256(kibosim.JWTSecret, header, claims) }
	return []signing{
		{"direct", "direct\ntenant 10001\nsite 20002", `{"alg":"RS256","kid":"kibo"}`, byKey},
		{"hmac", "hmac HS256 " + kibosim.JWTSecret + "\ntenant 10001\nsite 20002", `{"alg":"HS256"}`, bySecret},
		{"key", "key RS256 {env.FORGED_PUBLIC_KEY}\ntenant 10001\nsite 20002", `{"alg":"RS256"}`, byKey},
		{"jwks", "jwks FORGER/keys\ntenant 10001\nsite 20002", `{"alg":"RS256","kid":"kibo"}`, byKey},
	}
}

func jwk(kid string, key *rsa.PrivateKey, more ...string) string {
	extra := ""
	for _, m := range more {
		extra += "," + m
	}
	return fmt.Sprintf(`{"kty":"RSA","use":"sig","kid":%q,"n":%q,"e":%q%s}`, kid,
		base64.RawURLEncoding.EncodeToString(key.N.Bytes()),
		base64.RawURLEncoding.EncodeToString(big.NewInt(int64(key.E)).Bytes()), extra)
}

func jwks(entries ...string) string { return `{"keys":[` + strings.Join(entries, ",") + `]}` }
