package verify

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
)

// FuzzVerify changes valid tokens. Where signatures are checked, an accepted
// token must be the very token that was signed.
func FuzzVerify(f *testing.F) {
	config := Config{HMACKeys: [][]byte{secret}}
	ed := Config{PublicKeys: [][]byte{pemOf(edKey().Public())}}
	verifiers := []*Verifier{newVerifier(f, config), newVerifier(f, ed)}
	signed := map[string]bool{}
	for _, claims := range []string{goodClaims, strings.Replace(goodClaims, "1007", "1008", 1)} {
		for _, token := range []string{
			good("HS256", secret, ""), good("HS256", secret, "k"),
			sign("HS256", secret, goodHeader("HS256", ""), claims), sign("EdDSA", edKey(), goodHeader("EdDSA", ""), claims),
		} {
			signed[token] = true
			f.Add(token)
			f.Add(token + "\n")
			f.Add(token[:len(token)-1] + "B")
		}
	}
	f.Add(sign("HS256", secret[1:], `{"alg":"none"}`, `{"exp":1e400}`))
	f.Add("..")
	f.Fuzz(func(t *testing.T, token string) {
		for _, v := range verifiers {
			claims, err := v.Verify(t.Context(), token, now)
			switch {
			case err == nil && !signed[token]:
				t.Errorf("accepted a token that nobody signed: %q", token)
			case err == nil && claims == nil, err != nil && (claims != nil || !errors.Is(err, ErrInvalid)):
				t.Errorf("Verify(%q) = %v, %v", token, claims, err)
			}
		}
	})
}

// FuzzClaims invents claims. Without a signature, whatever is accepted still
// has an owner, an account and an end.
func FuzzClaims(f *testing.F) {
	v := newVerifier(f, Config{Tenant: "12345"})
	f.Add(goodHeader("HS256", ""), goodClaims)
	f.Add(`{"alg":"RS256","typ":"at+jwt","kid":"k"}`, strings.Replace(goodClaims, `"anon":"0"`, `"ANON":"1"`, 1))
	f.Add(`{"alg":"ES512"}`, strings.Replace(goodClaims, "Zoë", `\ud800`, 1))
	f.Add(`{"alg":"PS256"}`, strings.Replace(goodClaims, "1772368200", "1.7723682e9", 1))
	f.Fuzz(func(t *testing.T, header, claims string) {
		c, err := v.Verify(t.Context(), b64(header)+"."+b64(claims)+".AAAA", now)
		if err != nil {
			return
		}
		switch {
		case c.Subject == "" || c.Subject != c.UserID:
			t.Errorf("subject %q is not user %q", c.Subject, c.UserID)
		case c.AccountID == "" || strings.Trim(c.AccountID, "0123456789") != "":
			t.Errorf("account is %q", c.AccountID)
		case c.Tenant != "12345":
			t.Errorf("tenant is %q", c.Tenant)
		case !now.Before(c.Expires.Add(DefaultLeeway)) || c.Expires.Sub(now) > maxAhead:
			t.Errorf("expires at %s", c.Expires)
		case c.IssuedAt.After(now.Add(DefaultLeeway)):
			t.Errorf("issued at %s", c.IssuedAt)
		}
	})
}

// FuzzKeyset reads what an endpoint may publish. Whatever key it yields can be
// used without a panic, and verifies nothing but what it was configured for.
func FuzzKeyset(f *testing.F) {
	f.Add(setOf(entry(&rsaKey().PublicKey, "r", nil), entry(&ecKey().PublicKey, "e", nil), entry(edKey().Public(), "d", nil)))
	f.Add(setOf(entry(&p384Key().PublicKey, "p", object{"alg": "ES384", "key_ops": []string{"verify"}})))
	f.Add(`{"keys":[{"kty":"EC","crv":"P-256","x":"` + strings.Repeat("A", 60) + `","y":"AA"}]}`)
	f.Add(`{"keys":[{"kty":"OKP","crv":"X25519","x":""}]}`)
	tok := must(splitToken(good("RS256", rsaKey2(), "")))
	f.Fuzz(func(t *testing.T, body string) {
		set, err := parseKeyset([]byte(body), defaultAlgorithms(jwks))
		if err != nil {
			return
		}
		for _, k := range set.keys {
			if len(k.algs) == 0 || usable(k.value) != nil {
				t.Errorf("unusable key %q for %q", k.id, k.algs)
			}
			for _, alg := range k.algs {
				if verifySignature(tok, alg, []any{k.value}) == nil && alg != "RS256" {
					t.Errorf("%s verified an RS256 signature", alg)
				}
			}
		}
	})
}

// FuzzPrecheck: a token that passes the look at its form has one spelling, and
// its parts are not wider than it; its JSON has each name once, in any case, and
// no error repeats any of it.
func FuzzPrecheck(f *testing.F) {
	for _, raw := range []string{
		good("HS256", secret, "k"), "..", "e30.e30.AA", "e30.e30.AB", "e30.e30.AA==", "e30.e30\n.AA", "e30.e30.AA.AA", "e30.e30", "e30.e30.é", strings.Repeat(".", 20000),
		b64(`{"a":1,"A":2}`) + ".e30.AA", b64(`{"a":{"b":[{"ſ":1,"S":2}]}}`) + ".e30.AA", b64(`{"alg":"HS256","crit":[]}`) + ".e30.AA", b64(`{} {}`) + ".e30.AA", b64("{\"\xff\":1}") + ".e30.AA",
		b64(strings.Repeat(`{"a":`, 30)+"1"+strings.Repeat("}", 30)) + ".e30.AA", b64(`{"a":1e400}`) + ".e30.AA", b64(`{"alg":"HS256","kid":"../../key"}`) + ".e30.AA",
	} {
		f.Add(raw)
	}
	algs := []string{"HS256", "RS256"}
	f.Fuzz(func(t *testing.T, raw string) {
		tok, err := splitToken(raw)
		if err != nil {
			checkSilent(t, raw, err)
			return
		}
		if whole := b64(string(tok.header)) + "." + b64(string(tok.claims)) + "." + b64(string(tok.signature)); whole != raw || tok.signed != raw[:strings.LastIndexByte(raw, '.')] {
			t.Fatalf("%q is taken apart as what would be written %q", raw, whole)
		}
		if len(tok.header)+len(tok.claims)+len(tok.signature) > len(raw) {
			t.Errorf("%q has grown", raw)
		}
		if _, err := readHeader(tok.header, algs); err != nil {
			checkSilent(t, string(tok.header), err)
		}
		o, err := decodeObject(tok.claims)
		if err != nil {
			checkSilent(t, string(tok.claims), err)
			return
		}
		checkNames(t, o, 1)
		written := must(json.Marshal(o))
		if again, err := decodeObject(written); err != nil || !reflect.DeepEqual(o, again) {
			t.Errorf("%q is read as %v, and written down as %v, %v", tok.claims, o, again, err)
		}
	})
}

// checkSilent fails if an error repeats what it is about.
func checkSilent(t *testing.T, raw string, err error) {
	t.Helper()
	if !errors.Is(err, ErrInvalid) || len(err.Error()) > 200 || len(raw) > 12 && strings.Contains(err.Error(), raw) {
		t.Errorf("%q is refused by %q", raw, err)
	}
}

func checkNames(t *testing.T, v any, depth int) {
	t.Helper()
	if depth > maxDepth+1 {
		t.Fatalf("%v is nested %d deep", v, depth)
	}
	switch v := v.(type) {
	case object:
		for name, value := range v {
			for other := range v {
				if name != other && strings.EqualFold(name, other) {
					t.Errorf("both %q and %q are taken", name, other)
				}
			}
			checkNames(t, value, depth+1)
		}
	case []any:
		for _, value := range v {
			checkNames(t, value, depth+1)
		}
	}
}

func benchmarkVerify(b *testing.B, s signer) {
	v, token := newVerifier(b, s.config), good(s.alg, s.key, "")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.Verify(b.Context(), token, now); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	for _, s := range signers() {
		b.Run(s.name, func(b *testing.B) { benchmarkVerify(b, s) })
	}
}

func BenchmarkStamp(b *testing.B) {
	v := newVerifier(b, Config{})
	for b.Loop() {
		if v.Stamp() == 0 {
			b.Fatal("stamp is 0")
		}
	}
}

// Refusals must be cheap, since anybody can ask for them.
func BenchmarkRefuse(b *testing.B) {
	v := newVerifier(b, Config{})
	nested := strings.Repeat(`{"a":`, 900) + "1" + strings.Repeat("}", 900)
	for name, token := range map[string]string{
		"dots":   strings.Repeat(".", 200_000),
		"1MiB":   strings.Repeat("A", 1<<20),
		"nested": b64(`{"alg":"HS256"}`) + "." + b64(nested) + ".AAAA",
		"stale":  good("HS256", secret, ""),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := v.Verify(b.Context(), token, now.Add(time.Hour)); err == nil {
					b.Fatal("accepted")
				}
			}
		})
	}
}
