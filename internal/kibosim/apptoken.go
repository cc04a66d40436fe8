package kibosim

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"encoding/hex"
	"net/http"
	"time"
)

const appRefreshTTL = 12 * time.Hour

// An appToken is what an application's bearer token says.
type appToken struct {
	expires time.Time
}

// appTokenClaims of an application token; Kibo does not document its own.
type appTokenClaims struct {
	Issuer     string    `json:"iss"`
	Audience   string    `json:"aud"`
	Subject    string    `json:"sub"`
	IssuedAt   int64     `json:"iat"`
	NotBefore  int64     `json:"nbf"`
	Expires    int64     `json:"exp"`
	ID         string    `json:"jti"`
	Generation int64     `json:"gen"` // the simulator's own: see RevokeAppTokens
	App        appClaims `json:"https://www.kibocommerce.com/app_claims"`
}

// oauth grants app tokens. The client sends JSON, not a form.
func (s *Sim) oauth(c *call) reply {
	var in struct {
		ClientID     string `json:"client_id"`
		ClientSecret string `json:"client_secret"`
		GrantType    string `json:"grant_type"`
		RefreshToken string `json:"refresh_token"`
	}
	if rp, ok := c.decode(&in); !ok {
		return rp
	}
	switch {
	case in.GrantType != "client_credentials" && in.GrantType != "refresh_token":
		return c.missing("grant_type")
	case in.RefreshToken != "": // Kibo's SDK then still says client_credentials
		if !s.appRefreshValid(in.RefreshToken, c) {
			return c.badApp("app_refresh")
		}
	case !same(in.ClientID, s.o.ClientID) || !same(in.ClientSecret, s.o.Secret):
		return c.badApp("app_credentials")
	}
	return s.grantAppToken(c)
}

func (c *call) badApp(reason string) reply {
	return c.fail(http.StatusUnauthorized, "AppDev", "INVALID_CREDENTIALS",
		"Invalid credentials. Please check the application id and shared secret.", reason)
}

func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

func (s *Sim) grantAppToken(c *call) reply {
	ttl := c.sw.appTokenTTL()
	expires := c.now.Add(ttl)
	token := jwtDraft{header: jwtHeader{Alg: "HS256", Typ: "JWT"}, secret: JWTSecret}.sign(appTokenClaims{
		Issuer: issuer, Audience: issuer, Subject: s.o.ClientID,
		IssuedAt: c.now.Unix(), NotBefore: c.now.Unix(), Expires: expires.Unix(),
		ID: newID().String(), Generation: s.appGeneration.Load(),
		App: s.appClaims(expires),
	})
	return jsonReply(http.StatusOK, struct {
		AccessToken  string `json:"access_token"`
		TokenType    string `json:"token_type"`
		ExpiresIn    int64  `json:"expires_in"` // seconds
		RefreshToken string `json:"refresh_token"`
	}{token, "bearer", int64(ttl / time.Second), newAppRefresh(c.now)})
}

// openAppToken checks an application's bearer token; the reason says what is
// wrong with it.
func (s *Sim) openAppToken(token string, now time.Time) (app appToken, reason string) {
	if token == "" {
		return appToken{}, "app_token_missing"
	}
	var claims appTokenClaims
	if !openHS256(token, &claims) || claims.Subject != s.o.ClientID {
		return appToken{}, "app_token_garbled"
	}
	expires := time.Unix(claims.Expires, 0).UTC()
	switch {
	case !now.Before(expires):
		return appToken{}, "app_token_expired"
	case claims.Generation != s.appGeneration.Load():
		return appToken{}, "app_token_revoked"
	}
	return appToken{expires: expires}, ""
}

// RevokeAppTokens makes every app token issued so far invalid.
func (s *Sim) RevokeAppTokens() { s.appGeneration.Add(1) }

// newAppRefresh returns a refresh token that proves its own age: issue time
// and half a MAC, 32 hex digits in all.
func newAppRefresh(now time.Time) string {
	t := binary.BigEndian.AppendUint64(nil, uint64(now.Unix()))
	return hex.EncodeToString(append(t, appRefreshMAC(t)...))
}

func appRefreshMAC(t []byte) []byte {
	mac := hmac.New(sha256.New, []byte(JWTSecret))
	mac.Write(t)
	return mac.Sum(nil)[:8]
}

func (s *Sim) appRefreshValid(token string, c *call) bool {
	raw, ok := parseID(token)
	if !ok || !hmac.Equal(raw[8:], appRefreshMAC(raw[:8])) {
		return false
	}
	issued := time.Unix(int64(binary.BigEndian.Uint64(raw[:8])), 0)
	switch c.sw.AppRefresh {
	case "always":
		return true
	case "never":
		return false
	default:
		return c.now.Sub(issued) < appRefreshTTL
	}
}
