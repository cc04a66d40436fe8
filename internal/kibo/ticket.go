package kibo

import (
	"encoding/json"
	"time"

	"github.com/kiboauth/caddy-kibo-auth/internal/redact"
)

// A Ticket is what Kibo hands back for a code or a refresh token.
type Ticket struct {
	redact.Hidden

	AccessToken  redact.Text // opaque; goes into x-vol-user-claims
	RefreshToken redact.Text // empty: none given; a refreshed session keeps the one it has
	JWT          redact.Text // jwtAccessToken; empty: none given

	// Ends of AccessToken and RefreshToken, in UTC. Zero: not given.
	AccessExpires, RefreshExpires time.Time

	UserID string
	// Requires2FA: the customer is not signed in yet, but has to confirm a
	// second code with UserID. All tokens of such a ticket are taken out.
	Requires2FA bool
	Customer    *Customer // nil: the answer had none
}

// A Customer is the part of a ticket's customerAccount that the gateway wants.
type Customer struct {
	redact.Hidden

	AccountID                   string // decimal; "": none
	UserID, UserName, Email     string
	FirstName, LastName         string
	AccountType                 string // B2C, B2B
	Locale                      string
	Segments                    []string // their codes
	Anonymous, Locked, Inactive bool
}

// maxToken is ten times the longest token seen.
const maxToken = 16 << 10

type wireTicket struct {
	redact.Hidden

	ErrorCode              text
	AccessToken            string
	AccessTokenExpiration  date
	RefreshToken           string
	RefreshTokenExpiration date
	JWTAccessToken         string
	UserID                 string
	Requires2FA            bool
	CustomerAccount        json.RawMessage
}

type wireCustomer struct {
	redact.Hidden

	ID                                                                           accountID
	UserID, UserName, EmailAddress, FirstName, LastName, AccountType, LocaleCode text
	Segments                                                                     segments
	IsAnonymous, IsLocked, IsActive                                              flag
}

// decodeTicket reads a CustomerAuthTicket. Names may be in any case, unknown
// fields are ignored, and so are types of fields that decide nothing; what
// tells who is signed in, and until when, must be right.
func decodeTicket(body []byte) (*Ticket, error) {
	var w wireTicket
	if err := decodeObject(body, &w); err != nil {
		return nil, err
	}
	if w.ErrorCode != "" {
		return nil, reason("success with an error code")
	}
	for _, s := range []string{w.AccessToken, w.RefreshToken, w.JWTAccessToken, w.UserID} {
		if len(s) > maxToken || !printable(s) {
			return nil, reason("ticket has a malformed token")
		}
	}
	t := &Ticket{UserID: w.UserID, Requires2FA: w.Requires2FA}
	var err error
	if t.Customer, err = decodeCustomer(w.CustomerAccount); err != nil {
		return nil, err
	}
	if w.Requires2FA {
		return t, nil
	}
	if w.AccessToken == "" && w.JWTAccessToken == "" {
		return nil, reason("ticket has no token")
	}
	t.AccessToken, t.AccessExpires = redact.New(w.AccessToken), w.AccessTokenExpiration.Time
	t.RefreshToken, t.RefreshExpires = redact.New(w.RefreshToken), w.RefreshTokenExpiration.Time
	t.JWT = redact.New(w.JWTAccessToken)
	return t, nil
}

// decodeCustomer returns nil if raw is no object.
func decodeCustomer(raw json.RawMessage) (*Customer, error) {
	if len(raw) == 0 || raw[0] != '{' {
		return nil, nil
	}
	var w wireCustomer
	if err := decodeObject(raw, &w); err != nil {
		return nil, err
	}
	return &Customer{
		AccountID: string(w.ID), UserID: string(w.UserID), UserName: string(w.UserName), Email: string(w.EmailAddress),
		FirstName: string(w.FirstName), LastName: string(w.LastName),
		AccountType: string(w.AccountType), Locale: string(w.LocaleCode), Segments: w.Segments,
		Anonymous: w.IsAnonymous == yes, Locked: w.IsLocked == yes, Inactive: w.IsActive == no,
	}, nil
}

// printable reports that s is visible ASCII throughout, as tokens are that go
// into a header or a URL.
func printable(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
