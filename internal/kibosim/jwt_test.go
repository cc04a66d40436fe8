package kibosim

import (
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// claimsOf reads claims without looking at the signature.
func claimsOf(t *testing.T, token string) jwtClaims {
	t.Helper()
	var claims jwtClaims
	text, _, _, ok := splitJWT(token)
	if !ok || !readClaims(text, &claims) {
		t.Fatalf("no claims in %q", token)
	}
	return claims
}

// publishedKeys reads /__sim/jwks as a verifier would.
func publishedKeys(t *testing.T, c *client) map[string]*rsa.PublicKey {
	t.Helper()
	a := c.do("GET", "/__sim/jwks", "", "Authorization", "")
	c.wantStatus(a, http.StatusOK)
	var set struct{ Keys []jwk }
	if err := json.Unmarshal(a.body, &set); err != nil {
		t.Fatal(err)
	}
	keys := map[string]*rsa.PublicKey{}
	for _, k := range set.Keys {
		n, err1 := base64.RawURLEncoding.DecodeString(k.N)
		e, err2 := base64.RawURLEncoding.DecodeString(k.E)
		if err := errors.Join(err1, err2); err != nil {
			t.Fatal(err)
		}
		keys[k.Kid] = &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(new(big.Int).SetBytes(e).Int64())}
	}
	return keys
}

// verify checks a token with an independent library.
func verify(t *testing.T, c *client, token string, algs ...string) error {
	t.Helper()
	_, err := jwt.Parse(token, func(tk *jwt.Token) (any, error) {
		if tk.Method.Alg() == "HS256" {
			return []byte(JWTSecret), nil
		}
		kid, _ := tk.Header["kid"].(string)
		key, ok := publishedKeys(t, c)[kid]
		if !ok {
			return nil, errors.New("unknown kid")
		}
		return key, nil
	}, jwt.WithValidMethods(algs), jwt.WithIssuer(issuer), jwt.WithAudience(issuer), jwt.WithExpirationRequired())
	return err
}

func TestGenuineJWT(t *testing.T) {
	c := newClient(t)
	c.sim.Set(func(sw *Switches) { sw.AppTokenTTL = 40 * time.Minute })
	c.token = c.appToken()
	a := c.signIn("zoe@example.com")
	token := a.text("jwtAccessToken")
	if err := verify(t, c, token, "HS256"); err != nil {
		t.Fatalf("verify: %v", err)
	}
	_, _, header, _ := splitJWT(token)
	if header != (jwtHeader{Alg: "HS256", Typ: "JWT"}) {
		t.Errorf("header = %+v, want HS256 without kid", header)
	}
	claims := claimsOf(t, token)
	if claims.Subject != a.text("userId") || claims.UniqueName != claims.Subject || claims.User.UserID != claims.Subject {
		t.Errorf("sub, unique_name, uid = %s, %s, %s; want %s", claims.Subject, claims.UniqueName, claims.User.UserID, a.text("userId"))
	}
	if got := claims.Expires - claims.IssuedAt; got < 2390 || got > 2400 {
		t.Errorf("exp is iat + %d s, want that of the app token, 2400", got)
	}
	inner, err := time.Parse(claimTime, claims.User.Expires)
	if left := inner.Unix() - claims.IssuedAt; err != nil || left < 899 || left > 900 {
		t.Errorf("inner exp is iat + %d s (%v), want 900", left, err)
	}
	if claims.User.TenantID != Tenant || claims.User.SiteID != Site || claims.User.AccountID != "1003" || claims.User.LastName != "Ångström-日本" {
		t.Errorf("user claims = %+v", claims.User)
	}
	var sess struct{ I string }
	if err := json.Unmarshal([]byte(claims.User.Session), &sess); err != nil || sess.I != claims.SessionID {
		t.Errorf("b._sess_ = %s (%v), want i = %s", claims.User.Session, err, claims.SessionID)
	}
	if len(token) < 1200 || len(token) > 2200 {
		t.Errorf("length = %d, want about 1600", len(token))
	}
}

func TestJWTVariants(t *testing.T) {
	soon := func(unix int64, want time.Duration) bool {
		d := time.Until(time.Unix(unix, 0)) - want
		return -5*time.Second < d && d <= time.Second
	}
	inner := func(c jwtClaims) int64 {
		end, _ := time.Parse(claimTime, c.User.Expires)
		return end.Unix()
	}
	tests := []struct {
		variant string
		hs, rs  bool // accepted by the shared secret, by the published keys
		spoilt  func(h jwtHeader, c jwtClaims) bool
	}{
		{"alg_none", false, false, func(h jwtHeader, _ jwtClaims) bool { return h.Alg == "none" }},
		{"wrong_secret", false, false, func(h jwtHeader, _ jwtClaims) bool { return h.Alg == "HS256" }},
		{"rs256", false, true, func(h jwtHeader, _ jwtClaims) bool { return h.Kid == "sim-1" }},
		{"unknown_key", false, false, func(h jwtHeader, _ jwtClaims) bool { return h.Alg == "RS256" && h.Kid == "sim-unknown" }},
		{"rs256,no_kid", false, false, func(h jwtHeader, _ jwtClaims) bool { return h.Alg == "RS256" && h.Kid == "" }},
		{"key_confusion", false, false, func(h jwtHeader, _ jwtClaims) bool { return h.Alg == "HS256" && h.Kid == "sim-1" }},
		{"missing_user_claims", true, false, func(_ jwtHeader, c jwtClaims) bool { return c.User == nil }},
		{"missing_user_claims,wrong_site", true, false, func(_ jwtHeader, c jwtClaims) bool { return c.User == nil }},
		{"wrong_tenant", true, false, func(_ jwtHeader, c jwtClaims) bool { return c.User.TenantID != Tenant }},
		{"wrong_site", true, false, func(_ jwtHeader, c jwtClaims) bool { return c.User.SiteID != Site }},
		{"rs256,wrong_site", false, true, func(_ jwtHeader, c jwtClaims) bool { return c.User.SiteID != Site }},
		{"wrong_account", true, false, func(_ jwtHeader, c jwtClaims) bool { return c.User.AccountID != "1001" }},
		{"anonymous", true, false, func(_ jwtHeader, c jwtClaims) bool { return c.User.Anonymous == "1" }},
		{"wrong_issuer", false, false, func(_ jwtHeader, c jwtClaims) bool { return c.Issuer != issuer }},
		{"wrong_audience", false, false, func(_ jwtHeader, c jwtClaims) bool { return c.Audience != issuer }},
		{"wrong_subject", true, false, func(_ jwtHeader, c jwtClaims) bool { return c.Subject != c.User.UserID }},
		{"exp_after_inner", true, false, func(_ jwtHeader, c jwtClaims) bool {
			return soon(c.Expires, time.Hour) && soon(inner(c), time.Minute)
		}},
		{"inner_past", true, false, func(_ jwtHeader, c jwtClaims) bool { return soon(inner(c), -5*time.Minute) }},
		{"exp_soon", true, false, func(_ jwtHeader, c jwtClaims) bool { return soon(c.Expires, 2*time.Minute) }},
		{"exp_past", false, false, func(_ jwtHeader, c jwtClaims) bool { return soon(c.Expires, -5*time.Minute) }},
		{"nbf_future", false, false, func(_ jwtHeader, c jwtClaims) bool { return soon(c.NotBefore, 10*time.Minute) }},
	}
	tried := map[string]bool{"garbage": true} // below
	c := newClient(t)
	for _, tt := range tests {
		for name := range strings.SplitSeq(tt.variant, ",") {
			tried[name] = true
		}
		t.Run(tt.variant, func(t *testing.T) {
			c.sim.Set(func(sw *Switches) { sw.JWT = tt.variant })
			a := c.signIn("jane@example.com")
			for from, token := range map[string]string{
				"ticket": a.text("jwtAccessToken"), "Issue": c.sim.Issue(tt.variant, "jane@example.com"),
			} {
				_, _, header, _ := splitJWT(token)
				if !tt.spoilt(header, claimsOf(t, token)) {
					t.Errorf("%s: not spoilt: %s", from, token)
				}
				if err := verify(t, c, token, "HS256"); (err == nil) != tt.hs {
					t.Errorf("%s: HS256 check: %v, want accepted: %v", from, err, tt.hs)
				}
				if err := verify(t, c, token, "RS256"); (err == nil) != tt.rs {
					t.Errorf("%s: RS256 check: %v, want accepted: %v", from, err, tt.rs)
				}
			}
		})
	}
	for name := range variants() {
		if !tried[name] {
			t.Errorf("variant %q has no test", name)
		}
	}
	if got := c.sim.Issue("garbage", "jane@example.com"); got != "not.a.token" {
		t.Errorf("garbage = %q", got)
	}
	if got := c.sim.Issue("", "nobody@example.com"); got != "" {
		t.Errorf("a token for nobody: %q", got)
	}
}

// The classic: the public key is no secret, so it must not verify as one.
func TestKeyConfusionTokenIsSignedWithThePublicKey(t *testing.T) {
	c := newClient(t)
	text, sig, _, _ := splitJWT(c.sim.Issue("key_confusion", "jane@example.com"))
	if !slices.Equal(sig, hs256(text, publicPEM(c.sim.keys.current()))) {
		t.Error("not signed with the PEM of the public key")
	}
}

func TestKeyRotation(t *testing.T) {
	c := newClient(t)
	old := c.sim.Issue("rs256", "jane@example.com")
	rotate := func(query, want string) {
		t.Helper()
		if got := c.do("POST", "/__sim/keys/rotate"+query, "").text("kid"); got != want {
			t.Errorf("new key = %q, want %q", got, want)
		}
	}
	rotate("", "sim-2")
	middle := c.sim.Issue("rs256", "jane@example.com")
	for _, token := range []string{old, middle} {
		if err := verify(t, c, token, "RS256"); err != nil {
			t.Errorf("both keys are published, but: %v", err)
		}
	}
	rotate("?drop=1", "sim-3")
	for _, token := range []string{old, middle} {
		if verify(t, c, token, "RS256") == nil {
			t.Error("a dropped key is still published")
		}
	}
	if err := verify(t, c, c.sim.Issue("rs256", "jane@example.com"), "RS256"); err != nil {
		t.Errorf("new key: %v", err)
	}
	if got := c.sim.Calls("jwks"); got != 5 {
		t.Errorf("Calls(jwks) = %d, want 5", got)
	}
}

func TestGraphQL(t *testing.T) {
	const query = `{"query":"query getUser { user: getCurrentAccount { id userId isAnonymous } }"}`
	c := newClient(t)
	jane := c.signIn("jane@example.com")
	anonymous := c.do("GET", authTickets+"/anonymousshopper", "")
	type member struct {
		ID          int
		UserID      string
		IsAnonymous bool
	}
	tests := []struct {
		name, body string
		header     []string
		status     int
		want       string // user ID; "": an error within 200
	}{
		{"user claims", query, []string{"x-vol-user-claims", jane.text("accessToken")}, 200, jane.text("userId")},
		{"JWT alone", query, []string{"Authorization", "Bearer " + jane.text("jwtAccessToken")}, 200, jane.text("userId")},
		{"RS256 JWT", query, []string{"Authorization", "Bearer " + c.sim.Issue("rs256", "jane@example.com")}, 200, jane.text("userId")},
		{"anonymous", query, []string{"x-vol-user-claims", anonymous.text("accessToken")}, 200, anonymous.text("userId")},
		{"no shopper", query, nil, 200, ""},
		{"garbled shopper", query, []string{"x-vol-user-claims", "x"}, 200, ""},
		{"other query", `{"query":"{ products { items } }"}`, []string{"x-vol-user-claims", jane.text("accessToken")}, 200, ""},
		{"no bearer", query, []string{"Authorization", ""}, 401, ""},
		{"forged JWT", query, []string{"Authorization", "Bearer " + c.sim.Issue("wrong_secret", "jane@example.com")}, 401, ""},
		{"JWT past its inner end", query, []string{"Authorization", "Bearer " + c.sim.Issue("inner_past", "jane@example.com")}, 401, ""},
		{"empty", "", nil, 400, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := c.do("POST", "/graphql", tt.body, tt.header...)
			c.wantStatus(a, tt.status)
			var got struct {
				Data   struct{ User member }
				Errors []any
			}
			if err := json.Unmarshal(a.body, &got); err != nil {
				t.Fatal(err)
			}
			if got.Data.User.UserID != tt.want || tt.status == 200 && (len(got.Errors) > 0) == (tt.want != "") {
				t.Errorf("answer = %s, want user %q", a.body, tt.want)
			}
		})
	}
	c.sim.Advance(15 * time.Minute)
	a := c.do("POST", "/graphql", query, "x-vol-user-claims", jane.text("accessToken"))
	if a.field("errors") == nil {
		t.Errorf("an expired access token gives %s", a.body)
	}
}
