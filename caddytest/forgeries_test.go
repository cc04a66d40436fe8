package caddytest

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"regexp"
	"strings"
	"time"
)

func publicPEM(key *rsa.PublicKey) string {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		panic(err) // RSA keys are supported
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

// A forgery makes a bad token from good claims, for a mode.
type forgery func(s signing, claims string) string

// headed has a header of its own and is signed by the right key; $ in the
// header is the right algorithm.
func headed(header string) forgery {
	return func(s signing, claims string) string {
		alg := "RS256"
		if s.name == "hmac" {
			alg = "HS256"
		}
		return s.sign(strings.ReplaceAll(header, "$", alg), claims)
	}
}

// claiming replaces the first match in the claims; the right key signs.
func claiming(pattern, replacement string) forgery {
	re := regexp.MustCompile(pattern)
	return func(s signing, claims string) string {
		at := re.FindStringIndex(claims)
		if at == nil {
			panic(pattern + " does not occur in the claims")
		}
		return s.sign(s.header, claims[:at[0]]+replacement+claims[at[1]:])
	}
}

// edited changes the text of a good token.
func edited(edit func(head, claims, sig string) string) forgery {
	return func(s signing, claims string) string {
		p := strings.Split(s.sign(s.header, claims), ".")
		return edit(p[0], p[1], p[2])
	}
}

// malformedTokens are refused in every mode: their form, header or claims are bad.
func malformedTokens() map[string]forgery {
	all := map[string]forgery{
		"empty":            func(signing, string) string { return "" },
		"blank":            func(signing, string) string { return " " },
		"line feed inside": edited(func(h, c, s string) string { return h + "." + c[:8] + "\n" + c[8:] + "." + s }),
		"CRLF after":       edited(func(h, c, s string) string { return h + "." + c + "." + s + "\r\n" }),
		"NUL after":        edited(func(h, c, s string) string { return h + "." + c + "." + s + "\x00" }),
		"padding":          edited(func(h, c, s string) string { return h + "=." + c + "." + s }),
		"two segments":     edited(func(h, c, _ string) string { return h + "." + c }),
		"four segments":    edited(func(h, c, s string) string { return h + "." + c + "." + s + ".AA" }),
		"five, as a JWE":   edited(func(h, c, s string) string { return h + ".AA.AA." + c + "." + s }),
		"no signature":     edited(func(h, c, _ string) string { return h + "." + c + "." }),
		"no header":        edited(func(_, c, s string) string { return "." + c + "." + s }),
		"200,000 dots":     func(signing, string) string { return strings.Repeat(".", 200_000) },
		"1 MiB":            edited(func(h, c, s string) string { return h + "." + c + "." + s + strings.Repeat("A", 1<<20) }),
		"JSON form": edited(func(h, c, s string) string {
			return `{"protected":"` + h + `","payload":"` + c + `","signature":"` + s + `"}`
		}),
		"nested 100,000 deep": headed(`{"alg":"$","x":` + strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000) + `}`),
		"kid of 60 KB":        headed(`{"alg":"$","kid":"` + strings.Repeat("k", 60_000) + `"}`),
		"claims are a list":   func(s signing, claims string) string { return s.sign(s.header, "["+claims+"]") },
		"claims twice":        func(s signing, claims string) string { return s.sign(s.header, claims+claims) },

		"alg missing": headed(`{"typ":"JWT"}`), "alg null": headed(`{"alg":null}`), "alg list": headed(`{"alg":["$"]}`),
		"alg twice": headed(`{"alg":"none","alg":"$"}`), "alg in two cases": headed(`{"alg":"$","ALG":"none"}`),
		"crit empty": headed(`{"alg":"$","crit":[]}`), "crit exp": headed(`{"alg":"$","crit":["exp"]}`),
		"crit unknown": headed(`{"alg":"$","crit":["x"],"x":1}`), "b64 false": headed(`{"alg":"$","b64":false,"crit":["b64"]}`),
		"zip": headed(`{"alg":"$","zip":"DEF"}`), "cty": headed(`{"alg":"$","cty":"JWT"}`),
		"typ logout": headed(`{"alg":"$","typ":"logout+jwt"}`), "typ dpop": headed(`{"alg":"$","typ":"dpop+jwt"}`),
		"kid number": headed(`{"alg":"$","kid":7}`), "kid list": headed(`{"alg":"$","kid":["kibo"]}`), "kid null": headed(`{"alg":"$","kid":null}`),

		"exp missing": claiming(`"exp":\d+,`, ``), "exp null": claiming(`"exp":\d+`, `"exp":null`), "exp text": claiming(`"exp":\d+`, `"exp":"9999999999"`),
		"exp past": claiming(`"exp":\d+`, `"exp":1700000000`), "exp 1e400": claiming(`"exp":\d+`, `"exp":1e400`),
		"exp in 400 days": claiming(`"exp":\d+`, fmt.Sprintf(`"exp":%d`, time.Now().AddDate(0, 0, 400).Unix())),
		"exp twice":       claiming(`"exp":\d+`, `"exp":9999999999,"exp":1`), "exp in two cases": claiming(`"exp":(\d+)`, `"exp":9999999999,"EXP":1`),
		"nbf ahead": claiming(`"nbf":\d+`, fmt.Sprintf(`"nbf":%d`, time.Now().Unix()+3600)),
		"iat ahead": claiming(`"iat":\d+`, fmt.Sprintf(`"iat":%d`, time.Now().Unix()+3600)),
		"iss other": claiming(`"iss":"[^"]+"`, `"iss":"https://evil.example"`), "iss missing": claiming(`"iss":"[^"]+",`, ``),
		"iss with slash": claiming(`"iss":"([^"]+)"`, `"iss":"https://www.kibocommerce.com/"`),
		"aud other":      claiming(`"aud":"[^"]+"`, `"aud":"https://evil.example"`), "aud empty list": claiming(`"aud":"[^"]+"`, `"aud":[]`),
		"aud list of lists": claiming(`"aud":("[^"]+")`, `"aud":[["https://www.kibocommerce.com"]]`),
		"aud object":        claiming(`"aud":"[^"]+"`, `"aud":{"https://www.kibocommerce.com":1}`),
		"sub missing":       claiming(`"sub":"[^"]+",`, ``), "sub of another": claiming(`"sub":"[^"]+"`, `"sub":"ffffffffffffffffffffffffffffffff"`),
		"account of another": claiming(`"b.AccountId":"\d+"`, `"b.AccountId":"1002"`), "account twice": claiming(`"b.AccountId":"\d+"`, `"b.AccountId":"1001","b.AccountId":"1002"`),
		"account forges a header": claiming(`"b.AccountId":"\d+"`, `"b.AccountId":"1001\r\nX-Admin: 1"`),
		"tenant of another":       claiming(`"b.TenantId":"\d+"`, `"b.TenantId":"99999"`), "site of another": claiming(`"b.SiteId":"\d+"`, `"b.SiteId":"99999"`),
		"anonymous": claiming(`"anon":"0"`, `"anon":"1"`), "administrator": claiming(`"st":"Shopper"`, `"st":"Tenant"`),
		"inner exp past": claiming(`"exp":"[^"]+","st"`, `"exp":"2020-01-01T00:00:00","st"`),
		"invalid UTF-8":  claiming(`"env":"sim"`, "\"env\":\"\xff\""),
	}
	for _, none := range []string{"none", "None", "NONE", "nOnE", "none ", "\\u006eone", "", "null", "HS1", "RS1", "ES256K", "dir"} {
		all["alg "+none] = func(_ signing, claims string) string {
			return segment(`{"alg":"`+none+`"}`) + "." + segment(claims) + ".AA"
		}
	}
	return all
}

// unproven are refused where signatures are checked: the claims are good, but
// nobody we know has signed them.
func unproven() map[string]forgery {
	by := func(key func() *rsa.PrivateKey, header string) forgery {
		return func(_ signing, claims string) string { return rs256(key(), header, claims) }
	}
	public := func(secret string) forgery {
		return func(_ signing, claims string) string { return hs256(secret, `{"alg":"HS256","kid":"kibo"}`, claims) }
	}
	stranger := jwk("kibo", keyOfStranger())
	der := base64.StdEncoding.EncodeToString(x509.MarshalPKCS1PublicKey(&keyOfStranger().PublicKey))
	all := map[string]forgery{
		"a stranger's key":     by(keyOfStranger, `{"alg":"RS256","kid":"kibo"}`),
		"a stranger's, no kid": by(keyOfStranger, `{"alg":"RS256"}`),
		"another secret":       public("another secret, and quite long enough"),
		"empty secret":         public(""),
		"public key as secret": public(publicPEM(&keyOfKibo().PublicKey)),
		"modulus as secret":    public(string(keyOfKibo().N.Bytes())),
		"keyset as secret":     public(jwks(jwk("kibo", keyOfKibo()))),
		"jwk in the header":    by(keyOfStranger, `{"alg":"RS256","kid":"kibo","jwk":`+stranger+`}`),
		"jku in the header":    by(keyOfStranger, `{"alg":"RS256","kid":"evil","jku":"TRAP"}`),
		"x5u in the header":    by(keyOfStranger, `{"alg":"RS256","kid":"evil","x5u":"TRAP"}`),
		"x5c in the header":    by(keyOfStranger, `{"alg":"RS256","x5c":["`+der+`"]}`),
		"all of them":          by(keyOfStranger, `{"alg":"RS256","kid":"TRAP","jku":"TRAP","x5u":"TRAP","jwk":`+stranger+`}`),
		"RS384 said":           headed(`{"alg":"RS384","kid":"kibo"}`),
		"PS256 said":           headed(`{"alg":"PS256","kid":"kibo"}`),
		"ES256 said":           headed(`{"alg":"ES256","kid":"kibo"}`),
		"signature of zeros":   edited(func(h, c, s string) string { return h + "." + c + "." + strings.Repeat("A", len(s)) }),
		"signature cut":        edited(func(h, c, s string) string { return h + "." + c + "." + s[:len(s)-4] }),
		"signature extended":   edited(func(h, c, s string) string { return h + "." + c + "." + s + "AAAA" }),
		"one bit of signature": edited(func(h, c, s string) string { return h + "." + c + "." + flipped(s) }),
		"claims changed":       edited(func(h, c, s string) string { return h + "." + segment(claimsOf(h+"."+c)+" ") + "." + s }),
		"header changed":       edited(func(h, c, s string) string { return segment(`{"alg":"RS256","kid":"kibo","x":1}`) + "." + c + "." + s }),
		"another's signature":  edited(func(h, c, _ string) string { return h + "." + c + "." + lastSegment(rs256(keyOfKibo(), "{}", "{}")) }),
	}
	for name, kid := range map[string]string{
		"traversal": "../../../../dev/null", "SQL": "kibo' OR '1'='1", "URL": "TRAP", "NUL": `kibo\u0000`, "case": "KIBO", "blank": " kibo", "wildcard": "*",
	} {
		all["kid: "+name] = by(keyOfStranger, `{"alg":"RS256","kid":"`+kid+`"}`)
	}
	return all
}

func flipped(s string) string {
	if s[0] == 'A' {
		return "B" + s[1:]
	}
	return "A" + s[1:]
}

func lastSegment(token string) string { return token[strings.LastIndexByte(token, '.')+1:] }

// against returns what to try in a mode.
func (s signing) against(w *world) map[string]func(claims string) string {
	all := map[string]func(string) string{}
	trap := func(f forgery) func(string) string {
		return func(claims string) string {
			token := f(s, claims)
			head, rest, found := strings.Cut(token, ".")
			text, err := base64.RawURLEncoding.DecodeString(head)
			if found && err == nil && strings.Contains(string(text), "TRAP") { // no signature is good here
				head = segment(strings.ReplaceAll(string(text), "TRAP", w.kibo.url()+"/trap"))
				return head + "." + rest
			}
			return token
		}
	}
	for name, f := range malformedTokens() {
		all[name] = trap(f)
	}
	if s.name != "direct" {
		for name, f := range unproven() {
			all[name] = trap(f)
		}
	}
	return all
}
