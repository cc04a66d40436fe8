package kiboauth

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestNoticeTexts(t *testing.T) {
	tests := []struct {
		step   loginStep
		notice notice
		title  string
		want   string
		alert  bool
	}{
		{stepEmail, noticeNone, "Sign in", "No password.", false},
		{stepEmail, noticeCodeSent, "Sign in", "a code is on its way.", false},
		{stepEmail, noticeRejected, "Error: Sign in", "That did not work.", true},
		{stepEmail, noticeExpired, "Error: Sign in", "ask for a new code.", true},
		{stepEmail, noticeLimited, "Error: Sign in", "try again in about 1 minute.", true},
		{stepEmail, noticeUnavailable, "Error: Sign in", "We cannot sign you in just now.", true},
		{stepEmail, noticeSignedOut, "Sign in", "You are signed out.", false},
		{stepEmail, noticeBadAddress, "Error: Sign in", "That does not look like an e-mail address.", true},
		{stepCode, noticeNone, "Check your e-mail", "If an account belongs to kim@example.com, a code is on its way. It is valid for 3 minutes.", false},
		{stepCode, noticeCodeSent, "Check your e-mail", "If an account belongs to kim@example.com, a code is on its way. It is valid for 3 minutes.", false},
		{stepCode, noticeRejected, "Error: Check your e-mail", "That code did not work. Check it and try again, or send a new code.", true},
		{stepCode, noticeExpired, "Error: Check your e-mail", "was started in another window. Please ask for a new code.", true},
		{stepCode, noticeLimited, "Error: Check your e-mail", "Please try again in about 1 minute.", true},
		{stepCode, noticeUnavailable, "Error: Check your e-mail", "it is not lost. Please try again in about 1 minute.", true},
		{stepSecond, noticeNone, "One more step", "also enter the second code that we e-mailed to kim@example.com.", false},
		{stepSecond, noticeCodeSent, "One more step", "A new code is on its way to kim@example.com. Enter the digits of our newest e-mail.", false},
		{stepSecond, noticeRejected, "Error: One more step", "That code did not work.", true},
		{stepSecond, noticeExpired, "Error: One more step", "ask for a new code.", true},
		{stepSecond, noticeLimited, "Error: One more step", "try again in about 1 minute.", true},
		{stepSecond, noticeUnavailable, "Error: One more step", "it is not lost.", true},
		{stepSecond, noticeNotSent, "Error: One more step", "We could not send you a new code.", true},
	}
	p := testPages(t, Brand{Name: "Harbour & Co"})
	for _, tt := range tests {
		t.Run(fmt.Sprintf("step %d notice %d", tt.step, tt.notice), func(t *testing.T) {
			page := drawLogin(t, p, testLogin(tt.step, tt.notice)).Body.String()
			if got := visible(page); !strings.Contains(got, tt.want) {
				t.Errorf("page says %q, want %q", got, tt.want)
			}
			if want := "<title>" + tt.title + " – Harbour &amp; Co</title>"; !strings.Contains(page, want) {
				t.Errorf("no %q in the page", want)
			}
			all := elements(t, page)
			if got := find(all, "role", "alert") != nil; got != tt.alert {
				t.Errorf("alert: %t, want %t", got, tt.alert)
			}
			checkDescriptions(t, all)
		})
	}
}

// checkDescriptions: what a field says it is described by is there, and what
// is wrong is part of it.
func checkDescriptions(t *testing.T, all []element) {
	t.Helper()
	field := find(all, "required", "")
	if field == nil {
		t.Fatal("page has no required field")
	}
	ids := strings.Fields(field.attr["aria-describedby"])
	for _, id := range ids {
		if find(all, "id", id) == nil {
			t.Errorf("field is described by #%s, which is not there", id)
		}
	}
	if find(all, "role", "alert") != nil && !slices.Contains(ids, "notice") {
		t.Errorf("field is described by %q, but not by the alert", ids)
	}
	if find(all, "for", field.attr["id"]) == nil {
		t.Errorf("field #%s has no label", field.attr["id"])
	}
}

func TestEmailStep(t *testing.T) {
	page := drawLogin(t, testPages(t, Brand{}), testLogin(stepEmail, noticeNone)).Body.String()
	forms := formForm.FindAllString(page, -1)
	if len(forms) != 1 {
		t.Fatalf("%d forms, want 1", len(forms))
	}
	all := elements(t, forms[0])
	wantInputs(t, all, map[string]string{
		"email": "kim@example.com", "remember": "1", "returnUrl": "/account?tab=orders", "form_key": "k1",
	})
	if e := find(all, "name", "email"); e != nil && (e.attr["type"] != "email" || e.attr["autocomplete"] != "email") {
		t.Errorf("e-mail field is %v", e.attr)
	}
	if e := find(all, "name", "remember"); e != nil {
		if _, ticked := e.attr["checked"]; !ticked {
			t.Error("the tick of the post before is lost")
		}
	}
}

// passwordPages are those of a gateway that takes passwords.
func passwordPages(t *testing.T) *pages {
	t.Helper()
	f := testFields()
	f.PasswordField = "pass"
	return pagesWith(t, Brand{}, f)
}

func TestPasswordStep(t *testing.T) {
	for _, tt := range []struct {
		name, email                string
		notice                     notice
		focus, described, mistyped string // ids
	}{
		{"new", "", noticeNone, "email", "hint", ""},
		{"refused", "kim@example.com", noticeRejected, "password", "notice hint", "email password"},
		{"no address", "kim", noticeBadAddress, "email", "notice hint", "email"},
		{"too often", "kim@example.com", noticeLimited, "", "notice hint", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v := testLogin(stepEmail, tt.notice)
			v.Email = tt.email
			page := drawLogin(t, passwordPages(t), v).Body.String()
			forms := formForm.FindAllString(page, -1)
			if len(forms) != 1 {
				t.Fatalf("%d forms, want 1", len(forms))
			}
			all := elements(t, forms[0])
			wantInputs(t, all, map[string]string{"email": tt.email, "pass": "", "remember": "1", "returnUrl": "/account?tab=orders", "form_key": "k1"})
			password := find(all, "name", "pass")
			for name, want := range map[string]string{"id": "password", "type": "password", "autocomplete": "current-password", "aria-describedby": tt.described} {
				if got := password.attr[name]; got != want {
					t.Errorf("password field has %s=%q, want %q", name, got, want)
				}
			}
			if got := find(all, "id", "email").attr["autocomplete"]; got != "username" {
				t.Errorf("address has autocomplete=%q, want username", got)
			}
			if find(all, "for", "password") == nil {
				t.Error("password has no label")
			}
			if got := idsWith(all, "autofocus"); got != tt.focus {
				t.Errorf("focus is on %q, want %q", got, tt.focus)
			}
			if got := idsWith(all, "aria-invalid"); got != tt.mistyped {
				t.Errorf("mistyped are %q, want %q", got, tt.mistyped)
			}
			checkDescriptions(t, elements(t, page))
			checkButtons(t, all)
		})
	}
}

// checkButtons: the first, which the return key presses, signs in.
func checkButtons(t *testing.T, all []element) {
	t.Helper()
	var names []string
	for _, e := range all {
		if e.name == "button" {
			names = append(names, e.attr["name"]+"="+e.attr["value"])
		}
	}
	if got := strings.Join(names, " "); got != "= send_code=1" {
		t.Errorf("buttons are %q, want one without name and send_code=1", got)
	}
}

// idsWith are the ids of the elements that have an attribute.
func idsWith(all []element, attr string) string {
	var ids []string
	for _, e := range all {
		if _, ok := e.attr[attr]; ok {
			ids = append(ids, e.attr["id"])
		}
	}
	return strings.Join(ids, " ")
}

func TestTextsWithPassword(t *testing.T) {
	for _, tt := range []struct {
		step   loginStep
		notice notice
		want   string
		not    string
	}{
		{stepEmail, noticeNone, "Password No password at hand? We can send you a code.", "No password."},
		{stepEmail, noticeRejected, "Check your e-mail address and your password, or have us send you a code.", "new code"},
		{stepEmail, noticeExpired, "Please start again.", "new code"},
		{stepSecond, noticeNone, "please also enter the code that we e-mailed to kim@example.com.", "second"},
		{stepSecond, noticeCodeSent, "A new code is on its way to kim@example.com.", "second"},
		{stepSecond, noticeLimited, "That was one try too many for now.", "second"},
	} {
		v := testLogin(tt.step, tt.notice)
		v.AfterPassword = tt.step == stepSecond
		page := visible(drawLogin(t, passwordPages(t), v).Body.String())
		if !strings.Contains(page, tt.want) || strings.Contains(page, tt.not) {
			t.Errorf("step %d, notice %d: page says %q, want %q and not %q", tt.step, tt.notice, page, tt.want, tt.not)
		}
	}
}

// The second step's button asks for its own code, the first step's for that.
func TestResendButton(t *testing.T) {
	for step, want := range map[loginStep]bool{stepCode: false, stepSecond: true} {
		forms := formForm.FindAllString(drawLogin(t, passwordPages(t), testLogin(step, noticeNone)).Body.String(), -1)
		if got := find(elements(t, forms[1]), "name", "resend") != nil; got != want {
			t.Errorf("step %d: resend button %v, want %v", step, got, want)
		}
		if all := elements(t, strings.Join(forms, "")); find(all, "type", "password") != nil || find(all, "name", "pass") != nil {
			t.Errorf("step %d asks for a password", step)
		}
	}
}

func TestCodeStep(t *testing.T) {
	for _, step := range []loginStep{stepCode, stepSecond} {
		page := drawLogin(t, testPages(t, Brand{}), testLogin(step, noticeRejected)).Body.String()
		forms := formForm.FindAllString(page, -1)
		if len(forms) != 3 {
			t.Fatalf("step %d: %d forms, want 3", step, len(forms))
		}
		signIn, again, other := elements(t, forms[0]), elements(t, forms[1]), elements(t, forms[2])
		known := map[string]string{"email": "kim@example.com", "remember": "1", "returnUrl": "/account?tab=orders", "form_key": "k1"}
		wantInputs(t, again, known)
		known["otpCode"] = ""
		wantInputs(t, signIn, known)
		wantInputs(t, other, map[string]string{"returnUrl": "/account?tab=orders"}) // no e-mail: it is a GET
		if signIn[0].attr["method"] != "post" || again[0].attr["method"] != "post" || other[0].attr["method"] != "get" {
			t.Errorf("step %d: methods %v %v %v, want post, post, get", step, signIn[0], again[0], other[0])
		}
		code := find(signIn, "name", "otpCode")
		for name, want := range map[string]string{
			"type": "text", "inputmode": "numeric", "autocomplete": "one-time-code", "aria-invalid": "true",
			"autofocus": "", "required": "", "aria-describedby": "notice sent",
		} {
			if got, ok := code.attr[name]; !ok || got != want {
				t.Errorf("step %d: code field has %s=%q (%t), want %q", step, name, got, ok, want)
			}
		}
		if strings.Contains(page, "maxlength") {
			t.Errorf("step %d: maxlength would cut a pasted code that holds blanks", step)
		}
	}
}

func wantInputs(t *testing.T, all []element, want map[string]string) {
	t.Helper()
	got := map[string]string{}
	for _, e := range all {
		if e.name == "input" {
			got[e.attr["name"]] = e.attr["value"]
		}
		if e.name == "form" && e.attr["action"] != "/login" {
			t.Errorf("form posts to %q", e.attr["action"])
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(want) { // maps print sorted
		t.Errorf("inputs are %v, want %v", got, want)
	}
}

func TestCodePatternAllowsBlanks(t *testing.T) {
	page := drawLogin(t, testPages(t, Brand{}), testLogin(stepCode, noticeNone)).Body.String()
	pattern := regexp.MustCompile("^(?:" + find(elements(t, page), "id", "code").attr["pattern"] + ")$")
	for code, want := range map[string]bool{
		"123456": true, "123 456": true, " 1 2 3 4 5 6 ": true, "12345678": true,
		"": false, " ": false, "12345a": false, "123": false, "12345678901": false,
	} {
		if got := pattern.MatchString(code); got != want {
			t.Errorf("pattern takes %q: %t, want %t", code, got, want)
		}
	}
}

func TestFieldsWithoutNameAreNotShown(t *testing.T) {
	for _, step := range []loginStep{stepEmail, stepCode, stepSecond} {
		v := loginView{loginState: loginState{Step: step, Remember: true}, Email: "kim@example.com", ReturnTo: "/"}
		if page := drawLogin(t, pagesWith(t, Brand{}, loginFields{Action: "/login"}), v).Body.String(); strings.Contains(page, "<input") {
			t.Errorf("step %d shows a field without name:\n%s", step, page)
		}
	}
}
