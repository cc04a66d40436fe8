package loginform

import (
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/kiboauth/caddy-kibo-auth/internal/redact"
)

const (
	formType = "application/x-www-form-urlencoded"
	jsonType = "application/json"
)

func newPostRequest(target, contentType, body string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, target, strings.NewReader(body))
	r.Header.Set("Content-Type", contentType)
	return r
}

func equal(a, b *Form) bool {
	return a.Email == b.Email && a.Code.Equal(b.Code) && a.HasCode == b.HasCode && a.Remember == b.Remember &&
		a.Password.Equal(b.Password) && a.SendCode == b.SendCode && a.Resend == b.Resend &&
		a.ReturnTo == b.ReturnTo && a.JSON == b.JSON && maps.Equal(a.Extra, b.Extra)
}

// wantUntouched fails unless r still yields body.
func wantUntouched(t *testing.T, r *http.Request, body string) {
	t.Helper()
	got, err := io.ReadAll(r.Body)
	if err != nil {
		t.Errorf("replayed body: %v", err)
	}
	if string(got) != body {
		t.Errorf("replayed body is %d bytes %.80q, want %d bytes %.80q", len(got), got, len(body), body)
	}
	if err := r.Body.Close(); err != nil {
		t.Errorf("closing replayed body: %v", err)
	}
}

// The bodies are what browsers send for the login forms of these shops, the
// code typed into the field of the password.
var shops = []struct {
	name   string
	fields Fields
	target string
	ctype  string
	body   string
	want   Form
}{
	{
		"Kibo Hypr theme",
		Fields{Email: "email", Code: "password", ReturnTo: []string{"returnUrl"}},
		"/user/login", formType,
		"returnUrl=%2Fmyaccount&email=jane%40shop.example&password=123456",
		Form{Email: "jane@shop.example", Code: redact.New("123456"), HasCode: true, ReturnTo: "/myaccount"},
	},
	{
		"Kibo Hypr theme, script",
		Fields{Email: "email", Code: "password", ReturnTo: []string{"returnurl"}, Extra: []string{"token"}},
		"/user/login?returnUrl=%2Fcart", "application/json; charset=UTF-8",
		`{"email":"jane@shop.example","password":"123456","token":"03AGdBq2"}`,
		Form{Email: "jane@shop.example", Code: redact.New("123456"), HasCode: true, ReturnTo: "/cart", Extra: map[string]string{"token": "03AGdBq2"}, JSON: true},
	},
	{
		"Magento",
		Fields{Email: "login[username]", Code: "login[password]", Require: "send"},
		"/customer/account/loginPost/", formType,
		"form_key=aBcDeF0123456789&login%5Busername%5D=jane%40shop.example&login%5Bpassword%5D=123+456&send=",
		Form{Email: "jane@shop.example", Code: redact.New("123456"), HasCode: true},
	},
	{
		"Magento 2, script",
		Fields{Email: "username", Code: "password"},
		"/customer/ajax/login", jsonType,
		`{"username":"jane@shop.example","password":"123456"}`,
		Form{Email: "jane@shop.example", Code: redact.New("123456"), HasCode: true, JSON: true},
	},
	{
		"WooCommerce",
		Fields{
			Email: "username", Code: "password", Require: "login", Remember: "rememberme",
			ReturnTo: []string{"redirect", "_wp_http_referer"},
		},
		"/my-account/", formType,
		"username=jane%40shop.example&password=123456&rememberme=forever&woocommerce-login-nonce=0a1b2c3d4e" +
			"&_wp_http_referer=%2Fmy-account%2F&login=Log+in",
		Form{Email: "jane@shop.example", Code: redact.New("123456"), HasCode: true, Remember: true, ReturnTo: "/my-account/"},
	},
	{
		"WordPress",
		Fields{Email: "log", Code: "pwd", Remember: "rememberme", ReturnTo: []string{"redirect_to"}},
		"/wp-login.php", formType,
		"log=jane%40shop.example&pwd=123456&wp-submit=Log+In&redirect_to=https%3A%2F%2Fshop.example%2Fwp-admin%2F&testcookie=1",
		Form{Email: "jane@shop.example", Code: redact.New("123456"), HasCode: true, ReturnTo: "https://shop.example/wp-admin/"},
	},
	{
		"PrestaShop",
		Fields{Email: "email", Code: "password", Require: "submitLogin", RequireValue: "1", ReturnTo: []string{"back"}},
		"/login?back=my-account", formType, "back=history&email=jane%40shop.example&password=&submitLogin=1",
		Form{Email: "jane@shop.example", ReturnTo: "history"},
	},
	{
		"OpenCart",
		Fields{Email: "email", Code: "password", ReturnTo: []string{"redirect"}},
		"/index.php?route=account/login",
		"multipart/form-data; boundary=---------------------------9051914041544843365972754266",
		multipartBody("---------------------------9051914041544843365972754266",
			"email", "jane@shop.example", "password", "123456", "redirect", "https://shop.example/index.php?route=account/account"),
		Form{Email: "jane@shop.example", Code: redact.New("123456"), HasCode: true, ReturnTo: "https://shop.example/index.php?route=account/account"},
	},
	{
		"osCommerce",
		Fields{Email: "email_address", Code: "password", Extra: []string{"formid", ""}},
		"/login.php?action=process", formType,
		"formid=d41d8cd98f00b204&email_address=jane%40shop.example&password=123456",
		Form{Email: "jane@shop.example", Code: redact.New("123456"), HasCode: true, Extra: map[string]string{"formid": "d41d8cd98f00b204"}},
	},
	{
		"nopCommerce",
		Fields{Email: "Email", Code: "Password", Remember: "RememberMe", ReturnTo: []string{"returnUrl"}},
		"/login?ReturnUrl=%2Fcustomer%2Finfo", formType,
		"Email=jane%40shop.example&Password=123456&RememberMe=true&__RequestVerificationToken=CfDJ8&RememberMe=false",
		Form{Email: "jane@shop.example", Code: redact.New("123456"), HasCode: true, Remember: true, ReturnTo: "/customer/info"},
	},
	{
		"ASP.NET Web Forms",
		Fields{
			Email: "ctl00$Main$LoginUser$UserName", Code: "ctl00$Main$LoginUser$Password", Require: "ctl00$Main$LoginUser$LoginButton",
			Remember: "ctl00$Main$LoginUser$RememberMe", ReturnTo: []string{"returnurl"},
		},
		"/login.aspx?RETURNURL=%2faccount%2fdefault.aspx", formType,
		"__EVENTTARGET=&__EVENTARGUMENT=&__VIEWSTATE=%2FwEPDwUKMTY1NDU2MTA1MmRk&__EVENTVALIDATION=%2FwEWBAL" +
			"&ctl00%24Main%24LoginUser%24UserName=jane%40shop.example&ctl00%24Main%24LoginUser%24Password=123456" +
			"&ctl00%24Main%24LoginUser%24LoginButton=Log+In",
		Form{Email: "jane@shop.example", Code: redact.New("123456"), HasCode: true, ReturnTo: "/account/default.aspx"},
	},
	{
		"servlet container",
		Fields{Email: "j_username", Code: "j_password"},
		"/j_security_check;jsessionid=0A1B", formType,
		"j_username=jane%40shop.example&j_password=123456",
		Form{Email: "jane@shop.example", Code: redact.New("123456"), HasCode: true},
	},
	{
		"Spring Security",
		Fields{Email: "username", Code: "password", Remember: "remember-me"},
		"/login", formType,
		"username=jane%40shop.example&password=123456&remember-me=on&_csrf=4bfd1575",
		Form{Email: "jane@shop.example", Code: redact.New("123456"), HasCode: true, Remember: true},
	},
	{
		"WebSphere Commerce",
		Fields{Email: "logonId", Code: "logonPassword", ReturnTo: []string{"URL", "reLogonURL"}},
		"/webapp/wcs/stores/servlet/Logon", formType,
		"storeId=10001&catalogId=10001&reLogonURL=LogonForm&URL=OrderItemMove&logonId=jane%40shop.example&logonPassword=123456",
		Form{Email: "jane@shop.example", Code: redact.New("123456"), HasCode: true, ReturnTo: "OrderItemMove"},
	},
	{
		"hosted shop",
		Fields{Email: "customer[email]", Code: "customer[password]", ReturnTo: []string{"return_url", "checkout_url"}},
		"/account/login", formType + "; charset=utf-8",
		"form_type=customer_login&utf8=%E2%9C%93&customer%5Bemail%5D=jane%40shop.example&customer%5Bpassword%5D=123456&return_url=&checkout_url=%2Fcheckout",
		Form{Email: "jane@shop.example", Code: redact.New("123456"), HasCode: true, ReturnTo: "/checkout"},
	},
	{
		"nested JSON",
		Fields{Email: "login[username]", Code: "login[password]", Require: "login[form][send]", Remember: "remember"},
		"/login", "application/vnd.shop+json",
		`{"login":{"username":" jane@shop.example\n","password":123456,"form":{"send":true}},"remember":true,"cart":[{"login[username]":"x"}]}`,
		Form{Email: "jane@shop.example", Code: redact.New("123456"), HasCode: true, Remember: true, JSON: true},
	},
}

func multipartBody(boundary string, fields ...string) string {
	var b strings.Builder
	for i := 0; i < len(fields); i += 2 {
		b.WriteString("--" + boundary + "\r\nContent-Disposition: form-data; name=\"" + fields[i] + "\"\r\n\r\n" + fields[i+1] + "\r\n")
	}
	return b.String() + "--" + boundary + "--\r\n"
}

func TestLoginFormsOfRealShops(t *testing.T) {
	for _, tt := range shops {
		t.Run(tt.name, func(t *testing.T) {
			r := newPostRequest(tt.target, tt.ctype, tt.body)
			got, ok, err := Read(r, tt.fields)
			if err != nil || !ok {
				t.Fatalf("Read = %v, %v, want a login post", ok, err)
			}
			if !equal(got, &tt.want) {
				t.Errorf("Read = %+v, want %+v", *got, tt.want)
			}
			if r.ContentLength != int64(len(tt.body)) {
				t.Errorf("Content-Length = %d, want %d", r.ContentLength, len(tt.body))
			}
			wantUntouched(t, r, "") // used up
		})
	}
}

var plainFields = Fields{
	Email: "email", Code: "code", Require: "go", RequireValue: "1",
	Remember: "keep", ReturnTo: []string{"returnUrl", "back"}, Extra: []string{"fp"},
}

func TestNoLoginPost(t *testing.T) {
	const good = "email=jane%40shop.example&code=123456&go=1"
	tests := []struct {
		name, method, target, ctype, body string
		header                            [2]string
	}{
		{name: "GET", method: http.MethodGet},
		{name: "PUT", method: http.MethodPut},
		{name: "HEAD", method: http.MethodHead},
		{name: "no content type", ctype: "-"},
		{name: "broken content type", ctype: "application/"},
		{name: "plain text", ctype: "text/plain"},
		{name: "XML", ctype: "application/xml"},
		{name: "multipart without boundary", ctype: "multipart/form-data"},
		{name: "multipart mixed", ctype: "multipart/mixed; boundary=x"},
		{name: "gzip", header: [2]string{"Content-Encoding", "gzip"}},
		{name: "credentials in the query", target: "/login?" + good, body: "go=1"},
		{name: "marker in the query", target: "/login?go=1", body: "email=jane%40shop.example"},
		{name: "other button", body: "email=jane%40shop.example&search=1"},
		{name: "marker with another value", body: "email=jane%40shop.example&go=2"},
		{name: "blank e-mail", body: "email=+%09&go=1"},
		{name: "no e-mail", body: "code=123456&go=1"},
		{name: "e-mail in other case", body: "Email=jane%40shop.example&go=1"},
		{name: "broken and no e-mail", body: "%zz=1&go=1"},
		{name: "e-mail behind a broken name", body: "email%=jane%40shop.example&go=1"},
		{name: "many fields and no e-mail", body: strings.Repeat("a=1&", 5000)},
		{name: "empty JSON", ctype: jsonType, body: " "},
		{name: "JSON list", ctype: jsonType, body: `[{"email":"a@b","go":"1"}]`},
		{name: "JSON text", ctype: jsonType, body: `"email"`},
		{name: "e-mail is a number", ctype: jsonType, body: `{"email":17,"go":1}`},
		{name: "e-mail is a list", ctype: jsonType, body: `{"email":["a@b"],"go":1}`},
		{name: "e-mail is null", ctype: jsonType, body: `{"email":null,"go":1}`},
		{name: "broken JSON before the e-mail", ctype: jsonType, body: `{"go":1,,"email":"a@b"}`},
		{name: "e-mail is a file", ctype: "multipart/form-data; boundary=x", body: "--x\r\n" +
			"Content-Disposition: form-data; name=\"email\"; filename=\"\"\r\n\r\na@b\r\n" + multipartBody("x", "go", "1")},
		{name: "no parts", ctype: "multipart/form-data; boundary=x", body: "nothing here"},
		{name: "no boundary in the body", ctype: "multipart/form-data; boundary=x", body: multipartBody("y", "email", "a@b", "go", "1")},
		{name: "part is no form data", ctype: "multipart/form-data; boundary=x", body: strings.ReplaceAll(
			multipartBody("x", "email", "a@b", "go", "1"), "form-data", "attachment")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			body := orDefault(tt.body, good)
			r := newPostRequest(orDefault(tt.target, "/login"), orDefault(tt.ctype, formType), body)
			r.Method = orDefault(tt.method, http.MethodPost)
			if tt.ctype == "-" {
				r.Header.Del("Content-Type")
			}
			if tt.header[0] != "" {
				r.Header.Set(tt.header[0], tt.header[1])
			}
			if form, ok, err := Read(r, plainFields); ok || err != nil || form != nil {
				t.Errorf("Read = %v, %v, %v, want no login post", form, ok, err)
			}
			wantUntouched(t, r, body)
		})
	}
}

func orDefault(s, fallback string) string {
	if s == "" {
		return fallback
	}
	return s
}

func TestNoBody(t *testing.T) {
	for _, body := range []io.ReadCloser{nil, http.NoBody} {
		r := newPostRequest("/login", formType, "")
		r.Body = body
		if _, ok, err := Read(r, plainFields); ok || err != nil || r.Body != body {
			t.Errorf("Read = %v, %v, want no login post and the same body", ok, err)
		}
	}
	r := newPostRequest("/login", formType, "=a%40b")
	if _, ok, err := Read(r, Fields{}); ok || err != nil {
		t.Errorf("without an e-mail field: Read = %v, %v", ok, err)
	}
}

func TestUnusableLoginPost(t *testing.T) {
	const email = "email=jane%40shop.example&go=1"
	const mp = "multipart/form-data; boundary=x"
	good := multipartBody("x", "email", "jane@shop.example", "go", "1")
	tests := []struct {
		name, ctype, body string
		want              error
	}{
		{"two e-mails", formType, email + "&email=eve%40shop.example", ErrConflict},
		{"two codes", formType, email + "&code=1&code=2", ErrConflict},
		{"two markers", formType, email + "&go=2", ErrConflict},
		{"empty and real code", formType, email + "&code=&code=2", ErrConflict},
		{"blank and real e-mail", formType, "email=&" + email, ErrConflict},
		{"broken escape", formType, email + "&x=%zz", ErrMalformed},
		{"cut escape", formType, email + "&code=12%4", ErrMalformed},
		{"NUL in the e-mail", formType, "email=a%00%40b&go=1", ErrMalformed},
		{"header in the e-mail", formType, "email=a%40b%0d%0aBcc:c%40d&go=1", ErrMalformed},
		{"NUL in the code", formType, email + "&code=1%00", ErrMalformed},
		{"1001 fields", formType, email + strings.Repeat("&a=", maxFields-1), ErrTooMany},
		{"64 KiB and one byte", formType, email + "&a=" + strings.Repeat("x", maxBody+1-len(email)-3), ErrTooLarge},
		{"large and many and two e-mails", formType, email + "&email=x" + strings.Repeat("&a=1", maxBody/4), ErrTooLarge},
		{"JSON duplicates", jsonType, `{"email":"a@b","go":"1","email":"c@d"}`, ErrConflict},
		{"JSON twice in two spellings", jsonType, `{"email":"a@b","go":"1","code":"1","code":2}`, ErrConflict},
		{"cut JSON", jsonType, `{"email":"a@b","go":"1","x":`, ErrMalformed},
		{"JSON with a tail", jsonType, `{"email":"a@b","go":"1"} {}`, ErrMalformed},
		{"JSON with a trailing comma", jsonType, `{"email":"a@b","go":"1",}`, ErrMalformed},
		{"JSON with unquoted name", jsonType, `{"email":"a@b","go":"1",x:1}`, ErrMalformed},
		{"JSON with a bad list", jsonType, `{"email":"a@b","go":"1","x":[1}`, ErrMalformed},
		{"JSON with endless depth", jsonType, `{"email":"a@b","go":"1","x":` + strings.Repeat(`{"x":`, 6000), ErrMalformed},
		{"large JSON", jsonType, `{"email":"a@b","go":"1","x":"` + strings.Repeat("x", maxBody), ErrTooLarge},
		{"JSON with 1001 members", jsonType, `{"email":"a@b","go":"1"` + strings.Repeat(`,"a":[null]`, maxFields-1) + "}", ErrTooMany},
		{"cut multipart", mp, good[:len(good)-9], ErrMalformed},
		{"multipart with a broken header", mp, strings.TrimSuffix(good, "--\r\n") + "\r\nbroken\r\n\r\n", ErrMalformed},
		{"multipart conflict", mp, multipartBody("x", "email", "a@b", "go", "1", "email", "c@d"), ErrConflict},
		{"large multipart", mp, strings.TrimSuffix(good, "--\r\n") + "\r\nContent-Disposition: form-data; name=f; filename=f\r\n\r\n" +
			strings.Repeat("x", maxBody), ErrTooLarge},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newPostRequest("/login", tt.ctype, tt.body)
			form, ok, err := Read(r, plainFields)
			if !errors.Is(err, tt.want) || ok || form != nil {
				t.Errorf("Read = %v, %v, %v, want %v", form, ok, err, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), "@") {
				t.Errorf("error shows what the customer typed: %v", err)
			}
			wantUntouched(t, r, tt.body)
		})
	}
}

func TestUsableThoughOdd(t *testing.T) {
	const email = "email=jane%40shop.example&go=1"
	const mp = "multipart/form-data; boundary=x"
	tests := []struct {
		name, ctype, body string
		want              Form
	}{
		{"the same twice", formType, email + "&" + email + "&code=1&code=1", Form{Code: redact.New("1"), HasCode: true}},
		{"1000 fields", formType, email + strings.Repeat("&a=", maxFields-2), Form{}},
		{"64 KiB", formType, email + "&a=" + strings.Repeat("x", maxBody-len(email)-3), Form{}},
		{"grouped code", formType, email + "&code=+12-34%E2%80%9356%C2%A078+", Form{Code: redact.New("12345678"), HasCode: true}},
		{"blank code", formType, email + "&code=+-+", Form{}},
		{"letters in the code", formType, email + "&code=aB-c1", Form{Code: redact.New("aBc1"), HasCode: true}},
		{"blanks around", formType, "email=+%09jane%40shop.example%0d%0a&go=1", Form{}},
		{"empty pairs", formType, "&&" + email + "&&=&", Form{}},
		{"semicolon is no separator", formType, email + "&x=1;email=eve", Form{}},
		{"content type in capitals", "APPLICATION/X-WWW-FORM-URLENCODED;charset", email, Form{}},
		{"first return name wins", formType, email + "&BACK=/b&RETURNURL=/a", Form{ReturnTo: "/a"}},
		{"empty return", formType, email + "&returnUrl=&returnUrl=/x", Form{ReturnTo: "/x"}},
		{"return from the query", formType, email + "&returnUrl=", Form{ReturnTo: "/query"}},
		{"extra", formType, email + "&fp=1&fp=2", Form{Extra: map[string]string{"fp": "1"}}},
		{"not remembered", formType, email + "&keep=Off&keep=0&keep=false&keep=no&keep=", Form{}},
		{"remembered", formType, email + "&keep=yes", Form{Remember: true}},
		{"multipart preamble", mp, "preamble\r\n" + multipartBody("x", "email", "jane@shop.example", "go", "1"), Form{}},
		{"multipart with a file", mp, "--x\r\nContent-Disposition: form-data; name=\"code\"; filename=\"a\"\r\n\r\n9\r\n" +
			multipartBody("x", "email", "jane@shop.example", "go", "1"), Form{}},
		{"multipart, line feeds only", mp, strings.ReplaceAll(multipartBody("x", "email", "jane@shop.example", "go", "1"), "\r", ""), Form{}},
		{"JSON with mark", jsonType, "\xEF\xBB\xBF" + `{"email":"jane@shop.example","go":1}`, Form{JSON: true}},
		{"JSON leading zeros", jsonType, `{"email":"jane@shop.example","go":"1","code":"000123"}`, Form{Code: redact.New("000123"), HasCode: true, JSON: true}},
		{"JSON ignores lists, null and depth", jsonType, `{"go":1,"code":[[1],{"code":2}],"email":"jane@shop.example","back":null,` +
			`"a":{"b":{"c":{"d":{"e":1}}}},"returnUrl":""}`, Form{JSON: true}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			target := "/login"
			if strings.Contains(tt.name, "query") {
				target = "/login?ReturnUrl=%2fquery&email=x&code=9&keep=1&%zz=1"
			}
			tt.want.Email = "jane@shop.example"
			got, ok, err := Read(newPostRequest(target, tt.ctype, tt.body), plainFields)
			if err != nil || !ok {
				t.Fatalf("Read = %v, %v, want a login post", ok, err)
			}
			if !equal(got, &tt.want) {
				t.Errorf("Read = %+v, want %+v", *got, tt.want)
			}
		})
	}
}

func TestMarkerWithAnyValue(t *testing.T) {
	f := Fields{Email: "email", Require: "send"}
	for body, want := range map[string]bool{"email=a%40b&send=": true, "email=a%40b&send": true, "email=a%40b": false} {
		if _, ok, err := Read(newPostRequest("/", formType, body), f); ok != want || err != nil {
			t.Errorf("Read(%q) = %v, %v, want %v", body, ok, err, want)
		}
	}
}

// A second step knows its customer already and sends the code alone.
func TestCodeAlone(t *testing.T) {
	f := Fields{Email: "email", Code: "code"}
	for _, alone := range []bool{false, true} {
		f.CodeAlone = alone
		r := newPostRequest("/login", formType, "code=123-456")
		form, ok, err := Read(r, f)
		if ok != alone || err != nil || ok && (form.Code.Reveal() != "123456" || form.Email != "") {
			t.Errorf("CodeAlone %v: Read = %+v, %v, %v", alone, form, ok, err)
		}
	}
	if _, ok, _ := Read(newPostRequest("/login", formType, "code=+&email="), f); ok {
		t.Error("a blank code is taken for a second step")
	}
}
