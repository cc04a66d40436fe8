package kibo

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/url"

	"github.com/kiboauth/caddy-kibo-auth/internal/redact"
)

const ticketsPath = "/commerce/customer/authtickets"

// A CodeRequest asks for a one-time code.
type CodeRequest struct {
	redact.Hidden

	Email    string
	ClientIP string // of the customer, as the gateway trusts it; "": unknown
}

// A CodeExchange presents a one-time code. Fingerprint and Region are free
// text that Kibo holds against the last sign-in, to ask for a second factor on
// a new device or in another place; both may be empty.
type CodeExchange struct {
	redact.Hidden

	Email               string
	Code                redact.Text
	Fingerprint, Region string
	ClientIP            string // of the customer, as the gateway trusts it; "": unknown
}

// A PasswordExchange presents a password. Fingerprint and Region are as in a
// CodeExchange.
type PasswordExchange struct {
	redact.Hidden

	Username            string
	Password            redact.Text
	Fingerprint, Region string
	ClientIP            string // of the customer, as the gateway trusts it; "": unknown
}

// A SecondFactorRequest asks for the second code once more.
type SecondFactorRequest struct {
	redact.Hidden

	UserID   string // of the ticket that required it
	ClientIP string // of the customer, as the gateway trusts it; "": unknown
}

// A RefreshRequest presents the refresh token of an earlier ticket.
type RefreshRequest struct {
	redact.Hidden

	RefreshToken redact.Text
	AccountID    string // "": not sent
	ClientIP     string // of the customer, as the gateway trusts it; "": unknown
}

// RequestCode has Kibo send a one-time code to the customer. ErrRejected may
// mean that the address is unknown, and must not be told apart by anything that
// a customer sees.
func (c *Client) RequestCode(ctx context.Context, r CodeRequest) error {
	return c.do(ctx, call{
		op: "otp/request", method: http.MethodPost, path: ticketsPath + "/otp/request", clientIP: r.ClientIP,
		body: struct {
			Email string `json:"email"`
		}{r.Email},
		read: (*answer).empty,
	})
}

// ExchangeCode exchanges a one-time code for a ticket. It is sent once: after
// ErrUnavailable nobody knows whether the code is spent. (It is repeated only
// where Kibo refuses the application's token, and so has not looked at the code;
// if that turns out to have been about the code, the error is ErrRejected.)
func (c *Client) ExchangeCode(ctx context.Context, x CodeExchange) (*Ticket, error) {
	return c.ticket(ctx, call{
		op: "otp/auth", method: http.MethodPost, path: ticketsPath + "/otp/auth", clientIP: x.ClientIP, credentials: true,
		body: struct {
			Email       string `json:"email"`
			Code        string `json:"otpCode"`
			Fingerprint string `json:"fingerprint,omitempty"`
			Region      string `json:"region,omitempty"`
		}{x.Email, x.Code.Reveal(), x.Fingerprint, x.Region},
	})
}

// ExchangePassword exchanges a password for a ticket, which often requires a
// second factor. Like ExchangeCode it is sent once: a wrong try counts towards
// the account's lock.
func (c *Client) ExchangePassword(ctx context.Context, x PasswordExchange) (*Ticket, error) {
	return c.ticket(ctx, call{
		op: "password", method: http.MethodPost, path: ticketsPath, clientIP: x.ClientIP, credentials: true,
		body: struct {
			Username    string `json:"username"`
			Password    string `json:"password"`
			Fingerprint string `json:"fingerprint,omitempty"`
			Region      string `json:"region,omitempty"`
		}{x.Username, x.Password.Reveal(), x.Fingerprint, x.Region},
	})
}

// RequestSecondFactor has Kibo send the second code again; the first is sent by
// the exchange that required it. Kibo documents the path and its empty answer,
// but no body, and not how else it would know whose code is meant. The userId
// sent here is the one that 2fa/auth takes, and a guess: if Kibo wants another,
// the error will be ErrRejected, and the customer must sign in anew.
func (c *Client) RequestSecondFactor(ctx context.Context, r SecondFactorRequest) error {
	return c.do(ctx, call{
		op: "2fa/request", method: http.MethodPost, path: ticketsPath + "/2fa/request", clientIP: r.ClientIP,
		body: struct {
			UserID string `json:"userId"`
		}{r.UserID},
		read: (*answer).empty,
	})
}

// ExchangeSecondFactor exchanges the second code for a ticket, with the user ID
// of the ticket that required it. Like ExchangeCode it is sent once.
func (c *Client) ExchangeSecondFactor(ctx context.Context, userID string, code redact.Text, clientIP string) (*Ticket, error) {
	return c.ticket(ctx, call{
		op: "2fa/auth", method: http.MethodPost, path: ticketsPath + "/2fa/auth", clientIP: clientIP, credentials: true,
		body: struct {
			UserID string `json:"userId"`
			Code   string `json:"otpCode"`
		}{userID, code.Reveal()},
	})
}

// Refresh exchanges a refresh token for a new ticket. ErrRejected ends the
// session; after ErrUnavailable or ErrLimited it lives on as long as its
// tokens. It is sent once: the answer to a rotation can not be had twice.
func (c *Client) Refresh(ctx context.Context, r RefreshRequest) (*Ticket, error) {
	query := url.Values{"refreshToken": {r.RefreshToken.Reveal()}}
	if r.AccountID != "" {
		query.Set("accountId", r.AccountID)
	}
	return c.ticket(ctx, call{
		op: "refresh", method: http.MethodPut, path: ticketsPath + "/refresh", query: query, clientIP: r.ClientIP,
	})
}

func (c *Client) ticket(ctx context.Context, q call) (*Ticket, error) {
	var t *Ticket
	q.minLife = ticketLife
	q.read = func(a *answer) (err error) {
		if t, err = decodeTicket(a.body); err != nil {
			return a.fail(ErrUnavailable, err)
		}
		return nil
	}
	if err := c.do(ctx, q); err != nil {
		return nil, err
	}
	return t, nil
}

// empty checks the success of a call that answers nothing: some JSON would be
// fine, but neither an error nor somebody else's page.
func (a *answer) empty() error {
	body := bytes.TrimSpace(bytes.TrimPrefix(a.body, []byte("\xef\xbb\xbf")))
	if len(body) == 0 {
		return nil
	}
	if !json.Valid(body) {
		return a.fail(ErrUnavailable, reason("answer is not JSON"))
	}
	if f, ok := decodeFault(body); ok && f.code != "" {
		return a.fail(ErrUnavailable, reason("success with an error code"))
	}
	return nil
}
