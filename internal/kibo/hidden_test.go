package kibo

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/kiboauth/caddy-kibo-auth/internal/redact"
)

func TestSecretsCanNotBePrinted(t *testing.T) {
	const text = "s3cr3t"
	hidden := redact.New(text)
	customer := Customer{AccountID: text, UserID: text, Email: text, FirstName: text, Segments: []string{text}}
	ticket := Ticket{AccessToken: hidden, RefreshToken: hidden, JWT: hidden, UserID: text, Customer: &customer}
	values := []any{
		ticket, &ticket, customer, &customer,
		CodeRequest{Email: text},
		CodeExchange{Email: text, Code: hidden},
		PasswordExchange{Username: text, Password: hidden},
		SecondFactorRequest{UserID: text},
		RefreshRequest{RefreshToken: hidden},
		[]Ticket{ticket},
		map[string]any{"t": &ticket},
		struct{ T Ticket }{ticket},
	}
	for _, v := range values {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			if got := fmt.Sprintf(verb, v); leaks(got, text) {
				t.Errorf("%s of %T: got %s", verb, v, got)
			}
		}
		var b bytes.Buffer
		slog.New(slog.NewTextHandler(&b, nil)).Info("x", "v", v, slog.Group("g", "v", v))
		if leaks(b.String(), text) {
			t.Errorf("slog of %T: got %s", v, b.String())
		}
	}
	for _, got := range []string{ticket.String(), customer.GoString(), fmt.Sprint(&ticket), fmt.Errorf("x: %v", ticket).Error()} {
		if !strings.Contains(got, redact.Mark) {
			t.Errorf("got %q", got)
		}
	}
	if got := fmt.Sprintf("%v", (*Ticket)(nil)); got != "<nil>" {
		t.Errorf("nil ticket: got %q", got)
	}
}

func leaks(s, hidden string) bool {
	return strings.Contains(s, hidden) || strings.Contains(strings.ToLower(s), fmt.Sprintf("%x", hidden))
}
