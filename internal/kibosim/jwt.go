package kibosim

import (
	"cmp"
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"strconv"
	"strings"
	"time"
)

const issuer = "https://www.kibocommerce.com"

// claimTime is the form of the inner exp claims: UTC, but it does not say so.
const claimTime = "2006-01-02T15:04:05"

type jwtHeader struct {
	Alg string `json:"alg"`
	Typ string `json:"typ"`
	Kid string `json:"kid,omitempty"` // genuine HS256 tokens have none
}

// jwtClaims are the claims of a jwtAccessToken: the application's and the
// shopper's rights side by side.
type jwtClaims struct {
	Issuer     string      `json:"iss"`
	Audience   string      `json:"aud"`
	Subject    string      `json:"sub"`
	UniqueName string      `json:"unique_name"`
	SessionID  string      `json:"sid"`
	IssuedAt   int64       `json:"iat"`
	NotBefore  int64       `json:"nbf"`
	Expires    int64       `json:"exp"` // the end of the app token, not of the ticket
	App        appClaims   `json:"https://www.kibocommerce.com/app_claims"`
	User       *userClaims `json:"https://www.kibocommerce.com/user_claims,omitempty"`
}

type appClaims struct {
	SSL        string `json:"ssl"`
	ENT        string `json:"ent"`
	MTR        string `json:"mtr"`
	UC         string `json:"uc"`
	Random     int32  `json:"rnd"`
	AppID      string `json:"aid"`
	AppKey     string `json:"akey"`
	Behaviours []int  `json:"bv"` // pairs: word, mask of 32 bits
	Expires    string `json:"exp"`
	Env        string `json:"env"`
	AppName    string `json:"b.AppName"`
}

type userClaims struct {
	Random      int32  `json:"rnd"`
	Anonymous   string `json:"anon"` // "0" or "1"
	UserID      string `json:"uid"`
	Behaviours  []int  `json:"bv"`
	Env         string `json:"env"`
	Expires     string `json:"exp"`
	SubjectType string `json:"st"`
	TenantID    string `json:"b.TenantId"`
	SiteID      string `json:"b.SiteId"`
	AccountID   string `json:"b.AccountId"`
	PreviousID  string `json:"b.PreviousAnonymousId,omitempty"`
	FirstName   string `json:"b.UserFirstName"`
	LastName    string `json:"b.UserLastName"`
	Session     string `json:"b._sess_"` // JSON within the JSON
}

// A jwtDraft is a token that a variant can still spoil.
type jwtDraft struct {
	header jwtHeader
	claims jwtClaims
	secret string          // for HS256
	key    *rsa.PrivateKey // for RS256
	raw    string          // instead of all that
}

// sign returns the compact form of a token with the given claims.
func (d jwtDraft) sign(claims any) string {
	if d.raw != "" {
		return d.raw
	}
	text := segment(d.header) + "." + segment(claims)
	return text + "." + base64.RawURLEncoding.EncodeToString(d.signature(text))
}

func (d jwtDraft) signature(text string) []byte {
	switch d.header.Alg {
	case "HS256":
		return hs256(text, d.secret)
	case "RS256":
		sum := sha256.Sum256([]byte(text))
		sig, err := rsa.SignPKCS1v15(rand.Reader, d.key, crypto.SHA256, sum[:])
		if err != nil {
			panic("kibosim: signing: " + err.Error()) // our own key fits
		}
		return sig
	default:
		return nil
	}
}

func hs256(text, secret string) []byte {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(text))
	return mac.Sum(nil)
}

func segment(v any) string {
	return base64.RawURLEncoding.EncodeToString(jsonReply(0, v).body)
}

// openHS256 reads the claims of a token that JWTSecret signed.
func openHS256(token string, claims any) bool {
	text, sig, header, ok := splitJWT(token)
	return ok && header.Alg == "HS256" && hmac.Equal(sig, hs256(text, JWTSecret)) && readClaims(text, claims)
}

func splitJWT(token string) (text string, sig []byte, header jwtHeader, ok bool) {
	dot := strings.LastIndexByte(token, '.')
	if dot < 0 {
		return "", nil, header, false
	}
	sig, err := base64.RawURLEncoding.DecodeString(token[dot+1:])
	head, _, found := strings.Cut(token[:dot], ".")
	if err != nil || !found || !readSegment(head, &header) {
		return "", nil, header, false
	}
	return token[:dot], sig, header, true
}

func readClaims(text string, claims any) bool {
	_, payload, _ := strings.Cut(text, ".")
	return readSegment(payload, claims)
}

func readSegment(segment string, v any) bool {
	raw, err := base64.RawURLEncoding.DecodeString(segment)
	return err == nil && json.Unmarshal(raw, v) == nil
}

// openShopperJWT checks a jwtAccessToken that came back as a bearer token.
func (s *Sim) openShopperJWT(token string, now time.Time) (userClaims, bool) {
	text, sig, header, ok := splitJWT(token)
	if !ok || !s.signedByUs(text, sig, header) {
		return userClaims{}, false
	}
	var claims jwtClaims
	if !readClaims(text, &claims) || claims.User == nil || now.Unix() >= claims.Expires {
		return userClaims{}, false
	}
	inner, err := time.Parse(claimTime, claims.User.Expires)
	return *claims.User, err == nil && now.Before(inner)
}

func (s *Sim) signedByUs(text string, sig []byte, header jwtHeader) bool {
	if header.Alg == "HS256" {
		return hmac.Equal(sig, hs256(text, JWTSecret))
	}
	key := s.keys.find(header.Kid)
	if header.Alg != "RS256" || key == nil {
		return false
	}
	sum := sha256.Sum256([]byte(text))
	return rsa.VerifyPKCS1v15(&key.PublicKey, crypto.SHA256, sum[:], sig) == nil
}

// jwtFor is what a customer's JWT is made from.
type jwtFor struct {
	customer   *Customer
	session    id
	appExpires time.Time
	accessTTL  time.Duration
	previous   string // user ID of the anonymous shopper before, if any
}

// shopperJWT returns a jwtAccessToken. Its exp is that of the app token with
// which it was fetched; only the inner one is the ticket's.
func (s *Sim) shopperJWT(f jwtFor, variant string, now time.Time) string {
	c := f.customer
	anonymous := "0"
	if c.anonymous {
		anonymous = "1"
	}
	inner := now.Add(cmp.Or(f.accessTTL, defaultAccessTTL)).Format(claimTime)
	d := jwtDraft{
		header: jwtHeader{Alg: "HS256", Typ: "JWT"},
		secret: JWTSecret,
		claims: jwtClaims{
			Issuer: issuer, Audience: issuer,
			Subject: c.userID.String(), UniqueName: c.userID.String(), SessionID: f.session.String(),
			IssuedAt: now.Unix(), NotBefore: now.Unix(), Expires: f.appExpires.Unix(),
			App: s.appClaims(f.appExpires),
			User: &userClaims{
				Random: 1592653589, Anonymous: anonymous, UserID: c.userID.String(),
				Behaviours: []int{31, 4194304, 32, 8193}, Env: "sim", Expires: inner, SubjectType: "Shopper",
				TenantID: Tenant, SiteID: Site, AccountID: strconv.Itoa(c.AccountID),
				PreviousID: f.previous, FirstName: c.FirstName, LastName: c.LastName,
				Session: sessionClaim(f.session, now, inner),
			},
		},
	}
	s.vary(&d, variant, now)
	return d.sign(d.claims)
}

// sessionClaim is the text in b._sess_. Only the meaning of i is known.
func sessionClaim(session id, now time.Time, expires string) string {
	return string(jsonReply(0, struct {
		I  string `json:"i"`
		P  string `json:"p"`
		P2 string `json:"p2"`
		BT int    `json:"bt"`
		C  string `json:"c"`
		E  string `json:"e"`
	}{I: session.String(), C: now.Format(claimTime), E: expires}).body)
}

func (s *Sim) appClaims(expires time.Time) appClaims {
	return appClaims{
		SSL: "0", ENT: "0", MTR: "0", UC: "0", Random: 271828182,
		AppID: userIDOf(s.o.ClientID).String(), AppKey: s.o.ClientID,
		Behaviours: []int{0, 1073741824, 4, 528, 6, -2147483648, 31, 6291456, 32, 8195, 40, 96, 58, 1},
		Expires:    expires.Format(claimTime), Env: "sim", AppName: "Demo Gateway",
	}
}
