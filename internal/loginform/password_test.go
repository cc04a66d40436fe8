package loginform

import (
	"errors"
	"net/url"
	"strings"
	"testing"

	"github.com/kiboauth/caddy-kibo-auth/internal/redact"
)

var passwordFields = Fields{Email: "email", Code: "code", Password: "pass", SendCode: "send_code", Resend: "resend"}

// A password is what was typed, byte for byte.
func TestPasswordIsLeftAlone(t *testing.T) {
	long := strings.Repeat("a", maxBody/2)
	for _, password := range []string{"x", " x ", "  ", "1 2-3", "p\u00e4\u0308", "\x00\r\n\t", "\xff\xfe", "+&=%;", long} {
		for name, body := range map[string]string{
			formType:                          url.Values{"email": {"a@b.c"}, "pass": {password}}.Encode(),
			"multipart/form-data; boundary=x": multipartBody("x", "email", "a@b.c", "pass", password),
		} {
			form, ok, err := Read(newPostRequest("/login", name, body), passwordFields)
			if !ok || err != nil || form.Password.Reveal() != password || form.HasCode {
				t.Errorf("%s: Read of %.20q = %v, %v, want the very same", name, password, ok, err)
			}
		}
	}
}

func TestPasswordPosts(t *testing.T) {
	mail := Form{Email: "a@b.c"}
	with := func(change func(*Form)) *Form { f := mail; change(&f); return &f }
	tests := []struct {
		name, ctype, body string
		want              *Form // nil: no login post
	}{
		{"none", formType, "email=a@b.c", &mail},
		{"empty", formType, "email=a@b.c&pass=", &mail},
		{"twice the same", formType, "email=a@b.c&pass=x&pass=x", with(func(f *Form) { f.Password = redact.New("x") })},
		{"beside a code", formType, "email=a@b.c&pass=x&code=1", with(func(f *Form) { f.Password, f.Code, f.HasCode = redact.New("x"), redact.New("1"), true })},
		{"JSON", jsonType, `{"email":"a@b.c","pass":" x "}`, with(func(f *Form) { f.Password, f.JSON = redact.New(" x "), true })},
		{"JSON null", jsonType, `{"email":"a@b.c","pass":null}`, with(func(f *Form) { f.JSON = true })},
		{"JSON list", jsonType, `{"email":"a@b.c","pass":["x"]}`, with(func(f *Form) { f.JSON = true })},
		{"another name", formType, "email=a@b.c&Pass=x", &mail},
		{"without an address", formType, "pass=x", nil},
		{"send_code", formType, "email=a@b.c&pass=x&send_code=1", with(func(f *Form) { f.Password, f.SendCode = redact.New("x"), true })},
		{"send_code off", formType, "email=a@b.c&send_code=off", &mail},
		{"send_code alone", formType, "send_code=1", nil},
		{"resend", formType, "email=a@b.c&resend=1", with(func(f *Form) { f.Resend = true })},
		{"resend, JSON", jsonType, `{"email":"a@b.c","resend":true}`, with(func(f *Form) { f.Resend, f.JSON = true, true })},
		{"resend is false", jsonType, `{"email":"a@b.c","resend":false}`, with(func(f *Form) { f.JSON = true })},
		{"resend alone", formType, "resend=1", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newPostRequest("/login", tt.ctype, tt.body)
			form, ok, err := Read(r, passwordFields)
			switch {
			case err != nil || ok != (tt.want != nil):
				t.Errorf("Read = %v, %v, want %v", ok, err, tt.want != nil)
			case !ok:
				wantUntouched(t, r, tt.body)
			case !equal(form, tt.want):
				t.Errorf("Read = %+v, want %+v", *form, *tt.want)
			}
		})
	}
}

func TestPasswordsThatDiffer(t *testing.T) {
	for _, body := range []string{"email=a@b.c&pass=x&pass=y", "email=a@b.c&pass=x&pass=x+", "email=a@b.c&pass=x&pass=", "email=a@b.c&pass=x&pass=y&pass=x"} {
		if _, ok, err := Read(newPostRequest("/login", formType, body), passwordFields); ok || !errors.Is(err, ErrConflict) {
			t.Errorf("Read(%q) = %v, %v, want %v", body, ok, err, ErrConflict)
		}
	}
}

func TestResendAlone(t *testing.T) {
	fields := passwordFields
	fields.CodeAlone = true
	for body, want := range map[string]bool{"resend=1": true, "resend=0": false, "resend=": false, "send_code=1": false, "pass=x": false} {
		if form, ok, err := Read(newPostRequest("/login", formType, body), fields); ok != want || err != nil || ok && !form.Resend {
			t.Errorf("Read(%q) = %v, %v, want %v", body, ok, err, want)
		}
	}
	if _, ok, _ := Read(newPostRequest("/login", formType, "=1"), Fields{Email: "email", Code: "code", CodeAlone: true}); ok {
		t.Error("a field without a name is taken for a button without one")
	}
}
