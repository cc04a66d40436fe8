package kibo

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func TestSecretsCanNotBePrinted(t *testing.T) {
	const secret = "s3cr3t"
	customer := Customer{AccountID: secret, UserID: secret, Email: secret, FirstName: secret, Segments: []string{secret}}
	ticket := Ticket{AccessToken: secret, RefreshToken: secret, JWT: secret, UserID: secret, Customer: &customer}
	values := []any{
		ticket, &ticket, customer, &customer,
		CodeRequest{Email: secret},
		CodeExchange{Email: secret, Code: secret},
		PasswordExchange{Username: secret, Password: secret},
		SecondFactorRequest{UserID: secret},
		RefreshRequest{RefreshToken: secret},
		[]Ticket{ticket},
		map[string]any{"t": &ticket},
		struct{ T Ticket }{ticket},
	}
	for _, v := range values {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			if got := fmt.Sprintf(verb, v); leaks(got, secret) {
				t.Errorf("%s of %T: got %s", verb, v, got)
			}
		}
		var b bytes.Buffer
		slog.New(slog.NewTextHandler(&b, nil)).Info("x", "v", v, slog.Group("g", "v", v))
		if leaks(b.String(), secret) {
			t.Errorf("slog of %T: got %s", v, b.String())
		}
	}
	for _, got := range []string{ticket.String(), customer.GoString(), fmt.Sprint(&ticket), fmt.Errorf("x: %v", ticket).Error()} {
		if !strings.Contains(got, redactedText) {
			t.Errorf("got %q", got)
		}
	}
	if got := fmt.Sprintf("%v", (*Ticket)(nil)); got != "<nil>" {
		t.Errorf("nil ticket: got %q", got)
	}
}

func leaks(s, secret string) bool {
	return strings.Contains(s, secret) || strings.Contains(strings.ToLower(s), fmt.Sprintf("%x", secret))
}
