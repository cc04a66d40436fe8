package verify

import (
	"strings"
	"testing"
)

// TestMalformedTokens changes the text of a token that is otherwise valid.
func TestMalformedTokens(t *testing.T) {
	edit := func(f func(head, claims, sig string) string) func(string) string {
		return func(token string) string {
			p := strings.Split(token, ".")
			return f(p[0], p[1], p[2])
		}
	}
	tests := []struct {
		name string
		edit func(string) string
	}{
		{"empty", func(string) string { return "" }},
		{"blank before", func(s string) string { return " " + s }},
		{"line feed after", func(s string) string { return s + "\n" }},
		{"CRLF after", func(s string) string { return s + "\r\n" }},
		{"line feed inside", func(s string) string { return s[:9] + "\n" + s[9:] }},
		{"line feed in signature", func(s string) string { return s[:len(s)-4] + "\n" + s[len(s)-4:] }},
		{"NUL after", func(s string) string { return s + "\x00" }},
		{"Bearer before", func(s string) string { return "Bearer " + s }},
		{"percent sign", func(s string) string { return strings.Replace(s, ".", "%2E", 1) }},
		{"full-width dot", func(s string) string { return strings.Replace(s, ".", "．", 1) }},
		{"no dot", func(s string) string { return strings.ReplaceAll(s, ".", "") }},
		{"two segments", edit(func(h, c, _ string) string { return h + "." + c })},
		{"four segments", func(s string) string { return s + ".AAAA" }},
		{"five segments, as a JWE has", edit(func(h, c, s string) string { return h + ".." + c + "." + s + ".AAAA" })},
		{"dot after", func(s string) string { return s + "." }},
		{"dot before", func(s string) string { return "." + s }},
		{"200,000 dots", func(string) string { return strings.Repeat(".", 200_000) }},
		{"1 MiB", func(s string) string { return s + strings.Repeat("A", 1<<20) }},
		{"8 KiB and one", func(s string) string { return s + strings.Repeat("A", maxToken+1-len(s)) }},
		{"empty header", edit(func(_, c, s string) string { return "." + c + "." + s })},
		{"empty claims", edit(func(h, _, s string) string { return h + ".." + s })},
		{"empty signature", edit(func(h, c, _ string) string { return h + "." + c + "." })},
		{"padding", edit(func(h, c, s string) string { return h + "=." + c + "." + s })},
		{"padding after signature", func(s string) string { return s + "==" }},
		{"standard alphabet", edit(func(h, c, s string) string { return h + "." + c + ".+/" + s[2:] })},
		{"one character of four", edit(func(h, c, _ string) string { return h + "." + c + ".A" })},
		{"JSON serialization", edit(func(h, c, s string) string {
			return `{"protected":"` + h + `","payload":"` + c + `","signature":"` + s + `"}`
		})},
		{"header is no JSON", edit(func(_, c, s string) string { return b64("alg") + "." + c + "." + s })},
		{"claims are the header's list", edit(func(h, _, s string) string { return h + "." + b64("[]") + "." + s })},
	}
	for _, s := range modes(t) {
		v, token := newVerifier(t, s.config), good(s.alg, s.key, "")
		for _, tt := range tests {
			t.Run(s.name+"/"+tt.name, func(t *testing.T) { refuse(t, v, tt.edit(token)) })
		}
	}
}

// One token has one spelling, so the bits past the end must be zero.
func TestLooseTrailingBits(t *testing.T) {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	token := good("HS256", secret, "") // 32 bytes of signature: four bits are left over
	last := strings.IndexByte(alphabet, token[len(token)-1])
	v := newVerifier(t, Config{HMACKeys: [][]byte{secret}})
	for loose := last + 1; loose < last+4; loose++ {
		refuse(t, v, token[:len(token)-1]+alphabet[loose:loose+1])
	}
}

// TestSignatureTampering needs a mode that looks at the signature.
func TestSignatureTampering(t *testing.T) {
	for _, s := range modes(t)[1:] {
		v, token := newVerifier(t, s.config), good(s.alg, s.key, "")
		cut := strings.LastIndexByte(token, '.') + 1
		signed, sig := token[:cut], must(decodeSegment(token[cut:]))
		flip := func(i int) string {
			b := []byte(string(sig))
			b[i] ^= 1
			return string(b)
		}
		half := len(sig) / 2
		for name, forged := range map[string]string{
			"one byte":            "x",
			"first bit":           flip(0),
			"last bit":            flip(len(sig) - 1),
			"zeros":               strings.Repeat("\x00", len(sig)),
			"ones":                strings.Repeat("\xff", len(sig)),
			"r=s=1":               strings.Repeat("\x00", half-1) + "\x01" + strings.Repeat("\x00", half-1) + "\x01",
			"cut":                 string(sig[:len(sig)-1]),
			"extended":            string(sig) + "\x00",
			"extended before":     "\x00" + string(sig),
			"halves swapped":      string(sig[half:]) + string(sig[:half]),
			"another token's":     string(must(decodeSegment(lastSegment(sign(s.alg, s.key, `{"alg":"x"}`, goodClaims))))),
			"DER in place of r|s": "\x30\x06\x02\x01\x01\x02\x01\x01",
		} {
			t.Run(s.name+"/"+name, func(t *testing.T) { refuse(t, v, signed+b64(forged)) })
		}
		t.Run(s.name+"/claims changed", func(t *testing.T) {
			changed := swap(t, goodClaims, `"1007"`, `"1008"`)
			p := strings.Split(token, ".")
			refuse(t, v, p[0]+"."+b64(changed)+"."+p[2])
		})
		t.Run(s.name+"/header changed", func(t *testing.T) {
			p := strings.Split(token, ".")
			refuse(t, v, b64(goodHeader(s.alg, "other"))+"."+p[1]+"."+p[2])
		})
	}
}

func lastSegment(token string) string { return token[strings.LastIndexByte(token, '.')+1:] }

// TestHeaderAttacks signs each header with the right key, so that nothing but
// the header can be why it is refused. $ stands for the right algorithm.
func TestHeaderAttacks(t *testing.T) {
	tests := map[string]string{
		"alg missing":              `{"typ":"JWT"}`,
		"alg null":                 `{"alg":null}`,
		"alg number":               `{"alg":256}`,
		"alg list":                 `{"alg":["$"]}`,
		"alg object":               `{"alg":{"$":1}}`,
		"alg empty":                `{"alg":""}`,
		"alg lower case":           `{"alg":"hs256"}`,
		"alg with blank":           `{"alg":"$ "}`,
		"alg with NUL":             `{"alg":"$\u0000"}`,
		"alg of another case name": `{"ALG":"$"}`,
		"alg twice":                `{"alg":"none","alg":"$"}`,
		"alg twice by escape":      `{"alg":"none","\u0061lg":"$"}`,
		"alg in two cases":         `{"alg":"$","Alg":"none"}`,
		"alg is encryption":        `{"alg":"RSA-OAEP"}`,
		"alg dir":                  `{"alg":"dir","enc":"A256GCM"}`,
		"alg unknown":              `{"alg":"HS1"}`,
		"alg ES256K":               `{"alg":"ES256K"}`,
		"crit empty":               `{"alg":"$","crit":[]}`,
		"crit null":                `{"alg":"$","crit":null}`,
		"crit unknown":             `{"alg":"$","crit":["x"],"x":1}`,
		"crit exp":                 `{"alg":"$","crit":["exp"],"exp":1}`,
		"crit b64":                 `{"alg":"$","crit":["b64"],"b64":true}`,
		"b64 false":                `{"alg":"$","b64":false}`,
		"b64 true":                 `{"alg":"$","b64":true}`,
		"zip":                      `{"alg":"$","zip":"DEF"}`,
		"cty":                      `{"alg":"$","cty":"JWT"}`,
		"typ logout":               `{"alg":"$","typ":"logout+jwt"}`,
		"typ dpop":                 `{"alg":"$","typ":"dpop+jwt"}`,
		"typ secevent":             `{"alg":"$","typ":"secevent+jwt"}`,
		"typ JWE":                  `{"alg":"$","typ":"JWE"}`,
		"typ number":               `{"alg":"$","typ":1}`,
		"typ null":                 `{"alg":"$","typ":null}`,
		"kid number":               `{"alg":"$","kid":1}`,
		"kid list":                 `{"alg":"$","kid":["k"]}`,
		"kid null":                 `{"alg":"$","kid":null}`,
		"kid blank":                `{"alg":"$","kid":""}`,
		"kid twice":                `{"alg":"$","kid":"a","kid":"b"}`,
		"names folded by Kelvin":   `{"alg":"$","kid":"a","` + "\u212a" + `id":"b"}`,
		"list":                     `[{"alg":"$"}]`,
		"text":                     `"alg"`,
		"null":                     `null`,
		"trailing comma":           `{"alg":"$",}`,
		"comment":                  `{"alg":"$"/**/}`,
		"single quotes":            `{'alg':'$'}`,
		"two objects":              `{"alg":"$"}{"alg":"$"}`,
		"trailing text":            `{"alg":"$"}x`,
		"byte order mark":          "\ufeff" + `{"alg":"$"}`,
		"invalid UTF-8":            `{"alg":"$","x":"` + "\xff" + `"}`,
		"overlong UTF-8":           `{"alg":"$","x":"` + "\xc0\xaf" + `"}`,
		"raw control character":    "{\"alg\":\"$\",\"x\":\"\x01\"}",
		"nested 21 deep":           `{"alg":"$","x":` + strings.Repeat("[", 20) + strings.Repeat("]", 20) + `}`,
		"nested 1,000 deep":        `{"alg":"$","x":` + strings.Repeat("[", 1000) + strings.Repeat("]", 1000) + `}`,
		"nested and unclosed":      `{"alg":"$","x":` + strings.Repeat(`{"a":`, 800),
		"twice at depth":           `{"alg":"$","x":[{"y":{"a":1,"a":2}}]}`,
		"number past float64":      `{"alg":"$","x":1e400}`,
	}
	for _, none := range nones {
		tests["alg "+none] = `{"alg":"` + none + `"}`
	}
	if len(tests) < 80 {
		t.Errorf("%d attacks, want 80 at least", len(tests))
	}
	for _, s := range modes(t) {
		v := newVerifier(t, s.config)
		for name, header := range tests {
			t.Run(s.name+"/"+name, func(t *testing.T) {
				refuse(t, v, sign(s.alg, s.key, strings.ReplaceAll(header, "$", s.alg), goodClaims))
			})
		}
	}
}

// The ids below are attacks on whoever looks keys up in a file, a database
// or at a URL. Here they are texts that are no key's id.
func TestKeyIDAttacks(t *testing.T) {
	keys := newEndpoint(t, setOf(entry(&rsaKey().PublicKey, "k1", nil)))
	v := newVerifier(t, Config{JWKSURL: keys.URL})
	for name, kid := range map[string]string{
		"traversal": "../../../../dev/null", "SQL": "k1' OR '1'='1", "URL": "http://127.0.0.1:1/k", "NUL": `k1\u0000`,
		"case": "K1", "blank": " k1", "long": strings.Repeat("k", 5000), "prefix": "k", "wildcard": "*", "regexp": "k.",
		"command": "`id`", "full-width": "ｋ1", "list in text": `[\"k1\"]`,
	} {
		t.Run(name, func(t *testing.T) {
			refuse(t, v, good("RS256", rsaKey(), kid))
		})
	}
	if n := keys.count(); n > 2 {
		t.Errorf("%d fetches for unknown ids, want at most 2", n)
	}
}

// An empty user equals an empty subject, and is still nobody.
func TestNobody(t *testing.T) {
	claims := goodClaims
	for _, name := range []string{"sub", "uid"} {
		claims = swap(t, claims, `"`+name+`":"0123456789abcdef0123456789abcdef"`, `"`+name+`":""`)
	}
	refuse(t, newVerifier(t, Config{}), sign("HS256", secret, goodHeader("HS256", ""), claims))
}

// TestClaimAttacks signs each change, so that nothing but the claims can be
// why it is refused.
func TestClaimAttacks(t *testing.T) {
	const (
		iss, aud = `"iss":"https://www.kibocommerce.com"`, `"aud":"https://www.kibocommerce.com"`
		exp, nbf = `"exp":1772368200`, `"nbf":1772366340`
		iat      = `"iat":1772366340`
		user     = `"https://www.kibocommerce.com/user_claims":{`
		uid      = `"uid":"0123456789abcdef0123456789abcdef"`
		sub      = `"sub":"0123456789abcdef0123456789abcdef"`
		account  = `"b.AccountId":"1007"`
		anon     = `"anon":"0"`
		st       = `"st":"Shopper"`
		inner    = `"exp":"2026-03-01T12:14:00"`
	)
	tests := []struct{ name, old, new string }{
		{"iss missing", iss + ",", ""},
		{"iss null", iss, `"iss":null`},
		{"iss number", iss, `"iss":1`},
		{"iss list", iss, `"iss":["https://www.kibocommerce.com"]`},
		{"iss empty", iss, `"iss":""`},
		{"iss with slash", iss, `"iss":"https://www.kibocommerce.com/"`},
		{"iss http", iss, `"iss":"http://www.kibocommerce.com"`},
		{"iss upper case", iss, `"iss":"HTTPS://www.kibocommerce.com"`},
		{"iss prefix", iss, `"iss":"https://www.kibocommerce.co"`},
		{"iss suffixed", iss, `"iss":"https://www.kibocommerce.com.evil.example"`},
		{"iss with blank", iss, `"iss":"https://www.kibocommerce.com "`},
		{"iss twice", iss, iss + `,"iss":"x"`},
		{"iss in two cases", iss, iss + `,"ISS":"x"`},
		{"aud missing", aud + ",", ""},
		{"aud null", aud, `"aud":null`},
		{"aud number", aud, `"aud":1`},
		{"aud true", aud, `"aud":true`},
		{"aud empty", aud, `"aud":""`},
		{"aud empty list", aud, `"aud":[]`},
		{"aud other", aud, `"aud":"https://evil.example"`},
		{"aud others", aud, `"aud":["a","b"]`},
		{"aud prefix", aud, `"aud":"https://www.kibocommerce"`},
		{"aud suffixed", aud, `"aud":"https://www.kibocommerce.com@evil.example"`},
		{"aud list of lists", aud, `"aud":[["https://www.kibocommerce.com"]]`},
		{"aud object", aud, `"aud":{"https://www.kibocommerce.com":true}`},
		{"aud with a number beside", aud, `"aud":["https://www.kibocommerce.com",1]`},
		{"aud with null beside", aud, `"aud":[null,"https://www.kibocommerce.com"]`},
		{"aud case", aud, `"aud":"https://www.KiboCommerce.com"`},
		{"exp missing", exp + ",", ""},
		{"exp null", exp, `"exp":null`},
		{"exp text", exp, `"exp":"1772368200"`},
		{"exp true", exp, `"exp":true`},
		{"exp list", exp, `"exp":[1772368200]`},
		{"exp zero", exp, `"exp":0`},
		{"exp negative", exp, `"exp":-1772368200`},
		{"exp past", exp, `"exp":1772366370`},
		{"exp 1e400", exp, `"exp":1e400`},
		{"exp 1e300", exp, `"exp":1e300`},
		{"exp past int64", exp, `"exp":9223372036854775808`},
		{"exp in milliseconds", exp, `"exp":1772368200000`},
		{"exp 367 days ahead", exp, `"exp":1804075200`},
		{"exp twice", exp, exp + `,"exp":9999999999`},
		{"exp in two cases", exp, exp + `,"EXP":9999999999`},
		{"exp in another case only", exp, `"Exp":1772368200`},
		{"exp with long s", exp, exp + `,"i` + "\u017f" + `s":1`},
		{"nbf ahead", nbf, `"nbf":1772366431`},
		{"nbf null", nbf, `"nbf":null`},
		{"nbf text", nbf, `"nbf":"1772366340"`},
		{"nbf 1e400", nbf, `"nbf":1e400`},
		{"iat ahead", iat, `"iat":1772366431`},
		{"iat null", iat, `"iat":null`},
		{"iat text", iat, `"iat":"now"`},
		{"iat list", iat, `"iat":[]`},
		{"inner exp past", inner, `"exp":"2026-03-01T11:59:30"`},
		{"inner exp null", inner, `"exp":null`},
		{"inner exp number", inner, `"exp":1772367240`},
		{"inner exp empty", inner, `"exp":""`},
		{"inner exp with zone", inner, `"exp":"2026-03-01T12:14:00+01:00"`},
		{"inner exp date only", inner, `"exp":"2026-03-01"`},
		{"inner exp with blank", inner, `"exp":"2026-03-01 12:14:00"`},
		{"inner exp 31 February", inner, `"exp":"2026-02-31T12:14:00"`},
		{"inner exp twice", inner, inner + `,"exp":"2036-03-01T12:14:00"`},
		{"sub missing", sub + ",", ""},
		{"sub empty", sub, `"sub":""`},
		{"sub number", sub, `"sub":1`},
		{"sub null", sub, `"sub":null`},
		{"sub of another", sub, `"sub":"ffffffffffffffffffffffffffffffff"`},
		{"sub case", sub, `"sub":"0123456789ABCDEF0123456789abcdef"`},
		{"sub in two cases", sub, sub + `,"Sub":"x"`},
		{"uid missing", uid + ",", ""},
		{"uid of another", uid, `"uid":"ffffffffffffffffffffffffffffffff"`},
		{"uid number", uid, `"uid":5`},
		{"user claims missing", user, `"x":{`},
		{"user claims in another case", user, `"https://www.kibocommerce.com/User_claims":{`},
		{"user claims twice", user, user + `},` + user},
		{"user claims as list", user, `"https://www.kibocommerce.com/user_claims":[],"x":{`},
		{"user claims as text", user, `"https://www.kibocommerce.com/user_claims":"{}","x":{`},
		{"user claims null", user, `"https://www.kibocommerce.com/user_claims":null,"x":{`},
		{"anonymous", anon, `"anon":"1"`},
		{"anon true", anon, `"anon":true`},
		{"anon false", anon, `"anon":false`},
		{"anon number", anon, `"anon":1`},
		{"anon false", anon, `"anon":false`},
		{"anon null", anon, `"anon":null`},
		{"anon empty", anon, `"anon":""`},
		{"anon twice", anon, anon + `,"anon":"1"`},
		{"anon in two cases", anon, anon + `,"ANON":"1"`},
		{"employee", st, `"st":"Tenant"`},
		{"st case", st, `"st":"shopper"`},
		{"st null", st, `"st":null`},
		{"st list", st, `"st":["Shopper"]`},
		{"account missing", account + ",", ""},
		{"account null", account, `"b.AccountId":null`},
		{"account empty", account, `"b.AccountId":""`},
		{"account zero", account, `"b.AccountId":"0"`},
		{"account fraction", account, `"b.AccountId":1007.5`},
		{"account exponent", account, `"b.AccountId":1007e0`},
		{"account number below zero", account, `"b.AccountId":-1007`},
		{"account negative", account, `"b.AccountId":"-1"`},
		{"account with sign", account, `"b.AccountId":"+1007"`},
		{"account with zero before", account, `"b.AccountId":"01007"`},
		{"account hexadecimal", account, `"b.AccountId":"0x3ef"`},
		{"account in other digits", account, `"b.AccountId":"١٠٠٧"`},
		{"account with blank", account, `"b.AccountId":"1007 "`},
		{"account of 20 digits", account, `"b.AccountId":"10071007100710071007"`},
		{"account injects a header", account, `"b.AccountId":"1007\r\nX: y"`},
		{"account twice", account, account + `,"b.AccountId":"1"`},
		{"account in two cases", account, account + `,"b.accountid":"1"`},
		{"tenant of another", `"b.TenantId":"12345"`, `"b.TenantId":"12346"`},
		{"tenant missing", `"b.TenantId":"12345",`, ``},
		{"tenant number", `"b.TenantId":"12345"`, `"b.TenantId":123450`},
		{"tenant list", `"b.TenantId":"12345"`, `"b.TenantId":["12345"]`},
		{"tenant prefix", `"b.TenantId":"12345"`, `"b.TenantId":"123"`},
		{"site of another", `"b.SiteId":"67890"`, `"b.SiteId":"67891"`},
		{"site missing", `"b.SiteId":"67890",`, ``},
		{"name is an object", `"Zoë"`, `{"x":1}`},
		{"sid number", `"sid":"fedcba9876543210fedcba9876543210"`, `"sid":7`},
		{"invalid UTF-8", "Zoë", "Zo\xeb"},
		{"nested too deep", user, user + `"deep":` + strings.Repeat("[", 19) + strings.Repeat("]", 19) + `,`},
		{"number past float64 anywhere", `"rnd":-5`, `"rnd":1e999`},
		{"data after", `"{\"i\":\"1\"}"}}`, `""}}{}`},
		{"brace missing", `"{\"i\":\"1\"}"}}`, `""}`},
	}
	if len(tests) < 100 {
		t.Errorf("%d attacks, want 100 at least", len(tests))
	}
	for _, s := range modes(t) {
		s.config.Tenant, s.config.Site = "12345", "67890"
		v := newVerifier(t, s.config)
		for _, tt := range tests {
			t.Run(s.name+"/"+tt.name, func(t *testing.T) {
				refuse(t, v, sign(s.alg, s.key, goodHeader(s.alg, ""), swap(t, goodClaims, tt.old, tt.new)))
			})
		}
	}
}
