package loginform

import (
	"encoding/json"
	"errors"
	"io"
	"mime/multipart"
	"net/url"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
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
		if n := len(form.Email) + form.Code.Len() + len(form.ReturnTo); n > 3*len(body) { // \xff may become a rune of three bytes
			t.Errorf("Read(%q) makes %d bytes of it", body, n)
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
		normal := NormalEmail(s)
		if !ValidEmail(normal) || NormalEmail(normal) != normal || !strings.EqualFold(normal, s) {
			t.Errorf("NormalEmail(%q) = %q is not valid, or not the same", s, normal)
		}
		if other := NormalEmail(" \t" + strings.ToUpper(s) + "\n"); other != normal {
			t.Errorf("%q counts as %q, and in capitals as %q", s, normal, other)
		}
	})
}

// FuzzEncodings: a post means the same in each of its three encodings.
func FuzzEncodings(f *testing.F) {
	for _, text := range []string{"", "123 456", "a+b&c=d;e%41", "\x00", "\r\n--x--\r\n", `"\`, "é\u2028\ufeff", "{}", " x ", strings.Repeat("9", 3000)} {
		f.Add("jane@shop.example", text, text, "/cart")
		f.Add(text, "123456", "secret", text)
	}
	f.Fuzz(func(t *testing.T, email, code, password, to string) {
		if slices.ContainsFunc([]string{email, code, password, to}, func(s string) bool { return !utf8.ValidString(s) }) {
			return // JSON cannot carry it
		}
		names, values := []string{"email", "code", "pass", "back"}, []string{email, code, password, to}
		query, object := url.Values{}, map[string]string{}
		var parts strings.Builder
		w := multipart.NewWriter(&parts)
		for i, name := range names {
			query.Set(name, values[i])
			object[name] = values[i]
			if err := w.WriteField(name, values[i]); err != nil {
				t.Fatal(err)
			}
		}
		text, err := json.Marshal(object)
		if err := errors.Join(err, w.Close()); err != nil {
			t.Fatal(err)
		}
		want, wantOK, wantErr := readAs(formType, query.Encode())
		for ctype, body := range map[string]string{jsonType: string(text), w.FormDataContentType(): parts.String()} {
			got, ok, err := readAs(ctype, body)
			long := len(body) > maxBody || len(query.Encode()) > maxBody // each has another length
			if !long && (ok != wantOK || !errors.Is(err, wantErr) || ok && !equal(got, want)) {
				t.Errorf("%s %q: %+v, %v, want %+v, %v as in a form", ctype, body, got, err, want, wantErr)
			}
		}
		if wantOK && (want.Email != strings.TrimSpace(email) || want.Password.Reveal() != password || want.ReturnTo != to) {
			t.Errorf("%q is read as %+v", query, want)
		}
	})
}

// readAs reads a post, and leaves out whether it was JSON.
func readAs(ctype, body string) (*Form, bool, error) {
	form, ok, err := Read(newPostRequest("/login", ctype, body), Fields{Email: "email", Code: "code", Password: "pass", ReturnTo: []string{"BACK"}})
	if ok {
		form.JSON = false
	}
	return form, ok, err
}
