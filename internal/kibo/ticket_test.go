package kibo

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/kiboauth/caddy-kibo-auth/internal/redact"
)

func TestDecodeTicket(t *testing.T) {
	access := time.Date(2026, 1, 2, 3, 4, 5, 123456700, time.UTC)
	refresh := time.Date(2026, 1, 3, 3, 4, 5, 0, time.UTC)
	full := Ticket{AccessToken: redact.New("a"), AccessExpires: access, RefreshToken: redact.New("r"), RefreshExpires: refresh, JWT: redact.New("x.y.z"), UserID: "u"}
	tests := []struct {
		name, body string
		want       Ticket
	}{
		{
			"camelCase", `{"accessToken":"a","accessTokenExpiration":"2026-01-02T03:04:05.1234567Z","refreshToken":"r",
				"refreshTokenExpiration":"2026-01-03T03:04:05Z","jwtAccessToken":"x.y.z","userId":"u","unknown":[{}]}`, full,
		},
		{
			"PascalCase", `{"AccessToken":"a","AccessTokenExpiration":"2026-01-02T03:04:05.1234567","RefreshToken":"r",
				"RefreshTokenExpiration":"2026-01-03T03:04:05","JwtAccessToken":"x.y.z","UserId":"u","Requires2FA":false}`, full,
		},
		{"escapes", `{"accessToken":"a\u002B\/=="}`, Ticket{AccessToken: redact.New("a+/==")}},
		{"JWT alone", `{"jwtAccessToken":"x.y.z"}`, Ticket{JWT: redact.New("x.y.z")}},
		{"nulls", `{"accessToken":"a","accessTokenExpiration":null,"refreshToken":null,"jwtAccessToken":null,
			"userId":null,"requires2FA":null,"customerAccount":null,"errorCode":null}`, Ticket{AccessToken: redact.New("a")}},
		{
			"zero dates", `{"accessToken":"a","accessTokenExpiration":"0001-01-01T00:00:00","refreshTokenExpiration":"0001-01-01T00:00:00+02:00"}`,
			Ticket{AccessToken: redact.New("a")},
		},
		{"second factor", `{"requires2FA":true,"userId":"u"}`, Ticket{Requires2FA: true, UserID: "u"}},
		{"second factor with tokens is not signed in", `{"requires2FA":true,"userId":"u","accessToken":"a","refreshToken":"r","jwtAccessToken":"j",
			"accessTokenExpiration":"2026-01-03T03:04:05"}`, Ticket{Requires2FA: true, UserID: "u"}},
		{"account of a wrong type", `{"accessToken":"a","customerAccount":"none"}`, Ticket{AccessToken: redact.New("a")}},
		{"empty account", `{"accessToken":"a","customerAccount":{}}`, Ticket{AccessToken: redact.New("a"), Customer: &Customer{}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := decodeTicket([]byte(tt.body))
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(*got, tt.want) {
				t.Errorf("got %s\nwant %s", show(*got), show(tt.want))
			}
		})
	}
}

// show prints what the methods of redact.Hidden hide.
func show(t Ticket) string {
	return fmt.Sprintf("%v", []any{t.AccessToken.Reveal(), t.RefreshToken.Reveal(), t.JWT.Reveal(), t.UserID, t.Requires2FA, t.AccessExpires, t.RefreshExpires, t.Customer != nil})
}

func TestDecodeTicketRefuses(t *testing.T) {
	long := strings.Repeat("x", maxToken+1)
	for name, body := range map[string]string{
		"nothing":             ``,
		"no object":           `"ticket"`,
		"number for a token":  `{"accessToken":1}`,
		"object for a token":  `{"accessToken":"a","refreshToken":{}}`,
		"line break in token": `{"accessToken":"a\r\nx: y"}`,
		"NUL in token":        `{"accessToken":"a","jwtAccessToken":"\u0000"}`,
		"blank in token":      `{"accessToken":"a","refreshToken":"a b"}`,
		"non-ASCII token":     `{"accessToken":"é"}`,
		"bad UTF-8":           "{\"accessToken\":\"\xff\"}",
		"line break in user":  `{"accessToken":"a","userId":"a\n"}`,
		"endless token":       `{"accessToken":"` + long + `"}`,
		"2FA in words":        `{"accessToken":"a","requires2FA":"maybe"}`,
		"2FA as text":         `{"accessToken":"a","requires2FA":"true"}`,
		"bad date":            `{"accessToken":"a","accessTokenExpiration":"tomorrow"}`,
		"date of wrong type":  `{"accessToken":"a","accessTokenExpiration":{}}`,
		"bad account ID":      `{"accessToken":"a","customerAccount":{"id":"1 or 1=1"}}`,
		"negative account ID": `{"accessToken":"a","customerAccount":{"id":-1}}`,
		"fraction of account": `{"accessToken":"a","customerAccount":{"id":1.5}}`,
		"unclear lock":        `{"accessToken":"a","customerAccount":{"isLocked":"perhaps"}}`,
		"deep nesting":        `{"accessToken":"a","x":` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + `}`,
	} {
		if _, err := decodeTicket([]byte(body)); err == nil {
			t.Errorf("%s: want an error", name)
		} else if _, ok := err.(reason); !ok {
			t.Errorf("%s: got %T %v, want one of our own texts", name, err, err)
		}
	}
}

func TestDecodeCustomer(t *testing.T) {
	tests := []struct {
		name, raw string
		want      Customer
	}{
		{
			"all", `{"id":1001,"userId":"f00d","userName":"ann","emailAddress":"ann@example.com","firstName":"Änn","lastName":"O\u0027Neil",
				"accountType":"B2B","localeCode":"en-US","isActive":true,"isAnonymous":false,"isLocked":false,
				"segments":[{"id":1,"code":"vip","name":"VIP"},{"id":2,"code":"wholesale"}],"contacts":[{"email":"x"}]}`,
			Customer{
				AccountID: "1001", UserID: "f00d", UserName: "ann", Email: "ann@example.com", FirstName: "Änn", LastName: "O'Neil",
				AccountType: "B2B", Locale: "en-US", Segments: []string{"vip", "wholesale"},
			},
		},
		{"kept out", `{"isActive":false,"isAnonymous":true,"isLocked":true}`, Customer{Inactive: true, Anonymous: true, Locked: true}},
		{"kept out, as text", `{"IsActive":"False","IsAnonymous":1,"IsLocked":"true"}`, Customer{Inactive: true, Anonymous: true, Locked: true}},
		{"flags not given", `{"isActive":null,"isLocked":null}`, Customer{}},
		{"ID as text", `{"id":"0042"}`, Customer{AccountID: "42"}},
		{"ID too large for a float", `{"id":9007199254740993}`, Customer{AccountID: "9007199254740993"}},
		{"no ID", `{"id":0}`, Customer{}},
		{"null ID", `{"id":null}`, Customer{}},
		{"wrong types", `{"firstName":{"a":1},"lastName":["x"],"localeCode":true,"userName":12,"segments":"vip"}`, Customer{UserName: "12"}},
		{"odd segments", `{"segments":[null,"vip",{"code":null},{"code":"a"},{"code":{}},{"name":"x"}]}`, Customer{Segments: []string{"a"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := decodeCustomer([]byte(tt.raw))
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(*got, tt.want) {
				type bare Customer // without the methods that hide everything
				t.Errorf("got %+v\nwant %+v", bare(*got), bare(tt.want))
			}
		})
	}
}

func TestDates(t *testing.T) {
	sec := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	tests := []struct {
		in   string
		want time.Time
	}{
		{`"2026-01-02T03:04:05Z"`, sec},
		{`"2026-01-02T03:04:05"`, sec},
		{`"2026-01-02T03:04:05.1Z"`, sec.Add(100 * time.Millisecond)},
		{`"2026-01-02T03:04:05.1234567Z"`, sec.Add(123456700)},
		{`"2026-01-02T03:04:05.1234567"`, sec.Add(123456700)},
		{`"2026-01-02T03:04:05.123456789Z"`, sec.Add(123456789)},
		{`"2026-01-02T05:04:05+02:00"`, sec},
		{`"2026-01-02T05:04:05\u002B02:00"`, sec},
		{`1767323045000`, sec},
		{`1.767323045e12`, sec},
		{`"9999-12-31T23:59:59.9999999Z"`, time.Date(9999, 12, 31, 23, 59, 59, 999999900, time.UTC)},
		{`null`, time.Time{}},
		{`""`, time.Time{}},
		{`0`, time.Time{}},
		{`-62135596800000`, time.Time{}},
		{`"0001-01-01T00:00:00"`, time.Time{}},
		{`"0001-01-01T00:00:00Z"`, time.Time{}},
		{`"0001-01-01T00:00:00-08:00"`, time.Time{}},
	}
	for _, tt := range tests {
		var d date
		if err := d.UnmarshalJSON([]byte(tt.in)); err != nil || !d.Equal(tt.want) || d.IsZero() != tt.want.IsZero() {
			t.Errorf("%s: got %v, %v, want %v", tt.in, d.Time, err, tt.want)
		}
	}
	for _, in := range []string{
		`"soon"`, `"1767323045000"`, `"2026-01-02"`, `"2026-13-02T03:04:05Z"`, `"1899-12-30T00:00:00"`, `true`, `{}`, `[]`,
		`-1`, `1e300`, `999999999999999`, `"Infinity"`,
	} {
		var d date
		if err := d.UnmarshalJSON([]byte(in)); err == nil {
			t.Errorf("%s: got %v, want an error", in, d.Time)
		}
	}
}

func FuzzTicket(f *testing.F) {
	f.Add([]byte(ticketJSON))
	f.Add([]byte(`{"requires2FA":true,"userId":"u","customerAccount":{"id":"7","segments":[{"code":"a"}],"isActive":false}}`))
	f.Add([]byte(`{"accessToken":"a","accessTokenExpiration":1767323045000,"refreshTokenExpiration":"0001-01-01T00:00:00"}`))
	f.Add([]byte("\xef\xbb\xbf{\"JwtAccessToken\":\"a\\r\\n\"}"))
	f.Fuzz(func(t *testing.T, body []byte) {
		tick, err := decodeTicket(body)
		if err != nil {
			if tick != nil {
				t.Error("a ticket beside an error")
			}
			return
		}
		tokens := tick.AccessToken.Reveal() + tick.RefreshToken.Reveal() + tick.JWT.Reveal()
		if strings.ContainsFunc(tokens+tick.UserID, func(r rune) bool { return r <= ' ' || r > '~' }) {
			t.Error("a token that does not fit into a header")
		}
		if tick.Requires2FA && tokens != "" || !tick.Requires2FA && tick.AccessToken.IsZero() && tick.JWT.IsZero() {
			t.Error("tokens where there must be none, or none where there must be some")
		}
		for _, when := range []time.Time{tick.AccessExpires, tick.RefreshExpires} {
			if !when.IsZero() && (when.Year() < 1970 || when.Year() > 9999) {
				t.Errorf("insane time %v", when)
			}
		}
		if c := tick.Customer; c != nil && strings.Trim(c.AccountID, "0123456789") != "" {
			t.Errorf("account ID %q is not decimal", c.AccountID)
		}
	})
}

func BenchmarkDecodeTicket(b *testing.B) {
	contact := `{"id":1,"email":"ann@example.com","firstName":"Ann","address":{"address1":"1 Main Street","cityOrTown":"Austin"}}`
	for _, contacts := range []int{2, 50} {
		body := []byte(strings.Replace(ticketJSON, `{"id":1001`,
			`{"contacts":[`+strings.Repeat(contact+",", contacts-1)+contact+`],"id":1001`, 1))
		body = []byte(strings.Replace(string(body), "a.b.c", strings.Repeat("a", 1590), 1))
		b.Run(fmt.Sprintf("contacts=%d", contacts), func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := decodeTicket(body); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
