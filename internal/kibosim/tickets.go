package kibosim

import (
	"cmp"
	"encoding/json"
	"net/http"
	"time"
)

const (
	defaultAppTokenTTL = time.Hour
	defaultAccessTTL   = 15 * time.Minute
	defaultRefreshTTL  = 24 * time.Hour
)

func (sw *Switches) appTokenTTL() time.Duration { return cmp.Or(sw.AppTokenTTL, defaultAppTokenTTL) }
func (sw *Switches) accessTTL() time.Duration   { return cmp.Or(sw.AccessTTL, defaultAccessTTL) }
func (sw *Switches) refreshTTL() time.Duration  { return cmp.Or(sw.RefreshTTL, defaultRefreshTTL) }

// wireTicket is Kibo's CustomerAuthTicket. Tokens are raw JSON because they may
// be texts, null, or left out.
type wireTicket struct {
	AccessToken            json.RawMessage `json:"accessToken,omitempty"`
	AccessTokenExpiration  any             `json:"accessTokenExpiration"`
	CustomerAccount        *wireAccount    `json:"customerAccount"`
	JWTAccessToken         json.RawMessage `json:"jwtAccessToken,omitempty"`
	RefreshToken           json.RawMessage `json:"refreshToken,omitempty"`
	RefreshTokenExpiration any             `json:"refreshTokenExpiration"`
	Requires2FA            bool            `json:"requires2FA"`
	UserID                 string          `json:"userId"`
}

// quoted is for tokens, whose characters need no escaping in JSON.
func quoted(token string) json.RawMessage { return json.RawMessage(`"` + token + `"`) }

func null() json.RawMessage { return json.RawMessage("null") }

// zeroDate is .NET's default of a date that nobody has set.
const zeroDate = "0001-01-01T00:00:00"

func wireDate(t time.Time, form string) any {
	switch form {
	case "zoneless":
		return t.UTC().Format("2006-01-02T15:04:05.0000000")
	case "zero":
		return zeroDate
	case "epoch_ms":
		return t.UnixMilli()
	default:
		return t.UTC().Format("2006-01-02T15:04:05.0000000Z")
	}
}

// A session is what tickets of one sign-in have in common.
type session struct {
	customer *Customer
	sid      id
	previous string // see jwtFor
}

// newTicket begins a session. A ticket that still needs the second factor but
// has tokens is a trap for clients that look at the tokens first.
func (s *Sim) newTicket(c *call, customer *Customer, life ttls, needs2FA bool) reply {
	from := session{customer: customer, sid: newID()}
	if old, ok := s.sealer.open(c.r.Header.Get("x-vol-user-claims")); ok && old.anonymous {
		from.previous = old.user.String() // the cart can follow the shopper
	}
	refresh, expires := newID(), c.now.Add(cmp.Or(life.refresh, c.sw.refreshTTL()))
	s.mu.Lock()
	s.grants.add(refresh, grant{customer, from.sid, expires.Unix()}, c.now)
	s.mu.Unlock()
	t := s.wireTicket(c, from, cmp.Or(life.access, c.sw.accessTTL()))
	t.Requires2FA = needs2FA
	t.RefreshTokenExpiration = wireDate(expires, c.sw.Dates)
	t.RefreshToken = quoted(refresh.String())
	rp := c.ticketReply(t)
	if needs2FA {
		rp.reason = "second_factor"
	}
	return rp
}

// wireTicket makes a ticket but for its refresh token.
func (s *Sim) wireTicket(c *call, from session, accessTTL time.Duration) wireTicket {
	customer, expires := from.customer, c.now.Add(accessTTL)
	jwt := quoted(s.shopperJWT(jwtFor{
		customer: customer, session: from.sid, appExpires: c.app.expires,
		accessTTL: accessTTL, previous: from.previous,
	}, c.sw.JWT, c.now))
	switch {
	case c.sw.MissingJWT:
		jwt = nil
	case customer.NoJWT:
		jwt = null()
	}
	return wireTicket{
		AccessToken: quoted(s.sealer.seal(access{
			user: customer.userID, session: from.sid, expires: expires, anonymous: customer.anonymous,
		})),
		AccessTokenExpiration: wireDate(expires, c.sw.Dates),
		CustomerAccount:       account(customer, c.now, c.sw.HugeAccount),
		JWTAccessToken:        jwt,
		UserID:                customer.userID.String(),
	}
}

// ticketReply applies what spoils whole tickets.
func (c *call) ticketReply(t wireTicket) reply {
	if c.sw.NullTokens {
		t.AccessToken, t.JWTAccessToken, t.RefreshToken = null(), null(), null()
	}
	rp := jsonReply(http.StatusOK, t)
	rp.reason = "ticket"
	return rp
}

// halfTicket asks for the second factor: a user ID and nothing else.
func (s *Sim) halfTicket(c *call, customer *Customer) reply {
	rp := c.ticketReply(wireTicket{
		AccessToken: null(), JWTAccessToken: null(), RefreshToken: null(),
		AccessTokenExpiration: zeroDate, RefreshTokenExpiration: zeroDate,
		Requires2FA: true, UserID: customer.userID.String(),
	})
	rp.reason = "second_factor"
	return rp
}

// anonymousShopper answers with the ticket of a visitor who is nobody yet.
func (s *Sim) anonymousShopper(c *call) reply {
	return s.newTicket(c, &Customer{userID: newID(), anonymous: true, AccountType: "B2C", Locale: "en-US"}, ttls{}, false)
}
