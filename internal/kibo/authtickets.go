package kibo

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
)

const ticketsPath = "/commerce/customer/authtickets/"

// A CodeRequest asks for a one-time code.
type CodeRequest struct {
	redacted

	Email    string
	ClientIP string // of the customer, as the gateway trusts it; "": unknown
}

// A CodeExchange presents a one-time code. Fingerprint and Region are free
// text that Kibo holds against the last sign-in, to ask for a second factor on
// a new device or in another place; both may be empty.
type CodeExchange struct {
	redacted

	Email, Code         string
	Fingerprint, Region string
	ClientIP            string // of the customer, as the gateway trusts it; "": unknown
}

// A PasswordExchange presents a password, byte for byte as it was typed.
// Fingerprint and Region are as in CodeExchange.
type PasswordExchange struct {
	redacted

	Username, Password  string
	Fingerprint, Region string
	ClientIP            string // of the customer, as the gateway trusts it; "": unknown
}

// A SecondFactorRequest asks for the code of a second factor once more.
type SecondFactorRequest struct {
	redacted

	UserID   string
	ClientIP string // of the customer, as the gateway trusts it; "": unknown
}

// A RefreshRequest presents the refresh token of an earlier ticket.
type RefreshRequest struct {
	redacted

	RefreshToken string
	AccountID    string // "": not sent
	ClientIP     string // of the customer, as the gateway trusts it; "": unknown
}

// RequestCode has Kibo send a one-time code to the customer. ErrRejected may
// mean that the address is unknown, and must not be told apart by anything that
// a customer sees.
func (c *Client) RequestCode(ctx context.Context, r CodeRequest) error {
	a, err := c.do(ctx, call{
		op: "otp/request", method: http.MethodPost, path: ticketsPath + "otp/request", clientIP: r.ClientIP,
		body: struct {
			Email string `json:"email"`
		}{r.Email},
	})
	if err != nil {
		return err
	}
	return a.empty()
}

// ExchangeCode exchanges a one-time code for a ticket. It is sent once: after
// ErrUnavailable nobody knows whether the code is spent.
func (c *Client) ExchangeCode(ctx context.Context, x CodeExchange) (*Ticket, error) {
	return c.ticket(ctx, call{
		op: "otp/auth", method: http.MethodPost, path: ticketsPath + "otp/auth", clientIP: x.ClientIP,
		body: struct {
			Email       string `json:"email"`
			Code        string `json:"otpCode"`
			Fingerprint string `json:"fingerprint,omitempty"`
			Region      string `json:"region,omitempty"`
		}{x.Email, x.Code, x.Fingerprint, x.Region},
	})
}

// ExchangeSecondFactor exchanges the second code for a ticket, with the user ID
// of the ticket that required it. Like ExchangeCode it is sent once.
func (c *Client) ExchangeSecondFactor(ctx context.Context, userID, code, clientIP string) (*Ticket, error) {
	return c.ticket(ctx, call{
		op: "2fa/auth", method: http.MethodPost, path: ticketsPath + "2fa/auth", clientIP: clientIP,
		body: struct {
			UserID string `json:"userId"`
			Code   string `json:"otpCode"`
		}{userID, code},
	})
}

// ExchangePassword exchanges user name and password for a ticket.
func (c *Client) ExchangePassword(ctx context.Context, x PasswordExchange) (*Ticket, error) {
	return c.ticket(ctx, call{
		op: "password", method: http.MethodPost, path: strings.TrimSuffix(ticketsPath, "/"), clientIP: x.ClientIP,
		body: struct {
			Username    string `json:"username"`
			Password    string `json:"password"`
			Fingerprint string `json:"fingerprint,omitempty"`
			Region      string `json:"region,omitempty"`
		}{x.Username, x.Password, x.Fingerprint, x.Region},
	})
}

// RequestSecondFactor has Kibo send the code of a second factor again.
func (c *Client) RequestSecondFactor(ctx context.Context, r SecondFactorRequest) error {
	a, err := c.do(ctx, call{
		op: "2fa/request", method: http.MethodPost, path: ticketsPath + "2fa/request", clientIP: r.ClientIP,
		body: struct {
			UserID string `json:"userId"`
		}{r.UserID},
	})
	if err != nil {
		return err
	}
	return a.empty()
}

// Refresh exchanges a refresh token for a new ticket. ErrRejected ends the
// session; after ErrUnavailable or ErrLimited it lives on as long as its
// tokens. It is sent once: the answer to a rotation can not be had twice.
func (c *Client) Refresh(ctx context.Context, r RefreshRequest) (*Ticket, error) {
	query := url.Values{"refreshToken": {r.RefreshToken}}
	if r.AccountID != "" {
		query.Set("accountId", r.AccountID)
	}
	return c.ticket(ctx, call{
		op: "refresh", method: http.MethodPut, path: ticketsPath + "refresh", query: query, clientIP: r.ClientIP,
	})
}

func (c *Client) ticket(ctx context.Context, q call) (*Ticket, error) {
	q.minLife = ticketLife
	a, err := c.do(ctx, q)
	if err != nil {
		return nil, err
	}
	t, err := decodeTicket(a.body)
	if err != nil {
		return nil, a.fail(ErrUnavailable, err)
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
