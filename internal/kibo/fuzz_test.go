package kibo

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"
)

// FuzzAnswer reads whole HTTP answers. Each is a success or wraps exactly one of
// the three errors; what may be logged of it is short, on one line, and holds
// nothing of a message; a pause stays within its bounds.
func FuzzAnswer(f *testing.F) {
	for _, head := range []string{
		"200 OK", "204 No Content", "302 Found\r\nLocation: https://evil.example/", "401 Unauthorized", "404 Not Found", "423 Locked", "429 Too Many\r\nRetry-After: 99999999999",
		"429 X\r\nRetry-After: Thu, 01 Jan 2037 00:00:00 GMT", "503 X\r\nRetry-After: -1", "500 X\r\nX-Vol-Correlation: a\tb<c>", "200 OK\r\nContent-Encoding: gzip",
	} {
		for _, body := range []string{"", ticketJSON, `{"errorCode":"INVALID_OTP","message":"` + told + `"}`, `{"items":[{"errorCode":"` + told + ` <b>","applicationName":"Customer"}]}`, "<html>" + told} {
			f.Add("HTTP/1.1 " + head + "\r\n\r\n" + body)
		}
	}
	f.Fuzz(func(t *testing.T, raw string) {
		resp, err := http.ReadResponse(bufio.NewReader(strings.NewReader(raw)), nil)
		if err != nil {
			checkError(t, raw, lost(context.Background(), "otp/auth", err))
			return
		}
		a, err := readAnswer(context.Background(), "otp/auth", resp)
		if err != nil {
			checkError(t, raw, err)
			return
		}
		if e := a.judge(); e != nil {
			checkError(t, raw, e)
			if e.RetryAfter != 0 && (e.RetryAfter < minPause || e.RetryAfter > maxPause) {
				t.Errorf("%q asks for a pause of %s", raw, e.RetryAfter)
			}
			return
		}
		if a.status/100 != 2 || len(a.body) > len(raw) {
			t.Errorf("%q is a success with status %d and %d bytes", raw, a.status, len(a.body))
		}
	})
}

// told stands for what Kibo's messages may tell of a customer.
const told = "ann wants her code 314159"

func checkError(t *testing.T, raw string, err error) {
	t.Helper()
	kinds := 0
	for _, kind := range []error{ErrRejected, ErrLimited, ErrUnavailable} {
		if errors.Is(err, kind) {
			kinds++
		}
	}
	text := err.Error()
	if kinds != 1 || len(text) > 512 || strings.ContainsAny(text, "\r\n<>\"@") || strings.Contains(text, told) {
		t.Errorf("%q is %q, an error of %d kinds", raw, text, kinds)
	}
}

// FuzzAppToken: an application token that is accepted fits into a header and ends
// within a day; one that is refused is not in the error.
func FuzzAppToken(f *testing.F) {
	for _, body := range []string{
		`{"access_token":"a-long-application-token","expires_in":3600}`, `{"access_token":"a-long-application-token","expires_in":"1e300"}`,
		`{"access_token":"a-long-application-token","expires_in":-1}`, `{"access_token":"a-long-application-token\n"}`, `{"access_token":"a-long-application-token","expires_in":"NaN"}`,
		`{"access_token":"a-long-application-token","expires_in":0.0000001}`, `{"errorCode":"X","access_token":"a-long-application-token"}`, `{"ACCESS_TOKEN":"a-long-application-token"}`, `[]`,
	} {
		f.Add([]byte(body))
	}
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, body []byte) {
		tok, err := decodeAppToken(&answer{op: "oauth", status: 200, body: body}, now)
		if err != nil {
			var w struct {
				AccessToken string `json:"access_token"`
			}
			if _ = json.Unmarshal(body, &w); len(w.AccessToken) > 12 && strings.Contains(err.Error(), w.AccessToken) && !strings.Contains(strings.Replace(string(body), w.AccessToken, "", 1), w.AccessToken) {
				t.Errorf("%q: the token is in %q", body, err)
			}
			return
		}
		if value := tok.value.Reveal(); value == "" || !printable(value) || len(value) > len(body) {
			t.Errorf("%q gives the token %q", body, value)
		}
		if life := tok.expires.Sub(now); life < 0 || life > maxAppLife || tok.renew.After(tok.expires) || tok.renew.Before(now) {
			t.Errorf("%q gives a token that lives from %s, is renewed at %s and ends at %s", body, now, tok.renew, tok.expires)
		}
	})
}

// FuzzLenient reads single values that Kibo writes in several ways. A date is
// sane and means the same when written in any other way; an account ID has one
// spelling; a flag is what it says.
func FuzzLenient(f *testing.F) {
	for _, value := range []string{
		`null`, `""`, `"2026-01-02T03:04:05.1234567Z"`, `"2026-01-02T03:04:05"`, `"2026-01-02T03:04:05+14:00"`, `1767323045000`, `1.7673e12`, `"0001-01-01T00:00:00"`,
		`-1`, `1e15`, `"9999-12-31T23:59:59-12:00"`, `"1007"`, `1007`, `"007"`, `0`, `18446744073709551616`, `" 1"`, `true`, `"True"`, `"\u0074rue"`, `{}`, `["x"]`,
	} {
		f.Add(value)
	}
	f.Fuzz(func(t *testing.T, value string) {
		if !json.Valid([]byte(value)) {
			return
		}
		value = strings.TrimSpace(value)
		var d date
		if d.UnmarshalJSON([]byte(value)) == nil && !d.IsZero() {
			var again date
			if err := again.UnmarshalJSON([]byte(d.Format(`"2006-01-02T15:04:05.999999999Z07:00"`))); err != nil || !again.Equal(d.Time) || d.Year() < 1970 || d.Year() > 9999 {
				t.Errorf("the date %s is %s, written in full %s, %v", value, d, again, err)
			}
		}
		var id accountID
		if id.UnmarshalJSON([]byte(value)) == nil && id != "" {
			if strings.Trim(string(id), "0123456789") != "" || id[0] == '0' || len(id) > len(value) {
				t.Errorf("the account ID %s is %q", value, id)
			}
		}
		var fl flag
		if fl.UnmarshalJSON([]byte(value)) == nil && (fl == yes) != (strings.ToLower(unquote([]byte(value))) == "true" || unquote([]byte(value)) == "1") {
			t.Errorf("the flag %s is %v", value, fl)
		}
	})
}

// FuzzParseURL: whatever an operator writes, secrets go over TLS or stay on this
// machine, and the URL that comes out is one that comes out again.
func FuzzParseURL(f *testing.F) {
	for _, raw := range []string{
		"t1-s2.sandbox.mozu.com", "https://home.mozu.com/api/", "http://127.0.0.1:8085", "http://localhost", "http://localhost.evil.example", "http://[::1]:80/api", "http://127.1",
		"https://user:pw@home.mozu.com", "home.mozu.com:443", "home.mozu.com:", "https://home.mozu.com\\@evil", "https://home.mozu.com/api/../x", "HTTP://home.mozu.com", "https://%41", "ftp://x", "x:0", "http://[::1%25lo]", "{env.HOST}",
	} {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		u, err := ParseURL(raw)
		if err != nil {
			if before, _, found := strings.Cut(raw, "@"); found && len(before) > 20 && strings.Contains(err.Error(), before) {
				t.Errorf("%q: user information is in %q", raw, err)
			}
			return
		}
		if u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())) || u.Path != "/api" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
			t.Errorf("ParseURL(%q) = %s", raw, u)
		}
		if again, err := ParseURL(u.String()); err != nil || *again != *u {
			t.Errorf("ParseURL(%q) = %s, and of that %v, %v", raw, u, again, err)
		}
	})
}
