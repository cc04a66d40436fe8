package loginform

import (
	"io"
	"strings"
	"testing"
)

// FuzzRead: what is no usable login post is replayed as it was, and what is
// one cannot smuggle anything through its two credentials.
func FuzzRead(f *testing.F) {
	types := []string{formType, "multipart/form-data; boundary=x", jsonType}
	for _, tt := range shops {
		kind := byte(strings.Count(tt.ctype, "json") * 2)
		f.Add(kind, tt.body, tt.fields.Email, tt.fields.Code)
	}
	f.Add(byte(0), "email=a%40b&code=1%00&go=1", "email", "code")
	f.Add(byte(1), multipartBody("x", "email", "a@b", "code", "1"), "email", "code")
	f.Add(byte(1), "--x\r\nContent-Disposition: form-data; name=\"email\"", "email", "code")
	f.Add(byte(2), `{"a":{"b":"x@y"},"c":[{}],"d":1e9}`, "a[b]", "d")
	f.Fuzz(func(t *testing.T, kind byte, body, email, code string) {
		r := newPostRequest("/login", types[int(kind)%len(types)], body)
		form, ok, err := Read(r, Fields{Email: email, Code: code, Password: "pass", Resend: "resend", ReturnTo: []string{"back"}})
		if ok != (form != nil) || ok && err != nil {
			t.Fatalf("Read = %v, %v, %v", form, ok, err)
		}
		if !ok {
			if got, err := io.ReadAll(r.Body); string(got) != body || err != nil {
				t.Errorf("replayed body = %q, %v, want %q", got, err, body)
			}
			return
		}
		if form.Email == "" || strings.ContainsAny(form.Email+form.Code.Reveal(), "\r\n\x00") {
			t.Errorf("Read(%q) lets through e-mail %q and code %q", body, form.Email, form.Code.Reveal())
		}
		if form.HasCode == form.Code.IsZero() {
			t.Errorf("HasCode = %v with code %q", form.HasCode, form.Code.Reveal())
		}
	})
}

func FuzzValidEmail(f *testing.F) {
	for _, s := range []string{"jane@shop.example", `"a b"@c.d`, "a@b@c", "a@[::1]", "=?utf-8?q?a?=@b.c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if !ValidEmail(s) {
			return
		}
		if strings.Count(s, "@") != 1 || strings.ContainsAny(s, " \t\r\n\x00,;<>()\"[]\\") || len(s) > maxEmail {
			t.Errorf("ValidEmail(%q) = true", s)
		}
		if !ValidEmail(NormalEmail(s)) {
			t.Errorf("NormalEmail(%q) = %q is not valid", s, NormalEmail(s))
		}
	})
}
