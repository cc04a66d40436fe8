package kiboauth

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/kiboauth/caddy-kibo-auth/internal/kibo"
	"github.com/kiboauth/caddy-kibo-auth/internal/redact"
	"github.com/kiboauth/caddy-kibo-auth/internal/verify"
)

const testRealm = "realm-0001.." // realmLen characters

// testCustomer has a different text in every field.
func testCustomer() *customer {
	return &customer{
		fieldAccountID: "1001", fieldUserID: "0123456789abcdef", fieldEmail: "zoë@example.com", fieldUserName: "zoe",
		fieldFirstName: "Zoë", fieldLastName: "Ångström 100%", fieldSegments: "vip,newsletter", fieldLocale: "de-DE",
		fieldAccountType: "B2C", fieldTenant: "10001", fieldSite: "20002",
		fieldAccessToken: "secret-access/token=", fieldRefreshToken: "secret-refresh-%41", fieldBearer: "Bearer secret.jwt.token",
	}
}

// testSession lives for an hour.
func testSession(realm string, c *customer) *Session {
	now := time.Now()
	s := &Session{limit: now.Add(time.Hour).UnixMilli()}
	s.good, s.due, s.refreshEnds = s.limit, s.limit, s.limit
	s.pack(realm, c)
	return s
}

func TestPackKeepsEveryField(t *testing.T) {
	s := testSession(testRealm, testCustomer())
	want := testCustomer()
	for f := range fieldCount {
		if got := s.plain(f); got != want[f] {
			t.Errorf("plain(%d) = %q, want %q", f, got, want[f])
		}
	}
	for f, want := range map[field]string{
		fieldEmail: "zo%C3%AB@example.com", fieldLastName: "%C3%85ngstr%C3%B6m 100%25", fieldSegments: "vip,newsletter",
		fieldAccessToken: "secret-access/token=", fieldRefreshToken: "secret-refresh-%41", fieldBearer: "Bearer secret.jwt.token",
	} {
		if got := s.header(f); got != want {
			t.Errorf("header(%d) = %q, want %q", f, got, want)
		}
	}
	if got := s.jwt(); got != "secret.jwt.token" {
		t.Errorf("jwt() = %q, want secret.jwt.token", got)
	}
}

func TestPackOfNothing(t *testing.T) {
	s := testSession(testRealm, &customer{})
	for f := range fieldCount {
		if got := s.plain(f); got != "" {
			t.Errorf("plain(%d) = %q, want nothing", f, got)
		}
	}
	if got := s.customerKey(); got != testRealm {
		t.Errorf("customerKey() = %q, want the realm", got)
	}
}

func TestCustomerKeyKeepsRealmsApart(t *testing.T) {
	one, other := testSession(testRealm, testCustomer()), testSession("realm-0002..", testCustomer())
	if got, want := one.customerKey(), testRealm+"1001"; got != want {
		t.Errorf("customerKey() = %q, want %q", got, want)
	}
	if one.customerKey() == other.customerKey() {
		t.Error("customers of two realms have one key")
	}
}

func TestParseSessionID(t *testing.T) {
	good := strings.Repeat("aZ09-_", 8)[:idLen]
	tests := []struct {
		name, realm, value string
		want               bool
	}{
		{"one of ours", testRealm, good, true},
		{"empty", testRealm, "", false},
		{"short", testRealm, good[1:], false},
		{"long", testRealm, good + "a", false},
		{"padding", testRealm, good[:idLen-1] + "=", false},
		{"standard alphabet", testRealm, good[:idLen-1] + "+", false},
		{"slash", testRealm, good[:idLen-1] + "/", false},
		{"blank", testRealm, good[:idLen-1] + " ", false},
		{"quoted", testRealm, `"` + good[2:] + `"`, false},
		{"NUL", testRealm, good[:idLen-1] + "\x00", false},
		{"below the letters", testRealm, good[:idLen-1] + "@", false},
		{"above the letters", testRealm, good[:idLen-1] + "[", false},
		{"folds into a letter's neighbour", testRealm, good[:idLen-1] + "{", false},
		{"beyond ASCII", testRealm, good[:idLen-2] + "é", false},
		{"realm of another length", "realm", good, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			id, ok := parseSessionID(tt.realm, tt.value)
			if ok != tt.want {
				t.Errorf("parseSessionID(%q) = %v, want %v", tt.value, ok, tt.want)
			}
			if !ok && id != (SessionID{}) {
				t.Errorf("parseSessionID(%q) refuses, but returns an ID", tt.value)
			}
		})
	}
	here, _ := parseSessionID(testRealm, good)
	there, _ := parseSessionID("realm-0002..", good)
	if here.Key() == there.Key() {
		t.Error("one cookie is the same session in two realms")
	}
}

func TestSessionIDsAreUnique(t *testing.T) {
	seen := map[string]bool{}
	for range 10_000 {
		id := newSessionID(testRealm)
		if len(id.value) != idLen || seen[id.value] {
			t.Fatal("session ID is short or came before")
		}
		again, ok := parseSessionID(testRealm, id.value)
		if !ok || again != id {
			t.Fatal("session ID does not survive the cookie")
		}
		seen[id.value] = true
	}
}

// Whatever prints a session or its ID by accident prints no secret.
func TestSecretsInPrint(t *testing.T) {
	s, id := testSession(testRealm, testCustomer()), newSessionID(testRealm)
	in := &signedIn{id: id, session: s}
	var log bytes.Buffer
	logger := zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(zapcore.EncoderConfig{}), zapcore.AddSync(&log), zapcore.DebugLevel))
	logger.Info("", zap.Any("a", s), zap.Any("b", *s), zap.Any("c", id), zap.Any("d", &id), zap.Reflect("e", s), zap.Reflect("f", id),
		zap.Any("g", in), zap.Stringer("h", s), zap.Stringer("i", id))
	printed := log.String()
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%o"} {
		printed += fmt.Sprintf(strings.Repeat(verb+"\n", 4), s, *s, id, &id)
	}
	for _, v := range []any{s, *s, id, in} {
		text, err := json.Marshal(v)
		if err != nil {
			t.Errorf("Marshal(%T): %v", v, err)
		}
		printed += string(text)
	}
	for _, text := range []string{"secret", id.value, "zo", fmt.Sprintf("%x", id.key), fmt.Sprintf("%d", id.key[0:4])} {
		if strings.Contains(printed, text) {
			t.Errorf("%q is printed in:\n%s", text, printed)
		}
	}
}

func TestSessionEnds(t *testing.T) {
	const hour = int64(3_600_000)
	tests := []struct {
		name                           string
		limit, good, refreshEnds, want int64
	}{
		{"refresh token outlives the session", 24 * hour, hour, 48 * hour, 24 * hour},
		{"refresh token ends first", 24 * hour, hour, 12 * hour, 12 * hour},
		{"no refresh token", 24 * hour, hour, 0, hour},
		{"ticket outlives its refresh token", 24 * hour, 2 * hour, hour, 2 * hour},
	}
	for _, tt := range tests {
		s := &Session{limit: tt.limit, good: tt.good, refreshEnds: tt.refreshEnds}
		if got := s.ends(); got != tt.want {
			t.Errorf("%s: ends() = %d, want %d", tt.name, got, tt.want)
		}
	}
}

func TestRecordExpires(t *testing.T) {
	for _, tt := range []struct{ seen, idle, ends, want int64 }{{10, 5, 100, 15}, {10, 0, 100, 100}, {98, 5, 100, 100}} {
		if got := (&Record{Seen: tt.seen, Idle: tt.idle, Ends: tt.ends}).Expires(); got != tt.want {
			t.Errorf("seen %d, idle %d, ends %d: Expires() = %d, want %d", tt.seen, tt.idle, tt.ends, got, tt.want)
		}
	}
}

func TestTouchNeverGoesBack(t *testing.T) {
	r := &Record{Version: 7, Seen: 100}
	for at, want := range map[int64]int64{50: 100, 100: 100, 150: 150} {
		if got := r.Touched(at); got.Seen != want || got.Version != 7 {
			t.Errorf("Touched(%d): seen %d, version %d, want %d and 7", at, got.Seen, got.Version, want)
		}
	}
	if r.Seen != 100 {
		t.Error("Touched changed a record that others read")
	}
}

func TestCustomerOf(t *testing.T) {
	claims := &verify.Claims{AccountID: "7", UserID: "u", FirstName: "Token", LastName: "Name", Tenant: "t", Site: "s"}
	ticket := kibo.Ticket{AccessToken: redact.New("a"), RefreshToken: redact.New("r"), JWT: redact.New("j")}
	tests := []struct {
		name    string
		account *kibo.Customer
		want    customer
	}{
		{"without an account", nil, customer{fieldFirstName: "Token", fieldLastName: "Name"}},
		{
			"account without names", &kibo.Customer{Email: "e", UserName: "n", Locale: "l", AccountType: "B2B", Segments: []string{"x", "y"}},
			customer{fieldEmail: "e", fieldUserName: "n", fieldLocale: "l", fieldAccountType: "B2B", fieldSegments: "x,y", fieldFirstName: "Token", fieldLastName: "Name"},
		},
		{"the account's names come first", &kibo.Customer{FirstName: "Jane"}, customer{fieldFirstName: "Jane"}},
	}
	for _, tt := range tests {
		ticket.Customer = tt.account
		want := tt.want
		want[fieldAccountID], want[fieldUserID], want[fieldTenant], want[fieldSite] = "7", "u", "t", "s"
		want[fieldAccessToken], want[fieldRefreshToken], want[fieldBearer] = "a", "r", "Bearer j"
		if got := customerOf(&ticket, claims); *got != want {
			t.Errorf("%s: got %q, want %q", tt.name, *got, want)
		}
	}
}
