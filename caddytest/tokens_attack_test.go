package caddytest

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kiboauth/caddy-kibo-auth/internal/kibosim"
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

// malformed are refused in every mode: their form, header or claims are bad.
func malformed() map[string]forgery {
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
	for name, f := range malformed() {
		all[name] = trap(f)
	}
	if s.name != "direct" {
		for name, f := range unproven() {
			all[name] = trap(f)
		}
	}
	return all
}

// checkToken wants nothing of a token in an answer.
func checkToken(t *testing.T, r *reply, token string) {
	t.Helper()
	checkHidden(t, r)
	for part := range strings.SplitSeq(token, ".") {
		if len(part) > 40 && strings.Contains(summary(r), part[:40]) {
			t.Errorf("the answer shows the token:\n%.800s", summary(r))
		}
	}
}

// TestForgedTokenAtSignIn: in every mode a bad token makes no session, and the
// answer blames nobody and shows nothing.
func TestForgedTokenAtSignIn(t *testing.T) {
	for _, s := range signings(t) {
		t.Run(s.name, func(t *testing.T) {
			w, f := startForged(t, s.verify)
			f.sign(func(claims string) string { return s.sign(s.header, claims) })
			w.browser().signIn(w, jane) // the mode trusts what is good
			tries := s.against(w)
			for name, forge := range tries {
				t.Run(name, func(t *testing.T) {
					b := w.browser()
					code := b.askCode(w, jane)
					sent := ""
					f.sign(func(claims string) string { sent = forge(claims); return sent })
					r := b.giveCode(jane, code)
					checkUnavailable(t, r, http.StatusServiceUnavailable)
					checkToken(t, r, sent)
					if sessionLine(r) != "" || b.cookies[sessionCookie] != "" || b.signedInAs("/") != "" {
						t.Error("somebody is in")
					}
				})
			}
			f.sign(func(claims string) string { return s.sign(s.header, claims) })
			w.browser().signIn(w, jane)
			f.check(t, w)
			t.Logf("%d forgeries", len(tries))
		})
	}
}

// garbled are tokens that cannot be part of a good answer, as they are too
// long or not even visible ASCII: the answer as a whole counts as Kibo's
// trouble, as if it were cut, and the session waits.
var garbled = []string{
	"blank", "line feed inside", "CRLF after", "NUL after", "200,000 dots", "1 MiB", "nested 100,000 deep", "kid of 60 KB",
}

// TestForgedTokenAtRefresh: in every mode a bad token ends the session, at
// once and for good, and the shop is not asked.
func TestForgedTokenAtRefresh(t *testing.T) {
	for _, s := range signings(t) {
		t.Run(s.name, func(t *testing.T) {
			w, f := startForged(t, s.verify)
			for name, forge := range s.against(w) {
				t.Run(name, func(t *testing.T) {
					f.sign(func(claims string) string { return s.sign(s.header, claims) })
					b := w.lapsed(jane)
					sent := ""
					f.sign(func(claims string) string { sent = forge(claims); return sent })
					w.shop.got()
					calls, kept := w.sim.Calls("refresh"), b.clone()
					page, script := b.open("/account"), kept.do(http.MethodGet, "/account", nil, asScript)
					checkToken(t, page, sent)
					checkToken(t, script, sent)
					if slices.Contains(garbled, name) {
						checkUnavailable(t, page, http.StatusServiceUnavailable)
						checkUnavailable(t, script, http.StatusServiceUnavailable)
					} else {
						checkEnded(t, b, page, script)
					}
					if w.shop.got() != nil {
						t.Error("the shop was asked")
					}
					if n := w.sim.Calls("refresh") - calls; n != 1 {
						t.Errorf("%d refresh calls, want 1", n)
					}
				})
			}
			f.check(t, w)
		})
	}
}

// checkEnded wants the answers of a session that has ended.
func checkEnded(t *testing.T, b *browser, page, script *reply) {
	t.Helper()
	if page.status != http.StatusSeeOther || !strings.HasPrefix(page.location(), "/login?") || b.cookies[sessionCookie] != "" {
		t.Errorf("got %d to %q, want the login form and the cookie taken back", page.status, page.location())
	}
	if script.status != http.StatusUnauthorized {
		t.Errorf("afterwards: %d, want 401", script.status)
	}
}

// check wants an empty trap and few fetches of keys.
func (f *forger) check(t *testing.T, w *world) {
	t.Helper()
	if n := f.trapped.Load(); n != 0 {
		t.Errorf("the trap had %d visitors", n)
	}
	if n := f.fetched.Load(); n > 10 {
		t.Errorf("%d fetches of the keyset, want 10 at most", n)
	}
	if n := w.sim.Calls("other"); n != 0 {
		t.Errorf("%d calls to addresses that Kibo does not have", n)
	}
}

// TestForgedKeyIDFlood: neither Kibo nor a stranger can make the gateway ask
// for keys again and again.
func TestForgedKeyIDFlood(t *testing.T) {
	token := func(i int, claims string) string {
		return rs256(keyOfStranger(), fmt.Sprintf(`{"alg":"RS256","kid":"flood-%d"}`, i), claims)
	}
	anonymous := func(t *testing.T, w *world) {
		claims := claimsOf(w.sim.Issue("", jane))
		var all sync.WaitGroup
		for i := range 200 {
			all.Go(func() {
				forged := token(i, claims)
				note("forged token", forged)
				r := w.browser().do(http.MethodGet, "/account", nil, asScript, header("Authorization", "Bearer "+forged))
				if r.status != http.StatusUnauthorized {
					t.Errorf("got %d, want 401", r.status)
				}
				checkToken(t, r, forged)
			})
		}
		all.Wait()
	}
	t.Run("anonymous clients", func(t *testing.T) {
		w, f := startForged(t, "jwks FORGER/keys")
		anonymous(t, w)
		if n := f.fetched.Load(); n != 0 {
			t.Errorf("%d fetches, want none", n)
		}
	})
	t.Run("bearers", func(t *testing.T) {
		w, f := startForged(t, "jwks FORGER/keys\nbearer")
		anonymous(t, w)
		if n := f.fetched.Load(); n < 1 || n > 3 {
			t.Errorf("%d fetches, want 1 to 3", n)
		}
		good := rs256(keyOfKibo(), `{"alg":"RS256","kid":"kibo"}`, claimsOf(w.sim.Issue("", jane)))
		if r := w.browser().do(http.MethodGet, "/account", nil, header("Authorization", "Bearer "+good)); r.body != "shop for "+janeID {
			t.Errorf("a good bearer afterwards: %d %q", r.status, r.body)
		}
	})
	t.Run("200 sign-ins", func(t *testing.T) {
		w, f := startForged(t, "jwks FORGER/keys")
		w.browser().signIn(w, jane)
		var i int
		var mu sync.Mutex
		f.sign(func(claims string) string {
			mu.Lock()
			defer mu.Unlock()
			i++
			return token(i, claims)
		})
		lane := make(chan struct{}, 20)
		var all sync.WaitGroup
		for n := range 200 {
			all.Go(func() {
				lane <- struct{}{}
				defer func() { <-lane }()
				email := fmt.Sprintf("flood%d@shop.test", n)
				w.sim.AddCustomer(kibosim.Customer{AccountID: 7000 + n, Email: email})
				b := w.browser()
				if r := b.giveCode(email, b.askCode(w, email)); r.status != http.StatusServiceUnavailable || b.cookies[sessionCookie] != "" {
					t.Errorf("got %d, want 503 and no session", r.status)
				}
			})
		}
		all.Wait()
		if n := f.fetched.Load(); n > 10 {
			t.Errorf("%d fetches for 200 sign-ins, want 10 at most", n)
		}
		f.sign(nil)
		w.browser().signIn(w, jane)
	})
}

// TestTokenTimesAtTheLeeway: the gateway's clock and Kibo's may differ by the
// leeway and no more, in both directions. Where time works against the test,
// it keeps five seconds away from the limit.
func TestTokenTimesAtTheLeeway(t *testing.T) {
	const leeway = 30
	for _, lines := range []string{"jwks FORGER/keys", "jwks FORGER/keys\nleeway 10s"} {
		leeway := leeway
		if strings.Contains(lines, "10s") {
			leeway = 10
		}
		t.Run(fmt.Sprint(leeway, " seconds"), func(t *testing.T) {
			w, f := startForged(t, lines)
			for _, tt := range []struct {
				claim string
				shift int // seconds from now
				want  int
			}{
				{"exp", -(leeway + 1), 503},
				{"exp", -(leeway - 5), fine},
				{"nbf", leeway - 1, fine},
				{"nbf", leeway + 5, 503},
				{"iat", leeway - 1, fine},
				{"iat", leeway + 5, 503},
				{"inner", -(leeway + 1), 503},
				{"inner", -(leeway - 5), fine},
			} {
				b := w.browser()
				code := b.askCode(w, jane)
				f.sign(func(claims string) string {
					at := time.Now().Add(time.Duration(tt.shift) * time.Second)
					re, text := regexp.MustCompile(`"`+tt.claim+`":\d+`), fmt.Sprintf(`"%s":%d`, tt.claim, at.Unix())
					if tt.claim == "inner" {
						re, text = regexp.MustCompile(`"exp":"[^"]+","st"`), `"exp":"`+at.UTC().Format("2006-01-02T15:04:05")+`","st"`
					}
					if !re.MatchString(claims) {
						t.Errorf("no %s in the claims", tt.claim)
					}
					return rs256(keyOfKibo(), `{"alg":"RS256","kid":"kibo"}`, re.ReplaceAllString(claims, text))
				})
				if r := b.giveCode(jane, code); r.status != tt.want || (b.cookies[sessionCookie] != "") != (tt.want == fine) {
					t.Errorf("%s at %+ds: got %d, want %d", tt.claim, tt.shift, r.status, tt.want)
				}
			}
		})
	}
}

// TestClocksApart: what Kibo's clock may be off by.
func TestClocksApart(t *testing.T) {
	w := start(t, setup{gateway: quick})
	for _, tt := range []struct {
		off  time.Duration
		want int
	}{
		{0, fine}, {25 * time.Second, fine}, {-25 * time.Second, fine}, {-5 * time.Minute, fine}, // it lives for 15
		{time.Minute, 503}, {time.Hour, 503}, {-16 * time.Minute, 503}, {-24 * time.Hour, 503},
	} {
		b := w.browser()
		code := b.askCode(w, jane)
		w.sim.Advance(tt.off)
		w.sim.Set(func(sw *kibosim.Switches) { sw.CodeTTL = 48 * time.Hour })
		r := b.giveCode(jane, code)
		w.sim.Advance(-tt.off)
		w.sim.RevokeAppTokens()
		if r.status != tt.want || (b.cookies[sessionCookie] != "") != (tt.want == fine) {
			t.Errorf("Kibo's clock off by %s: got %d, want %d", tt.off, r.status, tt.want)
		}
	}
}
